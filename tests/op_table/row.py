"""What a row of the table is, how its arguments are drawn, and short ways to write one."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

FLOATS = ("float32", "float64")
DTYPES = ("float32", "float64", "int64", "bool")

# Shapes of an elementwise operation's operands: each pair broadcasts.
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()),
    ((1,), (1,)),
    ((0,), (0,)),
    ((2, 0, 3), (1, 3)),
    ((3,), (3,)),
    ((2, 3), (2, 3)),
    ((2, 3), ()),
    ((), (2, 3)),
    ((3, 1), (1, 4)),
    ((2, 1, 5), (3, 1)),
    ((4, 17), (17,)),
    ((2, 3, 2, 3, 2), (1, 3, 1, 3, 1)),
)
# Special values of one operand; pairs of them are all combined.
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e-45, 3.5, -2.5)


class Draw:
    """Draws arguments of one dtype from a row's domain."""

    def __init__(self, row: Row, dtype: str, seed: int = 0) -> None:
        self.row, self.dtype = row, dtype
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, operand: int = 0) -> Array:
        """An array of the dtype under test."""
        domains = self.row.domains or ((-2.0, 2.0),)
        low, high = domains[min(operand, len(domains) - 1)]
        if self.dtype == "bool":
            return np.asarray(self.rng.integers(0, 2, shape).astype(bool))
        if self.dtype == "int64":
            first = math.ceil(low)
            return np.asarray(self.rng.integers(first, max(math.floor(high), first) + 1, shape))
        x = self.rng.uniform(low, high, shape)
        # away from kinks, further than any step of differences
        x = np.where(np.abs(x) < 0.05, x + np.copysign(0.1, x), x) if self.row.kink else x
        return np.asarray(x.astype(self.dtype))

    def ints(self, low: int, high: int, *shape: int) -> Array:
        """Integers in [low, high), whatever the dtype under test."""
        return np.asarray(self.rng.integers(low, high, shape))

    def mask(self, *shape: int) -> Array:
        """Bools, whatever the dtype under test."""
        return np.asarray(self.rng.integers(0, 2, shape).astype(bool))


@dataclass(frozen=True)
class Sample:
    """Arguments of one call: arrays stand for tensors, anything else for itself."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)
    wrong: bool = False  # arguments that PyTorch refuses, and wengert must, too
    constants: tuple[str, ...] = ()  # keywords whose tensors PyTorch does not differentiate by


def call(*args: Any, **kwargs: Any) -> Sample:
    return Sample(args, kwargs)


def wrong(*args: Any, **kwargs: Any) -> Sample:
    """A call to be refused with the error type that PyTorch raises."""
    return Sample(args, kwargs, True)


@dataclass(frozen=True)
class Row:
    """An operation.

    Attributes
    ----------
    domains
        An interval for each operand. An elementwise row needs nothing else: its samples are drawn
        over SHAPES.
    samples
        Draws the samples of other rows.
    torch
        The oracle: given the torch module, the function to call.
    reference
        The same with NumPy, where NumPy has it.
    ulp, rtol
        How far elementwise float results may be from the exact ones, in units in the last place;
        and others from PyTorch's, in units of eps.
    kink
        Whether the derivative jumps at 0, so that samples must stay away from it.
    view, third
        Whether results share memory; whether third derivatives are checked, too.
    compare
        'values', or 'shape' where values are random or unset.
    dtypes, refuses, extends
        Dtypes to try; those that PyTorch takes and wengert refuses with a TypeError or
        RuntimeError; those that wengert takes and PyTorch does not.
    """

    name: str
    domains: tuple[tuple[float, float], ...] = ()
    samples: Callable[[Draw], list[Sample]] | None = None
    torch: Callable[[Any], Callable[..., Any]] | None = None
    reference: Callable[..., Any] | None = None
    elementwise: int = 0
    ulp: float = 0.5
    rtol: float = 8.0
    differentiable: bool = True
    inplace: bool = False
    kink: bool = False
    view: bool = False
    third: bool = False
    compare: str = "values"
    dtypes: tuple[str, ...] = DTYPES
    refuses: tuple[str, ...] = ()
    extends: tuple[str, ...] = ()

    def draw(self, dtype: str, small: bool = False) -> list[Sample]:
        """The samples of a dtype; small ones suit a full Jacobian."""
        d = Draw(self, dtype)
        if self.samples is not None:
            return [s for s in self.samples(d) if not s.wrong]
        shapes = [s for s in SHAPES if not small or math.prod(np.broadcast_shapes(*s)) <= 12]
        return [
            call(*(d(*s[min(i, 1)], operand=i) for i in range(self.elementwise))) for s in shapes
        ]

    def draw_wrong(self) -> list[Sample]:
        """The samples that must be refused."""
        return [s for s in self.samples(Draw(self, "float32")) if s.wrong] if self.samples else []


def unary(name: str, low: float, high: float, ulp: float = 0.5, **more: Any) -> Row:
    return Row(name, ((low, high),), elementwise=1, ulp=ulp, inplace=True, **more)


def binary(
    name: str,
    low: float = -4,
    high: float = 4,
    other: tuple[float, float] | None = None,
    **more: Any,
) -> Row:
    more.setdefault("inplace", True)
    return Row(name, ((low, high), other or (low, high)), elementwise=2, **more)


def comparison(name: str, reference: Callable[..., Any]) -> Row:
    return binary(name, -2, 2, differentiable=False, reference=reference)


def structured(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    return Row(name, more.pop("domains", ((-2.0, 2.0),)), samples, **more)


def constant(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    """Rows whose result depends on shapes and numbers alone."""
    return structured(name, samples, differentiable=False, dtypes=("float32",), **more)


def method(name: str) -> Callable[[Any], Callable[..., Any]]:
    """PyTorch's method, called with the tensor first."""
    return lambda torch: getattr(torch.Tensor, name)


def sizes(d: Draw) -> list[Sample]:
    del d
    return [call(()), call(3), call(2, 3), call((2, 0)), call([4])]


def likes(d: Draw) -> list[Sample]:
    return [call(d()), call(d(2, 3)), call(d(0, 2))]
