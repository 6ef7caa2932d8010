"""Random programs, captured: their replays have the bits of plain calls, with other numbers.

Programs are those of ``programs.py``, written here in wengert alone. Each becomes a function, of
which one copy runs as usual and one is captured, in worlds of their own; after each call all that
can be seen of the two is compared. ``WENGERT_EXAMPLES`` is the number of programs.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
from wengert import optim

hypothesis = pytest.importorskip(
    "hypothesis", reason="hypothesis, which makes programs, is missing"
)

from hypothesis import strategies as st  # noqa: E402

from programs import STEPS, Draws, Program, Shape, leaf_lists, steps, values  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

EXAMPLES = int(os.environ.get("WENGERT_EXAMPLES", "300"))
SEED = os.environ.get("WENGERT_SEED")
CALLS = 5

# Where a leaf comes from: an argument that the function makes a leaf of, an argument that is one,
# or a tensor that the function holds.
KINDS = ("inside", "argument", "held")

# What is refused: each is something that a replay could not repeat.
JUSTIFIED = (
    "looked at the numbers",
    "came to have a graph",
    "was made another tensor in place",
    "got a hook",
    "still has its graph",
    "made to require grad",
    "is changed by each call",
    "is kept by something",  # a graph that what the function holds came to have
    "the tensor itself",
)


class Alone(Program):
    """A program that is written and run in wengert alone."""

    def __post_init__(self) -> None:
        space = {"m": self.ours}
        self.spaces = [space, space]

    def family(self, name: str) -> list[Any]:
        """The tensor and, if it is a view, what of."""
        t = self.spaces[0][name]
        return [t] if t._base is None else [t, t._base]

    def run(self, line: str, made: tuple[str, ...] = ()) -> tuple[Any, Any]:
        """Run a line; what raises stays in the program, as it has to raise in a replay's too."""
        self.lines.append(line)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                exec(compile(line, "<program>", "exec"), self.spaces[0])
        except Exception as error:
            self.lines[-1] += f"  # {type(error).__name__}"
            for name in made:
                self.spaces[0].pop(name, None)
            return error, error
        self.names += made
        return None, None


@dataclass
class Written:
    """A program as text, and what its leaves are."""

    body: list[str]
    leaves: list[tuple[str, Shape, bool, str]]  # name, shape, wants a gradient, kind
    names: list[str]
    grads: list[str]
    trained: bool = False
    held: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.held = [name for name, _, _, kind in self.leaves if kind == "held"]

    def source(self) -> str:
        given = [f"a{name}" for name, _, _, kind in self.leaves if kind != "held"]
        lines = [f"def step({', '.join(given)}):"]
        for name, _, wants, kind in self.leaves:
            if kind == "held":
                lines.append(f"{name} = h{name}")
            elif kind == "argument":
                lines.append(f"{name} = a{name}")
            else:
                lines.append(f"{name} = a{name}.detach()" + ".requires_grad_()" * wants)
        if self.trained:
            lines.append("optimizer.zero_grad()")
        for line in self.body:
            if "  # " in line:
                error = line.rpartition("  # ")[2]
                lines += ["try:", f"    {line}", f"except {error}:", "    pass"]
            else:
                lines.append(line)
        results = [f"{name}.detach()" for name in self.names]
        results += [f"None if {g} is None else {g}.detach()" for g in self.grads]
        lines += [f"return [{', '.join(results)}]"]
        return "\n    ".join(lines)


def write(
    leaves: Any, drawn: Any, other: int, kinds: list[str], ending: int, trained: bool = False
) -> Written:
    """Write a program down as a function would run it, with a backward as its ending."""
    p = Alone(wg, wg)
    made: list[tuple[str, Shape, bool, str]] = []
    for i, (shape, constant) in enumerate(leaves):
        name = p.fresh()
        wants = not (constant and i)
        p.run(
            f"{name} = m.tensor({values(i, shape)}, dtype=m.float64).view({shape}).detach()"
            + ".requires_grad_()" * wants,
            (name,),
        )
        p.leaves.append(name)
        made.append((name, shape, wants, kinds[i % len(kinds)]))
    p.lines.clear()
    for name, numbers in drawn:
        STEPS[name](p, Draws(numbers))
    total(p, other, trained)
    if trained:
        p.spaces[0]["big"] = wg.ones(2, dtype=wg.float64)
        p.run("loss = loss + (big * big).sum()")
    wanting = p.wanting()
    grads: list[str] = []
    if trained:
        p.run("loss.backward()")
        p.run("optimizer.step()")  # there is none yet
        p.lines[-1] = "optimizer.step()"
    elif wanting and ending < 3:
        how = "create_graph=True, allow_unused=True" if ending == 2 else "allow_unused=True"
        if ending == 0:
            p.run("loss.backward()")
        else:
            grads = [f"g{i}" for i in range(len(wanting))]
            error, _ = p.run(
                f"{', '.join(grads)}, = m.autograd.grad(loss, [{', '.join(wanting)}], {how})"
            )
            if error is not None:
                grads = []
            elif ending == 2:
                p.run(
                    f"sum((g * g).sum() for g in [{', '.join(grads)}] if g is not None).backward()"
                )
    return Written(p.lines, made, p.names, grads, trained)


def total(p: Program, other: int, bounded: bool) -> None:
    """Define ``loss``: the sum of the newest tensor and of another, weighted."""
    names = p.usable()
    terms = []
    for name in dict.fromkeys([names[0], names[other % len(names)]]):
        weights = [round(math.cos(i), 3) for i in range(math.prod(p.shape(name)))]
        term = f"{name}.tanh()" if bounded else name
        terms.append(f"({term} * m.tensor({weights}, dtype=m.float64).view({p.shape(name)})).sum()")
    p.run(f"loss = {' + '.join(terms)}")


# --- two worlds ----------------------------------------------------------------------------------


class World:
    """A function made of a program, what it holds, and what can be seen of a call."""

    def __init__(self, written: Written, captured: bool) -> None:
        self.written = written
        space: dict[str, Any] = {"m": wg}
        for i, (name, shape, wants, kind) in enumerate(written.leaves):
            if kind == "held":
                space["h" + name] = self.tensor(i, shape).requires_grad_(wants)
        self.held = [space["h" + name] for name in written.held]
        if written.trained:
            params = [t for t in self.held if t.requires_grad]
            params.append(wg.ones(20000, dtype=wg.float64, requires_grad=True))
            space["big"] = params[-1]
            self.held.append(params[-1])
            space["optimizer"] = optim.Adam(params, 1e-3)
        exec(compile(written.source(), "<program>", "exec"), space)
        self.step = space["step"]
        if captured:
            self.step = wg.capture(self.step)

    @staticmethod
    def tensor(seed: int, shape: Shape) -> wg.Tensor:
        t = wg.tensor(values(seed, shape), dtype=wg.float64).view(shape)
        return t if seed % 4 == 1 else t.clone()  # a view may come to have a graph, a leaf not

    def call(self, k: int) -> Any:
        """What is seen after a call with the numbers of `k`."""
        given = []
        for i, (_, shape, wants, kind) in enumerate(self.written.leaves):
            if kind != "held":
                t = self.tensor(i + 4 * k, shape)
                given.append(t.requires_grad_(wants and kind == "argument"))
        if not self.written.trained:
            if k % 3 == 2:
                for t in self.held:
                    t.grad = None
            with wg.no_grad():
                for i, t in enumerate(self.held):
                    t.detach().mul_(0.9 + 0.05 * i)
        raised = ""
        results: list[Any] = []
        try:
            results = self.step(*given)
        except wg.CaptureError:
            raise
        except Exception as error:
            raised = type(error).__name__
        seen = [raised]
        for t in (*results, *given, *self.held):
            seen.append(self.seen(t))
        seen += [self.seen(t.grad) for t in (*given, *self.held) if t.is_leaf or t.retains_grad]
        return seen

    @staticmethod
    def seen(t: wg.Tensor | None) -> Any:
        if t is None:
            return None
        numbers = t.detach().clone().numpy().tobytes()
        return tuple(t.shape), tuple(t.stride()), t.requires_grad, t.is_leaf, numbers


def refusal(written: Written, calls: int) -> str:
    """Compare two worlds, call by call. What capture says where it refuses; else nothing."""
    plain, captured = World(written, False), World(written, True)
    for k in range(calls):
        expected = plain.call(k)
        try:
            seen = captured.call(k)
        except wg.CaptureError as error:
            reason = str(error)
            assert any(why in reason for why in JUSTIFIED), f"{written.source()}\n{reason}"
            return reason
        for i, (ours, theirs) in enumerate(zip(seen, expected, strict=True)):
            assert ours == theirs, f"{written.source()}\ncall {k}, {i}:\n{ours}\n{theirs}"
    assert captured.step.captures <= 2, written.source()
    return "" if captured.step.captures else "not captured"


def each(fn: Callable[..., None], examples: int, *drawn: Any) -> None:
    settings = hypothesis.settings(
        max_examples=examples,
        derandomize=SEED is None,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    made = settings(hypothesis.given(leaf_lists, steps, st.integers(0, 30), *drawn)(fn))
    (made if SEED is None else hypothesis.seed(int(SEED))(made))()


def test_replays_have_the_same_bits() -> None:
    """Forwards and backwards, with changes in place, views, hooks, and errors that are caught."""
    counts: Counter[str] = Counter()

    def check(leaves: Any, drawn: Any, other: int, kinds: list[str], ending: int) -> None:
        reason = refusal(write(leaves, drawn, other, kinds, ending), CALLS)
        counts[reason] += 1

    kinds = st.lists(st.sampled_from(KINDS), min_size=3, max_size=3)
    each(check, EXAMPLES, kinds, st.integers(0, 3))
    assert counts[""] > 0.7 * sum(counts.values()), counts.most_common(5)


@pytest.fixture(params=[1, 2])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = wg.get_num_threads()
    wg.set_num_threads(request.param)
    yield
    wg.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
def test_training_for_a_thousand_steps() -> None:
    """Programs whose leaves are parameters, beside one of which threads share the work."""
    counts: Counter[str] = Counter()

    def check(leaves: Any, drawn: Any, other: int) -> None:
        kinds = ["held", "inside", "held"]
        counts[refusal(write(leaves, drawn, other, kinds, 0, trained=True), 1000)] += 1

    each(check, max(EXAMPLES // 60, 1))
    assert counts[""] > 0.5 * sum(counts.values()), counts.most_common(5)
