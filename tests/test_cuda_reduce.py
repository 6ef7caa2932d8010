"""Reductions on the CUDA device give what they give on the processor."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

import wengert as wg
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

FLOATS = [wg.float32, wg.float64]
NARROW = [wg.float16, wg.bfloat16]
INTEGERS = [wg.uint8, wg.int8, wg.int16, wg.int32, wg.int64]
DTYPES = [wg.bool, *INTEGERS, *NARROW, *FLOATS]


def source(*shape: int, dtype: Any = wg.float32) -> wg.Tensor:
    """Numbers of both signs, some of them equal, some zero."""
    if dtype in (wg.bool, *INTEGERS):
        low = 0 if dtype in (wg.bool, wg.uint8) else -9
        return wg.randint(low, 2 if dtype is wg.bool else 10, shape).to(dtype)
    x = wg.randn(*shape, dtype=wg.float64)
    return wg.where(x.abs() < 0.1, x * 0, x).to(dtype)


def numbers(t: wg.Tensor) -> Any:
    """As an array, of what arithmetic is done in."""
    t = t.detach().cpu()
    return (t.float() if t.dtype in NARROW else t).numpy()


def same(of: Callable[..., Any], *xs: wg.Tensor, rtol: float | None = None) -> None:
    """Both devices agree; the CUDA one has kernels for all of it, with the same bits twice."""
    expected = of(*xs)
    given = [x.cuda() for x in xs]
    before = _core.cuda.host_launches()
    got, again = of(*given), of(*given)
    assert _core.cuda.host_launches() == before
    if not isinstance(got, tuple | list):
        expected, got, again = (expected,), (got,), (again,)
    for e, g, a in zip(expected, got, again, strict=True):
        assert g.device.type == "cuda"
        assert (g.dtype, g.shape) == (e.dtype, e.shape)
        np.testing.assert_array_equal(numbers(g), numbers(a))
        if e.dtype in (wg.float64, wg.float32, *NARROW):
            limit = {wg.float64: 1e-12, wg.float32: 3e-6}.get(e.dtype, 1e-2)
            np.testing.assert_allclose(
                numbers(g), numbers(e), rtol=rtol or limit, atol=20 * (rtol or limit)
            )
        else:
            np.testing.assert_array_equal(numbers(g), numbers(e))


# What is reduced: shapes whose rows are short, long, aligned or not, kept dimensions near and far.
SPACES: list[tuple[tuple[int, ...], int | tuple[int, ...] | None]] = [
    ((), None),
    ((1,), 0),
    ((7,), 0),
    ((33, 3), 1),
    ((33, 4), 1),
    ((31, 33), 0),
    ((5, 1025), 1),
    ((6, 512), 1),
    ((1000, 3), 0),
    ((3, 40000), 1),
    ((20001,), 0),
    ((70, 31, 5), 1),
    ((4, 6, 8), (0, 2)),
    ((4, 6, 7), (0, 2)),
    ((3, 4, 5, 6), (1, 3)),
    ((3, 4, 5, 6), (0, 1, 2, 3)),
    ((2, 3000, 33), 1),
]


@pytest.mark.parametrize(("shape", "dims"), SPACES)
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.int64])
def test_sums_of_all_layouts(shape: tuple[int, ...], dims: Any, dtype: Any) -> None:
    x = source(*shape, dtype=dtype)
    same(lambda x: x.sum(dims) if dims is not None else x.sum(), x)
    if dims is not None:
        same(lambda x: x.amax(dims, keepdim=True), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [0, 1])
def test_all_reductions_of_all_dtypes(dtype: Any, dim: int) -> None:
    x = source(37, 600, dtype=dtype)
    same(lambda x: x.sum(dim), x)
    same(lambda x: x.amax(dim), x)
    same(lambda x: x.amin(dim), x)
    same(lambda x: wg.count_nonzero(x, dim), x)
    if dtype is wg.bool:
        same(lambda x: x.any(dim), x)
        same(lambda x: x.all(dim), x)
        return
    same(lambda x: x.argmax(dim), x)
    same(lambda x: x.max(dim), x)
    same(lambda x: x.min(dim), x)
    if dtype in INTEGERS:
        same(lambda x: x.prod(dim), x)


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("shape", [(9, 70), (70, 9), (2, 5000), (5000, 2), (1, 1)])
def test_reductions_of_numbers(dtype: Any, shape: tuple[int, int]) -> None:
    x = source(*shape, dtype=dtype)
    for dim in (0, 1):
        same(lambda x, dim=dim: x.mean(dim), x)
        same(lambda x, dim=dim: wg.linalg.vector_norm(x, 1, dim), x)
        same(lambda x, dim=dim: wg.linalg.vector_norm(x, 2, dim), x)
        same(lambda x, dim=dim: x.var(dim, correction=0), x)
        same(lambda x, dim=dim: x.logsumexp(dim), x)
        same(lambda x, dim=dim: (1 + x / 1000).prod(dim), x)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.int64, wg.bfloat16])
def test_sources_that_are_not_contiguous(dtype: Any) -> None:
    base = source(12, 34, 10, dtype=dtype)

    def of(x: wg.Tensor) -> tuple[wg.Tensor, ...]:
        views = [
            x.permute(2, 0, 1),
            x.transpose(0, 1),
            x[:, 1:, 3:],
            x[::2, :, ::3],
            x[:, :1].expand(12, 34, 10),
            x[0, 0].expand(3, 5, 10),
        ]
        return tuple(
            r for v in views for d in range(3) for r in (v.sum(d), v.amax(d), v.sum())
        ) + tuple(v.argmax(d) for v in views for d in range(3))

    same(of, base)


def test_empty_reductions() -> None:
    for dtype in (wg.float32, wg.int64):
        x = source(3, 0, 4, dtype=dtype)
        same(lambda x: x.sum(1), x)
        same(lambda x: x.sum(0), x)
        same(lambda x: x.prod(1), x)
        same(lambda x: x.sum(), x)
        same(lambda x: wg.count_nonzero(x, 1), x)
    x = source(3, 0, dtype=wg.bool)
    same(lambda x: x.any(1), x)
    same(lambda x: x.all(1), x)
    same(lambda x: x.mean(1), source(3, 0))


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize("n", [4, 33, 1000, 9000])
def test_what_is_not_a_number(dtype: Any, n: int) -> None:
    x = source(8, n, dtype=dtype)
    x[1, n // 2] = math.nan
    x[2, 0] = math.nan
    x[2, n - 1] = math.nan
    x[3, n // 3] = math.inf
    x[4] = -math.inf
    x[5] = math.inf
    x[6, 1], x[6, n // 2] = math.inf, -math.inf
    x[7] = math.nan
    for turned in (False, True):

        def of(x: wg.Tensor, turned: bool = turned) -> list[wg.Tensor]:
            y = x.t() if turned else x
            each = [
                (*y.max(d), *y.min(d), y.amin(d), y.sum(d), y.logsumexp(d), wg.count_nonzero(y, d))
                for d in (0, 1)
            ]
            return [r for rs in each for r in rs]

        same(of, x)


def test_the_first_of_equals_is_found() -> None:
    x = wg.zeros(3, 50000)
    x[1, 40001] = x[1, 40003] = 1
    x[2, 7] = x[2, 40003] = -1
    for y in (x, x.double(), x.long()):
        for d in (0, 1):
            same(lambda y, d=d: (y.argmax(d), y.argmin(d), y.t().argmax(d), y.t().argmin(d)), y)
    same(lambda x: (x.argmax(), x.argmin()), x)


@pytest.mark.parametrize("dtype", [wg.int64, *FLOATS])
@pytest.mark.parametrize("n", [0, 1, 31, 2048, 10001])
def test_dot(dtype: Any, n: int) -> None:
    x, y = source(2 * n + 1, dtype=dtype), source(2 * n + 1, dtype=dtype)
    same(lambda x, y: wg.dot(x[:n], y[:n]), x, y, rtol=1e-5 if dtype is wg.float32 else None)
    same(lambda x, y: wg.dot(x[1::2], y[:n]), x, y, rtol=1e-5 if dtype is wg.float32 else None)
    if n:
        same(lambda x, y: wg.dot(x[:1].expand(n), y[:n]), x, y, rtol=1e-5)


def test_long_float32_sums_are_exact_to_rounding() -> None:
    x = wg.full((1, 1 << 18), 0.1)
    for y in (x, x.t(), x.reshape(512, 512).t()):
        total = float(y.cuda().sum())
        assert abs(total - 0.1 * (1 << 18)) < 0.02
    columns = wg.full((1 << 14, 9), 0.1).cuda().sum(0)
    np.testing.assert_allclose(numbers(columns), 0.1 * (1 << 14), rtol=1e-6)


def test_bounds_and_finiteness() -> None:
    x = source(70000, dtype=wg.int64)
    before = _core.cuda.host_launches()
    with wg.autograd.set_detect_anomaly(True):
        for dtype in (*FLOATS, *NARROW):
            y = source(5001, dtype=dtype).cuda()
            (y * 2).sum()
            y[5000] = math.inf
            assert not bool(wg.isfinite(y).all())
    assert _core.cuda.host_launches() == before
    np.testing.assert_array_equal(
        numbers(wg.bincount(x.cuda().abs())), numbers(wg.bincount(x.abs()))
    )
