"""Threads that make batches ahead of time.

Threads share the data set and start at once; NumPy, file reading and our kernels release the
interpreter, so that they run beside the training step.
"""

from __future__ import annotations

import copy
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TYPE_CHECKING, Any, NamedTuple

import wengert

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .dataloader import DataLoader

_here = threading.local()
_END = object()


class WorkerInfo(NamedTuple):
    """What a worker knows of itself."""

    id: int
    num_workers: int
    seed: int
    dataset: Any


def info() -> WorkerInfo | None:
    """Return what the worker that calls knows of itself."""
    return getattr(_here, "info", None)


def _start(loader: DataLoader, number: int, dataset: Any) -> None:
    seed = wengert.initial_seed() + number
    _here.info = WorkerInfo(number, loader.num_workers, seed, dataset)
    if loader.worker_init_fn is not None:
        loader.worker_init_fn(number)


def batches(loader: DataLoader) -> Iterator[Any]:
    """Yield the loader's batches in order."""
    # One pool of one thread to a worker: the k-th batch is always made by the same worker.
    pools = [ThreadPoolExecutor(1, f"DataLoader-{i}") for i in range(loader.num_workers)]
    try:
        yield from (_from_items if loader._iterable else _from_numbers)(loader, pools)
    finally:
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)


def _result(loader: DataLoader, made: Future[Any]) -> Any:
    try:
        return made.result(loader.timeout or None)
    except FutureTimeoutError:
        if made.done():  # the worker's own error
            raise
        raise RuntimeError(f"DataLoader timed out after {loader.timeout} seconds") from None


def _from_numbers(loader: DataLoader, pools: list[ThreadPoolExecutor]) -> Iterator[Any]:
    started = [pool.submit(_start, loader, i, loader.dataset) for i, pool in enumerate(pools)]
    waiting: deque[Future[Any]] = deque()
    ahead = max(1, (loader.prefetch_factor or 1) * len(pools))
    for k, numbers in enumerate(loader._numbers()):
        if k < len(pools):
            _result(loader, started[k])
        waiting.append(pools[k % len(pools)].submit(loader._fetch, numbers))
        if len(waiting) > ahead:
            yield _result(loader, waiting.popleft())
    while waiting:
        yield _result(loader, waiting.popleft())


def _from_items(loader: DataLoader, pools: list[ThreadPoolExecutor]) -> Iterator[Any]:
    """Each worker goes through a data set of its own, as `get_worker_info` lets it share."""
    sources: list[Iterator[Any] | None] = [None] * len(pools)

    def start(i: int) -> None:
        dataset = copy.copy(loader.dataset)
        _start(loader, i, dataset)
        sources[i] = loader._from_items(dataset)

    def step(i: int) -> Any:
        source = sources[i]
        return _END if source is None else next(source, _END)

    def submit(i: int, fn: Callable[[int], Any]) -> Future[Any]:
        return pools[i].submit(fn, i)

    for made in [submit(i, start) for i in range(len(pools))]:
        _result(loader, made)
    ahead = max(1, loader.prefetch_factor or 1)
    waiting: dict[int, deque[Future[Any]]] = {
        i: deque(submit(i, step) for _ in range(ahead)) for i in range(len(pools))
    }
    while waiting:
        for i in list(waiting):
            batch = _result(loader, waiting[i].popleft())
            if batch is _END:
                del waiting[i]
                continue
            waiting[i].append(submit(i, step))
            yield batch
