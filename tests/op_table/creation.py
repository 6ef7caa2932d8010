"""Creation, copies, casts and filling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import call, constant, likes, method, sizes, structured

if TYPE_CHECKING:
    from .row import Row

ROWS: tuple[Row, ...] = (
    constant("empty", sizes, compare="shape"),
    constant(
        "zeros",
        sizes,
        reference=lambda *s: np.zeros(s[0] if isinstance(s[0], (tuple, list)) else s, "f4"),
    ),
    constant("ones", sizes),
    constant("full", lambda d: [call((2, 3), 2.5), call((), 3), call([2], -1.0)]),
    structured("empty_like", likes, differentiable=False, compare="shape"),
    structured("zeros_like", likes, differentiable=False, reference=np.zeros_like),
    structured("ones_like", likes, differentiable=False, reference=np.ones_like),
    structured("full_like", lambda d: [call(d(2, 3), 1), call(d(), 1)], differentiable=False),
    constant(
        "_arange",
        lambda d: [call(0, 5, 1), call(1.0, 2.0, 0.25), call(5, -1, -2), call(3, 3, 1)],
        torch=lambda torch: torch.arange,
    ),
    structured("clone", likes, reference=np.copy, third=True),
    structured("contiguous", likes, torch=method("contiguous")),
    structured(
        "copy_",
        lambda d: [call(d(2, 3), d(3)), call(d(2), d()), call(d(), d()), call(d(0), d(1))],
        torch=method("copy_"),
        differentiable=False,
    ),
    structured(
        "fill_",
        lambda d: [call(d(2, 3), 1), call(d(), 0)],
        torch=method("fill_"),
        differentiable=False,
    ),
    structured("zero_", likes, torch=method("zero_"), differentiable=False),
    structured(
        "_to_dtype",
        lambda d: [call(d(2, 3), t) for t in (float, int, bool)],
        differentiable=False,
        torch=lambda torch: (
            lambda x, t: x.to({float: torch.float64, int: torch.int64, bool: torch.bool}[t])
        ),
    ),
)
