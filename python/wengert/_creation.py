"""Tensors from Python data and other libraries' arrays."""

from __future__ import annotations

from . import _core
from ._core import Tensor, device, dtype

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray


def _finish(
    t: Tensor,
    where: device | str | None,
    requires_grad: bool,
    pin_memory: bool = False,
) -> Tensor:
    if where is not None:
        t = t._to_device(where)
    elif _core.cuda.default_device().type != "cpu":
        t = t._to_device(_core.cuda.default_device())
    if pin_memory:
        t = t.pin_memory()
    return t.requires_grad_() if requires_grad else t


def tensor(
    data: Any,
    *,
    dtype: dtype | None = None,
    device: device | str | None = None,
    requires_grad: bool = False,
    pin_memory: bool = False,
) -> Tensor:
    """Make a tensor by copying numbers, nested sequences of them, an array or a tensor.

    Parameters
    ----------
    data
        What to copy. Python floats give the default dtype, ints int64, bools bool.
    dtype
        The element type; by default that of the data.
    device
        Where to put it.
    requires_grad
        Whether operations on it are recorded.
    pin_memory
        Whether to put it into memory that a CUDA device copies from by itself.

    Raises
    ------
    TypeError
        If the data holds something that is no number.
    ValueError
        If nested sequences are ragged.
    """
    return _finish(_core.tensor_from_data(data, dtype), device, requires_grad, pin_memory)


def from_numpy(array: NDArray[Any]) -> Tensor:
    """Make a tensor that shares memory with a NumPy array.

    Raises
    ------
    TypeError
        If it is no array, or of a dtype that wengert does not have.
    ValueError
        If a stride is negative.
    """
    import numpy as np

    if not isinstance(array, np.ndarray):
        raise TypeError(f"from_numpy: expected np.ndarray (got {type(array).__name__})")
    return from_dlpack(array)


def from_dlpack(array: Any) -> Tensor:
    """Make a tensor that shares memory with anything that offers DLPack or a buffer.

    Memory that may not be written to is copied instead.

    Raises
    ------
    TypeError
        If it offers neither, or elements that wengert does not have.
    """
    from . import _interop

    if hasattr(array, "__dlpack_device__") and array.__dlpack_device__()[0] == 2:
        _core.cuda.require()  # another library's memory on the device
    t = _interop.from_array(array)
    return t if _interop.is_writable(array) else t.clone()


def as_tensor(data: Any, dtype: dtype | None = None, device: device | str | None = None) -> Tensor:
    """Like `tensor`, but sharing memory where data is a tensor or an array of the right dtype."""
    if not isinstance(data, Tensor):
        shares = hasattr(data, "__array_interface__") or hasattr(data, "__dlpack__")
        data = from_dlpack(data) if shares else _core.tensor_from_data(data, dtype)
    return _finish(data if dtype is None else data.to(dtype), device, False)


def asarray(
    obj: Any,
    *,
    dtype: dtype | None = None,
    device: device | str | None = None,
    copy: bool | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Make a tensor from a tensor, an array, a buffer or numbers, sharing memory if it can.

    Parameters
    ----------
    obj
        What to take the elements from.
    dtype
        The element type; by default that of obj.
    device
        Where to put it.
    copy
        True always copies, False never; None copies where it must.
    requires_grad
        Whether operations on it are recorded. The result is detached from obj's history if not.

    Raises
    ------
    ValueError
        If copy is False and sharing is not possible.
    """
    is_buffer = isinstance(obj, (bytes, bytearray, memoryview))
    if is_buffer:
        import numpy as np

        dtype = _core.get_default_dtype() if dtype is None else dtype
        obj = np.frombuffer(obj, str(dtype).rpartition(".")[2])
    shares = isinstance(obj, Tensor) or hasattr(obj, "__array_interface__")
    shares = shares or hasattr(obj, "__dlpack__")
    if copy is False and not shares:
        raise ValueError("asarray: can't alias arbitrary sequence into a tensor")
    t = as_tensor(obj) if shares else tensor(obj, dtype=dtype)
    if dtype is not None and t.dtype is not dtype:
        if copy is False:
            raise ValueError(f"asarray: can't alias tensor with dtype {t.dtype} into {dtype}")
        t = t.to(dtype)
    elif copy and shares:
        t = t.clone()
    return _finish(t.detach() if requires_grad else t, device, requires_grad)


def is_tensor(obj: object) -> bool:
    """Whether obj is a Tensor."""
    return isinstance(obj, Tensor)


def arange(
    start: Any,
    end: Any = None,
    step: Any = 1,
    *,
    dtype: dtype | None = None,
    device: device | str | None = None,
    requires_grad: bool = False,
    **usual: Any,
) -> Tensor:
    """The numbers start, start + step, ... below end; ``arange(end)`` starts at 0.

    Raises
    ------
    RuntimeError
        If step is 0 or has the wrong sign.
    """
    if end is None:
        start, end = 0, start
    return _core._arange(
        start, end, step, dtype=dtype, device=device, requires_grad=requires_grad, **usual
    )
