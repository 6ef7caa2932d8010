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
    device: str

    def __instancecheck__(cls, instance: Any) -> bool:
        return (
            isinstance(instance, Tensor)
            and instance.dtype is cls.dtype
            and instance.device.type == cls.device
        )

    def __call__(cls, *args: Any) -> Tensor:
        """Make a tensor of sizes, unset, or of a sequence, an array or a tensor.

        Raises
        ------
        TypeError
            If a tensor is of another dtype.
        """
        if len(args) != 1:
            return _core.empty(args or (0,), dtype=cls.dtype, device=cls.device)
        (data,) = args
        if isinstance(data, Size):
            return _core.empty(data, dtype=cls.dtype, device=cls.device)
        if not isinstance(data, Tensor):
            if hasattr(data, "__len__"):
                return _core.tensor_from_data(data, cls.dtype)._to_device(cls.device)
            return _core.empty((data,), dtype=cls.dtype, device=cls.device)
        if data.dtype is not cls.dtype or data.device.type != cls.device:
            raise TypeError(
                f"{cls.__name__}: expected a {cls.device} tensor of {cls.dtype} (got "
                f"{data.device} and {data.dtype}); use tensor.to(device, dtype)"
            )
        return data.detach()


def tensor_type(name: str, package: str = "wengert") -> _TensorType:
    """Return the type that has a name such as FloatTensor, of a package that says the device.

    Raises
    ------
    AttributeError
        If no dtype has one of that name.
    """
    if name not in _DTYPES:
        raise AttributeError(f"module {package!r} has no attribute {name!r}")
    return _TensorType(
        name,
        (),
        {
            "dtype": _DTYPES[name],
            "device": "cuda" if package.endswith(".cuda") else "cpu",
            "__module__": package,
            "__doc__": f"Of {_DTYPES[name]}.",
        },
    )


def type_name(t: Tensor) -> str:
    """Return what ``t.type()`` gives, such as wengert.FloatTensor."""
    return f"wengert{'.cuda' if t.is_cuda else ''}.{_NAMES[t.dtype]}"


def device_named(given: Any) -> str | None:
    """Return the device that ``t.type(given)`` asks for; None where it says nothing of one."""
    if isinstance(given, _TensorType):
        return given.device
    if isinstance(given, str):
        return "cuda" if given.rpartition(".")[0].endswith(".cuda") else "cpu"
    return None


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
    package, cuda, _ = package.partition(".cuda")
    if cuda:
        _core._check_device("cuda")
    if name not in _DTYPES or package not in ("wengert", "torch"):
        raise ValueError(f"type: invalid type: {given!r}")
    return _DTYPES[name]
