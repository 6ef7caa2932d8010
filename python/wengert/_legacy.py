"""Tensor types of PyTorch's early days: FloatTensor, LongTensor and their like."""

from __future__ import annotations

from . import _core
from ._core import Size, Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

_DTYPES = {
    "FloatTensor": _core.float32,
    "DoubleTensor": _core.float64,
    "HalfTensor": _core.float16,
    "BFloat16Tensor": _core.bfloat16,
    "ByteTensor": _core.uint8,
    "CharTensor": _core.int8,
    "ShortTensor": _core.int16,
    "IntTensor": _core.int32,
    "LongTensor": _core.int64,
    "BoolTensor": _core.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


class _TensorType(type):
    """What a tensor of one dtype is an instance of; calling it makes such a tensor."""

    dtype: _core.dtype

    def __instancecheck__(cls, instance: Any) -> bool:
        return isinstance(instance, Tensor) and instance.dtype is cls.dtype

    def __call__(cls, *args: Any) -> Tensor:
        """Make a tensor of sizes, unset, or of a sequence, an array or a tensor.

        Raises
        ------
        TypeError
            If a tensor is of another dtype.
        """
        if len(args) != 1:
            return _core.empty(args or (0,), dtype=cls.dtype)
        (data,) = args
        if isinstance(data, Size):
            return _core.empty(data, dtype=cls.dtype)
        if not isinstance(data, Tensor):
            if hasattr(data, "__len__"):
                return _core.tensor_from_data(data, cls.dtype)
            return _core.empty((data,), dtype=cls.dtype)
        if data.dtype is not cls.dtype:
            raise TypeError(
                f"{cls.__name__}: expected a tensor of {cls.dtype} (got {data.dtype}); use "
                "tensor.to(dtype)"
            )
        return data.detach()


def tensor_type(name: str) -> _TensorType:
    """Return the type that has a name such as FloatTensor.

    Raises
    ------
    AttributeError
        If no dtype has one of that name.
    """
    if name not in _DTYPES:
        raise AttributeError(f"module 'wengert' has no attribute {name!r}")
    about = {"dtype": _DTYPES[name], "__module__": "wengert", "__doc__": f"Of {_DTYPES[name]}."}
    return _TensorType(name, (), about)


def type_name(t: Tensor) -> str:
    """Return what ``t.type()`` gives, such as wengert.FloatTensor."""
    return f"wengert.{_NAMES[t.dtype]}"


def dtype_named(given: Any) -> _core.dtype:
    """Return the dtype that ``t.type(given)`` means: a dtype, a tensor type or the name of one.

    Raises
    ------
    TypeError
        If it is none of these.
    ValueError
        If there is no such type.
    RuntimeError
        If it is a type of a device that is not there.
    """
    if isinstance(given, _core.dtype):
        return given
    if isinstance(given, _TensorType):
        return given.dtype
    if isinstance(given, type):
        raise ValueError(f"type: invalid type: '{given.__name__}'")
    if not isinstance(given, str):
        raise TypeError(f"type: dtype must be a type, str, or dtype object, not {given!r}")
    package, _, name = given.rpartition(".")
    if package.endswith(".cuda"):
        _core._check_device("cuda")
    if name not in _DTYPES or package not in ("wengert", "torch"):
        raise ValueError(f"type: invalid type: {given!r}")
    return _DTYPES[name]
