"""Operations along rows, and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row import call, structured

if TYPE_CHECKING:
    from .row import Draw, Row, Sample


def _softmaxes(d: Draw) -> list[Sample]:
    return [
        call(d(3), 0),
        call(d(2, 3), 1),
        call(d(2, 3), 0),
        call(d(2, 3, 2), dim=-2),
        call(d(), 0),
        call(d(0, 3), 1),
        call(d(3, 37), -1),
    ]


def _cross_entropies(d: Draw) -> list[Sample]:
    ignored = d.ints(0, 3, 4)
    ignored[1] = -100
    return [
        call(d(2, 3), d.ints(0, 3, 2)),
        call(d(3), d.ints(0, 3)),
        call(d(2, 3, 2), d.ints(0, 3, 2, 2), reduction="sum"),
        call(d(4, 3), ignored),
        call(d(4, 3), ignored, reduction="none"),
        call(d(4, 3), d.ints(0, 3, 4), ignore_index=1),
    ]


def _losses(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d(2, 3)),
        call(d(3), d(3), reduction="sum"),
        call(d(2, 2), d(2, 2), reduction="none"),
        call(d(), d()),
    ]


ROWS: tuple[Row, ...] = (
    structured("softmax", _softmaxes, rtol=16, refuses=("int64", "bool")),
    structured("log_softmax", _softmaxes, rtol=16, refuses=("int64", "bool")),
    structured("cross_entropy", _cross_entropies, rtol=32),
    structured("mse_loss", _losses, rtol=16, refuses=("bool",), extends=("int64",)),
)
