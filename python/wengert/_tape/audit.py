"""How far rounding has taken each line's value and adjoint from those of a run in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from wengert import _core

from . import show

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from wengert._core import Tensor

    from .lines import Line
    from .tapes import Tape

    Array = NDArray[Any]

# Digits of the significand, with the one that is not stored, and the smallest exponent.
_FORMATS = {
    "wengert.float16": (11, -14),
    "wengert.bfloat16": (8, -126),
    "wengert.float32": (24, -126),
    "wengert.float64": (53, -1022),
}


@dataclass(frozen=True)
class Error:
    """A distance.

    Attributes
    ----------
    ulp
        The largest of all elements, in units in the last place.
    relative
        That of the whole vector, by its length.
    """

    ulp: float
    relative: float


@dataclass(frozen=True)
class LineAudit:
    """A line's errors; None where something is not known.

    Attributes
    ----------
    line
        The line, or an input, which has an adjoint alone.
    rounding
        What the line itself adds: against its result, in float64, of the operands as they are.
    value
        What all lines up to here have added up to.
    adjoint
        What is wrong with the gradient here.
    """

    line: Line
    rounding: Error | None
    value: Error | None
    adjoint: Error | None


class Audit:
    """The errors, line by line; printed as a table."""

    def __init__(self, lines: list[LineAudit]) -> None:
        self.lines = lines

    def __iter__(self) -> Iterator[LineAudit]:
        return iter(self.lines)

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, name: str) -> LineAudit:
        for audited in self.lines:
            if audited.line.name == name:
                return audited
        raise KeyError(f"audit: no line or input is called {name!r}")

    @property
    def worst(self) -> LineAudit:
        """The line that itself adds the largest error, in ULP."""
        return max(self.lines, key=lambda a: a.rounding.ulp if a.rounding else -1.0)

    def __repr__(self) -> str:
        return f"<Audit of {len(self)} lines>"

    def __str__(self) -> str:
        return "\n".join(show.aligned(self._rows()))

    def _repr_html_(self) -> str:
        rows = self._rows()
        return show.plain_table(rows[0], rows[1:])

    def _rows(self) -> list[list[str]]:
        rows = [
            [
                "line",
                "dtype",
                "own ULP",
                "value ULP",
                "relative",
                "adjoint ULP",
                "relative",
                "where",
            ]
        ]
        for a in self.lines:
            rows.append([
                str(a.line), str(a.line.dtype).rpartition(".")[2], *_cells(a.rounding)[:1],
                *_cells(a.value), *_cells(a.adjoint), show.where(a.line),
            ])  # fmt: skip
        return rows


def _cells(error: Error | None) -> list[str]:
    return ["-", "-"] if error is None else [f"{error.ulp:.3g}", f"{error.relative:.2g}"]


def ulp_distance(actual: Tensor, exact: Tensor) -> Error | None:
    """Return how far a tensor is from one in float64, in units of its own dtype."""
    digits, lowest = _FORMATS[str(actual.dtype)]
    a = actual.detach().cpu().to(_core.float64).numpy()
    e = exact.detach().cpu().numpy()
    known = np.isfinite(a) & np.isfinite(e)
    if not known.any():
        return None
    a, e = np.where(known, a, 0.0), np.where(known, e, 0.0)
    # e = f 2^k with f in [1/2, 1): k - 1 is the exponent of its leading digit.
    exponent = np.maximum(np.where(e == 0, lowest, np.frexp(e)[1] - 1), lowest)
    ulp = float(np.max(np.abs(a - e) / np.ldexp(1.0, exponent - (digits - 1)), initial=0.0))
    length = float(np.sqrt(np.sum(np.square(e))))
    distance = float(np.sqrt(np.sum(np.square(a - e))))
    return Error(ulp, distance / length if length else (0.0 if distance == 0 else np.inf))


def _distance(actual: Tensor | None, exact: Tensor | None) -> Error | None:
    if actual is None or exact is None or not actual.dtype.is_floating_point:
        return None
    return ulp_distance(actual, exact)


def audit(tape: Tape) -> Audit:
    """Audit the function of a tape."""
    shadow = _core.Shadow()
    run = tape._again("audit", shadow)
    audited: list[LineAudit] = []
    for line in [*run.inputs, *run]:
        which = line._about["result"] or 0
        first = line._entry - which
        adjoint = _distance(line.adjoint, shadow.adjoint(first, which))
        if line.index is None:
            audited.append(LineAudit(line, None, None, adjoint))
            continue
        value = line.value
        own = _distance(value, _alone(line, first, which, shadow))
        audited.append(LineAudit(line, own, _distance(value, shadow.value(first, which)), adjoint))
    return Audit(audited)


def _alone(line: Line, first: int, which: int, shadow: _core.Shadow) -> Tensor | None:
    """Return a line's result in float64 of its operands as they are."""
    from .lines import Line

    moved: dict[int, tuple[Tensor, Tensor]] = {}
    for i, (kind, source) in enumerate(line._operands):
        memory = shadow.memory(first, i) if kind == "entry" else None
        if memory is None:
            continue
        value = Line(line._tape, source).value
        if value is None:
            return None
        _, to = moved.setdefault(memory.data_ptr(), (memory, memory.clone()))
        shadow.window(first, i, to).copy_(value.detach())
    pairs = list(moved.values())
    return shadow.replay(first, [p[0] for p in pairs], [p[1] for p in pairs])[which]
