"""Scans and differences along a dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import call, structured

if TYPE_CHECKING:
    from .row import Draw, Row, Sample


def _scans(d: Draw) -> list[Sample]:
    return [
        call(d(), 0),
        call(d(5), 0),
        call(d(2, 3), 1),
        call(d(4, 3), 0),
        call(d(2, 3, 4), -2),
        call(d(2, 0), 1),
        call(d(0, 3), 1),
        call(d(7, 37), 1),
        call(d(7, 150), 0),
    ]


def _products(d: Draw) -> list[Sample]:
    x = d(3, 5)
    x[0, 2] = x[1, 0] = x[1, 3] = x[2, 4] = 0
    return [*_scans(d), call(x, 1), call(x.T.copy(), 0)]


def _log_sums(d: Draw) -> list[Sample]:
    far = d(6) * 200 if d.dtype.startswith("float") else d(6)
    return [*_scans(d), call(far, 0)]


def _differences(d: Draw) -> list[Sample]:
    return [
        call(d(4)),
        call(d(2, 3), dim=0),
        call(d(2, 5), 2),
        call(d(2, 3), n=3),
        call(d(2, 3), 0),
        call(d(2, 3), prepend=d(2, 1), append=d(2, 2)),
        call(d(0)),
    ]


def _gradients(d: Draw) -> list[Sample]:
    t = np.array([0.0, 0.5, 2.0, 3.0], d.dtype if d.dtype.startswith("float") else "float64")
    return [
        call(d(4)),
        call(d(3, 4)),
        call(d(3, 4), dim=1, spacing=0.5),
        call(d(3, 4), edge_order=2),
        call(d(3, 4), spacing=[t], dim=1),
        call(d(4), spacing=[t], edge_order=2),
    ]


def _integrals(d: Draw) -> list[Sample]:
    return [
        call(d(4)),
        call(d(3, 4), dx=2),
        call(d(3, 4), dim=0),
        call(d(4), d(4)),
        call(d(3, 4), d(3), dim=0),
        call(d(3, 4), d(3, 4)),
        call(d(1)),
    ]


ROWS: tuple[Row, ...] = (
    structured("cumsum", _scans, rtol=32, inplace=True, third=True),
    structured("cumprod", _products, rtol=64, inplace=True),
    structured("logcumsumexp", _log_sums, rtol=64),
    structured("cummax", _scans),
    structured("cummin", _scans),
    structured("diff", _differences, rtol=16),
    structured("gradient", _gradients, rtol=64, dtypes=("float32", "float64")),
    structured("trapezoid", _integrals, rtol=64),
    structured("cumulative_trapezoid", _integrals, rtol=64),
)
