"""Functions of one sample, mapped over a batch of them."""

from __future__ import annotations

from .. import _core
from .._core import Tensor
from ..utils._pytree import TreeSpec, tree_flatten, tree_unflatten
from ._reverse import _like
from ._trees import name_of

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Dims = int | tuple[Any, ...] | list[Any] | dict[Any, Any] | None


def vmap(
    func: Callable[..., Any],
    in_dims: Dims = 0,
    out_dims: Dims = 0,
    randomness: str = "error",
    *,
    chunk_size: int | None = None,
) -> Callable[..., Any]:
    """Return a function that maps func over dimensions of its arguments.

    Inside func, tensors lack the mapped dimension; every operation runs once for the whole batch
    where there is a rule for it, else once for each of the batch.

    Keyword arguments are passed whole.

    Parameters
    ----------
    func
        Takes and returns trees of tensors.
    in_dims
        For each argument the dimension to map over, or None to pass it whole; one for all
        arguments, or a tuple of them, each an int, None, or a tree of these like the argument.
    out_dims
        Where the mapped dimension stands in the outputs; None for an output that is not mapped.
    randomness
        Whether random numbers inside are refused ('error'), 'different' for each of the batch, or
        the 'same'.
    chunk_size
        How many of the batch to compute at a time; all if None.

    Raises
    ------
    ValueError
        If in_dims or out_dims do not fit, or sizes along the mapped dimensions differ.
    RuntimeError
        If randomness is none of the above, or elements are read as Python values inside func.

    Examples
    --------
    >>> wg.vmap(wg.dot)(wg.ones(3, 2), wg.ones(3, 2))
    tensor([2., 2., 2.])
    """
    if randomness not in ("error", "different", "same"):
        raise RuntimeError(
            "vmap: only allowed values for randomness are 'error', 'different', or 'same'. Got "
            f"{randomness}"
        )
    if chunk_size is not None and (not isinstance(chunk_size, int) or chunk_size <= 0):
        raise ValueError(f"vmap: chunk_size should be None or greater than 0. (got {chunk_size})")
    who = f"vmap({name_of(func)}, in_dims={in_dims}, ...)"

    def wrapped(*args: Any, **kwargs: Any) -> Any:
        leaves, spec = tree_flatten(args)
        dims = _input_dims(who, in_dims, args, leaves, spec)
        size = _batch_size(who, leaves, dims)
        step = size if chunk_size is None else chunk_size
        results = []
        for start in range(0, max(size, 1), max(step, 1)):
            count = min(step, size - start)
            part = [
                t if d is None or count == size else t.narrow(d, start, count)
                for t, d in zip(leaves, dims, strict=True)
            ]
            results.append(
                _mapped(who, func, part, dims, spec, kwargs, count, out_dims, randomness)
            )
        return results[0] if len(results) == 1 else _joined(who, results, out_dims)

    return _like(wrapped, func)


def _mapped(
    who: str,
    func: Callable[..., Any],
    leaves: list[Any],
    dims: list[int | None],
    spec: TreeSpec,
    kwargs: dict[str, Any],
    size: int,
    out_dims: Dims,
    randomness: str,
) -> Any:
    level = _core.enter_batch(size, randomness)
    try:
        inside = [
            t if d is None else _core.batch(t, d, level) for t, d in zip(leaves, dims, strict=True)
        ]
        result = func(*tree_unflatten(inside, spec), **kwargs)
        outputs, out_spec = tree_flatten(result)
        places = _output_dims(who, out_dims, result, len(outputs))
        return tree_unflatten(
            [_taken_out(who, t, d, level) for t, d in zip(outputs, places, strict=True)], out_spec
        )
    finally:
        _core.leave_level(level)


def _taken_out(who: str, t: Any, dim: int | None, level: int) -> Any:
    if not isinstance(t, Tensor):
        raise ValueError(
            f"{who}: the function must only return Tensors, got type {type(t).__name__}. Did you "
            "mean to return something else, or to set out_dims?"
        )
    if dim is None:
        if _core.has_level(t, level):
            raise ValueError(
                f"{who}: can not return a BatchedTensor when out_dim is None; the output of shape "
                f"{tuple(t.shape)} depends on a mapped input"
            )
        return t
    rank = t.dim() + 1
    if not -rank <= dim < rank:
        raise IndexError(
            f"{who}: Dimension out of range (expected to be in range of [{-rank}, {rank - 1}], but "
            f"got {dim}) for an output of shape {tuple(t.shape)}"
        )
    return _core.unbatch(t, dim % rank, level)


def _spread(who: str, dims: Any, tree: Any, what: str) -> list[Any]:
    """The dims for each leaf of a tree: given once for all, or in a tree that begins like it."""
    if dims is None or (isinstance(dims, int) and not isinstance(dims, bool)):
        return [dims] * len(tree_flatten(tree)[0])
    children, spec = tree_flatten(tree, is_leaf=lambda x: x is not tree)
    given, given_spec = tree_flatten(dims, is_leaf=lambda x: x is not dims)
    fits = type(dims) is type(tree) or (
        isinstance(dims, (tuple, list)) and isinstance(tree, (tuple, list))
    )
    if isinstance(dims, dict) and fits:
        fits = list(dims) == list(tree)
        if not fits and set(dims) == set(tree):
            given, fits = [dims[k] for k in tree], True
    if not fits or len(given) != len(children) or given_spec.is_leaf():
        raise ValueError(
            f"{who}: {what} is not compatible with the structure of the {what.split('_')[0]}puts: "
            f"{what} has {given_spec} where there is {spec}"
        )
    out = []
    for d, child in zip(given, children, strict=True):
        out += _spread(who, d, child, what)
    return out


def _check_dim(who: str, dim: Any, leaf: Any) -> int | None:
    if dim is None:
        return None
    if isinstance(dim, bool) or not isinstance(dim, int):
        raise ValueError(
            f"{who}(<inputs>): Got in_dim={dim} for an input but in_dim must be either an integer "
            "dimension or None."
        )
    if not isinstance(leaf, Tensor):
        raise ValueError(
            f"{who}(<inputs>): Got in_dim={dim} for an input but the input is of type "
            f"{type(leaf).__name__}. We cannot vmap over non-Tensor arguments, please use None as "
            "the respective in_dim"
        )
    if not -leaf.dim() <= dim < leaf.dim():
        raise ValueError(
            f"{who}(<inputs>): Got in_dim={dim} for some input, but that input is a Tensor of "
            f"dimensionality {leaf.dim()} so expected in_dim to satisfy "
            f"-{leaf.dim()} <= in_dim < {leaf.dim()}."
        )
    return dim % leaf.dim()


def _input_dims(
    who: str, in_dims: Any, args: tuple[Any, ...], leaves: list[Any], spec: TreeSpec
) -> list[int | None]:
    if not (isinstance(in_dims, (int, tuple, list)) or in_dims is None):
        raise ValueError(
            f"{who}(<inputs>): expected `in_dims` to be int or a (potentially nested) tuple "
            f"matching the structure of inputs, got: {type(in_dims).__name__}."
        )
    if isinstance(in_dims, (tuple, list)) and len(in_dims) != len(args):
        raise ValueError(
            f"{who}(<inputs>): in_dims is not compatible with the structure of inputs: it has "
            f"{len(in_dims)} entries for {len(args)} arguments"
        )
    del spec
    if not args:
        return []
    spread = _spread(who, in_dims, args, "in_dims")
    return [_check_dim(who, d, leaf) for d, leaf in zip(spread, leaves, strict=True)]


def _batch_size(who: str, leaves: list[Any], dims: list[int | None]) -> int:
    sizes = [t.shape[d] for t, d in zip(leaves, dims, strict=True) if d is not None]
    if not sizes:
        raise ValueError(
            f"{who}(<inputs>): at least one of the inputs must be mapped: got no inputs, or "
            "in_dims that are all None"
        )
    if any(s != sizes[0] for s in sizes):
        raise ValueError(
            f"{who}: Expected all tensors to have the same size in the mapped dimension, got sizes "
            f"{sizes} for the mapped dimension"
        )
    return sizes[0]


def _output_dims(who: str, out_dims: Any, result: Any, count: int) -> list[int | None]:
    if isinstance(out_dims, int) or out_dims is None:
        return [out_dims] * count
    if isinstance(result, Tensor) and isinstance(out_dims, (tuple, list)) and len(out_dims) == 1:
        out_dims = out_dims[0]
    return _spread(who, out_dims, result, "out_dims")


def _joined(who: str, results: list[Any], out_dims: Dims) -> Any:
    """The results of chunks as one."""
    parts = [tree_flatten(r)[0] for r in results]
    spec = tree_flatten(results[0])[1]
    dims = _output_dims(who, out_dims, results[0], len(parts[0]))
    whole = [
        p[0] if d is None else _core.cat(list(p), d)
        for p, d in zip(zip(*parts, strict=True), dims, strict=True)
    ]
    return tree_unflatten(whole, spec)
