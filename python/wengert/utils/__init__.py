"""What stands around training: data sets and loaders. Loaded when first named."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from . import data as data
    from . import hooks as hooks

__all__ = ["data", "hooks"]


def __getattr__(name: str) -> object:
    if name in __all__:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'wengert.utils' has no attribute {name!r}")
