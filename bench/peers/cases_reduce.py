"""Reductions of a million elements, all of them and row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
from harness import WENGERT, Case
from peers import expressions

ROWS, COLUMNS = 1000, 1000


def _matrix(rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    return {"a": rng.standard_normal((ROWS, COLUMNS)).astype(np.float32)}


def _case(what: str, tensor: str, numpy_expr: str) -> Case:
    exprs = {WENGERT: tensor, "torch": tensor, "numpy": numpy_expr, "jax jit": numpy_expr}
    return expressions(
        f"reduce/{what}/{ROWS}x{COLUMNS}",
        exprs,
        _matrix,
        nbytes=4 * ROWS * COLUMNS,
        rtol=1e-4,
        atol=1e-2 if what == "sum" else 1e-4,  # sums of numbers of both signs
    )


CASES: list[Case] = [
    _case("sum", "a.sum()", "a.sum()"),
    _case("mean", "a.mean()", "a.mean()"),
    _case("max", "a.max()", "a.max()"),
    _case("sum of rows", "a.sum(1)", "a.sum(1)"),
    _case("sum of columns", "a.sum(0)", "a.sum(0)"),
    _case("mean of rows", "a.mean(1)", "a.mean(1)"),
    _case("max of rows", "a.amax(1)", "a.max(1)"),
]
