"""What capturing costs, what guards cost, and what one product instead of several would gain.

    python bench/capture_costs.py

One thread, minima, in microseconds. Steps are those of a 64-64-64-10 network with Adam.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable

ROUNDS = 200


def best(call: Callable[[], Any], calls: int = 100) -> float:
    """Return the least time of a call, of some rounds of many."""
    times = []
    for _ in range(ROUNDS // 10):
        start = time.perf_counter()
        for _ in range(calls):
            call()
        times.append((time.perf_counter() - start) / calls)
    return min(times) * 1e6


def trained() -> Callable[..., wg.Tensor]:
    """Return a step of a new network, taken twice."""
    layers = nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10)
    model = nn.Sequential(*layers)
    optimizer = optim.Adam(model.parameters())

    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        return loss

    for _ in range(2):
        step(*BATCH)
    return step


BATCH = wg.randn(32, 64), wg.randint(0, 10, (32,))


def capturing() -> None:
    """Print a plain step, the call that captures it, a replay and its guards."""
    plain, first = [], []
    for _ in range(ROUNDS):
        step = trained()
        captured = wg.capture(step)
        for times, call in (plain, step), (first, captured):
            start = time.perf_counter()
            call(*BATCH)
            times.append((time.perf_counter() - start) * 1e6)
    print(f"plain {min(plain):.1f}, capturing {min(first):.1f}, ", end="")
    guards = captured._entries.popitem()[1][0].guards
    print(f"guards {best(guards.hold):.2f}, of which the call {best(guards.__len__):.2f}")


def products() -> None:
    """Print products with one left factor, apart and as one."""
    for m, n, k, count in ((16, 16, 16, 3), (64, 64, 4, 2), (32, 64, 64, 3), (768, 128, 128, 3)):
        x, weights = wg.randn(m, k), [wg.randn(n, k) for _ in range(count)]
        joined = wg.cat(weights)
        apart = wg.capture(lambda x, w=weights: tuple(F.linear(x, each) for each in w))
        one = wg.capture(lambda x, w=joined: F.linear(x, w))
        times = []
        for captured in apart, one:
            captured(x), captured(x)
            program = captured._entries.popitem()[1][0].program
            times.append(sum(program.times([x], ROUNDS)) / 1e3)
        print(f"{count} of {m} x {k} by {k} x {n}: apart {times[0]:.2f}, as one {times[1]:.2f}")


def few_columns() -> None:
    """Print the gradient of a weight by few inputs."""
    for rows, m, n in ((256, 64, 4), (32, 64, 8), (256, 32, 2)):
        left, right = wg.randn(rows, m).t(), wg.randn(rows, n)
        taken = best(lambda a=left, b=right: a @ b, 1000)  # type: ignore[misc]
        print(f"{m} x {rows} by {rows} x {n}: {taken:.2f}")


if __name__ == "__main__":
    wg.set_num_threads(1)
    with wg.no_grad():
        few_columns()
        products()
    capturing()
