"""Training on several machines, as far as programs ask whether it is on: it is not available."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "get_rank",
    "get_world_size",
    "init_process_group",
    "is_available",
    "is_initialized",
]


def is_available() -> bool:
    """Whether processes can work together: no."""
    return False


def is_initialized() -> bool:
    """Whether a group of processes was set up: no."""
    return False


def _refused(*args: Any, **kwargs: Any) -> Any:
    """Refuse to work in a group of processes.

    Raises
    ------
    RuntimeError
        Always.
    """
    raise RuntimeError(
        "distributed: wengert works in a single process; ask distributed.is_available() first"
    )


init_process_group = destroy_process_group = get_rank = get_world_size = barrier = _refused
all_reduce = all_gather = broadcast = reduce = new_group = _refused


class ReduceOp:
    """How `all_reduce` joins values."""

    SUM = "SUM"
    PRODUCT = "PRODUCT"
    MIN = "MIN"
    MAX = "MAX"
    AVG = "AVG"
