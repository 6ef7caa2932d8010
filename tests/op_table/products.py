"""Matrix products."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .row import call, structured

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Draw, Row, Sample


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


ROWS: tuple[Row, ...] = (
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
)
