"""Products of matrices and vectors other than the squares of `cases_gemm`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Row, cases

if TYPE_CHECKING:
    from .harness import Case

ROWS = (
    Row("matrix by vector", "a @ row", "=", "=", shape="matrix", loose=1e-2),
    Row("vector by matrix", "row @ a.T", "=", "=", shape="matrix", loose=1e-2),
    Row("dot", "a.dot(b)", "=", "=", loose=1e-1),
    Row("outer", "T.outer(column.ravel(), row)", "np.outer(column, row)",
        "jnp.outer(column, row)", shape="matrix"),
    Row("narrow products", "b.T @ a", "=", "=", shape="short", loose=1e-1),
    Row("batch", "a @ b.transpose(1, 2)", "a @ b.swapaxes(1, 2)", "a @ b.swapaxes(1, 2)",
        shape="batch", loose=1e-2),
    Row("einsum of a batch", "T.einsum('bij,bkj->bik', a, b)", None,
        "jnp.einsum('bij,bkj->bik', a, b)", shape="batch", loose=1e-2),
    Row("addmm", "T.addmm(row, a, b.T)", "row + a @ b.T", "row + a @ b.T", shape="square",
        sizes=("1k", "1M"), loose=1e-2),
    Row("batch", "a @ b.transpose(1, 2)", jax="a @ b.swapaxes(1, 2)", shape="batch",
        grad=("a", "b"), loose=1e-2),
)  # fmt: skip
CASES: list[Case] = cases("product", ROWS)
