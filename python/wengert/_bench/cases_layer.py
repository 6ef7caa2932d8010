"""One large layer, there and back, with gradients by input, weight and bias."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .peers import everywhere, expressions

if TYPE_CHECKING:
    from .harness import Case

BATCH, WIDTH = 256, 1024
_JAX = "lambda x, w, b: jax.nn.relu(x @ w.T + b)"


def _inputs(rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    def normal(*size: int) -> np.ndarray[Any, Any]:
        return rng.standard_normal(size).astype(np.float32)

    scale = np.float32(WIDTH**-0.5)
    return {
        "x": normal(BATCH, WIDTH),
        "w": normal(WIDTH, WIDTH) * scale,
        "b": normal(WIDTH),
        "g": normal(BATCH, WIDTH),
    }


def _case(name: str, ours: str, jax_expr: str, products: int, grad: tuple[str, ...]) -> Case:
    return expressions(
        f"layer/{name}/{BATCH}x{WIDTH}x{WIDTH}",
        {**everywhere(ours), "jax jit": jax_expr, **({} if grad else {"mlx": jax_expr})},
        _inputs,
        counted="one layer",
        grad=grad,
        flops=2.0 * products * BATCH * WIDTH * WIDTH,
        nbytes=4.0 * products * (2 * BATCH + WIDTH) * WIDTH,
        rtol=1e-3,
        atol=1e-3,
    )


CASES: list[Case] = [
    _case("linear", "F.linear(x, w, b)", "x @ w.T + b", 1, ()),
    _case(
        "linear and relu forward and backward",
        "(y := F.relu(F.linear(x, w, b)), grad(y, (x, w, b), g))",
        f"(lambda y, pull: (y, pull(g)))(*jax.vjp({_JAX}, x, w, b))",
        3,
        ("x", "w", "b"),
    ),
]
