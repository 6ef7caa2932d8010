"""Many steps in one call: a step for each batch of tensors in memory."""

from __future__ import annotations

from wengert import _core
from wengert._core import CaptureError, Tensor
from wengert.utils._pytree import tree_flatten, tree_unflatten

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    class Ready(Protocol):
        """A program, what Python does after each step, and the structure of its results."""

        program: _core.Program
        after: list[tuple[Callable[..., Any], tuple[Any, ...]]]
        spec: Any


class Runs:
    """What is called for each step, and may have a program that takes many at once."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take one step."""
        raise NotImplementedError

    def _ready(self, arguments: list[Tensor]) -> Ready | None:
        """Return a program whose steps need nothing of Python before them."""
        raise NotImplementedError

    def run(
        self,
        data: Tensor | Sequence[Tensor],
        batch_size: int = 1,
        shuffle: bool = False,
        epochs: int = 1,
        seed: int | None = None,
        *,
        drop_last: bool = False,
        progress: Callable[[int], Any] | None = None,
        every: int = 100,
    ) -> Any:
        """Take a step for each batch of the data, an epoch in one call.

        Batches are those of ``DataLoader(TensorDataset(*data), batch_size, shuffle)``: with
        ``seed``, of one whose generator was seeded with it. They are passed as the arguments.

        Parameters
        ----------
        data
            A tensor, or several of the same length, whose rows are the items.
        batch_size
            Items a step.
        shuffle
            Whether each epoch has a new order.
        epochs
            How often to go through the data.
        seed
            What the order is drawn from; the default generator if None.
        drop_last
            Whether to leave out a last batch of fewer items.
        progress
            Called with the number of steps done, each ``every`` steps.
        every
            Steps between calls of progress, and between looks for Ctrl-C.

        Returns
        -------
        The results of all steps, stacked: a tensor of shape (steps, ...) for each.

        Raises
        ------
        ValueError
            If the tensors differ in length, or the batch size is not positive.
        CaptureError
            If the step cannot be captured, or its results are not tensors.
        """
        from wengert._creation import arange

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
            order = (
                _core.randperm(n, device="cpu", **generator) if shuffle else arange(n, device="cpu")
            )
            whole = n // batch_size
            done = self._steps(
                arrays, order[: whole * batch_size], whole, kept, done, progress, every
            )
            if not drop_last and n % batch_size:
                done = self._steps(
                    arrays, order[whole * batch_size :], 1, kept, done, progress, every
                )
        return _stacked(kept)

    def _steps(
        self, arrays: list[Tensor], order: Tensor, steps: int, kept: list[Any], done: int,
        progress: Callable[[int], Any] | None, every: int,
    ) -> int:  # fmt: skip
        """Take steps of equal size: by a program as long as one goes on, else one by one."""
        size = order.size(0) // steps if steps else 0
        at = 0
        while at < steps:
            rest = order[at * size :].contiguous()
            entry = self._ready([a[:size] for a in arrays]) if steps - at > 1 else None
            if entry is not None:
                count, results = entry.program.run(
                    arrays, rest, steps - at, every, progress, entry.after, done + at
                )
                if count:
                    kept.append((entry, count, results))
                    at += count
                    continue
            rows = rest[:size]
            result = self(*[a.index_select(0, rows.to(a.device)) for a in arrays])
            kept.append((None, 1, result))
            at += 1
            if progress is not None and (done + at) % every == 0:
                progress(done + at)
        return done + steps


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
