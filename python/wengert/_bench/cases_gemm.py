"""Matrix products in float32 and bfloat16. Every library makes its own result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Case
from .peers import expressions

if TYPE_CHECKING:
    from collections.abc import Callable

SQUARES = (64, 128, 256, 512, 1024, 2048)
OTHERS = ((32, 64, 64), (256, 784, 256))  # m, k, n
HALVES = (
    (256, 256, 256), (512, 512, 512), (1024, 1024, 1024),
    (32, 784, 128), (256, 1024, 1024), (768, 128, 384),
)  # fmt: skip


def _inputs(
    a: tuple[int, int], b: tuple[int, int]
) -> Callable[[np.random.Generator], dict[str, np.ndarray[Any, Any]]]:
    return lambda rng: {
        k: rng.standard_normal(size).astype(np.float32) for k, size in (("a", a), ("b", b))
    }


def _case(m: int, k: int, n: int, transposed: bool = False) -> Case:
    right = "b.T" if transposed else "b"
    product = f"a @ {right}"
    exprs = {
        WENGERT: product,
        "torch": f"torch.mm(a, {'b.t()' if transposed else 'b'})",
        "numpy": product,
        "jax jit": product,
        "mlx": product,
    }
    return expressions(
        f"gemm/{m}x{k} by {'transposed ' if transposed else ''}{k}x{n}",
        exprs,
        _inputs((m, k), (n, k) if transposed else (k, n)),
        counted="one product",
        flops=2.0 * m * k * n,
        nbytes=4.0 * (m * k + k * n + m * n),
        rtol=1e-4,
        atol=1e-5 * k**0.5 * 10,
    )


def _half(m: int, k: int, n: int) -> Case:
    return expressions(
        f"gemm/bfloat16 {m}x{k} by transposed {n}x{k}",
        dict.fromkeys((WENGERT, "torch", "jax jit", "mlx"), "a @ b.T"),
        _inputs((m, k), (n, k)),
        counted="one product",
        flops=2.0 * m * k * n,
        nbytes=2.0 * (m * k + k * n + m * n),
        dtypes={"a": "bfloat16", "b": "bfloat16"},
        rtol=2e-2,
        atol=2e-2 * k**0.5,
    )


def _medium(m: int, k: int, n: int) -> Case:
    def set_to(name: str) -> str:
        return f"T.set_float32_matmul_precision('{name}')"

    product = f"({set_to('medium')}, a @ b, {set_to('highest')})[1]"
    return expressions(
        f"gemm/medium precision {m}x{k} by {k}x{n}",
        {WENGERT: product, "torch": product},
        _inputs((m, k), (k, n)),
        counted="one product",
        flops=2.0 * m * k * n,
        nbytes=4.0 * (m * k + k * n + m * n),
        rtol=2e-2,
        atol=2e-2 * k**0.5,
    )


CASES: list[Case] = [
    *(_case(n, n, n) for n in SQUARES),
    *(_case(*size) for size in OTHERS),
    _case(32, 64, 64, transposed=True),
    _case(512, 512, 512, transposed=True),
    *(_half(*size) for size in HALVES),
    *(_medium(*size) for size in HALVES[1:4]),
]
