"""Reductions."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row import call, structured

if TYPE_CHECKING:
    from .row import Draw, Row, Sample


def _reductions(d: Draw) -> list[Sample]:
    return [
        call(d()),
        call(d(1)),
        call(d(3), dim=0),
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(2, 3), dim=0, keepdim=True),
        call(d(2, 3, 2), dim=(0, 2)),
        call(d(2, 3, 2), (-1, 0), True),
        call(d(2, 0, 3), 2),
        call(d(2, 3), axis=-1, keepdims=True),
        call(d(40), 0),
        call(d(5, 33), 1),
        call(d(33, 5), 0),
    ]


def sums(d: Draw) -> list[Sample]:
    return [*_reductions(d), call(d(0)), call(d(2, 0), 1), call(d(2, 3), dim=())]


def _extremes(d: Draw) -> list[Sample]:
    return [
        call(d(3)),
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(2, 3), dim=0, keepdim=True),
        call(d(3, 2, 4), -2),
        call(d(2, 3), d(2, 3, operand=1)),
        call(d(7, 19), 0),
    ]


def _arg_extremes(d: Draw) -> list[Sample]:
    return [
        call(d()),
        call(d(3)),
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(40, 3), dim=0),
        call(d(2, 3), dim=0, keepdim=True),
        call(d(3, 2, 4), -2),
    ]


ROWS: tuple[Row, ...] = (
    structured("sum", sums, rtol=32),
    structured("mean", sums, rtol=32),
    structured("amax", _reductions),
    structured("amin", _reductions),
    structured("max", _extremes),
    structured("min", _extremes),
    structured("argmax", _arg_extremes, differentiable=False, extends=("bool",)),
    structured("argmin", _arg_extremes, differentiable=False, extends=("bool",)),
    structured("all", sums, differentiable=False),
    structured("any", sums, differentiable=False),
)
