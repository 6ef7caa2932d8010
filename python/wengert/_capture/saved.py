"""Captured programs in files: what Python knows of them besides the launches."""

from __future__ import annotations

import json
from os import fspath

from wengert import _core
from wengert._core import CaptureError, Tensor
from wengert.utils._pytree import tree_flatten, tree_unflatten

from .runs import Runs

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .entries import Entry

_FLAGS = {"maximize", "nesterov", "centered", "amsgrad", "decoupled_weight_decay"}
_PLAIN = (bool, int, float, str, type(None))


class _Leaf:
    """A leaf of the results: which result, or tensor by name, or a plain value."""

    __slots__ = ("kind", "value")

    def __init__(self, kind: str, value: Any) -> None:
        self.kind = kind
        self.value = value


def _encoded(tree: Any) -> Any:
    if isinstance(tree, _Leaf):
        return {tree.kind: tree.value}
    if type(tree) in (list, tuple):
        return {type(tree).__name__: [_encoded(t) for t in tree]}
    if type(tree) is dict and all(isinstance(k, _PLAIN) for k in tree):
        return {"dict": [[k, _encoded(v)] for k, v in tree.items()]}
    raise CaptureError(
        f"save: the results hold a {type(tree).__name__}, which a file does not keep; return "
        "tensors, plain values, and tuples, lists and dicts of them"
    )


def _decoded(entry: Any) -> Any:
    (kind, value), *others = entry.items()
    if others or kind not in ("result", "tensor", "value", "list", "tuple", "dict"):
        raise ValueError(kind)
    if kind == "dict":
        return {k: _decoded(v) for k, v in value}
    if kind in ("list", "tuple"):
        items = [_decoded(v) for v in value]
        return items if kind == "list" else tuple(items)
    return _Leaf(kind, value)


# --- names --------------------------------------------------------------------------------------


def _tensors(entry: Entry) -> list[tuple[str, str, Tensor]]:
    """Name what a program keeps: of modules as their state_dict does, then states, then others."""
    from wengert.nn import Module, Parameter
    from wengert.optim import Optimizer

    kept = entry.kept.kept
    modules = [(m, label) for m, label in kept if isinstance(m, Module)]
    inner = {id(c) for m, _ in modules for c in m.modules() if c is not m}
    outer = [(m, label) for m, label in modules if id(m) not in inner]
    optimizers = [(o, label) for o, label in kept if isinstance(o, Optimizer)]
    found: list[tuple[str, str, Tensor]] = []
    names: set[str] = set()

    def add(name: str, role: str, tensor: Any) -> None:
        if isinstance(tensor, Tensor) and name not in names:
            names.add(name)
            found.append((name, role, tensor))

    for module, label in outer:
        prefix = f"{label}." if len(outer) > 1 else ""
        for name, tensor in module.state_dict(keep_vars=True).items():
            add(prefix + name, "parameter" if isinstance(tensor, Parameter) else "buffer", tensor)
        for name, tensor in module.named_buffers():
            add(prefix + name, "state", tensor)
    for optimizer, label in optimizers:
        for i, state in optimizer.state_dict()["state"].items():
            for name, tensor in state.items():
                add(f"{label}.state.{i}.{name}", "state", tensor)
    known = {id(t) for _, _, t in found} | {t.data_ptr() for _, _, t in found}
    for tensor, label in entry.kept.tensors:
        if id(tensor) not in known and tensor.data_ptr() not in known:
            add(label, "parameter" if tensor.requires_grad else "buffer", tensor)
    return found


def _argument_names(fn: Callable[..., Any], key: Any) -> list[str]:
    """Name the tensors among the arguments after the parameters of the function."""
    import inspect

    if isinstance(key[0], int):
        args, kwargs = (Tensor,) * key[0], {}
    else:
        spec, fixed, _ = key
        args, kwargs = tree_unflatten([f if isinstance(f, type) else None for f in fixed], spec)
    try:
        parameters = list(inspect.signature(fn).parameters.values())
    except (TypeError, ValueError):
        parameters = []
    given = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]

    def walk(tree: Any, name: str) -> Iterator[str]:
        if isinstance(tree, type):
            yield name
        elif isinstance(tree, dict):
            for k, v in tree.items():
                yield from walk(v, f"{name}.{k}")
        elif isinstance(tree, (list, tuple)):
            for i, v in enumerate(tree):
                yield from walk(v, f"{name}.{i}")

    names: list[str] = []
    for i, arg in enumerate(args):
        names += walk(arg, given[i] if i < len(given) else f"argument.{i}")
    for name, arg in kwargs.items():
        names += walk(arg, name)
    return names


# --- saving -------------------------------------------------------------------------------------


def _structure(name: str, entry: Entry, tensors: list[tuple[str, str, Tensor]]) -> str:
    if entry.spec is None:
        return json.dumps({"name": name, "results": {"result": 0}})
    leaves: list[_Leaf] = []
    results = 0
    for fixed in entry.whole:
        if fixed is None:
            leaves.append(_Leaf("result", results))
            results += 1
        elif isinstance(fixed.value, Tensor):
            names = [n for n, _, t in tensors if t is fixed.value]
            if not names:
                raise CaptureError("save: a result is a tensor that is not found by a name")
            leaves.append(_Leaf("tensor", names[0]))
        elif isinstance(fixed.value, _PLAIN):
            leaves.append(_Leaf("value", fixed.value))
        else:
            _encoded(fixed.value)
    return json.dumps({"name": name, "results": _encoded(tree_unflatten(leaves, entry.spec))})


def save(path: Any, name: str, fn: Callable[..., Any], key: Any, entry: Entry) -> None:
    """Write a program of a captured function."""
    changed = entry.guards.first_change()
    if changed:
        raise CaptureError(
            f"save: {changed} was changed since {name} was captured, so a call would capture anew; "
            "call it once more, then save"
        )
    for call, _ in (*entry.before, *entry.after):
        raise CaptureError(
            f"save: {getattr(call, '__qualname__', call)} is Python code that each replay calls, "
            "which no file can hold; call it outside of the step"
        )
    tensors = _tensors(entry)
    structure = _structure(name, entry, tensors)
    names = _argument_names(fn, key)
    _core.save_program(fspath(path), entry.program, tensors, names, structure)


# --- loaded -------------------------------------------------------------------------------------


class Settings:
    """The settings of one group of an optimizer in a saved program; assign to change them.

    They are named as in ``param_groups``. A change holds from the next step on.
    """

    def __init__(self, program: _core.SavedProgram, group: int) -> None:
        self._program = program
        self._group = group

    def _all(self) -> dict[str, Any]:
        found: dict[str, Any] = self._program.settings(self._group)
        found.update({name: bool(found[name]) for name in found.keys() & _FLAGS})
        if "beta1" in found:
            found["betas"] = (found.pop("beta1"), found.pop("beta2"))
        return found

    def __getitem__(self, name: str) -> Any:
        return self._all()[name]

    def __setitem__(self, name: str, value: Any) -> None:
        if name == "betas":
            first, second = value
            self._program.set(self._group, "beta1", first)
            self._program.set(self._group, "beta2", second)
        else:
            self._program.set(self._group, name, float(value))

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def __repr__(self) -> str:
        return repr(self._all())


class _Ready:
    """As `Captured` has them of its own programs."""

    after: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []  # noqa: RUF012

    def __init__(self, program: _core.Program, spec: Any) -> None:
        self.program = program
        self.spec = spec


class SavedProgram(Runs):
    """A captured step from a file; made by `wengert.load_program`.

    It is called with the tensors that the step was given, in their order or by their names, and
    returns what the step returned. Parameters, buffers, states of optimizers and of generators
    are its own. What the step depended on besides (flags, other arguments, shapes) is as it was
    when the program was saved.

    Attributes
    ----------
    arguments
        Names, dtypes and shapes of the tensors that it is called with.
    settings
        Of each group of its optimizers, what stands in ``param_groups``: learning rates and so on.
    """

    def __init__(self, path: Any) -> None:
        self._core = _core.SavedProgram(fspath(path))
        self.arguments: list[tuple[str, Any, Any]] = self._core.arguments
        self.settings = [Settings(self._core, i) for i in range(self._core.groups)]
        self._tensors = {name: (role, tensor) for name, role, tensor in self._core.tensors}
        try:
            structure = json.loads(self._core.structure)
            self.__name__ = str(structure["name"])
            self._leaves, self._spec = tree_flatten(_decoded(structure["results"]))
            for leaf in self._leaves:
                if leaf.kind == "result":
                    _ = range(self._core.program.results)[leaf.value]
                elif leaf.kind == "tensor":
                    _ = self._tensors[leaf.value]
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as e:
            raise RuntimeError(
                f"load_program: '{fspath(path)}' cannot be read: the structure of its results is "
                f"not one ({e})"
            ) from None

    def __call__(self, *args: Tensor, **kwargs: Tensor) -> Any:
        """Take one step."""
        results = self._core(self._in_order(args, kwargs))
        leaves = []
        for leaf in self._leaves:
            if leaf.kind == "result":
                leaves.append(results[leaf.value])
            else:
                leaves.append(self._tensors[leaf.value][1] if leaf.kind == "tensor" else leaf.value)
        return tree_unflatten(leaves, self._spec)

    def _in_order(self, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]) -> list[Tensor]:
        names = [name for name, _, _ in self.arguments]
        rest = dict(kwargs)
        given = [*args, *(rest.pop(n) for n in names[len(args) :] if n in rest)]
        if rest or len(given) != len(names) or not all(isinstance(t, Tensor) for t in given):
            raise TypeError(f"{self.__name__}: expected tensors for {', '.join(names)}")
        return given

    def _ready(self, arguments: list[Tensor]) -> _Ready | None:
        in_order = [leaf.kind == "result" and leaf.value for leaf in self._leaves]
        if in_order != list(range(self._core.program.results)):
            return None
        fits = self._core.program.fits(arguments)
        return _Ready(self._core.program, self._spec) if fits else None

    def run(
        self,
        data: Tensor | Sequence[Tensor],
        batch_size: int | None = None,
        shuffle: bool = False,
        epochs: int = 1,
        seed: int | None = None,
        *,
        drop_last: bool = False,
        progress: Callable[[int], Any] | None = None,
        every: int = 100,
    ) -> Any:
        """Take a step for each batch of the data, as the captured function's ``run`` does.

        Parameters
        ----------
        data
            A tensor, or several of the same length, whose rows are the items.
        batch_size
            Items a step: those that the program was captured with.
        shuffle, epochs, seed, progress, every
            As there.
        drop_last
            Whether to leave out a last batch of fewer items, which the program cannot take.

        Returns
        -------
        The results of all steps, stacked.

        Raises
        ------
        ValueError
            If there would be batches of another size than the program takes.
        """
        takes = next((shape[0] for _, _, shape in self.arguments if len(shape) > 0), 1)
        size = takes if batch_size is None else batch_size
        arrays = [data] if isinstance(data, Tensor) else list(data)
        rows = arrays[0].size(0) if arrays and arrays[0].dim() > 0 else 0
        if size != takes or (rows % takes and not drop_last):
            raise ValueError(
                f"run: {rows} rows in batches of {size}; the program takes batches of {takes}, and "
                "with drop_last=True leaves out what is left over"
            )
        return super().run(
            data, size, shuffle, epochs, seed, drop_last=drop_last, progress=progress, every=every
        )

    def parameters(self) -> Iterator[Tensor]:
        """Yield the parameters; those that are trained have gradients."""
        for role, tensor in self._tensors.values():
            if role == "parameter":
                yield tensor

    def state_dict(self) -> dict[str, Tensor]:
        """Return the parameters and buffers by name, as the module's ``state_dict``."""
        return {n: t.detach() for n, (role, t) in self._tensors.items() if role != "state"}

    def load_state_dict(self, state_dict: dict[str, Tensor]) -> None:
        """Copy parameters and buffers.

        Raises
        ------
        KeyError
            If the names are not those of ``state_dict()``.
        """
        own = self.state_dict()
        if own.keys() != state_dict.keys():
            raise KeyError(f"load_state_dict: expected the names {sorted(own)}")
        for name, tensor in own.items():
            tensor.copy_(state_dict[name])

    @property
    def tensors(self) -> dict[str, Tensor]:
        """All that the program keeps between its steps, by name."""
        return {name: tensor for name, (_, tensor) in self._tensors.items()}

    def seed(self, seed: int) -> None:
        """Seed the generators that its random numbers come from."""
        self._core.seed(seed)

    def save(self, path: Any) -> None:
        """Write the program to a file, as it is now."""
        self._core.save(fspath(path))
