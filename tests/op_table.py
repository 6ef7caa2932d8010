"""One row per operation: how to draw its arguments, what it is compared with, and how closely.

``tests/test_ops.py`` drives every row through every check. Rows are compared with PyTorch's
operation of the same name unless they say otherwise; where PyTorch is not installed, with
``reference`` if there is one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[Any]

FLOATS = ("float32", "float64")
DTYPES = ("float32", "float64", "int64", "bool")

# Shapes of an elementwise operation's operands: each pair broadcasts.
SHAPES: tuple[tuple[tuple[int, ...], tuple[int, ...]], ...] = (
    ((), ()),
    ((1,), (1,)),
    ((0,), (0,)),
    ((2, 0, 3), (1, 3)),
    ((3,), (3,)),
    ((2, 3), (2, 3)),
    ((2, 3), ()),
    ((), (2, 3)),
    ((3, 1), (1, 4)),
    ((2, 1, 5), (3, 1)),
    ((4, 17), (17,)),
    ((2, 3, 2, 3, 2), (1, 3, 1, 3, 1)),
)
# Special values of one operand; pairs of them are all combined.
SPECIAL = (math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e-45, 3.5, -2.5)


class Draw:
    """Draws arguments of one dtype from a row's domain."""

    def __init__(self, row: Row, dtype: str, seed: int = 0) -> None:
        self.row, self.dtype = row, dtype
        self.rng = np.random.default_rng(seed)

    def __call__(self, *shape: int, operand: int = 0) -> Array:
        """An array of the dtype under test."""
        domains = self.row.domains or ((-2.0, 2.0),)
        low, high = domains[min(operand, len(domains) - 1)]
        if self.dtype == "bool":
            return np.asarray(self.rng.integers(0, 2, shape).astype(bool))
        if self.dtype == "int64":
            first = math.ceil(low)
            return np.asarray(self.rng.integers(first, max(math.floor(high), first) + 1, shape))
        x = self.rng.uniform(low, high, shape)
        # away from kinks, further than any step of differences
        x = np.where(np.abs(x) < 0.05, x + np.copysign(0.1, x), x) if self.row.kink else x
        return np.asarray(x.astype(self.dtype))

    def ints(self, low: int, high: int, *shape: int) -> Array:
        """Integers in [low, high), whatever the dtype under test."""
        return np.asarray(self.rng.integers(low, high, shape))

    def mask(self, *shape: int) -> Array:
        """Bools, whatever the dtype under test."""
        return np.asarray(self.rng.integers(0, 2, shape).astype(bool))


@dataclass(frozen=True)
class Sample:
    """Arguments of one call: arrays stand for tensors, anything else for itself."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any] = field(default_factory=dict)


def call(*args: Any, **kwargs: Any) -> Sample:
    return Sample(args, kwargs)


@dataclass(frozen=True)
class Row:
    """An operation.

    Attributes
    ----------
    domains
        An interval for each operand. An elementwise row needs nothing else: its samples are drawn
        over SHAPES.
    samples
        Draws the samples of other rows.
    torch
        The oracle: given the torch module, the function to call.
    reference
        The same with NumPy, where NumPy has it.
    ulp, rtol
        How far elementwise float results may be from the exact ones, in units in the last place;
        and others from PyTorch's, in units of eps.
    kink
        Whether the derivative jumps at 0, so that samples must stay away from it.
    view, third
        Whether results share memory; whether third derivatives are checked, too.
    compare
        'values', or 'shape' where values are random or unset.
    dtypes, refuses, extends
        Dtypes to try; those that PyTorch takes and wengert refuses with a TypeError or
        RuntimeError; those that wengert takes and PyTorch does not.
    """

    name: str
    domains: tuple[tuple[float, float], ...] = ()
    samples: Callable[[Draw], list[Sample]] | None = None
    torch: Callable[[Any], Callable[..., Any]] | None = None
    reference: Callable[..., Any] | None = None
    elementwise: int = 0
    ulp: float = 0.5
    rtol: float = 8.0
    differentiable: bool = True
    inplace: bool = False
    kink: bool = False
    view: bool = False
    third: bool = False
    compare: str = "values"
    dtypes: tuple[str, ...] = DTYPES
    refuses: tuple[str, ...] = ()
    extends: tuple[str, ...] = ()

    def draw(self, dtype: str, small: bool = False) -> list[Sample]:
        """The samples of a dtype; small ones suit a full Jacobian."""
        d = Draw(self, dtype)
        if self.samples is not None:
            return self.samples(d)
        shapes = [s for s in SHAPES if not small or math.prod(np.broadcast_shapes(*s)) <= 12]
        return [
            call(*(d(*s[min(i, 1)], operand=i) for i in range(self.elementwise))) for s in shapes
        ]


def unary(name: str, low: float, high: float, ulp: float = 0.5, **more: Any) -> Row:
    return Row(name, ((low, high),), elementwise=1, ulp=ulp, inplace=True, **more)


def binary(
    name: str,
    low: float = -4,
    high: float = 4,
    other: tuple[float, float] | None = None,
    **more: Any,
) -> Row:
    more.setdefault("inplace", True)
    return Row(name, ((low, high), other or (low, high)), elementwise=2, **more)


def comparison(name: str, reference: Callable[..., Any]) -> Row:
    return binary(name, -2, 2, differentiable=False, inplace=False, reference=reference)


def structured(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    return Row(name, more.pop("domains", ((-2.0, 2.0),)), samples, **more)


def constant(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    """Rows whose result depends on shapes and numbers alone."""
    return structured(name, samples, differentiable=False, dtypes=("float32",), **more)


def _sizes(d: Draw) -> list[Sample]:
    del d
    return [call(()), call(3), call(2, 3), call((2, 0)), call([4])]


def _likes(d: Draw) -> list[Sample]:
    return [call(d()), call(d(2, 3)), call(d(0, 2))]


def _reductions(d: Draw) -> list[Sample]:
    return [
        call(d()),
        call(d(1)),
        call(d(3), dim=0),
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(2, 3), dim=0, keepdim=True),
        call(d(2, 3, 2), dim=(0, 2)),
        call(d(2, 3, 2), (-1, 0), True),
        call(d(2, 0, 3), 2),
        call(d(2, 3), axis=-1, keepdims=True),
        call(d(40), 0),
        call(d(5, 33), 1),
        call(d(33, 5), 0),
    ]


def _sums(d: Draw) -> list[Sample]:
    return [*_reductions(d), call(d(0)), call(d(2, 0), 1), call(d(2, 3), dim=())]


def _extremes(d: Draw) -> list[Sample]:
    return [
        call(d(3)),
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(2, 3), dim=0, keepdim=True),
        call(d(3, 2, 4), -2),
        call(d(2, 3), d(2, 3, operand=1)),
        call(d(7, 19), 0),
    ]


def _arg_extremes(d: Draw) -> list[Sample]:
    return [
        call(d()),
        call(d(3)),
        call(d(2, 3)),
        call(d(2, 3), 1),
        call(d(40, 3), dim=0),
        call(d(2, 3), dim=0, keepdim=True),
        call(d(3, 2, 4), -2),
    ]


def _matmuls(d: Draw) -> list[Sample]:
    shapes = [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((2, 2, 3), (3, 2)),
        ((2, 1, 2, 3), (2, 3, 2)),
        ((3,), (2, 3, 2)),
        ((2, 2, 3), (3,)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((1, 1), (1, 1)),
        ((5, 9), (9, 7)),
        ((0, 2, 3), (3, 2)),
    ]
    return [call(d(*a), d(*b)) for a, b in shapes]


def _linears(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d(4, 3), d(4)),
        call(d(2, 3), d(4, 3)),
        call(d(3), d(2, 3), d(2)),
        call(d(2, 2, 3), d(2, 3), bias=d(2)),
        call(d(0, 3), d(2, 3), d(2)),
    ]


def _activated(torch: Any) -> Callable[..., Any]:
    def run(x: Any, weight: Any, bias: Any, activation: str) -> Any:
        return getattr(torch, activation)(torch.nn.functional.linear(x, weight, bias))

    return run


def _softmaxes(d: Draw) -> list[Sample]:
    return [
        call(d(3), 0),
        call(d(2, 3), 1),
        call(d(2, 3), 0),
        call(d(2, 3, 2), dim=-2),
        call(d(), 0),
        call(d(0, 3), 1),
        call(d(3, 37), -1),
    ]


def _cross_entropies(d: Draw) -> list[Sample]:
    ignored = d.ints(0, 3, 4)
    ignored[1] = -100
    return [
        call(d(2, 3), d.ints(0, 3, 2)),
        call(d(3), d.ints(0, 3)),
        call(d(2, 3, 2), d.ints(0, 3, 2, 2), reduction="sum"),
        call(d(4, 3), ignored),
        call(d(4, 3), ignored, reduction="none"),
        call(d(4, 3), d.ints(0, 3, 4), ignore_index=1),
    ]


def _losses(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d(2, 3)),
        call(d(3), d(3), reduction="sum"),
        call(d(2, 2), d(2, 2), reduction="none"),
        call(d(), d()),
    ]


def _whole(d: Draw) -> list[Sample]:
    """Exponents that are numbers, those served by other functions among them."""
    x = d(2, 3)
    exponents = (0, 1, 2, 3, -1, 0.5, 2.5, -1.5) if d.dtype in FLOATS else (0, 1, 2, 3)
    scalars = [call(x, e) for e in exponents] + ([call(2.0, x)] if d.dtype in FLOATS else [])
    pairs = [call(d(*a), d(*b, operand=1)) for a, b in SHAPES]
    return pairs + scalars


def _method(name: str) -> Callable[[Any], Callable[..., Any]]:
    """PyTorch's method, called with the tensor first."""
    return lambda torch: getattr(torch.Tensor, name)


_TABLE: tuple[Row, ...] = (
    # --- creation ---
    constant("empty", _sizes, compare="shape"),
    constant(
        "zeros",
        _sizes,
        reference=lambda *s: np.zeros(s[0] if isinstance(s[0], (tuple, list)) else s, "f4"),
    ),
    constant("ones", _sizes),
    constant("full", lambda d: [call((2, 3), 2.5), call((), 3), call([2], -1.0)]),
    structured("empty_like", _likes, differentiable=False, compare="shape"),
    structured("zeros_like", _likes, differentiable=False, reference=np.zeros_like),
    structured("ones_like", _likes, differentiable=False, reference=np.ones_like),
    structured("full_like", lambda d: [call(d(2, 3), 1), call(d(), 1)], differentiable=False),
    constant(
        "_arange",
        lambda d: [call(0, 5, 1), call(1.0, 2.0, 0.25), call(5, -1, -2), call(3, 3, 1)],
        torch=lambda torch: torch.arange,
    ),
    structured("clone", _likes, reference=np.copy, third=True),
    structured("contiguous", _likes, torch=_method("contiguous")),
    structured(
        "copy_",
        lambda d: [call(d(2, 3), d(3)), call(d(2), d()), call(d(), d()), call(d(0), d(1))],
        torch=_method("copy_"),
        differentiable=False,
    ),
    structured(
        "fill_",
        lambda d: [call(d(2, 3), 1), call(d(), 0)],
        torch=_method("fill_"),
        differentiable=False,
    ),
    structured("zero_", _likes, torch=_method("zero_"), differentiable=False),
    structured(
        "_to_dtype",
        lambda d: [call(d(2, 3), t) for t in (float, int, bool)],
        differentiable=False,
        torch=lambda torch: (
            lambda x, t: x.to({float: torch.float64, int: torch.int64, bool: torch.bool}[t])
        ),
    ),
    # --- one operand ---
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
    # --- two and three operands ---
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
    # --- reductions ---
    structured("sum", _sums, rtol=32),
    structured("mean", _sums, rtol=32),
    structured("amax", _reductions),
    structured("amin", _reductions),
    structured("max", _extremes),
    structured("min", _extremes),
    structured("argmax", _arg_extremes, differentiable=False, extends=("bool",)),
    structured("argmin", _arg_extremes, differentiable=False, extends=("bool",)),
    structured("all", _sums, differentiable=False),
    structured("any", _sums, differentiable=False),
    # --- views ---
    structured(
        "reshape",
        lambda d: [call(d(2, 3), 3, 2), call(d(2, 3), (-1,)), call(d(), 1), call(d(0, 2), 2, 0, 5)],
        view=True,
        torch=_method("reshape"),
    ),
    structured(
        "view",
        lambda d: [call(d(2, 3), 3, -1), call(d(4), (2, 1, 2)), call(d(), [1, 1])],
        view=True,
        torch=_method("view"),
    ),
    structured(
        "flatten",
        lambda d: [call(d(2, 3, 2)), call(d(2, 3, 2), 1), call(d(2, 3, 2), 0, 1), call(d())],
        view=True,
    ),
    structured(
        "expand",
        lambda d: [call(d(3), 2, 3), call(d(2, 1), (2, 4)), call(d(), 3), call(d(1, 3), 0, -1)],
        view=True,
        torch=_method("expand"),
    ),
    structured(
        "broadcast_to",
        lambda d: [call(d(3), (2, 3)), call(d(2, 1), (2, 4)), call(d(), (2, 2))],
        view=True,
    ),
    structured(
        "permute",
        lambda d: [call(d(2, 3, 4), (2, 0, 1)), call(d(), ()), call(d(2, 3), (-1, 0))],
        view=True,
    ),
    structured(
        "transpose",
        lambda d: [call(d(2, 3), 0, 1), call(d(2, 3, 4), -1, 0), call(d(), 0, 0)],
        view=True,
    ),
    structured("t", lambda d: [call(d(2, 3)), call(d(3)), call(d())], view=True),
    structured(
        "squeeze",
        lambda d: [
            call(d(1, 3, 1)),
            call(d(1, 3, 1), 0),
            call(d(1, 3), 1),
            call(d(1, 3, 1), (0, 2)),
            call(d()),
            call(d(1), 0),
        ],
        view=True,
    ),
    structured(
        "unsqueeze", lambda d: [call(d(2, 3), 0), call(d(2, 3), -1), call(d(), 0)], view=True
    ),
    structured("detach", _likes, view=True, differentiable=False, torch=_method("detach")),
    # --- indexing ---
    structured(
        "index_select",
        lambda d: [
            call(d(3, 2), 0, np.array([2, 0, 2])),
            call(d(2, 3), 1, np.array([1])),
            call(d(2, 3, 2), -2, np.array([0, 0])),
            call(d(3), 0, np.array([], "int64")),
        ],
    ),
    structured(
        "narrow",
        lambda d: [call(d(4, 2), 0, 1, 2), call(d(2, 4), -1, -3, 2), call(d(3), 0, 3, 0)],
        view=True,
    ),
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
    # --- products and rows ---
    structured("matmul", _matmuls, third=True, refuses=("bool",)),
    structured("mm", lambda d: [call(d(2, 3), d(3, 4)), call(d(1, 0), d(0, 2))], refuses=("bool",)),
    structured("linear", _linears, refuses=("bool",)),
    structured(
        "_linear_activation",
        lambda d: [
            call(d(2, 3), d(4, 3), b, a) for a in ("relu", "tanh", "sigmoid") for b in (None, d(4))
        ],
        torch=_activated,
        rtol=32,
    ),
    structured("softmax", _softmaxes, rtol=16, refuses=("int64", "bool")),
    structured("log_softmax", _softmaxes, rtol=16, refuses=("int64", "bool")),
    structured("cross_entropy", _cross_entropies, rtol=32),
    structured("mse_loss", _losses, rtol=16, refuses=("bool",), extends=("int64",)),
    # --- random: tests/test_random.py has the values ---
    constant("rand", _sizes, compare="shape"),
    constant("randn", _sizes, compare="shape"),
    structured(
        "rand_like", _likes, compare="shape", differentiable=False, refuses=("int64", "bool")
    ),
    structured(
        "randn_like", _likes, compare="shape", differentiable=False, refuses=("int64", "bool")
    ),
    constant(
        "randint", lambda d: [call(5, (2, 3)), call(2, 4, (3,)), call(1, ())], compare="shape"
    ),
    constant("randperm", lambda d: [call(5), call(0), call(1)], compare="shape"),
    structured(
        "uniform_",
        lambda d: [call(d(2, 3)), call(d(2), 1.0, 3.0)],
        compare="shape",
        differentiable=False,
        torch=_method("uniform_"),
    ),
    structured(
        "normal_",
        lambda d: [call(d(2, 3)), call(d(2), 1.0, 3.0)],
        compare="shape",
        differentiable=False,
        torch=_method("normal_"),
    ),
)

ROWS: dict[str, Row] = {row.name: row for row in _TABLE}
