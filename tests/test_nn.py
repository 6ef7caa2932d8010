"""Modules: members, state, text, starting values, losses, and the fused path of Sequential."""

from __future__ import annotations

import copy
import math
import pickle
from collections import OrderedDict
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn

ACTIVATIONS = ("ReLU", "Tanh", "Sigmoid", "GELU", "Softmax", "LogSoftmax", "Identity", "Flatten")


def network(library: Any) -> Any:
    """A module of every kind of member, in wengert or in PyTorch."""
    base = library.nn.Module

    class Block(base):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first = library.nn.Linear(3, 4)
            self.scale = library.nn.Parameter(library.ones(4))
            self.register_buffer("seen", library.zeros(2))
            self.register_buffer("scratch", library.zeros(1), persistent=False)
            self.register_parameter("absent", None)
            self.tail = library.nn.Sequential(
                library.nn.ReLU(), library.nn.Linear(4, 2, bias=False)
            )
            self.twin = self.first
            self.plain = [1, 2]

        def forward(self, x: Any) -> Any:
            return self.tail(self.first(x) * self.scale)

    return Block()


def copied(theirs: Any, ours: Any) -> None:
    """Give our module the values of PyTorch's."""
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})


# --- members -----------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "what",
    [
        lambda m: [n for n, _ in m.named_parameters()],
        lambda m: [n for n, _ in m.named_buffers()],
        lambda m: [n for n, _ in m.named_modules()],
        lambda m: [n for n, _ in m.named_children()],
        lambda m: list(m.state_dict()),
        lambda m: [tuple(p.shape) for p in m.parameters()],
        lambda m: [n for n, _ in m.named_parameters(prefix="a", recurse=False)],
        lambda m: [type(c).__name__ for c in m.modules()],
        lambda m: len(list(m.buffers())),
        lambda m: [p.requires_grad for p in m.requires_grad_(False).parameters()],
        lambda m: [c.training for c in m.eval().modules()],
        lambda m: m.train(False).train().tail.training,
        lambda m: repr(m),
        lambda m: list(m.tail.state_dict()),
        lambda m: repr(m.tail[1:]),
        lambda m: sorted(str(p.dtype)[-7:] for p in m.double().parameters()),
        lambda m: [str(t.dtype)[-7:] for t in m.to(m.scale.double()).buffers()],
    ],
)
def test_structure_equals_torch(what: Any) -> None:
    assert what(network(wg)) == what(network(torch))


@needs_torch
def test_forward_and_gradients_equal_torch() -> None:
    ours, theirs = network(wg), network(torch)
    copied(theirs, ours)
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    a, b = ours(wg.from_numpy(x)), theirs(torch.from_numpy(x))
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-5, atol=1e-6)
    a.square().sum().backward()
    b.square().sum().backward()
    for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-4, atol=1e-5)


def test_members_can_be_replaced_and_deleted() -> None:
    m = network(wg)
    old = m.scale
    m.scale = nn.Parameter(wg.zeros(4))
    assert all(p is not old for p in m.parameters())
    m.scale = None
    assert "scale" not in dict(m.named_parameters())
    del m.tail
    assert not hasattr(m, "tail")
    m.seen = wg.ones(2)
    assert m.state_dict()["seen"].tolist() == [1, 1]
    m.first = nn.Identity()
    assert [n for n, _ in m.named_parameters()] == ["twin.weight", "twin.bias"]
    m.plain = nn.Parameter(wg.ones(1))
    assert "plain" in dict(m.named_parameters())
    with pytest.raises(AttributeError):
        m.nothing  # noqa: B018


def test_members_need_the_constructor() -> None:
    class Early(nn.Module):
        def __init__(self) -> None:
            self.weight = nn.Parameter(wg.ones(1))

    with pytest.raises(AttributeError, match=r"before Module.__init__"):
        Early()


def test_apply_and_zero_grad() -> None:
    m, seen = network(wg), []
    assert m.apply(lambda c: seen.append(type(c).__name__)) is m
    assert seen[-1] == "Block"
    m(wg.ones(2, 3)).sum().backward()
    grad = m.scale.grad
    m.zero_grad(set_to_none=False)
    assert m.scale.grad is grad
    assert grad.tolist() == [0] * 4
    m.zero_grad()
    assert m.scale.grad is None


def test_conversion_keeps_parameters_and_their_gradients() -> None:
    m = nn.Linear(2, 2)
    m(wg.ones(1, 2)).sum().backward()
    weight = m.weight
    assert m.double() is m
    assert m.weight is weight
    assert (weight.dtype, weight.grad.dtype) == (wg.float64, wg.float64)
    m(wg.ones(1, 2, dtype=wg.float64)).sum().backward()


# --- state -------------------------------------------------------------------------------------


def test_state_dict_shares_and_loads_copies() -> None:
    m, other = network(wg), network(wg)
    state = m.state_dict()
    assert isinstance(state, OrderedDict)
    assert state["first.weight"].data_ptr() == m.first.weight.data_ptr()
    assert not state["first.weight"].requires_grad
    assert repr(other.load_state_dict(state)).startswith(("<All keys", "([], [])"))
    state["scale"].fill_(9)
    assert m.scale.tolist() == [9] * 4
    assert other.scale.tolist() == [1] * 4
    for a, b in ((other.first.weight, m.first.weight), (other.tail[1].weight, m.tail[1].weight)):
        np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_loading_is_all_or_nothing() -> None:
    m = network(wg)
    state = {k: v.clone() + 1 for k, v in m.state_dict().items()}
    before = m.scale.tolist()
    state["tail.1.weight"] = wg.ones(3, 3)
    with pytest.raises(
        RuntimeError, match=r"(?s)Block.*size mismatch for tail.1.weight.*\(3, 3\).*\(2, 4\)"
    ):
        m.load_state_dict(state)
    assert m.scale.tolist() == before
    del state["tail.1.weight"]
    state["more"] = wg.ones(1)
    with pytest.raises(RuntimeError, match=r"(?s)Missing.*tail.1.weight.*Unexpected.*more"):
        m.load_state_dict(state)
    result = m.load_state_dict(state, strict=False)
    assert (result.missing_keys, result.unexpected_keys) == (["tail.1.weight"], ["more"])
    assert m.scale.tolist() == [2] * 4


@pytest.mark.parametrize(
    "copier", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"]
)
def test_copies(copier: Any) -> None:
    m = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    made = copier(m)
    x = wg.ones(2, 3)
    np.testing.assert_array_equal(made(x).detach().numpy(), m(x).detach().numpy())
    with wg.no_grad():
        made[0].weight.zero_()
    assert m[0].weight.abs().sum().item() > 0
    assert [n for n, _ in made.named_parameters()] == [n for n, _ in m.named_parameters()]


# --- Sequential --------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64], ids=str)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(1, 5), (33, 5), (0, 5), (5,), (2, 3, 5)])
def test_the_fused_path_has_the_same_bits(
    shape: Any, bias: bool, activation: Any, dtype: Any
) -> None:
    m = nn.Sequential(
        nn.Linear(5, 17, bias=bias), activation(), nn.Linear(17, 3), nn.Identity()
    ).to(dtype)
    runs = []
    for forward in (m, lambda x: m[3](m[2](m[1](m[0](x))))):
        x = wg.randn(shape, dtype=dtype) if not runs else runs[0][0].detach().clone()
        x.requires_grad_()
        y = forward(x)
        runs.append([x, y, *wg.autograd.grad(y.square().sum(), [x, *m.parameters()])])
    for fused, plain in zip(*runs, strict=True):
        np.testing.assert_array_equal(fused.detach().numpy(), plain.detach().numpy())


def test_fusing_saves_launches() -> None:
    m, x = nn.Sequential(nn.Linear(5, 7), nn.ReLU()), wg.ones(2, 5)
    with wg.testing.count_launches() as fused:
        m(x)
    with wg.testing.count_launches() as plain:
        m[1](m[0](x))
    assert sum(fused.counts.values()) < sum(plain.counts.values())


def test_sequential_is_a_list() -> None:
    m = nn.Sequential(OrderedDict(a=nn.Linear(2, 2), b=nn.ReLU()))
    assert (len(m), [n for n, _ in m.named_children()]) == (2, ["a", "b"])
    assert m[0] is m.a
    assert m[-1] is m.b
    m[1] = nn.Tanh()
    assert isinstance(m.b, nn.Tanh)
    assert m(wg.ones(1, 2)).abs().max().item() <= 1
    m = nn.Sequential(nn.Linear(2, 2)).append(nn.ReLU())
    first = m(wg.ones(1, 2)).tolist()
    assert (first, m[:1](wg.ones(1, 2)).relu().tolist()) == (first, first)
    del m[0]
    assert (len(m), list(m._modules)) == (1, ["0"])
    assert nn.Sequential()(3) == 3


def test_a_subclass_of_linear_is_not_fused_past() -> None:
    class Doubled(nn.Linear):
        def forward(self, input: wg.Tensor) -> wg.Tensor:
            return super().forward(input) * 2

    m = nn.Sequential(Doubled(2, 2), nn.ReLU())
    np.testing.assert_array_equal(m(wg.ones(1, 2)).tolist(), m[0](wg.ones(1, 2)).relu().tolist())


# --- layers and losses -------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_layers_equal_torch(name: str) -> None:
    args = (1,) if "Softmax" in name else ()
    x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
    ours, theirs = getattr(nn, name)(*args), getattr(torch.nn, name)(*args)
    a = ours(wg.from_numpy(x.copy()))
    np.testing.assert_allclose(a.numpy(), theirs(torch.from_numpy(x)).numpy(), rtol=1e-6, atol=1e-7)
    assert repr(ours) == repr(theirs)


@needs_torch
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", ["MSELoss", "CrossEntropyLoss"])
def test_losses_equal_torch(name: str, reduction: str) -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(6, 4)) * 30
    target = rng.integers(0, 4, 6) if name[0] == "C" else rng.normal(size=(6, 4))
    results = []
    for library, convert in ((wg, wg.tensor), (torch, torch.tensor)):
        leaf = convert(x).requires_grad_()
        loss = getattr(library.nn, name)(reduction=reduction)(leaf, convert(target))
        loss.sum().backward()
        results.append((loss.detach().numpy(), leaf.grad.numpy()))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14)


def test_cross_entropy_neither_overflows_nor_loses_digits() -> None:
    x = wg.tensor([[1e4, 0.0, -1e4], [0.0, 1e-6, -1e-6]], requires_grad=True)
    loss = nn.functional.cross_entropy(x, wg.tensor([0, 1]), reduction="none")
    assert loss.tolist() == [0, pytest.approx(math.log(3), rel=1e-6)]
    loss.sum().backward()
    assert np.isfinite(x.grad.numpy()).all()


@needs_torch
def test_cross_entropy_of_ignored_rows() -> None:
    for targets in ([-100, 1], [-100, -100]):
        got = nn.functional.cross_entropy(wg.zeros(2, 3), wg.tensor(targets)).item()
        want = torch.nn.functional.cross_entropy(torch.zeros(2, 3), torch.tensor(targets)).item()
        np.testing.assert_allclose(got, want, rtol=1e-6)


# --- starting values ---------------------------------------------------------------------------

SHAPE = (200, 300)
INITS = [
    ("uniform_", (-1, 3), 1, 4 / math.sqrt(12)),
    ("normal_", (1, 2), 1, 2),
    ("constant_", (7,), 7, 0),
    ("zeros_", (), 0, 0),
    ("ones_", (), 1, 0),
    ("kaiming_uniform_", (), 0, math.sqrt(2 / 300)),
    ("kaiming_normal_", (), 0, math.sqrt(2 / 300)),
    ("kaiming_normal_", (0, "fan_out", "relu"), 0, math.sqrt(2 / 200)),
    ("xavier_uniform_", (), 0, math.sqrt(2 / 500)),
    ("xavier_normal_", (2.0,), 0, 2 * math.sqrt(2 / 500)),
]


@pytest.mark.parametrize(("name", "args", "mean", "std"), INITS)
def test_starting_values(name: str, args: Any, mean: float, std: float) -> None:
    p = nn.Parameter(wg.empty(SHAPE))
    assert getattr(nn.init, name)(p, *args) is p
    assert (p.requires_grad, p.is_leaf) == (True, True)
    values = p.detach().numpy()
    assert values.mean() == pytest.approx(mean, abs=0.02 * std + 1e-12)
    assert values.std() == pytest.approx(std, rel=0.02, abs=1e-12)


@needs_torch
@pytest.mark.parametrize("kind", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
def test_gains_equal_torch(kind: str) -> None:
    assert nn.init.calculate_gain(kind) == pytest.approx(torch.nn.init.calculate_gain(kind))


def test_linear_starts_as_in_torch() -> None:
    m = nn.Linear(100, 400)
    for p in (m.weight, m.bias):
        values = p.detach().numpy()
        assert np.abs(values).max() <= 0.1
        assert values.std() == pytest.approx(0.1 / math.sqrt(3), rel=0.1)
    assert nn.Linear(2, 3, bias=False).bias is None
    assert nn.Linear(2, 3, dtype=wg.float64).weight.dtype is wg.float64
