"""Elementwise operations of narrow dtypes: the same bits as through what they are computed in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable

    Op = Callable[..., wg.Tensor]

INTEGERS = {"uint8": (0, 256), "int8": (-128, 128), "int16": (-32768, 32768)}
HALVES = ("float16", "bfloat16")
UNARY: dict[str, Op] = {
    "neg": lambda x: -x,
    "abs": lambda x: x.abs(),
    "square": lambda x: x.square(),
    "sign": lambda x: x.sign(),
    "relu": lambda x: x.relu(),
}
BITS: dict[str, Op] = {
    "invert": lambda x: ~x,
    "and": lambda x: x & x.flip(0),
    "or": lambda x: x | x.flip(0),
    "xor": lambda x: x ^ x.flip(0),
    "left shift": lambda x: x << x.flip(0),
    "left shift by few": lambda x: x << (x.flip(0) & 15),
    "right shift": lambda x: x >> x.flip(0),
    "right shift by few": lambda x: x >> (x.flip(0) & 15),
    "clamp": lambda x: x.clamp(3, 100),
    "clamp, bounds crossed": lambda x: x.clamp(100, 3),
}
FLOATING: dict[str, Op] = {
    "exp": lambda x: x.exp(),
    "log": lambda x: x.log(),
    "sqrt": lambda x: x.sqrt(),
    "rsqrt": lambda x: x.rsqrt(),
    "tanh": lambda x: x.tanh(),
    "sigmoid": lambda x: x.sigmoid(),
    "gelu": wg.nn.functional.gelu,
    "silu": wg.nn.functional.silu,
    "reciprocal": lambda x: x.reciprocal(),
    "clamp": lambda x: x.clamp(-0.75, 1.5),
    "isnan": lambda x: x.isnan(),
}
BINARY: dict[str, Op] = {
    "add": lambda x, y: x + y,
    "sub": lambda x, y: x - y,
    "mul": lambda x, y: x * y,
    "maximum": wg.maximum,
    "minimum": wg.minimum,
    "eq": lambda x, y: x == y,
    "ne": lambda x, y: x != y,
    "lt": lambda x, y: x < y,
    "le": lambda x, y: x <= y,
    "gt": lambda x, y: x > y,
    "ge": lambda x, y: x >= y,
    "where": lambda x, y: wg.where(x > y, x, y),
}


def points(dtype: str, n: int, seed: int) -> wg.Tensor:
    rng = np.random.default_rng(seed)
    if dtype in INTEGERS:
        low, high = INTEGERS[dtype]
        whole = rng.integers(low, high, n)
        whole[: min(n, 2)] = (low, high - 1)[: min(n, 2)]
        return wg.tensor(whole).to(getattr(wg, dtype))
    x = rng.standard_normal(n) * np.exp2(rng.integers(-30, 20, n))
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 65519.9, 6e-8, 1.0])
    x[: min(n, 8)] = special[: min(n, 8)]
    return wg.tensor(x, dtype=wg.float32).to(getattr(wg, dtype))


def same(own: wg.Tensor, wide: wg.Tensor) -> None:
    expected = wide if own.dtype == wg.bool else wide.to(own.dtype)
    assert own.dtype == expected.dtype
    np.testing.assert_array_equal(
        own.to(wg.float64).numpy(), expected.to(wg.float64).numpy(), strict=True
    )
    signs = own.to(wg.float64).numpy(), expected.to(wg.float64).numpy()
    numbers = ~np.isnan(signs[0])
    np.testing.assert_array_equal(np.signbit(signs[0][numbers]), np.signbit(signs[1][numbers]))


def widened(x: wg.Tensor) -> wg.Tensor:
    return x.to(wg.float32 if x.dtype.is_floating_point else wg.int32)


@pytest.mark.parametrize("n", [1, 3, 15, 16, 63, 64, 65, 200, 1111])
@pytest.mark.parametrize("dtype", [*INTEGERS, *HALVES])
def test_as_wide_ones(dtype: str, n: int) -> None:
    x, y = points(dtype, n, 1), points(dtype, n, 2)
    unary = UNARY | (FLOATING if dtype in HALVES else BITS)
    for op in unary.values():
        same(op(x), op(widened(x)))
    for op in BINARY.values():
        same(op(x, y), op(widened(x), widened(y)))
    if dtype in HALVES:
        same(x / y, widened(x) / widened(y))


@pytest.mark.parametrize("dtype", [*INTEGERS, *HALVES])
def test_of_any_layout(dtype: str) -> None:
    x, y = points(dtype, 24 * 40, 1).reshape(24, 40), points(dtype, 40, 2)
    column = points(dtype, 24, 3).reshape(24, 1)
    for op in BINARY.values():
        for a, b in ((x, y), (x.T, y[:24]), (x[:, ::3], column), (x[::2, 1:8], y[:7])):
            same(op(a, b), op(widened(a), widened(b)))
    for op in UNARY.values():
        same(op(x.T), op(widened(x.T)))


@pytest.mark.parametrize("number", [-200, -1, 0, 7, 127, 128, 255, 256, 70000])
@pytest.mark.parametrize("dtype", INTEGERS)
def test_beside_numbers(dtype: str, number: int) -> None:
    x = points(dtype, 700, 4)
    for name, op in BINARY.items():
        if name == "where":
            continue
        other = wg.tensor(number) if name in {"maximum", "minimum"} else number
        if name in {"maximum", "minimum"} and not low_high(dtype, number):
            continue
        same(op(x, other), op(widened(x), other))


def low_high(dtype: str, number: int) -> bool:
    low, high = INTEGERS[dtype]
    return low <= number < high


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "int32", "int64"])
def test_integers_between_numbers(dtype: str) -> None:
    kind = np.iinfo(dtype)
    whole = np.array([kind.min, kind.min + 1, 0, 1, 5, 100, kind.max - 1, kind.max], dtype)
    x = wg.tensor(whole)
    bounds = (kind.min, kind.max - 1, kind.max, 1, 5, 99)
    for low in bounds:
        for high in bounds:
            expected = np.minimum(
                np.maximum(whole, np.dtype(dtype).type(low)), np.dtype(dtype).type(high)
            )
            np.testing.assert_array_equal(x.clamp(low, high).numpy(), expected, strict=True)


@pytest.mark.parametrize("dtype", [*INTEGERS, *HALVES])
def test_in_place(dtype: str) -> None:
    x, y = points(dtype, 130, 5), points(dtype, 130, 6)
    wide = widened(x) + widened(y)
    x += y
    same(x, wide)


def test_float16_rounds_as_numpy() -> None:
    bits = np.arange(0, 1 << 32, 10007, dtype=np.uint32)
    x = bits.view(np.float32)
    with np.errstate(over="ignore"):
        expected = x.astype(np.float16)
    ours = wg.tensor(x).to(wg.float16).numpy()
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(ours.view(np.uint16)[numbers], expected.view(np.uint16)[numbers])
    assert np.isnan(ours[~numbers]).all()
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    back = wg.tensor(halves).to(wg.float32).numpy()
    np.testing.assert_array_equal(back, halves.astype(np.float32))
