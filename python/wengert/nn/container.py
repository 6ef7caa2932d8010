"""Modules applied one after the other."""

from __future__ import annotations

from wengert._core import _linear_activation

from .activation import ReLU, Sigmoid, Tanh
from .linear import Linear
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, TypeVar

    S = TypeVar("S", bound="Sequential")

# Activations that the matrix product applies to each tile of its result while it is in cache.
_FUSED = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}


def _can_fuse(first: Any, then: Any) -> bool:
    """Whether two modules are a plain Linear and an activation that can run inside it."""
    return (
        type(first) is Linear
        and type(then) in _FUSED
        and not getattr(then, "inplace", False)
        and "forward" not in first.__dict__
        and "forward" not in then.__dict__
    )


def _hooked(module: Module) -> bool:
    """Whether anything is called around a module's forward; hooks may have been removed again."""
    hooks = module._call_hooks
    return hooks is not None and hooks.some()


class Sequential(Module):
    """Modules applied one after the other.

    A `Linear` followed by a `ReLU`, `Tanh` or `Sigmoid` runs as one kernel, with the same bits.

    Parameters
    ----------
    *args
        Modules, which get the names ``0``, ``1`` and so on, or one dict of modules by name.
    """

    def __init__(self, *args: Any) -> None:
        super().__init__()
        named = (
            args[0].items()
            if len(args) == 1 and isinstance(args[0], dict)
            else ((str(i), m) for i, m in enumerate(args))
        )
        for name, module in named:
            self.add_module(name, module)

    def _make_plan(self) -> list[tuple[Any, str | None, Any]]:
        """Return the modules to call, each with the activation that it takes along, if any."""
        plan: list[tuple[Any, str | None, Any]] = []
        for m in self._modules.values():
            if plan and plan[-1][1] is None and _can_fuse(plan[-1][0], m):
                plan[-1] = (plan[-1][0], _FUSED[type(m)], m)
            else:
                plan.append((m, None, None))
        self.__dict__["_plan"] = plan  # dropped by the registry when a member changes
        return plan

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        for module, activation, _ in self.__dict__.get("_plan") or self._make_plan():
            if activation is None:
                input = module(input)
            else:
                input = _linear_activation(input, module.weight, module.bias, activation)
        return input

    def _forward_with_hooks(self, input: Any) -> Any:
        """Apply the modules in order where some module of the process has hooks."""
        for module, activation, then in self.__dict__.get("_plan") or self._make_plan():
            if activation is None:
                input = module(input)
            elif not (_hooked(module) or _hooked(then)):
                input = _linear_activation(input, module.weight, module.bias, activation)
            else:
                input = then(module(input))
        return input

    # --- as a list -----------------------------------------------------------------------------

    def _name_at(self, index: Any) -> str:
        import operator

        at, n = operator.index(index), len(self)
        if not -n <= at < n:
            raise IndexError(f"index {at} is out of range")
        return list(self._modules)[at]

    def _set_all(self, modules: Iterable[Any]) -> None:
        modules = list(modules)
        for name in list(self._modules):
            del self._modules[name]
        for i, m in enumerate(modules):
            self.add_module(str(i), m)

    def append(self: S, module: Module) -> S:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def extend(self: S, sequential: Iterable[Module]) -> S:
        """Add modules at the end."""
        for module in list(sequential):
            self.append(module)
        return self

    def insert(self: S, index: int, module: Module) -> S:
        """Add a module before another; those after it get the next numbers.

        Raises
        ------
        AssertionError
            If it is no module.
        IndexError
            If there is no such place.
        """
        if not isinstance(module, Module):
            raise AssertionError(f"module should be of type: {Module}")
        if not -len(self) <= index <= len(self):
            raise IndexError(f"Index out of range: {index}")
        members = list(self)
        members.insert(index, module)
        self._set_all(members)
        return self

    def pop(self, key: int | slice) -> Module:
        """Remove a module and return it."""
        removed = self[key]
        del self[key]
        return removed

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._modules.values())

    def __dir__(self) -> list[str]:
        return [name for name in super().__dir__() if not name.isdigit()]

    def __getitem__(self, index: int | slice) -> Any:
        if isinstance(index, slice):
            return type(self)(dict(list(self._modules.items())[index]))
        return self._modules[self._name_at(index)]

    def __setitem__(self, index: int, module: Module) -> None:
        setattr(self, self._name_at(index), module)

    def __delitem__(self, index: int | slice) -> None:
        names = list(self._modules)[index] if isinstance(index, slice) else [self._name_at(index)]
        for name in names:
            delattr(self, name)
        # those that stay are numbered anew, or keep names that are no numbers
        self._set_all(self)

    def __add__(self, other: Sequential) -> Sequential:
        if not isinstance(other, Sequential):
            raise ValueError(
                "add operator supports only objects of Sequential class, but "
                f"{type(other)} is given."
            )
        return Sequential(*self, *other)

    def __iadd__(self: S, other: Sequential) -> S:
        if not isinstance(other, Sequential):
            raise ValueError(
                "add operator supports only objects of Sequential class, but "
                f"{type(other)} is given."
            )
        return self.extend(other)

    def __mul__(self, other: int) -> Sequential:
        return Sequential(*self._repeated(other))

    def __rmul__(self, other: int) -> Sequential:
        return self * other

    def __imul__(self: S, other: int) -> S:
        members = self._repeated(other)
        return self.extend(members[len(self) :])

    def _repeated(self, times: int) -> list[Any]:
        if not isinstance(times, int):
            raise TypeError(f"unsupported operand type(s) for *: {type(self)} and {type(times)}")
        if times <= 0:
            raise ValueError(f"Non-positive multiplication factor {times} for {type(self)}")
        return list(self) * times
