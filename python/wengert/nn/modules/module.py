"""What PyTorch keeps in ``nn/modules/module.py``: `Module`, and hooks of all modules at once."""

from __future__ import annotations

from wengert.nn import (
    Module,
)

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wengert.nn._hooks import CallHooks
    from wengert.utils.hooks import RemovableHandle

__all__ = [
    "Module",
    "register_module_backward_hook",
    "register_module_forward_hook",
    "register_module_forward_pre_hook",
    "register_module_full_backward_hook",
    "register_module_full_backward_pre_hook",
]

_WHERE = "as a global Module hook"


def _every() -> CallHooks:
    from wengert.nn._hooks import hooks_of_every_module

    return hooks_of_every_module()


def register_module_forward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, args)`` called before every forward of every module.

    What it returns replaces the arguments. It comes before the module's own hooks.
    """
    return _every().add_before(hook, False, False)


def register_module_forward_hook(
    hook: Callable[..., Any], *, with_kwargs: bool = False, always_call: bool = False
) -> RemovableHandle:
    """Have ``hook(module, args, output)`` called after every forward of every module.

    What it returns replaces the output. It comes before the module's own hooks.

    Parameters
    ----------
    hook
        The function to call.
    with_kwargs
        Whether it is ``hook(module, args, kwargs, output)``.
    always_call
        Whether it is called even where forward raised an error.
    """
    return _every().add_after(hook, False, with_kwargs, always_call)


def register_module_full_backward_pre_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, grad_output)`` called before the backward of every module."""
    return _every().add_before_backward(hook, False)


def register_module_full_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have ``hook(module, grad_input, grad_output)`` called after the backward of every module.

    Raises
    ------
    RuntimeError
        If there is a hook of `register_module_backward_hook`.
    """
    return _every().add_after_backward(hook, full=True, where=_WHERE)


def register_module_backward_hook(hook: Callable[..., Any]) -> RemovableHandle:
    """Have a hook called after the last operation of every forward; deprecated.

    Raises
    ------
    RuntimeError
        If there is a hook of `register_module_full_backward_hook`.
    """
    return _every().add_after_backward(hook, full=False, where=_WHERE)
