"""Reading and writing by index, where it is not zero, counts and pooling on a CUDA device."""

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

F = wg.nn.functional
DTYPES = ("bool", "uint8", "int16", "int32", "int64", "float32", "float64")
rng = np.random.default_rng(5)


def numbers(shape: Any, dtype: str = "float32") -> Any:
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith("float"):
        return rng.standard_normal(shape).astype(dtype)
    return rng.integers(0, 100, shape).astype(dtype)


# --- reading -----------------------------------------------------------------------------------


@pytest.mark.parametrize("relaid", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_gather(dtype: str, relaid: bool) -> None:
    x = numbers((7, 33, 5), dtype)
    for dim, size in enumerate(x.shape):
        index = rng.integers(0, size, (5, 31, 4))
        on_both(lambda t, i, d=dim: wg.gather(t, d, i), x, index, relaid=relaid)


@pytest.mark.parametrize("columns", [1, 3, 4, 16, 31, 64])
@pytest.mark.parametrize("dtype", ["bool", "int16", "float32", "float64"])
def test_rows(dtype: str, columns: int) -> None:
    x, index = numbers((50, columns), dtype), rng.integers(0, 50, 33)
    on_both(lambda t, i: wg.index_select(t, 0, i), x, index)
    on_both(lambda t, i: t[i], x, index)
    on_both(lambda t, i: t[1:][i], x[:, :], index % 49)  # rows that begin anywhere
    if columns > 1:
        on_both(lambda t, i: t[:, 1:][i], x, index)
    on_both(lambda t, i: wg.index_select(t, 1, i), x, index % columns)


def test_indexing_by_several() -> None:
    x = numbers((6, 7, 8))
    i, j = rng.integers(-6, 6, (3, 1)), rng.integers(-8, 8, (1, 4))
    on_both(lambda t, a, b: t[a, :, b], x, i, j)
    on_both(lambda t, a, b: t[a, 2, b], x, i.astype(np.int32), j.astype(np.int32))
    on_both(lambda t, a: wg.take(t, a), x, rng.integers(-300, 300, (5, 5)))


def test_nothing_is_indexed() -> None:
    none = np.zeros(0, np.int64)
    on_both(lambda t, i: t[i], numbers((5, 3)), none)
    on_both(lambda t, i: t.index_add(0, i, t[i]), numbers((5, 3)), none)
    on_both(lambda t, i: t.index_copy(0, i, t[i]), numbers((5, 3)), none)


def test_wrong_indices_are_told_of_and_harm_nothing() -> None:
    x = wg.ones(4, 3, device="cuda")
    for index in ([9], [-9], [2**40], [1, 2, -(2**62)]):
        with pytest.raises(IndexError, match="out of bounds"):
            x[wg.tensor(index, device="cuda")].cpu()
            wg.cuda.synchronize()
    with pytest.raises((IndexError, RuntimeError)):
        x[:0][wg.tensor([0], device="cuda")].cpu()
        wg.cuda.synchronize()
    with pytest.raises((IndexError, RuntimeError)):
        F.embedding(wg.tensor([7], device="cuda"), x).cpu()
        wg.cuda.synchronize()
    assert x.cpu().tolist() == [[1.0] * 3] * 4


@pytest.mark.parametrize("columns", [1, 5, 8])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_embedding(dtype: str, columns: int) -> None:
    x = numbers((11, columns), dtype)
    index = rng.integers(0, 11, (4, 33))
    weight = numbers((4, 33, columns), dtype)
    rtol = 1e-5 if dtype == "float32" else 1e-13
    for options in ({}, {"padding_idx": 3}, {"scale_grad_by_freq": True}):

        def pulled(t: Any, i: Any, w: Any, options: Any = options) -> Any:
            t = t.clone().requires_grad_()
            y = F.embedding(i, t, **options)
            y.backward(w)
            return [y, t.grad]

        on_both(pulled, x, index, weight, rtol=rtol)


# --- writing -----------------------------------------------------------------------------------


@pytest.mark.parametrize("relaid", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_the_last_write_wins(dtype: str, relaid: bool) -> None:
    x = numbers((7, 40, 5), dtype)
    for dim, size in enumerate(x.shape):
        index = rng.integers(0, size, (7, 33, 5) if dim else (40, 33, 5))
        v = numbers(index.shape, dtype)
        on_both(lambda t, i, u, d=dim: t.scatter(d, i, u), x, index, v, relaid=relaid)
        on_both(lambda t, i, d=dim: t.scatter(d, i, 1), x, index, relaid=relaid)
        at, rows = index[0, :, 0], numbers([33 if d == dim else s for d, s in enumerate(x.shape)])
        rows = rows.astype(dtype)
        on_both(lambda t, i, u, d=dim: t.index_copy(d, i, u), x, at, rows, relaid=relaid)


@pytest.mark.parametrize("accumulate", [False, True])
def test_index_put(accumulate: bool) -> None:
    x = numbers((30, 20, 10), "float64")
    i, j = rng.integers(0, 30, (9, 1)), rng.integers(0, 10, (1, 5))
    v = numbers((9, 5, 20), "float64")
    on_both(lambda t, a, b, u: t.index_put((a, None, b), u, accumulate), x, i, j, v, rtol=1e-14)


def test_writing_few_into_much() -> None:
    x = numbers(100_000)
    index = rng.integers(0, 100_000, 50)
    index[::7] = 5
    on_both(lambda t, i, v: t.index_put((i,), v), x, index, numbers(50))
    on_both(lambda t, i, v: t.index_put((i,), v, True), x, index, numbers(50), rtol=1e-6)


@pytest.mark.parametrize("reduce", ["sum", "prod", "amax", "amin"])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int32", "int64", "float32", "float64"])
def test_scatter_reduce(dtype: str, reduce: str) -> None:
    x, rtol = numbers((7, 12, 3), dtype), 1e-5 if dtype == "float32" else 1e-12
    for dim, size in enumerate(x.shape):
        shape = (33, 12, 3) if dim == 0 else (7, 100, 3) if dim == 1 else (7, 12, 65)
        index, v = rng.integers(0, size, shape), numbers(shape, dtype)
        on_both(lambda t, i, u, d=dim: t.scatter_reduce(d, i, u, reduce), x, index, v, rtol=rtol)


@pytest.mark.parametrize("reduce", ["amax", "amin"])
def test_extremes_with_nan_and_zeros(reduce: str) -> None:
    v = np.array([0.0, -0.0, np.nan, 3, -np.inf, np.inf, -1, 2], np.float32)
    index = np.array([0, 0, 1, 1, 2, 3, 4, 4])
    on_both(lambda t, i, u: t.scatter_reduce(0, i, u, reduce), np.zeros(5, np.float32), index, v)


@pytest.mark.parametrize("n", [1, 31, 33, 1000, 2048, 2049, 20_000])
@pytest.mark.parametrize("bins", [1, 7, 3000])
def test_long_and_short_runs(n: int, bins: int) -> None:
    index = rng.integers(0, bins, n)
    for dtype in ("float32", "float64"):
        v = numbers(n, dtype)
        rtol = 1e-4 if dtype == "float32" else 1e-12
        on_both(lambda t, i, u: t.index_add(0, i, u), np.zeros(bins, dtype), index, v, rtol=rtol)


@pytest.mark.parametrize("columns", [2, 33])
def test_index_add_of_rows(columns: int) -> None:
    for n, bins in ((5, 3), (70, 2), (500, 1), (500, 100)):
        index, v = rng.integers(0, bins, n), numbers((n, columns), "float64")
        x = numbers((bins, columns), "float64")
        on_both(lambda t, i, u: t.index_add(0, i, u), x, index, v, rtol=1e-12)
        on_both(
            lambda t, i, u: t.index_add(1, i, u),
            np.ascontiguousarray(x.T),
            index,
            np.ascontiguousarray(v.T),
            rtol=1e-12,
            relaid=True,
        )


# --- finding -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*DTYPES, "float16"])
@pytest.mark.parametrize("shape", [(0,), (1,), (33,), (3, 5, 7), (8191,), (8193,), (2, 3, 4000)])
def test_nonzero(shape: Any, dtype: str) -> None:
    x = numbers(shape, "float32" if dtype == "float16" else dtype)
    x = np.where(rng.random(shape) < 0.3, x, np.zeros((), x.dtype)).astype(dtype)
    if dtype.startswith("float") and x.size > 2:
        x.flat[:3] = [-0.0, np.nan, 5e-8]
    on_both(wg.nonzero, x)
    if len(shape) == 1:
        on_both(lambda t, m: t[m], numbers(shape), x != 0)


def test_nonzero_of_many_blocks() -> None:
    x = np.zeros((1100, 8192), np.uint8)
    at = (np.arange(0, 1100, 7), np.arange(0, 1100, 7) % 8192)
    x[at] = 1
    t = wg.tensor(x, device="cuda")
    np.testing.assert_array_equal(t.nonzero().cpu().numpy(), np.argwhere(x))


@pytest.mark.parametrize("dtype", ["int32", "int64", "float32", "float64"])
@pytest.mark.parametrize(("n", "members"), [(0, 3), (5, 0), (33, 1), (1000, 50), (200, 5000)])
def test_isin(dtype: str, n: int, members: int) -> None:
    x, among = numbers(n, dtype), numbers(members, dtype)
    if dtype.startswith("float"):
        x, among = np.round(x, 1), np.round(among, 1)
        x[:2], among[:2] = [np.nan, -0.0][: len(x[:2])], [0.0, np.nan][: len(among[:2])]
    on_both(wg.isin, x, among)
    on_both(lambda a, b: wg.isin(a, b, invert=True), x, among)


@pytest.mark.parametrize(("n", "bins"), [(1, 1), (33, 2), (5000, 10), (5000, 8192), (100, 9000)])
def test_bincount(n: int, bins: int) -> None:
    index = rng.integers(0, bins, n)
    got = wg.bincount(wg.tensor(index, device="cuda")).cpu().numpy()
    np.testing.assert_array_equal(got, np.bincount(index))


# --- pooling -----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "options",
    [
        {"kernel_size": 2},
        {"kernel_size": 3, "stride": 1, "padding": 1},
        {"kernel_size": 3, "stride": 2, "dilation": 2, "ceil_mode": True},
        {"kernel_size": (4, 5), "stride": (1, 1), "padding": (2, 1)},
    ],
)
def test_max_pool(dtype: str, options: Any) -> None:
    x = np.round(numbers((2, 3, 13, 11), dtype), 1)  # some are equal
    x[0, 0, 3, 4] = x[1, 2, 5, 5] = np.nan
    x[0, 1] = -np.inf

    def pulled(t: Any) -> Any:
        t = t.clone().requires_grad_()
        y, places = F.max_pool2d(t, return_indices=True, **options)
        y.backward(wg.cumsum(wg.ones_like(y), -1))
        return [y, places, t.grad]

    on_both(pulled, x, rtol=1e-6)


def test_pools_of_other_kinds() -> None:
    x = numbers((2, 3, 8, 9, 10))
    on_both(lambda t: F.max_pool3d(t, 2, return_indices=True), x)
    on_both(lambda t: F.adaptive_max_pool2d(t, (3, 4), return_indices=True), x[0])
    on_both(lambda t: F.max_pool1d(t, 3, 2), x[0, 0])
    on_both(lambda t: F.max_pool2d(t, 3), numbers((2, 9, 9), "int64"))
