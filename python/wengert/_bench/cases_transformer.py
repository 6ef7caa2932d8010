"""What transformers are made of: normalization, embedding, attention."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .peers import everywhere, expressions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .harness import Case

ROWS = ((768, 128), (1024, 768), (8192, 64))  # rows, columns
TABLES = ((65, 128, 768), (50257, 768, 1024))  # rows, columns, indices
HEADS = ((12, 4, 64, 32), (4, 8, 256, 64), (1, 8, 1024, 64))  # batch, heads, length, head size

_LAYER_NORM = "(x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)"
_RMS_NORM = "x * jax.lax.rsqrt((x * x).mean(-1, keepdims=True) + 1e-5) * w"


def _normal(**shapes: tuple[int, ...]) -> Callable[[np.random.Generator], dict[str, Any]]:
    def make(rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        return {n: rng.standard_normal(s).astype(np.float32) for n, s in shapes.items()}

    return make


def _both(
    name: str,
    size: str,
    ours: str,
    jax: str,
    by: tuple[str, ...],
    shapes: Any,
    like: Any,
    **more: Any,
) -> list[Case]:
    """A function forward, and forward with backward by some of its inputs."""
    names = ", ".join(by)
    pulled = f"(lambda y, pull: (y, pull(g)))(*jax.vjp(lambda {names}: {jax}, {names}))"
    atol = more.pop("atol", 1e-5)
    return [
        expressions(
            f"transformer/{name}/{size}",
            {**everywhere(ours), "jax jit": jax},
            _normal(**shapes),
            rtol=1e-4,
            atol=atol,
            **more,
        ),
        expressions(
            f"transformer/{name} forward and backward/{size}",
            {**everywhere(f"(y := {ours}, grad(y, ({names},), g))"), "jax jit": pulled},
            _normal(**shapes, g=like),
            grad=by,
            rtol=1e-3,
            atol=100 * atol,
            **{k: 3.5 * v for k, v in more.items()},
        ),
    ]


def _norms(rows: int, columns: int) -> list[Case]:
    size, shape, vector = f"{rows}x{columns}", (rows, columns), (columns,)
    ours = f"F.layer_norm(x, ({columns},), w, b, 1e-5)"
    rms = f"F.rms_norm(x, ({columns},), w, 1e-5)"
    given = {"x": shape, "w": vector}
    return [
        *_both("layer norm", size, ours, f"{_LAYER_NORM} * w + b", ("x", "w", "b"),
               {**given, "b": vector}, shape),
        *_both("rms norm", size, rms, _RMS_NORM, ("x", "w"), given, shape),
    ]  # fmt: skip


def _embeddings(rows: int, columns: int, count: int) -> list[Case]:
    def make(rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
        return {
            "w": rng.standard_normal((rows, columns)).astype(np.float32),
            "i": rng.integers(0, rows, count),
            "g": rng.standard_normal((count, columns)).astype(np.float32),
        }

    size = f"{rows}x{columns}/{count}"
    return [
        expressions(
            f"transformer/embedding/{size}",
            {**everywhere("F.embedding(i, w)"), "jax jit": "w[i]"},
            make,
        ),
        expressions(
            f"transformer/embedding forward and backward/{size}",
            {
                **everywhere("(y := F.embedding(i, w), grad(y, w, g))"),
                "jax jit": "(lambda y, pull: (y, pull(g)))(*jax.vjp(lambda w: w[i], w))",
            },
            make,
            grad=("w",),
            rtol=1e-4,
            atol=1e-4,
        ),
    ]


def _attentions(batch: int, heads: int, length: int, head: int) -> list[Case]:
    shape = (batch, heads, length, head)
    cases = []
    for causal in (False, True):
        ours = f"F.scaled_dot_product_attention(q, k, v, is_causal={causal})"
        mask = f"jnp.where(jnp.tri({length}, dtype=bool), 0, -jnp.inf)" if causal else "0"
        scores = f"q @ k.swapaxes(-1, -2) * {head**-0.5} + {mask}"
        cases += _both(
            "causal attention" if causal else "attention",
            "x".join(map(str, shape)),
            ours,
            f"jax.nn.softmax({scores}) @ v",
            ("q", "k", "v"),
            dict.fromkeys("qkv", shape),
            shape,
            flops=4.0 * batch * heads * length * length * head * (0.5 if causal else 1),
        )
    return cases


CASES: list[Case] = [
    *(c for size in ROWS for c in _norms(*size)),
    *(c for size in TABLES for c in _embeddings(*size)),
    *(c for size in HEADS for c in _attentions(*size)),
]
