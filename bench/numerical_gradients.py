"""What a gradient costs by differences, and by backpropagation, as the number of weights grows.

Prints the table of docs/textbook/numerical-gradients.md: a tanh network with 16 inputs, 10
outputs and a batch of 32, float64, one thread; each figure the least of several runs.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING

import wengert as wg
from wengert.testing import numerical_gradient

if TYPE_CHECKING:
    from collections.abc import Callable


def network(hidden: int) -> tuple[wg.Tensor, Callable[[wg.Tensor], wg.Tensor]]:
    """All weights as one vector, and the loss as a function of it."""
    x, t = wg.randn(32, 16, dtype=wg.float64), wg.randn(32, 10, dtype=wg.float64)
    v = 16 * hidden

    def loss(w: wg.Tensor) -> wg.Tensor:
        z = wg.tanh(x @ w[:v].view(16, hidden))
        return ((z @ w[v:].view(hidden, 10) - t) ** 2).mean()

    return wg.randn(26 * hidden, dtype=wg.float64, requires_grad=True), loss


def least_seconds(run: Callable[[], object], budget: float) -> float:
    least, start = float("inf"), time.perf_counter()
    while True:
        before = time.perf_counter()
        run()
        after = time.perf_counter()
        least = min(least, after - before)
        if after - start > budget:
            return least


def shown(seconds: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.3g} ns"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hidden", type=int, nargs="*", default=[1, 10, 100, 1000])
    parser.add_argument("--budget", type=float, default=2, help="seconds a figure")
    args = parser.parse_args()
    wg.set_num_threads(1)
    wg.manual_seed(0)
    rows = [
        ["weights", "evaluations: forward, central differences, backpropagation"]
        + ["forward differences", "central differences", "backpropagation"]
    ]
    for hidden in args.hidden:
        w, loss = network(hidden)
        n = w.numel()
        times = [
            least_seconds(lambda: numerical_gradient(loss, w, method="forward"), args.budget),  # noqa: B023
            least_seconds(lambda: numerical_gradient(loss, w), args.budget),  # noqa: B023
            least_seconds(lambda: wg.autograd.grad(loss(w), w), args.budget),  # noqa: B023
        ]
        rows.append([f"{n:,}", f"{n + 1:,}; {2 * n:,}; 1 and a walk back", *map(shown, times)])
    rows.insert(1, ["---"] * len(rows[0]))
    for row in rows:
        print("| " + " | ".join(row) + " |")


if __name__ == "__main__":
    main()
