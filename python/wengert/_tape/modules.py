"""Which module's forward each line was recorded in.

While a tape records, calls of modules are noted; otherwise nothing here is loaded or called.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from wengert.nn import Module

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import TracebackType

    from wengert import _core
    from wengert._core import Tensor


class _Here(threading.local):
    """The calls to note on this thread."""

    def __init__(self) -> None:
        self.watching: list[Calls] = []


_here = _Here()
_lock = threading.Lock()
_users = 0
_plain_call: Any = None


def _noted_call(self: Module, *args: Any, **kwargs: Any) -> Any:
    """Stand in for Module.__call__ while some tape records."""
    watching = _here.watching
    marks = [calls.enter(self) for calls in watching]
    try:
        return self._call_with_hooks(*args, **kwargs)
    finally:
        for calls, mark in zip(watching, marks, strict=False):
            calls.leave(mark)


class Calls:
    """The calls of modules while a trace records, and the modules that lines belong to."""

    def __init__(self, trace: _core.Trace) -> None:
        self._trace = trace
        self._stack: list[Module] = []
        # The modules under way, outermost first, from an entry of the trace on.
        self._changes: list[tuple[int, tuple[Module, ...]]] = [(0, ())]

    def __enter__(self) -> None:
        global _users, _plain_call
        with _lock:
            if _users == 0:
                _plain_call = Module.__call__
                Module.__call__ = _noted_call  # type: ignore[method-assign,assignment]
            _users += 1
        _here.watching = [*_here.watching, self]

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        global _users
        _here.watching = [calls for calls in _here.watching if calls is not self]
        with _lock:
            _users -= 1
            # A first hook of the process may have put its own call there meanwhile.
            if _users == 0 and Module.__call__ is _noted_call:
                Module.__call__ = _plain_call  # type: ignore[method-assign]

    def enter(self, module: Module) -> int:
        """Note that a module's forward begins."""
        self._stack.append(module)
        self._note()
        return len(self._stack) - 1

    def leave(self, mark: int) -> None:
        """Note that it ended."""
        del self._stack[mark:]
        self._note()

    def _note(self) -> None:
        self._changes.append((len(self._trace), tuple(self._stack)))

    def of_entries(self) -> list[tuple[Module, ...]]:
        """Return the modules of each entry of the trace, outermost first."""
        found: list[tuple[Module, ...]] = []
        ends = [start for start, _ in self._changes[1:]] + [len(self._trace)]
        for (_, modules), end in zip(self._changes, ends, strict=True):
            found.extend([modules] * (end - len(found)))
        return found


class Owners:
    """The modules that a tape's lines belong to, and their names."""

    def __init__(self, known: Mapping[str, Module]) -> None:
        self._names: dict[int, str] = {}
        self._kept: list[Module] = []  # so that an identity stays one
        self._parents: dict[int, Module] = {}
        self._of_parameter: dict[int, Module] = {}
        self._by_entry: dict[int, tuple[Module, ...]] = {}
        for name, module in known.items():
            self._add(name, module)

    def _add(self, name: str, root: Module) -> None:
        for path, module in root.named_modules(prefix=name):
            if id(module) in self._names:
                continue
            self._names[id(module)] = path
            self._kept.append(module)
            for child in module.children():
                self._parents.setdefault(id(child), module)
            for p in module.parameters(recurse=False):
                self._of_parameter.setdefault(id(p), module)

    def learn(self, by_entry: Iterable[tuple[Module, ...]]) -> None:
        """Take the modules of each entry, outermost first."""
        self._by_entry = {e: modules for e, modules in enumerate(by_entry) if modules}
        for modules in dict.fromkeys(self._by_entry.values()):
            for root in modules:
                if id(root) not in self._names:
                    self._add(type(root).__name__.lower(), root)

    def parameters(self) -> dict[str, tuple[Tensor, Module]]:
        """Return parameters by name, with the modules that hold them."""
        return {
            f"{self._names[id(m)]}.{name}": (p, m)
            for m in self._kept
            for name, p in m.named_parameters(recurse=False)
        }

    def name(self, module: Module) -> str:
        """Return the dotted name of a module."""
        return self._names[id(module)]

    def path(self, module: Module) -> tuple[Module, ...]:
        """Return a module and those around it, outermost first."""
        found = [module]
        while (above := self._parents.get(id(found[0]))) is not None:
            found.insert(0, above)
        return tuple(found)

    def of(self, entry: int, read: Iterable[Module]) -> tuple[Module, ...]:
        """Return the modules of a line, outermost first.

        Those whose forward was running; below them, the one whose parameters the line reads: a
        container may compute for its members without calling them.
        """
        ran = self._by_entry.get(entry, ())
        for module in read:
            path = self.path(module)
            if not ran or (ran[-1] in path and ran[-1] is not module):
                return path
        return ran
