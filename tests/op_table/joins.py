"""Joins: what views take apart, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row import call, structured

if TYPE_CHECKING:
    from .row import Draw, Row, Sample


def _cats(d: Draw) -> list[Sample]:
    return [
        call([d(2, 3), d(1, 3)]),
        call([d(2, 1), d(2, 2), d(2, 0)], dim=-1),
        call([d(3)]),
        call([d(0), d(2, 3)]),
    ]


def _stacks(d: Draw) -> list[Sample]:
    return [
        call([d(2), d(2)]),
        call([d(2, 1), d(2, 1)]),
        call([d(1, 2, 2), d(1, 2, 2)]),
        call([d(), d()]),
    ]


def _rows(d: Draw) -> list[Sample]:
    return [*_stacks(d), call([d(2), d(3, 2)])]


ROWS: tuple[Row, ...] = (
    structured("cat", _cats),
    structured("concat", _cats),
    structured("concatenate", _cats),
    structured(
        "stack", lambda d: [call([d(2), d(2)]), call([d(2, 3), d(2, 3)], -1), call([d(), d(), d()])]
    ),
    structured("hstack", lambda d: [*_stacks(d), call([d(2), d(3)]), call([d(2, 1), d(2, 3)])]),
    structured("vstack", _rows),
    structured("row_stack", _rows),
    structured("dstack", _stacks),
    structured("column_stack", lambda d: [*_stacks(d), call([d(2), d(2, 2)])]),
    structured(
        "block_diag",
        lambda d: [call(d(2, 2), d(3), d()), call(d(1, 2)), call(d(0, 2), d(2, 1))],
        dtypes=("float32", "float64", "int64"),
    ),
    # --- grids ---
    structured(
        "broadcast_tensors",
        lambda d: [call(d(2, 1), d(3)), call(d(2)), call(d(), d(2, 2), d(1))],
    ),
    structured(
        "meshgrid",
        lambda d: [
            call(d(2), d(3), indexing="ij"),
            call(d(2), d(3), d(2), indexing="xy"),
            call([d(2), d()], indexing="ij"),
            call(d(2), indexing="xy"),
        ],
    ),
    structured("cartesian_prod", lambda d: [call(d(2), d(3)), call(d(2)), call(d(2), d(1), d(2))]),
    structured(
        "combinations",
        lambda d: [
            call(d(4)),
            call(d(4), 3),
            call(d(3), r=2, with_replacement=True),
            call(d(3), 4),
            call(d(2), 3, True),
            call(d(3), 1),
        ],
    ),
)
