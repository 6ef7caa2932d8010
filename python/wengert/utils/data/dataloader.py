"""The loader: batches of a data set, made in this thread or ahead of time in others."""

from __future__ import annotations

from itertools import islice

from wengert import _core
from wengert._core import Tensor

from .collate import default_collate, default_convert, rows_of, with_members
from .dataset import IterableDataset, items_of
from .sampler import BatchSampler, RandomSampler, SequentialSampler

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from typing import Any

    from .sampler import Sampler


def get_worker_info() -> Any:
    """Return ``id``, ``num_workers``, ``seed`` and ``dataset`` in a worker, and None elsewhere."""
    from . import _workers

    return _workers.info()


class DataLoader:
    """Iterates over a data set in batches.

    A `TensorDataset`, or a `Subset` of one, is cut by whole rows where nothing asks for its items.

    Parameters
    ----------
    dataset
        What to cut up.
    batch_size
        Items to a batch; None gives the items themselves.
    shuffle
        Whether each pass visits the items in a new random order.
    sampler
        The numbers of the items in their order, instead.
    batch_sampler
        The lists of numbers that make the batches, instead.
    num_workers
        How many threads make batches ahead of time; 0 makes them when they are asked for.
    collate_fn
        Makes a batch of a list of items; `default_collate` by default.
    drop_last
        Whether to leave out a last, shorter batch.
    timeout
        Seconds to wait for a batch of a worker; 0 waits for ever.
    worker_init_fn
        Called with its number in each worker at its start.
    generator
        What draws random orders; that of `manual_seed` by default.
    prefetch_factor
        Batches that each worker makes ahead of time; 2 by default.
    pin_memory
        Whether batches are put into pinned memory, from which a CUDA device copies by itself;
        where there is none, nothing changes.
    multiprocessing_context, persistent_workers, pin_memory_device, in_order
        Accepted for PyTorch's sake: workers are threads, which start with each pass, and batches
        keep their order.

    Raises
    ------
    TypeError
        While iterating, if the items are of a type that cannot be stacked.
    ValueError
        If arguments exclude each other, or batch_size is not positive.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int | None = 1,
        shuffle: bool | None = None,
        sampler: Sampler | Iterable[Any] | None = None,
        batch_sampler: Sampler | Iterable[Any] | None = None,
        num_workers: int = 0,
        collate_fn: Callable[[Any], Any] | None = None,
        pin_memory: bool = False,
        drop_last: bool = False,
        timeout: float = 0,
        worker_init_fn: Callable[[int], None] | None = None,
        multiprocessing_context: Any = None,
        generator: Any = None,
        *,
        prefetch_factor: int | None = None,
        persistent_workers: bool = False,
        pin_memory_device: str = "",
        in_order: bool = True,
    ) -> None:
        _check_workers(num_workers, timeout, prefetch_factor, persistent_workers)
        self._iterable = isinstance(dataset, IterableDataset)
        if self._iterable:
            for name, value in (("sampler", sampler), ("batch_sampler", batch_sampler)):
                if value is not None:
                    raise ValueError(
                        "DataLoader with IterableDataset: expected unspecified "
                        f"{name} option, but got {name}={value}"
                    )
            if shuffle:
                raise ValueError(
                    "DataLoader with IterableDataset: expected unspecified shuffle option, but "
                    f"got shuffle={shuffle}"
                )
        if sampler is not None and shuffle:
            raise ValueError("sampler option is mutually exclusive with shuffle")
        if batch_sampler is not None:
            if batch_size != 1 or shuffle or sampler is not None or drop_last:
                raise ValueError(
                    "batch_sampler option is mutually exclusive with batch_size, shuffle, "
                    "sampler, and drop_last"
                )
            batch_size = None
        elif batch_size is None and drop_last:
            raise ValueError(
                "batch_size=None option disables auto-batching and is mutually exclusive with "
                "drop_last"
            )
        if not self._iterable and sampler is None:
            sampler = (
                RandomSampler(dataset, generator=generator)
                if shuffle
                else SequentialSampler(dataset)
            )
        if batch_size is not None:
            if self._iterable:
                BatchSampler((), batch_size, drop_last)  # for its checks
            else:
                assert sampler is not None
                batch_sampler = BatchSampler(sampler, batch_size, drop_last)
        self._batched = batch_size is not None or batch_sampler is not None
        self.dataset = dataset
        self.batch_size = batch_size
        self.drop_last = drop_last
        self.sampler = sampler
        self.batch_sampler = batch_sampler
        self.generator = generator
        self.collate_fn = collate_fn or (default_collate if self._batched else default_convert)
        self.num_workers = num_workers
        self.prefetch_factor = 2 if num_workers and prefetch_factor is None else prefetch_factor
        self.pin_memory = pin_memory
        self.pin_memory_device = pin_memory_device
        self.timeout = timeout
        self.worker_init_fn = worker_init_fn
        self.multiprocessing_context = multiprocessing_context
        self.persistent_workers = persistent_workers
        self.in_order = in_order

    def __class_getitem__(cls, item: Any) -> Any:
        """Accept the type of the items, for annotations."""
        return cls

    def __len__(self) -> int:
        if self._iterable:
            n = len(self.dataset)
            if self.batch_size is None:
                return n
            return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
        return len(self.batch_sampler if self._batched else self.sampler)  # type: ignore[arg-type]

    def __iter__(self) -> Iterator[Any]:
        batches = self._batches()
        return map(_pinned, batches) if self.pin_memory and _core.cuda.is_available() else batches

    def _batches(self) -> Iterator[Any]:
        if self.num_workers:
            from . import _workers

            return _workers.batches(self)
        if self._iterable:
            return self._from_items(self.dataset)
        rows = rows_of(self.dataset, self.collate_fn) if self._batched else None
        if rows is not None:
            return self._from_rows(*rows)
        return map(self._fetch, self._numbers())

    def _numbers(self) -> Any:
        """What `_fetch` is to be called with."""
        return self.batch_sampler if self._batched else self.sampler

    def _fetch(self, numbers: Any) -> Any:
        if self._batched:
            return self.collate_fn(items_of(self.dataset, numbers))
        return self.collate_fn(self.dataset[numbers])

    def _from_items(self, dataset: Any) -> Iterator[Any]:
        items = iter(dataset)
        if self.batch_size is None:
            yield from map(self.collate_fn, items)
            return
        while batch := list(islice(items, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield self.collate_fn(batch)

    def _from_rows(
        self, tensors: tuple[Tensor, ...], picked: Tensor | None
    ) -> Iterator[list[Tensor]]:
        """Cut batches from tensors, or from the picked rows of them."""
        order = self._whole_order()
        if order is None:
            for numbers in self._numbers():
                rows = _core.tensor_from_data([int(i) for i in numbers], _core.int64)
                rows = rows if picked is None else picked.index_select(0, rows)
                yield [t.index_select(0, rows.to(t.device)) for t in tensors]
            return
        if picked is not None:
            order = picked if isinstance(order, int) else picked.index_select(0, order)
        if not isinstance(order, int) and tensors and tensors[0].is_cuda:
            order = order.cuda()  # once, rather than for every batch
        size = self.batch_size or 1
        n = order if isinstance(order, int) else order.size(0)
        for start in range(0, n - size + 1 if self.drop_last else n, size):
            stop = min(start + size, n)
            if isinstance(order, int):  # copied: a batch may be written to
                yield [t[start:stop].clone() for t in tensors]
            else:
                rows = order[start:stop]
                yield [t.index_select(0, rows.to(t.device)) for t in tensors]

    def _whole_order(self) -> Tensor | int | None:
        """The order of a whole pass as a tensor, or as its length, if it is a plain one."""
        if self.batch_size is None:
            return None
        sampler = self.sampler
        if type(sampler) is SequentialSampler and sampler.data_source is self.dataset:
            return len(self.dataset)
        if (
            type(sampler) is RandomSampler
            and not sampler.replacement
            and sampler.num_samples == len(self.dataset)
            and sampler.data_source is self.dataset
        ):
            given = {} if sampler.generator is None else {"generator": sampler.generator}
            return _core.randperm(len(self.dataset), device="cpu", **given)
        return None


def _pinned(data: Any) -> Any:
    """The data with its tensors in pinned memory."""
    if isinstance(data, Tensor) and data.is_cuda:
        return data
    if hasattr(data, "pin_memory"):
        return data.pin_memory()
    if isinstance(data, tuple) and not hasattr(data, "_fields"):  # which would become a list
        return type(data)(map(_pinned, data))
    return with_members(data, _pinned)


def _check_workers(
    num_workers: int, timeout: float, prefetch_factor: int | None, persistent_workers: bool
) -> None:
    if num_workers < 0:
        raise ValueError(
            "num_workers option should be non-negative; use num_workers=0 to disable "
            "multiprocessing."
        )
    if timeout < 0:
        raise ValueError("timeout option should be non-negative")
    if num_workers == 0 and prefetch_factor is not None:
        raise ValueError(
            "prefetch_factor option could only be specified in multiprocessing. let num_workers > "
            "0 to enable multiprocessing, otherwise set prefetch_factor to None."
        )
    if prefetch_factor is not None and prefetch_factor < 0:
        raise ValueError("prefetch_factor option should be non-negative")
    if persistent_workers and num_workers == 0:
        raise ValueError("persistent_workers option needs num_workers > 0")
