"""Indexing by tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import call, structured

if TYPE_CHECKING:
    from .row import Row

ROWS: tuple[Row, ...] = (
    structured(
        "index_select",
        lambda d: [
            call(d(3, 2), 0, np.array([2, 0, 2])),
            call(d(2, 3), 1, np.array([1])),
            call(d(2, 3, 2), -2, np.array([0, 0])),
            call(d(3), 0, np.array([], "int64")),
        ],
    ),
)
