"""Scans, sorting and searching on a CUDA device."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from on_both import on_both
from wengert import _core

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip(f"no CUDA device: {_core.cuda.why_none()}", allow_module_level=True)

DTYPES = ("int64", "float32", "float64")
rng = np.random.default_rng(9)


def numbers(shape: Any, dtype: str, special: bool = True) -> Any:
    """With ties, zeros of both signs, infinities and NaN."""
    if dtype == "int64":
        x = rng.integers(-50, 50, shape)
        if x.size > 2:
            x.flat[:2] = [2**63 - 1, -(2**63)]
        return x
    x = np.round(rng.standard_normal(shape), 1).astype(dtype)
    if special and x.size > 8:
        x.flat[rng.permutation(x.size)[:8]] = [0, -0.0, np.nan, np.inf, -np.inf, 0, -0.0, np.nan]
    return x


# --- sorting -----------------------------------------------------------------------------------


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (1,), (33, 2), (5, 31), (700, 3), (3, 1000)])
def test_sort_of_short_rows(shape: Any, dtype: str, descending: bool) -> None:
    x = numbers(shape, dtype)
    on_both(lambda t: wg.sort(t, -1, descending), x)
    on_both(lambda t: wg.sort(t, 0, descending), x, relaid=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(2048,), (2049,), (3, 4096), (2, 5000), (20_000,)])
def test_sort_of_long_rows(shape: Any, dtype: str) -> None:
    x = numbers(shape, dtype)
    on_both(lambda t: wg.sort(t, stable=True), x)
    on_both(lambda t: wg.sort(t, descending=True), x)


def test_sort_of_all_bits() -> None:
    for dtype, bits in ((np.float32, np.uint32), (np.float64, np.uint64)):
        x = rng.integers(0, np.iinfo(bits).max, 3000, dtype=bits).view(dtype)
        got = on_both(wg.sort, x)[0]
        assert np.isnan(got.cpu().numpy()).sum() == np.isnan(x).sum()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n", [1, 31, 100, 2048, 2049, 9000])
@pytest.mark.parametrize("largest", [False, True])
def test_topk(largest: bool, n: int, dtype: str) -> None:
    x = numbers((2, n), dtype)
    for k in {0, 1, min(n, 5), n // 2, n}:
        on_both(lambda t, k=k: wg.topk(t, k, largest=largest), x)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1,), (4, 1), (5, 33), (3, 2048), (2, 5001)])
def test_one_of_each_row(shape: Any, dtype: str) -> None:
    n = shape[-1]
    for special in (False, True):
        x = numbers(shape, dtype, special)
        if special and dtype != "int64" and len(shape) > 1:
            x[-1] = np.nan
        on_both(lambda t: wg.median(t, -1), x)
        on_both(lambda t: wg.nanmedian(t, -1), x)
        on_both(lambda t: wg.mode(t, -1), x)
        for k in {1, (n + 1) // 2, n}:
            on_both(lambda t, k=k: wg.kthvalue(t, k, -1), x)


@pytest.mark.parametrize("right", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_searchsorted(dtype: str, right: bool) -> None:
    for n in (0, 1, 33, 500):
        sequence, values = np.sort(numbers((3, n), dtype), -1), numbers((3, 40), dtype)
        on_both(lambda s, v: wg.searchsorted(s, v, right=right), sequence, values)
        on_both(lambda s, v: wg.searchsorted(s, v, right=right), sequence[0], values)
    x, values = numbers((3, 50), dtype), numbers((3, 20), dtype)
    order = np.argsort(x, -1, kind="stable")
    want = wg.searchsorted(*map(wg.tensor, (x, values)), right=right, sorter=wg.tensor(order))
    there = [wg.tensor(a, device="cuda") for a in (x, values, order)]
    got = wg.searchsorted(*there[:2], right=right, sorter=there[2])
    assert got.cpu().tolist() == want.tolist()


# --- scans -------------------------------------------------------------------------------------

SHAPES = [(1,), (33,), (127, 3), (128, 1), (5, 129), (2, 1000, 3), (40, 70), (5000,), (3, 4100)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 3), *SHAPES])
def test_running_sums(shape: Any, dtype: str) -> None:
    x = numbers(shape, dtype, special=False)
    rtol = 1e-5 if dtype == "float32" else 1e-12
    for dim in range(len(shape)):
        on_both(lambda t, d=dim: wg.cumsum(t, d), x, rtol=rtol)
        if dtype == "int64":
            on_both(lambda t, d=dim: wg.cumprod(t, d), x)
        else:
            on_both(lambda t, d=dim: wg.cumprod(t, d), 1 + x / 50, rtol=rtol)
            on_both(lambda t, d=dim: wg.logcumsumexp(t, d), x, rtol=rtol)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_running_extremes(shape: Any, dtype: str) -> None:
    for special in (False, True):
        x = numbers(shape, dtype, special)
        for dim in range(len(shape)):
            on_both(lambda t, d=dim: wg.cummax(t, d), x)
            on_both(lambda t, d=dim: wg.cummin(t, d), x)


@pytest.mark.parametrize("shape", [(1,), (33,), (4, 129, 3), (3000,)])
def test_scans_the_other_way(shape: Any) -> None:
    x = 1 + numbers(shape, "float64", special=False) / 50
    w = rng.standard_normal(shape)

    def pulled(t: Any, weight: Any) -> Any:
        out = []
        for scan in (wg.cumsum, wg.cumprod, wg.logcumsumexp):
            for dim in range(t.dim()):
                leaf = t.clone().requires_grad_()
                scan(leaf, dim).backward(weight)
                out.append(leaf.grad)
        return out

    on_both(pulled, x, w, rtol=1e-9)


def test_sums_of_what_is_not_finite() -> None:
    x = np.ones(3000)
    x[[500, 1700, 2900]] = np.inf, -np.inf, np.nan
    on_both(lambda t: wg.cumsum(t, 0), x)
    on_both(lambda t: wg.logcumsumexp(t, 0), x, rtol=1e-12)
    low = np.full((5, 600), -np.inf)
    low[2, 300] = 1.0
    on_both(lambda t: wg.logcumsumexp(t, 1), low, rtol=1e-12)


def test_products_whose_parts_leave_the_range() -> None:
    small, large = np.full(1500, 1e-200), np.full(1500, 1e200)
    x = np.stack([small, large], 1).reshape(-1)  # the running product is 1e-200 or 1
    got = on_both(lambda t: wg.cumprod(t, 0), x, rtol=1e-10)[0]
    assert np.isfinite(got.cpu().numpy()).all()
    zero = np.concatenate([[0.0], np.full(3000, 1e30)])
    assert on_both(lambda t: wg.cumprod(t, 0), zero)[0].abs().max().item() == 0
