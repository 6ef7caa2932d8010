"""Reductions of everything and over each dimension, in short and in long runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import SMALL, Row, cases, first, placed

if TYPE_CHECKING:
    from .harness import Case

AXES = ("last axis", "first axis", "middle axis")

ROWS = (
    Row("sum", "a.sum()", "=", "=", "=", loose=1e-1, flops=1),  # numbers of both signs
    Row("sum of int64", "i.sum()", "="),
    Row("sum of bfloat16", "h.sum()", None, None, loose=1e9),  # their sums are worth little
    Row("mean", "a.mean()", "=", "=", "=", flops=1),
    Row("var", "a.var()", "a.var(ddof=1)", "a.var(ddof=1)"),
    Row("prod", "near1.prod()", "=", "=", loose=1e-2),
    Row("max", "a.max()", "=", "="),
    Row("argmax", "a.argmax()", "=", "="),
    Row("logsumexp", "a.logsumexp(0)", None, "jax.nn.logsumexp(a)"),
    Row("norm", "a.norm()", "np.linalg.norm(a)", "jnp.linalg.norm(a)"),
    Row("any", "rare.any()", "=", "="),
    Row("all", "mask.all()", "=", "="),
    Row("count_nonzero", "T.count_nonzero(mask)", "np.count_nonzero(mask)",
        "jnp.count_nonzero(mask)"),
    Row("median", "a.median()", sizes=SMALL),
    *placed("sum", "a.sum({})", numpy="a.sum({})", jax="a.sum({})", loose=1e-2, flops=1),
    *placed("mean", "a.mean({})", AXES, numpy="a.mean({})", jax="a.mean({})"),
    *placed("var", "a.var({})", numpy="a.var({}, ddof=1)", jax="a.var({}, ddof=1)"),
    *placed("prod", "near1.prod({})", AXES, numpy="near1.prod({})", jax="near1.prod({})"),
    *placed("amax", "a.amax({})", numpy="a.max({})", jax="a.max({})"),
    *placed("max with positions", "a.max({})"),
    *placed("argmax", "a.argmax({})", numpy="a.argmax({})", jax="a.argmax({})"),
    *placed("logsumexp", "a.logsumexp({})", jax="jax.nn.logsumexp(a, {})"),
    *placed("norm", "a.norm(2, {})", AXES, numpy="np.linalg.norm(a, axis={})",
            jax="jnp.linalg.norm(a, axis={})"),
    *placed("any", "rare.any({})", AXES, numpy="rare.any({})", jax="rare.any({})"),
    *placed("median", "a.median({})", (*AXES, "runs of 8"), sizes=SMALL, compared=first),
    *placed("sum", "a.sum({})", AXES, jax="a.sum({})", grad=("a",), loose=1e-2),
    *placed("var", "a.var({})", ("last axis",), jax="a.var({}, ddof=1)", grad=("a",)),
    *placed("amax", "a.amax({})", ("last axis",), jax="a.max({})", grad=("a",)),
    *placed("logsumexp", "a.logsumexp({})", ("last axis",), jax="jax.nn.logsumexp(a, {})",
            grad=("a",)),
)  # fmt: skip
CASES: list[Case] = cases("reduce", ROWS, streams=True)
