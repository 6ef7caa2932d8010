"""Saving and loading the values of modules by name, and what a conversion is asked for.

Each module of a tree saves and loads its own members, so that a subclass can replace either step
for itself. Loading writes nothing until all of the tree has been checked.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping

from wengert import _core
from wengert._core import Tensor
from wengert.autograd import no_grad
from wengert.utils.hooks import RemovableHandle, added

from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wengert._core import dtype

_EXTRA = "_extra_state"


class Loaded(tuple[list[str], list[str]]):
    """The names that load_state_dict did not find, and those it did not know."""

    def __new__(cls, missing: list[str], unexpected: list[str]) -> Loaded:
        """Pair the two lists."""
        return super().__new__(cls, (missing, unexpected))

    @property
    def missing_keys(self) -> list[str]:
        """Names of the module that were not in the dict."""
        return self[0]

    @property
    def unexpected_keys(self) -> list[str]:
        """Names in the dict that the module does not have."""
        return self[1]

    def __repr__(self) -> str:
        if not self[0] and not self[1]:
            return "<All keys matched successfully>"
        return f"_IncompatibleKeys(missing_keys={self[0]}, unexpected_keys={self[1]})"

    __str__ = __repr__


class StateHooks:
    """What to call around saving and loading, in order, each with how it is to be called."""

    def __init__(self) -> None:
        self.before_save: dict[int, tuple[Callable[..., Any], bool]] = {}
        self.after_save: dict[int, tuple[Callable[..., Any], bool]] = {}  # may replace the dict
        self.before_load: dict[int, tuple[Callable[..., Any], bool]] = {}  # given the module
        self.after_load: dict[int, tuple[Callable[..., Any], bool]] = {}

    def add(self, when: str, hook: Callable[..., Any], how: bool = False) -> RemovableHandle:
        """Register a hook."""
        return added(getattr(self, when), (hook, how))


# --- saving ------------------------------------------------------------------------------------


def save(module: Module, destination: Any, prefix: str, keep_vars: bool) -> Any:
    """Write the values of a module and all below it into a dict by name."""
    if destination is None:
        destination = OrderedDict()
        destination._metadata = OrderedDict()
    metadata = {"version": module._version}
    if hasattr(destination, "_metadata"):
        destination._metadata[prefix[:-1]] = metadata
    hooks = module._state_hooks
    for hook, _ in list(hooks.before_save.values()) if hooks else ():
        hook(module, prefix, keep_vars)
    module._save_to_state_dict(destination, prefix, keep_vars)
    for name, child in module._modules.items():
        if child is not None:
            child.state_dict(
                destination=destination, prefix=f"{prefix}{name}.", keep_vars=keep_vars
            )
    for hook, replaces in list(hooks.after_save.values()) if hooks else ():
        made = hook(module, destination, prefix, metadata)
        if made is not None and not replaces:
            raise RuntimeError("state_dict post-hook must return None")
        destination = destination if made is None else made
    return destination


def _own(module: Module) -> dict[str, Tensor]:
    """The members that are saved."""
    members = [*module._parameters.items(), *module._buffers.items()]
    unsaved = module._non_persistent_buffers_set
    return {name: t for name, t in members if t is not None and name not in unsaved}


def save_members(module: Module, destination: dict[str, Any], prefix: str, keep_vars: bool) -> None:
    """Write the values of one module into a dict by name."""
    for name, t in _own(module).items():
        destination[prefix + name] = t if keep_vars else t.detach()
    if type(module).get_extra_state is not Module.get_extra_state:
        destination[prefix + _EXTRA] = module.get_extra_state()


# --- loading -----------------------------------------------------------------------------------


class _Errors(list):
    """The messages so far and, while there is none, what is still to be written."""

    def __init__(self) -> None:
        self.writes: list[Callable[[], Any]] = []


def load(module: Module, state_dict: Mapping[str, Any], strict: bool, assign: bool) -> Loaded:
    """Read the values of a module and all below it from a dict by name."""
    if not isinstance(state_dict, Mapping):
        raise TypeError(f"Expected state_dict to be dict-like, got {type(state_dict)}.")
    metadata = getattr(state_dict, "_metadata", {})
    found = Loaded([], [])
    errors = _Errors()
    visited: list[Module] = []

    def visit(m: Module, values: dict[str, Any], prefix: str) -> None:
        local = dict(metadata.get(prefix[:-1], {}))
        local["assign_to_params_buffers"] = assign
        hooks = m._state_hooks
        for hook, with_module in list(hooks.before_load.values()) if hooks else ():
            given = (values, prefix, local, strict, *found, errors)
            hook(*((m, *given) if with_module else given))
        m._load_from_state_dict(values, prefix, local, True, *found, errors)
        for name, child in m._modules.items():
            if child is not None:
                below = f"{prefix}{name}."
                visit(child, {k: v for k, v in values.items() if k.startswith(below)}, below)
        visited.append(m)

    visit(module, OrderedDict(state_dict), "")
    after = [(m, m._state_hooks.after_load) for m in visited if m._state_hooks]
    # A hook may strike names from the lists, and sees the values in their places.
    if errors or (strict and any(found) and not any(hooks for _, hooks in after)):
        raise _refusal(module, found, errors, strict)
    for write in errors.writes:
        write()
    for m, hooks in after:
        for hook, _ in list(hooks.values()):
            if hook(m, found) is not None:
                raise AssertionError(
                    "Hooks registered with ``register_load_state_dict_post_hook`` are not expected "
                    "to return new values; they change incompatible_keys in place."
                )
    if strict and any(found):
        raise _refusal(module, found, errors, strict)
    return found


def _refusal(module: Module, found: Loaded, errors: list[str], strict: bool) -> RuntimeError:
    lines = list(errors)
    if strict:
        for what, names in (("Unexpected", found.unexpected_keys), ("Missing", found.missing_keys)):
            if names:
                quoted = ", ".join(f'"{name}"' for name in names)
                lines.insert(0, f"{what} key(s) in state_dict: {quoted}. ")
    head = f"Error(s) in loading state_dict for {type(module).__name__}:\n\t"
    return RuntimeError(head + "\n\t".join(lines))


def load_members(
    module: Module,
    state_dict: Mapping[str, Any],
    prefix: str,
    local_metadata: dict[str, Any],
    strict: bool,
    missing_keys: list[str],
    unexpected_keys: list[str],
    error_msgs: list[str],
) -> None:
    """Read the values of one module; writing waits where the messages say so."""
    errors = error_msgs if isinstance(error_msgs, _Errors) else _Errors()
    own = _own(module)
    for name, t in own.items():
        key = prefix + name
        if key in state_dict:
            _load_one(module, name, t, key, state_dict[key], local_metadata, errors)
        elif strict:
            missing_keys.append(key)
    if type(module).set_extra_state is not Module.set_extra_state:
        if prefix + _EXTRA in state_dict:
            extra = state_dict[prefix + _EXTRA]
            errors.writes.append(lambda: module.set_extra_state(extra))
        elif strict:
            missing_keys.append(prefix + _EXTRA)
    elif strict and prefix + _EXTRA in state_dict:
        unexpected_keys.append(prefix + _EXTRA)
    for key in state_dict if strict else ():
        if key.startswith(prefix) and key != prefix + _EXTRA:
            name, dot, _ = key[len(prefix) :].partition(".")
            if name not in (module._modules if dot else own):
                unexpected_keys.append(key)
    if errors is not error_msgs:  # called from outside of load: there is nothing to wait for
        error_msgs.extend(errors)
        for write in errors.writes:
            write()


def _load_one(
    module: Module,
    name: str,
    own: Tensor,
    key: str,
    value: Any,
    local_metadata: dict[str, Any],
    errors: _Errors,
) -> None:
    if not isinstance(value, Tensor):
        if not hasattr(value, "__array_interface__") and not hasattr(value, "__dlpack__"):
            errors.append(
                f'While copying the parameter named "{key}", expected wengert.Tensor or an array '
                f"from checkpoint but received {type(value)}"
            )
            return
        from wengert import as_tensor

        value = as_tensor(value)
    if own.dim() == 0 and value.dim() == 1 and value.numel() == 1:
        value = value.reshape(())  # how numbers were once saved
    if tuple(value.shape) != tuple(own.shape):
        errors.append(
            f"size mismatch for {key}: copying a param with shape {tuple(value.shape)} from "
            f"checkpoint, the shape in current model is {tuple(own.shape)}."
        )
        return

    def copy() -> None:
        with no_grad():
            own.copy_(value)

    def assign() -> None:
        made = value
        if isinstance(own, Parameter):
            needs_grad = own.requires_grad
            made = value if isinstance(value, Parameter) else Parameter(value.detach(), needs_grad)
            made.requires_grad_(needs_grad)
        setattr(module, name, made)

    errors.writes.append(assign if local_metadata.get("assign_to_params_buffers") else copy)


# --- conversion --------------------------------------------------------------------------------


def target(
    args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[dtype | None, _core.device | str | int | None, bool]:
    """Return the dtype and the device that the arguments of ``Module.to`` ask for, or None.

    And whether copies need not be waited for.
    """
    given = [*args, *(kwargs.get(name) for name in ("dtype", "device", "tensor"))]
    unknown = set(kwargs) - {"dtype", "device", "tensor", "non_blocking", "memory_format"}
    if unknown:
        raise TypeError(f"to() got an unexpected keyword argument '{min(unknown)}'")
    wanted = None
    where: _core.device | str | int | None = None
    non_blocking = bool(kwargs.get("non_blocking", False))
    for value in given:
        if isinstance(value, Tensor):
            wanted, where = value.dtype, value.device
        elif isinstance(value, _core.dtype):
            wanted = value
        elif isinstance(value, bool):
            non_blocking = value
        elif isinstance(value, (_core.device, str, int)):
            _core._check_device(value)
            where = value
        elif value is not None:
            raise TypeError(
                f"to: expected a dtype, a device or a tensor, got {type(value).__name__}"
            )
    if wanted is not None and not wanted.is_floating_point:
        raise TypeError(
            "nn.Module.to only accepts floating point or complex dtypes, but got desired "
            f"dtype={wanted}"
        )
    return wanted, where, non_blocking
