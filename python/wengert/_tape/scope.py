"""The names that a caller's variables give to tensors and modules."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from wengert._core import Tensor
from wengert.nn import Module

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import CodeType, FrameType

    Scope = tuple[dict[str, Tensor], dict[str, Module]]


def variables(frame: FrameType) -> Scope:
    """Tensors and modules by the names of variables that hold them."""
    scope = frame.f_locals
    held = _held(scope)
    if sys.version_info < (3, 13) and frame.f_code.co_flags & 1:
        # A snapshot that the frame would hold on to, and the graph with it.
        for name in [*held[0], *held[1]]:
            del scope[name]
    return held


def _held(scope: Mapping[str, Any]) -> Scope:
    named = [(k, v) for k, v in scope.items() if k[:1] != "_"]
    return (
        {k: v for k, v in named if isinstance(v, Tensor)},
        {k: v for k, v in named if isinstance(v, Module)},
    )


def with_closure(scope: Scope, fn: Callable[..., Any], args: tuple[Any, ...]) -> Scope:
    """Add what a function is given, holds, or names of its module."""
    tensors, modules = dict(scope[0]), dict(scope[1])
    more: dict[str, Any] = {}
    code: CodeType | None = getattr(fn, "__code__", None)
    if code is not None:
        more.update(zip(code.co_varnames[: code.co_argcount], args, strict=False))
        spaces = getattr(fn, "__globals__", {})
        more.update({name: spaces[name] for name in code.co_names if name in spaces})
        for name, cell in zip(
            code.co_freevars, getattr(fn, "__closure__", None) or (), strict=True
        ):
            try:
                more[name] = cell.cell_contents
            except ValueError:  # not set yet
                continue
    elif isinstance(fn, Module) and not any(m is fn for m in modules.values()):
        more[type(fn).__name__.lower()] = fn
    more_tensors, more_modules = _held(more)
    for name, t in more_tensors.items():
        if not any(known is t for known in tensors.values()):
            tensors.setdefault(name, t)
    for name, module in more_modules.items():
        if not any(known is module for known in modules.values()):
            modules.setdefault(name, module)
    return tensors, modules


def tensors(scope: Scope) -> dict[str, Tensor]:
    """Tensors by name, and modules' parameters by theirs."""
    found = dict(scope[0])
    for name, module in scope[1].items():
        found.update({f"{name}.{n}": p for n, p in module.named_parameters()})
    return found


def letters() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ..."""
    k = 0
    while True:
        name, rest = "", k
        while rest >= 0:
            name = chr(ord("a") + rest % 26) + name
            rest = rest // 26 - 1
        yield name
        k += 1
