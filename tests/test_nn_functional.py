"""Functions that are compositions (norms, distances, gates, dropout) and the layers over them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from test_nn_losses import both
from wengert import nn

F = nn.functional
rng = np.random.default_rng(1)
A, B = rng.normal(size=(3, 4, 2)), rng.normal(size=(3, 4, 2))
HOLED = A.copy()
HOLED[0] = 0
HOLED[1, 2] = 0
KERNEL = rng.normal(size=(5, 2, 1))
WHOLE = np.ones((2, 2), "int64")

CALLS = [
    (lambda f, x: f.normalize(x), [A]),
    (lambda f, x: f.normalize(x, p=1, dim=-1), [A]),
    (lambda f, x: f.normalize(x, p=3.5, dim=0), [A]),
    (lambda f, x: f.normalize(x, p=float("inf"), dim=2), [A]),
    (lambda f, x: f.normalize(x, dim=(0, 2)), [A]),
    (lambda f, x: f.normalize(x, dim=2), [HOLED]),
    (lambda f, x, y: f.cosine_similarity(x, y), [A, B]),
    (lambda f, x, y: f.cosine_similarity(x, y, dim=-1), [A, B[0]]),
    (lambda f, x, y: f.cosine_similarity(x, y, dim=0, eps=2.0), [A, B]),
    (lambda f, x, y: f.cosine_similarity(x, y, dim=2), [HOLED, B]),
    (lambda f, x, y: f.pairwise_distance(x, y), [A, B]),
    (lambda f, x, y: f.pairwise_distance(x, y, p=1, keepdim=True), [A[0], B[0]]),
    (lambda f, x, y: f.pairwise_distance(x, y, p=float("inf")), [A, B]),
    (lambda f, x, y: f.pairwise_distance(x, y, p=3, eps=0.0), [HOLED, np.zeros((3, 4, 2))]),
    (lambda f, x, y: f.pairwise_distance(x, y, eps=0.0), [HOLED, np.zeros((3, 4, 2))]),
    (lambda f, x: f.glu(x), [A]),
    (lambda f, x: f.glu(x, 1), [A]),
    (lambda f, x: f.softmin(x, -1), [A]),
    (lambda f, *tensors: f.bilinear(*tensors), [A, B[..., :1], KERNEL, KERNEL[:, 0, 0]]),
    (lambda f, x, y, w: f.bilinear(x, y, w), [A[0, 0], B[0, 0], rng.normal(size=(5, 2, 2))]),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize(("call", "inputs"), CALLS)
def test_compositions_equal_torch(call: Any, inputs: Any) -> None:
    def make(library: Any) -> Any:
        return lambda *tensors: call(library.nn.functional, *tensors)

    both(make, inputs, tuple(range(len(inputs))))


@pytest.mark.parametrize(("call", "inputs"), CALLS[:3] + CALLS[6:7] + CALLS[10:11] + CALLS[-2:])
def test_second_derivatives_of_compositions(call: Any, inputs: Any) -> None:
    tensors = [wg.tensor(x, requires_grad=True) for x in inputs]
    assert wg.testing.gradgradcheck(lambda *t: call(F, *t), tensors)


@needs_torch
def test_one_hot_equals_torch() -> None:
    classes = np.array([[0, 3], [1, 1]])
    for count in (-1, 4, 6):
        ours = F.one_hot(wg.tensor(classes), count)
        theirs = torch.nn.functional.one_hot(torch.tensor(classes), count)
        assert ours.tolist() == theirs.tolist()
        assert ours.dtype is wg.int64
    assert F.one_hot(wg.empty(0, dtype=wg.int64), 3).shape == (0, 3)


FAILING = [
    (RuntimeError, lambda m, t: m.nn.functional.one_hot(t(A))),
    (RuntimeError, lambda m, t: m.nn.functional.one_hot(t(np.array([-1])))),
    (RuntimeError, lambda m, t: m.nn.functional.one_hot(t(np.array([4])), 3)),
    (RuntimeError, lambda m, t: m.nn.functional.one_hot(t(np.zeros(0, "int64")))),
    (RuntimeError, lambda m, t: m.nn.functional.glu(t(A), 0)),
    (RuntimeError, lambda m, t: m.nn.functional.glu(t(np.array(1.0)))),
    (RuntimeError, lambda m, t: m.nn.functional.bilinear(t(A), t(B), t(A))),
    (RuntimeError, lambda m, t: m.nn.functional.cosine_similarity(t(WHOLE), t(WHOLE))),
    (ValueError, lambda m, t: m.nn.functional.dropout(t(A), 1.5)),
    (ValueError, lambda m, t: m.nn.Dropout(-0.1)),
    (RuntimeError, lambda m, t: m.nn.functional.dropout1d(t(A[0, 0]))),
    (TypeError, lambda m, t: m.nn.Unflatten(1, 3)),
    (TypeError, lambda m, t: m.nn.Unflatten(1, (3, "a"))),
    (RuntimeError, lambda m, t: m.nn.Unflatten(1, (3, 2))(t(A))),
    (ValueError, lambda m, t: m.nn.Bilinear(0, 1, 1)),
]  # fmt: skip


@needs_torch
@pytest.mark.parametrize(("error", "call"), FAILING)
def test_refusals_are_those_of_torch(error: type[Exception], call: Any) -> None:
    for library, convert in ((wg, wg.tensor), (torch, torch.tensor)):
        with pytest.raises(error):
            call(library, convert)


# --- dropout -----------------------------------------------------------------------------------


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
def test_dropout(p: float, inplace: bool) -> None:
    x = wg.ones(200, 300, requires_grad=True)
    m = nn.Dropout(p, inplace)
    y = m(x * 1)
    values = y.detach().numpy()
    assert set(np.unique(values)) <= {np.float32(0), np.float32(1 / (1 - p) if p < 1 else 0)}
    assert (values == 0).mean() == pytest.approx(p, abs=0.01)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), values)
    assert m.eval()(x) is x
    wg.manual_seed(3)
    first = F.dropout(x, p).tolist()
    wg.manual_seed(3)
    assert F.dropout(x, p).tolist() == first


@pytest.mark.parametrize(
    ("name", "shape", "axes"),
    [
        ("Dropout1d", (50, 40, 3), (2,)),
        ("Dropout1d", (2000, 3), (1,)),
        ("Dropout2d", (50, 40, 3, 2), (2, 3)),
        ("Dropout3d", (50, 40, 3, 2, 2), (2, 3, 4)),
        ("Dropout3d", (2000, 3, 2, 2), (1, 2, 3)),
    ],
)
def test_dropout_of_channels(name: str, shape: Any, axes: Any) -> None:
    y = getattr(nn, name)(0.25)(wg.ones(shape)).numpy()
    assert (y.min(axes) == y.max(axes)).all()
    assert (y == 0).mean() == pytest.approx(0.25, abs=0.04)
    assert y.max() == pytest.approx(4 / 3)
    assert getattr(nn, name)(0.25).eval()(wg.ones(shape)).numpy().min() == 1


@pytest.mark.parametrize("name", ["AlphaDropout", "FeatureAlphaDropout"])
def test_alpha_dropout_keeps_mean_and_variance(name: str) -> None:
    x = wg.randn(3000, 100) if name[0] == "A" else wg.randn(300, 1000, 1)
    y = getattr(nn, name)(0.3)(x).numpy()
    assert y.mean() == pytest.approx(0, abs=0.02)
    assert y.std() == pytest.approx(1, abs=0.02)
    assert getattr(nn, name)(1.0)(x).abs().max().item() == 0
    assert getattr(nn, name)(0.3).eval()(x) is x


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda n: n.Dropout(), lambda n: n.Dropout(0.1, True), lambda n: n.Dropout2d(0.3),
        lambda n: n.AlphaDropout(), lambda n: n.Bilinear(2, 3, 4),
        lambda n: n.Bilinear(2, 3, 4, bias=False), lambda n: n.Unflatten(1, (2, -1)),
        lambda n: n.Identity(3, a=4), lambda n: n.Flatten(0), lambda n: n.Linear(2, 3, bias=None),
        lambda n: n.Linear(np.int64(3), 64), lambda n: n.CosineSimilarity(), lambda n: n.ReLU(True),
    ],
)  # fmt: skip
def test_reprs_and_states_equal_torch(make: Any) -> None:
    ours, theirs = make(nn), make(torch.nn)
    assert repr(ours) == repr(theirs)
    shapes = [{k: tuple(v.shape) for k, v in m.state_dict().items()} for m in (ours, theirs)]
    assert shapes[0] == shapes[1]


def test_layers() -> None:
    x = wg.randn(3, 2)
    m = nn.Bilinear(2, 2, 5)
    np.testing.assert_allclose(
        m(x, x).detach().numpy(), F.bilinear(x, x, m.weight, m.bias).detach().numpy()
    )
    assert m.weight.abs().max().item() <= 1 / np.sqrt(2)
    assert nn.Unflatten(1, (3, -1))(wg.ones(2, 6, 5)).shape == (2, 3, 2, 5)
    assert nn.Unflatten(-1, (5, 1))(wg.ones(2, 6, 5)).shape == (2, 6, 5, 1)
    assert nn.CosineSimilarity(0)(x, x).tolist() == pytest.approx([1, 1])
    assert nn.PairwiseDistance(keepdim=True)(x, x).shape == (3, 1)


def test_gumbel_softmax() -> None:
    logits = wg.tensor([[0.0, 1.0, 2.0]], requires_grad=True)
    soft = F.gumbel_softmax(logits.broadcast_to((20000, 3)), tau=0.5)
    np.testing.assert_allclose(soft.sum(1).detach().numpy(), 1, rtol=1e-5)
    hard = F.gumbel_softmax(logits.broadcast_to((20000, 3)), hard=True)
    assert ((hard == 0).long().sum(1) == 2).all()
    share = hard.mean(0).detach().numpy()
    np.testing.assert_allclose(share, np.exp([0, 1, 2]) / np.exp([0, 1, 2]).sum(), atol=0.02)
    (hard * wg.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert logits.grad.abs().max().item() > 0


def test_names_of_the_namespace() -> None:
    assert {"normalize", "dropout", "triplet_margin_loss", "relu"} <= set(dir(F))
    from wengert.nn.functional import cosine_similarity

    assert cosine_similarity is F.cosine_similarity
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        F.nothing  # noqa: B018
    for name in nn.__all__:
        assert getattr(nn, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        nn.Nothing  # noqa: B018
