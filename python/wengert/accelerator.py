"""The device beside the processor, if there is one: there is none."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from . import _core

__all__ = [
    "current_accelerator",
    "device_count",
    "is_available",
    "synchronize",
]


def is_available() -> bool:
    """Whether there is an accelerator: no."""
    return False


def current_accelerator(check_available: bool = False) -> _core.device | None:
    """Return the accelerator's device, or None: there is none."""
    return None


def device_count() -> int:
    """Return the number of accelerators, 0."""
    return 0


def synchronize(device: object = None) -> None:
    """Wait for the accelerator.

    Raises
    ------
    RuntimeError
        Always: there is none.
    """
    raise RuntimeError("accelerator: no accelerator is available; wengert computes on 'cpu'")
