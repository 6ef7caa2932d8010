"""Data sets, and batches cut from them."""

from __future__ import annotations

from wengert import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from wengert._core import Tensor


class Dataset:
    """Something with ``__getitem__`` and, where its size is known, ``__len__``."""

    def __getitem__(self, index: Any) -> Any:
        raise NotImplementedError("Subclasses of Dataset should implement __getitem__.")


class TensorDataset(Dataset):
    """Tensors of equal first dimension; item i is the tuple of their i-th rows.

    Raises
    ------
    ValueError
        If the first dimensions differ.
    """

    tensors: tuple[Tensor, ...]

    def __init__(self, *tensors: Tensor) -> None:
        if not tensors or any(t.dim() == 0 or t.size(0) != tensors[0].size(0) for t in tensors):
            raise ValueError(
                "TensorDataset: size mismatch between tensors, got shapes "
                f"{[tuple(t.shape) for t in tensors]}; expected the same first dimension"
            )
        self.tensors = tensors

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        return tuple(t[index] for t in self.tensors)

    def __len__(self) -> int:
        return int(self.tensors[0].size(0))


def default_collate(batch: list[Any]) -> Any:
    """Stack items into a batch: tensors along a new first dimension, tuples and dicts by member.

    Raises
    ------
    TypeError
        If the items are of a type that cannot be stacked.
    """
    first = batch[0]
    if isinstance(first, _core.Tensor):
        return _core.stack(batch)
    if isinstance(first, (bool, int, float)):
        return _core.tensor_from_data(batch, _core.float64 if isinstance(first, float) else None)
    if hasattr(first, "__array_interface__"):
        return _core.stack([_core.tensor_from_data(b, None) for b in batch])
    if isinstance(first, str):
        return batch
    if isinstance(first, dict):
        return {k: default_collate([b[k] for b in batch]) for k in first}
    if isinstance(first, (tuple, list)):
        members = [default_collate(list(m)) for m in zip(*batch, strict=True)]
        return type(first)(*members) if hasattr(first, "_fields") else members
    raise TypeError(
        "default_collate: batch must contain tensors, arrays, numbers, dicts or lists; found "
        f"{type(first).__name__}"
    )


class DataLoader:
    """Iterates over a data set in batches.

    Parameters
    ----------
    dataset
        What to cut up.
    batch_size
        Items to a batch.
    shuffle
        Whether each pass visits the items in a new random order, drawn from `manual_seed`'s
        generator.
    drop_last
        Whether to leave out a last, shorter batch.
    collate_fn
        Makes a batch of a list of items; `default_collate` by default. A `TensorDataset` without
        one is cut by whole rows, with no item ever made.
    num_workers, pin_memory
        Accepted for PyTorch's sake; loading happens in this process.

    Raises
    ------
    ValueError
        If batch_size is not positive.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int = 1,
        shuffle: bool = False,
        *,
        drop_last: bool = False,
        collate_fn: Callable[[list[Any]], Any] | None = None,
        num_workers: int = 0,
        pin_memory: bool = False,
    ) -> None:
        if not isinstance(batch_size, int) or batch_size <= 0:
            raise ValueError(
                f"DataLoader: batch_size should be a positive integer value, but got {batch_size}"
            )
        if num_workers < 0:
            raise ValueError("DataLoader: num_workers option should be non-negative")
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.collate_fn = collate_fn

    def __len__(self) -> int:
        n = len(self.dataset)
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        n = len(self.dataset)
        order = _core.randperm(n) if self.shuffle else None
        by_rows = type(self.dataset) is TensorDataset and self.collate_fn is None
        collate = self.collate_fn or default_collate
        for k in range(len(self)):
            start, stop = k * self.batch_size, min((k + 1) * self.batch_size, n)
            if not by_rows:
                picked = range(start, stop) if order is None else order[start:stop].tolist()
                yield collate([self.dataset[i] for i in picked])
            elif order is None:
                yield [t[start:stop] for t in self.dataset.tensors]
            else:
                rows = order[start:stop]
                yield [_core.index_select(t, 0, rows) for t in self.dataset.tensors]
