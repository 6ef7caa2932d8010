"""Softmax, cross-entropy and normalizations on the CUDA device, and their gradients."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

import wengert as wg
from wengert import _core
from wengert.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

FLOATS = [wg.float32, wg.float64]
# Rows of parts of a warp, of a warp, of a block; aligned or not; held in registers or not.
ROWS = [(3, 1), (70, 3), (33, 4), (5, 33), (300, 40), (4, 300), (300, 130), (3, 1023), (2, 9001)]


def close(got: wg.Tensor, expected: wg.Tensor) -> None:
    assert got.device.type == "cuda"
    assert (got.dtype, got.shape) == (expected.dtype, expected.shape)
    limit = {wg.float64: 1e-11, wg.float32: 1e-5}[expected.dtype]
    np.testing.assert_allclose(
        got.detach().cpu().numpy(), expected.detach().numpy(), rtol=limit, atol=limit
    )


def results(of: Callable[..., Any], device: str, *xs: wg.Tensor | None) -> list[wg.Tensor]:
    """Results and gradients; the loss weighs elements unequally."""
    leaves = [
        x if x is None else x.detach().to(device).requires_grad_(x.dtype in FLOATS) for x in xs
    ]
    before = _core.cuda.host_launches()
    y = of(*leaves)
    weights = wg.linspace(-1, 2, y.numel(), dtype=wg.float64).to(y.dtype).to(device)
    g = weights.reshape(y.shape)
    wanted = [x for x in leaves if x is not None and x.requires_grad]
    grads = wg.autograd.grad(y, wanted, g)
    assert _core.cuda.host_launches() == before
    return [y, *grads]


def same(of: Callable[..., Any], *xs: wg.Tensor | None) -> None:
    """As exact as the processor, measured by float64; the same bits twice."""
    wide = [x.double() if x is not None and x.dtype in FLOATS else x for x in xs]
    exact, own = results(of, "cpu", *wide), results(of, "cpu", *xs)
    got, again = results(of, "cuda", *xs), results(of, "cuda", *xs)
    for e, o, g, a in zip(exact, own, got, again, strict=True):
        assert g.device.type == "cuda"
        assert (g.dtype, g.shape) == (o.dtype, o.shape)
        e_, o_, g_, a_ = (t.detach().cpu().numpy() for t in (e, o, g, a))
        np.testing.assert_array_equal(g_, a_)
        limit = (4e-6 if g.dtype is wg.float32 else 1e-12) * np.abs(e_).max(initial=1)
        assert np.abs(g_ - e_).max() <= limit + 2 * np.abs(o_ - e_).max()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", ROWS)
def test_softmax(shape: tuple[int, int], dtype: Any) -> None:
    x = 3 * wg.randn(*shape, dtype=dtype)
    same(lambda x: x.softmax(1), x)
    same(lambda x: x.log_softmax(1), x)


@pytest.mark.parametrize("columns", [5, 40, 9000])
def test_softmax_of_what_is_not_finite(columns: int) -> None:
    x = wg.randn(6, columns, dtype=wg.float64)
    x[0] = -math.inf
    x[1, 1] = math.inf
    x[2, columns - 1] = math.nan
    x[3, 2:] = -math.inf
    x[4, 0] = -math.inf
    for of in (wg.softmax, wg.log_softmax):
        close(of(x.cuda(), 1), of(x, 1))
    target = wg.tensor([0, 2, 1, 0, 3, 2])
    close(
        functional.cross_entropy(x.cuda(), target.cuda(), reduction="none"),
        functional.cross_entropy(x, target, reduction="none"),
    )


def test_softmax_of_empty_rows() -> None:
    for shape in ((0, 3), (3, 0)):
        assert wg.zeros(*shape).cuda().softmax(1).shape == shape


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("shape", [(5, 3), (70, 16), (33, 130), (5000, 2), (3, 9001)])
def test_cross_entropy(shape: tuple[int, int], reduction: str, dtype: Any) -> None:
    x = 2 * wg.randn(*shape, dtype=dtype)
    target = wg.randint(0, shape[1], (shape[0],))
    same(lambda x, t: functional.cross_entropy(x, t, reduction=reduction), x, target)
    target[::3] = 1
    same(
        lambda x, t: functional.cross_entropy(x, t, reduction=reduction, ignore_index=1), x, target
    )


def test_cross_entropy_of_nothing() -> None:
    ignored = wg.full((4,), -100, dtype=wg.int64).cuda()
    x = wg.randn(4, 3).cuda().requires_grad_()
    assert math.isnan(functional.cross_entropy(x, ignored).item())
    assert functional.cross_entropy(x, ignored, reduction="sum").item() == 0
    none = functional.cross_entropy(x[:0], ignored[:0], reduction="sum")
    assert none.item() == 0


def test_classes_out_of_range_are_told() -> None:
    x = wg.randn(4, 3).cuda()
    for bad in (3, -1, 1 << 40):
        target = wg.tensor([0, 1, bad, 2]).cuda()
        with pytest.raises(IndexError):
            functional.cross_entropy(x, target).item()


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", ROWS)
def test_layer_norm(shape: tuple[int, int], dtype: Any) -> None:
    x, n = 1 + wg.randn(*shape, dtype=dtype), shape[1]
    w, b = wg.randn(n, dtype=dtype), wg.randn(n, dtype=dtype)
    eps = 1e-3
    same(lambda x: functional.layer_norm(x, (n,), eps=eps), x)
    same(lambda x, w, b: functional.layer_norm(x, (n,), w, b, eps), x, w, b)
    same(lambda x, w: functional.layer_norm(x, (n,), w, None, eps), x, w)
    same(lambda x, w: functional.rms_norm(x, (n,), w, eps), x, w)
    same(lambda x: functional.rms_norm(x, (n,), None, eps), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    ("shape", "groups"),
    [((3, 6, 5), 2), ((2, 8, 4, 4), 4), ((5, 3), 3), ((9, 4, 3), 1), ((2, 4, 33, 32), 2)],
)
def test_group_norm(shape: tuple[int, ...], groups: int, dtype: Any) -> None:
    x = 1 + wg.randn(*shape, dtype=dtype)
    w, b = wg.randn(shape[1], dtype=dtype), wg.randn(shape[1], dtype=dtype)
    same(lambda x, w, b: functional.group_norm(x, groups, w, b, 1e-3), x, w, b)
    same(lambda x: functional.group_norm(x, groups, eps=1e-3), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "shape", [(7, 3), (300, 5), (40, 64), (5000, 3), (4, 3, 5), (2, 8, 4, 4), (3, 2, 50, 61)]
)
def test_batch_norm(shape: tuple[int, ...], dtype: Any) -> None:
    x, n = 3 + wg.randn(*shape, dtype=dtype), shape[1]
    w, b = wg.randn(n, dtype=dtype), wg.randn(n, dtype=dtype)
    same(lambda x, w, b: functional.batch_norm(x, None, None, w, b, True), x, w, b)
    same(lambda x: functional.batch_norm(x, None, None, training=True), x)
    kept = [wg.zeros(n, dtype=dtype), wg.ones(n, dtype=dtype)]
    there = [t.cuda() for t in kept]
    functional.batch_norm(x, *kept, training=True)
    functional.batch_norm(x.cuda(), *there, training=True)
    for k, t in zip(kept, there, strict=True):
        close(t, k)


def test_statistics_far_from_zero_are_exact() -> None:
    x = 1000 + wg.randn(4096, 4)
    y = functional.batch_norm(x.cuda(), None, None, training=True)
    np.testing.assert_allclose(y.std(0).cpu().numpy(), 1, rtol=1e-3)
    x = 1000 + wg.randn(4, 4096)
    y = functional.layer_norm(x.cuda(), (4096,))
    np.testing.assert_allclose(y.std(1).cpu().numpy(), 1, rtol=1e-3)


@pytest.mark.parametrize("groups", [1, 3])
def test_gradients_of_shared_weights(groups: int) -> None:
    """Many rows to a weight: the sums are cut into chunks."""
    x = wg.randn(4000, 3, dtype=wg.float64)
    w, b = wg.randn(3, dtype=wg.float64), wg.randn(3, dtype=wg.float64)

    def of(x: wg.Tensor, w: wg.Tensor, b: wg.Tensor) -> wg.Tensor:
        return functional.group_norm(x[:, :, None] * w[None, None], groups, w, b, 0.1)

    same(of, x, w, b)
