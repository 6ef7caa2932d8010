"""Softmax and cross-entropy, forward, and forward with backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .peers import everywhere, expressions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .harness import Case

SIZES = ((1024, 1000), (32, 10))
_JAX_LOSS = "-jnp.take_along_axis(jax.nn.log_softmax(x), t[:, None], 1).mean()"


def _inputs(
    rows: int, columns: int, *more: str
) -> Callable[[np.random.Generator], dict[str, np.ndarray[Any, Any]]]:
    def make(rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        arrays: dict[str, np.ndarray[Any, Any]] = {
            "x": rng.standard_normal((rows, columns)).astype(np.float32)
        }
        if "g" in more:
            arrays["g"] = rng.standard_normal((rows, columns)).astype(np.float32)
        if "t" in more:
            arrays["t"] = rng.integers(0, columns, rows)
        return arrays

    return make


def _cases(rows: int, columns: int) -> list[Case]:
    size, n = f"{rows}x{columns}", rows * columns
    return [
        expressions(
            f"rows/softmax/{size}",
            {
                **everywhere("F.softmax(x, -1)"),
                "jax jit": "jax.nn.softmax(x)",
                "mlx": "mx.softmax(x, -1)",
            },
            _inputs(rows, columns),
            nbytes=8 * n,
        ),
        expressions(
            f"rows/softmax forward and backward/{size}",
            {
                **everywhere("(y := F.softmax(x, -1), grad(y, x, g))"),
                "jax jit": "(lambda y, pull: (y, pull(g)))(*jax.vjp(jax.nn.softmax, x))",
            },
            _inputs(rows, columns, "g"),
            grad=("x",),
        ),
        expressions(
            f"rows/cross entropy forward and backward/{size}",
            {
                **everywhere("(loss := F.cross_entropy(x, t), grad(loss, x))"),
                "jax jit": f"jax.value_and_grad(lambda x: {_JAX_LOSS})(x)",
            },
            _inputs(rows, columns, "t"),
            grad=("x",),
        ),
    ]


CASES: list[Case] = [c for size in SIZES for c in _cases(*size)]
