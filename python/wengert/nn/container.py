"""Modules made of modules."""

from __future__ import annotations

from wengert._core import _linear_activation

from .activation import ReLU, Sigmoid, Tanh
from .linear import Linear
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# Activations that the matrix product applies to each tile of its result while it is in cache.
_FUSED = {ReLU: "relu", Tanh: "tanh", Sigmoid: "sigmoid"}


class Sequential(Module):
    """Modules applied one after the other.

    A `Linear` followed by a `ReLU`, `Tanh` or `Sigmoid` runs as one kernel, with the same bits.
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

    def _members_changed(self) -> None:
        self.__dict__.pop("_plan", None)

    def _make_plan(self) -> list[tuple[Any, str | None]]:
        """Return the modules to call, with the activation that each takes along."""
        plan: list[tuple[Any, str | None]] = []
        for m in self._modules.values():
            last = plan[-1] if plan else None
            if (
                last is not None
                and type(last[0]) is Linear
                and last[1] is None
                and type(m) in _FUSED
                and not getattr(m, "inplace", False)
            ):
                plan[-1] = (last[0], _FUSED[type(m)])
            else:
                plan.append((m, None))
        self.__dict__["_plan"] = plan
        return plan

    def forward(self, input: Any) -> Any:
        """Apply the modules in order."""
        for module, activation in self.__dict__.get("_plan") or self._make_plan():
            if activation is None:
                input = module(input)
            else:
                input = _linear_activation(input, module.weight, module.bias, activation)
        return input

    def append(self, module: Module) -> Sequential:
        """Add a module at the end."""
        self.add_module(str(len(self)), module)
        return self

    def __len__(self) -> int:
        return len(self._modules)

    def __iter__(self) -> Iterator[Module]:
        return iter(self._modules.values())

    def __getitem__(self, index: int | slice) -> Any:
        items = list(self._modules.items())
        if isinstance(index, slice):
            return type(self)(dict(items[index]))
        return items[index][1]

    def __setitem__(self, index: int, module: Module) -> None:
        self.add_module(list(self._modules)[index], module)

    def __delitem__(self, index: int) -> None:
        rest = [m for i, m in enumerate(self) if i != index % len(self)]
        for name in list(self._modules):
            del self._modules[name]
        for i, m in enumerate(rest):
            self.add_module(str(i), m)
        self._members_changed()
