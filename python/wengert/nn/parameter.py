"""A tensor that a module owns and an optimizer updates."""

from __future__ import annotations

from wengert._core import Tensor
from wengert._core import empty as _empty

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any


class Parameter(Tensor):
    """A tensor that becomes a parameter of the module it is assigned to.

    Parameters
    ----------
    data
        The values; memory is shared.
    requires_grad
        Whether operations on it are recorded.
    """

    def __new__(cls, data: Tensor | None = None, requires_grad: bool = True) -> Parameter:
        """Make a parameter of a tensor's memory."""
        return Tensor._make_subclass(cls, _empty(0) if data is None else data, requires_grad)

    def __repr__(self) -> str:
        return f"Parameter containing:\n{Tensor.__repr__(self)}"

    def __reduce_ex__(self, protocol: Any) -> Any:
        return Tensor.__reduce_ex__(self, protocol)
