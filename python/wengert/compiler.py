"""What programs ask about PyTorch's compiler: nothing is being compiled."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import TypeVar

    F = TypeVar("F")

__all__ = ["allow_in_graph", "disable", "is_compiling"]


def is_compiling() -> bool:
    """Whether the function is being compiled: never."""
    return False


def allow_in_graph(fn: F) -> F:
    """Return the function as it is."""
    return fn


disable = allow_in_graph
