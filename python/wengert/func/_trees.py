"""What the transforms share: trees of tensors in and out, and which arguments are meant."""

from __future__ import annotations

from .. import _core
from .._core import Tensor
from ..utils._pytree import TreeSpec, tree_flatten, tree_unflatten

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Argnums = int | tuple[int, ...]


def name_of(func: Callable[..., Any]) -> str:
    """The name of a function, for messages."""
    return getattr(func, "__name__", None) or repr(func)


def tensors_of(tree: Any, who: str, what: str) -> tuple[list[Tensor], TreeSpec]:
    """Flatten a tree whose leaves must be tensors.

    Raises
    ------
    RuntimeError
        If a leaf is something else.
    """
    leaves, spec = tree_flatten(tree)
    for leaf in leaves:
        if not isinstance(leaf, Tensor):
            raise RuntimeError(
                f"{who}: expected {what} to contain only Tensors, got {type(leaf).__name__}"
            )
    return leaves, spec


def floating(tensors: list[Tensor], who: str) -> list[Tensor]:
    """Refuse tensors that nothing can be differentiated by.

    Raises
    ------
    RuntimeError
        If one is not of a floating point dtype.
    """
    for t in tensors:
        if not t.dtype.is_floating_point:
            raise RuntimeError(
                f"{who}: only tensors of floating point dtype can require gradients, got {t.dtype}"
            )
    return tensors


class Chosen:
    """The arguments that a function is differentiated by, as a flat list of tensors.

    Parameters
    ----------
    argnums
        Their places; one or several, negative ones from the end.
    args
        All arguments.
    who
        The transform, for messages.
    """

    def __init__(self, argnums: Argnums, args: tuple[Any, ...], who: str) -> None:
        if not isinstance(argnums, (int, tuple)) or isinstance(argnums, bool):
            raise RuntimeError(f"{who}: argnums must be int or tuple of ints, got {argnums!r}")
        self.single = isinstance(argnums, int)
        places = (argnums,) if isinstance(argnums, int) else argnums
        if not places:
            raise RuntimeError(f"{who}: argnums must be non-empty")
        self.places = []
        for i in places:
            if isinstance(i, bool) or not isinstance(i, int):
                raise RuntimeError(f"{who}: argnums must be int or tuple of ints, got {argnums!r}")
            if not -len(args) <= i < len(args):
                raise RuntimeError(f"{who}: got argnum={i}, but only {len(args)} positional inputs")
            self.places.append(i % len(args))
        if len(set(self.places)) != len(self.places):
            raise RuntimeError(f"{who}: argnums elements must be unique, got {argnums!r}")
        self.args = args
        self.tensors, self.spec = tensors_of(
            tuple(args[i] for i in self.places), who, "the arguments in argnums"
        )
        floating(self.tensors, who)

    def with_tensors(self, tensors: list[Tensor]) -> list[Any]:
        """All arguments, with others in the place of these tensors."""
        args = list(self.args)
        chosen = tree_unflatten(tensors, self.spec)
        for i, arg in zip(self.places, chosen, strict=True):
            args[i] = arg
        return args

    def tree(self, tensors: list[Any]) -> Any:
        """Something for each tensor, in the structure of the arguments."""
        chosen = tree_unflatten(tensors, self.spec)
        return chosen[0] if self.single else tuple(chosen)


def inputs_of(tensors: list[Tensor]) -> list[Tensor]:
    """Aliases to differentiate by."""
    return [_core.differentiable_input(t) for t in tensors]


class recording:
    """Records operations inside a ``with`` block; says whether they were recorded before."""

    def __enter__(self) -> bool:
        self.before = _core.set_grad_mode(True)
        return self.before

    def __exit__(self, *exc: object) -> None:
        _core.set_grad_mode(self.before)


def settled(tree: Any, keep: bool) -> Any:
    """Take a tree's tensors off the tape, unless it is to be kept."""
    if keep:
        return tree
    leaves, spec = tree_flatten(tree)
    done = [t.detach() if isinstance(t, Tensor) and _core.tracked(t) else t for t in leaves]
    return tree_unflatten(done, spec)


def split_aux(result: Any, who: str) -> tuple[Any, Any]:
    """What a function with has_aux=True returns.

    Raises
    ------
    RuntimeError
        If it is no pair.
    """
    if not (isinstance(result, tuple) and len(result) == 2):
        raise RuntimeError(
            f"{who}: output of function f should be a tuple: (output, aux) if has_aux is True, got "
            f"{type(result).__name__}"
        )
    return result
