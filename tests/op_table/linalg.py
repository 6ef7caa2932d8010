"""Linear algebra. What is not unique (eigenvectors, singular vectors) is in test_linalg.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .row import FLOATS, call, structured, wrong

if TYPE_CHECKING:
    from .row import Array, Draw, Row, Sample


def _regular(d: Draw, *shape: int) -> Array:
    """Square matrices far from singular."""
    x = d(*shape)
    return (x + 5 * np.eye(shape[-1])).astype(x.dtype) if d.dtype in FLOATS else x


def _positive(d: Draw, *shape: int) -> Array:
    """Positive definite matrices."""
    x = d(*shape)
    y = x @ np.swapaxes(x, -1, -2)
    return (y + np.eye(shape[-1])).astype(x.dtype) if d.dtype in FLOATS else x


def _squares(d: Draw) -> list[Sample]:
    shapes = ((2, 2), (2, 3, 3), (1, 1), (0, 0), (0, 2, 2), (2, 0, 0))
    return [*(call(_regular(d, *s)) for s in shapes), wrong(d(2, 3)), wrong(d(3))]


def _singular(d: Draw) -> list[Sample]:
    return [wrong(np.ones((2, 2), "float32")), wrong(np.zeros((2, 1, 1), "float32"))]


def _solves(d: Draw) -> list[Sample]:
    return [
        call(_regular(d, 3, 3), d(3, 2)),
        call(_regular(d, 3, 3), d(3)),
        call(_regular(d, 2, 3, 3), d(2, 3)),
        call(_regular(d, 2, 1, 2, 2), d(3, 2, 2)),
        call(_regular(d, 2, 2), d(3, 2), left=False),
        call(_regular(d, 0, 0), d(0, 2)),
        call(_regular(d, 2, 2), d(2, 0)),
        wrong(d(2, 2), d(3, 2)),
        wrong(d(2, 3), d(2, 2)),
        wrong(np.ones((2, 2), "float32"), d(2, 2)),
    ]


def _triangles(d: Draw) -> list[Sample]:
    a = _regular(d, 3, 3)
    return [
        *(call(a, d(3, 2), upper=u, unitriangular=t) for u in (True, False) for t in (True, False)),
        call(a, d(2, 3), upper=True, left=False),
        call(_regular(d, 2, 1, 2, 2), d(3, 2, 1), upper=False),
        call(_regular(d, 0, 0), d(0, 2), upper=True),
        wrong(d(2, 2), d(3, 2), upper=True),
        wrong(d(2, 2), d(2), upper=True),
    ]


def _choleskys(d: Draw) -> list[Sample]:
    shapes = ((3, 3), (2, 2, 2), (1, 1), (0, 0))
    return [
        *(call(_positive(d, *s)) for s in shapes),
        call(_positive(d, 2, 2), upper=True),
        wrong(-np.eye(2, dtype="float32")),
        wrong(d(2, 3)),
    ]


def _cholesky_solves(d: Draw) -> list[Sample]:
    a = _regular(d, 3, 3)
    lower, upper = np.tril(a), np.triu(a)
    return [call(d(3, 2), lower), call(d(3, 2), upper, upper=True), call(d(2, 3, 1), lower)]


def _qrs(d: Draw) -> list[Sample]:
    return [
        *(call(d(*s)) for s in ((3, 3), (4, 2), (2, 4), (2, 3, 2), (0, 2, 2), (2, 0))),
        call(d(2, 3), "complete"),
        call(d(2, 2), mode="complete"),
        wrong(d(2, 2), "no"),
        wrong(d(2)),
    ]


def _matrices(d: Draw) -> list[Sample]:
    return [call(d(*s)) for s in ((3, 3), (3, 2), (2, 3), (2, 2, 3), (0, 2, 2))] + [wrong(d(2))]


def _symmetric(d: Draw) -> list[Sample]:
    return [
        *(call(_positive(d, *s)) for s in ((3, 3), (2, 2, 2), (1, 1), (0, 0))),
        call(_positive(d, 3, 3), "U"),
        wrong(_positive(d, 2, 2), "X"),
        wrong(d(2, 3)),
    ]


def _shapes(d: Draw) -> list[Sample]:
    return [s for s in _matrices(d) if not s.wrong] + [call(d(3, 2), full_matrices=False)]


def _cholesky(torch: Any) -> Any:
    return lambda a, upper=False: torch.linalg.cholesky(a, upper=upper)


more: dict[str, Any] = {
    "rtol": 512,
    "dtypes": FLOATS,
    "refuses": ("float16", "bfloat16", "int64", "bool"),
}
# Only one triangle is read: test_linalg.py differentiates them.
half: dict[str, Any] = {**more, "differentiable": False}

ROWS: tuple[Row, ...] = (
    structured("linalg_inv", lambda d: _squares(d) + _singular(d), third=True, **more),
    structured("inverse", lambda d: _squares(d) + _singular(d), **more),
    structured("linalg_det", _squares, **more),
    structured("det", _squares, **more),
    structured("linalg_slogdet", _squares, **more),
    structured("slogdet", _squares, **more),
    structured("logdet", _squares, **more),
    structured("linalg_solve", _solves, **more),
    structured("linalg_solve_triangular", _triangles, **more),
    structured("linalg_cholesky", _choleskys, **half),
    structured("cholesky", _choleskys, torch=_cholesky, **half),
    structured("cholesky_solve", _cholesky_solves, **half),
    structured("linalg_qr", _qrs, **more),
    structured("linalg_eigh", _symmetric, compare="shape", **half),
    structured("linalg_eigvalsh", _symmetric, **half),
    structured("linalg_svd", _shapes, compare="shape", **half),
    structured("linalg_svdvals", _matrices, **more),
    structured("linalg_matrix_rank", _matrices, **half),
    structured("linalg_pinv", _matrices, **more),
    structured("pinverse", _matrices, **more),
)
