"""Streams, on which work runs in order, and events, which mark places in them."""

from __future__ import annotations

import threading

from wengert import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

_cuda = _core.cuda


class _Entered(threading.local):
    """The streams to go back to at the ends of this thread's blocks."""

    def __init__(self) -> None:
        self.before: list[Stream] = []


_entered = _Entered()


def _enter(stream: Stream) -> None:
    _entered.before.append(current_stream())
    set_stream(stream)


def _leave() -> None:
    set_stream(_entered.before.pop())


class Stream:
    """Work that runs in order, beside that of other streams.

    Parameters
    ----------
    device
        The CUDA device; there is one.
    priority
        0, or -1 for work that goes before others'.
    """

    def __init__(self, device: Any = None, priority: int = 0, **kwargs: Any) -> None:
        _cuda.require()
        self._stream = kwargs.get("_stream") or _cuda.Stream(priority)

    @property
    def cuda_stream(self) -> int:
        """CUDA's handle."""
        return self._stream.cuda_stream

    @property
    def _as_parameter_(self) -> Any:
        from ctypes import c_void_p

        return c_void_p(self.cuda_stream)

    @property
    def device(self) -> _core.device:
        """Where the stream is."""
        return _core.device("cuda:0")

    def query(self) -> bool:
        """Whether all work is done."""
        return self._stream.query()

    def synchronize(self) -> None:
        """Wait until all work is done."""
        self._stream.synchronize()

    def wait_event(self, event: Event) -> None:
        """Let work from now on wait for an event."""
        if event._event is not None:
            self._stream.wait_event(event._event)

    def wait_stream(self, stream: Stream) -> None:
        """Let work from now on wait for what another stream has been given."""
        self.wait_event(stream.record_event())

    def record_event(self, event: Event | None = None) -> Event:
        """Mark this place in the stream."""
        event = Event() if event is None else event
        event.record(self)
        return event

    def __enter__(self) -> Stream:
        _enter(self)
        return self

    def __exit__(self, *exc: object) -> None:
        _leave()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stream) and other.cuda_stream == self.cuda_stream

    def __hash__(self) -> int:
        return hash(self.cuda_stream)

    def __repr__(self) -> str:
        return f"<wengert.cuda.Stream device=cuda:0 cuda_stream={self.cuda_stream:#x}>"


class ExternalStream(Stream):
    """A stream that another library made, by CUDA's handle; it must outlive this object."""

    def __init__(self, stream_ptr: int, device: Any = None) -> None:
        super().__init__(_stream=_cuda.external_stream(stream_ptr))


class Event:
    """A place in a stream, to wait for and to measure time between.

    Parameters
    ----------
    enable_timing
        Whether `elapsed_time` may be asked.
    blocking, interprocess
        Taken for PyTorch's sake.
    """

    def __init__(
        self, enable_timing: bool = False, blocking: bool = False, interprocess: bool = False
    ) -> None:
        self._timing = enable_timing
        self._event: _cuda.Event | None = None  # made when it is first recorded

    def record(self, stream: Stream | None = None) -> None:
        """Mark the place that a stream, by default the current one, has come to."""
        if self._event is None:
            self._event = _cuda.Event(self._timing)
        self._event.record((current_stream() if stream is None else stream)._stream)

    def wait(self, stream: Stream | None = None) -> None:
        """Let a stream, by default the current one, wait for the event."""
        (current_stream() if stream is None else stream).wait_event(self)

    def query(self) -> bool:
        """Whether the place has been reached."""
        return self._event is None or self._event.query()

    def synchronize(self) -> None:
        """Wait until the place has been reached."""
        if self._event is not None:
            self._event.synchronize()

    def elapsed_time(self, end_event: Event) -> float:
        """Return the milliseconds from this event to another.

        Raises
        ------
        ValueError
            If one was not made for timing, or not recorded.
        """
        if self._event is None or end_event._event is None:
            raise ValueError("elapsed_time: both events must be recorded first")
        return self._event.elapsed_time(end_event._event)

    def __repr__(self) -> str:
        return f"<wengert.cuda.Event {'recorded' if self._event else 'not recorded'}>"


class StreamContext:
    """A ``with`` block in which a stream is the current one; None changes nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self.stream = stream

    def __enter__(self) -> None:
        if self.stream is not None:
            _enter(self.stream)

    def __exit__(self, *exc: object) -> None:
        if self.stream is not None:
            _leave()


def stream(stream: Stream | None) -> StreamContext:
    """Return a ``with`` block in which a stream is the current one."""
    return StreamContext(stream)


def current_stream(device: Any = None) -> Stream:
    """Return the stream on which this thread launches."""
    return Stream(_stream=_cuda.current_stream())


def default_stream(device: Any = None) -> Stream:
    """Return the stream on which threads launch unless told otherwise."""
    return Stream(_stream=_cuda.default_stream())


def set_stream(stream: Stream) -> None:
    """Let this thread launch on a stream."""
    _cuda.set_stream(stream._stream)
