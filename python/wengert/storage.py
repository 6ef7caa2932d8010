"""The memory behind tensors, as PyTorch's programs look at it."""

from __future__ import annotations

from . import _core
from ._core import Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

__all__ = ["TypedStorage", "UntypedStorage"]


class UntypedStorage:
    """The bytes that a tensor and its views share.

    Parameters
    ----------
    tensor
        Whose memory; all of it, however little the tensor looks at.
    """

    def __init__(self, tensor: Tensor) -> None:
        self._elements: Tensor = Tensor._storage_bytes(tensor.detach())

    def data_ptr(self) -> int:
        """Return the address of the first byte."""
        return self._elements.data_ptr()

    def element_size(self) -> int:
        """Return the bytes an element."""
        return self._elements.itemsize

    def nbytes(self) -> int:
        """Return the number of bytes."""
        return self._elements.nbytes

    def size(self) -> int:
        """Return the number of elements."""
        return len(self._elements)

    def tolist(self) -> list[Any]:
        """Return the elements as Python numbers."""
        return self._elements.tolist()

    def is_shared(self) -> bool:
        """Whether other processes see the memory: never."""
        return False

    @property
    def device(self) -> _core.device:
        """Where the memory is."""
        return self._elements.device

    @property
    def is_cuda(self) -> bool:
        """Whether it is a CUDA device's."""
        return self._elements.is_cuda

    def _moved(self, device: Any) -> Any:
        there = object.__new__(type(self))
        there._elements = self._elements.to(device)
        return there

    def cpu(self) -> Any:
        """Return the memory, or a copy, in the processor's memory."""
        return self._moved("cpu")

    def cuda(self, device: Any = None, non_blocking: bool = False) -> Any:
        """Return the memory, or a copy, in a CUDA device's memory."""
        return self._moved("cuda" if device is None else device)

    def __len__(self) -> int:
        return len(self._elements)

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            raise TypeError(f"{type(self).__name__}: expected an int, got a slice")
        return self._elements[index].item()

    def __setitem__(self, index: Any, value: Any) -> None:
        self._elements[index] = value

    def __iter__(self) -> Iterator[Any]:
        return iter(self._elements.tolist())

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, UntypedStorage)
            and other.data_ptr() == self.data_ptr()
            and other.nbytes() == self.nbytes()
        )

    def __hash__(self) -> int:
        return self.data_ptr()

    def __repr__(self) -> str:
        return "".join(f" {v}\n" for v in self) + f"[{_named(self)} of size {len(self)}]"


class TypedStorage(UntypedStorage):
    """The same memory as a list of elements.

    Parameters
    ----------
    tensor
        Whose memory, and whose dtype.
    """

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        self._elements = _core._view_of_bytes(
            self._elements, tensor.dtype, (self._elements.nbytes // tensor.itemsize,), (1,), 0
        )

    @property
    def dtype(self) -> _core.dtype:
        """The dtype of the elements."""
        return self._elements.dtype

    def untyped(self) -> UntypedStorage:
        """Return the memory as bytes."""
        return UntypedStorage(self._elements)

    def fill_(self, value: Any) -> TypedStorage:
        """Set every element."""
        self._elements.fill_(value)
        return self


def _named(storage: UntypedStorage) -> str:
    about = f"dtype={storage.dtype}, " if isinstance(storage, TypedStorage) else ""
    return f"wengert.storage.{type(storage).__name__}({about}device={storage.device})"
