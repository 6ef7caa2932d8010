"""Modules of normalization, embedding and attention: values, state, text, errors as PyTorch's."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn

pytestmark = needs_torch
rng = np.random.default_rng(7)


def normal(*shape: int) -> Any:
    return rng.standard_normal(shape)


def twins(make: Any) -> tuple[Any, Any]:
    """The module of each library, ours with the state of PyTorch's."""
    torch.manual_seed(3)
    theirs = make(torch.nn).double()
    with torch.no_grad():
        for p in theirs.parameters():
            p.copy_(torch.from_numpy(rng.standard_normal(tuple(p.shape))) * 0.3)
    ours = make(nn).double()
    state = {k: wg.tensor(v.numpy()) for k, v in theirs.state_dict().items()}
    ours.load_state_dict(state)
    return ours, theirs


def same(ours: Any, theirs: Any) -> None:
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), 1e-9, 1e-9)


def given(library: Any, x: Any, grad: bool = True) -> Any:
    if not isinstance(x, np.ndarray):
        return x
    t = library.tensor(x)
    return t.requires_grad_() if grad and t.dtype.is_floating_point else t


def check(ours: Any, theirs: Any, *args: Any, **kwargs: Any) -> None:
    """Values, gradients by inputs and parameters, and what the module holds afterwards."""
    kept = {id(a): (given(wg, a), given(torch, a)) for a in args}
    mine = [kept[id(a)][0] for a in args]
    yours = [kept[id(a)][1] for a in args]
    keywords = [{k: given(m, v, False) for k, v in kwargs.items()} for m in (wg, torch)]
    y, want = ours(*mine, **keywords[0]), theirs(*yours, **keywords[1])
    if isinstance(want, tuple):
        assert (y[1] is None) == (want[1] is None)
        if want[1] is not None:
            same(y[1], want[1])
        y, want = y[0], want[0]
    same(y, want)
    weights = np.linspace(-1, 2, y.numel()).reshape(y.shape)
    (y * wg.tensor(weights)).sum().backward()
    (want * torch.tensor(weights)).sum().backward()
    for a, b in [*zip(mine, yours, strict=True)]:
        if isinstance(a, wg.Tensor) and a.requires_grad:
            same(a.grad, b.grad)
    found = dict(ours.named_parameters())
    assert list(found) == [n for n, _ in theirs.named_parameters()]
    for name, p in theirs.named_parameters():
        if p.grad is not None:
            same(found[name].grad, p.grad)
    for name, value in theirs.state_dict().items():
        same(ours.state_dict()[name], value)


MAKERS = {
    "LayerNorm": lambda n: n.LayerNorm((3, 4), eps=0.1),
    "LayerNorm plain": lambda n: n.LayerNorm(4, elementwise_affine=False),
    "LayerNorm weight": lambda n: n.LayerNorm(4, bias=False),
    "RMSNorm": lambda n: n.RMSNorm([4]),
    "RMSNorm plain": lambda n: n.RMSNorm(4, 0.1, False),
    "GroupNorm": lambda n: n.GroupNorm(2, 6),
    "GroupNorm plain": lambda n: n.GroupNorm(3, 6, affine=False),
    "BatchNorm1d": lambda n: n.BatchNorm1d(3),
    "BatchNorm2d mean": lambda n: n.BatchNorm2d(3, momentum=None),
    "BatchNorm3d": lambda n: n.BatchNorm3d(3, affine=False),
    "BatchNorm1d untracked": lambda n: n.BatchNorm1d(3, track_running_stats=False),
    "InstanceNorm1d": lambda n: n.InstanceNorm1d(3),
    "InstanceNorm2d": lambda n: n.InstanceNorm2d(3, affine=True, track_running_stats=True),
    "InstanceNorm3d": lambda n: n.InstanceNorm3d(3, affine=True),
    "Embedding": lambda n: n.Embedding(5, 4, padding_idx=-1),
    "Embedding frequency": lambda n: n.Embedding(5, 4, scale_grad_by_freq=True),
    "Embedding bounded": lambda n: n.Embedding(5, 4, max_norm=0.5, norm_type=3.0),
    "EmbeddingBag": lambda n: n.EmbeddingBag(5, 4, mode="sum", padding_idx=1),
    "MultiheadAttention": lambda n: n.MultiheadAttention(8, 2),
    "MultiheadAttention sizes": lambda n: n.MultiheadAttention(8, 2, kdim=5, vdim=6, bias=False),
    "MultiheadAttention extra": lambda n: n.MultiheadAttention(
        8, 2, add_bias_kv=True, add_zero_attn=True, batch_first=True
    ),
    "TransformerEncoderLayer": lambda n: n.TransformerEncoderLayer(8, 2, 16, activation="gelu"),
    "TransformerDecoderLayer": lambda n: n.TransformerDecoderLayer(8, 2, 16, norm_first=True),
    "TransformerEncoder": lambda n: n.TransformerEncoder(
        n.TransformerEncoderLayer(8, 2, 16, bias=False), 2, enable_nested_tensor=False
    ),
    "Transformer": lambda n: n.Transformer(8, 2, 1, 2, 16, 0.0, batch_first=True),
}


@pytest.mark.parametrize("name", MAKERS)
def test_text_and_state_are_pytorchs(name: str) -> None:
    ours, theirs = MAKERS[name](nn), MAKERS[name](torch.nn)
    assert repr(ours) == repr(theirs)
    state, wanted = ours.state_dict(), theirs.state_dict()
    assert list(state) == list(wanted)
    assert [tuple(v.shape) for v in state.values()] == [tuple(v.shape) for v in wanted.values()]
    for key, value in wanted.items():  # what is not drawn starts as there
        if value.numel() and bool((value == value.flatten()[0]).all()):
            np.testing.assert_array_equal(state[key].numpy(), value.numpy())


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("LayerNorm", (2, 3, 4)),
        ("LayerNorm plain", (5, 4)),
        ("LayerNorm weight", (5, 4)),
        ("RMSNorm", (2, 3, 4)),
        ("RMSNorm plain", (3, 4)),
        ("GroupNorm", (2, 6, 3)),
        ("GroupNorm plain", (2, 6)),
        ("BatchNorm1d", (4, 3)),
        ("BatchNorm1d", (4, 3, 5)),
        ("BatchNorm2d mean", (2, 3, 2, 4)),
        ("BatchNorm3d", (2, 3, 2, 1, 2)),
        ("BatchNorm1d untracked", (4, 3)),
        ("InstanceNorm1d", (3, 5)),
        ("InstanceNorm1d", (2, 3, 5)),
        ("InstanceNorm2d", (2, 3, 2, 3)),
        ("InstanceNorm3d", (2, 3, 2, 2, 2)),
    ],
)
def test_normalization(name: str, shape: tuple[int, ...], training: bool) -> None:
    ours, theirs = (m.train(training) for m in twins(MAKERS[name]))
    for _ in range(2):
        check(ours, theirs, normal(*shape))


@pytest.mark.parametrize("name", ["Embedding", "Embedding frequency", "Embedding bounded"])
def test_embedding(name: str) -> None:
    check(*twins(MAKERS[name]), np.array([[0, 4, 2], [2, 2, 1]]))


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", ["layer_norm", "rms_norm", "group_norm", "batch_norm", "sdpa"])
def test_narrow_dtypes(name: str, dtype: str) -> None:
    def run(library: Any) -> Any:
        functions = library.nn.functional
        kind = getattr(library, dtype)
        x, w = library.tensor(x64).to(kind), library.tensor(w64).to(kind)
        if name == "sdpa":
            return functions.scaled_dot_product_attention(x, x, x)
        if name == "batch_norm":
            return functions.batch_norm(x, None, None, w, w, training=True)
        if name == "group_norm":
            return functions.group_norm(x, 2, w, w)
        return getattr(functions, name)(x, (4,), w)

    x64, w64 = normal(3, 4), normal(4)
    got, want = run(wg), run(torch)
    assert str(got.dtype).rpartition(".")[2] == dtype
    rtol = {"float16": 2e-3, "bfloat16": 2e-2, "float32": 1e-5}[dtype]
    np.testing.assert_allclose(got.double().numpy(), want.double().numpy(), rtol, rtol)


def test_embedding_from_rows() -> None:
    rows = wg.tensor(normal(3, 2))
    frozen = nn.Embedding.from_pretrained(rows, padding_idx=0)
    assert not frozen.weight.requires_grad
    assert frozen.weight.data_ptr() == rows.data_ptr()
    assert nn.Embedding.from_pretrained(rows, freeze=False).weight.requires_grad
    assert nn.EmbeddingBag.from_pretrained(rows, mode="max").mode == "max"
    with pytest.raises(NotImplementedError, match="sparse"):
        nn.Embedding(3, 2, sparse=True)(wg.tensor([1]))


@pytest.mark.parametrize("mode", ["sum", "mean", "max"])
@pytest.mark.parametrize("padding", [None, 3])
@pytest.mark.parametrize("offsets", [[0, 2, 2, 4], [0], None])
def test_bags(mode: str, padding: int | None, offsets: list[int] | None) -> None:
    index = np.array([0, 1, 3, 3, 2]) if offsets else np.array([[0, 3], [3, 1]])
    more = {} if offsets is None else {"offsets": np.array(offsets)}
    check(*twins(lambda n: n.EmbeddingBag(4, 3, mode=mode, padding_idx=padding)), index, **more)


def test_bags_with_weights() -> None:
    index, at = np.array([0, 1, 3, 3, 2]), np.array([0, 2, 2, 5])
    made = twins(lambda n: n.EmbeddingBag(4, 3, mode="sum", include_last_offset=True))
    check(*made, index, at, normal(5))


CAUSAL = np.triu(np.full((5, 5), -np.inf), 1)
PADDING = np.array([[False] * 4 + [True], [False] * 5, [False, True, True, False, False]])


@pytest.mark.parametrize("need_weights", [True, False])
@pytest.mark.parametrize(
    "masks",
    [
        {},
        {"attn_mask": CAUSAL, "is_causal": True},
        {"attn_mask": CAUSAL != 0},
        {"key_padding_mask": PADDING},
        {"attn_mask": CAUSAL != 0, "key_padding_mask": PADDING},
        {"attn_mask": normal(6, 5, 5), "average_attn_weights": False},
    ],
)
def test_multihead_attention(masks: dict[str, Any], need_weights: bool) -> None:
    ours, theirs = twins(MAKERS["MultiheadAttention"])
    x, memory = normal(5, 3, 8), normal(5, 3, 8)
    check(ours, theirs, x, x, x, need_weights=need_weights, **masks)
    check(ours, theirs, x, memory, memory, need_weights=need_weights, **masks)


@pytest.mark.parametrize("need_weights", [True, False])
def test_multihead_attention_of_other_sizes(need_weights: bool) -> None:
    how = {"need_weights": need_weights}
    sizes = twins(MAKERS["MultiheadAttention sizes"])
    check(*sizes, normal(4, 3, 8), normal(5, 3, 5), normal(5, 3, 6), **how)
    check(*sizes, normal(4, 8), normal(5, 5), normal(5, 6), **how)
    extra = twins(MAKERS["MultiheadAttention extra"])
    masks = {"key_padding_mask": PADDING, "attn_mask": CAUSAL[:4] != 0}
    check(*extra, normal(3, 4, 8), normal(3, 5, 8), normal(3, 5, 8), **how, **masks)


@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_dropout_of_attention(kind: str) -> None:
    """Weights drop at random, gradients with the same ones, and the mean stays."""
    d = getattr(wg, kind)
    wg.manual_seed(5)
    q, k, v = (wg.randn(2, 2, n, 8, dtype=d, requires_grad=True) for n in (100, 70, 70))
    y = nn.functional.scaled_dot_product_attention(q, k, v, dropout_p=0.3)
    g = wg.randn(*y.shape, dtype=d)
    fused = wg.autograd.grad(y, (q, k, v), g, retain_graph=True)
    recorded = wg.autograd.grad(y, (q, k, v), g, create_graph=True)
    tolerance = 1e-4 if kind == "float32" else 1e-12
    for a, b in zip(fused, recorded, strict=True):
        np.testing.assert_allclose(a.numpy(), b.detach().numpy(), tolerance, tolerance)
    ones = wg.ones(1, 1, 70, 8, dtype=d)
    many = wg.zeros(1, 1, 4000, 8, dtype=d)
    out = nn.functional.scaled_dot_product_attention(many, many[:, :, :70], ones, dropout_p=0.3)
    assert abs(out.mean().item() - 1) < 0.01
    assert out.std().item() > 0.05


def test_results_do_not_depend_on_threads() -> None:
    x, w = wg.randn(700, 96, requires_grad=True), wg.randn(96, requires_grad=True)
    heads = wg.randn(3, 2, 200, 24, requires_grad=True)
    index = wg.randint(0, 50, (3000,))
    table = wg.randn(50, 64, requires_grad=True)

    def results() -> list[Any]:
        f = nn.functional
        out = []
        for y, by in (
            (f.layer_norm(x, (96,), w, w), (x, w)),
            (f.batch_norm(x, None, None, w, w, training=True), (x, w)),
            (f.scaled_dot_product_attention(heads, heads, heads, is_causal=True), (heads,)),
            (f.embedding(index, table), (table,)),
        ):
            out += [y, *wg.autograd.grad(y.sin().sum(), by)]
        return [t.detach().numpy() for t in out]

    before = wg.get_num_threads()
    try:
        wg.set_num_threads(1)
        one = results()
        wg.set_num_threads(3)
        three = results()
    finally:
        wg.set_num_threads(before)
    for a, b in zip(one, three, strict=True):
        np.testing.assert_array_equal(a, b)


def test_encoder_and_decoder() -> None:
    x, memory = normal(5, 3, 8), normal(4, 3, 8)
    for name in ("TransformerEncoderLayer", "TransformerEncoder"):
        ours, theirs = (m.eval() for m in twins(MAKERS[name]))
        check(ours, theirs, x)
        key = "src_mask" if name.endswith("Layer") else "mask"
        check(ours, theirs, x, **{key: CAUSAL != 0}, src_key_padding_mask=PADDING)
        check(ours, theirs, x, **{key: CAUSAL}, is_causal=True)
    ours, theirs = (m.eval() for m in twins(MAKERS["TransformerDecoderLayer"]))
    check(ours, theirs, x, memory, tgt_mask=CAUSAL, tgt_is_causal=True)


def test_transformer() -> None:
    ours, theirs = twins(MAKERS["Transformer"])
    source, target = normal(3, 4, 8), normal(3, 5, 8)
    mask = nn.Transformer.generate_square_subsequent_mask(5)
    np.testing.assert_array_equal(mask.numpy(), CAUSAL)
    check(ours, theirs, source, target, tgt_mask=CAUSAL)
    check(ours, theirs, source, target, memory_key_padding_mask=PADDING[:, :4])


def test_a_layer_learns() -> None:
    wg.manual_seed(0)
    layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
    head = nn.Linear(8, 1)
    x = wg.randn(16, 5, 8)
    y = x[:, :1, 0]
    optimizer = wg.optim.Adam([*layer.parameters(), *head.parameters()], lr=0.01)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(head(layer(x)[:, 0]), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 3


@pytest.mark.parametrize(
    "call",
    [
        lambda m: m.nn.GroupNorm(3, 4),
        lambda m: m.nn.BatchNorm1d(3)(m.ones(2, 3, 4, 5)),
        lambda m: m.nn.BatchNorm2d(3)(m.ones(2, 3, 4)),
        lambda m: m.nn.BatchNorm1d(3)(m.ones(1, 3)),
        lambda m: m.nn.BatchNorm1d(2)(m.ones(4, 3)),
        lambda m: m.nn.InstanceNorm2d(3)(m.ones(3, 4)),
        lambda m: m.nn.InstanceNorm1d(3, affine=True)(m.ones(4, 5)),
        lambda m: m.nn.LayerNorm(3)(m.ones(2, 4)),
        lambda m: m.nn.Embedding(3, 4, 5),
        lambda m: m.nn.Embedding(3, 4, _weight=m.ones(2, 2)),
        lambda m: m.nn.Embedding(3, 4)(m.tensor([3])),
        lambda m: m.nn.EmbeddingBag(3, 4)(m.tensor([1])),
        lambda m: m.nn.EmbeddingBag(3, 4, mode="x")(m.tensor([1]), m.tensor([0])),
        lambda m: m.nn.EmbeddingBag(3, 4)(m.tensor([1]), m.tensor([1])),
        lambda m: m.nn.EmbeddingBag(3, 4)(m.tensor([1]), m.tensor([0]), m.ones(1)),
        lambda m: m.nn.MultiheadAttention(8, 3),
        lambda m: m.nn.MultiheadAttention(0, 1),
        lambda m: m.nn.MultiheadAttention(8, 2)(*[m.ones(2, 3, 4)] * 3),
        lambda m: m.nn.MultiheadAttention(8, 2)(*[m.ones(2, 3, 8)] * 3, attn_mask=m.ones(3, 3)),
        lambda m: m.nn.MultiheadAttention(8, 2)(*[m.ones(2, 3, 8)] * 3, is_causal=True),
        lambda m: m.nn.TransformerEncoderLayer(8, 2, activation="tanh"),
        lambda m: m.nn.Transformer(8, 2, 1, 1, 8)(m.ones(2, 3, 8), m.ones(2, 2, 8)),
    ],
)
def test_errors_are_pytorchs(call: Any) -> None:
    found = []
    for library in (wg, torch):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with pytest.raises(Exception) as error:
                call(library)
        found.append(error.type)
    assert found[0] is found[1]


@pytest.mark.parametrize(
    ("call", "batched"),
    [
        (lambda f, x, w: f.layer_norm(x, (4,), w), (0, None)),
        (lambda f, x, w: f.layer_norm(x, (4,), w), (0, 0)),
        (lambda f, x, w: f.rms_norm(x, (4,), w), (0, None)),
        (lambda f, x, w: f.rms_norm(x[0, 1], (4,), w), (0, 0)),
        (lambda f, x, _: f.scaled_dot_product_attention(x, x, x), (0, None)),
        (
            lambda f, x, _: f.scaled_dot_product_attention(x, x[0], x.sin(), is_causal=True),
            (0, None),
        ),
        (lambda f, x, w: f.scaled_dot_product_attention(x, x, x, w), (0, 0)),
        (lambda f, x, w: f.embedding(wg.tensor([1, 0]), x[0]).sum() + w, (0, None)),
    ],
)
def test_batches(call: Any, batched: tuple[Any, Any]) -> None:
    """Under vmap each part of a batch gives what it gives alone, and so do gradients."""
    f = nn.functional
    x = wg.tensor(normal(3, 2, 4, 4), requires_grad=True)
    w = wg.tensor(normal(3, 4) if batched[1] == 0 else normal(4))
    got = wg.vmap(lambda a, b: call(f, a, b), in_dims=batched)(x, w)
    want = wg.stack([call(f, x[i], w[i] if batched[1] == 0 else w) for i in range(3)])
    same(got, want)
    for a, b in zip(*(wg.autograd.grad(y.sin().sum(), (x,)) for y in (got, want)), strict=True):
        same(a, b)
