"""Programs with what belongs to them, and captures under way."""

from __future__ import annotations

from _thread import get_ident

from wengert._core import CaptureError, Tensor
from wengert.utils._pytree import tree_unflatten

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wengert import _core

    from .guards import Snapshot


class Active:
    """The capture under way: calls of Python that each replay makes too."""

    def __init__(self, recorder: _core.Recorder) -> None:
        self.recorder = recorder
        self.calls: list[tuple[int, Callable[..., Any], tuple[Any, ...]]] = []


active: dict[int, Active] = {}  # by thread


def host_call(fn: Callable[..., Any], *args: Any) -> Any:
    """Call Python code that each replay is to call too, before its launches or after them."""
    if any(isinstance(a, Tensor) for a in args):
        raise CaptureError(
            f"capture: {fn.__qualname__} looks at a tensor; call it outside of the step"
        )
    under_way = active[get_ident()]
    under_way.calls.append((under_way.recorder.steps, fn, args))
    return under_way.recorder.paused(lambda: fn(*args))


class Entry:
    """A program, with what it depends on and how its results are put together."""

    __slots__ = ("after", "before", "guards", "kept", "places", "program", "spec", "whole")

    def __init__(self, program: _core.Program, snapshot: Snapshot) -> None:
        self.program = program
        self.guards = snapshot.guards
        self.kept = snapshot
        self.spec: Any = None
        self.whole: list[Any] = []  # results: None where a tensor of the program's comes
        self.places: list[tuple[Any, Any]] = []  # entries of dicts that get further results
        self.before: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self.after: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def finish(self, tensors: list[Tensor]) -> Any:
        """Put the results together, and do what Python does at the end."""
        for fn, args in self.after:
            fn(*args)
        if self.spec is None:  # a single tensor
            return tensors[0]
        made = iter(tensors)
        leaves = [next(made) if leaf is None else leaf.value for leaf in self.whole]
        for container, key in self.places:
            container[key] = next(made)
        return tree_unflatten(leaves, self.spec)


class Fixed:
    """A result that is the same object at each replay."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value
