"""What a function's results depend on besides its arguments: found, and compared before replays.

From the function on, everything that its code can name is visited: closure cells, defaults, the
globals that the code names, and the attributes and elements of what these hold. Numbers, texts and
flags are compared before each replay, tensors by their memory and shape.
"""

from __future__ import annotations

import sys
from functools import lru_cache
from types import (
    BuiltinFunctionType,
    CodeType,
    FunctionType,
    MappingProxyType,
    MethodType,
    ModuleType,
)

from wengert import _core
from wengert._capture import Captured
from wengert._core import CaptureError, Tensor
from wengert.optim.lr_scheduler import LRScheduler
from wengert.optim.optimizer import FusedOptimizer

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_PLAIN = frozenset(
    {
        *(type(None), bool, int, float, complex, str, bytes, range, slice, CodeType),
        *(type(Ellipsis), type(NotImplemented), _core.dtype, _core.device, _core.Size),
    }
)
# Of the core: what they hold is read anew by each replay.
_CELLS = (_core.Generator, _core.OptimizerGroup)
# Whose functions are what they are. Assertions that pytest has rewritten call it.
_LIBRARIES = frozenset(
    {"wengert", "numpy", "scipy", "torch", "pytest", "_pytest", *sys.stdlib_module_names}
)
# Entries of a fused optimizer's group that its kernel reads at each replay.
_SETTINGS = frozenset(
    {
        "lr", "initial_lr", "weight_decay", "maximize", "eps", "momentum", "dampening", "nesterov",
        "alpha", "centered", "lr_decay", "betas", "amsgrad", "decoupled_weight_decay",
    }
)  # fmt: skip
_LARGEST_ARRAY = 1 << 16  # bytes that are compared before each replay


@lru_cache(maxsize=256)
def _is_library(name: str | None) -> bool:
    top = (name or "").partition(".")[0]
    return top in _LIBRARIES and top != "__main__"


def _module_of(kind: type) -> str:
    """Return where a type is from; some of C extensions do not tell."""
    module = kind.__module__
    return module if isinstance(module, str) else ""


def _names(code: CodeType) -> set[str]:
    """Names and text constants of code and of the functions written in it."""
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            found |= _names(constant)
        elif isinstance(constant, str):
            found.add(constant)
    return found


def _entry(key: Any) -> str:
    """Return how an entry of a dict is called."""
    if isinstance(key, str) and key.isidentifier():
        return f".{key}"
    if isinstance(key, Tensor):  # its numbers would take longer than all else
        return f"[a tensor of shape {tuple(key.shape)}]"
    return f"[{key!r}]"


@lru_cache(maxsize=256)
def _slots(kind: type) -> list[str]:
    """Return the names in __slots__ of the user's classes."""
    found: list[str] = []
    for base in kind.__mro__:
        slots = () if _is_library(base.__module__) else vars(base).get("__slots__", ())
        found += (slots,) if isinstance(slots, str) else slots
    return [name for name in found if name not in ("__dict__", "__weakref__")]


def _same_array(a: Any, b: Any) -> bool:
    return bool(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes())


def _frozen(state: Any) -> Any:
    """Return what a generator's state is compared by."""
    if isinstance(state, dict):
        return [(k, _frozen(v)) for k, v in state.items()]
    return state.tobytes() if hasattr(state, "tobytes") else state


def renewed(change: Any, recorder: _core.Recorder) -> bool:
    """Whether a call only put a like tensor in the place of one that it did not look at.

    What makes a tensor where there was none may not do so again.
    """
    before, after = change.before, change.after
    return (
        isinstance(before, Tensor)
        and isinstance(after, Tensor)
        and not recorder.touches(before)
        and (before.shape, before.dtype) == (after.shape, after.dtype)
        and before.requires_grad == after.requires_grad
    )


class RandomState:
    """The states of Python's and NumPy's own generators, which no replay would draw from."""

    def __init__(self, sources: list[tuple[str, Callable[[], Any]]]) -> None:
        self._sources = [*sources]
        if "random" in sys.modules:
            self._sources.append(("random", sys.modules["random"].getstate))
        if "numpy.random" in sys.modules:
            state = sys.modules["numpy.random"].get_state
            self._sources.append(("numpy.random", lambda: state(legacy=False)))
        self._states = [_frozen(state()) for _, state in self._sources]

    def drawn(self) -> str:
        """Name what was drawn from since; empty if nothing was."""
        for (name, state), before in zip(self._sources, self._states, strict=True):
            if _frozen(state()) != before:
                return name
        return ""


class Snapshot:
    """What stands in the objects that a function can name."""

    def __init__(self, fn: Callable[..., Any]) -> None:
        self.guards = _core.Guards()
        self.sources: list[tuple[str, Callable[[], Any]]] = []
        self._seen: set[int] = set()
        self.kept: list[tuple[Any, str]] = []  # with labels; so that an id stays what it is
        self.tensors: list[tuple[Tensor, str]] = []
        self._code_names: set[str] = set()
        self._optimizers: list[tuple[FusedOptimizer, str]] = []
        self._visit(fn, getattr(fn, "__qualname__", type(fn).__name__))
        for optimizer, label in self._optimizers:
            self._optimizer(optimizer, label)

    def objects(self) -> list[Any]:
        """Return the objects that were found, modules and optimizers among them, in order."""
        return [value for value, _ in self.kept]

    def names(self, name: str) -> bool:
        """Whether the user's code names an attribute, a variable or a key so."""
        return name in self._code_names

    def _visit(self, value: Any, label: str) -> None:
        kind = type(value)
        if kind in _PLAIN or id(value) in self._seen:
            return
        self._seen.add(id(value))
        if isinstance(value, Tensor):
            self._tensor(value, label)
            return
        self.kept.append((value, label))
        visitor = _visitor(kind)  # type: ignore[arg-type]
        if visitor is not None:
            visitor(self, value, label)

    def _tensor(self, value: Tensor, label: str) -> None:
        self.guards.add_tensor(value, label)
        for hook in _core.tensor_hooks(value):
            self._visit(hook, f"{label}'s hook")
        self.tensors.append((value, label))

    def _method(self, value: MethodType, label: str) -> None:
        self._visit(value.__func__, label)
        self._visit(value.__self__, label.rpartition(".")[0] or label)

    def _items(self, value: Any, label: str) -> None:
        for i, item in enumerate(value):
            if type(item) not in _PLAIN:
                self._visit(item, f"{label}[{i}]")

    def _list(self, value: list[Any], label: str) -> None:
        self.guards.add_list(value, label)
        self._items(value, label)

    def _copied(self, value: Any, label: str) -> None:
        self.guards.add_copy(value, value.copy(), None, label)

    def _deque(self, value: Any, label: str) -> None:
        self._copied(value, label)
        self._items(value, label)

    def _builtin(self, value: Any, label: str) -> None:
        owner = getattr(value, "__self__", None)
        if owner is not None and not isinstance(owner, ModuleType):
            self._visit(owner, label)

    def _captured(self, value: Captured, label: str) -> None:
        self._visit(value.__wrapped__, label)  # what it wraps is run

    def _later(self, value: FusedOptimizer, label: str) -> None:
        self._optimizers.append((value, label))

    def _numpy_generator(self, value: Any, label: str) -> None:
        generator = value.bit_generator
        self.sources.append((label, lambda: generator.state))

    def _python_generator(self, value: Any, label: str) -> None:
        self.sources.append((label, value.getstate))

    def _array(self, value: Any, label: str) -> None:
        if value.nbytes > _LARGEST_ARRAY:
            raise CaptureError(
                f"capture: {label} is a NumPy array of {value.nbytes} bytes, too many to be "
                "compared before each replay; make a tensor of it, or pass it as an argument"
            )
        self.guards.add_copy(value, value.copy(), _same_array, label)

    def _iterator(self, value: Any, label: str) -> None:
        raise CaptureError(
            f"capture: {label} is an iterator ({type(value).__name__}), which a replay would not "
            "advance; pass what it yields as an argument"
        )

    def _partial(self, value: Any, label: str) -> None:
        for part, of in (("func", value.func), ("args", value.args), ("kw", value.keywords)):
            self._visit(of, f"{label}.{part}")

    def _function(self, fn: FunctionType, label: str) -> None:
        if _is_library(fn.__globals__.get("__name__")) and fn.__closure__ is None:
            return
        code = fn.__code__
        for name, cell in zip(code.co_freevars, fn.__closure__ or (), strict=True):
            try:
                value = cell.cell_contents
            except ValueError:  # not assigned yet
                continue
            self.guards.add_cell(cell, name)
            self._visit(value, name)
        if _is_library(fn.__globals__.get("__name__")):
            return
        self._visit(fn.__defaults__, f"{label}.__defaults__")
        if fn.__kwdefaults__:
            self._visit(fn.__kwdefaults__, f"{label}.__kwdefaults__")
        names = _names(code)
        self._code_names |= names
        for name in sorted(names):
            if name not in fn.__globals__:
                continue
            value = fn.__globals__[name]
            self.guards.add_name(fn.__globals__, name, name)
            if isinstance(value, ModuleType):
                self._module(value, names, name)
            else:
                self._visit(value, name)

    def _module(self, module: ModuleType, names: set[str], label: str) -> None:
        if _is_library(module.__name__):
            return
        space = vars(module)
        for name in sorted(names & space.keys()):
            self.guards.add_name(space, name, f"{label}.{name}")
            if not isinstance(space[name], ModuleType):
                self._visit(space[name], f"{label}.{name}")

    def _dict(self, d: dict[Any, Any], label: str, skipped: frozenset[str] = frozenset()) -> None:
        self.guards.add_dict(d, label, set(skipped))
        for key, value in d.items():
            if type(value) not in _PLAIN and key not in skipped:
                self._visit(value, f"{label}{_entry(key)}")
        if type(d) is not dict and hasattr(d, "__dict__") and vars(d):
            self._dict(vars(d), label)

    def _class(self, cls: type, label: str) -> None:
        for base in cls.__mro__:
            if _is_library(base.__module__) or base is object:
                continue
            if id(base) != id(cls) and id(base) in self._seen:
                continue
            self._seen.add(id(base))
            for name, value in vars(base).items():
                if name.startswith("__") and not isinstance(value, FunctionType):
                    continue
                plain = isinstance(value, (*_PLAIN, list, dict, set, tuple, Tensor))
                if plain:
                    self.guards.add_attribute(base, name, f"{base.__qualname__}.{name}")
                inner = getattr(value, "__func__", getattr(value, "fget", None)) or value
                if plain or isinstance(inner, FunctionType):
                    self._visit(inner, f"{label}.{name}")

    def _object(self, value: Any, label: str) -> None:
        kind = type(value)
        for name in _slots(kind):  # type: ignore[arg-type]
            if hasattr(value, name):
                self.guards.add_attribute(value, name, f"{label}.{name}")
                self._visit(getattr(value, name), f"{label}.{name}")
        if isinstance(getattr(value, "__dict__", None), dict):
            self._dict(vars(value), label)
        if not _is_library(_module_of(kind)):
            self._visit(kind, label)

    def _optimizer(self, optimizer: FusedOptimizer, label: str) -> None:
        """Guard an optimizer but for the settings that its kernel reads at each replay.

        Those are guarded too where code of the user's may look at them.
        """
        named = self._code_names & (_SETTINGS | {"defaults"})
        if "param_groups" in self._code_names and self._code_names & {"items", "values"}:
            named = set(_SETTINGS)
        skipped = frozenset(_SETTINGS - named)
        own = {k: v for k, v in vars(optimizer).items() if k not in ("param_groups", "defaults")}
        self.guards.add_dict(vars(optimizer), label, set())
        self.guards.add_list(optimizer.param_groups, f"{label}.param_groups")
        for i, group in enumerate(optimizer.param_groups):
            self._seen.add(id(group))
            self.kept.append((group, label))
            self._dict(group, f"{label}.param_groups[{i}]", skipped)
        for name, value in own.items():
            self._visit(value, f"{label}.{name}")


@lru_cache(maxsize=256)
def _visitor(kind: type) -> Callable[[Snapshot, Any, str], None] | None:
    """Return what visits objects of a type; None where they are what they are."""
    module, name = _module_of(kind), kind.__name__
    unchanged = (frozenset, ModuleType, MappingProxyType, LRScheduler, *_CELLS)
    found: list[tuple[bool, Callable[[Snapshot, Any, str], None] | None]] = [
        (kind is FunctionType, Snapshot._function),
        (kind is MethodType, Snapshot._method),
        (issubclass(kind, tuple), Snapshot._items),
        (issubclass(kind, dict), Snapshot._dict),
        (issubclass(kind, list), Snapshot._list),
        (issubclass(kind, set), Snapshot._copied),
        (issubclass(kind, type), Snapshot._class),
        (issubclass(kind, BuiltinFunctionType), Snapshot._builtin),
        (issubclass(kind, unchanged), None),  # steps of schedulers are taken again, in Python
        (issubclass(kind, Captured), Snapshot._captured),
        (issubclass(kind, FusedOptimizer), Snapshot._later),
        (module.startswith("numpy") and hasattr(kind, "bit_generator"), Snapshot._numpy_generator),
        (module == "numpy" and name == "ndarray", Snapshot._array),
        (module == "random" and hasattr(kind, "getstate"), Snapshot._python_generator),
        (hasattr(kind, "__next__"), Snapshot._iterator),
        (module == "collections" and name == "deque", Snapshot._deque),
        (module == "functools" and name == "partial", Snapshot._partial),
        (True, Snapshot._object),
    ]
    return next(visitor for fits, visitor in found if fits)
