"""One row per operation: how to draw its arguments, what it is compared with, and how closely.

``tests/test_ops.py`` drives every row through every check. Rows are compared with PyTorch's
operation of the same name unless they say otherwise; where PyTorch is not installed, with
``reference`` if there is one.
"""

from __future__ import annotations

from . import (
    activations,
    convolutions,
    creation,
    elementwise,
    indexing,
    joins,
    layers,
    linalg,
    losses,
    moments,
    products,
    random,
    reductions,
    scans,
    shapes,
    sorts,
    views,
)
from .row import DTYPES, FLOATS, SHAPES, SPECIAL, Draw, Row, Sample

FAMILIES = (
    creation,
    elementwise,
    activations,
    reductions,
    moments,
    scans,
    sorts,
    views,
    shapes,
    joins,
    indexing,
    products,
    linalg,
    convolutions,
    losses,
    layers,
    random,
)
ROWS: dict[str, Row] = {row.name: row for family in FAMILIES for row in family.ROWS}

__all__ = ["DTYPES", "FLOATS", "ROWS", "SHAPES", "SPECIAL", "Draw", "Row", "Sample"]
