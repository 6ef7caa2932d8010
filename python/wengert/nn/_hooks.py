"""Functions that others have asked a module to call around its forward.

Loaded at the first registration in the process. Until then calls do not look for hooks at all, so
that they cost a program without hooks nothing.
"""

from __future__ import annotations

from wengert.utils.hooks import RemovableHandle, added

from .container import Sequential
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


class CallHooks:
    """What to call before and after forward, in order."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Callable[..., Any], bool]] = {}  # hook, with_kwargs
        self.after: dict[int, tuple[Callable[..., Any], bool, bool]] = {}  # and always_call

    def add_before(
        self, hook: Callable[..., Any], prepend: bool, with_kwargs: bool
    ) -> RemovableHandle:
        """Register a hook that sees the arguments."""
        return added(self.before, (hook, with_kwargs), prepend)

    def add_after(
        self, hook: Callable[..., Any], prepend: bool, with_kwargs: bool, always_call: bool
    ) -> RemovableHandle:
        """Register a hook that sees arguments and result."""
        return added(self.after, (hook, with_kwargs, always_call), prepend)

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the module's forward and the hooks around it."""
        called: set[int] = set()
        result = None
        try:
            for hook, with_kwargs in list(self.before.values()):
                args, kwargs = _before(module, hook, with_kwargs, args, kwargs)
            result = module.forward(*args, **kwargs)
            for key, (hook, with_kwargs, _) in list(self.after.items()):
                called.add(key)
                changed = hook(module, args, *((kwargs,) if with_kwargs else ()), result)
                if changed is not None:
                    result = changed
        except Exception:
            self._after_an_error(module, args, kwargs, result, called)
            raise
        return result

    def _after_an_error(
        self,
        module: Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        called: set[int],
    ) -> None:
        for key, (hook, with_kwargs, always_call) in list(self.after.items()):
            if not always_call or key in called:
                continue
            try:
                changed = hook(module, args, *((kwargs,) if with_kwargs else ()), result)
                if changed is not None:
                    result = changed
            except Exception as error:  # the first error is the one to tell of
                import warnings

                warnings.warn(
                    "module forward hook with ``always_call=True`` raised an exception that was "
                    f"silenced as another error was raised in forward: {error}",
                    stacklevel=4,
                )


def _before(
    module: Module,
    hook: Callable[..., Any],
    with_kwargs: bool,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if not with_kwargs:
        changed = hook(module, args)
        if changed is None:
            return args, kwargs
        return changed if isinstance(changed, tuple) else (changed,), kwargs
    changed = hook(module, args, kwargs)
    if changed is None:
        return args, kwargs
    if not isinstance(changed, tuple) or len(changed) != 2:
        raise RuntimeError(
            "forward pre-hook must return None or a tuple of (new_args, new_kwargs), but got "
            f"{changed}."
        )
    return changed


# Until now no module had hooks, and none looked for any.
Module.__call__ = Module._call_with_hooks  # type: ignore[method-assign]
Sequential.forward = Sequential._forward_with_hooks  # type: ignore[method-assign]
