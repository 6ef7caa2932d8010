"""Handles by which a registered hook is removed."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any


class RemovableHandle:
    """Removes a hook from the dict that keeps it: by `remove`, or at the end of a ``with`` block.

    Parameters
    ----------
    hooks_dict
        Hooks by number.
    """

    next_id = 0

    def __init__(self, hooks_dict: dict[int, Any]) -> None:
        self.hooks_dict = hooks_dict
        self.id = RemovableHandle.next_id
        RemovableHandle.next_id += 1

    def remove(self) -> None:
        """Remove the hook; a second time does nothing."""
        self.hooks_dict.pop(self.id, None)

    def __enter__(self) -> RemovableHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def added(hooks: dict[int, Any], hook: Any, prepend: bool = False) -> RemovableHandle:
    """Put a hook at the end of a dict, or at its beginning, and return its handle."""
    handle = RemovableHandle(hooks)
    before = dict(hooks) if prepend else {}
    for key in before:
        del hooks[key]
    hooks[handle.id] = hook
    hooks.update(before)
    return handle
