"""autograd.Function inside of transforms: its own rules for them, or what its backward implies."""

from __future__ import annotations

from .. import _core
from .._core import Tensor
from ..autograd.function import Function, FunctionCtx

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any, NamedTuple

    class VmapInfo(NamedTuple):
        """What a Function's vmap is told: the size of the batch, and what random numbers are."""

        batch_size: int
        randomness: str
else:
    from collections import namedtuple

    VmapInfo = namedtuple("VmapInfo", ["batch_size", "randomness"])


def _listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (tuple, list)) else [result]


def _like(result: Any, outputs: list[Any]) -> Any:
    if not isinstance(result, (tuple, list)):
        return outputs[0]
    return outputs if isinstance(result, list) else tuple(outputs)


def apply_function(cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Call a Function with batches or dual numbers among its arguments."""
    level, dual, size = _core.top_level([a for a in args if isinstance(a, Tensor)])
    if level == 0:  # what is left of levels that have ended
        return cls.apply(*[a.clone() if isinstance(a, Tensor) else a for a in args], **kwargs)
    return _dual(cls, args, kwargs, level) if dual else _batch(cls, args, kwargs, level, size)


def _batch(
    cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], level: int, size: int
) -> Any:
    mapped = [isinstance(a, Tensor) and _core.has_level(a, level) for a in args]
    below = [_core.unbatch(a, 0, level) if m else a for a, m in zip(args, mapped, strict=True)]
    if cls.vmap is not Function.vmap:
        info = VmapInfo(size, _core.randomness_of(level))
        in_dims = tuple(0 if m else None for m in mapped)
        result, out_dims = cls.vmap(info, in_dims, *below, **kwargs)
        outputs = _listed(result)
        dims = list(out_dims) if isinstance(out_dims, (tuple, list)) else [out_dims] * len(outputs)
        return _like(
            result,
            [
                _core.batch(o, d, level) if isinstance(o, Tensor) and d is not None else o
                for o, d in zip(outputs, dims, strict=True)
            ],
        )
    parts = [
        cls.apply(
            *[b.select(0, i) if m else b for b, m in zip(below, mapped, strict=True)], **kwargs
        )
        for i in range(size)
    ]
    if not parts:
        raise RuntimeError(f"vmap: {cls.__name__} has no rule for a batch of size 0; define vmap")
    columns = zip(*[_listed(p) for p in parts], strict=True)
    return _like(
        parts[0],
        [
            _core.batch(_core.stack(list(c)), 0, level) if isinstance(c[0], Tensor) else c[0]
            for c in columns
        ],
    )


def _with_context(
    cls: type[Function], values: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Any, Any]:
    """The call on the values, and what it keeps for jvp.

    Where transforms are around, nothing is kept by the call itself: forward is run once more for
    it, and outputs among what it keeps are those of the call.
    """
    if not _core.any_layer(values):
        return cls._run(values, kwargs)
    result = cls.apply(*values, **kwargs)
    ctx = FunctionCtx()
    if cls.setup_context is not Function.setup_context:
        again = cls.forward(*values, **kwargs)
        cls.setup_context(ctx, values, again)
    else:
        again = cls.forward(ctx, *values, **kwargs)
    same = {id(a): r for a, r in zip(_listed(again), _listed(result), strict=True)}
    ctx._to_save = tuple(same.get(id(t), t) for t in ctx._to_save)
    if ctx._for_forward is not None:
        ctx._for_forward = tuple(same.get(id(t), t) for t in ctx._for_forward)
    return ctx, result


def _dual(cls: type[Function], args: tuple[Any, ...], kwargs: dict[str, Any], level: int) -> Any:
    pairs = [_core.undual(a, level) if isinstance(a, Tensor) else (a, None) for a in args]
    values = [v for v, _ in pairs]
    if cls.jvp is not Function.jvp:
        ctx, result = _with_context(cls, tuple(values), kwargs)
        ctx._in_forward_mode = True
        zeros = ctx._materialize
        tangents = [
            _core.zeros_like(v) if t is None and zeros and _differentiable(v) else t
            for v, t in pairs
        ]
        moved = _listed(cls.jvp(ctx, *tangents))
    else:
        keep = _core.is_grad_enabled() and any(
            _core.tracked(t) for pair in pairs for t in pair if isinstance(t, Tensor)
        )
        places = [i for i, (_, t) in enumerate(pairs) if t is not None]
        sources = [_core.differentiable_input(values[i]) for i in places]
        for i, s in zip(places, sources, strict=True):
            values[i] = s
        before = _core.set_grad_mode(True)
        try:
            result = cls.apply(*values, **kwargs)
        finally:
            _core.set_grad_mode(before)
        outs = [o for o in _listed(result) if isinstance(o, Tensor)]
        found = iter(_core.pushed(outs, sources, [pairs[i][1] for i in places], keep))
        moved = [next(found) if isinstance(o, Tensor) else None for o in _listed(result)]
        if not keep:
            moved = [None if t is None else t.detach() for t in moved]
            result = _like(
                result, [o.detach() if isinstance(o, Tensor) else o for o in _listed(result)]
            )
    outputs = _listed(result)
    if len(moved) != len(outputs):
        raise RuntimeError(
            f"{cls.__name__}: jvp returned {len(moved)} tangents for {len(outputs)} outputs"
        )
    return _like(
        result,
        [
            _core.dual(o, t, level) if isinstance(o, Tensor) and t is not None else o
            for o, t in zip(outputs, moved, strict=True)
        ],
    )


def _differentiable(value: Any) -> bool:
    return isinstance(value, Tensor) and value.dtype.is_floating_point
