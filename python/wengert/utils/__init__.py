"""What stands around training: data sets and loaders."""

from . import data

__all__ = ["data", "hooks"]


def __getattr__(name: str) -> object:
    if name == "hooks":
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'wengert.utils' has no attribute {name!r}")
