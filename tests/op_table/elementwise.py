"""One, two and three operands, element by element."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import FLOATS, SHAPES, Row, binary, call, comparison, structured, unary

if TYPE_CHECKING:
    from .row import Draw, Sample


def _whole(d: Draw) -> list[Sample]:
    """Exponents that are numbers, those served by other functions among them."""
    x = d(2, 3)
    exponents = (0, 1, 2, 3, -1, 0.5, 2.5, -1.5) if d.dtype in FLOATS else (0, 1, 2, 3)
    scalars = [call(x, e) for e in exponents] + ([call(2.0, x)] if d.dtype in FLOATS else [])
    pairs = [call(d(*a), d(*b, operand=1)) for a, b in SHAPES]
    return pairs + scalars


ROWS: tuple[Row, ...] = (
    unary("neg", -4, 4, reference=np.negative),
    unary("abs", -4, 4, kink=True, reference=np.abs),
    unary("square", -4, 4, refuses=("bool",), third=True, reference=np.square),
    unary("reciprocal", 0.2, 4, third=True, reference=np.reciprocal),
    unary("exp", -10, 10, 2, third=True, reference=np.exp),
    unary("log", 0.05, 50, 2, third=True, reference=np.log),
    unary("sqrt", 0.05, 50, 0.5, third=True, reference=np.sqrt),
    unary("sin", -10, 10, 2, third=True, reference=np.sin),
    unary("cos", -10, 10, 2, third=True, reference=np.cos),
    unary("tanh", -6, 6, 4, third=True, reference=np.tanh),
    unary("sigmoid", -10, 10, 4, third=True),
    unary("erf", -4, 4, 4, third=True),
    unary("relu", -4, 4, kink=True, reference=lambda x: np.maximum(x, 0)),
    Row(
        "gelu",
        ((-4, 4),),
        lambda d: [call(d(2, 3)), call(d()), call(d(2, 3), approximate="tanh"), call(d(0))],
        rtol=64,
        third=True,
        extends=("int64", "bool"),
    ),
    binary("add", reference=np.add),
    binary("sub", reference=np.subtract),
    binary("mul", third=True, reference=np.multiply),
    binary("div", -4, 4, (0.5, 4), third=True, reference=np.divide),
    Row("pow", ((0.2, 3), (-2, 3)), _whole, rtol=16, third=True),
    binary("maximum", reference=np.maximum),
    binary("minimum", reference=np.minimum),
    comparison("eq", np.equal),
    comparison("ne", np.not_equal),
    comparison("lt", np.less),
    comparison("le", np.less_equal),
    comparison("gt", np.greater),
    comparison("ge", np.greater_equal),
    structured(
        "where",
        lambda d: [
            call(d.mask(2, 3), d(2, 3), d(2, 3)),
            call(d.mask(3), d(2, 1), d()),
            call(d.mask(), d(2), d(2)),
            call(d.mask(0), d(0), d(1)),
        ],
        reference=np.where,
    ),
)
