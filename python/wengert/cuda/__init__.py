"""What programs ask before they use a CUDA device: there is none in this build."""

from __future__ import annotations

from wengert import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

    from . import amp as amp

    Device = _core.device | int | str | None

__all__ = [
    "amp",
    "current_device",
    "device_count",
    "empty_cache",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "memory_allocated",
    "memory_reserved",
    "reset_peak_memory_stats",
    "seed_all",
    "set_device",
    "synchronize",
]


def is_available() -> bool:
    """Whether there is a CUDA device: no."""
    return False


def is_initialized() -> bool:
    """Whether CUDA is in use: no."""
    return False


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether a device computes in bfloat16: there is none."""
    return False


def device_count() -> int:
    """Return the number of CUDA devices, 0."""
    return 0


def manual_seed(seed: int) -> None:
    """Seed the current device; without one, nothing."""


def manual_seed_all(seed: int) -> None:
    """Seed all devices; there are none."""


def seed_all() -> None:
    """Seed all devices at random; there are none."""


def empty_cache() -> None:
    """Give unused device memory back; there is none."""


def memory_allocated(device: Device = None) -> int:
    """Return the bytes of device memory in use, 0."""
    return 0


memory_reserved = max_memory_allocated = max_memory_reserved = memory_allocated


def reset_peak_memory_stats(device: Device = None) -> None:
    """Start the peak of device memory anew; there is none."""


def _refused(device: Device = None, *args: Any, **kwargs: Any) -> Any:
    """Refuse to work on a CUDA device.

    Raises
    ------
    RuntimeError
        Always: there is none.
    """
    _core._check_device("cuda")


set_device = synchronize = current_device = _refused
get_device_name = get_device_capability = get_device_properties = _refused


def __getattr__(name: str) -> object:
    if name == "amp":
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'wengert.cuda' has no attribute {name!r}")
