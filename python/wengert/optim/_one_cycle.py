"""The schedule of one cycle."""

from __future__ import annotations

import math

from ._schedule import LRScheduler

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from .optimizer import Optimizer


class OneCycleLR(LRScheduler):
    """Up to ``max_lr`` and down far below the start, once in all steps; momentum the other way.

    Parameters
    ----------
    optimizer, last_epoch
        As in `LRScheduler`.
    max_lr
        The largest rate, or one a group.
    total_steps, epochs, steps_per_epoch
        How many steps there are: the first, or the product of the others.
    pct_start
        The share of steps that go up.
    anneal_strategy
        ``"cos"`` or ``"linear"``.
    cycle_momentum, base_momentum, max_momentum
        Whether momentum (or the first beta) goes from its largest to its smallest value and back.
    div_factor, final_div_factor
        The initial rate is ``max_lr / div_factor``, the last one that over ``final_div_factor``.
    three_phase
        Whether to go down as far as the start first, and then further.

    Raises
    ------
    ValueError
        If a setting is out of range, or the optimizer has no momentum to cycle.

    References
    ----------
    Smith and Topin, Super-convergence: very fast training of neural networks (2018).
    """

    def __init__(
        self,
        optimizer: Optimizer,
        max_lr: float | list[float],
        total_steps: int | None = None,
        epochs: int | None = None,
        steps_per_epoch: int | None = None,
        pct_start: float = 0.3,
        anneal_strategy: str = "cos",
        cycle_momentum: bool = True,
        base_momentum: float | list[float] = 0.85,
        max_momentum: float | list[float] = 0.95,
        div_factor: float = 25.0,
        final_div_factor: float = 1e4,
        three_phase: bool = False,
        last_epoch: int = -1,
    ) -> None:
        if total_steps is None:
            if not epochs or not steps_per_epoch or epochs < 0 or steps_per_epoch < 0:
                raise ValueError(
                    "You must define either total_steps OR (epochs AND steps_per_epoch)"
                )
            total_steps = epochs * steps_per_epoch
        if total_steps <= 0 or not isinstance(total_steps, int):
            raise ValueError(f"Expected positive integer total_steps, but got {total_steps}")
        if not 0 <= pct_start <= 1:
            raise ValueError(f"Expected float between 0 and 1 pct_start, but got {pct_start}")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(
                f"anneal_strategy must be one of 'cos' or 'linear', instead got {anneal_strategy}"
            )
        self.total_steps = total_steps
        self.anneal_strategy = anneal_strategy
        self.cycle_momentum = cycle_momentum
        groups = optimizer.param_groups
        peak = float(pct_start * total_steps) - 1
        low = ("initial_lr", "max_momentum")
        high = ("max_lr", "base_momentum")
        last = ("min_lr", "max_momentum")
        # Ends of the phases, and what the rate and the momentum go from and to.
        self._phases = [(peak, low, high), (total_steps - 1, high, last)]
        if three_phase:
            middle = float(2 * pct_start * total_steps) - 2
            self._phases[1:] = [(middle, high, low), (total_steps - 1, low, last)]
        if cycle_momentum and not all("momentum" in g or "betas" in g for g in groups):
            raise ValueError(
                "optimizer must support momentum or beta1 with `cycle_momentum` option enabled"
            )
        if last_epoch == -1:
            for i, group in enumerate(groups):
                rate = max_lr[i] if isinstance(max_lr, (list, tuple)) else max_lr
                group["initial_lr"] = rate / div_factor
                group["max_lr"] = rate
                group["min_lr"] = group["initial_lr"] / final_div_factor
                for name, value in (
                    ("base_momentum", base_momentum),
                    ("max_momentum", max_momentum),
                ):
                    if cycle_momentum:
                        group[name] = value[i] if isinstance(value, (list, tuple)) else value
        super().__init__(optimizer, last_epoch)

    def _between(self, start: float, end: float, share: float) -> float:
        if self.anneal_strategy == "linear":
            return (end - start) * share + start
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    def get_lr(self) -> list[float]:
        """Return the rates at this step, and set the momenta.

        Raises
        ------
        ValueError
            If there were more steps than said.
        """
        at = self.last_epoch
        if at > self.total_steps:
            raise ValueError(
                f"Tried to step {at} times. The specified number of total steps is "
                f"{self.total_steps}"
            )
        phase = 0
        while phase < len(self._phases) - 1 and at > self._phases[phase][0]:
            phase += 1
        end, start_names, end_names = self._phases[phase]
        begin = self._phases[phase - 1][0] if phase else 0.0
        share = (at - begin) / (end - begin) if end != begin else 1.0
        rates = []
        for group in self.optimizer.param_groups:
            rates.append(self._between(group[start_names[0]], group[end_names[0]], share))
            if not self.cycle_momentum:
                continue
            momentum = self._between(group[start_names[1]], group[end_names[1]], share)
            if "betas" in group:
                group["betas"] = (momentum, *group["betas"][1:])
            else:
                group["momentum"] = momentum
        return rates
