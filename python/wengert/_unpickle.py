"""Reading pickles: safely, by an interpreter that can call nothing but a few functions of ours.

Python's own unpickler calls whatever a file names. `Machine` runs the same instructions (decoded by
``pickletools``) but looks names up in a table, imports nothing, and changes only objects that it
made. So a file can at worst be refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import Counter, OrderedDict

from . import _core
from ._core import Tensor
from .nn.parameter import Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class StorageType:
    """The dtype of memory in a file."""

    names = {  # noqa: RUF012
        _core.float32: "FloatStorage",
        _core.float64: "DoubleStorage",
        _core.float16: "HalfStorage",
        _core.bfloat16: "BFloat16Storage",
        _core.uint8: "ByteStorage",
        _core.int8: "CharStorage",
        _core.int16: "ShortStorage",
        _core.int32: "IntStorage",
        _core.int64: "LongStorage",
        _core.bool: "BoolStorage",
    }

    def __init__(self, dtype: _core.dtype) -> None:
        self.dtype = dtype


# --- what PyTorch's names stand for ------------------------------------------------------------


def _tensor(
    memory: tuple[Tensor, _core.dtype], offset: int, size: Any, stride: Any,
    requires_grad: bool = False, hooks: Any = None, metadata: Any = None,
) -> Tensor:  # fmt: skip
    held, dtype = memory
    t = _core._view_of_bytes(held, dtype, tuple(size), tuple(stride), offset)
    return t.requires_grad_() if requires_grad else t


def _parameter(data: Tensor, requires_grad: bool, hooks: Any = None) -> Parameter:
    return Parameter(data, bool(requires_grad))


def _parameter_with_state(data: Tensor, requires_grad: bool, hooks: Any, state: Any) -> Parameter:
    return _with_state(_parameter(data, requires_grad), state)


def _with_state(t: Any, state: Any) -> Any:
    if state:
        t.__dict__.update(state)
    return t


def _of_type(make: Any, kind: Any, args: Any, state: Any) -> Any:
    if make is not _tensor or not issubclass(kind, Tensor):
        raise pickle.UnpicklingError("load: a tensor is to be made by something else")
    t = _tensor(*args)
    if kind is not Tensor:
        t = Tensor._make_subclass(kind, t, t.requires_grad)
    return _with_state(t, state)


def _encode(text: str, encoding: str = "latin1") -> bytes:
    """What bytes are written as in old protocols."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"load: bytes in encoding {encoding!r:.20}")
    return text.encode("latin1")


def _bytearray(content: bytes | str = b"", encoding: str = "latin1") -> bytearray:
    """As the class, but not of a size, which a file could set to any."""
    return bytearray(
        _encode(content, encoding) if isinstance(content, str) else memoryview(content)
    )


_FUNCTIONS: dict[str, Any] = {
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter_with_state,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": _core.Size,
    "torch.device": _core.device,
    "_codecs.encode": _encode,
    "collections.OrderedDict": OrderedDict,
    "collections.Counter": Counter,
    "builtins.set": set,
    "__builtin__.set": set,
    "builtins.frozenset": frozenset,
    "__builtin__.frozenset": frozenset,
    "builtins.bytearray": _bytearray,
    "__builtin__.bytearray": _bytearray,
    "builtins.complex": complex,
    "__builtin__.complex": complex,
}
_TABLE: dict[str, Any] = {
    **_FUNCTIONS,
    "torch.Tensor": Tensor,
    "torch.nn.parameter.Parameter": Parameter,
    **{f"torch.{str(d).rpartition('.')[2]}": d for d in StorageType.names},
    **{f"torch.{name}": StorageType(d) for d, name in StorageType.names.items()},
}


class Trusting(pickle.Unpickler):
    """Python's unpickler, which runs what the file says, with PyTorch's names understood.

    Parameters
    ----------
    text
        The pickle.
    memory
        Gives the memory that a persistent id names.
    """

    def __init__(self, text: bytes, memory: Callable[[Any], Any]) -> None:
        super().__init__(io.BytesIO(text))
        self._memory = memory

    def persistent_load(self, pid: Any) -> Any:
        """Return the memory that a file names."""
        return self._memory(pid)

    def find_class(self, module: str, name: str) -> Any:
        """Return the class or function that a file names; PyTorch's are ours."""
        if f"{module}.{name}" in _TABLE:
            return _TABLE[f"{module}.{name}"]
        if module == "torch" or module.startswith("torch."):
            module = "wengert" + module[len("torch") :]
        return super().find_class(module, name)


# --- the interpreter ---------------------------------------------------------------------------

_MARK = object()
_IGNORED = {"PROTO", "FRAME"}
_LITERALS = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8",
    "BYTEARRAY8",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_GETS = {"GET", "BINGET", "LONG_BINGET"}
_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}


def _name_of(known: Any) -> str:
    return f"{known.__module__}.{known.__qualname__}"


class Machine:
    """Runs a pickle that may only make what is in a table.

    Parameters
    ----------
    memory
        Gives the memory that a persistent id names.
    allowed
        More classes and functions, or pairs of one and its name in files.
    """

    def __init__(self, memory: Callable[[Any], Any], allowed: Iterable[Any]) -> None:
        self._memory = memory
        self._allowed = {
            (each[1] if isinstance(each, tuple) else _name_of(each)): (
                each[0] if isinstance(each, tuple) else each
            )
            for each in allowed
        }
        self._callable = [*_FUNCTIONS.values(), *self._allowed.values()]
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, text: bytes) -> Any:
        """Return the object that the pickle makes.

        Raises
        ------
        pickle.UnpicklingError
            If it asks for anything else, or is no proper pickle.
        """
        try:
            for opcode, arg, _ in pickletools.genops(text):
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, arg)
        except pickle.UnpicklingError:
            raise
        except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
            raise pickle.UnpicklingError(f"load: the pickle is damaged: {error}") from error
        raise pickle.UnpicklingError("load: the pickle has no end")

    # --- the stack -----------------------------------------------------------------------------

    def _pop(self) -> Any:
        value = self._stack.pop()
        if value is _MARK:
            raise pickle.UnpicklingError("load: the pickle is damaged: a mark out of place")
        return value

    def _to_mark(self) -> list[Any]:
        at = len(self._stack) - 1
        while self._stack[at] is not _MARK:
            at -= 1
            if at < 0:
                raise pickle.UnpicklingError("load: the pickle is damaged: a mark is missing")
        items = self._stack[at + 1 :]
        del self._stack[at:]
        return items

    def _top(self, kind: type) -> Any:
        top = self._stack[-1]
        if not isinstance(top, kind):
            raise pickle.UnpicklingError(f"load: expected a {kind.__name__} to add to")
        return top

    # --- the instructions ----------------------------------------------------------------------

    def _step(self, name: str, arg: Any) -> None:
        push = self._stack.append
        if name in _GETS:
            push(self._memo[int(arg)])
        elif name in _PUTS:
            self._memo[int(arg)] = self._stack[-1]
        elif name in _LITERALS:
            push(arg)
        elif name in _CONSTANTS:
            push(_CONSTANTS[name])
        elif name == "MARK":
            push(_MARK)
        elif name in _TUPLES:
            items = tuple(self._pop() for _ in range(_TUPLES[name]))
            push(items[::-1])
        elif name in _IGNORED:
            pass
        else:
            step = getattr(self, f"_do_{name.lower()}", None)
            if step is None:
                raise pickle.UnpicklingError(f"load: pickle instruction {name} is not supported")
            step(arg)

    def _do_memoize(self, arg: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _do_tuple(self, arg: Any) -> None:
        items = self._to_mark()
        self._stack.append(tuple(items))

    def _do_empty_list(self, arg: Any) -> None:
        self._stack.append([])

    def _do_list(self, arg: Any) -> None:
        items = self._to_mark()
        self._stack.append(items)

    def _do_append(self, arg: Any) -> None:
        value = self._pop()
        self._top(list).append(value)

    def _do_appends(self, arg: Any) -> None:
        items = self._to_mark()
        self._top(list).extend(items)

    def _do_empty_dict(self, arg: Any) -> None:
        self._stack.append({})

    def _do_dict(self, arg: Any) -> None:
        items = self._to_mark()
        self._stack.append(dict(zip(items[::2], items[1::2], strict=True)))

    def _do_setitem(self, arg: Any) -> None:
        value, key = self._pop(), self._pop()
        self._top(dict)[key] = value

    def _do_setitems(self, arg: Any) -> None:
        items = self._to_mark()
        into = self._top(dict)
        for key, value in zip(items[::2], items[1::2], strict=True):
            into[key] = value

    def _do_empty_set(self, arg: Any) -> None:
        self._stack.append(set())

    def _do_additems(self, arg: Any) -> None:
        items = self._to_mark()
        self._top(set).update(items)

    def _do_frozenset(self, arg: Any) -> None:
        items = self._to_mark()
        self._stack.append(frozenset(items))

    def _do_pop(self, arg: Any) -> None:
        self._stack.pop()

    def _do_pop_mark(self, arg: Any) -> None:
        self._to_mark()

    def _do_dup(self, arg: Any) -> None:
        self._stack.append(self._stack[-1])

    def _do_binpersid(self, arg: Any) -> None:
        self._stack.append(self._memory(self._pop()))

    def _do_global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self._stack.append(self._find(f"{module}.{name}"))

    def _do_stack_global(self, arg: Any) -> None:
        name, module = self._pop(), self._pop()
        self._stack.append(self._find(f"{module}.{name}"))

    def _find(self, name: str) -> Any:
        if name in self._allowed:
            return self._allowed[name]
        if name in _TABLE:
            return _TABLE[name]
        raise pickle.UnpicklingError(
            f"load: the file asks for {name}, which weights_only=True does not allow. If you trust "
            "that class or function, allow it with `with wengert.serialization.safe_globals("
            f"[{name.rpartition('.')[2]}]):` or wengert.serialization.add_safe_globals; "
            "weights_only=False runs whatever the file contains"
        )

    def _check_callable(self, function: Any) -> None:
        if not any(function is known for known in self._callable):
            raise pickle.UnpicklingError(f"load: {function!r:.60} may not be called")

    def _do_reduce(self, arg: Any) -> None:
        args, function = self._pop(), self._pop()
        self._check_callable(function)
        self._stack.append(function(*args))

    def _do_newobj(self, arg: Any) -> None:
        args, kind = self._pop(), self._pop()
        self._check_callable(kind)
        self._stack.append(kind.__new__(kind, *args))

    def _do_newobj_ex(self, arg: Any) -> None:
        options, args, kind = self._pop(), self._pop(), self._pop()
        self._check_callable(kind)
        self._stack.append(kind.__new__(kind, *args, **options))

    def _do_build(self, arg: Any) -> None:
        state, made = self._pop(), self._stack[-1]
        ours = type(made) is OrderedDict or isinstance(made, Tensor)
        if not ours and not any(type(made) is known for known in self._allowed.values()):
            raise pickle.UnpicklingError(f"load: a {type(made).__name__} may not be changed")
        if not ours and hasattr(made, "__setstate__"):
            made.__setstate__(state)
            return
        slots: Any = {}
        if isinstance(state, tuple) and len(state) == 2 and not ours:
            state, slots = state
        made.__dict__.update(state or {})
        for name, value in (slots or {}).items():
            setattr(made, name, value)
