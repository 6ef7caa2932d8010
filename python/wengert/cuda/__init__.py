"""The CUDA device: whether there is one, its memory, streams and events.

wengert uses one device, ``cuda:0``; the variable ``CUDA_VISIBLE_DEVICES`` chooses which that is.
"""

from __future__ import annotations

from wengert import _core

from .streams import (
    Event,
    ExternalStream,
    Stream,
    StreamContext,
    current_stream,
    default_stream,
    set_stream,
    stream,
)

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable
    from types import SimpleNamespace
    from typing import Any

    from wengert._core import Tensor

    from . import amp as amp

    Device = _core.device | int | str | None

__all__ = [
    "Event",
    "ExternalStream",
    "OutOfMemoryError",
    "Stream",
    "StreamContext",
    "amp",
    "current_device",
    "current_stream",
    "default_stream",
    "device",
    "device_count",
    "device_of",
    "empty_cache",
    "get_arch_list",
    "get_device_capability",
    "get_device_name",
    "get_device_properties",
    "get_rng_state",
    "get_rng_state_all",
    "init",
    "initial_seed",
    "is_available",
    "is_bf16_supported",
    "is_initialized",
    "is_launch_blocking",
    "manual_seed",
    "manual_seed_all",
    "max_memory_allocated",
    "max_memory_reserved",
    "mem_get_info",
    "memory_allocated",
    "memory_reserved",
    "memory_stats",
    "memory_summary",
    "reset_max_memory_allocated",
    "reset_peak_memory_stats",
    "seed",
    "seed_all",
    "set_device",
    "set_launch_blocking",
    "set_per_process_memory_fraction",
    "set_rng_state",
    "set_rng_state_all",
    "set_stream",
    "stream",
    "synchronize",
]

OutOfMemoryError = _core.OutOfMemoryError
_cuda = _core.cuda


def is_available() -> bool:
    """Whether there is a CUDA device and the build has the back end for it."""
    return _cuda.is_available()


def is_initialized() -> bool:
    """Whether the device is in use."""
    return _cuda.is_initialized()


def init() -> None:
    """Begin to use the device.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    _cuda.require()


def is_bf16_supported(including_emulation: bool = True) -> bool:
    """Whether the device computes in bfloat16."""
    return is_available() and get_device_capability() >= (8, 0)


def device_count() -> int:
    """Return the number of CUDA devices that wengert can use: 1 or 0."""
    return min(_cuda.device_count(), 1)


def _index(device: Device) -> int:
    """Return the number of a device, refusing any that wengert does not use."""
    _cuda.require()
    if isinstance(device, str):
        device = _core.device(device)
    if isinstance(device, _core.device):
        if device.type != "cuda":
            raise ValueError(f"Expected a cuda device, but got: {device}")
        device = device.index
    if device not in (None, 0, -1):
        raise RuntimeError(
            f"cuda: invalid device ordinal {device}; wengert uses one CUDA device, 0, which "
            "CUDA_VISIBLE_DEVICES chooses"
        )
    return 0


def current_device() -> int:
    """Return the number of the current device, 0.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    return _index(None)


def set_device(device: Device) -> None:
    """Make a device the current one: there is one.

    Raises
    ------
    RuntimeError
        If it is not there.
    """
    if device not in (-1, None):
        _index(device)


class device:
    """A ``with`` block in which a device is the current one: there is one.

    Raises
    ------
    RuntimeError
        If it is not there.
    """

    def __init__(self, device: Device) -> None:
        self.idx = -1 if device in (None, -1) else _index(device)

    def __enter__(self) -> device:
        return self

    def __exit__(self, *exc: object) -> None:
        pass


class device_of(device):
    """A ``with`` block in which the device of a tensor is the current one."""

    def __init__(self, obj: Any) -> None:
        super().__init__(obj.get_device() if obj.is_cuda else -1)


def get_device_name(device: Device = None) -> str:
    """Return the device's name."""
    _index(device)
    return str(_cuda.properties()["name"])


def get_device_capability(device: Device = None) -> tuple[int, int]:
    """Return the device's compute capability, such as (9, 0)."""
    _index(device)
    p = _cuda.properties()
    return (p["major"], p["minor"])


def get_device_properties(device: Device = None) -> SimpleNamespace:
    """Return what the device is: name, major, minor, total_memory in bytes, and more."""
    from types import SimpleNamespace

    _index(device)
    return SimpleNamespace(**_cuda.properties())


def get_arch_list() -> list[str]:
    """Return the architectures that the build has code for."""
    return _cuda.architectures() if is_available() else []


def synchronize(device: Device = None) -> None:
    """Wait until the device has done all that was launched.

    Raises
    ------
    RuntimeError
        If there is none, or if something that was launched has failed.
    """
    _index(device)
    _cuda.synchronize()


def is_launch_blocking() -> bool:
    """Whether every launch is waited for."""
    return _cuda.launches_block()


def set_launch_blocking(enabled: bool) -> None:
    """Set whether every launch is waited for, so that an error is told by what caused it.

    The variable ``CUDA_LAUNCH_BLOCKING=1`` sets it from the start.
    """
    _cuda.set_launches_block(enabled)


# --- random numbers: the generator is the processor's, and draws the same numbers everywhere ------


def manual_seed(seed: int) -> None:
    """Seed the generator of random numbers, which all devices share."""
    _core.default_generator.manual_seed(seed)


manual_seed_all = manual_seed


def initial_seed() -> int:
    """Return the seed of the generator."""
    return _core.default_generator.initial_seed()


def get_rng_state(device: Device = "cuda") -> Tensor:
    """Return the generator's state, a uint8 tensor in the processor's memory."""
    return _core.default_generator.get_state()


def set_rng_state(new_state: Tensor, device: Device = "cuda") -> None:
    """Restore a state that `get_rng_state` gave."""
    _core.default_generator.set_state(new_state)


def get_rng_state_all() -> list[Tensor]:
    """Return the states of all devices' generators: they share one."""
    return [get_rng_state() for _ in range(device_count())]


def set_rng_state_all(new_states: Iterable[Tensor]) -> None:
    """Restore what `get_rng_state_all` gave."""
    for state in new_states:
        set_rng_state(state)


def seed() -> None:
    """Seed the generator of random numbers at random."""
    _core.default_generator.seed()


seed_all = seed


# --- memory ------------------------------------------------------------------------------------


def memory_stats(device: Device = None) -> dict[str, int]:
    """Return the allocator's counts by PyTorch's names, such as 'allocated_bytes.all.peak'."""
    return _cuda.memory_stats()


def memory_allocated(device: Device = None) -> int:
    """Return the bytes of device memory that tensors hold."""
    return _cuda.memory_stats()["allocated_bytes.all.current"]


def max_memory_allocated(device: Device = None) -> int:
    """Return the most bytes that tensors held since the peaks were reset."""
    return _cuda.memory_stats()["allocated_bytes.all.peak"]


def memory_reserved(device: Device = None) -> int:
    """Return the bytes of device memory that the allocator holds."""
    return _cuda.memory_stats()["reserved_bytes.all.current"]


def max_memory_reserved(device: Device = None) -> int:
    """Return the most bytes that the allocator held since the peaks were reset."""
    return _cuda.memory_stats()["reserved_bytes.all.peak"]


def reset_peak_memory_stats(device: Device = None) -> None:
    """Start the peaks of device memory anew."""
    _cuda.reset_peak_memory_stats()


reset_max_memory_allocated = reset_peak_memory_stats


def empty_cache() -> None:
    """Give device memory that no tensor holds back to CUDA."""
    _cuda.empty_cache()


def mem_get_info(device: Device = None) -> tuple[int, int]:
    """Return the bytes that are free on the device, and all."""
    _index(device)
    return _cuda.mem_get_info()


def set_per_process_memory_fraction(fraction: float, device: Device = None) -> None:
    """Limit what this process takes of the device's memory.

    Raises
    ------
    ValueError
        If fraction is not between 0 and 1.
    """
    _index(device)
    _cuda.set_memory_fraction(fraction)


def memory_summary(device: Device = None, abbreviated: bool = False) -> str:
    """Return the allocator's counts as text."""
    s = _cuda.memory_stats()
    width = max(map(len, s))
    return "\n".join(f"{name:<{width}}  {value:>16,}" for name, value in s.items())


def __getattr__(name: str) -> object:
    if name == "amp":
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    if name.endswith("Tensor"):
        from wengert._legacy import tensor_type

        found = globals()[name] = tensor_type(name, __name__)
        return found
    raise AttributeError(f"module 'wengert.cuda' has no attribute {name!r}")
