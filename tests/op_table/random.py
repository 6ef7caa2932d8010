"""Random numbers: tests/test_random.py has the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row import call, constant, likes, method, sizes, structured

if TYPE_CHECKING:
    from .row import Row

ROWS: tuple[Row, ...] = (
    constant("rand", sizes, compare="shape"),
    constant("randn", sizes, compare="shape"),
    structured(
        "rand_like", likes, compare="shape", differentiable=False, refuses=("int64", "bool")
    ),
    structured(
        "randn_like", likes, compare="shape", differentiable=False, refuses=("int64", "bool")
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
        torch=method("uniform_"),
    ),
    structured(
        "normal_",
        lambda d: [call(d(2, 3)), call(d(2), 1.0, 3.0)],
        compare="shape",
        differentiable=False,
        torch=method("normal_"),
    ),
)
