"""Totals, variances and norms."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .reductions import sums
from .row import call, structured, wrong

if TYPE_CHECKING:
    from .row import Array, Draw, Row, Sample

INTS = ("int64", "bool")


def _with(x: Array, *values: float) -> Array:
    """The same array with some of its elements, evenly spread, replaced."""
    flat = x.copy().ravel()
    for i, v in enumerate(values):
        if flat.size:
            flat[(2 * i + 1) * flat.size // (2 * len(values))] = v
    return flat.reshape(x.shape)


def _products(d: Draw) -> list[Sample]:
    x = d(2, 3)
    return [
        call(d()),
        call(x),
        call(_with(x, 0)),
        call(_with(x, 0, 0)),
        call(x, 1),
        call(_with(d(4, 3), 0, 0, 0), 0),
        call(d(2, 3, 2), dim=-2, keepdim=True),
        call(d(0)),
        call(d(2, 0), 1),
    ]


def _counts(d: Draw) -> list[Sample]:
    return [call(d(2, 3)), call(d(2, 3), 1), call(d(2, 3, 2), dim=(0, 2)), call(d()), call(d(0))]


def _spreads(d: Draw) -> list[Sample]:
    return [
        call(d(3)),
        call(d(2, 3)),
        call(d(2, 3), False),
        call(d(4, 3), 0, False),
        call(d(2, 3), 1, True, True),
        call(d(2, 3, 2), dim=(0, 2), correction=0),
        call(d(3, 4), dim=-1, keepdim=True, correction=0.5),
        call(d(5, 33), 1),
        call(d(33, 5), 0),
    ]


def _log_sums(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), 1),
        call(d(2, 3), (0, 1), True),
        call(d(), 0),
        call(d(0, 2), 1),
        call(d(2, 0), 1),
        call(d(2, 3) * 100 if d.dtype.startswith("float") else d(2, 3), -1),
    ]


ORDERS = (2, 1, 0, math.inf, -math.inf, 3, 0.5, 1.5, -1, 2.5)


def _vector_norms(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3)),
        call(d(3), dim=0),
        call(d()),
        *(call(d(2, 3), p) for p in ORDERS),
        *(call(d(3, 2, 2), p, dim=(0, -1), keepdim=True) for p in ORDERS),
        call(d(0, 3), 2, 0),
        call(d(2, 3), 2, dtype=None),
    ]


def _norms(d: Draw) -> list[Sample]:
    return [
        *_vector_norms(d),
        call(d(2, 3), "fro", (0, 1)),
        call(d(2, 3), "fro"),
        call(d(2, 3), "nuc"),
        call(d(3, 2, 2), "nuc", (0, 2), True),
        wrong(d(3, 2, 2), "nuc"),
    ]


def _matrix_norms(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3)),
        *(call(d(2, 3), p) for p in ("fro", "nuc", 1, -1, 2, -2, math.inf, -math.inf)),
        *(call(d(3, 2, 4), p, dim=(2, 0), keepdim=True) for p in ("nuc", 2, -2)),
        call(d(2, 2, 3), "nuc", (0, 2)),
        *(call(d(*s), p) for p in ("nuc", 2) for s in ((0, 3), (2, 0), (2, 0, 3), (0, 2, 3))),
        wrong(d(2, 0), -2),
        wrong(d(2, 3), 3),
        wrong(d(3), 2),
        call(d(2, 3, 4), 1, dim=(0, 2), keepdim=True),
        call(d(2, 3, 4), math.inf, dim=(2, 1)),
        call(d(2, 0), 1),
    ]


def _linalg_norms(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(3), 3),
        call(d(2, 3, 2)),
        call(d(2, 3, 2), 2, 1),
        call(d(2, 3, 2), "fro", (0, 1), True),
        call(d(2, 3), 2),
        call(d(2, 3), "nuc"),
        call(d(2, 3, 2), -2, (0, 1)),
    ]


def _covariances(d: Draw) -> list[Sample]:
    return [
        call(d(3, 4)),
        call(d(4)),
        call(d(2, 5), correction=0),
        call(d(2, 4), fweights=d.ints(1, 4, 4)),
        call(d(2, 4), aweights=np.linspace(0.5, 2, 4).astype("float64")),
    ]


def _dims_given(d: Draw) -> list[Sample]:
    return [call(d(2, 3)), call(d(2, 3), dim=1), call(d(2, 3), dim=0, keepdim=True)]


ROWS: tuple[Row, ...] = (
    structured("prod", _products, rtol=32),
    structured("nansum", sums, rtol=32),
    structured("nanmean", sums, rtol=32),
    structured("count_nonzero", _counts, differentiable=False),
    structured("aminmax", _dims_given),
    structured("var", _spreads, rtol=32),
    structured("std", _spreads, rtol=32),
    structured("var_mean", _spreads, rtol=32),
    structured("std_mean", _spreads, rtol=32),
    structured("cov", _covariances, rtol=64, dtypes=("float64", "int64")),
    structured("corrcoef", lambda d: [call(d(3, 6)), call(d(4))], rtol=64, refuses=("bool",)),
    structured("logsumexp", _log_sums, rtol=32, kink=True),
    structured("norm", _norms, rtol=64, kink=True),
    structured("linalg_vector_norm", _vector_norms, rtol=64, kink=True),
    structured("linalg_matrix_norm", _matrix_norms, rtol=64, kink=True),
    structured("linalg_norm", _linalg_norms, rtol=64, kink=True),
    structured(
        "dist", lambda d: [call(d(2, 3), d(3)), call(d(2), d(2), 1)], rtol=64, domains=((-2, 2),)
    ),
    structured(
        "renorm",
        lambda d: [call(d(3, 4), 2, 0, 1.5), call(d(3, 2, 2), 1, -1, 2), call(d(2, 2), 2, 0, 100)],
        rtol=64,
        kink=True,
        inplace=True,
        refuses=INTS,
    ),
)
