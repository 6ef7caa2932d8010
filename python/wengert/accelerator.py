"""The device beside the processor, if there is one: a CUDA device."""

from __future__ import annotations

from . import _core
from .cuda import current_device as current_device_index
from .cuda import current_stream, device_count, is_available, set_stream, synchronize
from .cuda import set_device as set_device_index

__all__ = [
    "current_accelerator",
    "current_device_index",
    "current_stream",
    "device_count",
    "is_available",
    "set_device_index",
    "set_stream",
    "synchronize",
]


def current_accelerator(check_available: bool = False) -> _core.device | None:
    """Return the accelerator's kind of device, or None where there is none."""
    return _core.device("cuda") if is_available() else None
