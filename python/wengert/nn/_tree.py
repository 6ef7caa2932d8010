"""The tree that modules form: named parameters, buffers and other modules, and walks over them."""

from __future__ import annotations

from wengert._core import CallsForward, Tensor

from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, MutableMapping
    from typing import Any, TypeVar

    from .module import Module

    T = TypeVar("T", bound="Tree")
    _Mapping = MutableMapping[str, Any]
else:
    from _collections_abc import MutableMapping as _Mapping  # loaded by every interpreter


class _Registry(_Mapping):
    """The members of one kind, in order of registration.

    The values live in the module's own ``__dict__``, so that reaching ``self.weight`` in a forward
    costs no more than any attribute; this is a view of them by name.
    """

    __slots__ = ("_names", "_owner")

    def __init__(self, owner: dict[str, Any]) -> None:
        self._owner = owner
        self._names: dict[str, None] = {}

    def __getitem__(self, name: str) -> Any:
        if name not in self._names:
            raise KeyError(name)
        return self._owner[name]

    def __setitem__(self, name: str, value: Any) -> None:
        self._names[name] = None
        self._owner[name] = value
        self._owner.pop("_plan", None)  # what a Sequential derived from its members

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        del self._owner[name]
        self._owner.pop("_plan", None)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


# The kinds of members: what messages call one, and of what type it is.
_KINDS = {
    "_parameters": ("parameter", "wengert.nn.Parameter"),
    "_buffers": ("buffer", "wengert.Tensor"),
    "_modules": ("child module", "wengert.nn.Module"),
}
_NON_LEAF = (
    "Cannot assign non-leaf Tensor to parameter '{}'. Model parameters must be created explicitly. "
    "To express a parameter as a function of another Tensor, compute it in forward()."
)


class Tree(CallsForward):
    """The part of `Module` that knows its members. Nothing but modules derives from it."""

    _parameters: _Registry
    _buffers: _Registry
    _modules: _Registry
    _non_persistent_buffers_set: set[str]

    def __init__(self) -> None:
        d = self.__dict__
        d["_parameters"] = _Registry(d)
        d["_buffers"] = _Registry(d)
        d["_modules"] = _Registry(d)
        d["_non_persistent_buffers_set"] = set()

    # --- members -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        d = self.__dict__
        if "_modules" not in d:
            if isinstance(value, (Parameter, Tree)):
                what = "parameters" if isinstance(value, Parameter) else "module"
                raise AttributeError(f"cannot assign {what} before Module.__init__() call")
            object.__setattr__(self, name, value)
            return
        kind = None
        if isinstance(value, Parameter):
            kind = "_parameters"
        elif isinstance(value, Tree):
            kind = "_modules"
        else:
            kind = next((k for k in _KINDS if name in d[k]), None)
            if (
                kind is not None
                and value is not None
                and not (kind == "_buffers" and isinstance(value, Tensor))
            ):
                what, expected = _KINDS[kind]
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as {what} '{name}' "
                    f"({expected} or None expected)"
                )
        for k in _KINDS:
            if k != kind and name in d[k]:
                del d[k][name]
        if kind is None:
            object.__setattr__(self, name, value)
            return
        if kind != "_buffers":
            self._non_persistent_buffers_set.discard(name)
        if kind == "_parameters" and value is not None and not value.is_leaf:
            raise ValueError(_NON_LEAF.format(name))
        d[kind][name] = value

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            if name in kind:
                del kind[name]
                self._non_persistent_buffers_set.discard(name)
                return
        object.__delattr__(self, name)

    def _check_name(self, kind: str, name: str) -> None:
        what = _KINDS[kind][0].split()[-1]
        if "_modules" not in self.__dict__:
            raise AttributeError(f"cannot assign {what} before Module.__init__() call")
        if not isinstance(name, str):
            raise TypeError(f"{what} name should be a string. Got {type(name).__name__}")
        if hasattr(self, name) and name not in self.__dict__[kind]:
            raise KeyError(f"attribute '{name}' already exists")
        if "." in name:
            raise KeyError(f'{what} name can\'t contain ".", got: {name}')
        if name == "":
            raise KeyError(f'{what} name can\'t be empty string ""')

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, which may be None.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is an attribute already.
        TypeError
            If it is no Parameter.
        ValueError
            If it was computed from other tensors.
        """
        self._check_name("_parameters", name)
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(wengert.nn.Parameter or None required)"
            )
        if param is not None and not param.is_leaf:
            raise ValueError(_NON_LEAF.format(name))
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is not trained, saved with the module where it is persistent.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is an attribute already.
        TypeError
            If it is no Tensor.
        """
        self._check_name("_buffers", name)
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' "
                "(wengert.Tensor or None required)"
            )
        self._buffers[name] = tensor
        unsaved = self._non_persistent_buffers_set
        (unsaved.discard if persistent else unsaved.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module, which may be None.

        Raises
        ------
        KeyError
            If the name is empty, has a dot, or is an attribute already.
        TypeError
            If it is no Module.
        """
        if module is not None and not isinstance(module, Tree):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._check_name("_modules", name)
        self._modules[name] = module

    def register_module(self, name: str, module: Module | None) -> None:
        """Add a child under a name, as `add_module`."""
        self.add_module(name, module)

    def get_submodule(self, target: str) -> Module:
        """Return the module below that has a dotted name; the empty name is this module's.

        Raises
        ------
        AttributeError
            If there is none, or something else has that name.
        """
        found: Any = self
        for name in target.split(".") if target else ():
            if not hasattr(found, name):
                raise AttributeError(f"{type(found).__name__} has no attribute `{name}`")
            found = getattr(found, name)
            if not isinstance(found, Tree):
                raise AttributeError(f"`{name}` is not an nn.Module")
        return found

    def _get_member(self, target: str, kind: str, what: str) -> Any:
        path, _, name = target.rpartition(".")
        owner = self.get_submodule(path)
        if not hasattr(owner, name):
            raise AttributeError(f"{type(owner).__name__} has no attribute `{name}`")
        if name not in owner.__dict__[kind]:
            raise AttributeError(f"`{name}` is not {what}")
        return getattr(owner, name)

    def get_parameter(self, target: str) -> Parameter:
        """Return the parameter, here or below, that has a dotted name.

        Raises
        ------
        AttributeError
            If there is none, or something else has that name.
        """
        return self._get_member(target, "_parameters", "an nn.Parameter")

    def get_buffer(self, target: str) -> Tensor:
        """Return the buffer, here or below, that has a dotted name.

        Raises
        ------
        AttributeError
            If there is none, or something else has that name.
        """
        return self._get_member(target, "_buffers", "a buffer")

    def set_submodule(self, target: str, module: Module, strict: bool = False) -> None:
        """Put a module in the place of a dotted name; with ``strict`` only over another.

        Raises
        ------
        AttributeError
            If the path leads nowhere, or something else has that name.
        ValueError
            If the name is empty or the value is no module.
        """
        if target == "":
            raise ValueError("Cannot set the submodule without a target name!")
        if not isinstance(module, Tree):
            raise ValueError(f"`module` is not an nn.Module, found {type(module)}")
        path, _, name = target.rpartition(".")
        parent = self.get_submodule(path)
        if strict and not hasattr(parent, name):
            raise AttributeError(f"{type(parent).__name__} has no attribute `{name}`")
        if not isinstance(getattr(parent, name, module), Tree):
            raise AttributeError(f"`{name}` is not an nn.Module")
        setattr(parent, name, module)

    # --- walking -------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = "", remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, shared ones once, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        if remove_duplicate:
            memo.add(self)  # type: ignore[arg-type]
        yield prefix, self  # type: ignore[misc]
        for name, child in self._modules.items():
            if child is not None:
                path = f"{prefix}.{name}" if prefix else name
                yield from child.named_modules(memo, path, remove_duplicate)

    def modules(self, remove_duplicate: bool = True) -> Iterator[Module]:
        """Yield this module and all below it, shared ones once."""
        for _, m in self.named_modules(remove_duplicate=remove_duplicate):
            yield m

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly below, shared ones once, with their names."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """Yield the modules directly below, shared ones once."""
        for _, child in self.named_children():
            yield child

    def _named_members(
        self, kind: str, prefix: str, recurse: bool, remove_duplicate: bool
    ) -> Iterator[tuple[str, Any]]:
        seen: set[int] = set()
        walk = self.named_modules(prefix=prefix, remove_duplicate=remove_duplicate)
        for path, m in walk if recurse else [(prefix, self)]:
            for name, value in m.__dict__[kind].items():
                if value is None or id(value) in seen:
                    continue
                if remove_duplicate:
                    seen.add(id(value))
                yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters, shared ones once, with their dotted names."""
        yield from self._named_members("_parameters", prefix, recurse, remove_duplicate)

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, shared ones once."""
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(
        self, prefix: str = "", recurse: bool = True, remove_duplicate: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers, shared ones once, with their dotted names."""
        yield from self._named_members("_buffers", prefix, recurse, remove_duplicate)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers, shared ones once."""
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def apply(self: T, fn: Callable[[Module], Any]) -> T:
        """Call fn on every module below and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)  # type: ignore[arg-type]
        return self

    # --- text and copies -----------------------------------------------------------------------

    def __dir__(self) -> list[str]:
        return sorted(name for name in object.__dir__(self) if not name[0].isdigit())

    def __getstate__(self) -> dict[str, Any]:
        d = dict(self.__dict__)
        d.pop("_plan", None)
        for kind in _KINDS:
            d[kind] = list(d[kind])
        return d

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for kind in _KINDS:
            registry = _Registry(self.__dict__)
            registry._names = dict.fromkeys(state[kind])
            self.__dict__[kind] = registry
