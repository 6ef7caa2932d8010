"""Operations of users' own, by namespace: ``wengert.ops.mine.swish2(x)``.

They come from shared libraries (`load_library`; ``wengert/extension.h`` in
`wengert.utils.cpp_extension.include_paths` is what such a library includes) and from
`wengert.library.custom_op`.
"""

from __future__ import annotations

from . import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    import os
    from collections.abc import Callable
    from typing import Any

__all__ = ["load_library"]

loaded_libraries: set[str] = set()  # their paths
_namespaces: dict[str, _OpNamespace] = {}


class _OpNamespace:
    """The operations of one namespace, as attributes."""

    def __init__(self, name: str) -> None:
        self._of = name

    def __getattr__(self, name: str) -> Callable[..., Any]:
        raise AttributeError(f"'_OpNamespace' '{self._of}' object has no attribute '{name}'")

    def __repr__(self) -> str:
        return f"<module 'wengert.ops.{self._of}'>"


def load_library(path: str | os.PathLike[str]) -> None:
    """Load a shared library of operations; they are in the namespace that it names, from then on.

    Raises
    ------
    OSError
        If there is no such library, or it cannot be loaded.
    RuntimeError
        If it was built for another version of wengert or another processor, or adds an operation
        that is there already.
    ValueError
        If a signature in it is not right.
    """
    import os

    full = os.path.realpath(path)
    if not os.path.isfile(full):  # noqa: PTH113
        raise OSError(f"Could not load this library: {os.fspath(path)}")
    for namespace, name, fn in _core.load_library(full):
        _add(namespace, name, fn)
    loaded_libraries.add(full)


def _add(namespace: str, name: str, fn: Callable[..., Any]) -> None:
    """Put an operation into its namespace, in place of one of that name."""
    setattr(__getattr__(namespace), name, fn)


def __getattr__(name: str) -> _OpNamespace:
    if name.startswith("__"):
        raise AttributeError(f"module 'wengert.ops' has no attribute {name!r}")
    return _namespaces.setdefault(name, _OpNamespace(name))


def __dir__() -> list[str]:
    return sorted({*globals(), *_namespaces})
