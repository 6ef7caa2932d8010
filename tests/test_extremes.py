"""Places of extremes, counts, the first of rows and distinct elements, in layouts and lengths that
different loops serve."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable

    Array = np.ndarray[Any, Any]
    Layout = Callable[[Any], Any]

SHAPES = [(5,), (70_001,), (37, 2), (129, 4), (600, 8), (131, 16), (40, 7), (3, 40_000),
          (2_100, 70), (20, 30, 40), (2, 1_030, 65)]  # fmt: skip
LAYOUTS: dict[str, Layout] = {
    "dense": lambda x: x,
    "every other": lambda x: x[..., ::2],
    "later rows": lambda x: x[x.shape[0] // 3 :],
    "transposed": lambda x: (
        x.T if isinstance(x, np.ndarray) else x.permute(*reversed(range(x.ndim)))
    ),
}


def numbers(shape: tuple[int, ...], dtype: str) -> Array:
    """Return numbers with many ties, of floats also NaN and zeros of both signs."""
    rng = np.random.default_rng(len(shape) + shape[-1])
    x = rng.integers(-9, 9, shape).astype(dtype)
    if dtype.startswith("float"):
        x[rng.random(shape) < 0.1] = -0.0
        if shape[-1] != 7:
            x[rng.random(shape) < 2 / x.size**0.8] = np.nan
    return x


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "int8"])
@pytest.mark.parametrize("shape", SHAPES)
def test_places_of_extremes(shape: tuple[int, ...], dtype: str, layout: str) -> None:
    whole = numbers(shape, dtype)
    x, a = LAYOUTS[layout](whole), LAYOUTS[layout](wg.from_numpy(whole))
    for name in ("max", "min"):
        places = getattr(np, f"arg{name}")
        assert getattr(a, f"arg{name}")().item() == places(x)
        assert np.array_equal(
            getattr(a, name)().numpy(), getattr(np, name)(x), equal_nan=dtype[0] == "f"
        )
        for dim in range(x.ndim):
            want = places(x, axis=dim)
            values, at = getattr(a, name)(dim)
            assert np.array_equal(getattr(a, f"arg{name}")(dim).numpy(), want)
            assert np.array_equal(at.numpy(), want)
            found = np.take_along_axis(x, np.expand_dims(want, dim), dim).squeeze(dim)
            assert np.array_equal(values.numpy(), found, equal_nan=dtype[0] == "f")
            assert np.array_equal(np.signbit(values.numpy()), np.signbit(found)) or dtype[0] == "i"


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "dtype", ["bool", "uint8", "int8", "int16", "int32", "int64", "float16", "float32", "float64"]
)
@pytest.mark.parametrize("shape", SHAPES)
def test_counts(shape: tuple[int, ...], dtype: str, layout: str) -> None:
    whole = np.maximum(np.nan_to_num(numbers(shape, "float64")), -0.0).astype(dtype)
    x, a = LAYOUTS[layout](whole), LAYOUTS[layout](wg.from_numpy(whole))
    assert a.count_nonzero().item() == np.count_nonzero(x)
    for dim in range(x.ndim):
        want = np.count_nonzero(x, axis=dim)
        assert np.array_equal(a.count_nonzero(dim).numpy(), want)
        if dtype == "bool":
            assert np.array_equal(a.sum(dim).numpy(), want)
            assert np.array_equal(a.any(dim).numpy(), x.any(dim))
            assert np.array_equal(a.all(dim).numpy(), x.all(dim))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("order", ["random", "rising", "falling"])
@pytest.mark.parametrize("k", [0, 1, 5, 100, 400, 1_000])
def test_first_of_rows(k: int, order: str, dtype: str) -> None:
    x = numbers((3, 1_000), dtype)
    if order != "random":
        x = np.sort(x)[:, :: 1 if order == "rising" else -1].copy()
    x[1] = x[1, 0]  # all equal
    a = wg.from_numpy(x)
    for largest in (False, True):
        values, at = a.topk(k, largest=largest)
        want, where = a.sort(descending=largest, stable=True)
        assert np.array_equal(at.numpy(), where.numpy()[:, :k])
        assert np.array_equal(values.numpy(), want.numpy()[:, :k], equal_nan=dtype[0] == "f")


@pytest.mark.parametrize("dtype", ["int64", "int32", "uint8", "float32"])
@pytest.mark.parametrize("span", [1, 40, 10**6])
@pytest.mark.parametrize("lowest", [0, -17, 100])
def test_distinct_elements(lowest: int, span: int, dtype: str) -> None:
    lowest, span = (abs(lowest), min(span, 100)) if dtype == "uint8" else (lowest, span)
    x = np.random.default_rng(0).integers(lowest, lowest + span, (50, 21)).astype(dtype)
    want, inverse, counts = np.unique(x, return_inverse=True, return_counts=True)
    a = wg.from_numpy(x)
    assert np.array_equal(wg.unique(a).numpy(), want)
    got = wg.unique(a, return_inverse=True, return_counts=True)
    assert np.array_equal(got[0].numpy(), want)
    assert np.array_equal(got[1].numpy(), inverse.reshape(x.shape))
    assert np.array_equal(got[2].numpy(), counts)


def test_distinct_elements_at_the_ends_of_the_range() -> None:
    ends = np.array([2**63 - 1, -(2**63), 0, 2**63 - 1])
    assert np.array_equal(wg.unique(wg.from_numpy(ends)).numpy(), np.unique(ends))
    assert np.array_equal(wg.unique(wg.from_numpy(ends[[0, 3]])).numpy(), ends[:1])


@pytest.mark.parametrize("bins", [1, 30, 5_000])
def test_counts_of_places(bins: int) -> None:
    x = np.random.default_rng(0).integers(0, bins, 300_000)
    assert np.array_equal(wg.bincount(wg.from_numpy(x)).numpy(), np.bincount(x))
    assert np.array_equal(wg.bincount(wg.from_numpy(x[::3])).numpy(), np.bincount(x[::3]))


@pytest.mark.parametrize("dtype", [wg.bfloat16, wg.float16, wg.int16, wg.uint8])
def test_long_rows_of_narrow_dtypes(dtype: wg.dtype) -> None:
    x = wg.from_numpy(np.random.default_rng(0).integers(0, 2, (3, 7, 5_000))).to(dtype)
    wide = x.double().numpy()
    assert x.sum().double().item() == pytest.approx(wide.sum(), rel=4e-3)
    assert np.allclose(x.sum(2).double().numpy(), wide.sum(2), rtol=4e-3)
    assert np.allclose(x.permute(1, 0, 2).sum((0, 2)).double().numpy(), wide.sum((1, 2)), rtol=4e-3)
    assert np.array_equal(x.amax(2).double().numpy(), wide.max(2))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@pytest.mark.parametrize("n", [0, 1, 15, 128, 1_000, 100_003])
def test_dot(n: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(-9, 9, (2, 2 * n)).astype(dtype)
    a, b = wg.from_numpy(x), wg.from_numpy(y)
    assert a[:n].dot(b[:n]).item() == np.dot(x[:n], y[:n])
    assert (a[::2] @ b[n:]).item() == np.dot(x[::2], y[n:])


def test_sorted_short_rows() -> None:
    for n in (1, 2, 3, 8, 9, 31, 64, 65):
        x = numbers((21, n), "float32")
        values, at = wg.from_numpy(x).sort(stable=True)
        want = np.argsort(x, kind="stable")
        assert np.array_equal(at.numpy(), want)
        assert np.array_equal(values.numpy(), np.take_along_axis(x, want, 1), equal_nan=True)
