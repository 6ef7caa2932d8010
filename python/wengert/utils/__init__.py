"""What stands around training: data sets, loaders, checkpoints; building libraries of operations.

Loaded when first named.
"""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from . import checkpoint as checkpoint
    from . import cpp_extension as cpp_extension
    from . import data as data
    from . import hooks as hooks

    cmake_prefix_path: str

__all__ = ["checkpoint", "cmake_prefix_path", "cpp_extension", "data", "hooks"]


def __getattr__(name: str) -> object:
    import importlib

    if name == "cmake_prefix_path":  # for find_package(wengert CONFIG)
        return importlib.import_module(f"{__name__}.cpp_extension").cmake_prefix_path
    if name in __all__:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'wengert.utils' has no attribute {name!r}")
