"""Modules that put elements around the last dimensions of their input."""

from __future__ import annotations

from . import functional as F  # noqa: N812
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import ClassVar

    from wengert._core import Tensor


class _Pad(Module):
    """Base of them.

    Parameters
    ----------
    padding
        How many elements: for all sides, or for each, from the last dimension's start on.
    """

    dims: ClassVar[int]
    mode: ClassVar[str]

    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__()
        sides = (padding,) * (2 * self.dims) if isinstance(padding, int) else tuple(padding)
        if len(sides) != 2 * self.dims:
            raise ValueError(
                f"{type(self).__name__}: expected an int or {2 * self.dims} of them for padding, "
                f"got {padding}"
            )
        self.padding = sides

    def forward(self, input: Tensor) -> Tensor:
        """Pad the input."""
        return F.pad(input, self.padding, self.mode)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"{self.padding}"


class _Constant(_Pad):
    mode = "constant"

    def __init__(self, padding: int | tuple[int, ...], value: float) -> None:
        super().__init__(padding)
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """Pad the input."""
        return F.pad(input, self.padding, "constant", self.value)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"padding={self.padding}, value={self.value}"


class _Zero(_Constant):
    def __init__(self, padding: int | tuple[int, ...]) -> None:
        super().__init__(padding, 0.0)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"{self.padding}"


class ConstantPad1d(_Constant):
    """A value on both sides of the last dimension."""

    dims = 1


class ConstantPad2d(_Constant):
    """A value around the last two dimensions."""

    dims = 2


class ConstantPad3d(_Constant):
    """A value around the last three dimensions."""

    dims = 3


class ZeroPad1d(_Zero):
    """Zeros on both sides of the last dimension."""

    dims = 1


class ZeroPad2d(_Zero):
    """Zeros around the last two dimensions."""

    dims = 2


class ZeroPad3d(_Zero):
    """Zeros around the last three dimensions."""

    dims = 3


class ReflectionPad1d(_Pad):
    """The input mirrored at the ends of the last dimension."""

    dims, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The input mirrored at the ends of the last two dimensions."""

    dims, mode = 2, "reflect"


class ReflectionPad3d(_Pad):
    """The input mirrored at the ends of the last three dimensions."""

    dims, mode = 3, "reflect"


class ReplicationPad1d(_Pad):
    """The first and last elements of the last dimension again."""

    dims, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The outermost elements of the last two dimensions again."""

    dims, mode = 2, "replicate"


class ReplicationPad3d(_Pad):
    """The outermost elements of the last three dimensions again."""

    dims, mode = 3, "replicate"


class CircularPad1d(_Pad):
    """The other end of the last dimension."""

    dims, mode = 1, "circular"


class CircularPad2d(_Pad):
    """The other ends of the last two dimensions."""

    dims, mode = 2, "circular"


class CircularPad3d(_Pad):
    """The other ends of the last three dimensions."""

    dims, mode = 3, "circular"


class PixelShuffle(Module):
    """(..., C r^2, H, W) as (..., C, H r, W r): channels become finer pixels."""

    def __init__(self, upscale_factor: int) -> None:
        super().__init__()
        self.upscale_factor = upscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Move channels into pixels."""
        return F.pixel_shuffle(input, self.upscale_factor)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"upscale_factor={self.upscale_factor}"


class PixelUnshuffle(Module):
    """(..., C, H r, W r) as (..., C r^2, H, W): pixels become channels."""

    def __init__(self, downscale_factor: int) -> None:
        super().__init__()
        self.downscale_factor = downscale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Move pixels into channels."""
        return F.pixel_unshuffle(input, self.downscale_factor)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"downscale_factor={self.downscale_factor}"


class ChannelShuffle(Module):
    """Channels of groups taken in turn: one of each group, then the next of each."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    def forward(self, input: Tensor) -> Tensor:
        """Reorder the channels."""
        return F.channel_shuffle(input, self.groups)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"groups={self.groups}"
