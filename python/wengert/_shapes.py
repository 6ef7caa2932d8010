"""What programs say of shapes apart from tensors: broadcasting, and the orders of memory."""

from __future__ import annotations

from ._core import Size

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence


def broadcast_shapes(*shapes: Sequence[int] | int) -> Size:
    """Return the shape that shapes broadcast to.

    Raises
    ------
    RuntimeError
        If two sizes of a dimension differ and neither is 1.
    ValueError
        If a size is negative.
    TypeError
        If a size is no int.
    """
    given = [Size((s,)) if isinstance(s, int) else Size(s) for s in shapes]
    out = [1] * max(map(len, given), default=0)
    for shape in given:
        for i in range(-len(shape), 0):
            if not isinstance(shape[i], int):
                raise TypeError(f"broadcast_shapes: a size is no int in {tuple(shape)}")
            if shape[i] < 0:
                raise ValueError(f"broadcast_shapes: a size is negative in {tuple(shape)}")
            if shape[i] == 1 or shape[i] == out[i]:
                continue
            if out[i] != 1:
                text = ", ".join(str(tuple(s)) for s in given)
                raise RuntimeError(
                    f"broadcast_shapes: {text} do not broadcast: sizes {out[i]} and {shape[i]} at "
                    f"dimension {i} must be equal or 1"
                )
            out[i] = shape[i]
    return Size(out)


class memory_format(str):
    """An order of a tensor's elements in memory."""

    __slots__ = ()

    def __repr__(self) -> str:
        return f"wengert.{self}"

    def __reduce__(self) -> str:  # the name in this module
        return str(self)


contiguous_format = memory_format("contiguous_format")
preserve_format = memory_format("preserve_format")
channels_last = memory_format("channels_last")
channels_last_3d = memory_format("channels_last_3d")
