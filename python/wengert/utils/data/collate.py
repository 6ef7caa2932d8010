"""Batches made of items: tensors, numbers, and structures of them."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, MutableSequence, Sequence

from wengert import _core, as_tensor
from wengert._core import Tensor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_KNOWN = (
    "default_collate: batch must contain tensors, numpy arrays, numbers, dicts or lists; found "
)


def _is_array(value: Any) -> bool:
    """Whether value is of a NumPy type that a tensor can be made of."""
    return hasattr(value, "__array_interface__") and hasattr(value, "dtype")


def _of_numbers(array: Any) -> bool:
    return array.dtype.kind in "biuf"


def _mapped(like: Any, pairs: dict[Any, Any]) -> Any:
    """The pairs as a mapping of the type of another, where it can be made."""
    import copy

    try:
        if isinstance(like, MutableMapping):
            made = copy.copy(like)
            made.update(pairs)
            return made
        return type(like)(pairs)
    except TypeError:
        return pairs


def _sequenced(like: Any, values: list[Any]) -> Any:
    """The values as a sequence of the type of another, where it can be made."""
    import copy

    if isinstance(like, tuple):
        return type(like)(*values) if hasattr(like, "_fields") else values
    try:
        if isinstance(like, MutableSequence):
            made = copy.copy(like)
            for i, value in enumerate(values):
                made[i] = value
            return made
        return type(like)(values)
    except TypeError:
        return values


def default_collate(batch: Any) -> Any:
    """Stack items into a batch: tensors along a new first dimension, tuples and dicts by member.

    Numbers become tensors, strings are left in their list.

    Raises
    ------
    RuntimeError
        If sequences in the items differ in length.
    TypeError
        If the items are of a type that cannot be stacked.
    """
    first = batch[0]
    if isinstance(first, Tensor):
        return _core.stack(list(batch))
    if _is_array(first):
        if not _of_numbers(first):
            raise TypeError(f"{_KNOWN}{first.dtype}")
        return _core.stack([_core.tensor_from_data(b, None) for b in batch])
    if isinstance(first, float):
        return _core.tensor_from_data(list(batch), _core.float64)
    if isinstance(first, int):
        return _core.tensor_from_data(list(batch), None)
    if isinstance(first, (str, bytes)):
        return batch
    if isinstance(first, Mapping):
        return _mapped(first, {k: default_collate([b[k] for b in batch]) for k in first})
    if isinstance(first, Sequence):
        if any(len(b) != len(first) for b in batch):
            raise RuntimeError("each element in list of batch should be of equal size")
        return _sequenced(first, [default_collate(m) for m in zip(*batch, strict=True)])
    raise TypeError(f"{_KNOWN}{type(first)}")


def with_members(data: Any, of: Callable[[Any], Any]) -> Any:
    """Return a mapping or a sequence of what a function gives for each member; else the data."""
    if isinstance(data, Mapping):
        return _mapped(data, {k: of(v) for k, v in data.items()})
    if isinstance(data, Sequence) and not isinstance(data, (str, bytes)):
        return _sequenced(data, [of(v) for v in data])
    return data


def default_convert(data: Any) -> Any:
    """Make tensors of the arrays in an item, and leave the rest as it is."""
    if isinstance(data, Tensor):
        return data
    if _is_array(data):
        return as_tensor(data) if _of_numbers(data) else data
    return with_members(data, default_convert)


def rows_of(dataset: Any, collate_fn: Callable[[Any], Any]) -> Any:
    """Return the tensors and the row numbers that a data set consists of, or None.

    Where a batch of stacked items is the same as some rows of tensors, no item need be made.
    """
    from .dataset import Subset, TensorDataset

    if collate_fn is not default_collate:
        return None
    if type(dataset) is TensorDataset:
        return dataset.tensors, None
    if type(dataset) is not Subset:
        return None
    inner = rows_of(dataset.dataset, collate_fn)
    if inner is None:
        return None
    picked = _core.tensor_from_data([int(i) for i in dataset.indices], _core.int64)
    return inner[0], picked if inner[1] is None else inner[1].index_select(0, picked)
