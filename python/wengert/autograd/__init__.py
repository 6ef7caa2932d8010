"""Backpropagation on request, and the switch that records operations or not."""

from __future__ import annotations

from .. import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    from .._core import Tensor

    Tensors = Tensor | Sequence[Tensor]
    F = TypeVar("F", bound=Callable[..., Any])


def _listed(tensors: Any) -> list[Any]:
    if tensors is None:
        return []
    return list(tensors) if isinstance(tensors, (tuple, list)) else [tensors]


def backward(
    tensors: Tensors,
    grad_tensors: Tensors | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Pull gradients of tensors back into the leaves that they were computed from.

    Raises
    ------
    RuntimeError
        If a tensor has no history, or a gradient is missing or of the wrong shape.
    """
    retain = create_graph if retain_graph is None else retain_graph
    _core.backward(_listed(tensors), _listed(grad_tensors), retain, create_graph, _listed(inputs))


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensors | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """Return the gradients of the sum of outputs, weighted by grad_outputs, by each input.

    Only what lies between outputs and inputs is walked; no leaf's ``grad`` changes.

    Parameters
    ----------
    outputs, inputs
        Tensors, or sequences of them.
    grad_outputs
        A gradient for each output; 1 for those of a single element where left out.
    retain_graph, create_graph
        As in `Tensor.backward`.
    allow_unused
        Whether an input that no output depends on gives None instead of an error.
    is_grads_batched
        Whether grad_outputs have one more dimension, the first, and each result gets it, too.
    materialize_grads
        Whether it gives zeros.

    Raises
    ------
    RuntimeError
        If an input is not reached and allow_unused is not set, or a tensor has no history.
    """
    retain = create_graph if retain_graph is None else retain_graph
    if allow_unused is False and materialize_grads:
        raise ValueError("grad: expected allow_unused to be True or None with materialize_grads")
    result = _core.grad(
        _listed(outputs), _listed(inputs), _listed(grad_outputs), retain, create_graph,
        bool(allow_unused), materialize_grads, is_grads_batched,
    )  # fmt: skip
    return tuple(result)


class _VariableType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _core.Tensor)


class Variable(metaclass=_VariableType):
    """A tensor, by the name it had in PyTorch's early days.

    Parameters
    ----------
    data
        A tensor, which is taken without its history.
    requires_grad, volatile
        Whether operations on it are recorded; volatile is accepted and ignored.
    """

    def __new__(  # type: ignore[misc]
        cls, data: Tensor, requires_grad: bool = False, volatile: bool = False
    ) -> Tensor:
        """Return a tensor on the same memory."""
        del volatile
        made = data.detach()
        return made.requires_grad_() if requires_grad else made


class _GradMode:
    """Switches recording inside a ``with`` block or a decorated function."""

    mode = True

    def __enter__(self) -> None:
        self._before = _core.set_grad_mode(self.mode)

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_mode(self._before)

    def __call__(self, fn: F) -> F:
        import functools

        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with type(self).__new__(type(self))._like(self):
                return fn(*args, **kwargs)

        return wrapped  # type: ignore[return-value]

    def _like(self, other: _GradMode) -> _GradMode:
        self.mode = other.mode
        return self


class no_grad(_GradMode):
    """Do not record operations: as a ``with`` block or a decorator."""

    mode = False

    def __new__(cls, fn: Any = None) -> no_grad:
        """Make a context manager or, given a function, decorate it."""
        made = object.__new__(cls)
        return made if fn is None else made(fn)


class inference_mode(no_grad):
    """Do not record operations, as `no_grad`; with ``mode=False``, record as before."""

    def __new__(cls, mode: Any = True) -> inference_mode:
        """Make a context manager or, given a function, decorate it."""
        made = object.__new__(cls)
        if not isinstance(mode, bool):
            return made(mode)
        made.mode = not mode and _core.is_grad_enabled()
        return made


class enable_grad(_GradMode):
    """Record operations, inside `no_grad`."""

    def __new__(cls, fn: Any = None) -> enable_grad:
        """Make a context manager or, given a function, decorate it."""
        made = object.__new__(cls)
        return made if fn is None else made(fn)


class set_grad_enabled(_GradMode):
    """Switch recording on or off, at once and until the end of a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before = _core.set_grad_mode(mode)

    def __enter__(self) -> None:
        before = _core.set_grad_mode(self.mode)
        self.__dict__.setdefault("_before", before)  # set already, unless around a function

    def __call__(self, fn: F) -> F:
        """Wrap a function: the switch is set during its calls alone."""
        _core.set_grad_mode(self._before)
        return super().__call__(fn)


def __getattr__(name: str) -> Any:
    # They need NumPy, so they are loaded at first use.
    if name in ("gradcheck", "gradgradcheck"):
        from .. import testing

        return getattr(testing, name)
    if name == "functional":
        import importlib

        return importlib.import_module("wengert.autograd.functional")
    if name in ("function", "Function"):
        import importlib

        function = importlib.import_module("wengert.autograd.function")
        return function if name == "function" else function.Function
    raise AttributeError(f"module 'wengert.autograd' has no attribute {name!r}")
