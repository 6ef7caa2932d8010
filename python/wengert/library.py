"""Operations of one's own in Python, with schemas: ``@wengert.library.custom_op("mine::f", ...)``.

The function may do anything (call NumPy, or a library in C): what it computes is not recorded, and
its derivative is what `CustomOpDef.register_autograd` says. It can be called as
``wengert.ops.mine.f``, too. Operations in C++ are another matter: `wengert.ops.load_library`.
"""

from __future__ import annotations

from . import _schema, ops
from ._core import Tensor, is_grad_enabled
from ._schema import infer_schema
from .autograd.function import Function

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

__all__ = [
    "CustomOpDef",
    "custom_op",
    "infer_schema",
    "register_autograd",
    "register_fake",
    "register_kernel",
]

_defined: dict[str, CustomOpDef] = {}


def custom_op(
    name: str,
    fn: Callable[..., Any] | None = None,
    /,
    *,
    mutates_args: str | Iterable[str],
    device_types: str | Iterable[str] | None = None,
    schema: str | None = None,
    tags: object = None,
) -> Any:
    """Make an operation of a function; a decorator, if none is given.

    Parameters
    ----------
    name
        ``namespace::name``.
    mutates_args
        The names of arguments that the function changes in place, or ``"unknown"``.
    device_types, tags
        Taken for PyTorch's sake; there is one device.
    schema
        Parameters and results, such as ``(Tensor x, int n=2) -> Tensor``; else they are read from
        the function's annotations.

    Raises
    ------
    ValueError
        If the name or an annotation is not right.
    RuntimeError
        If the schema is not, or an operation in C++ has the name.

    Examples
    --------
    >>> @custom_op("mine::sine", mutates_args=())
    ... def sine(x: Tensor) -> Tensor:
    ...     return wengert.from_numpy(numpy.sin(x.numpy()))
    >>> def setup_context(ctx, inputs, output):
    ...     ctx.save_for_backward(*inputs)
    >>> def backward(ctx, grad):
    ...     (x,) = ctx.saved_tensors
    ...     return grad * x.cos()
    >>> sine.register_autograd(backward, setup_context=setup_context)
    """

    def define(fn: Callable[..., Any]) -> CustomOpDef:
        namespace, separator, short = name.partition("::")
        if not (separator and namespace.isidentifier() and short.isidentifier()):
            raise ValueError(f"custom_op: expected a name such as namespace::name, got {name!r}")
        text = infer_schema(fn, mutates_args=mutates_args) if schema is None else schema
        op = CustomOpDef(namespace, short, fn, _schema.parse(name, text))
        there = vars(getattr(ops, namespace)).get(short)
        if there is not None and not isinstance(there, CustomOpDef):
            raise RuntimeError(f"custom_op: {name} is there already, from a library in C++")
        _defined[name] = op
        ops._add(namespace, short, op)
        return op

    return define if fn is None else define(fn)


class CustomOpDef:
    """An operation that `custom_op` has made of a function."""

    def __init__(
        self, namespace: str, name: str, fn: Callable[..., Any], schema: _schema.Schema
    ) -> None:
        self._namespace, self._name = namespace, name
        self._qualname = f"{namespace}::{name}"
        self._fn = fn
        self._schema = schema
        self._backward: Callable[..., Any] | None = None
        self._setup_context: Callable[..., Any] | None = None
        self._fake: Callable[..., Any] | None = None
        self._function = _function_of(self)
        self.__name__, self.__doc__ = name, fn.__doc__

    @property
    def default(self) -> CustomOpDef:
        """The operation itself: its one overload."""
        return self

    def __repr__(self) -> str:
        return f"<CustomOpDef({self._qualname})>"

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result, and record it if an argument requires grad.

        Raises
        ------
        RuntimeError
            If the arguments or the results are not those of the schema.
        """
        positional, keywords = self._schema.bind(args, kwargs)
        if self._schema.mutates or not is_grad_enabled():
            return self._compute(positional, keywords)
        flat: list[Any] = []
        for arg, param in zip(positional, self._schema.positional, strict=True):
            flat.extend(arg) if param.is_tensor_list and arg is not None else flat.append(arg)
        if not any(isinstance(a, Tensor) and a.requires_grad for a in flat):
            return self._compute(positional, keywords)
        result = self._function.apply(*flat, call=(positional, keywords))
        return list(result) if self._schema.returns_list else result

    def _compute(self, positional: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        from .autograd import no_grad

        # The function sees values alone: it may ask for their NumPy arrays.
        values = [_detached(a) for a in positional]
        with no_grad():
            result = self._fn(*values, **{k: _detached(a) for k, a in keywords.items()})
        return self._schema.check_result(result, (*positional, *keywords.values()))

    def register_autograd(
        self, backward: Callable[..., Any], /, *, setup_context: Callable[..., Any] | None = None
    ) -> None:
        """Say what the derivative is.

        ``backward(ctx, *grads)`` returns a gradient for each argument, None for one that has none,
        a list for a list of tensors. ``setup_context(ctx, inputs, output)`` keeps what it needs;
        where the operation has keyword-only arguments it is given them as `keyword_only_inputs`,
        too.

        Raises
        ------
        RuntimeError
            If the operation changes arguments in place.
        NotImplementedError
            If it takes tensors as keyword-only arguments.
        """
        if self._schema.mutates:
            raise RuntimeError(
                f"Cannot register autograd formula for non-functional operator {self} with schema "
                f"{self._schema.text}. Please create a functional operator and register an "
                "autograd formula for that."
            )
        if any(p.kind == "Tensor" for p in self._schema.keyword_only):
            raise NotImplementedError(
                "register_autograd with kwarg-only Tensor args. In the original definition of the "
                "op, please make your tensors not kwarg-only. Got: " + self._schema.text
            )
        self._backward, self._setup_context = backward, setup_context

    def register_fake(self, fn: Callable[..., Any], /) -> Callable[..., Any]:
        """Keep a function that gives results of the right shapes; nothing here computes by it."""
        self._fake = fn
        return fn

    def register_kernel(
        self, device_types: str | Iterable[str] | None, fn: Callable[..., Any] | None = None, /
    ) -> Callable[..., Any]:
        """Compute with another function on devices; of the CPU, the only one, it takes over."""
        kinds = [device_types] if isinstance(device_types, str) else device_types
        ours = kinds is None or "cpu" in kinds

        def register(fn: Callable[..., Any]) -> Callable[..., Any]:
            if ours:
                self._fn = fn
            return fn

        return register if fn is None else register(fn)


def _function_of(op: CustomOpDef) -> type[Function]:
    """Make the Function that records calls of an operation."""
    schema = op._schema

    # the tensors of lists come one by one, and all arguments as they were in `call`
    def forward(ctx: Any, *_: Any, call: tuple[Any, Any]) -> Any:
        positional, keywords = call
        result = op._compute(positional, keywords)
        wanted = iter(ctx.needs_input_grad)
        ctx._lengths = [
            len(a) if p.is_tensor_list and a is not None else None
            for a, p in zip(positional, schema.positional, strict=True)
        ]
        ctx.needs_input_grad = tuple(
            next(wanted) if n is None else [next(wanted) for _ in range(n)] for n in ctx._lengths
        )
        if op._setup_context is not None:
            extra = {"keyword_only_inputs": keywords} if schema.keyword_only else {}
            op._setup_context(ctx=ctx, inputs=positional, output=result, **extra)
        return result

    def backward(ctx: Any, *grads: Any) -> Any:
        if op._backward is None:
            raise RuntimeError(
                f"Trying to backward through {op._namespace}.{op._name}.default but no autograd "
                "formula was registered. Please use register_autograd to add one."
            )
        given = op._backward(ctx, list(grads)) if schema.returns_list else op._backward(ctx, *grads)
        given = given if isinstance(given, tuple) else (given,)
        # None for arguments at the end that are no tensors and may be left out
        for p in schema.positional[len(given) :]:
            if not p.has_default or p.kind == "Tensor":
                break
            given = (*given, None)
        lengths = ctx._lengths
        if all(n is None for n in lengths):
            return given  # the walk itself says what is wrong with their number
        lists = zip(given, lengths, strict=False)
        fits = all(n is None or g is None or _is_list_of(g, n) for g, n in lists)
        if len(given) != len(lengths) or not fits:
            raise RuntimeError(
                f"{op._qualname}: Expected the return from backward to be of the same structure as "
                f"the inputs. Got: {_shape_of(given)} (return from backward), "
                f"{_shape_of(tuple(None if n is None else [None] * n for n in lengths))} (inputs)"
            )
        flat: list[Any] = []
        for g, n in zip(given, lengths, strict=True):
            flat.extend([g] if n is None else [None] * n if g is None else g)
        return tuple(flat)

    name = f"GeneratedBackwardFor_{op._namespace}_{op._name}_default"
    methods = {"forward": staticmethod(forward), "backward": staticmethod(backward)}
    return type(name, (Function,), {**methods, "_binds": False})


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach() if value.requires_grad else value
    return [_detached(v) for v in value] if isinstance(value, (tuple, list)) else value


def _is_list_of(value: object, n: int) -> bool:
    return isinstance(value, (tuple, list)) and len(value) == n


def _shape_of(value: object) -> str:
    if not isinstance(value, (tuple, list)):
        return "*"
    inside = ", ".join(_shape_of(v) for v in value)
    return f"[{inside}]" if isinstance(value, list) else f"({inside})"


def _find(op: str | CustomOpDef) -> CustomOpDef:
    if isinstance(op, CustomOpDef):
        return op
    if op not in _defined:
        raise ValueError(f"{op!r} is no operation that custom_op has made")
    return _defined[op]


def register_autograd(
    op: str | CustomOpDef,
    backward: Callable[..., Any],
    /,
    *,
    setup_context: Callable[..., Any] | None = None,
    lib: object = None,
) -> None:
    """Say what the derivative of an operation is: `CustomOpDef.register_autograd`.

    Raises
    ------
    ValueError
        If there is no such operation.
    """
    _find(op).register_autograd(backward, setup_context=setup_context)


def register_fake(
    op: str | CustomOpDef,
    func: Callable[..., Any] | None = None,
    /,
    *,
    lib: object = None,
    _stacklevel: int = 1,
) -> Callable[..., Any]:
    """Keep a function that gives results of the right shapes: `CustomOpDef.register_fake`.

    Raises
    ------
    ValueError
        If there is no such operation.
    """
    found = _find(op)
    return found.register_fake if func is None else found.register_fake(func)


def register_kernel(
    op: str | CustomOpDef,
    device_types: str | Iterable[str] | None,
    func: Callable[..., Any] | None = None,
    /,
    *,
    lib: object = None,
) -> Callable[..., Any]:
    """Compute with another function on devices: `CustomOpDef.register_kernel`.

    Raises
    ------
    ValueError
        If there is no such operation.
    """
    return _find(op).register_kernel(device_types, func)
