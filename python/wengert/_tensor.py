"""The methods of Tensor that are thin Python: conversion, text, and doorways to other modules."""

from __future__ import annotations

from . import _core, autograd
from ._core import Tensor, device, dtype
from ._search import unique, unique_consecutive
from ._types import strided

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from numpy.typing import NDArray

    from ._core import HookHandle
    from .storage import TypedStorage, UntypedStorage


def to(
    self: Tensor,
    *args: Any,
    dtype: dtype | None = None,
    device: device | str | int | None = None,
    copy: bool = False,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Return the tensor in another dtype, on another device, or like another tensor.

    Raises
    ------
    TypeError
        If two dtypes are given.
    RuntimeError
        If the device is not there.
    """
    for a in args:
        if isinstance(a, Tensor):
            dtype, device = a.dtype, a.device
        elif isinstance(a, bool):
            non_blocking = a
        elif isinstance(a, (_core.device, str, int)):
            device = a
        elif a is not None:
            if dtype is not None:
                raise TypeError(f"to: got two dtypes, {dtype} and {a}")
            dtype = a
    dtype = self.dtype if dtype is None else dtype
    if device is None:
        return self._to_dtype(dtype, copy)
    there = self._to_device(device, non_blocking)
    return there._to_dtype(dtype, copy and there.device == self.device)


def cpu(self: Tensor, memory_format: Any = None) -> Tensor:
    """Return the tensor in CPU memory."""
    return self._to_device("cpu")


def cuda(
    self: Tensor,
    device: device | int | str | None = None,
    non_blocking: bool = False,
    memory_format: Any = None,
) -> Tensor:
    """Return the tensor in a CUDA device's memory.

    Raises
    ------
    RuntimeError
        If there is none.
    """
    return self._to_device("cuda" if device is None else device, non_blocking)


def pin_memory(self: Tensor, device: device | str | None = None) -> Tensor:
    """Return a copy in pinned memory, which a CUDA device copies from by itself.

    Raises
    ------
    RuntimeError
        If it is not in CPU memory, or there is no CUDA device.
    """
    return self if self.is_pinned() else _core.cuda.pinned(self.detach())


def record_stream(self: Tensor, stream: Any) -> None:
    """Say that a stream uses the memory, which is not handed out again before it is done."""
    _core.cuda.record_stream(self, stream._stream)


def type_(self: Tensor, dtype: Any = None, non_blocking: bool = False) -> Tensor | str:
    """Return the name of the tensor's type or, given a dtype or a type, the tensor as that."""
    from . import _legacy

    if dtype is None:
        return _legacy.type_name(self)
    where = _legacy.device_named(dtype)
    moved = self if where is None else self._to_device(where, non_blocking)
    return moved._to_dtype(_legacy.dtype_named(dtype))


def _cast(name: str, target: dtype) -> Callable[[Tensor], Tensor]:
    def method(self: Tensor) -> Tensor:
        return self._to_dtype(target)

    method.__name__ = name
    method.__doc__ = f"Return the tensor as {target}."
    return method


def new_tensor(
    self: Tensor,
    data: Any,
    *,
    dtype: dtype | None = None,
    device: device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """Return a tensor made from data, of this tensor's dtype if none is given."""
    from ._creation import tensor

    dtype = self.dtype if dtype is None else dtype
    device = self.device if device is None else device
    return tensor(data, dtype=dtype, device=device, requires_grad=requires_grad)


def new(self: Tensor, *args: Any) -> Tensor:
    """Return a new tensor of this dtype: of sizes, unset, or of data."""
    from . import _legacy

    package, _, name = _legacy.type_name(self).rpartition(".")
    return _legacy.tensor_type(name, package)(*args)


def type_as(self: Tensor, other: Tensor) -> Tensor:
    """Return the tensor in the dtype, and on the device, of other."""
    return self._to_device(other.device)._to_dtype(other.dtype)


def numpy(self: Tensor, *, force: bool = False) -> NDArray[Any]:
    """Return a NumPy array that shares the tensor's memory.

    Raises
    ------
    RuntimeError
        If the tensor requires grad; call ``detach()`` first, or pass ``force=True``.
    TypeError
        If it is in a device's memory; call ``cpu()`` first, or pass ``force=True``.
    """
    if self.requires_grad and not force:
        raise RuntimeError(
            "numpy: can't call numpy() on a Tensor that requires grad; use tensor.detach().numpy()"
        )
    if self.dtype == _core.bfloat16:
        raise TypeError("numpy: NumPy has no bfloat16; use tensor.float().numpy()")
    if self.is_cuda:
        if not force:
            raise TypeError(
                f"can't convert {self.device} device type tensor to numpy. Use Tensor.cpu() to "
                "copy the tensor to host memory first."
            )
        self = self.detach().cpu()
    from . import _interop

    return _interop.to_numpy(self)


def __array__(self: Tensor, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
    array = self.numpy()
    if dtype is not None and array.dtype != dtype:
        return array.astype(dtype)
    return array.copy() if copy else array


def __array_wrap__(self: Tensor, array: Any, context: Any = None, scalar: Any = None) -> Any:
    from ._creation import from_numpy

    return from_numpy(array)


def __dlpack__(self: Tensor, *, stream: Any = None, **kwargs: Any) -> Any:
    if self.requires_grad:
        raise BufferError("__dlpack__: can't export a Tensor that requires grad; detach() it")
    from . import _interop

    if self.is_cuda and stream != -1:  # -1: the consumer orders its work itself
        _core.cuda.current_stream().synchronize()
    return _interop.to_dlpack(self).__dlpack__(**kwargs)


def __dlpack_device__(self: Tensor) -> tuple[int, int]:
    return (2, 0) if self.is_cuda else (1, 0)


def backward(
    self: Tensor,
    gradient: Tensor | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Sequence[Tensor] | Tensor | None = None,
) -> None:
    """Pull the gradient of this tensor back into the leaves that it was computed from.

    Parameters
    ----------
    gradient
        The gradient of something by this tensor; 1 by default, which needs a single element.
    retain_graph
        Whether to keep what was saved, for another backward. By default as `create_graph`.
    create_graph
        Whether to record the backward itself, for higher derivatives.
    inputs
        Accumulate gradients into these only.

    Raises
    ------
    RuntimeError
        If nothing was recorded, if the shape needs a gradient, or if the graph has been freed.
    """
    autograd.backward(self, gradient, retain_graph, create_graph, inputs=inputs)


def register_hook(self: Tensor, hook: Callable[[Tensor], Tensor | None]) -> HookHandle:
    """Call ``hook(grad)`` whenever the gradient by this tensor has been computed.

    The hook may return another gradient, of the same shape and dtype, to go on with. The handle
    that is returned has a method ``remove()``.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.
    """
    return _core.add_tensor_hook(self, hook)


def register_post_accumulate_grad_hook(self: Tensor, hook: Callable[[Tensor], None]) -> HookHandle:
    """Call ``hook(self)`` whenever a backward has added to this leaf's ``grad``.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad, or is no leaf.
    """
    return _core.add_accumulated_hook(self, hook)


def retain_grad(self: Tensor) -> None:
    """Keep the gradient by this result in ``grad``, as a leaf's is kept.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.
    """
    _core.retain_grad(self)


def __repr__(self: Tensor) -> str:
    from ._format import tensor_text

    return tensor_text(self)


def __format__(self: Tensor, spec: str) -> str:
    if self.dim() == 0:
        return format(self.item(), spec)
    if spec:
        raise TypeError(
            f"format: the format {spec!r} is for single numbers, got a tensor of shape "
            f"{tuple(self.shape)}; use its item(), or wengert.set_printoptions"
        )
    return str(self)


def __contains__(self: Tensor, value: Any) -> bool:
    if not isinstance(value, (_core.Tensor, int, float)) and not hasattr(value, "dtype"):
        raise RuntimeError(f"in: expected a Tensor or a number, got {value.__class__.__name__}")
    return bool((self == value).any())


def __reversed__(self: Tensor) -> Tensor:
    return self.flip(0) if self.dim() else self


def __complex__(self: Tensor) -> complex:
    return complex(float(self))


def storage(self: Tensor) -> TypedStorage:
    """Return the memory that the tensor looks at, with all that its views share."""
    from .storage import TypedStorage

    return TypedStorage(self)


def untyped_storage(self: Tensor) -> UntypedStorage:
    """Return the same memory as bytes."""
    from .storage import UntypedStorage

    return UntypedStorage(self)


def where(self: Tensor, condition: Tensor, other: Any) -> Tensor:
    """Return the tensor's elements where the condition holds, and other's elsewhere."""
    return _core.where(condition, self, other)


def equal(input: Tensor, other: Tensor) -> bool:
    """Whether two tensors have the same shape and elements; a nan equals nothing.

    Raises
    ------
    TypeError
        If one is no tensor.
    """
    for t in (input, other):
        if not isinstance(t, Tensor):
            raise TypeError(f"equal: expected two Tensors, got {t.__class__.__name__}")
    if input.device.type != other.device.type:
        raise RuntimeError(
            "Expected all tensors to be on the same device, but found at least two devices, "
            f"{input.device} and {other.device}!"
        )
    return input.shape == other.shape and bool((input == other).all())


def allclose(
    input: Tensor, other: Tensor, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether ``|input - other| <= atol + rtol |other|`` for all elements.

    Raises
    ------
    RuntimeError
        If dtypes differ, or shapes do not broadcast.
    """
    return bool(_core.isclose(input, other, rtol, atol, equal_nan).all())


def is_nonzero(self: Tensor) -> bool:
    """Whether the only element is not 0."""
    return bool(self)


def share_memory_(self: Tensor) -> Tensor:
    """Return the tensor, whose memory the threads of this process share."""
    return self


# --- copies ------------------------------------------------------------------------------------


def __reduce_ex__(self: Tensor, protocol: Any) -> Any:
    values = self.detach().cpu()
    if self.dtype == _core.bfloat16:  # NumPy has none; float32 holds every value of it
        values = values.float()
    made: tuple[Any, ...]
    made = (self.__class__, values.numpy().copy(), self.requires_grad, self.dtype)
    if self.is_cuda:
        made = (*made, "cuda")
    return _rebuild, made, self.__dict__ or None


def _rebuild(
    cls: type[Tensor],
    array: NDArray[Any],
    requires_grad: bool,
    dtype: dtype,
    device: str = "cpu",
) -> Tensor:
    from ._creation import from_numpy

    values = from_numpy(array).to(dtype)._to_device(device)
    return Tensor._make_subclass(cls, values, requires_grad)


def __copy__(self: Tensor) -> Tensor:
    # the same memory, as a leaf
    copied = Tensor._make_subclass(self.__class__, self.detach(), self.requires_grad)
    copied.__dict__.update(self.__dict__)
    return copied


def _copied_memory(t: Tensor, memo: dict[Any, Any]) -> Tensor:
    """A view like t of a copy of its memory, which all views of that memory have in common."""
    memory = t._storage_bytes()
    copies = memo.setdefault("wengert.storage", {})
    at = memory.data_ptr()
    if at not in copies:
        copies[at] = memory, memory.clone()  # the first stays alive with its address
    return _core._view_of_bytes(
        copies[at][1], t.dtype, t.shape, t.stride(), t.storage_offset()
    )  # fmt: skip


def __deepcopy__(self: Tensor, memo: dict[Any, Any]) -> Tensor:
    if id(self) in memo:
        return memo[id(self)]
    if not self.is_leaf:
        raise RuntimeError(
            "deepcopy: only Tensors created explicitly by the user (graph leaves) support it"
        )
    from copy import deepcopy

    copied = Tensor._make_subclass(
        self.__class__, _copied_memory(self.detach(), memo), self.requires_grad
    )
    memo[id(self)] = copied
    if self.grad is not None:
        copied.grad = deepcopy(self.grad, memo)
    copied.__dict__.update(deepcopy(self.__dict__, memo))
    return copied


def attach(cls: type[Tensor]) -> None:
    """Give the methods above to the compiled type."""
    for f in (
        to, cpu, cuda, new, new_tensor, type_as, numpy, backward, register_hook,
        register_post_accumulate_grad_hook, retain_grad, where, equal, allclose, is_nonzero,
        storage, untyped_storage, share_memory_, unique, unique_consecutive, __array__,
        __array_wrap__, pin_memory, record_stream, __dlpack__, __dlpack_device__, __repr__,
        __format__, __contains__, __reversed__, __complex__, __reduce_ex__, __copy__, __deepcopy__,
    ):  # fmt: skip
        setattr(cls, f.__name__, f)
    cls.grad_fn = property(_core.grad_fn)  # type: ignore[assignment]
    cls.retains_grad = property(_core.retains_grad)  # type: ignore[assignment]
    for name, target in {
        "float": _core.float32,
        "double": _core.float64,
        "half": _core.float16,
        "bfloat16": _core.bfloat16,
        "byte": _core.uint8,
        "char": _core.int8,
        "short": _core.int16,
        "int": _core.int32,
        "long": _core.int64,
        "bool": _core.bool,
    }.items():
        setattr(cls, name, _cast(name, target))
    # NumPy's operators leave the work to ours.
    cls.__array_priority__ = 1000  # type: ignore[attr-defined]
    setattr(cls, "type", type_)  # noqa: B010
    cls.__rdiv__ = cls.__rtruediv__  # type: ignore[attr-defined]
    setattr(cls, "layout", strided)  # noqa: B010
