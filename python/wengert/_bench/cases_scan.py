"""Scans over each dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Row, cases, placed

if TYPE_CHECKING:
    from .harness import Case

AXES = ("last axis", "first axis", "middle axis")

ROWS = (
    Row("cumsum", "a.cumsum(0)", "=", loose=1),  # NumPy sums 16 M numbers of both signs in float32
    Row("cumsum of int64", "i.cumsum(0)", "="),
    *placed("cumsum", "a.cumsum({})", numpy="a.cumsum({})", loose=1e-1),
    *placed("cumprod", "near1.cumprod({})", AXES, numpy="near1.cumprod({})", loose=1e-2),
    *placed("cummax", "a.cummax({})", AXES),
    *placed("logcumsumexp", "a.logcumsumexp({})", AXES),
    *placed("cumsum", "a.cumsum({})", ("last axis", "first axis"), grad=("a",), loose=1e-1),
    *placed("cumprod", "near1.cumprod({})", ("last axis",), grad=("near1",), loose=1e-1),
    *placed("cummax", "a.cummax({})[0]", ("last axis",), grad=("a",)),
)
CASES: list[Case] = cases("scan", ROWS, streams=True)
