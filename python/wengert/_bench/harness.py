"""Measures candidates side by side: one process, one run, in turn, and only if they agree.

A case names what is counted and builds its candidates, one or more a library. Before any timing
every candidate's values are compared with wengert's; a case whose candidates differ is refused.
Then the candidates take turns, round after round, each for as many repetitions as make up one
measurable stretch, so that whatever else the machine does falls on all of them alike.
"""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .peers import Peers

WENGERT = "wengert"


@dataclass(frozen=True)
class Candidate:
    """One library's way of doing what a case measures.

    Parameters
    ----------
    name
        The library, and the variant where there is more than one.
    stmt
        The Python statement that is timed, as often as needed.
    names
        What the statement refers to.
    check
        Computes the values that all candidates must agree on.
    after
        Runs once at the end of each timed stretch, inside it: waits for work still under way.
    per
        How many counted units a statement does, where not as the case says.
    """

    name: str
    stmt: str
    names: dict[str, Any]
    check: Callable[[], Any]
    after: str = "pass"
    per: int | None = None


@dataclass(frozen=True)
class Case:
    """What is measured.

    Parameters
    ----------
    name
        ``family/what/size``.
    counted
        What one unit of the figures is, such as "one operation".
    build
        Makes the candidates from the libraries at hand; wengert's first.
    per
        How many units a statement does.
    flops, nbytes
        Floating point operations and bytes that must move at least, a unit; 0: not shown.
    streams
        Whether those bytes are what the operands and the result hold.
    rtol, atol
        How closely the values must agree: ``|x - wengert| <= atol + rtol |wengert|``.
    compared
        What of a candidate's result must agree, where not all of it: not the positions of equal
        elements, nor the values of a random generator.
    """

    name: str
    counted: str
    build: Callable[[Peers], list[Candidate]]
    per: int = 1
    flops: float = 0
    nbytes: float = 0
    streams: bool = False
    rtol: float = 1e-5
    atol: float = 1e-6
    compared: Callable[[Any], Any] | None = None


@dataclass(frozen=True)
class Settings:
    """How long and how often to measure.

    ``stretch`` is the least length of a timed stretch, ``warm`` that of what is run before it, and
    ``budget`` that of a case, in seconds. ``settle``: whether there are pools to wait for.
    """

    stretch: float = 0.005
    warm: float = 0.0005
    settle: bool = True
    budget: float = 2.0
    min_rounds: int = 5
    max_rounds: int = 200


@dataclass
class Timing:
    """A candidate's figures: seconds a unit, one a round."""

    name: str
    repetitions: int
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0
    wall: float = 0.0

    @property
    def min(self) -> float:
        return min(self.seconds)

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)

    @property
    def cores(self) -> float:
        """Processor time over wall time: how many cores it really kept busy."""
        return self.cpu / self.wall


class DisagreementError(Exception):
    """Candidates computed different values."""


# --- checking ----------------------------------------------------------------------------------


_CHUNK = 1 << 16  # elements compared at a time: in float64, they stay in the cache


def host(value: Any) -> Any:
    """Return a NumPy array with the values of any library's array, or a number's."""
    import numpy as np

    if hasattr(value, "detach"):
        value = value.detach()
        value = (value.float() if "float16" in str(value.dtype) else value).numpy()
    elif "bfloat16" in str(getattr(value, "dtype", "")):
        value = value.astype("float32")
    return np.asarray(value)


def _worst(x: Any, want: Any, case: Case) -> float:
    """Return the largest difference that is over the case's tolerance, or 0."""
    import numpy as np

    x, want, worst = x.ravel(), want.ravel(), 0.0
    for i in range(0, x.size, _CHUNK):
        a, b = (v[i : i + _CHUNK].astype(np.float64) for v in (x, want))
        if not np.allclose(a, b, rtol=case.rtol, atol=case.atol, equal_nan=True):
            worst = max(worst, float(np.nanmax(np.abs(a - b))))
    return worst


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for v in value:
            yield from _flat(v)
    else:
        yield host(value)


def check_equal(case: Case, candidates: Sequence[Candidate]) -> None:
    """Compare every candidate's values with the first one's.

    Raises
    ------
    DisagreementError
        If they differ by more than the case's tolerance.
    """
    part = case.compared or (lambda result: result)
    expected = list(_flat(part(candidates[0].check())))
    for candidate in candidates[1:]:
        got = list(_flat(part(candidate.check())))
        if len(got) != len(expected):
            raise DisagreementError(
                f"{candidate.name}: {len(got)} values, expected {len(expected)}"
            )
        for i, (x, want) in enumerate(zip(got, expected, strict=True)):
            if x.shape != want.shape:
                raise DisagreementError(f"{candidate.name}: value {i} has shape {x.shape}")
            if worst := _worst(x, want, case):
                raise DisagreementError(
                    f"{candidate.name}: value {i} differs from wengert's by up to {worst:.3g} "
                    f"(rtol {case.rtol:g}, atol {case.atol:g})"
                )


# --- timing ------------------------------------------------------------------------------------

_LOOP = """\
def loop(_repetitions, _clock, _cpu_clock):
    _cpu = _cpu_clock()
    _start = _clock()
    for _ in _repetitions:
        {stmt}
    {after}
    _end = _clock()
    return _end - _start, _cpu_clock() - _cpu
"""


class Loop:
    """A candidate's statement, compiled into a loop around it."""

    def __init__(self, candidate: Candidate) -> None:
        source = _LOOP.format(stmt=candidate.stmt, after=candidate.after)
        scope = dict(candidate.names)
        exec(compile(source, f"<{candidate.name}>", "exec"), scope)
        self._loop: Callable[..., tuple[float, float]] = scope["loop"]

    def run(self, repetitions: int) -> tuple[float, float]:
        """Return the wall and the processor time of so many repetitions, in seconds."""
        repeat = itertools.repeat(None, repetitions)
        return self._loop(repeat, time.perf_counter, time.process_time)

    def calibrate(self, stretch: float) -> int:
        """Return how many repetitions take at least `stretch` seconds, after warming up."""
        if self.run(1)[0] >= 20 * stretch:
            return 1
        n = 1
        while True:
            wall = min(self.run(n)[0], self.run(n)[0])
            if wall >= stretch:
                return n
            n = max(n + 1, min(n * 10, int(n * 1.2 * stretch / max(wall, 1e-9))))


def measure(case: Case, candidates: Sequence[Candidate], settings: Settings) -> list[Timing]:
    """Time the candidates in turn, and return a timing each."""
    loops = [Loop(c) for c in candidates]
    timings = []
    gc.collect()
    gc.disable()
    try:
        for candidate, loop in zip(candidates, loops, strict=True):
            if settings.settle:
                settle()
            timings.append(Timing(candidate.name, loop.calibrate(settings.stretch)))
        end = time.perf_counter() + settings.budget
        order = list(range(len(loops)))
        for done in range(settings.max_rounds):
            if done >= settings.min_rounds and time.perf_counter() > end:
                break
            for i in order:
                _stretch(loops[i], timings[i], candidates[i].per or case.per, settings)
            order.append(order.pop(0))  # nobody always comes after the same neighbour
    finally:
        gc.enable()
    return timings


def settle(limit: float = 0.5, look: float = 0.02) -> None:
    """Wait until no thread of this process runs: idle ones of a pool spin for up to 0.1 seconds.

    Systems count processor time by ticks of up to 10 ms, so a look must be longer than that.
    """
    end = time.perf_counter() + limit
    while time.perf_counter() < end:
        before = time.process_time()
        time.sleep(look)
        if time.process_time() - before < 0.05 * look:
            return


def _stretch(loop: Loop, timing: Timing, per: int, settings: Settings) -> None:
    """Add one stretch, after others' threads have stopped and a warm-up brought back our own."""
    if settings.settle:
        settle()
    until = time.perf_counter() + settings.warm
    while timing.repetitions > 1 and time.perf_counter() < until:
        loop.run(max(1, timing.repetitions // 10))
    wall, cpu = loop.run(timing.repetitions)
    timing.seconds.append(wall / (timing.repetitions * per))
    timing.wall += wall
    timing.cpu += cpu


# --- results -----------------------------------------------------------------------------------


def _held_bytes(ours: Candidate, peers: Peers) -> float:
    """Return how many bytes the tensors hold that a candidate reads and makes."""
    tensor, result = peers.wg.Tensor, ours.check()
    made = result if isinstance(result, (tuple, list)) else [result]
    return float(sum(v.nbytes for v in (*ours.names.values(), *made) if isinstance(v, tensor)))


def run_case(case: Case, peers: Peers, settings: Settings) -> dict[str, Any]:
    """Build, check and time a case; the result is ready for JSON.

    A case that fails is refused like one whose candidates differ: the others are still worth
    running.
    """
    import numpy as np

    result: dict[str, Any] = {
        "name": case.name,
        "counted": case.counted,
        "rtol": case.rtol,
        "atol": case.atol,
    }
    try:
        candidates = case.build(peers)
        if candidates[0].name != WENGERT:
            raise ValueError(f"{case.name}: the first candidate must be {WENGERT}")
        check_equal(case, candidates)
        timings = measure(case, candidates, settings)
    except DisagreementError as e:
        return {**result, "refused": str(e)}
    except Exception as e:
        return {**result, "refused": f"{type(e).__name__}: {e}"}
    ours = timings[0]
    nbytes = _held_bytes(candidates[0], peers) if case.streams else case.nbytes
    result.update(flops=case.flops, nbytes=nbytes)
    rows = []
    for t in timings:
        row: dict[str, Any] = {
            "name": t.name,
            "min_s": t.min,
            "median_s": t.median,
            "rounds": len(t.seconds),
            "repetitions": t.repetitions,
            "ratio_min": t.min / ours.min,
            "ratio_median": t.median / ours.median,
            "quartiles_s": [float(q) for q in np.quantile(t.seconds, [0.25, 0.75])],
            "cores": t.cores,
        }
        if case.flops:
            row["gflops"] = case.flops / t.min / 1e9
        if nbytes:
            row["gbytes"] = nbytes / t.min / 1e9
        rows.append(row)
    return {**result, "rows": rows}
