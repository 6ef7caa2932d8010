"""Switches of a thread: whether operations are recorded, and whether they ever can be."""

from __future__ import annotations

from .. import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["enable_grad", "inference_mode", "no_grad", "set_grad_enabled"]

_CO_GENERATOR = 0x20  # of a code object's flags


def _is_generator_function(fn: Any) -> bool:
    fn = getattr(fn, "func", fn)  # of functools.partial
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    return code is not None and bool(code.co_flags & _CO_GENERATOR)


class _Mode:
    """A with block or a decorator; each call, or piece of a generator's run, is a block."""

    def __enter__(self) -> None:
        raise NotImplementedError

    def __exit__(self, *exc: object) -> None:
        raise NotImplementedError

    def clone(self) -> _Mode:
        """Return another block of the same kind."""
        return type(self)()

    def __call__(self, fn: F) -> F:
        import functools

        if isinstance(fn, type):
            import warnings

            warnings.warn(
                "Decorating classes is deprecated and will be disabled in future versions. You "
                "should only decorate functions or methods. To preserve the current behavior of "
                "class decoration, you can directly decorate the `__init__` method and nothing "
                "else.",
                FutureWarning,
                stacklevel=2,
            )
            made: Any = fn

            def construct(*args: Any, **kwargs: Any) -> Any:
                with self.clone():
                    return made(*args, **kwargs)

            return construct  # type: ignore[return-value]
        if _is_generator_function(fn):
            return functools.wraps(fn)(_resumed_within(self.clone, fn))  # type: ignore[return-value]

        @functools.wraps(fn)
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            with self.clone():
                return fn(*args, **kwargs)

        return wrapped  # type: ignore[return-value]


def _resumed_within(block: Callable[[], _Mode], fn: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a generator function: the mode holds while its body runs, not while it waits."""

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        generator = fn(*args, **kwargs)
        try:
            with block():
                value = generator.send(None)
            while True:
                try:
                    request = yield value
                except GeneratorExit:
                    with block():
                        generator.close()
                    raise
                except BaseException as e:
                    with block():
                        value = generator.throw(e)
                else:
                    with block():
                        value = generator.send(request)
        except StopIteration as e:
            return e.value

    return wrapped


class _GradMode(_Mode):
    mode = True

    def __enter__(self) -> None:
        self._before = _core.set_grad_mode(self.mode)

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_mode(self._before)


class no_grad(_GradMode):
    """Do not record operations: as a ``with`` block or a decorator.

    Examples
    --------
    >>> with wg.no_grad():
    ...     weight -= 0.1 * weight.grad
    """

    mode = False

    def __new__(cls, orig_func: Any = None) -> no_grad:
        """Make a context manager or, given a function, decorate it."""
        made = object.__new__(cls)
        return made if orig_func is None else made(orig_func)


class enable_grad(_GradMode):
    """Record operations, inside `no_grad`. It has no effect in `inference_mode`."""

    def __new__(cls, orig_func: Any = None) -> enable_grad:
        """Make a context manager or, given a function, decorate it."""
        made = object.__new__(cls)
        return made if orig_func is None else made(orig_func)


class set_grad_enabled(_GradMode):
    """Switch recording on or off, at once and until the end of a ``with`` block."""

    def __init__(self, mode: bool) -> None:
        self.mode = mode
        self._before = _core.set_grad_mode(mode)

    def __enter__(self) -> None:
        _core.set_grad_mode(self.mode)

    def __call__(self, fn: F) -> F:
        """Wrap a function: the switch is set during its calls alone."""
        _core.set_grad_mode(self._before)
        return super().__call__(fn)

    def clone(self) -> set_grad_enabled:
        """Return another block with the same switch."""
        return type(self)(self.mode)


class inference_mode(_Mode):
    """Do not record operations, and make tensors that never take part in a derivative.

    What is made inside is an inference tensor (`Tensor.is_inference`): outside, it can neither be
    changed in place nor be saved for a backward; ``clone()`` gives a normal tensor.

    Parameters
    ----------
    mode
        Whether to switch the mode on; with False, what is inside records again. A function given
        in its place is decorated.
    """

    def __new__(cls, mode: Any = True) -> inference_mode:
        """Make a context manager or, given a function, decorate it."""
        made = object.__new__(cls)
        if isinstance(mode, bool):
            return made
        made.mode = True
        return made(mode)

    def __init__(self, mode: bool = True) -> None:
        self.mode = mode

    def __enter__(self) -> None:
        self._before = _core.enter_inference_mode(self.mode)

    def __exit__(self, *exc: object) -> None:
        _core.leave_inference_mode(self._before)

    def clone(self) -> inference_mode:
        """Return another block with the same mode."""
        return type(self)(self.mode)
