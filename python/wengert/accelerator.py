"""The device beside the processor, if there is one: a CUDA device."""

from __future__ import annotations

from . import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

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


def is_available() -> bool:
    """Whether there is an accelerator."""
    return _core.cuda.is_available()


def current_accelerator(check_available: bool = False) -> _core.device | None:
    """Return the accelerator's kind of device, or None where there is none."""
    return _core.device("cuda") if is_available() else None


def device_count() -> int:
    """Return the number of accelerators that wengert can use: 1 or 0."""
    return min(_core.cuda.device_count(), 1)


def _require() -> None:
    if not is_available():
        raise RuntimeError("accelerator: no accelerator is available; wengert computes on 'cpu'")


def current_device_index() -> int:
    """Return the number of the current accelerator, 0.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    _require()
    return 0


def set_device_index(device: Any) -> None:
    """Make an accelerator the current one: there is one.

    Raises
    ------
    RuntimeError
        If it is not there.
    """
    from . import cuda

    _require()
    cuda.set_device(device)


def current_stream(device: Any = None) -> Any:
    """Return the stream on which this thread launches.

    Raises
    ------
    RuntimeError
        If there is no accelerator.
    """
    from . import cuda

    _require()
    return cuda.current_stream(device)


def set_stream(stream: Any) -> None:
    """Let this thread launch on a stream.

    Raises
    ------
    RuntimeError
        If there is no accelerator.
    """
    from . import cuda

    _require()
    cuda.set_stream(stream)


def synchronize(device: Any = None) -> None:
    """Wait until the accelerator has done all that was launched.

    Raises
    ------
    RuntimeError
        If there is none, or if something that was launched has failed.
    """
    _require()
    _core.cuda.synchronize()
