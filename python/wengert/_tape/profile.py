"""Where the time goes: time, bytes and floating point operations, line by line."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from wengert import _core

from . import show

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .lines import Line
    from .tapes import Tape

_MOST_ROWS = 40


@dataclass(frozen=True)
class Cost:
    """What one line costs, forward or backward.

    Attributes
    ----------
    seconds
        The time in kernels, the median of the runs.
    flops, bytes
        Floating point operations, and what is read and written.
    launches
        How many kernels ran.
    """

    seconds: float
    flops: float
    bytes: float
    launches: int


@dataclass(frozen=True)
class LineCost:
    """A line, and what it costs there and back.

    Attributes
    ----------
    line
        The line, or the input whose gradient is accumulated.
    forward, backward
        The `Cost` of computing it, and of its rule with the adding of gradients that meet.
    """

    line: Line
    forward: Cost
    backward: Cost

    @property
    def seconds(self) -> float:
        """The time in kernels, there and back."""
        return self.forward.seconds + self.backward.seconds

    @property
    def flops(self) -> float:
        """The floating point operations, there and back."""
        return self.forward.flops + self.backward.flops

    @property
    def bytes(self) -> float:
        """The bytes read and written, there and back."""
        return self.forward.bytes + self.backward.bytes


class Profile:
    """Costs by line, the dearest first; printed as a table.

    ``forward_seconds`` and ``backward_seconds`` are the whole, without instruments;
    ``kernel_seconds`` is what the lines add up to. What is left over is spent outside of kernels:
    in Python, in recording, in allocating.
    """

    def __init__(
        self, costs: list[LineCost], n: int, forward_seconds: float, backward_seconds: float
    ) -> None:
        self.lines = sorted(costs, key=lambda c: -c.seconds)
        self.n = n
        self.forward_seconds = forward_seconds
        self.backward_seconds = backward_seconds

    def __iter__(self) -> Iterator[LineCost]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    @property
    def kernel_seconds(self) -> float:
        """The time in kernels, of all lines there and back."""
        return sum(c.seconds for c in self.lines)

    @property
    def flops(self) -> float:
        """The floating point operations of all lines, there and back."""
        return sum(c.flops for c in self.lines)

    @property
    def bytes(self) -> float:
        """The bytes that all lines read and write, there and back."""
        return sum(c.bytes for c in self.lines)

    def __repr__(self) -> str:
        return f"<Profile of {len(self)} lines, {_seconds(self.kernel_seconds)} in kernels>"

    def __str__(self) -> str:
        return self.table()

    def _repr_html_(self) -> str:
        rows = self._rows("line", _MOST_ROWS)
        return show.plain_table(rows[0], rows[1:])

    def table(self, by: str = "line", most: int | None = _MOST_ROWS) -> str:
        """Return the costs as text, the dearest first.

        Parameters
        ----------
        by
            'line', 'operation', 'module' or 'where': what a row is for.
        most
            How many rows to show; None shows all.

        Raises
        ------
        ValueError
            If ``by`` is something else.
        """
        return "\n".join(show.aligned(self._rows(by, most)))

    def _rows(self, by: str, most: int | None) -> list[list[str]]:
        keys: dict[str, Callable[[Line], str]] = {
            "line": str,
            "operation": lambda line: line.operation,
            "module": lambda line: line.module or "-",
            "where": show.where,
        }
        if by not in keys:
            raise ValueError(f"profile: by must be one of {list(keys)}, got {by!r}")
        groups: dict[Any, list[LineCost]] = {}
        for c in self.lines:
            key = c.line._entry if by == "line" else keys[by](c.line)
            groups.setdefault(key, []).append(c)
        ranked = sorted(groups.values(), key=lambda g: -sum(c.seconds for c in g))
        shown = ranked if most is None else ranked[:most]
        head = [by, "forward", "backward", "share", "FLOPs", "bytes", "GFLOP/s", "launches"]
        rows = [head] + [self._row(keys[by](g[0].line), g) for g in shown]
        if by == "line":
            wheres = ["where", *(show.where(g[0].line) for g in shown)]
            rows = [[*row, where] for row, where in zip(rows, wheres, strict=True)]
        if len(shown) < len(ranked):
            rest = [c for g in ranked[len(shown) :] for c in g]
            rows.append(self._row(f"({len(ranked) - len(shown)} more)", rest))
        rows.append(self._row("all kernels", self.lines))
        whole = [_seconds(self.forward_seconds), _seconds(self.backward_seconds)]
        rows.append(["the whole, without instruments", *whole])
        return [row + [""] * (len(rows[0]) - len(row)) for row in rows]

    def _row(self, name: str, costs: list[LineCost]) -> list[str]:
        seconds = sum(c.seconds for c in costs)
        flops = sum(c.flops for c in costs)
        return [
            name,
            _seconds(sum(c.forward.seconds for c in costs)),
            _seconds(sum(c.backward.seconds for c in costs)),
            f"{100 * seconds / self.kernel_seconds:.1f} %" if self.kernel_seconds else "-",
            _count(flops),
            _count(sum(c.bytes for c in costs)),
            f"{flops / seconds / 1e9:.3g}" if seconds and flops else "-",
            str(sum(c.forward.launches + c.backward.launches for c in costs)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the costs as JSON knows them."""
        return {
            "n": self.n,
            "forward_seconds": self.forward_seconds,
            "backward_seconds": self.backward_seconds,
            "kernel_seconds": self.kernel_seconds,
            "lines": [
                {
                    **c.line.to_dict(),
                    "forward": asdict(c.forward),
                    "backward": asdict(c.backward),
                }
                for c in self.lines
            ],
        }


def _seconds(s: float) -> str:
    for unit, scale in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if s * scale >= 1:
            return f"{s * scale:.3g} {unit}"
    return f"{s * 1e6:.2g} us" if s else "-"


def _count(n: float) -> str:
    for unit, scale in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if n >= scale:
            return f"{n / scale:.3g} {unit}"
    return f"{n:.0f}" if n else "-"


def _cost(readings: list[dict[str, float]]) -> Cost:
    last = readings[-1]
    seconds = median(r["seconds"] for r in readings)
    return Cost(seconds, last["flops"], last["bytes"], int(last["launches"]))


def profile(tape: Tape, n: int) -> Profile:
    """Run the function of a tape n times with a meter, and n times without."""
    if n < 1:
        raise ValueError(f"profile: n must be at least 1, got {n}")
    runs: list[Tape] = []
    readings: dict[int, list[tuple[dict[str, float], dict[str, float]]]] = {}
    wholes: list[tuple[float, float]] = []
    for _ in range(n):
        meter = _core.Meter()
        run = tape._again("profile", meter)
        lines = [line._about["operation"] for line in [*run.inputs, *run]]
        if runs and lines != [line._about["operation"] for line in [*runs[0].inputs, *runs[0]]]:
            raise RuntimeError("profile: the function records other lines each time")
        for line in [*run.inputs, *run]:
            if not line._about["result"]:  # of several results, the first
                readings.setdefault(line._entry, []).append(meter.read(line._entry))
        wholes.append(_whole(run))
        runs = runs or [run]
    first = runs[0]
    costs = [
        LineCost(line, _cost([r[0] for r in read]), _cost([r[1] for r in read]))
        for line in [*first.inputs, *first]
        if (read := readings.get(line._entry))
    ]
    costs = [c for c in costs if c.line.index is not None or c.backward.launches]
    return Profile(costs, n, median(w[0] for w in wholes), median(w[1] for w in wholes))


def _whole(run: Tape) -> tuple[float, float]:
    """Seconds that the function takes without instruments, and the walk back."""
    from wengert.random import get_rng_state, set_rng_state

    assert run._make is not None
    state = get_rng_state()
    began = time.perf_counter()
    result = run._make()
    there = time.perf_counter()
    run._trace.walk(result)  # from nodes that nobody watches
    back = time.perf_counter()
    set_rng_state(state)
    return there - began, back - there
