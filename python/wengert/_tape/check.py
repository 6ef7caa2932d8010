"""Each line's rule against differences of that line, in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from wengert import _core
from wengert._creation import from_numpy
from wengert.testing import GradcheckError

from . import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wengert._core import Tensor

    from .lines import Line
    from .tapes import Tape

    Array = NDArray[Any]

_STEP = float(np.finfo(np.float64).eps ** (1 / 3))  # best for central differences
_EPS = float(np.finfo(np.float64).eps)
_KINK = 1e-3  # one-sided differences further apart than this are at a kink


@dataclass(frozen=True)
class Finding:
    """What was found of a line's derivative by operands that lie in the same memory.

    Attributes
    ----------
    line, operands
        The line, and the names of the operands.
    verdict
        'right', 'wrong', or why nothing can be said.
    by_rule, by_differences
        The derivative along random directions, as the rule and as differences have it.
    """

    line: Line
    operands: tuple[str, ...]
    verdict: str
    by_rule: float = 0.0
    by_differences: float = 0.0

    def __str__(self) -> str:
        by = " and ".join(self.operands)
        said = f"{self.line.operation}: the derivative of '{self.line}' by {by} is {self.verdict}"
        if self.verdict == "wrong":
            said += f": the rule gives {self.by_rule:.6g}, differences {self.by_differences:.6g}"
        if self.line.file:
            said += f"; {self.line.file}:{self.line.line} in {self.line.function}"
        return said


class Check:
    """What was found, line by line; true if no rule is wrong."""

    def __init__(self, findings: list[Finding]) -> None:
        self.findings = findings

    def __bool__(self) -> bool:
        return not self.wrong

    def __iter__(self) -> Iterator[Finding]:
        return iter(self.findings)

    def __len__(self) -> int:
        return len(self.findings)

    @property
    def wrong(self) -> list[Finding]:
        """Where rule and differences do not agree."""
        return [f for f in self.findings if f.verdict == "wrong"]

    @property
    def unknown(self) -> list[Finding]:
        """Where nothing can be said, and why."""
        return [f for f in self.findings if f.verdict not in ("right", "wrong")]

    def __repr__(self) -> str:
        right = len(self) - len(self.wrong) - len(self.unknown)
        return f"<Check: {right} right, {len(self.wrong)} wrong, {len(self.unknown)} unknown>"

    def __str__(self) -> str:
        return "\n".join([*show.aligned(self._rows()), repr(self)[1:-1]])

    def _repr_html_(self) -> str:
        rows = self._rows()
        return show.plain_table(rows[0], rows[1:])

    def _rows(self) -> list[list[str]]:
        rows = [["line", "by", "verdict", "by the rule", "by differences", "where"]]
        for f in self.findings:
            said = f.verdict in ("right", "wrong")
            numbers = [f"{f.by_rule:.9g}", f"{f.by_differences:.9g}"] if said else ["-", "-"]
            by = ", ".join(f.operands)
            rows.append([str(f.line), by, f.verdict, *numbers, show.where(f.line)])
        return rows


def check(tape: Tape, rtol: float, samples: int, raise_exception: bool) -> Check:
    """Check every line of the function of a tape."""
    shadow = _core.Shadow()
    run = tape._again("check", shadow)
    findings: list[Finding] = []
    for line in run:
        if line._about["result"]:  # of several results, the first speaks for all
            continue
        for operands in _groups(line, shadow):
            findings.append(_judge(line, operands, shadow, rtol, samples))
    found = Check(findings)
    if found.wrong and raise_exception:
        head = f"check: {len(found.wrong)} of {len(found)} derivatives are wrong\n"
        raise GradcheckError(head + "\n".join(f"  {f}" for f in found.wrong))
    return found


def _groups(line: Line, shadow: _core.Shadow) -> list[list[int]]:
    """Operands that have a derivative, those in the same memory together."""
    groups: dict[int, list[int]] = {}
    for i, (kind, _) in enumerate(line._operands):
        if kind != "entry":
            continue
        memory = shadow.memory(line._entry, i)
        if memory is not None:
            groups.setdefault(memory.data_ptr(), []).append(i)
    return list(groups.values())


class _Difference(NamedTuple):
    """Of one result: where it is smooth, its change along a direction, and the noise of that."""

    finite: bool
    smooth: Array
    change: Array
    noise: Array


def _difference(up: Array, middle: Array, down: Array) -> _Difference:
    with np.errstate(all="ignore"):
        above, below = (up - middle) / _STEP, (middle - down) / _STEP
        noise = 64 * _EPS * (np.abs(middle) + np.abs(up)) / _STEP
        gap = np.abs(above - below)
        smooth = gap <= _KINK * (np.abs(above) + np.abs(below)) + noise
        finite = np.isfinite(up) & np.isfinite(middle) & np.isfinite(down)
        smooth &= finite
        change = np.where(smooth, (up - down) / (2 * _STEP), 0.0)
    return _Difference(bool(finite.all()), smooth, change, np.where(smooth, noise, 0.0))


def _judge(
    line: Line, operands: list[int], shadow: _core.Shadow, rtol: float, samples: int
) -> Finding:
    names = tuple(dict.fromkeys(line.inputs[i] for i in operands))
    if line.shape.numel() == 0 and not line._about["result"]:
        return Finding(line, names, "right")
    entry = line._entry
    if any(shadow.shared_with_constant(entry, i) for i in operands):
        return Finding(line, names, "unknown: a constant lies in the same memory")
    memory = shadow.memory(entry, operands[0])
    assert memory is not None
    rng = np.random.default_rng(0)
    rule = differences = 0.0
    seen, finite = False, True
    for _ in range(samples):
        direction = _direction(shadow, entry, operands, memory, rng)
        moved = [memory + s * _STEP * direction for s in (1.0, 0.0, -1.0)]
        results = [shadow.replay(entry, [memory], [to]) for to in moved]
        cotangents: list[Tensor | None] = []
        differences = size = noise = 0.0
        for three in zip(*results, strict=True):
            if any(r is None for r in three):
                cotangents.append(None)
                continue
            d = _difference(*(r.cpu().numpy() for r in three if r is not None))
            seen = seen or bool(d.smooth.any())
            finite = finite and d.finite
            u = np.where(d.smooth, rng.standard_normal(d.smooth.shape), 0.0)
            cotangents.append(from_numpy(np.asarray(u)).to(memory.device))
            differences += float(np.sum(u * d.change))
            size += float(np.sum(np.square(u * d.change)))
            noise += float(np.sqrt(np.sum(np.square(u * d.noise))))
        if all(u is None for u in cotangents):
            return Finding(line, names, "unknown: computed outside of the kernels")
        try:
            pulled = _pulled(line, shadow, cotangents)
        except Exception as error:  # a rule of somebody's own may do anything
            return Finding(line, names, f"unknown: the rule raised {error}")
        rule = 0.0
        for i in operands:
            if (g := pulled[i]) is None:
                continue
            terms = g.detach().cpu().numpy() * shadow.window(entry, i, direction).cpu().numpy()
            rule += float(np.sum(terms))
            size += float(np.sum(np.square(terms)))
        if not finite and not np.isfinite(rule):  # 0 times infinity
            return Finding(line, names, "unknown: not finite")
        if not abs(rule - differences) <= rtol * np.sqrt(size) + noise:
            return Finding(line, names, "wrong", rule, differences)
    if not seen:
        return Finding(line, names, "unknown: at a kink, or not finite", rule, differences)
    return Finding(line, names, "right", rule, differences)


def _pulled(
    line: Line, shadow: _core.Shadow, cotangents: list[Tensor | None]
) -> list[Tensor | None]:
    """Return what the rule makes of cotangents; in the line's dtype if it cannot in float64."""
    trace, entry = line._tape._trace, line._entry
    try:
        return shadow.pull(trace, entry, cotangents)
    except Exception:
        return shadow.pull(trace, entry, cotangents, exact=False)


def _direction(
    shadow: _core.Shadow, entry: int, operands: list[int], memory: Tensor, rng: np.random.Generator
) -> Tensor:
    """Return a random direction, zero outside of the operands, in proportion to their elements."""
    direction = _core.zeros_like(memory).cpu()
    for i in operands:
        x = shadow.window(entry, i, memory).cpu().numpy()
        finite = np.abs(x[np.isfinite(x) & (x != 0)])
        typical = float(np.sqrt(np.mean(np.square(finite)))) if finite.size else 1.0
        size = np.where(np.isfinite(x) & (x != 0), np.abs(x), typical)
        sign = rng.choice([-1.0, 1.0], x.shape)
        values = sign * size * rng.uniform(0.5, 1, x.shape)
        # Elements that share their memory get the last of their values.
        shadow.window(entry, i, direction).numpy()[...] = values
    return direction.to(memory.device)
