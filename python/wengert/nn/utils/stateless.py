"""Calling a module with other tensors in the place of its parameters and buffers."""

from __future__ import annotations

from wengert._core import Tensor
from wengert.nn.module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

__all__ = ["functional_call"]

_MISSING: Any = object()


def _with_tied_names(module: Module, given: dict[str, Any]) -> dict[str, Any]:
    """Add, for each name given, the other names of the same tensor of the module.

    Raises
    ------
    ValueError
        If two names of one tensor are given different values.
    """
    names_of: dict[int, list[str]] = {}
    for walk in (module.named_parameters, module.named_buffers):
        for name, own in walk(remove_duplicate=False):
            names_of.setdefault(id(own), []).append(name)
    all_given = dict(given)
    for names in names_of.values():
        values = [given[name] for name in names if name in given] if len(names) > 1 else []
        if not values:
            continue
        if any(value is not values[0] for value in values):
            raise ValueError(
                f"functional_call got multiple values for keys {sorted(names)}, which are tied. "
                "Consider using tie_weights=False"
            )
        all_given.update(dict.fromkeys(names, values[0]))
    return all_given


def _check_names(module: Module, given: Mapping[str, Any]) -> None:
    known = {name for name, _ in module.named_parameters(remove_duplicate=False)}
    known.update(name for name, _ in module.named_buffers(remove_duplicate=False))
    errors = []
    for what, names in (("Unexpected", set(given) - known), ("Missing", known - set(given))):
        if names:
            errors.append(f"{what} key(s): {', '.join(map(repr, sorted(names)))}.")
    if errors:
        raise RuntimeError(
            f"Error(s) in reparametrizing for {module._get_name()}:\n\t" + "\n\t".join(errors)
        )


def _owner(module: Module, path: str) -> Any:
    """The module below that has a dotted name."""
    found: Any = module
    for name in path.split(".") if path else ():
        if not hasattr(found, name):
            raise AttributeError(f"{found._get_name()} has no attribute `{name}`")
        found = getattr(found, name)
        if not isinstance(found, Module):
            raise TypeError(f"submodule `{path}`: {found} is not an instance of nn.Module")
    return found


def _swap(owner: Module, name: str, value: Any) -> Any:
    """Put a tensor, None or nothing at all in the place of a member, and return what was there."""
    if value is not _MISSING and value is not None and not isinstance(value, Tensor):
        raise TypeError(f"{value} is not an instance of wengert.Tensor")
    if name == "":
        raise KeyError('tensor name can\'t be empty string ""')
    for kind in (owner._parameters, owner._buffers):
        if name in kind:  # past the checks of an assignment: it need not be a Parameter
            before = kind[name]
            if value is _MISSING:
                del kind[name]
            else:
                kind[name] = value
            return before
    before = getattr(owner, name, _MISSING)
    if before is not _MISSING and before is not None and not isinstance(before, Tensor):
        raise TypeError(f"attribute `{name}`: {before} is not an instance of wengert.Tensor")
    if value is not _MISSING:
        setattr(owner, name, value)
    elif before is not _MISSING:
        delattr(owner, name)
    return before


def _functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Any],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    if args is None:
        args = ()
    elif not isinstance(args, tuple):
        args = (args,)
    given = parameters_and_buffers
    if tie_weights:
        given = _with_tied_names(module, given)
    if strict:
        _check_names(module, given)
    replaced: list[tuple[str, Module, str, Any]] = []
    swapped = False
    try:
        for path, value in given.items():
            prefix, _, name = path.rpartition(".")
            owner = _owner(module, prefix)
            replaced.append((path, owner, name, _swap(owner, name, value)))
        swapped = True
        return module(*args, **({} if kwargs is None else kwargs))
    finally:
        # Last first: a module that has two names was replaced twice. What forward has assigned
        # shows in the caller's dict.
        for path, owner, name, before in reversed(replaced):
            after = _swap(owner, name, before)
            if swapped and path in parameters_and_buffers and after is not _MISSING:
                parameters_and_buffers[path] = after


def functional_call(
    module: Module,
    parameters_and_buffers: dict[str, Any],
    args: Any = None,
    kwargs: dict[str, Any] | None = None,
    *,
    tie_weights: bool = True,
    strict: bool = False,
) -> Any:
    """Call a module with other tensors for its own: `wengert.func.functional_call`'s old name."""
    import warnings

    warnings.warn(
        "nn.utils.stateless.functional_call is deprecated; use func.functional_call instead",
        FutureWarning,
        stacklevel=2,
    )
    return _functional_call(
        module, parameters_and_buffers, args, kwargs, tie_weights=tie_weights, strict=strict
    )
