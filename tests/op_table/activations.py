"""Activation functions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .row import Row, call, unary

if TYPE_CHECKING:
    from .row import Draw, Sample


def _activation(name: str, *params: Any, third: bool = True, **more: Any) -> Row:
    def samples(d: Draw) -> list[Sample]:
        first = [call(d(2, 3)), call(d()), call(d(0)), call(d(40))]
        return [*first, call(d(2, 3), *params)] if params else first

    more.setdefault("extends", ("int64", "bool"))
    return Row(name, ((-4, 4),), samples, third=third, rtol=64, kink=True, **more)


ROWS: tuple[Row, ...] = (
    unary("relu", -4, 4, kink=True, reference=lambda x: np.maximum(x, 0)),
    Row(
        "gelu",
        ((-4, 4),),
        lambda d: [call(d(2, 3)), call(d()), call(d(2, 3), approximate="tanh"), call(d(0))],
        rtol=64,
        third=True,
        extends=("int64", "bool"),
    ),
    _activation("leaky_relu", 0.2),
    _activation("elu", 0.7),
    _activation("selu"),
    # PyTorch's own derivatives of these two hold float32 constants in float64
    _activation(
        "celu",
        0.7,
        torch=lambda torch: lambda x, a=1.0: torch.where(x > 0, x, a * torch.expm1(x / a)),
    ),
    _activation("relu6"),
    _activation("silu"),
    _activation("mish"),
    _activation("softplus", 2.0, 3.0),
    _activation("logsigmoid"),
    _activation("hardtanh", -0.7, 0.9),
    _activation(
        "hardsigmoid",
        torch=lambda torch: lambda x: torch.nn.functional.relu6(x + 3.0) / 6,
    ),
    _activation("hardswish", third=False),
    _activation("softsign"),
    _activation("softshrink", 0.3),
    _activation("hardshrink", 0.3),
    _activation("tanhshrink"),
    Row("threshold", ((-4, 4),), lambda d: [call(d(2, 3), 0, -1), call(d(), 1, 0)], kink=True),
    Row(
        "prelu",
        ((-4, 4),),
        lambda d: [
            call(d(2, 3), d(1)),
            call(d(2, 3), d(3)),
            call(d(3), d()),
            call(d(2, 3, 2), d(3)),
        ],
        kink=True,
        extends=("int64", "bool"),
    ),
)
