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

    Hook = Callable[..., Any]


class CallHooks:
    """What to call before and after forward, and around backward, in order."""

    def __init__(self) -> None:
        self.before: dict[int, tuple[Hook, bool]] = {}  # hook, with_kwargs
        self.after: dict[int, tuple[Hook, bool, bool]] = {}  # and always_call
        self.before_backward: dict[int, Hook] = {}
        self.after_backward: dict[int, Hook] = {}
        self.full: bool | None = None  # whether after_backward are full hooks, once there are any

    def add_before(self, hook: Hook, prepend: bool, with_kwargs: bool) -> RemovableHandle:
        """Register a hook that sees the arguments."""
        return added(self.before, (hook, with_kwargs), prepend)

    def add_after(
        self, hook: Hook, prepend: bool, with_kwargs: bool, always_call: bool
    ) -> RemovableHandle:
        """Register a hook that sees arguments and result."""
        return added(self.after, (hook, with_kwargs, always_call), prepend)

    def add_before_backward(self, hook: Hook, prepend: bool) -> RemovableHandle:
        """Register a hook that sees the gradients by the results."""
        return added(self.before_backward, hook, prepend)

    def add_after_backward(
        self, hook: Hook, prepend: bool = False, *, full: bool, where: str = "on a single Module"
    ) -> RemovableHandle:
        """Register a hook that sees the gradients by arguments and results."""
        if self.full is (not full):
            raise RuntimeError(
                f"Cannot use both regular backward hooks and full backward hooks {where}. "
                "Please use only one of them."
            )
        self.full = full
        return added(self.after_backward, hook, prepend)

    def some(self) -> bool:
        """Whether any hook is registered, here or for all modules."""
        return any(
            h.before or h.after or h.before_backward or h.after_backward for h in (self, EVERY)
        )

    def call(self, module: Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the module's forward and the hooks around it, those of all modules first."""
        called: set[int] = set()
        result = None
        watch: Any = None
        try:
            for hook, with_kwargs in [*EVERY.before.values(), *self.before.values()]:
                args, kwargs = _before(module, hook, with_kwargs, args, kwargs)
            if self.of_backward() or EVERY.of_backward():
                from ._backward_hooks import watch_of

                watch = watch_of(module, (EVERY, self))
                args = watch.inputs(args)
            result = module.forward(*args, **kwargs)
            for key, (hook, with_kwargs, _) in [*EVERY.after.items(), *self.after.items()]:
                called.add(key)
                changed = hook(module, args, *((kwargs,) if with_kwargs else ()), result)
                if changed is not None:
                    result = changed
            if watch is not None:
                result = watch.outputs(args, result)
        except Exception:
            self._after_an_error(module, args, kwargs, result, called)
            raise
        return result

    def of_backward(self) -> bool:
        """Whether there are hooks around backward."""
        return bool(self.before_backward or self.after_backward)

    def _after_an_error(
        self,
        module: Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        result: Any,
        called: set[int],
    ) -> None:
        for whose, hooks in (("global module", EVERY.after), ("module", self.after)):
            for key, (hook, with_kwargs, always_call) in list(hooks.items()):
                if not always_call or key in called:
                    continue
                try:
                    changed = hook(module, args, *((kwargs,) if with_kwargs else ()), result)
                    if changed is not None:
                        result = changed
                except Exception as error:  # the first error is the one to tell of
                    import warnings

                    warnings.warn(
                        f"{whose} forward hook with ``always_call=True`` raised an exception that "
                        f"was silenced as another error was raised in forward: {error}",
                        stacklevel=4,
                    )


def _before(
    module: Module,
    hook: Hook,
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


# The hooks of all modules.
EVERY = CallHooks()


def hooks_of_every_module() -> CallHooks:
    """Return the hooks of all modules; from now on every call looks for them."""
    if Module._call_hooks is None:
        Module._call_hooks = CallHooks()  # those of a module that has none of its own
    return EVERY


# Until now no module had hooks, and none looked for any.
Module.__call__ = Module._call_with_hooks  # type: ignore[method-assign,assignment]
Sequential.forward = Sequential._forward_with_hooks  # type: ignore[method-assign]
