"""Samplers, data sets made of others, and the loader's arguments, against PyTorch."""

from __future__ import annotations

import itertools
import threading
import time
from collections import OrderedDict, defaultdict, namedtuple
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.utils.data as ours
from oracle import needs_torch, torch
from test_nn_modules import outcome

if torch is not None:
    import torch.utils.data as theirs
else:
    theirs = None

Point = namedtuple("Point", "x y")


def plain(value: Any) -> Any:
    """A structure with tensors as lists, with the types of what holds them."""
    if isinstance(value, dict):
        return (type(value), {k: plain(v) for k, v in value.items()})
    if isinstance(value, (tuple, list)):
        return (type(value), [plain(v) for v in value])
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        return (str(value.dtype).split(".")[-1], tuple(value.shape), value.tolist())
    return value


def make(data: Any) -> Any:
    """Data sets of a library."""
    tensor = wg.tensor if data is ours else torch.tensor

    class Numbers(data.Dataset):  # type: ignore[misc,name-defined]
        def __init__(self, n: int, by: int = 1) -> None:
            self.n, self.by = n, by

        def __len__(self) -> int:
            return self.n

        def __getitem__(self, i: int) -> int:
            return i * self.by

    class Stream(data.IterableDataset):  # type: ignore[misc,name-defined]
        def __init__(self, n: int) -> None:
            self.n = n

        def __iter__(self) -> Any:
            info = data.get_worker_info()
            first, step = (0, 1) if info is None else (info.id, info.num_workers)
            return iter(range(first, self.n, step))

        def __len__(self) -> int:
            return self.n

    return Numbers, Stream, tensor


def same(call: Any) -> None:
    assert outcome(lambda d: plain(call(d, *make(d))), ours) == outcome(
        lambda d: plain(call(d, *make(d))), theirs
    )


# --- samplers ----------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "call",
    [
        lambda d, n, s, t: list(d.SequentialSampler(range(4))),
        lambda d, n, s, t: sorted(d.RandomSampler(range(40))),
        lambda d, n, s, t: sorted(d.RandomSampler(range(4), num_samples=8)),
        lambda d, n, s, t: len(list(d.RandomSampler(range(4), num_samples=6))),
        lambda d, n, s, t: len(set(d.RandomSampler(range(4), num_samples=3))),
        lambda d, n, s, t: len(list(d.RandomSampler(range(4), True, 5000))),
        lambda d, n, s, t: len(d.RandomSampler(range(4), replacement=True, num_samples=int(1e10))),
        lambda d, n, s, t: d.RandomSampler([]),
        lambda d, n, s, t: d.RandomSampler([1], num_samples=0),
        lambda d, n, s, t: d.RandomSampler([1], replacement=3),
        lambda d, n, s, t: sorted(d.SubsetRandomSampler([5, 3, 9])),
        lambda d, n, s, t: len(d.SubsetRandomSampler([5, 3, 9])),
        lambda d, n, s, t: set(d.WeightedRandomSampler([0, 1, 0, 2], 100)),
        lambda d, n, s, t: sorted(d.WeightedRandomSampler([0, 1, 5, 2], 3, replacement=False)),
        lambda d, n, s, t: list(d.WeightedRandomSampler([0, 1], 2, replacement=False)),
        lambda d, n, s, t: d.WeightedRandomSampler([0, 1], 0),
        lambda d, n, s, t: d.WeightedRandomSampler([0, 1], 1, replacement=1),
        lambda d, n, s, t: d.WeightedRandomSampler([[0, 1]], 1),
        lambda d, n, s, t: list(d.BatchSampler(range(7), 3, False)),
        lambda d, n, s, t: list(d.BatchSampler(range(7), 3, True)),
        lambda d, n, s, t: len(d.BatchSampler(range(7), 3, True)),
        lambda d, n, s, t: len(d.BatchSampler(d.SequentialSampler(range(7)), 3, False)),
        lambda d, n, s, t: d.BatchSampler(range(7), 0, False),
        lambda d, n, s, t: d.BatchSampler(range(7), True, False),
        lambda d, n, s, t: d.BatchSampler(range(7), 2, 1),
        lambda d, n, s, t: list(d.Sampler()),
    ],
)
def test_samplers_equal_torch(call: Any) -> None:
    same(call)


def test_endless_sampling_is_lazy() -> None:
    sampler = ours.RandomSampler(range(10), replacement=True, num_samples=int(1e10))
    numbers = list(itertools.islice(sampler, 5000))
    np.testing.assert_allclose(np.bincount(numbers) / 5000, 0.1, atol=0.03)
    loader = ours.DataLoader(
        ours.TensorDataset(wg.arange(10)), batch_size=4, sampler=sampler, num_workers=0
    )
    assert next(iter(loader))[0].shape == (4,)
    assert len(loader) == int(25e8)


def test_weights_are_kept() -> None:
    drawn = list(ours.WeightedRandomSampler([1, 0, 3], 20000))
    np.testing.assert_allclose(np.bincount(drawn) / 20000, [0.25, 0, 0.75], atol=0.02)
    first = [next(iter(ours.WeightedRandomSampler([1, 0, 3], 2, False))) for _ in range(4000)]
    assert np.mean(np.array(first) == 2) == pytest.approx(0.75, abs=0.03)
    with pytest.raises(RuntimeError, match="none negative"):
        list(ours.WeightedRandomSampler([-1, 2], 1))


# --- data sets ---------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "call",
    [
        lambda d, n, s, t: [(n(3) + n(2, 10))[i] for i in range(-5, 5)],
        lambda d, n, s, t: len(d.ConcatDataset([n(3), n(2)])),
        lambda d, n, s, t: d.ConcatDataset([n(3), n(2)])[5],
        lambda d, n, s, t: d.ConcatDataset([n(3), n(2)])[-6],
        lambda d, n, s, t: d.ConcatDataset([]),
        lambda d, n, s, t: d.ConcatDataset([s(3)]),
        lambda d, n, s, t: list(s(3) + s(2)),
        lambda d, n, s, t: len(d.ChainDataset([s(3), s(2)])),
        lambda d, n, s, t: list(d.ChainDataset([n(3)])),
        lambda d, n, s, t: d.StackDataset(n(3), n(3, 2))[2],
        lambda d, n, s, t: d.StackDataset(a=n(3), b=n(3, 2))[2],
        lambda d, n, s, t: d.StackDataset(a=n(3), b=n(3, 2)).__getitems__([0, 2]),
        lambda d, n, s, t: d.StackDataset(n(3), n(2)),
        lambda d, n, s, t: d.StackDataset(n(3), b=n(2)),
        lambda d, n, s, t: d.StackDataset(),
        lambda d, n, s, t: d.Subset(n(9), [3, 1])[0],
        lambda d, n, s, t: d.Subset(n(9), [3, 1]).__getitems__([1, 0]),
        lambda d, n, s, t: d.Subset(d.TensorDataset(t([1, 2, 3])), [2, 0])[[0, 1]],
        lambda d, n, s, t: d.Subset(n(9), [3, 1])[2],
        lambda d, n, s, t: sorted(i for part in d.random_split(n(9), [4, 5]) for i in part),
        lambda d, n, s, t: [len(part) for part in d.random_split(n(10), [0.33, 0.33, 0.34])],
        lambda d, n, s, t: d.random_split(n(9), [4, 4]),
        lambda d, n, s, t: d.random_split(n(9), [1.5, -0.5]),
        lambda d, n, s, t: d.Dataset()[0],
    ],
)
def test_data_sets_equal_torch(call: Any) -> None:
    same(call)


def test_types_of_items_are_accepted() -> None:
    class Typed(ours.Dataset[int]):
        def __getitem__(self, i: int) -> int:
            return i

    assert isinstance(Typed(), ours.Dataset)
    assert ours.DataLoader[int] is ours.DataLoader
    with pytest.raises(NotImplementedError):
        list(ours.IterableDataset())


def test_an_empty_part_is_warned_of() -> None:
    with pytest.warns(UserWarning, match="index 1 is 0"):
        ours.random_split(range(1), [0.9, 0.1])


# --- loaders -----------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "call",
    [
        lambda d, n, s, t: list(d.DataLoader(n(5), 2)),
        lambda d, n, s, t: list(d.DataLoader(n(5), None)),
        lambda d, n, s, t: list(d.DataLoader([np.ones(2), {"a": np.zeros(1)}], None)),
        lambda d, n, s, t: list(d.DataLoader(n(5), 2, sampler=[4, 0, 2])),
        lambda d, n, s, t: list(d.DataLoader(n(5), batch_sampler=[[4, 0], [1], [2, 2, 2]])),
        lambda d, n, s, t: list(d.DataLoader(n(5), None, sampler=[[4], 1])),
        lambda d, n, s, t: list(d.DataLoader(s(5), 2)),
        lambda d, n, s, t: list(d.DataLoader(s(5), 2, drop_last=True)),
        lambda d, n, s, t: list(d.DataLoader(s(5), None)),
        lambda d, n, s, t: len(d.DataLoader(s(5), 2)),
        lambda d, n, s, t: len(d.DataLoader(s(5), 2, drop_last=True)),
        lambda d, n, s, t: len(d.DataLoader(s(5), None)),
        lambda d, n, s, t: len(d.DataLoader(n(5), None)),
        lambda d, n, s, t: len(d.DataLoader(n(5), batch_sampler=[[1], [2]])),
        lambda d, n, s, t: list(d.DataLoader(d.TensorDataset(t([1, 2, 3])), 2, sampler=[2, 2, 0])),
        lambda d, n, s, t: list(d.DataLoader(d.Subset(d.TensorDataset(t([1, 2, 3])), [2, 0]), 3)),
        lambda d, n, s, t: list(
            d.DataLoader(
                d.Subset(d.Subset(d.TensorDataset(t([1, 2, 3, 4])), [3, 0, 1]), [2, 0]),
                1,
                sampler=[1, 0, 1],
            )
        ),
        lambda d, n, s, t: sorted(
            int(i)
            for (b,) in d.DataLoader(d.Subset(d.TensorDataset(t([1, 2, 3])), [2, 0]), 1, True)
            for i in b
        ),
        lambda d, n, s, t: list(d.DataLoader(d.StackDataset(a=n(3), b=n(3, 2)), 2)),
        lambda d, n, s, t: list(d.DataLoader(n(5), 2, collate_fn=tuple)),
        lambda d, n, s, t: next(iter(d.DataLoader([t([[1.0, 2.0]])], 1, True, pin_memory=False))),
        lambda d, n, s, t: d.DataLoader(n(5), 0),
        lambda d, n, s, t: d.DataLoader(n(5), 2.0),
        lambda d, n, s, t: d.DataLoader(s(5), 0),
        lambda d, n, s, t: d.DataLoader(n(0), 2, True),
        lambda d, n, s, t: d.DataLoader(n(5), shuffle=True, sampler=[1]),
        lambda d, n, s, t: d.DataLoader(n(5), batch_sampler=[[1]], batch_size=2),
        lambda d, n, s, t: d.DataLoader(n(5), None, drop_last=True),
        lambda d, n, s, t: d.DataLoader(s(5), shuffle=True),
        lambda d, n, s, t: d.DataLoader(s(5), sampler=[1]),
        lambda d, n, s, t: d.DataLoader(s(5), batch_sampler=[[1]]),
        lambda d, n, s, t: d.DataLoader(n(5), num_workers=-1),
        lambda d, n, s, t: d.DataLoader(n(5), timeout=-1),
        lambda d, n, s, t: d.DataLoader(n(5), prefetch_factor=2),
        lambda d, n, s, t: d.DataLoader(n(5), persistent_workers=True),
        lambda d, n, s, t: d.get_worker_info(),
    ],
)
def test_loaders_equal_torch(call: Any) -> None:
    same(call)


@needs_torch
def test_attributes_of_a_loader_are_those_of_torch() -> None:
    wanted = theirs.DataLoader([1, 2, 3], 2)
    made = ours.DataLoader([1, 2, 3], 2)
    for name in (
        "batch_size", "drop_last", "num_workers", "timeout", "prefetch_factor", "pin_memory",
        "persistent_workers", "worker_init_fn", "generator", "dataset",
    ):  # fmt: skip
        assert getattr(made, name) == getattr(wanted, name)
    assert type(made.sampler).__name__ == type(wanted.sampler).__name__
    assert type(made.batch_sampler).__name__ == type(wanted.batch_sampler).__name__


def test_a_batch_may_be_written_to() -> None:
    x = wg.zeros(4, 2)
    for (batch,) in ours.DataLoader(ours.TensorDataset(x), 2):
        batch += 1
    assert x.abs().max().item() == 0


@needs_torch
@pytest.mark.parametrize(
    "batch",
    [
        [1, 2], [1.5, 2], [True, False], ["a", "b"], [b"a", b"b"], [(1, "a"), (2, "b")],
        [[1, 2.0], [3, 4.0]], [{"a": 1}, {"a": 2}], [OrderedDict(b=1, a=2), OrderedDict(b=3, a=4)],
        [defaultdict(list, a=1), defaultdict(list, a=2)], [Point(1, 2.0), Point(3, 4.0)],
        [np.ones(2), np.zeros(2)], [np.float64(1), np.float64(2)], [np.int64(1), np.int64(2)],
        [np.bool_(True), np.bool_(False)], [np.ones(2, "int64")], [None, None], [object()],
        [np.array(["a"])], [(1, 2), (1,)], [[np.ones(1), {"x": (1,)}]], [range(2), range(2)],
    ],
)  # fmt: skip
def test_collating_equals_torch(batch: Any) -> None:
    same(lambda d, n, s, t: d.default_collate(batch))
    same(lambda d, n, s, t: d.default_convert(batch))


# --- workers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_workers_keep_the_order(workers: int) -> None:
    threads = set()

    class Slow(ours.Dataset):
        def __len__(self) -> int:
            return 20

        def __getitem__(self, i: int) -> int:
            threads.add(threading.get_ident())
            assert ours.get_worker_info().num_workers == workers
            time.sleep(0.002 * (i % 3))
            return i

    started: list[int] = []
    loader = ours.DataLoader(Slow(), 3, num_workers=workers, worker_init_fn=started.append)
    for _ in range(2):
        assert [b.tolist() for b in loader] == [
            list(range(i, min(i + 3, 20))) for i in range(0, 20, 3)
        ]
    assert sorted(started) == sorted([*range(workers)] * 2)
    assert threading.get_ident() not in threads
    assert ours.get_worker_info() is None


def test_workers_share_a_stream() -> None:
    _, stream, _ = make(ours)
    loader = ours.DataLoader(stream(10), 2, num_workers=3)
    got = [b.tolist() for b in loader]
    assert got == [[0, 3], [1, 4], [2, 5], [6, 9], [7], [8]]


def test_errors_and_time_limits_of_workers() -> None:
    class Bad(ours.Dataset):
        def __len__(self) -> int:
            return 4

        def __getitem__(self, i: int) -> int:
            if i == 2:
                raise KeyError("bad item")
            return i

    loader = iter(ours.DataLoader(Bad(), num_workers=2))
    assert [next(loader).tolist() for _ in range(2)] == [[0], [1]]
    with pytest.raises(KeyError, match="bad item"):
        next(loader)

    class Stuck(Bad):
        def __getitem__(self, i: int) -> int:
            time.sleep(0.3)
            return i

    with pytest.raises(RuntimeError, match="timed out"):
        next(iter(ours.DataLoader(Stuck(), num_workers=1, timeout=0.05)))


def test_loading_can_stop_early() -> None:
    for batch in ours.DataLoader(list(range(1000)), 2, num_workers=2):
        assert batch.tolist() == [0, 1]
        break


def test_the_package_is_loaded_on_demand() -> None:
    assert wg.utils.data is ours
    for name in ours.__all__:
        assert getattr(ours, name) is not None
