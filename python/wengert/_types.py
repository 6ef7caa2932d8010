"""What is to be known about element types and shapes, and the constants of the package."""

from __future__ import annotations

import math

from . import _core
from ._core import Tensor, dtype

e = math.e
inf = math.inf
nan = math.nan
newaxis = None
pi = math.pi


class _Named:
    """A constant that is known by its name."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return f"wengert.{self._name}"

    def __reduce__(self) -> str:  # the name in this module
        return self._name


class layout(_Named):
    """How elements lie in memory; `wengert.strided` is the only way."""


strided = layout("strided")

# Exponent bits, fraction bits, decimal digits that survive.
_FLOATS = {
    _core.float16: (5, 10, 3),
    _core.bfloat16: (8, 7, 2),
    _core.float32: (8, 23, 6),
    _core.float64: (11, 52, 15),
}


class finfo:
    """The limits of a floating point dtype.

    Attributes
    ----------
    bits
        Bits an element.
    eps
        The distance from 1 to the next larger number.
    max, min
        The largest number, and its negative.
    tiny, smallest_normal
        The smallest positive number of full precision.
    resolution
        Ten to the power of minus the decimal digits that survive.

    Raises
    ------
    TypeError
        If the dtype is not floating point.
    """

    def __init__(self, dtype: dtype | None = None) -> None:
        kind = _core.get_default_dtype() if dtype is None else dtype
        if kind not in _FLOATS:
            raise TypeError(f"finfo: requires a floating point dtype, got {kind}; use iinfo")
        exponent, fraction, digits = _FLOATS[kind]
        top = 2 ** (exponent - 1)
        self.bits = 1 + exponent + fraction
        self.eps = 2.0**-fraction
        self.max = (2.0 - self.eps) * 2.0 ** (top - 1)
        self.min = -self.max
        self.tiny = self.smallest_normal = 2.0 ** (2 - top)
        self.resolution = float(f"1e-{digits}")
        self.dtype = str(kind).rpartition(".")[2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, finfo) and other.dtype == self.dtype

    def __hash__(self) -> int:
        return hash(("finfo", self.dtype))

    def __repr__(self) -> str:
        return (
            f"finfo(resolution={self.resolution:g}, min={self.min:g}, max={self.max:g}, "
            f"eps={self.eps:g}, smallest_normal={self.smallest_normal:g}, tiny={self.tiny:g}, "
            f"dtype={self.dtype})"
        )


class iinfo:
    """The limits of an integer dtype: bits, max, min.

    Raises
    ------
    TypeError
        If the dtype is not an integer type.
    """

    def __init__(self, dtype: dtype) -> None:
        if not isinstance(dtype, _core.dtype) or dtype.is_floating_point or dtype is _core.bool:
            raise TypeError(f"iinfo: requires an integer dtype, got {dtype}; use finfo")
        self.bits = 8 * dtype.itemsize
        self.min = -(2 ** (self.bits - 1)) if dtype.is_signed else 0
        self.max = 2**self.bits - 1 + self.min
        self.dtype = str(dtype).rpartition(".")[2]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, iinfo) and other.dtype == self.dtype

    def __hash__(self) -> int:
        return hash(("iinfo", self.dtype))

    def __repr__(self) -> str:
        return f"iinfo(min={self.min}, max={self.max}, dtype={self.dtype})"


def is_floating_point(input: Tensor) -> bool:
    """Whether the tensor's dtype is floating point."""
    return Tensor.is_floating_point(input)


def is_complex(input: Tensor) -> bool:
    """Whether the tensor's dtype is complex: never."""
    return Tensor.is_complex(input)


def is_same_size(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape."""
    return Tensor.is_same_size(input, other)


def is_nonzero(input: Tensor) -> bool:
    """Whether the only element of a tensor is not 0.

    Raises
    ------
    RuntimeError
        If there is not exactly one element.
    """
    return bool(input)


def numel(input: Tensor) -> int:
    """Return the number of elements."""
    return Tensor.numel(input)
