"""The older names of `wengert.amp`."""

from __future__ import annotations

from wengert import amp

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

__all__ = ["GradScaler", "autocast"]


class GradScaler(amp.GradScaler):
    """A `wengert.amp.GradScaler` for CUDA."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__("cuda", *args, **kwargs)


class autocast(amp.autocast):
    """A `wengert.amp.autocast` for CUDA."""

    def __init__(self, enabled: bool = True, dtype: Any = None, cache_enabled: bool = True) -> None:
        super().__init__("cuda", dtype, enabled, cache_enabled)
