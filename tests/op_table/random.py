"""Random numbers: tests/test_random.py has the values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import call, constant, likes, method, sizes, structured

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .row import Draw, Row, Sample


def random(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    return structured(name, samples, compare="shape", differentiable=False, **more)


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
        "randint",
        lambda d: [call(5, (2, 3)), call(2, 4, (3,)), call(1, ()), call(-3, 3, [2], dtype=None)],
        compare="shape",
    ),
    random("randint_like", lambda d: [call(d(2, 3), 2), call(d(2), 0, 2), call(d(), high=1)]),
    constant("randperm", lambda d: [call(5), call(0), call(1)], compare="shape"),
    constant(
        "normal",
        lambda d: [
            call(d(2, 3), d(3, operand=1)),
            call(d(2, 1), d(3, operand=1)),
            call(d(2)),
            call(d(2), 0.5),
            call(1.0, d(2, 3, operand=1)),
            call(1, 0, (2, 3)),
            call(0.0, 1.0, size=(2,)),
        ],
        domains=((-2.0, 2.0), (0.0, 2.0)),
        compare="shape",
    ),
    random(
        "bernoulli",
        lambda d: [call(d(2, 3)), call(d()), call(d(2, 3), 0.25), call(d(2), p=1)],
        domains=((0.1, 0.9),),
    ),
    random("poisson", lambda d: [call(d(2, 3)), call(d(0)), call(d())], domains=((0.0, 40.0),)),
    random(
        "multinomial",
        lambda d: [
            call(d(3), 2),
            call(d(2, 3), 3),
            call(d(2, 3), 1, True),
            call(d(4), 9, replacement=True),
            call(d(0, 3), 2),
        ],
        domains=((0.1, 3.0),),
    ),
    structured(
        "dropout",
        lambda d: [
            call(d(2, 3), 0.0),
            call(d(2, 3), p=1.0),
            call(d(2, 3), 0.5, False),
            call(d(0), 0.5),
            call(d(2, 3), training=False),
            call(d(2, 3), p=0, inplace=True),
        ],
        torch=lambda torch: torch.nn.functional.dropout,
    ),
    structured(
        "dropout_",
        lambda d: [call(d(2, 3), 0.5, False), call(d(2, 3), 0.0, True)],
        differentiable=False,
    ),
    *(
        random(name, samples, torch=method(name))
        for name, samples in {
            "uniform_": lambda d: [call(d(2, 3)), call(d(2), 1.0, 3.0), call(d(2), to=2)],
            "normal_": lambda d: [call(d(2, 3)), call(d(2), 1.0, 3.0)],
            "log_normal_": lambda d: [call(d(2, 3)), call(d(2), 1.0, std=3.0)],
            "exponential_": lambda d: [call(d(2, 3)), call(d(2), 2.5), call(d(), lambd=1)],
            "cauchy_": lambda d: [call(d(2, 3)), call(d(2), 1.0, 3.0), call(d(2), sigma=2)],
            "geometric_": lambda d: [call(d(2, 3), 0.5), call(d(2), p=0.01)],
            "random_": lambda d: [
                call(d(2, 3)),
                call(d(2), 2),
                call(d(2), 0, 1),
                call(d(2), 1, None),
                call(d(2), to=1),
            ],
            "bernoulli_": lambda d: [
                call(d(2, 3)),
                call(d(2), 0.5),
                call(d(2), p=1),
                call(d(2, 3), np.array([0.0, 0.5, 1.0])),
            ],
        }.items()
    ),
)
