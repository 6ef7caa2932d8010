"""The base of schedules of learning rates."""

from __future__ import annotations

from wengert import _core

from .optimizer import Optimizer

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any


def _repeated(step: Callable[..., None]) -> Callable[..., None]:
    """Make a step in a captured function one that each replay takes too."""

    def taken(self: LRScheduler, *args: Any) -> None:
        if _core.capturing():
            from wengert._capture import host_call

            host_call(step, self, *args)
        else:
            step(self, *args)

    taken.__name__, taken.__qualname__ = step.__name__, step.__qualname__
    taken.__doc__, taken.__wrapped__ = step.__doc__, step  # type: ignore[attr-defined]
    return taken


class LRScheduler:
    """Base of schedules: `get_lr` says what `step` sets.

    Parameters
    ----------
    optimizer
        Whose groups are changed. Their rates at the start are kept as ``initial_lr``.
    last_epoch
        The number of steps taken before; -1 starts anew.

    Raises
    ------
    TypeError
        If it is no optimizer.
    KeyError
        If a schedule is to go on with groups that have no ``initial_lr``.
    """

    def __init__(self, optimizer: Optimizer, last_epoch: int = -1) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(f"{type(optimizer).__name__} is not an Optimizer")
        for i, group in enumerate(optimizer.param_groups):
            if last_epoch == -1:
                group.setdefault("initial_lr", float(group["lr"]))
            elif "initial_lr" not in group:
                raise KeyError(
                    "param 'initial_lr' is not specified in "
                    f"param_groups[{i}] when resuming an optimizer"
                )
        self.optimizer = optimizer
        self.base_lrs: list[float] = [g["initial_lr"] for g in optimizer.param_groups]
        self.last_epoch = last_epoch
        self._last_lr: list[float] = []
        self._at_start = True
        self.step()
        self._at_start = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "step" in vars(cls):
            cls.step = _repeated(cls.step)  # type: ignore[method-assign]

    def get_lr(self) -> list[float]:
        """Return the rates after ``last_epoch`` steps; subclasses define it."""
        raise NotImplementedError

    def get_last_lr(self) -> list[float]:
        """Return the rates that were set last."""
        return self._last_lr

    def _rates(self) -> list[float]:
        """The rates as they stand in the groups."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def _scaled(self, factor: float) -> list[float]:
        return [lr * factor for lr in self._rates()]

    @_repeated
    def step(self, epoch: int | None = None) -> None:
        """Set the rates for the next epoch, or those that a given one has from the start."""
        if epoch is None:
            self.last_epoch += 1
            self._set(self.get_lr())
            return
        self._set(self.base_lrs)
        for self.last_epoch in range(epoch + 1):
            self._at_start = self.last_epoch == 0
            self._set(self.get_lr())
        self._at_start = False

    def _set(self, rates: Sequence[float]) -> None:
        for group, lr in zip(self.optimizer.param_groups, rates, strict=True):
            group["lr"] = lr
        self._last_lr = self._rates()

    def state_dict(self) -> dict[str, Any]:
        """Return all but the optimizer."""
        return {k: v for k, v in self.__dict__.items() if k != "optimizer"}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over what `state_dict` returned."""
        self.__dict__.update(state_dict)
