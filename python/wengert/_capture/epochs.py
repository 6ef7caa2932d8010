"""Many steps of a captured function in one call."""

from __future__ import annotations

from wengert import _core
from wengert._core import CaptureError, Tensor
from wengert._creation import arange
from wengert.utils._pytree import tree_flatten, tree_unflatten

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from wengert._capture import Captured, _Entry


def take(
    step: Captured, data: Tensor | Sequence[Tensor], batch_size: int, shuffle: bool, epochs: int,
    seed: int | None, drop_last: bool, progress: Callable[[int], Any] | None, every: int,
) -> Any:  # fmt: skip
    """Do what `Captured.run` says."""
    arrays = [data] if isinstance(data, Tensor) else list(data)
    arrays = [a.detach().contiguous() for a in arrays]
    if not arrays or any(a.dim() == 0 or a.size(0) != arrays[0].size(0) for a in arrays):
        raise ValueError(
            "run: expected tensors of the same length, got shapes "
            f"{[tuple(a.shape) for a in arrays]}"
        )
    if batch_size < 1 or every < 1 or epochs < 0:
        raise ValueError(
            f"run: batch_size={batch_size}, every={every} and epochs={epochs}; expected at "
            "least 1, 1 and 0"
        )
    generator: dict[str, Any] = (
        {} if seed is None else {"generator": _core.Generator().manual_seed(seed)}
    )
    n = arrays[0].size(0)
    kept: list[Any] = []
    done = 0
    for _ in range(epochs):
        order = _core.randperm(n, **generator) if shuffle else arange(n)
        whole = n // batch_size
        done = _steps(step, arrays, order[: whole * batch_size], whole, kept, done, progress, every)
        if not drop_last and n % batch_size:
            done = _steps(step, arrays, order[whole * batch_size :], 1, kept, done, progress, every)
    return _stacked(kept)


def _steps(
    step: Captured, arrays: list[Tensor], order: Tensor, steps: int, kept: list[Any], done: int,
    progress: Callable[[int], Any] | None, every: int,
) -> int:  # fmt: skip
    """Take steps of equal size: by a program as long as one goes on, else one by one."""
    size = order.size(0) // steps if steps else 0
    at = 0
    while at < steps:
        rest = order[at * size :].contiguous()
        entry = _ready(step, [a[:size] for a in arrays]) if steps - at > 1 else None
        if entry is not None:
            count, results = entry.program.run(
                arrays, rest, steps - at, every, progress, entry.after, done + at
            )
            if count:
                kept.append((entry, count, results))
                at += count
                continue
        rows = rest[:size]
        result = step(*[a.index_select(0, rows) for a in arrays])
        kept.append((None, 1, result))
        at += 1
        if progress is not None and (done + at) % every == 0:
            progress(done + at)
    return done + steps


def _ready(step: Captured, arguments: list[Tensor]) -> _Entry | None:
    """Return a program whose steps need nothing of Python before them."""
    key, _ = step._key(tuple(arguments), {})
    for entry in step._entries.get(key, ()):
        plain = not entry.before and not entry.places
        whole = bool(entry.whole) and all(leaf is None for leaf in entry.whole)
        fits = plain and whole and entry.program.fits(arguments)
        if fits and not entry.guards.first_change():
            return entry
    return None


def _stacked(kept: list[Any]) -> Any:
    """Join what single steps and runs of steps gave."""
    if not kept:
        return None
    parts: list[list[Tensor]] = []
    spec = None
    for entry, count, results in kept:
        if entry is None:
            leaves, spec = tree_flatten(results)
            if not all(isinstance(leaf, Tensor) for leaf in leaves):
                raise CaptureError("run: a step must return tensors")
            parts.append([leaf.detach().unsqueeze(0) for leaf in leaves])
        else:
            spec = entry.spec
            parts.append([r[:count] for r in results])
    columns = [_core.cat(list(column)) for column in zip(*parts, strict=True)]
    return columns[0] if spec is None else tree_unflatten(columns, spec)
