"""Data sets and loaders: which items come in which batch, and what batches are made of."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.utils.data import DataLoader, Dataset, TensorDataset, default_collate


class Squares(Dataset):
    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i: int) -> tuple[wg.Tensor, int]:
        return wg.tensor([float(i)]), i * i


def numbers(n: int) -> TensorDataset:
    return TensorDataset(wg.arange(n).float().reshape(n, 1), wg.arange(n))


@needs_torch
@pytest.mark.parametrize("drop_last", [True, False])
@pytest.mark.parametrize(("n", "size"), [(10, 3), (9, 3), (2, 5), (0, 2), (1, 1)])
def test_batches_equal_torch(n: int, size: int, drop_last: bool) -> None:
    ours = DataLoader(numbers(n), batch_size=size, drop_last=drop_last)
    x = torch.arange(n)
    theirs = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(x.float().reshape(n, 1), x),
        batch_size=size,
        drop_last=drop_last,
    )
    assert len(ours) == len(theirs)
    made = [[t.tolist() for t in batch] for batch in ours]
    assert made == [[t.tolist() for t in batch] for batch in theirs]


@pytest.mark.parametrize("make", [numbers, Squares])
def test_shuffling_visits_everything_once(make: Any) -> None:
    loader = DataLoader(make(23), batch_size=4, shuffle=True)
    passes = [[int(v) for x, _ in loader for v in x.reshape(-1).tolist()] for _ in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) == list(range(23))
    assert passes[0] != passes[1] != list(range(23))
    wg.manual_seed(0)
    again = [[int(v) for x, _ in loader for v in x.reshape(-1).tolist()] for _ in range(2)]
    assert again == passes


def test_rows_stay_together() -> None:
    for x, y in DataLoader(numbers(50), batch_size=7, shuffle=True):
        assert x.reshape(-1).long().tolist() == y.tolist()


def test_items_of_a_data_set_are_stacked() -> None:
    batches = list(DataLoader(Squares(5), batch_size=2))
    assert [x.shape for x, _ in batches] == [(2, 1), (2, 1), (1, 1)]
    assert [y.tolist() for _, y in batches] == [[0, 1], [4, 9], [16]]
    assert batches[0][1].dtype is wg.int64
    assert list(DataLoader([1, 2, 3], batch_size=2, collate_fn=sum)) == [3, 3]


class Point(NamedTuple):
    x: float
    y: int


COLLATED = [
    ([1, 2], "int64", [1, 2]),
    ([1.5, 2.0], "float64", [1.5, 2.0]),
    ([np.float32(1), np.float32(2)], None, [1, 2]),
    ([np.ones(2, "float32")] * 2, "float32", [[1, 1], [1, 1]]),
    ([wg.ones(2), wg.zeros(2)], "float32", [[1, 1], [0, 0]]),
    ([True, False], "bool", [True, False]),
]


@pytest.mark.parametrize(("batch", "dtype", "want"), COLLATED)
def test_collating_leaves(batch: list[Any], dtype: str | None, want: Any) -> None:
    made = default_collate(batch)
    assert made.tolist() == want
    assert dtype is None or made.dtype is getattr(wg, dtype)


def test_collating_structures() -> None:
    assert default_collate(["a", "b"]) == ["a", "b"]
    made = default_collate([{"a": 1, "b": (2, "x")}, {"a": 3, "b": (4, "y")}])
    assert made["a"].tolist() == [1, 3]
    assert made["b"][0].tolist() == [2, 4]
    assert made["b"][1] == ("x", "y")
    point = default_collate([Point(1.0, 2), Point(3.0, 4)])
    assert isinstance(point, Point)
    assert point.y.tolist() == [2, 4]
    with pytest.raises(TypeError, match="object"):
        default_collate([object()])


def test_tensor_data_sets() -> None:
    data = numbers(4)
    assert len(data) == 4
    x, y = data[2]
    assert (x.tolist(), y.item()) == ([2], 2)
    assert data[1:3][1].tolist() == [1, 2]
    for bad in ((), (wg.ones(2), wg.ones(3)), (wg.ones(()),)):
        with pytest.raises(ValueError, match="mismatch"):
            TensorDataset(*bad)
    with pytest.raises(NotImplementedError):
        Dataset()[0]
