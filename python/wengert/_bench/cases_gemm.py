"""Float32 matrix products. Every library makes its own result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Case
from .peers import expressions

if TYPE_CHECKING:
    from collections.abc import Callable

SQUARES = (64, 128, 256, 512, 1024, 2048)
OTHERS = ((32, 64, 64), (256, 784, 256))  # m, k, n


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


CASES: list[Case] = [
    *(_case(n, n, n) for n in SQUARES),
    *(_case(*size) for size in OTHERS),
    _case(32, 64, 64, transposed=True),
    _case(512, 512, 512, transposed=True),
]
