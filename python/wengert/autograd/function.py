"""Operations with a backward of the user's own."""

from __future__ import annotations

from .. import _core
from .._core import Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["Function", "FunctionCtx", "once_differentiable"]


class FunctionCtx:
    """What a `Function` carries from its forward to its backward.

    Attributes
    ----------
    needs_input_grad
        For each argument of forward, whether a gradient by it is wanted.
    """

    needs_input_grad: tuple[bool, ...] = ()
    _to_save: tuple[Tensor | None, ...] = ()
    _dirty: tuple[Tensor, ...] = ()
    _non_differentiable: tuple[Tensor, ...] = ()
    _materialize = True
    _saved: _core.SavedTensors | None = None
    _for_forward: tuple[Tensor | None, ...] | None = None
    _in_forward_mode = False
    _call: _Call

    def save_for_backward(self, *tensors: Tensor | None) -> None:
        """Keep inputs or outputs for backward, as `saved_tensors`; changes in place are noticed."""
        for i, t in enumerate(tensors):
            if t is not None and not isinstance(t, Tensor):
                raise TypeError(
                    f"save_for_backward can only save variables, but argument {i} is of type "
                    f"{type(t).__name__}"
                )
        self._to_save = tensors

    def save_for_forward(self, *tensors: Tensor | None) -> None:
        """Keep tensors for a forward-mode derivative."""
        self._for_forward = tensors

    @property
    def saved_tensors(self) -> tuple[Tensor | None, ...]:
        """What `save_for_backward` kept.

        Raises
        ------
        RuntimeError
            If it has been freed by a backward, or changed in place since.
        """
        if self._in_forward_mode and self._for_forward is not None:
            return self._for_forward
        return self._to_save if self._saved is None else self._saved.get()

    def mark_dirty(self, *tensors: Tensor) -> None:
        """Say that forward changed these inputs in place; it must return them."""
        self._dirty = tensors

    def mark_non_differentiable(self, *tensors: Tensor) -> None:
        """Say that these outputs have no derivative."""
        self._non_differentiable = tensors

    def set_materialize_grads(self, value: bool) -> None:
        """Say whether backward gets zeros, or None, where no gradient came."""
        self._materialize = value


class _Call:
    """What C++ need not know of one call: which arguments were tensors, what came out."""

    def __init__(self, function: type[Function], args: tuple[Any, ...], outputs: list[Any]) -> None:
        self.function = function
        self.is_tensor = [isinstance(a, Tensor) for a in args]
        # of each output the place among the tensors, and what zeros like it are made of
        self.outputs = [
            (o.shape, o.dtype, o.device) if isinstance(o, Tensor) else None for o in outputs
        ]


def _pull(ctx: FunctionCtx, grads: tuple[Tensor | None, ...]) -> tuple[Any, ...]:
    """Call backward; what comes back is for the tensors among the arguments."""
    call = ctx._call
    arrived = iter(grads)
    given: list[Tensor | None] = []
    for meta in call.outputs:
        grad = None if meta is None else next(arrived)
        if grad is None and meta is not None and ctx._materialize:
            grad = _core.zeros(meta[0], dtype=meta[1], device=meta[2])
        given.append(grad)
    name = call.function.__name__ + "Backward"
    backward = call.function.backward
    if call.function.vjp is not Function.vjp:
        if backward is not Function.backward:
            raise RuntimeError(
                "Implementing both 'backward' and 'vjp' for a custom Function is not allowed. You "
                "should only implement one of them."
            )
        backward = call.function.vjp
    result = backward(ctx, *given)
    grads_in = list(result) if isinstance(result, (tuple, list)) else [result]
    expected = len(call.is_tensor)
    if len(grads_in) > expected and all(g is None for g in grads_in[expected:]):
        del grads_in[expected:]
    if len(grads_in) != expected:
        raise RuntimeError(
            f"function {name} returned an incorrect number of gradients (expected {expected}, got "
            f"{len(grads_in)})"
        )
    for i, (g, is_tensor) in enumerate(zip(grads_in, call.is_tensor, strict=True)):
        if g is not None and not is_tensor:
            raise RuntimeError(
                f"function {name} returned a gradient different than None at position {i + 1}, but "
                "the corresponding forward input was not a Variable"
            )
    return tuple(g for g, is_tensor in zip(grads_in, call.is_tensor, strict=True) if is_tensor)


class Function:
    """An operation with a backward of its own: subclass it, and call ``apply``.

    Either ``forward(ctx, *args)``, or ``forward(*args)`` with ``setup_context(ctx, inputs,
    output)``, computes the result, without being recorded; ``backward(ctx, *grad_outputs)`` gives a
    gradient for each argument, None for those that need none. What backward computes is recorded
    when the graph of it is wanted, so that higher derivatives need nothing more.

    Examples
    --------
    >>> class Exp(Function):
    ...     @staticmethod
    ...     def forward(ctx, x):
    ...         y = x.exp()
    ...         ctx.save_for_backward(y)
    ...         return y
    ...
    ...     @staticmethod
    ...     def backward(ctx, grad):
    ...         (y,) = ctx.saved_tensors
    ...         return grad * y
    """

    generate_vmap_rule = False  # as PyTorch has it; func.vmap needs no such leave
    _binds = True  # keywords to positions; it takes a while

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise RuntimeError(
            f"{type(self).__name__} should not be instantiated. Methods on autograd functions are "
            "all static, so you should invoke them on the class itself, by apply."
        )

    @staticmethod
    def forward(*args: Any, **kwargs: Any) -> Any:
        """Compute the result; subclasses define it."""
        raise NotImplementedError(
            "You must implement the forward function for custom autograd.Function."
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        """Keep what backward needs, where forward takes no ctx."""
        raise NotImplementedError("setup_context is not implemented.")

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        """Return the gradients by the arguments; subclasses define it."""
        raise NotImplementedError(
            "You must implement either the backward or vjp method for your custom "
            "autograd.Function to use it with backward mode AD."
        )

    @staticmethod
    def vjp(ctx: Any, *grad_outputs: Any) -> Any:
        """The same under another name."""
        return Function.backward(ctx, *grad_outputs)

    @staticmethod
    def jvp(ctx: Any, *grad_inputs: Any) -> Any:
        """Return the tangents of the outputs; subclasses define it for forward mode."""
        raise NotImplementedError(
            "You must implement the jvp function for custom autograd.Function to use it with "
            "forward mode AD."
        )

    @staticmethod
    def vmap(info: Any, in_dims: tuple[Any, ...], *args: Any) -> Any:
        """Return the outputs for a whole batch, and the dimensions that are the batch's.

        Subclasses may define it; without it, `func.vmap` calls forward for each of the batch.
        ``info`` has ``batch_size`` and ``randomness``; ``in_dims`` holds for each argument the
        batch's dimension, or None.
        """
        raise NotImplementedError("vmap is not implemented.")

    @classmethod
    def apply(cls, *args: Any, **kwargs: Any) -> Any:
        """Compute the result, and record it if an argument requires grad.

        Raises
        ------
        RuntimeError
            If forward breaks a promise, such as changing a leaf in place.
        """
        if _core.any_layer(args):
            from ..func._functions import apply_function

            return apply_function(cls, args, kwargs)
        return cls._run(args, kwargs)[1]

    @classmethod
    def _run(cls, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[FunctionCtx, Any]:
        """Compute and record; what was carried is returned, too."""
        with_setup = cls.setup_context is not Function.setup_context
        if (kwargs and cls._binds) or (with_setup and getattr(cls.forward, "__defaults__", None)):
            args, kwargs = _bind(cls.forward, args, kwargs, with_setup)
        ctx = FunctionCtx()
        ctx.needs_input_grad = tuple(isinstance(a, Tensor) and a.requires_grad for a in args)
        recording = _core.records() and any(ctx.needs_input_grad)
        before = _core.set_grad_mode(False)
        try:
            if with_setup:
                result = cls.forward(*args, **kwargs)
                cls.setup_context(ctx, args, result)
            else:
                result = cls.forward(ctx, *args, **kwargs)
        finally:
            _core.set_grad_mode(before)
        several = isinstance(result, (tuple, list))
        outputs = list(result) if several else [result]
        if recording:
            _record(cls, ctx, args, outputs)
        else:  # an input that requires grad is returned without its history
            outputs = [
                o.detach() if isinstance(o, Tensor) and o.requires_grad else o for o in outputs
            ]
        if not several:
            return ctx, outputs[0]
        return ctx, outputs if isinstance(result, list) else tuple(outputs)


def _bind(
    forward: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], with_setup: bool
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Arguments by position where they can be; all of them, where setup_context is told."""
    import inspect

    signature = inspect.signature(forward)
    if not with_setup:  # ctx is not the caller's
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    bound = signature.bind(*args, **kwargs)
    if with_setup:
        bound.apply_defaults()
    return bound.args, bound.kwargs


def _among(t: object, tensors: tuple[Any, ...]) -> bool:
    return any(t is each for each in tensors)


def _record(
    cls: type[Function], ctx: FunctionCtx, args: tuple[Any, ...], outputs: list[Any]
) -> None:
    """Put the call on the tape; outputs that are inputs are replaced by views of them."""
    inputs = [a for a in args if isinstance(a, Tensor)]
    dirty: list[Tensor] = []
    for t in ctx._dirty:
        if not _among(t, args):
            import warnings

            warnings.warn(
                "ctx.mark_dirty() received a tensor that was not an input. Only input Tensors that "
                "have been mutated should be passed to ctx.mark_dirty().",
                stacklevel=3,
            )
            continue
        dirty.append(t)
        if t.is_leaf and t.requires_grad:
            raise RuntimeError(
                f"{cls.__name__}: a leaf Variable that requires grad is being used in an in-place "
                "operation"
            )
        if not _among(t, tuple(outputs)):
            raise RuntimeError(
                "Some elements marked as dirty during the forward method were not returned as "
                "output. The inputs that are modified inplace must all be outputs of the Function."
            )
    differentiable = []
    for i, out in enumerate(outputs):
        if not isinstance(out, Tensor):
            continue
        has = out.dtype.is_floating_point and not _among(out, ctx._non_differentiable)
        differentiable.append(has)
        if _among(out, tuple(dirty)):
            continue
        if has and _among(out, args):  # a view: the argument is told of changes in place
            outputs[i] = out.view(out.shape)
        elif out.grad_fn is not None or out.requires_grad:
            outputs[i] = out.detach()
    made = [o for o in outputs if isinstance(o, Tensor)]
    ctx._call = _Call(cls, args, outputs)
    to_save, ctx._to_save = ctx._to_save, ()
    ctx._saved = _core.record_function(
        cls.__name__ + "Backward", ctx, _pull, inputs, made, differentiable, list(to_save), dirty
    )


def once_differentiable(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Decorate a backward that cannot itself be differentiated; to try is an error then."""
    import functools

    @functools.wraps(fn)
    def wrapped(ctx: Any, *grads: Any) -> Any:
        recording = _core.is_grad_enabled()
        before = _core.set_grad_mode(False)
        try:
            result = fn(ctx, *grads)
        finally:
            _core.set_grad_mode(before)
        sources = [g for g in grads if isinstance(g, Tensor) and g.requires_grad]
        sources += [t for t in ctx.saved_tensors if t is not None and t.requires_grad]
        if not (recording and sources):
            return result
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        guarded = [_Once.apply(r, *sources) if isinstance(r, Tensor) else r for r in results]
        return tuple(guarded) if isinstance(result, (tuple, list)) else guarded[0]

    return wrapped


class _Once(Function):
    """Passes a value on whose derivative is an error."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, *sources: Tensor) -> Tensor:  # noqa: ARG004
        return value.detach()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:  # noqa: ARG004
        raise RuntimeError(
            "trying to differentiate twice a function that was marked with @once_differentiable"
        )
