"""Joins: what views take apart, put together."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row import call, structured

if TYPE_CHECKING:
    from .row import Row

ROWS: tuple[Row, ...] = (
    structured(
        "cat",
        lambda d: [
            call([d(2, 3), d(1, 3)]),
            call([d(2, 1), d(2, 2), d(2, 0)], dim=-1),
            call([d(3)]),
            call([d(0), d(2, 3)]),
        ],
    ),
    structured(
        "stack", lambda d: [call([d(2), d(2)]), call([d(2, 3), d(2, 3)], -1), call([d(), d(), d()])]
    ),
)
