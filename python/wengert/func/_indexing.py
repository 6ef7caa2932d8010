"""x[index] and x[index] = value where a tensor among them is a batch or a dual number."""

from __future__ import annotations

from .. import _core
from .._core import Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def _entries(index: Any) -> tuple[Any, ...]:
    return index if isinstance(index, tuple) else (index,)


def _advanced(each: Any) -> bool:
    """Whether an entry of an index is an index tensor, or stands for one."""
    return isinstance(each, (Tensor, list, tuple, range, bool)) or hasattr(each, "__array__")


def _top(*tensors: Any) -> tuple[int, bool, int]:
    return _core.top_level([t for t in tensors if isinstance(t, Tensor)])


def _below(entries: tuple[Any, ...], level: int) -> tuple[Any, ...]:
    """The index without the tangents of a level: integers have none."""
    return tuple(_core.undual(e, level)[0] if isinstance(e, Tensor) else e for e in entries)


def _part(e: Any, level: int, i: int) -> Any:
    if isinstance(e, Tensor) and _core.has_level(e, level):
        return _core.unbatch(e, 0, level).select(0, i)
    return e


def _has(e: Any, level: int) -> bool:
    return isinstance(e, Tensor) and _core.has_level(e, level)


def _shifted(entries: tuple[Any, ...]) -> tuple[Any, ...] | None:
    """An index for the batch's value, or None where dimensions would change places.

    Index tensors apart from each other put their dimensions first, before the batch's.
    """
    places = [k for k, e in enumerate(entries) if _advanced(e)]
    together = not places or places[-1] - places[0] == len(places) - 1
    return (slice(None), *entries) if together else None


def _led(x: Tensor, entries: tuple[Any, ...], level: int, size: int) -> tuple[Any, ...] | None:
    """The same where index tensors are batched: they must come first, and be integers."""
    places = [k for k, e in enumerate(entries) if _advanced(e)]
    tensors = [e for e in entries if isinstance(e, Tensor)]
    if places != list(range(len(places))) or len(tensors) != len(places):
        return None
    if any(t.dtype in (_core.bool, _core.uint8) for t in tensors):
        return None
    rank = max(t.dim() for t in tensors)
    changed: list[Any] = []
    for e in entries:
        if not _has(e, level):
            changed.append(e)
            continue
        value = _core.unbatch(e, 0, level)
        changed.append(value.reshape(size, *[1] * (rank - e.dim()), *e.shape))
    if not _has(x, level):
        return tuple(changed)
    batch = _core._arange(0, size, 1).reshape(size, *[1] * rank)
    return (batch, *changed)


def get_item(x: Tensor, index: Any) -> Tensor:
    """Return x[index]."""
    entries = _entries(index)
    level, dual, size = _top(x, *entries)
    if dual:
        value, tangent = _core.undual(x, level)
        plain = _below(entries, level)
        return _core.dual(value[plain], None if tangent is None else tangent[plain], level)
    if any(_has(e, level) for e in entries):
        changed = _led(x, entries, level, size)
    else:
        changed = _shifted(entries)
    if changed is not None:
        whole = _core.unbatch(x, 0, level) if _has(x, level) else x
        return _core.batch(whole[changed], 0, level)
    return _each(
        lambda i: _part(x, level, i)[tuple(_part(e, level, i) for e in entries)], size, level
    )


def _each(f: Callable[[int], Tensor], size: int, level: int) -> Tensor:
    parts = [f(i) for i in range(size)]
    if any(p.shape != parts[0].shape for p in parts):
        raise RuntimeError(
            f"vmap: index: the result has another shape for each of the batch, "
            f"{', '.join(str(tuple(p.shape)) for p in parts[:4])}; a mask whose count depends on "
            "the values cannot be mapped; use where"
        )
    return _core.batch(_core.stack(parts), 0, level)


def set_item(x: Tensor, index: Any, value: Any) -> None:
    """Assign x[index] = value."""
    entries = _entries(index)
    level, dual, size = _top(x, value, *entries)
    if dual:
        _core.make_changeable(x, level)
        plain = _below(entries, level)
        own, tangent = _core.undual(x, level)
        given, moved = _core.undual(value, level) if isinstance(value, Tensor) else (value, None)
        assert tangent is not None  # it has just been given one
        own[plain] = given
        tangent[plain] = 0 if moved is None else moved
        return
    if not _has(x, level):
        raise RuntimeError(
            f"vmap: index_put_: in-place assignment to a tensor of shape {tuple(x.shape)} that is "
            "not batched is not possible, because the index or the value is; make the tensor from "
            "a batched one (zeros_like, new_zeros), or return the value instead"
        )
    for i in range(size):
        part = _part(x, level, i)
        part[tuple(_part(e, level, i) for e in entries)] = _part(value, level, i)
