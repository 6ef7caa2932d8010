"""One, two and three operands, element by element."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from .row import FLOATS, SHAPES, Row, binary, call, comparison, likes, structured, unary

if TYPE_CHECKING:
    from .row import Draw, Sample


def _whole(d: Draw) -> list[Sample]:
    """Exponents that are numbers, those served by other functions among them."""
    x = d(2, 3)
    exponents = (0, 1, 2, 3, -1, 0.5, 2.5, -1.5) if d.dtype in FLOATS else (0, 1, 2, 3)
    scalars = [call(x, e) for e in exponents] + ([call(2.0, x)] if d.dtype in FLOATS else [])
    pairs = [call(d(*a), d(*b, operand=1)) for a, b in SHAPES]
    return pairs + scalars


def _under(name: str) -> Any:
    return lambda torch: getattr(torch, name)


# Operations that have two names.
ALIASES = {
    "absolute": "abs", "negative": "neg", "subtract": "sub", "multiply": "mul", "divide": "div",
    "true_divide": "div", "not_equal": "ne", "less": "lt", "less_equal": "le", "greater": "gt",
    "greater_equal": "ge", "sgn": "sign", "fix": "trunc", "clip": "clamp", "arcsin": "asin",
    "arccos": "acos", "arctan": "atan", "arcsinh": "asinh", "arccosh": "acosh",
    "arctanh": "atanh", "arctan2": "atan2",
}  # fmt: skip


def _clamps(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), -1, 1),
        call(d(3), min=0),
        call(d(), max=1),
        call(d(2, 3), d(3), d(2, 1)),
        call(d(2, 3), None, d(3)),
        call(d(0), 0, 1),
    ]


def _pairs(name: str, low: float, high: float, **more: Any) -> Row:
    """Two operands whose results are compared with PyTorch's in the same dtype."""
    return Row(
        name,
        ((low, high),),
        lambda d: [call(d(*a), d(*b, operand=1)) for a, b in SHAPES],
        inplace=True,
        **more,
    )


def _bits(name: str) -> Row:
    return binary(name, -9, 9, differentiable=False, refuses=FLOATS)


def _shift(name: str) -> Row:
    return binary(name, -9, 9, (0, 12), differentiable=False, refuses=FLOATS, extends=("bool",))


def _steps(name: str, **more: Any) -> Row:
    """A function of steps, whose derivative is 0; samples stay away from the edges."""
    return unary(name, 0.1, 0.9, **more)


OPERATIONS: tuple[Row, ...] = (
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
    binary("add", reference=np.add),
    binary("sub", reference=np.subtract),
    binary("mul", third=True, reference=np.multiply),
    binary("div", -4, 4, (0.5, 4), third=True, reference=np.divide),
    Row("pow", ((0.2, 3), (-2, 3)), _whole, rtol=16, third=True, inplace=True),
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
    # --- rounding and remainders ---
    unary("rsqrt", 0.05, 50, 2.5, third=True),
    unary("sign", -4, 4, kink=True),
    _steps("floor", refuses=("bool",)),
    _steps("ceil", refuses=("bool",)),
    _steps("trunc", refuses=("bool",)),
    Row(
        "round",
        ((-0.4, 0.4),),
        lambda d: [call(d(2, 3)), call(d()), call(d(0))],
        inplace=True,
        refuses=("bool",),
    ),
    unary("frac", 0.1, 0.9, extends=("int64", "bool")),
    binary("floor_divide", -4, 4, (0.6, 4), differentiable=False, refuses=("bool",)),
    binary("remainder", 0.1, 0.5, (0.6, 4), refuses=("bool",)),
    binary("fmod", 0.1, 0.5, (0.6, 4), refuses=("bool",)),
    binary("copysign", kink=True),
    binary("gcd", -30, 30, differentiable=False, refuses=FLOATS, extends=("bool",)),
    binary("lcm", -9, 9, differentiable=False, refuses=FLOATS, dtypes=(*FLOATS, "int64")),
    structured("positive", likes, refuses=("bool",)),
    structured(
        "rsub",
        lambda d: [call(d(2, 3), d(3)), call(d(2), 3), call(d(2), d(2), alpha=2)],
        dtypes=(*FLOATS, "int64"),
        extends=("bool",),
    ),
    binary("float_power", 0.2, 3, (-2, 3), inplace=False, ulp=2),
    binary("ldexp", -3, 3, differentiable=False, ulp=2),
    unary("deg2rad", -400, 400, 1.5),
    unary("rad2deg", -7, 7, 1.5),
    # --- bounds and blends ---
    Row("clamp", ((-3.0, 3.0),), _clamps, inplace=True, extends=("bool",)),
    structured(
        "clamp_min",
        lambda d: [call(d(2, 3), 0), call(d(2, 3), d(3))],
        inplace=True,
        extends=("bool",),
    ),
    structured(
        "clamp_max",
        lambda d: [call(d(2, 3), 0), call(d(2, 3), d(3))],
        inplace=True,
        extends=("bool",),
    ),
    binary("fmax", -4, 4),
    binary("fmin", -4, 4),
    structured(
        "lerp",
        lambda d: [call(d(2, 3), d(3), 0.3), call(d(3), d(2, 1), d(3)), call(d(), d(), d())],
        inplace=True,
        extends=("int64", "bool"),
    ),
    structured(
        "addcmul",
        lambda d: [call(d(2, 3), d(3), d(2, 1)), call(d(3), d(3), d(), value=2)],
        inplace=True,
        refuses=("bool",),
    ),
    structured(
        "addcdiv",
        lambda d: [call(d(2, 3), d(3), d(2, 1)), call(d(3), d(3), d(), value=-0.5)],
        inplace=True,
        domains=((0.5, 2),),
        refuses=("int64", "bool"),
        extends=("int64", "bool"),
    ),
    structured("nan_to_num", lambda d: [call(d(2, 3)), call(d(2), 1.0, 2.0, -2.0)], inplace=True),
    structured(
        "heaviside",
        lambda d: [call(d(2, 3), d(3)), call(d(3), d())],
        inplace=True,
        differentiable=False,
    ),
    # --- bools from numbers ---
    unary("logical_not", -1, 1, differentiable=False),
    comparison("logical_and", np.logical_and),
    comparison("logical_or", np.logical_or),
    comparison("logical_xor", np.logical_xor),
    *(
        Row(name, ((-4, 4),), elementwise=1, differentiable=False)
        for name in ("isnan", "isinf", "isfinite", "isposinf", "isneginf", "signbit")
    ),
    structured(
        "isclose",
        lambda d: [call(d(2, 3), d(2, 3)), call(d(3), d(3), rtol=0.5), call(d(3), d(), 0.0, 1.0)],
        differentiable=False,
    ),
    unary("bitwise_not", -9, 9, differentiable=False, refuses=FLOATS),
    _bits("bitwise_and"),
    _bits("bitwise_or"),
    _bits("bitwise_xor"),
    _shift("bitwise_left_shift"),
    _shift("bitwise_right_shift"),
    # --- mathematics ---
    unary("exp2", -10, 10, 2, third=True),
    unary("expm1", -10, 10, 2, third=True),
    unary("log1p", -0.9, 50, 2, third=True),
    unary("log2", 0.05, 50, 2, third=True),
    unary("log10", 0.05, 50, 2, third=True),
    unary("tan", -1.4, 1.4, 3, third=True),
    unary("asin", -0.9, 0.9, 2, third=True),
    unary("acos", -0.9, 0.9, 2, third=True),
    unary("atan", -4, 4, 2, third=True),
    unary("sinh", -5, 5, 2, third=True),
    unary("cosh", -5, 5, 2, third=True),
    unary("asinh", -5, 5, 2, third=True),
    unary("acosh", 1.1, 5, 2, third=True),
    unary("atanh", -0.9, 0.9, 2, third=True),
    unary("erfc", -3, 3, 4, third=True),
    unary("erfinv", -0.9, 0.9, 2, third=True),
    unary("lgamma", 0.3, 6, 8),
    # PyTorch's own digamma is up to 18 units off the exact values (wengert's is less than one), its
    # trigamma right to ten digits only
    unary("digamma", 1.7, 6, 20, rtol=1e7),
    Row("sinc", ((0.2, 0.7),), lambda d: [call(d(2, 3)), call(d(0))], inplace=True, dtypes=FLOATS),
    Row(
        "logit",
        ((0.1, 0.9),),
        lambda d: [call(d(2, 3)), call(d(3), 0.2), call(d(0))],
        inplace=True,
        rtol=32,
        third=True,
    ),
    binary("atan2", 0.3, 3, ulp=2, third=True),
    binary("hypot", 0.3, 3, ulp=1.5, third=True, extends=("int64", "bool")),
    _pairs("logaddexp", -3, 3, third=True, rtol=32, extends=("int64", "bool")),
    _pairs("logaddexp2", -3, 3, third=True, rtol=32, extends=("int64", "bool")),
    binary("xlogy", 0.3, 3, ulp=2, third=True),
    _pairs("nextafter", -3, 3, differentiable=False, rtol=0, extends=("int64", "bool")),
    Row(
        "polygamma",
        ((0.3, 6),),
        lambda d: [call(n, d(2, 3)) for n in (2, 3)],
        rtol=256,
        dtypes=FLOATS,
    ),
)
ROWS: tuple[Row, ...] = OPERATIONS + tuple(
    replace(row, name=name, torch=row.torch or _under(of))
    for name, of in ALIASES.items()
    for row in OPERATIONS
    if row.name == of
)
