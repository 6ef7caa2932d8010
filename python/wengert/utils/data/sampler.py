"""The order in which the items of a data set are visited."""

from __future__ import annotations

from itertools import islice

from wengert import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence, Sized
    from typing import Any

_CHUNK = 1024  # numbers drawn at a time, so that endless orders cost no memory


def _given(generator: Any) -> dict[str, Any]:
    return {} if generator is None else {"generator": generator}


class Sampler:
    """Base of samplers: ``__iter__`` gives numbers of items, or lists of them."""

    def __init__(self, data_source: Sized | None = None) -> None:
        pass

    def __class_getitem__(cls, item: Any) -> Any:
        """Accept the type of what is given, for annotations."""
        return cls

    def __iter__(self) -> Iterator[Any]:
        raise NotImplementedError


class SequentialSampler(Sampler):
    """One after the other."""

    def __init__(self, data_source: Sized) -> None:
        self.data_source = data_source

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self.data_source)))

    def __len__(self) -> int:
        return len(self.data_source)


class RandomSampler(Sampler):
    """At random: in a new order on each pass or, with replacement, each drawn from all.

    Parameters
    ----------
    data_source
        What is sampled; only its length counts.
    replacement
        Whether an item may come again before all others have come.
    num_samples
        How many to draw; as many as there are by default.
    generator
        What draws; that of `manual_seed` by default.

    Raises
    ------
    TypeError
        If replacement is not a bool.
    ValueError
        If num_samples is not a positive int.
    """

    def __init__(
        self,
        data_source: Sized,
        replacement: bool = False,
        num_samples: int | None = None,
        generator: Any = None,
    ) -> None:
        self.data_source = data_source
        self.replacement = replacement
        self._num_samples = num_samples
        self.generator = generator
        if not isinstance(replacement, bool):
            raise TypeError(f"replacement should be a boolean value, but got {replacement=}")
        if not isinstance(self.num_samples, int) or self.num_samples <= 0:
            raise ValueError(
                "num_samples should be a positive integer value, but got "
                f"num_samples={self.num_samples}"
            )

    @property
    def num_samples(self) -> int:
        """How many are drawn; a data set may change its size."""
        return len(self.data_source) if self._num_samples is None else self._num_samples

    def __iter__(self) -> Iterator[int]:
        n, left, given = len(self.data_source), self.num_samples, _given(self.generator)
        if n == 0 and left > 0:
            raise RuntimeError("RandomSampler: there is nothing to draw from an empty data source")
        while left > 0:
            if self.replacement:
                drawn = _core.randint(0, n, (min(left, _CHUNK),), device="cpu", **given)
            else:
                drawn = _core.randperm(n, device="cpu", **given)
            yield from islice(drawn.tolist(), left)
            left -= drawn.numel()

    def __len__(self) -> int:
        return self.num_samples


class SubsetRandomSampler(Sampler):
    """Given numbers in a new order on each pass."""

    def __init__(self, indices: Sequence[int], generator: Any = None) -> None:
        self.indices = indices
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        for i in _core.randperm(len(self.indices), device="cpu", **_given(self.generator)).tolist():
            yield self.indices[i]

    def __len__(self) -> int:
        return len(self.indices)


class WeightedRandomSampler(Sampler):
    """Number i with a probability in proportion to ``weights[i]``.

    Parameters
    ----------
    weights
        Not negative; their sum need not be 1.
    num_samples
        How many to draw.
    replacement
        Whether an item may come again.
    generator
        What draws; that of `manual_seed` by default.

    Raises
    ------
    RuntimeError
        While iterating, if more are to be drawn without replacement than there are, or the
        weights are not finite, negative, or all 0.
    ValueError
        If num_samples is not a positive int, replacement no bool, or weights no vector of weights.
    """

    def __init__(
        self,
        weights: Sequence[float],
        num_samples: int,
        replacement: bool = True,
        generator: Any = None,
    ) -> None:
        import numpy as np

        if not isinstance(num_samples, int) or isinstance(num_samples, bool) or num_samples <= 0:
            raise ValueError(
                f"num_samples should be a positive integer value, but got {num_samples=}"
            )
        if not isinstance(replacement, bool):
            raise ValueError(f"replacement should be a boolean value, but got {replacement=}")
        values = np.asarray(weights, dtype=np.float64)
        if values.ndim != 1:
            raise ValueError(
                f"weights should be a 1d sequence but given weights have shape {values.shape}"
            )
        self.weights = _core.tensor_from_data(values, None)
        self.num_samples = num_samples
        self.replacement = replacement
        self.generator = generator

    def __iter__(self) -> Iterator[int]:
        import numpy as np

        weights = self.weights.numpy()
        if not (np.isfinite(weights).all() and (weights >= 0).all() and weights.sum() > 0):
            raise RuntimeError(
                "WeightedRandomSampler: expected finite weights, none negative and not all 0"
            )
        size = self.num_samples if self.replacement else len(weights)
        drawn = _core.rand(
            (size,), dtype=_core.float64, device="cpu", **_given(self.generator)
        ).numpy()
        if self.replacement:
            ends = weights.cumsum()
            places = np.searchsorted(ends, drawn * ends[-1], side="right")
            # rounding may reach the very end, where only weights of 0 might follow
            return iter(np.minimum(places, np.flatnonzero(weights)[-1]).tolist())
        if self.num_samples > len(weights):
            raise RuntimeError(
                f"WeightedRandomSampler: cannot draw {self.num_samples} of {len(weights)} items "
                "without replacement"
            )
        # The least of exponential times of rates `weights` (Efraimidis and Spirakis, 2006); those
        # of weight 0 come last.
        with np.errstate(divide="ignore"):
            times = np.where(weights > 0, -np.log1p(-drawn) / weights, np.inf)
        return iter(np.argsort(times, kind="stable")[: self.num_samples].tolist())

    def __len__(self) -> int:
        return self.num_samples


class BatchSampler(Sampler):
    """Lists of as many numbers as make a batch.

    Raises
    ------
    ValueError
        If batch_size is not a positive int or drop_last no bool.
    """

    def __init__(self, sampler: Iterable[int], batch_size: int, drop_last: bool) -> None:
        if not isinstance(batch_size, int) or isinstance(batch_size, bool) or batch_size <= 0:
            raise ValueError(
                f"batch_size should be a positive integer value, but got batch_size={batch_size}"
            )
        if not isinstance(drop_last, bool):
            raise ValueError(f"drop_last should be a boolean value, but got drop_last={drop_last}")
        self.sampler = sampler
        self.batch_size = batch_size
        self.drop_last = drop_last

    def __iter__(self) -> Iterator[list[int]]:
        numbers = iter(self.sampler)
        while batch := list(islice(numbers, self.batch_size)):
            if len(batch) == self.batch_size or not self.drop_last:
                yield batch

    def __len__(self) -> int:
        n = len(self.sampler)  # type: ignore[arg-type]
        return n // self.batch_size if self.drop_last else -(-n // self.batch_size)
