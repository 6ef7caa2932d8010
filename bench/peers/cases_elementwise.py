"""Elementwise operations on many elements, forward, and forward with backward."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from harness import WENGERT, Case
from peers import expressions

if TYPE_CHECKING:
    from collections.abc import Callable

    Inputs = Callable[[np.random.Generator], dict[str, np.ndarray[Any, Any]]]

SIZES = {"1k": 1000, "1M": 1_000_000}
# name: operands, wengert and PyTorch, NumPy, JAX
OPERATIONS = {
    "add": (2, "a + b", "a + b", "a + b"),
    "exp": (1, "a.exp()", "np.exp(a)", "jnp.exp(a)"),
    "tanh": (1, "a.tanh()", "np.tanh(a)", "jnp.tanh(a)"),
    "gelu": (1, "F.gelu(a)", None, "jax.nn.gelu(a, approximate=False)"),
}


def _inputs(size: int, names: str) -> Inputs:
    return lambda rng: {k: rng.standard_normal(size).astype(np.float32) for k in names}


def _cases(what: str, size: str) -> list[Case]:
    arity, ours, numpy_expr, jax_expr = OPERATIONS[what]
    n, operands = SIZES[size], "ab"[:arity]
    forward = {WENGERT: ours, "torch": ours, "numpy": numpy_expr, "jax jit": jax_expr}
    listed = "".join(f"{k}, " for k in operands)
    pulled = f"(y := {ours}, grad(y, ({listed}), g))"
    vjp = f"jax.vjp(lambda {listed[:-2]}: {jax_expr}, {listed[:-2]})"
    both = {
        WENGERT: pulled,
        "torch": pulled,
        "jax jit": f"(lambda y, pull: (y, pull(g)))(*{vjp})",
    }
    return [
        expressions(
            f"elementwise/{what}/{size}",
            {k: v for k, v in forward.items() if v},
            _inputs(n, operands),
            nbytes=4 * n * (arity + 1),
        ),
        expressions(
            f"elementwise/{what} forward and backward/{size}",
            both,
            _inputs(n, operands + "g"),
            grad=tuple(operands),
        ),
    ]


CASES: list[Case] = [c for size in SIZES for what in OPERATIONS for c in _cases(what, size)]
