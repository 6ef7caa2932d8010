"""Reading and writing at positions and under masks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Row, cases

if TYPE_CHECKING:
    from .harness import Case

ROWS = (
    Row("gather, first axis", "a.gather(0, at)", "np.take_along_axis(a, at, 0)",
        "jnp.take_along_axis(a, at, 0)", shape="matrix"),
    Row("gather, last axis", "a.gather(1, along)", "np.take_along_axis(a, along, 1)",
        "jnp.take_along_axis(a, along, 1)", shape="matrix"),
    Row("index_select, first axis", "a.index_select(0, rows)", "a.take(rows, 0)",
        "a.take(rows, 0)", shape="table"),
    Row("index_select, last axis", "a.index_select(1, columns)", "a.take(columns, 1)",
        "a.take(columns, 1)", shape="table"),
    Row("embedding", "F.embedding(rows, a)", "a[rows]", "a[rows]", shape="table"),
    Row("read elements", "a[at]", "=", "="),
    Row("read rows", "a[rows]", "=", "=", shape="table"),
    Row("read pairs", "a[rows, target]", "=", "=", shape="table"),
    Row("read by mask", "a[mask]", "="),
    Row("read by rare mask", "a[rare]", "="),
    Row("masked_select", "a.masked_select(mask)", "a[mask]"),
    Row("nonzero", "mask.nonzero()", "np.argwhere(mask)"),
    Row("nonzero of few", "rare.nonzero()", "np.argwhere(rare)"),
    Row("nonzero of a matrix", "mask.nonzero()", "np.argwhere(mask)", shape="matrix"),
    Row("masked_fill", "a.masked_fill(mask, 2.0)", "np.where(mask, np.float32(2), a)",
        "jnp.where(mask, 2, a)"),
    Row("write elements", "a.index_put_((order,), b)", "(a.__setitem__(order, b), a)[1]",
        "a.at[order].set(b)"),
    Row("write rows", "a.index_put_((order,), b)", "(a.__setitem__(order, b), a)[1]",
        "a.at[order].set(b)", shape="table"),
    Row("write by mask", "(a.__setitem__(mask, 2.0), a)[1]", "="),
    Row("write a slice", "(a.__setitem__((slice(None), slice(1, -1)), b[:, 1:-1]), a)[1]", "=",
        shape="matrix"),
    Row("fill a slice", "(a.__setitem__((slice(None), slice(1, -1)), 2.0), a)[1]", "=",
        shape="matrix"),
    Row("add at elements", "a.index_put((at,), b, accumulate=True)",
        "(y := a.copy(), np.add.at(y, at, b))[0]", "a.at[at].add(b)", loose=1e-3),
    Row("add at rows", "a.index_put((rows,), b, accumulate=True)", None,
        "a.at[rows].add(b)", shape="table", loose=1e-3),
    Row("scatter_add", "a.scatter_add(0, at, b)", "(y := a.copy(), np.add.at(y, at, b))[0]",
        "a.at[at].add(b)", loose=1e-3),
    Row("scatter_add, first axis", "a.scatter_add(0, at, b)", shape="matrix", loose=1e-3),
    Row("scatter_add, last axis", "a.scatter_add(1, along, b)", shape="matrix", loose=1e-3),
    Row("scatter, last axis", "a.scatter(1, along, 2.0)", shape="matrix"),
    Row("index_add, first axis", "a.index_add(0, rows, b)", shape="table", loose=1e-3),
    Row("index_add, last axis", "a.index_add(1, columns, b)", shape="table", loose=1e-3),
    Row("index_copy", "a.index_copy(0, order, b)", shape="table"),
    Row("index_fill", "a.index_fill(0, order, 2.0)", shape="table"),
    Row("one_hot", "F.one_hot(target, 100)", sizes=("1M", "16M"), shape="table"),
    Row("read elements", "a[at]", jax="=", grad=("a",), loose=1e-3),
    Row("read rows", "a[rows]", jax="=", shape="table", grad=("a",), loose=1e-3),
    Row("read by mask", "a[mask]", grad=("a",)),
    Row("read a slice", "a[:, 1:-1]", jax="=", shape="matrix", grad=("a",)),
    Row("embedding", "F.embedding(rows, a)", jax="a[rows]", shape="table", grad=("a",),
        loose=1e-3),
    Row("gather, last axis", "a.gather(1, along)", jax="jnp.take_along_axis(a, along, 1)",
        shape="matrix", grad=("a",), loose=1e-3),
    Row("index_select, first axis", "a.index_select(0, rows)", jax="a.take(rows, 0)",
        shape="table", grad=("a",), loose=1e-3),
    Row("scatter_add, last axis", "a.scatter_add(1, along, b)", shape="matrix", grad=("a", "b"),
        loose=1e-3),
    Row("masked_fill", "a.masked_fill(mask, 2.0)", jax="jnp.where(mask, 2, a)", grad=("a",)),
)  # fmt: skip
CASES: list[Case] = cases("index", ROWS)
