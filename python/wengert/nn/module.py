"""The base of all modules: a tree of named parameters, buffers and other modules."""

from __future__ import annotations

from wengert._core import Tensor
from wengert.autograd import no_grad

from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections import OrderedDict
    from collections.abc import Callable, Iterator, Mapping, MutableMapping
    from typing import Any, TypeVar

    from wengert._core import dtype

    M = TypeVar("M", bound="Module")
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

    def __delitem__(self, name: str) -> None:
        del self._names[name]
        del self._owner[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


class Module:
    """Base of all modules.

    Assign parameters and modules as attributes in ``__init__``, after ``super().__init__()``, and
    define ``forward``. Calling the module calls ``forward``.
    """

    training: bool
    _parameters: _Registry
    _buffers: _Registry
    _modules: _Registry
    _non_persistent: set[str]

    def __init__(self) -> None:
        d = self.__dict__
        d["_parameters"] = _Registry(d)
        d["_buffers"] = _Registry(d)
        d["_modules"] = _Registry(d)
        d["_non_persistent"] = set()
        d["training"] = True

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Compute the result; subclasses define it."""
        raise NotImplementedError(
            f'Module [{type(self).__name__}] is missing the required "forward" function'
        )

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call ``forward``."""
        return self.forward(*args, **kwargs)

    # --- members -------------------------------------------------------------------------------

    def __setattr__(self, name: str, value: Any) -> None:
        d = self.__dict__
        kinds = ("_parameters", "_buffers", "_modules")
        if "_modules" not in d:
            if isinstance(value, (Parameter, Module)):
                raise AttributeError(
                    f"cannot assign {type(value).__name__} before Module.__init__() call"
                )
            object.__setattr__(self, name, value)
            return
        kind = None
        if isinstance(value, Parameter):
            kind = "_parameters"
        elif isinstance(value, Module):
            kind = "_modules"
        else:
            kind = next((k for k in kinds if name in d[k]), None)
            if kind == "_parameters" and value is not None:
                raise TypeError(
                    f"cannot assign '{type(value).__name__}' as parameter '{name}' "
                    "(wengert.nn.Parameter or None expected)"
                )
        for k in kinds:
            if k != kind and name in d[k]:
                del d[k][name]
        if kind is None:
            object.__setattr__(self, name, value)
        else:
            d[kind][name] = value
            self._members_changed()

    def __delattr__(self, name: str) -> None:
        for kind in (self._parameters, self._buffers, self._modules):
            if name in kind:
                del kind[name]
                self._members_changed()
                return
        object.__delattr__(self, name)

    def _members_changed(self) -> None:
        """Forget what was derived from the members."""

    def register_parameter(self, name: str, param: Parameter | None) -> None:
        """Add a parameter, which may be None."""
        if param is not None and not isinstance(param, Parameter):
            raise TypeError(
                f"cannot assign '{type(param).__name__}' object to parameter '{name}' "
                "(wengert.nn.Parameter or None required)"
            )
        self._parameters[name] = param

    def register_buffer(self, name: str, tensor: Tensor | None, persistent: bool = True) -> None:
        """Add a tensor that is saved with the module but not trained."""
        if tensor is not None and not isinstance(tensor, Tensor):
            raise TypeError(
                f"cannot assign '{type(tensor).__name__}' object to buffer '{name}' "
                "(wengert.Tensor or None required)"
            )
        self._buffers[name] = tensor
        (self._non_persistent.discard if persistent else self._non_persistent.add)(name)

    def add_module(self, name: str, module: Module | None) -> None:
        """Add a child module."""
        if module is not None and not isinstance(module, Module):
            raise TypeError(f"{type(module).__name__} is not a Module subclass")
        self._modules[name] = module
        self._members_changed()

    # --- walking -------------------------------------------------------------------------------

    def named_modules(
        self, memo: set[Module] | None = None, prefix: str = ""
    ) -> Iterator[tuple[str, Module]]:
        """Yield this module and all below it, each once, with their dotted names."""
        memo = set() if memo is None else memo
        if self in memo:
            return
        memo.add(self)
        yield prefix, self
        for name, child in self._modules.items():
            if child is not None:
                yield from child.named_modules(memo, f"{prefix}.{name}" if prefix else name)

    def modules(self) -> Iterator[Module]:
        """Yield this module and all below it, each once."""
        for _, m in self.named_modules():
            yield m

    def named_children(self) -> Iterator[tuple[str, Module]]:
        """Yield the modules directly below, shared ones once, with their names."""
        seen: set[Module] = set()
        for name, child in self._modules.items():
            if child is not None and child not in seen:
                seen.add(child)
                yield name, child

    def children(self) -> Iterator[Module]:
        """Yield the modules directly below."""
        for _, child in self.named_children():
            yield child

    def _named_members(self, kind: str, prefix: str, recurse: bool) -> Iterator[tuple[str, Tensor]]:
        seen: set[int] = set()
        for path, m in self.named_modules(prefix=prefix) if recurse else [(prefix, self)]:
            for name, value in m.__dict__[kind].items():
                if value is not None and id(value) not in seen:
                    seen.add(id(value))
                    yield f"{path}.{name}" if path else name, value

    def named_parameters(
        self, prefix: str = "", recurse: bool = True
    ) -> Iterator[tuple[str, Parameter]]:
        """Yield the parameters, shared ones once, with their dotted names."""
        yield from self._named_members("_parameters", prefix, recurse)  # type: ignore[misc]

    def parameters(self, recurse: bool = True) -> Iterator[Parameter]:
        """Yield the parameters, shared ones once."""
        for _, p in self.named_parameters(recurse=recurse):
            yield p

    def named_buffers(self, prefix: str = "", recurse: bool = True) -> Iterator[tuple[str, Tensor]]:
        """Yield the buffers with their dotted names."""
        yield from self._named_members("_buffers", prefix, recurse)

    def buffers(self, recurse: bool = True) -> Iterator[Tensor]:
        """Yield the buffers."""
        for _, b in self.named_buffers(recurse=recurse):
            yield b

    def apply(self: M, fn: Callable[[Module], Any]) -> M:
        """Call fn on every module below and then on this one."""
        for child in self.children():
            child.apply(fn)
        fn(self)
        return self

    # --- modes and conversion ------------------------------------------------------------------

    def train(self: M, mode: bool = True) -> M:
        """Set training mode, here and below."""
        for m in self.modules():
            m.__dict__["training"] = mode
        return self

    def eval(self: M) -> M:
        """Set evaluation mode, here and below."""
        return self.train(False)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget, or with ``set_to_none=False`` zero, the gradients of all parameters."""
        for p in self.parameters():
            if set_to_none:
                p.grad = None
            elif p.grad is not None:
                p.grad.detach_().zero_()

    def requires_grad_(self: M, requires_grad: bool = True) -> M:
        """Set whether operations on the parameters are recorded."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def to(self: M, *args: Any, **kwargs: Any) -> M:
        """Move floating point parameters and buffers to another dtype or device, in place."""
        for _, t in [*self.named_parameters(), *self.named_buffers()]:
            probe = t.detach().to(*args, **kwargs)
            if not t.dtype.is_floating_point or not probe.dtype.is_floating_point:
                continue
            grad = t.grad
            if grad is not None:
                t.grad = None
            t.data = probe
            if grad is not None:
                t.grad = grad.to(*args, **kwargs)
        return self

    def float(self: M) -> M:
        """Move to float32."""
        from wengert._core import float32

        return self.to(float32)

    def double(self: M) -> M:
        """Move to float64."""
        from wengert._core import float64

        return self.to(float64)

    def cpu(self: M) -> M:
        """Move to CPU memory."""
        return self

    def type(self: M, dst_type: dtype) -> M:
        """Move to another dtype."""
        return self.to(dst_type)

    # --- state ---------------------------------------------------------------------------------

    def state_dict(self, prefix: str = "") -> OrderedDict[str, Tensor]:
        """Return all parameters and persistent buffers by dotted name, sharing memory."""
        from collections import OrderedDict

        out: OrderedDict[str, Tensor] = OrderedDict()
        for path, name, value in self._state_members():
            out[f"{prefix}{path}.{name}" if path else f"{prefix}{name}"] = value.detach()
        return out

    def _state_members(self, path: str = "") -> Iterator[tuple[str, str, Tensor]]:
        for name, value in [*self._parameters.items(), *self._buffers.items()]:
            if value is not None and name not in self._non_persistent:
                yield path, name, value
        for name, child in self._modules.items():
            if child is not None:
                yield from child._state_members(f"{path}.{name}" if path else name)

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True) -> Any:
        """Copy values by name into the parameters and buffers; all or, on an error, nothing.

        Raises
        ------
        RuntimeError
            If a shape differs or, with ``strict``, a name is missing or unexpected.
        """
        own = {f"{p}.{n}" if p else n: v for p, n, v in self._state_members()}
        missing = [k for k in own if k not in state_dict]
        unexpected = [k for k in state_dict if k not in own]
        errors = [
            f"size mismatch for {k}: copying a param with shape {tuple(v.shape)} from checkpoint, "
            f"the shape in current model is {tuple(own[k].shape)}."
            for k, v in state_dict.items()
            if k in own and tuple(v.shape) != tuple(own[k].shape)
        ]
        if strict and unexpected:
            errors.insert(0, f"Unexpected key(s) in state_dict: {', '.join(unexpected)}.")
        if strict and missing:
            errors.insert(0, f"Missing key(s) in state_dict: {', '.join(missing)}.")
        if errors:
            raise RuntimeError(
                f"Error(s) in loading state_dict for {type(self).__name__}:\n\t"
                + "\n\t".join(errors)
            )
        from wengert import as_tensor

        with no_grad():
            for k, v in state_dict.items():
                if k in own:
                    own[k].copy_(as_tensor(v))
        return _Loaded(missing, unexpected)

    # --- text ----------------------------------------------------------------------------------

    def extra_repr(self) -> str:
        """Return what ``repr`` shows of the module's own settings."""
        return ""

    def __repr__(self) -> str:
        lines = [
            f"({name}): " + repr(child).replace("\n", "\n  ")
            for name, child in self._modules.items()
        ]
        head, extra = type(self).__name__, self.extra_repr()
        if not lines:
            return f"{head}({extra})"
        return f"{head}({extra}\n  " + "\n  ".join(lines) + "\n)"

    # --- copying -------------------------------------------------------------------------------

    def __getstate__(self) -> dict[str, Any]:
        d = dict(self.__dict__)
        for kind in ("_parameters", "_buffers", "_modules"):
            d[kind] = list(d[kind])
        return d

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        for kind in ("_parameters", "_buffers", "_modules"):
            registry = _Registry(self.__dict__)
            registry._names = dict.fromkeys(state[kind])
            self.__dict__[kind] = registry


class _Loaded(tuple[list[str], list[str]]):
    """The names that load_state_dict did not find, and those it did not know."""

    def __new__(cls, missing: list[str], unexpected: list[str]) -> _Loaded:
        return super().__new__(cls, (missing, unexpected))

    @property
    def missing_keys(self) -> list[str]:
        """Names of the module that were not in the dict."""
        return self[0]

    @property
    def unexpected_keys(self) -> list[str]:
        """Names in the dict that the module does not have."""
        return self[1]
