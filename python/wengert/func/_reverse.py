"""Transforms by reverse mode: gradients, products with vectors, Jacobians by rows."""

from __future__ import annotations

from .. import _core
from .._core import Tensor
from ..utils._pytree import tree_flatten, tree_unflatten
from ._trees import Chosen, floating, inputs_of, name_of, recording, settled, split_aux, tensors_of

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._trees import Argnums


def _pull(
    outputs: list[Tensor],
    inputs: list[Tensor],
    cotangents: list[Tensor],
    retain_graph: bool,
    create_graph: bool,
    batched: bool = False,
) -> list[Tensor]:
    """Gradients of the outputs that depend on anything; zeros where they do not."""
    known = [i for i, t in enumerate(outputs) if _core.tracked(t)]
    if not known:
        lead = cotangents[0].shape[:1] if batched else ()
        return [t.new_zeros((*lead, *t.shape)) for t in inputs]
    return _core.grad(
        [outputs[i] for i in known], inputs, [cotangents[i] for i in known],
        retain_graph, create_graph, True, True, batched,
    )  # fmt: skip


def grad_and_value(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., tuple[Any, Any]]:
    """Return a function that computes the gradient of func and its value.

    Parameters
    ----------
    func
        Returns a tensor of one element; with has_aux, a pair of that and anything else.
    argnums
        Which arguments to differentiate by: trees of tensors.
    has_aux
        Whether func returns more.

    Returns
    -------
    callable
        Returns the gradient in the structure of the argument (a tuple of them for several
        argnums), and the value, or the pair of value and more.

    Raises
    ------
    RuntimeError
        If the value is not a tensor of one element.
    """
    who = f"grad_and_value({name_of(func)})"

    def wrapped(*args: Any, **kwargs: Any) -> tuple[Any, Any]:
        chosen = Chosen(argnums, args, who)
        inputs = inputs_of(chosen.tensors)
        with recording() as before:
            value = func(*chosen.with_tensors(inputs), **kwargs)
            aux = None
            if has_aux:
                value, aux = split_aux(value, who)
            if not isinstance(value, Tensor):
                raise RuntimeError(
                    f"{who}: expected the function to return a Tensor, got {type(value).__name__}"
                )
            if value.dim() != 0:
                raise RuntimeError(
                    f"{who}: expected the function to return a scalar tensor, got a tensor of "
                    f"{value.dim()} dims; maybe use vjp or jacrev, or sum it"
                )
            keep = before and _core.reaches_beyond([value], inputs)
            one = value.new_ones(())
            grads = _pull([value], inputs, [one], keep or not before, keep)
        gradient = settled(chosen.tree(grads), keep)
        if has_aux:
            return gradient, (settled(value, keep), settled(aux, keep))
        return gradient, settled(value, keep)

    return _like(wrapped, func)


def grad(
    func: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Return a function that computes the gradient of func.

    Parameters
    ----------
    func
        Returns a tensor of one element; with has_aux, a pair of that and anything else.
    argnums
        Which arguments to differentiate by: trees of tensors.
    has_aux
        Whether func returns more, which is then returned beside the gradient.

    Raises
    ------
    RuntimeError
        If the value is not a tensor of one element.

    Examples
    --------
    >>> wg.func.grad(lambda x: x.sin().sum())(wg.zeros(2))
    tensor([1., 1.])
    """
    both = grad_and_value(func, argnums, has_aux)

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        gradient, value = both(*args, **kwargs)
        return (gradient, value[1]) if has_aux else gradient

    return _like(wrapped, func)


def vjp(func: Callable[..., Any], *primals: Any, has_aux: bool = False) -> tuple[Any, ...]:
    """Compute func(*primals), and a function that multiplies vectors by its Jacobian from the left.

    Parameters
    ----------
    func
        Returns a tree of tensors; with has_aux, a pair of that and anything else.
    primals
        Trees of tensors.
    has_aux
        Whether func returns more.

    Returns
    -------
    tuple
        The output, the function, and what more func returned. The function takes cotangents in the
        structure of the output, and gives a tree like the primal, or a tuple of them for several.

    Raises
    ------
    RuntimeError
        If something that must be a tensor is not, or cotangents do not fit the output.
    """
    who = f"vjp({name_of(func)})"
    tensors, spec = tensors_of(primals, who, "the primals")
    inputs = inputs_of(floating(tensors, who))
    with recording() as before:
        result = func(*tree_unflatten(inputs, spec))
        aux = None
        if has_aux:
            result, aux = split_aux(result, who)
        outputs, out_spec = tensors_of(result, who, "the output of the function")
        keep = before and _core.reaches_beyond(outputs, inputs)

    def pull(cotangents: Any, retain_graph: bool = True, create_graph: bool | None = None) -> Any:
        given, given_spec = tree_flatten(cotangents)
        if given_spec != out_spec:
            raise RuntimeError(
                f"{who}: expected the cotangents to have the same structure as the output, got "
                f"{given_spec} and {out_spec}"
            )
        create = _core.is_grad_enabled() if create_graph is None else create_graph
        moved = create and any(_core.tracked(c) for c in given)
        with recording():
            grads = _pull(outputs, inputs, given, retain_graph, create and (keep or moved))
        tree = tree_unflatten(settled(grads, keep or moved), spec)
        return tree[0] if len(primals) == 1 else tree

    output = tree_unflatten(settled(outputs, keep), out_spec)
    return (output, pull, settled(aux, keep)) if has_aux else (output, pull)


def jacrev(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    *,
    has_aux: bool = False,
    chunk_size: int | None = None,
    _preallocate_and_copy: bool = False,
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of func, by rows: one backward for all of them.

    Parameters
    ----------
    func
        Returns a tree of tensors; with has_aux, a pair of that and anything else.
    argnums
        Which arguments to differentiate by: trees of tensors.
    has_aux
        Whether func returns more.
    chunk_size
        How many rows to compute at a time; all if None.

    Returns
    -------
    callable
        Returns for each output a tree like the arguments; its tensors have the shape of the output,
        then that of the input.

    Raises
    ------
    ValueError
        If chunk_size is not positive.
    """
    del _preallocate_and_copy  # there is nothing to spare: rows are written once
    if chunk_size is not None and chunk_size <= 0:
        raise ValueError("jacrev: `chunk_size` should be greater than 0.")
    who = f"jacrev({name_of(func)})"

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = Chosen(argnums, args, who)
        inputs = inputs_of(chosen.tensors)
        with recording() as before:
            result = func(*chosen.with_tensors(inputs), **kwargs)
            aux = None
            if has_aux:
                result, aux = split_aux(result, who)
            outputs, out_spec = tensors_of(result, who, "the output of the function")
            keep = before and _core.reaches_beyond(outputs, inputs)
            jacobians = [_rows(out, inputs, chunk_size, keep) for out in outputs]
        trees = [settled(chosen.tree(j), keep) for j in jacobians]
        jacobian = tree_unflatten(trees, out_spec)
        return (jacobian, settled(aux, keep)) if has_aux else jacobian

    return _like(wrapped, func)


def _rows(out: Tensor, inputs: list[Tensor], chunk: int | None, keep: bool) -> list[Tensor]:
    """The Jacobian of one output by each input."""
    n = out.numel()
    step = n if chunk is None else chunk
    basis = _core.eye(n, dtype=out.dtype, device=out.device)
    parts = []
    for start in range(0, max(n, 1), max(step, 1)):
        rows = (
            basis[start : start + step].reshape(-1, *out.shape)
            if n
            else out.new_zeros((0, *out.shape))
        )
        parts.append(_pull([out], inputs, [rows], True, keep, batched=True))
    joined = parts[0] if len(parts) == 1 else [_core.cat(p) for p in zip(*parts, strict=True)]
    return [g.reshape(*out.shape, *x.shape) for g, x in zip(joined, inputs, strict=True)]


def hessian(func: Callable[..., Any], argnums: Argnums = 0) -> Callable[..., Any]:
    """Return a function that computes the Hessian of func: forward mode over reverse mode.

    Parameters
    ----------
    func
        Returns a tree of tensors, often one tensor of one element.
    argnums
        Which arguments to differentiate by: trees of tensors.

    Returns
    -------
    callable
        Returns for each output a tree like the arguments of trees like the arguments.
    """
    from ._forward import jacfwd

    return jacfwd(jacrev(func, argnums), argnums)


def _like(wrapped: Callable[..., Any], func: Callable[..., Any]) -> Callable[..., Any]:
    """Give a transformed function the name and text of the one it came from."""
    for attribute in ("__module__", "__name__", "__qualname__", "__doc__"):
        if hasattr(func, attribute):
            setattr(wrapped, attribute, getattr(func, attribute))
    return wrapped
