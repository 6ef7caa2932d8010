"""Transforms by forward mode: derivatives along vectors, Jacobians by columns."""

from __future__ import annotations

from .. import _core
from .._core import Tensor
from ..utils._pytree import tree_flatten, tree_unflatten
from ._reverse import _like
from ._trees import Chosen, floating, inputs_of, name_of, recording, settled, split_aux, tensors_of

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._trees import Argnums


def _check_tangents(who: str, primals: list[Tensor], tangents: list[Tensor]) -> None:
    for p, t in zip(primals, tangents, strict=True):
        if p.shape != t.shape:
            raise RuntimeError(
                f"{who}: the tangent of an input of shape {tuple(p.shape)} has the shape "
                f"{tuple(t.shape)}; expected the same"
            )
        if p.dtype != t.dtype:
            raise RuntimeError(
                f"{who}: the tangent of an input of dtype {p.dtype} has the dtype {t.dtype}; "
                "expected the same"
            )


def jvp(
    func: Callable[..., Any],
    primals: Any,
    tangents: Any,
    *,
    strict: bool = False,
    has_aux: bool = False,
) -> tuple[Any, ...]:
    """Compute func(*primals) and its derivative along tangents.

    Parameters
    ----------
    func
        Returns a tree of tensors; with has_aux, a pair of that and anything else.
    primals, tangents
        Tuples of trees of tensors, of the same structure, shapes and dtypes.
    strict
        Whether an output that does not depend on the inputs is an error.
    has_aux
        Whether func returns more.

    Returns
    -------
    tuple
        The output, its tangent, and what more func returned.

    Raises
    ------
    RuntimeError
        If primals and tangents do not fit.
    """
    who = f"jvp({name_of(func)})"
    for what, given in (("primals", primals), ("tangents", tangents)):
        if not isinstance(given, tuple):
            raise RuntimeError(
                f"{who}: expected {what} to be a tuple, e.g. it should be valid to call "
                f"f(*{what}), got {type(given).__name__}"
            )
    at, spec = tensors_of(primals, who, "primals")
    along, tangent_spec = tensors_of(tangents, who, "tangents")
    if spec != tangent_spec:
        raise RuntimeError(
            f"{who}: expected primals and tangents to have the same structure, got {spec} and "
            f"{tangent_spec}"
        )
    if not at:
        raise RuntimeError(f"{who}: expected at least one tensor in primals")
    _check_tangents(who, floating(at, who), along)
    level = _core.enter_dual()
    try:
        duals = [_core.dual(p, t, level) for p, t in zip(at, along, strict=True)]
        result = func(*tree_unflatten(duals, spec))
        aux = None
        if has_aux:
            result, aux = split_aux(result, who)
            aux = _values(aux, level)
        outputs, out_spec = tensors_of(result, who, "the output of the function")
        pairs = [_core.undual(t, level) for t in outputs]
    finally:
        _core.leave_level(level)
    if strict and any(t is None for _, t in pairs):
        raise RuntimeError(
            f"{who}: with strict=True, an output of the function does not depend on the inputs"
        )
    moved = [_core.zeros_like(v) if t is None else t for v, t in pairs]
    output = tree_unflatten([v for v, _ in pairs], out_spec)
    tangent = tree_unflatten(moved, out_spec)
    return (output, tangent, aux) if has_aux else (output, tangent)


def _values(tree: Any, level: int) -> Any:
    """The tree without tangents."""
    leaves, spec = tree_flatten(tree)
    taken = [_core.undual(t, level)[0] if isinstance(t, Tensor) else t for t in leaves]
    return tree_unflatten(taken, spec)


def jacfwd(
    func: Callable[..., Any],
    argnums: Argnums = 0,
    has_aux: bool = False,
    *,
    randomness: str = "error",
) -> Callable[..., Any]:
    """Return a function that computes the Jacobian of func, by columns: one forward for all.

    Parameters
    ----------
    func
        Returns a tree of tensors; with has_aux, a pair of that and anything else.
    argnums
        Which arguments to differentiate by: trees of tensors.
    has_aux
        Whether func returns more.
    randomness
        As in `vmap`: whether random numbers are refused ('error'), 'same' or 'different' for each
        column.

    Returns
    -------
    callable
        Returns for each output a tree like the arguments; its tensors have the shape of the output,
        then that of the input.
    """
    who = f"jacfwd({name_of(func)})"

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        chosen = Chosen(argnums, args, who)
        counts = [t.numel() for t in chosen.tensors]
        n = sum(counts)
        batch = _core.enter_batch(n, randomness)
        try:
            level = _core.enter_dual()
            duals = []
            start = 0
            for x, count in zip(chosen.tensors, counts, strict=True):
                columns = x.new_zeros((n, count))
                columns[start : start + count] = _core.eye(count, dtype=x.dtype, device=x.device)
                tangent = _core.batch(columns.reshape(n, *x.shape), 0, batch)
                duals.append(_core.dual(x, tangent, level))
                start += count
            result = func(*chosen.with_tensors(duals), **kwargs)
            aux = None
            if has_aux:
                result, aux = split_aux(result, who)
                aux = _unbatched(_values(aux, level), batch)
            outputs, out_spec = tensors_of(result, who, "the output of the function")
            tangents = []
            for out in outputs:
                value, moved = _core.undual(out, level)
                tangent = _core.zeros_like(value) if moved is None else moved
                tangents.append(_core.unbatch(tangent, 0, batch))
        finally:
            _core.leave_level(batch)
        trees = [chosen.tree(_columns(t, chosen.tensors, counts)) for t in tangents]
        jacobian = tree_unflatten(trees, out_spec)
        return (jacobian, aux) if has_aux else jacobian

    return _like(wrapped, func)


def _columns(tangents: Tensor, inputs: list[Tensor], counts: list[int]) -> list[Tensor]:
    """The Jacobian by each input, from a batch of tangents."""
    parts = tangents.movedim(0, -1).split(counts, -1)
    return [p.reshape(*tangents.shape[1:], *x.shape) for p, x in zip(parts, inputs, strict=True)]


def _unbatched(tree: Any, level: int) -> Any:
    """The tree's tensors as they are for the first of the batch, if they are batched at all."""
    leaves, spec = tree_flatten(tree)
    taken = [
        _core.unbatch(t, 0, level)[0] if isinstance(t, Tensor) and _core.has_level(t, level) else t
        for t in leaves
    ]
    return tree_unflatten(taken, spec)


def linearize(func: Callable[..., Any], *primals: Any) -> tuple[Any, Callable[..., Any]]:
    """Compute func(*primals), and a function that gives its derivative along tangents.

    The function does not run func again: the derivative along a vector is linear, and its recorded
    transpose is pulled back once more for each vector.

    Parameters
    ----------
    func
        Returns a tree of tensors.
    primals
        Trees of tensors.

    Returns
    -------
    tuple
        The output, and a function that takes tangents, each a tree like its primal, and gives a
        tree like the output.

    Raises
    ------
    RuntimeError
        If something that must be a tensor is not, or tangents do not fit the primals.
    """
    who = f"linearize({name_of(func)})"
    at, spec = tensors_of(primals, who, "the primals")
    inputs = inputs_of(floating(at, who))
    with recording() as before:
        result = func(*tree_unflatten(inputs, spec))
        outputs, out_spec = tensors_of(result, who, "the output of the function")
        keep = before and _core.reaches_beyond(outputs, inputs)

    def along(*tangents: Any) -> Any:
        given, given_spec = tensors_of(tangents, who, "the tangents")
        if given_spec != spec:
            raise RuntimeError(
                f"{who}: expected the tangents to have the same structure as the primals, got "
                f"{given_spec} and {spec}"
            )
        _check_tangents(who, at, given)
        moved = keep or (_core.is_grad_enabled() and any(_core.tracked(t) for t in given))
        found = _core.pushed(outputs, inputs, given, moved)
        full = [
            _core.zeros_like(o) if t is None else t for o, t in zip(outputs, found, strict=True)
        ]
        return tree_unflatten(settled(full, moved), out_spec)

    return tree_unflatten(settled(outputs, keep), out_spec), along
