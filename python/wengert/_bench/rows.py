"""Cases by the line: a row says how each library writes an operation, and over what."""

from __future__ import annotations

import functools
import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Case
from .peers import expressions

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Shape = tuple[int, ...]
    Array = np.ndarray[Any, Any]

SIZES = {"1k": 1000, "1M": 1_000_000, "16M": 16_000_000}
SMALL = ("1k", "1M")  # for what takes seconds over 16 M elements
SHAPES: dict[str, dict[str, Shape]] = {
    "flat": {"1k": (1000,), "1M": (1_000_000,), "16M": (16_000_000,)},
    "matrix": {"1k": (25, 40), "1M": (1000, 1000), "16M": (4000, 4000)},
    "square": {"1k": (32, 32), "1M": (1000, 1000), "16M": (4000, 4000)},
    "cube": {"1k": (10, 10, 10), "1M": (100, 100, 100), "16M": (250, 256, 250)},
    "batch": {"1k": (4, 16, 16), "1M": (250, 64, 64), "16M": (4000, 64, 64)},
    "short": {"1k": (125, 8), "1M": (125_000, 8), "16M": (2_000_000, 8)},
    "long": {"1k": (8, 125), "1M": (8, 125_000), "16M": (8, 2_000_000)},
    "table": {"1k": (20, 50), "1M": (10_000, 100), "16M": (160_000, 100)},
}
# Where an operation over a dimension works: the shape, and the dimension.
PLACES: dict[str, tuple[str, str]] = {
    "last axis": ("matrix", "-1"),
    "first axis": ("matrix", "0"),
    "middle axis": ("cube", "1"),
    "runs of 8": ("short", "-1"),
    "8 long runs": ("long", "-1"),
}


def _normal(rng: np.random.Generator, shape: Shape) -> Array:
    return rng.standard_normal(shape, np.float32)


def _positions(size: Callable[[Shape], int]) -> Callable[[np.random.Generator, Shape], Array]:
    return lambda rng, shape: rng.integers(0, size(shape), shape)


# What the operands of an expression hold, by their names.
OPERANDS: dict[str, Callable[[np.random.Generator, Shape], Array]] = {
    "a": _normal,
    "b": _normal,
    "c": _normal,
    "positive": lambda rng, shape: rng.random(shape, np.float32) + np.float32(0.1),
    "near1": lambda rng, shape: np.exp(_normal(rng, shape) * np.float32(1e-3)),
    "unit": lambda rng, shape: rng.random(shape, np.float32) * np.float32(0.98) + np.float32(0.01),
    "mask": lambda rng, shape: rng.random(shape, np.float32) < 0.5,
    "rare": lambda rng, shape: rng.random(shape, np.float32) < 0.01,
    "i": lambda rng, shape: rng.integers(1, 1000, shape),
    "j": lambda rng, shape: rng.integers(1, 1000, shape),
    "i32": lambda rng, shape: rng.integers(1, 1000, shape, np.int32),
    "j32": lambda rng, shape: rng.integers(1, 1000, shape, np.int32),
    "u8": lambda rng, shape: rng.integers(0, 100, shape, np.uint8),
    "v8": lambda rng, shape: rng.integers(0, 100, shape, np.uint8),
    "h": _normal,
    "k": _normal,
    "h16": _normal,
    "k16": _normal,
    "row": lambda rng, shape: _normal(rng, shape[-1:]),
    "column": lambda rng, shape: _normal(rng, (*shape[:-1], 1)),
    "at": _positions(lambda shape: shape[0]),  # positions along the first dimension
    "along": _positions(lambda shape: shape[-1]),  # along the last
    "order": lambda rng, shape: rng.permutation(shape[0]),
    "columns": lambda rng, shape: rng.permutation(shape[-1]),
    "rows": lambda rng, shape: rng.integers(0, shape[0], shape[0]),  # with repetitions
    "target": lambda rng, shape: rng.integers(0, shape[-1], shape[0]),
}
DTYPES = {"h": "bfloat16", "k": "bfloat16", "h16": "float16", "k16": "float16"}


@functools.lru_cache(maxsize=6)  # neighbours in a table share operands, and 16 M numbers take long
def _operand(name: str, shape: Shape) -> Array:
    rng = np.random.default_rng(list(OPERANDS).index(name))
    values = OPERANDS[name](rng, shape)
    values.flags.writeable = False
    return values


def first(result: Any) -> Any:
    """Return values without their positions: those of equal elements may differ."""
    return result[0] if isinstance(result, (tuple, list)) else result


def moments(result: Any) -> list[Any]:
    """Return mean and deviation of random numbers."""
    values = np.asarray(result, np.float64)
    return [values.mean(), values.std()]


def ordered(result: Any) -> Any:
    """Return elements in order: a permutation is one whatever its order."""
    return np.sort(np.asarray(result))


@dataclass(frozen=True)
class Row:
    """An operation.

    Parameters
    ----------
    what
        Its name.
    ours
        How wengert and PyTorch write it: `a`, `mask` and so on are of `OPERANDS`, `T` is the
        library and `F` its functional operations.
    numpy, jax, mlx
        How those do; "=": as ours; None: they take no part.
    shape
        Of `SHAPES`.
    grad
        Operands whose gradients are wanted: the case then is forward and backward.
    sizes, compared
        As in `SIZES` and `Case`.
    loose
        Tolerance, relative and absolute, where sums are long or functions steep.
    flops
        Floating point operations an element, where they can be counted.
    """

    what: str
    ours: str
    numpy: str | None = None
    jax: str | None = None
    mlx: str | None = None
    shape: str = "flat"
    grad: tuple[str, ...] = ()
    sizes: Sequence[str] = tuple(SIZES)
    loose: float = 1e-4
    flops: float = 0
    compared: Callable[[Any], Any] | None = None


def _exprs(row: Row, n: int) -> dict[str, str]:
    jax = row.ours if row.jax == "=" else row.jax
    if n < SIZES["1M"]:
        jax = None  # whose calls cost more than the work then: see the family `scalar`
    if row.grad:
        listed = "".join(f"{k}, " for k in row.grad)
        pulled = f"(y := {row.ours}, grad(y, ({listed}), g))"
        exprs = {WENGERT: pulled, "torch": pulled}
        if jax:
            vjp = f"jax.vjp(lambda {listed[:-2]}: {jax}, {listed[:-2]})"
            exprs["jax jit"] = f"(lambda y, pull: (y, pull(g)))(*{vjp})"
    else:
        exprs = {WENGERT: row.ours, "torch": row.ours}
        if row.numpy:
            exprs["numpy"] = row.ours if row.numpy == "=" else row.numpy
        if jax:
            exprs["jax jit"] = jax
        if row.mlx and n >= SIZES["1M"]:
            exprs["mlx"] = row.ours if row.mlx == "=" else row.mlx
    return {k: re.sub(r"\bN\b", str(n), v) for k, v in exprs.items()}


def _case(family: str, row: Row, size: str, streams: bool) -> Case:
    shape = SHAPES[row.shape][size]
    names = [k for k in OPERANDS if re.search(rf"\b{k}\b", row.ours)]

    def inputs(_: np.random.Generator) -> Mapping[str, Array]:
        return {k: _operand(k, shape) for k in names}

    return expressions(
        f"{family}/{row.what}{' forward and backward' if row.grad else ''}/{size}",
        _exprs(row, SIZES[size]),
        inputs,
        grad=row.grad,
        like=re.sub(r"\bN\b", str(SIZES[size]), row.ours) if row.grad else None,
        dtypes=DTYPES,
        rtol=row.loose,
        atol=row.loose,
        compared=row.compared,
        flops=row.flops * math.prod(shape),
        streams=streams and not row.grad,
    )


def cases(family: str, rows: Sequence[Row], streams: bool = False) -> list[Case]:
    """Return the cases of a family's rows, size by size; `streams` as in `Case`."""
    return [_case(family, row, size, streams) for row in rows for size in row.sizes]


def placed(what: str, ours: str, places: Sequence[str] = tuple(PLACES), **row: Any) -> list[Row]:
    """Return a row for each of some dimensions; ``{}`` in the expressions stands for it."""
    made = []
    for place in places:
        shape, dim = PLACES[place]
        filled = {
            k: v.format(dim) if k in ("numpy", "jax") and v is not None else v
            for k, v in row.items()
        }
        made.append(Row(f"{what}, {place}", ours.format(dim), shape=shape, **filled))
    return made
