"""The base of all modules: a tree of named parameters, buffers and other modules."""

from __future__ import annotations

from wengert import _core
from wengert.autograd import no_grad

from ._tree import Tree

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable, Mapping
    from typing import Any, TypeVar

    from wengert._core import Tensor, device, dtype
    from wengert.utils.hooks import RemovableHandle

    from ._hooks import CallHooks
    from ._state import Loaded, StateHooks

    M = TypeVar("M", bound="Module")


class Module(Tree):
    """Base of all modules.

    Assign parameters and modules as attributes in ``__init__``, after ``super().__init__()``, and
    define ``forward``. Calling the module calls ``forward``.
    """

    training: bool
    _version = 1  # of the layout of the state dict
    # Made at the first registration; a module without hooks carries none.
    _call_hooks: CallHooks | None = None
    _state_hooks: StateHooks | None = None

    def __init__(self) -> None:
        Tree.__init__(self)
        self.__dict__["training"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; subclasses define it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    # A call is a call of forward (`CallsForward`), until the first hook of all is registered;
    # `_hooks` then puts `_call_with_hooks` in the place of `__call__`.
    def _call_with_hooks(self, *args: Any, **kwargs: Any) -> Any:
        if self._call_hooks is None:
            return self.forward(*args, **kwargs)
        return self._call_hooks.call(self, args, kwargs)

    # --- modes and conversion ------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set training mode, here and below.

        Raises
        ------
        ValueError
            If mode is not a bool.
        """
        if not isinstance(mode, bool):
            raise ValueError("training mode is expected to be boolean")
        self.__dict__["training"] = mode
        for child in self.children():
            child.train(mode)
        return self

    def eval(self: M) -> M:
        """Set evaluation mode, here and below."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget, or with ``set_to_none=False`` zero, the gradients of all parameters."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach_().zero_()

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set whether operations on the parameters are recorded."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def _apply(self: M, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> M:
        """Replace the values of parameters and their gradients, and the buffers, by fn of them."""
        for child in self.children() if recurse else ():
            child._apply(fn)
        for p in self._parameters.values():
            if p is None:
                continue
            with no_grad():
                made, grad = fn(p), p.grad
                if made is p:
                    continue
                p.grad = None  # a gradient of the old dtype would not fit the new values
                p.data = made.detach()
                if grad is not None:
                    p.grad = fn(grad).requires_grad_(grad.requires_grad)
        for name, b in self._buffers.items():
            if b is not None:
                self._buffers[name] = fn(b)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Move floating point parameters and buffers to another dtype or device, in place.

        Takes a dtype, a device, or a tensor to be like, and ``non_blocking``; ``memory_format`` is
        accepted.

        Raises
        ------
        TypeError
            If the dtype is not of floating point.
        RuntimeError
            If the device is not there.
        """
        from ._state import target

        dtype, device, non_blocking = target(args, kwargs)
        if device is None:
            return self if dtype is None else self._cast(dtype)

        def moved(t: Tensor) -> Tensor:
            cast = dtype if t.dtype.is_floating_point else None
            return t.to(device, cast, non_blocking)

        return self._apply(moved)

    def _cast(self: M, wanted: dtype) -> M:
        return self._apply(lambda t: t.to(wanted) if t.dtype.is_floating_point else t)

    def float(self: M) -> M:
        """Move to float32."""
        return self._cast(_core.float32)

    def double(self: M) -> M:
        """Move to float64."""
        return self._cast(_core.float64)

    def half(self: M) -> M:
        """Move to float16."""
        return self._cast(_core.float16)

    def bfloat16(self: M) -> M:
        """Move to bfloat16."""
        return self._cast(_core.bfloat16)

    def type(self: M, dst_type: dtype) -> M:
        """Move every parameter and buffer, those of integers too, to another dtype."""
        return self._apply(lambda t: t.to(dst_type))

    def cpu(self: M) -> M:
        """Move to CPU memory."""
        return self._apply(lambda t: t.cpu())

    def cuda(self: M, device: device | int | None = None) -> M:
        """Move to a CUDA device.

        Raises
        ------
        RuntimeError
            If there is none.
        """
        return self.to("cuda" if device is None else device)

    def to_empty(self: M, *, device: device | str | None, recurse: bool = True) -> M:
        """Give parameters and buffers new memory, of unset values, on a device."""
        return self._apply(lambda t: _core.empty_like(t).to(device=device), recurse)

    # --- state: the work is done in _state.py --------------------------------------------------

    def get_extra_state(self) -> Any:
        """Return what else `state_dict` is to hold; only a subclass that defines it has any."""
        raise RuntimeError("get_extra_state: reached in nn.Module; a subclass has to define it")

    def set_extra_state(self, state: Any) -> None:
        """Take up what `get_extra_state` returned; a subclass defines both."""
        raise RuntimeError("set_extra_state: reached in nn.Module; a subclass has to define it")

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        from ._state import save_members

        save_members(self, destination, prefix, keep_vars)

    def _load_from_state_dict(
        self,
        state_dict: Mapping[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        from ._state import load_members

        load_members(
            self, state_dict, prefix, local_metadata, strict, missing_keys, unexpected_keys,
            error_msgs,
        )  # fmt: skip

    def state_dict(
        self, *args: Any, destination: Any = None, prefix: str = "", keep_vars: bool = False
    ) -> OrderedDict[str, Any]:
        """Return all parameters and persistent buffers by dotted name, sharing memory.

        Parameters
        ----------
        destination
            A dict to write to, instead of a new one.
        prefix
            What every name begins with.
        keep_vars
            Whether the tensors are the module's own, rather than detached from the tape.
        *args
            The three above, the old way.
        """
        from ._state import save

        if args:
            destination, prefix, keep_vars = (*args, destination, prefix, keep_vars)[:3]
        return save(self, destination, prefix, keep_vars)

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Loaded:
        """Copy values by name into the parameters and buffers; all or, on an error, nothing.

        Parameters
        ----------
        state_dict
            Tensors or arrays by name.
        strict
            Whether the names must be exactly those of `state_dict`.
        assign
            Whether to take over the tensors themselves, dtype and all, rather than their values.

        Returns
        -------
        tuple
            The lists ``missing_keys`` and ``unexpected_keys``.

        Raises
        ------
        RuntimeError
            If a shape differs or, with ``strict``, a name is missing or unexpected.
        TypeError
            If it is no mapping.
        """
        from ._state import load

        return load(self, state_dict, strict, assign)

    # --- hooks: kept and run by _hooks.py and _state.py ----------------------------------------

    def _hooks_of_calls(self) -> CallHooks:
        if self.__dict__.get("_call_hooks") is None:
            from ._hooks import CallHooks

            self.__dict__["_call_hooks"] = CallHooks()
        return self.__dict__["_call_hooks"]

    def _hooks_of_state(self) -> StateHooks:
        if self._state_hooks is None:
            from ._state import StateHooks

            self.__dict__["_state_hooks"] = StateHooks()
        return self.__dict__["_state_hooks"]

    def register_forward_pre_hook(
        self, hook: Callable[..., Any], *, prepend: bool = False, with_kwargs: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, args)`` called before each forward; what it returns replaces args.

        With ``with_kwargs`` it is ``hook(module, args, kwargs)`` and returns both.
        """
        return self._hooks_of_calls().add_before(hook, prepend, with_kwargs)

    def register_forward_hook(
        self,
        hook: Callable[..., Any],
        *,
        prepend: bool = False,
        with_kwargs: bool = False,
        always_call: bool = False,
    ) -> RemovableHandle:
        """Have ``hook(module, args, output)`` called after each forward; its result replaces it.

        With ``with_kwargs`` it is ``hook(module, args, kwargs, output)``; with ``always_call`` it
        is called even where forward raised an error.
        """
        return self._hooks_of_calls().add_after(hook, prepend, with_kwargs, always_call)

    def register_full_backward_pre_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, grad_output)`` called when the gradients by the results are known.

        What it returns replaces them. Forward gets, and its caller gets back, views.
        """
        return self._hooks_of_calls().add_before_backward(hook, prepend)

    def register_full_backward_hook(
        self, hook: Callable[..., Any], prepend: bool = False
    ) -> RemovableHandle:
        """Have ``hook(module, grad_input, grad_output)`` called when both gradients are known.

        They are tuples, with None for what is no tensor; what it returns replaces ``grad_input``.
        Without an argument that requires grad, it is called as soon as ``grad_output`` is known.

        Raises
        ------
        RuntimeError
            If the module has a hook of `register_backward_hook`.
        """
        return self._hooks_of_calls().add_after_backward(hook, prepend, full=True)

    def register_backward_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        """Have ``hook(module, grad_input, grad_output)`` called after forward's last operation.

        Deprecated: ``grad_input`` is that of the last operation, not of the module.

        Raises
        ------
        RuntimeError
            If the module has a hook of `register_full_backward_hook`.
        """
        return self._hooks_of_calls().add_after_backward(hook, full=False)

    def register_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Have ``hook(module, prefix, keep_vars)`` called before `state_dict` reads the module."""
        return self._hooks_of_state().add("before_save", hook)

    def register_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Have ``hook(module, state_dict, prefix, local_metadata)`` called after `state_dict`."""
        return self._hooks_of_state().add("after_save", hook, False)

    def _register_state_dict_hook(self, hook: Callable[..., Any]) -> RemovableHandle:
        return self._hooks_of_state().add("after_save", hook, True)

    def register_load_state_dict_pre_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Have hook called before the module's values are looked up in a dict to load.

        It is ``hook(module, state_dict, prefix, local_metadata, strict, missing_keys,
        unexpected_keys, error_msgs)``.
        """
        return self._hooks_of_state().add("before_load", hook, True)

    def _register_load_state_dict_pre_hook(
        self, hook: Callable[..., None], with_module: bool = False
    ) -> RemovableHandle:
        return self._hooks_of_state().add("before_load", hook, with_module)

    def register_load_state_dict_post_hook(self, hook: Callable[..., None]) -> RemovableHandle:
        """Have ``hook(module, incompatible_keys)`` called after the module has been loaded."""
        return self._hooks_of_state().add("after_load", hook)

    # --- text ----------------------------------------------------------------------------------

    def _get_name(self) -> str:
        return self.__class__.__name__

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the module's own settings."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._modules.items()
        ]
        extra = self.extra_repr().split("\n") if self.extra_repr() else []
        if len(extra) == 1 and not lines:
            return f"{self._get_name()}({extra[0]})"
        if not extra and not lines:
            return f"{self._get_name()}()"
        return f"{self._get_name()}(\n  " + "\n  ".join(extra + lines) + "\n)"
