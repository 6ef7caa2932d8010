"""Sorting, order statistics, searching and counting."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from .row import call, constant, structured

if TYPE_CHECKING:
    from .row import Array, Draw, Row, Sample

NUMBERS = ("float32", "float64", "int64")
FLOATS = ("float32", "float64")


def _distinct(d: Draw, *shape: int) -> Array:
    """No two elements are equal, so that places are unambiguous."""
    n = math.prod(shape)
    return np.asarray((d.rng.permutation(n) - n // 2).reshape(shape).astype(d.dtype))


def _sorts(d: Draw) -> list[Sample]:
    return [
        call(d()),
        call(d(5)),
        call(d(2, 3)),
        call(d(4, 3), dim=0),
        call(d(2, 3, 4), -2, True),
        call(d(3, 0)),
        call(d(0, 3)),
        call(d(3, 40)),
    ]


def _tops(d: Draw) -> list[Sample]:
    return [
        call(_distinct(d, 5), 2),
        call(_distinct(d, 3, 4), 3, 0),
        call(_distinct(d, 3, 4), k=4, largest=False),
        call(_distinct(d, 2, 3), 0),
        call(_distinct(d, 2, 40), 7),
        call(d(), 1),
    ]


def _kths(d: Draw) -> list[Sample]:
    return [
        call(_distinct(d, 5), 2),
        call(_distinct(d, 3, 4), 3, 0),
        call(_distinct(d, 3, 4), 4, 1, True),
        call(d(), 1),
    ]


def _medians(d: Draw) -> list[Sample]:
    return [
        call(_distinct(d, 5)),
        call(_distinct(d, 2, 3)),
        call(_distinct(d, 3, 4), 0),
        call(_distinct(d, 3, 4), 1, True),
        call(d()),
    ]


def _quantiles(d: Draw) -> list[Sample]:
    x = _distinct(d, 3, 4)
    return [
        call(x, 0.4),
        call(x, 1.0, 1),
        call(x, 0.0, dim=0, keepdim=True),
        call(x, 0.3, keepdim=True),
        call(_distinct(d, 2, 3, 4), 0.7, 1),
        *(
            call(x, 0.4, 1, interpolation=how)
            for how in ("linear", "lower", "higher", "nearest", "midpoint")
        ),
    ]


def _searches(d: Draw) -> list[Sample]:
    line, rows = np.sort(d(9)), np.sort(d(2, 7))
    shuffled = d(6)
    return [
        call(line, d(2, 3)),
        call(line, d(4), right=True),
        call(line, line, side="right"),
        call(rows, d(2, 5)),
        call(line, 1),
        call(line, d(3), out_int32=True),
        call(shuffled, d(3), sorter=np.argsort(shuffled)),
        call(d(0), d(3)),
    ]


def _buckets(d: Draw) -> list[Sample]:
    line = np.sort(d(6))
    return [call(d(2, 3), line), call(line, line, right=True)]


def _bins(d: Draw) -> list[Sample]:
    x = d.ints(0, 6, 20)
    return [
        call(x),
        call(x, minlength=9),
        call(x, d(20)),
        call(d.ints(0, 3, 0)),
    ]


def _histograms(d: Draw) -> list[Sample]:
    return [
        call(d(50), 7),
        call(d(5, 9), bins=4, min=-1, max=1),
        call(np.ones(4, d.dtype), 3),
    ]


def _repeats(d: Draw) -> list[Sample]:
    x = np.round(d(3, 4)) if d.dtype != "bool" else d(3, 4)
    return [
        call(x),
        call(d(0)),
        call(d()),
        call(x[[0, 1, 0, 0]], 0),
        call(x[:, [0, 0, 1, 0]], dim=1),
    ]


ROWS: tuple[Row, ...] = (
    structured("sort", _sorts, dtypes=FLOATS),
    structured("argsort", _sorts, differentiable=False, dtypes=FLOATS),
    structured("msort", lambda d: [call(d(4, 3)), call(d(5)), call(d())]),
    structured("topk", _tops, dtypes=NUMBERS),
    structured("kthvalue", _kths, dtypes=NUMBERS),
    structured("median", _medians, dtypes=NUMBERS),
    structured("nanmedian", _medians, dtypes=NUMBERS),
    structured(
        "mode",
        lambda d: [call(d(3, 9)), call(d(4, 3), 0, True), call(d())],
    ),
    structured("quantile", _quantiles, rtol=32, dtypes=NUMBERS),
    structured("nanquantile", _quantiles, rtol=32, dtypes=NUMBERS),
    structured("searchsorted", _searches, differentiable=False, dtypes=NUMBERS),
    structured("bucketize", _buckets, differentiable=False, dtypes=NUMBERS),
    structured("bincount", _bins, differentiable=False, dtypes=NUMBERS),
    structured("histc", _histograms, differentiable=False, dtypes=NUMBERS),
    structured(
        "_unique",
        _repeats,
        differentiable=False,
        torch=lambda torch: (
            lambda x, dim=None: torch.unique(
                x, True, return_inverse=True, return_counts=True, dim=dim
            )
        ),
    ),
    structured(
        "_unique_consecutive",
        _repeats,
        differentiable=False,
        torch=lambda torch: (
            lambda x, dim=None: torch.unique_consecutive(
                x, return_inverse=True, return_counts=True, dim=dim
            )
        ),
    ),
    constant(
        "unravel_index",
        lambda d: [
            call(d.ints(0, 24, 3, 2), (2, 3, 4)),
            call(d.ints(0, 5), (5,)),
        ],
    ),
)
