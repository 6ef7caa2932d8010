"""cuDNN's settings. They can be set, and change nothing: results are always deterministic."""

from __future__ import annotations

enabled = True
benchmark = False
benchmark_limit = 10
deterministic = False
allow_tf32 = True


def is_available() -> bool:
    """Whether cuDNN is in use: no."""
    return False


def version() -> None:
    """Return cuDNN's version, None."""


class flags:
    """Settings for the length of a ``with`` block."""

    def __init__(
        self,
        enabled: bool = False,
        benchmark: bool = False,
        benchmark_limit: int = 10,
        deterministic: bool = False,
        allow_tf32: bool = True,
    ) -> None:
        self._wanted = {
            "enabled": enabled,
            "benchmark": benchmark,
            "benchmark_limit": benchmark_limit,
            "deterministic": deterministic,
            "allow_tf32": allow_tf32,
        }

    def __enter__(self) -> None:
        here = globals()
        self._before = {name: here[name] for name in self._wanted}
        here.update(self._wanted)

    def __exit__(self, *exc: object) -> None:
        globals().update(self._before)
