"""Forward mode by dual numbers: a tensor carries a tangent, and every operation moves it along."""

from __future__ import annotations

from .. import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Any, NamedTuple

    from .._core import Tensor

    class UnpackedDualTensor(NamedTuple):
        """The value and the tangent of a dual number."""

        primal: Tensor
        tangent: Tensor | None
else:
    from collections import namedtuple

    UnpackedDualTensor = namedtuple("UnpackedDualTensor", ["primal", "tangent"])
    UnpackedDualTensor.__doc__ = "The value and the tangent of a dual number."
    UnpackedDualTensor.primal.__doc__ = "The value, without its tangent."
    UnpackedDualTensor.tangent.__doc__ = "The tangent, or None."

__all__ = [
    "UnpackedDualTensor",
    "dual_level",
    "enter_dual_level",
    "exit_dual_level",
    "make_dual",
    "unpack_dual",
]

_entered: list[int] = []


def enter_dual_level() -> int:
    """Begin to compute with dual numbers; returns the level.

    Raises
    ------
    RuntimeError
        If there is one already; `wengert.func.jvp` nests.
    """
    if _entered:
        raise RuntimeError(
            "Nested forward mode AD is not supported at the moment; use func.jvp, which nests"
        )
    _entered.append(_core.enter_dual())
    return 0


def exit_dual_level(*, level: int | None = None) -> None:
    """End it: dual numbers are their values from now on.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    if not _entered or level not in (None, 0):
        raise RuntimeError(
            "Trying to exit a forward AD level that was not the last one that was created"
        )
    _core.leave_level(_entered.pop())


def make_dual(tensor: Tensor, tangent: Tensor, *, level: int | None = None) -> Tensor:
    """Return a dual number: tensor with a tangent.

    Raises
    ------
    RuntimeError
        If there is no level, or the tangent is not of the tensor's shape and dtype.
    ValueError
        If a tensor is not of a floating point dtype.
    """
    del level
    if not _entered:
        raise RuntimeError(
            "Trying to create a dual Tensor for forward AD but no level exists, make sure to "
            "enter_dual_level() first."
        )
    if not (tensor.dtype.is_floating_point):
        raise ValueError(
            f"Expected primal to be floating point or complex, but got: {tensor.dtype}"
        )
    if not (tangent.dtype.is_floating_point):
        raise ValueError(
            f"Expected tangent to be floating point or complex, but got: {tangent.dtype}"
        )
    if tensor.shape != tangent.shape or tensor.dtype != tangent.dtype:
        raise RuntimeError(
            f"make_dual: the tangent has shape {tuple(tangent.shape)} and dtype {tangent.dtype}; "
            f"expected those of the tensor, {tuple(tensor.shape)} and {tensor.dtype}"
        )
    return _core.dual(tensor, tangent, _entered[-1])


def unpack_dual(tensor: Tensor, *, level: int | None = None) -> UnpackedDualTensor:
    """Return the value and the tangent of a dual number; None where there is no tangent."""
    del level
    if not _entered:
        return UnpackedDualTensor(tensor, None)
    value, tangent = _core.undual(tensor, _entered[-1])
    return UnpackedDualTensor(value, tangent)


class dual_level:
    """A level of dual numbers, as a ``with`` block.

    Examples
    --------
    >>> with dual_level():
    ...     x = make_dual(wg.tensor([0.0]), wg.tensor([1.0]))
    ...     print(unpack_dual(x.sin()).tangent)
    tensor([1.])
    """

    def __enter__(self) -> int:
        return enter_dual_level()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        exit_dual_level()

    def __call__(self, fn: Any) -> Any:
        """Wrap a function: it runs on a level of its own."""
        import functools

        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self)():
                return fn(*args, **kwargs)

        return wrapped
