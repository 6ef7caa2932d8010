"""Clipping, vectors of parameters, padding, and the rarer starting values."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn

rng = np.random.default_rng(2)
GRADS = [rng.normal(size=s) * 3 for s in ((3, 4), (5,), ())]


def leaves(library: Any, grads: Any = GRADS) -> list[Any]:
    """Parameters with gradients, and one without."""
    convert = wg.tensor if library is wg else torch.tensor
    made = []
    for g in grads:
        made.append(convert(np.zeros_like(g)).requires_grad_())
        made[-1].grad = convert(g)
    made.append(convert(np.zeros(2)).requires_grad_())
    return made


@needs_torch
@pytest.mark.parametrize("limit", [0.5, 3, 1e3])
@pytest.mark.parametrize("order", [2, 1, 3.5, "inf", math.inf])
def test_clipping_by_norm_equals_torch(order: Any, limit: float) -> None:
    ours, theirs = leaves(wg), leaves(torch)
    a = nn.utils.clip_grad_norm_(ours, limit, order)
    b = torch.nn.utils.clip_grad_norm_(theirs, limit, order)
    np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-12)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-12)
    assert ours[-1].grad is None


def test_clipping_by_norm() -> None:
    one = leaves(wg)[0]
    norm = one.grad.square().sum().sqrt().item()
    assert nn.utils.clip_grad_norm_(one, 1.0).item() == pytest.approx(norm)
    assert one.grad.square().sum().item() == pytest.approx(1)
    assert nn.utils.clip_grad_norm_(iter([one]), 0.1).item() == pytest.approx(1)
    assert nn.utils.clip_grad_norm_([], 1.0).item() == 0
    assert nn.utils.get_total_norm([wg.tensor([3.0]), wg.tensor([4.0])]).item() == 5
    ours = leaves(wg, [np.array([1.0, math.nan])])
    with pytest.raises(RuntimeError, match="non-finite"):
        nn.utils.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert ours[0].grad[0].item() == 1
    nn.utils.clip_grad_norm_(ours, 1.0)
    assert ours[0].grad.isnan().all() if hasattr(wg.Tensor, "isnan") else True


@needs_torch
def test_clipping_by_value_equals_torch() -> None:
    ours, theirs = leaves(wg), leaves(torch)
    nn.utils.clip_grad_value_(ours, 1)
    torch.nn.utils.clip_grad_value_(theirs, 1)
    for p, q in zip(ours[:-1], theirs[:-1], strict=True):
        np.testing.assert_array_equal(p.grad.numpy(), q.grad.numpy())


def test_clipping_scales_a_training_step() -> None:
    m = nn.Linear(3, 2)
    m(wg.ones(4, 3)).sum().backward()
    nn.utils.clip_grad_norm_(m.parameters(), 0.25)
    assert nn.utils.get_total_norm(p.grad for p in m.parameters()).item() == pytest.approx(0.25)


def test_vectors_of_parameters() -> None:
    m, other = nn.Linear(3, 2), nn.Linear(3, 2)
    vector = nn.utils.parameters_to_vector(m.parameters())
    assert vector.shape == (8,)
    weight = other.weight
    nn.utils.vector_to_parameters(vector.detach(), other.parameters())
    assert other.weight is weight
    assert other.weight.tolist() == m.weight.tolist()
    assert other.bias.tolist() == m.bias.tolist()
    vector.sum().backward()
    assert m.weight.grad.tolist() == [[1] * 3] * 2
    with pytest.raises(TypeError):
        nn.utils.vector_to_parameters([1.0], m.parameters())
    with pytest.raises(RuntimeError, match="expected at least 8"):
        nn.utils.vector_to_parameters(wg.ones(3), m.parameters())


@needs_torch
@pytest.mark.parametrize("padding_side", ["left", "right"])
@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("inner", [(), (2,)])
def test_padding_equals_torch(inner: Any, batch_first: bool, padding_side: str) -> None:
    parts = [rng.normal(size=(n, *inner)) for n in ((3, 1, 4, 0) if inner else (3, 1, 4))]
    results = []
    for library, convert in ((wg, wg.tensor), (torch, torch.tensor)):
        tensors = [convert(p).requires_grad_() for p in parts]
        made = library.nn.utils.rnn.pad_sequence(tensors, batch_first, 7.0, padding_side)
        made.sum().backward()
        results.append([made.detach().numpy(), *(t.grad.numpy() for t in tensors)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_padding() -> None:
    made = nn.utils.rnn.pad_sequence([wg.arange(3), wg.arange(1)])
    assert made.dtype is wg.int64
    assert [s.tolist() for s in nn.utils.rnn.unpad_sequence(made, [3, 1])] == [[0, 1, 2], [0]]
    with pytest.raises(RuntimeError):
        nn.utils.rnn.pad_sequence([])
    with pytest.raises(ValueError, match="left or right"):
        nn.utils.rnn.pad_sequence([wg.ones(1)], padding_side="up")


# --- starting values ---------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "args", [(0.0, 1.0, -2.0, 2.0), (1.0, 0.5, 0.8, 3.0), (0.0, 1.0, 4.0, 6.0)]
)
@pytest.mark.filterwarnings("ignore:mean is more than 2 std")
def test_truncated_normal_has_the_distribution_of_torch(args: Any) -> None:
    ours = nn.init.trunc_normal_(nn.Parameter(wg.empty(300, 200)), *args).detach().numpy()
    theirs = torch.nn.init.trunc_normal_(torch.empty(300, 200), *args).numpy()
    assert args[2] <= ours.min() <= ours.max() <= args[3]
    quantiles = np.linspace(0.05, 0.95, 19)
    np.testing.assert_allclose(
        np.quantile(ours, quantiles), np.quantile(theirs, quantiles), atol=0.08 * args[1]
    )


@pytest.mark.parametrize("shape", [(4, 4), (3, 7), (7, 3), (4, 2, 3), (1, 1), (0, 3)])
def test_orthogonal(shape: Any) -> None:
    p = nn.Parameter(wg.empty(shape, dtype=wg.float64))
    assert nn.init.orthogonal_(p, gain=2.0) is p
    if p.numel() == 0:
        return
    m = p.detach().numpy().reshape(shape[0], -1)
    small = m @ m.T if m.shape[0] <= m.shape[1] else m.T @ m
    np.testing.assert_allclose(small, 4 * np.eye(len(small)), atol=1e-12)
    wg.manual_seed(1)
    first = nn.init.orthogonal_(p).tolist()
    wg.manual_seed(1)
    assert nn.init.orthogonal_(p).tolist() == first


@needs_torch
@pytest.mark.parametrize(
    ("name", "shape", "args"),
    [
        ("eye_", (3, 5), ()),
        ("dirac_", (4, 2, 3), ()),
        ("dirac_", (4, 2, 3, 3), (2,)),
        ("dirac_", (2, 2, 3, 4, 5), ()),
    ],
)
def test_fixed_values_equal_torch(name: str, shape: Any, args: Any) -> None:
    ours = getattr(nn.init, name)(nn.Parameter(wg.empty(shape)), *args)
    theirs = getattr(torch.nn.init, name)(torch.empty(shape), *args)
    np.testing.assert_array_equal(ours.detach().numpy(), theirs.numpy())


def test_sparse() -> None:
    values = nn.init.sparse_(wg.empty(100, 40), 0.25, std=3.0).numpy()
    assert ((values == 0).sum(0) == 25).all()
    assert values[values != 0].std() == pytest.approx(3, rel=0.1)


@needs_torch
@pytest.mark.parametrize(
    ("name", "args", "shape"),
    [
        ("eye_", (), (2,)), ("dirac_", (), (2, 2)), ("dirac_", (3,), (4, 2, 2)),
        ("orthogonal_", (), (2,)), ("sparse_", (0.5,), (2,)), ("xavier_uniform_", (), (2,)),
        ("kaiming_normal_", (0, "up"), (2, 2)), ("kaiming_normal_", (0, "fan_in", "no"), (2, 2)),
    ],
)  # fmt: skip
def test_refusals_are_those_of_torch(name: str, args: Any, shape: Any) -> None:
    for library in (wg, torch):
        with pytest.raises(ValueError):
            getattr(library.nn.init, name)(library.empty(shape), *args)


@needs_torch
@pytest.mark.parametrize("kind", ["conv1d", "conv2d", "conv3d", "conv_transpose2d", "leaky_relu"])
def test_gains_equal_torch(kind: str) -> None:
    for param in (None, 0.3):
        ours = nn.init.calculate_gain(kind, param)
        assert ours == pytest.approx(torch.nn.init.calculate_gain(kind, param))
    with pytest.raises(ValueError):
        nn.init.calculate_gain("leaky_relu", "a")  # type: ignore[arg-type]
