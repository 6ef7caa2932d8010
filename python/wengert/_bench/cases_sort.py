"""Sorting, and what is found by it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import SMALL, Row, cases, first, placed

if TYPE_CHECKING:
    from .harness import Case

ROWS = (
    Row("sort", "a.sort()", "np.sort(a)", "jnp.sort(a)", sizes=SMALL, compared=first),
    Row("argsort", "a.argsort(stable=True)", "np.argsort(a, kind='stable')", "jnp.argsort(a)",
        sizes=SMALL),
    Row("sort int64", "i.sort()", "np.sort(i)", sizes=SMALL, compared=first),
    *placed("sort", "a.sort({})", ("first axis", "runs of 8"), numpy="np.sort(a, {})",
            sizes=SMALL, compared=first),
    *placed("sort", "a.sort({})", ("last axis",), numpy="np.sort(a, {})", compared=first),
    Row("topk of 10", "a.topk(10)", None, "jax.lax.top_k(a, 10)", compared=first),
    *placed("topk of 5", "a.topk(5, {})", ("last axis",), jax="jax.lax.top_k(a, 5)",
            compared=first),
    Row("kthvalue", "a.kthvalue(N // 2)", "np.partition(a, N // 2)[N // 2 - 1]", sizes=SMALL,
        compared=first),
    Row("unique", "i.unique()", "np.unique(i)", sizes=SMALL),
    Row("unique floats", "a.unique()", "np.unique(a)", sizes=SMALL),
    Row("unique rows", "i.unique(dim=0)", "np.unique(i, axis=0)", sizes=SMALL, shape="short"),
    Row("searchsorted", "T.searchsorted(a.sort()[0], b)",
        "np.searchsorted(np.sort(a), b)", sizes=("1k",)),
    Row("bincount", "T.bincount(i)", "np.bincount(i)"),
    Row("histc", "T.histc(a, 100, -3, 3)", "np.histogram(a, 100, (-3, 3))[0]", sizes=SMALL,
        loose=2),
    Row("isin", "T.isin(i, j)", "np.isin(i, j)", sizes=SMALL),
)  # fmt: skip
CASES: list[Case] = cases("sort", ROWS)
