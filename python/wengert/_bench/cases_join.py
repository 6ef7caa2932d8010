"""What moves elements: joins, copies in another order, repetition."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Row, cases

if TYPE_CHECKING:
    from .harness import Case

ROWS = (
    Row("cat, first axis", "T.cat((a, b), 0)", "np.concatenate((a, b), 0)",
        "jnp.concatenate((a, b), 0)", shape="matrix"),
    Row("cat, last axis", "T.cat((a, b), 1)", "np.concatenate((a, b), 1)",
        "jnp.concatenate((a, b), 1)", shape="matrix"),
    Row("stack, last axis", "T.stack((a, b), -1)", "np.stack((a, b), -1)",
        "jnp.stack((a, b), -1)", shape="matrix"),
    Row("clone", "a.clone()", "a.copy()"),
    Row("transposed copy", "a.T.contiguous()", "np.ascontiguousarray(a.T)", "a.T",
        shape="matrix"),
    Row("permuted copy", "a.permute(2, 0, 1).contiguous()",
        "np.ascontiguousarray(a.transpose(2, 0, 1))", "a.transpose(2, 0, 1)", shape="cube"),
    Row("middle and last swapped", "a.transpose(1, 2).contiguous()",
        "np.ascontiguousarray(a.swapaxes(1, 2))", "a.swapaxes(1, 2)", shape="cube"),
    Row("flip", "a.flip(1)", "np.flip(a, 1).copy()", "jnp.flip(a, 1)", shape="matrix"),
    Row("roll", "a.roll(7, 1)", "np.roll(a, 7, 1)", "jnp.roll(a, 7, 1)", shape="matrix"),
    Row("repeat", "a.repeat(2, 2)", "np.tile(a, (2, 2))", "jnp.tile(a, (2, 2))", shape="matrix"),
    Row("repeat_interleave", "a.repeat_interleave(2, 1)", "a.repeat(2, 1)", "a.repeat(2, 1)",
        shape="matrix"),
    Row("tril", "a.tril()", "np.tril(a)", "jnp.tril(a)", shape="matrix"),
    Row("pad", "F.pad(a, (1, 1, 1, 1))", "np.pad(a, 1)", "jnp.pad(a, 1)", shape="matrix"),
    Row("expanded copy", "row.expand(a.shape[0], -1).contiguous()", shape="matrix"),
    Row("zeros", "T.zeros(N)", "np.zeros(N, np.float32)", sizes=("1k",)),
    Row("full", "T.full((N,), 2.5)", "np.full(N, 2.5, np.float32)"),
    Row("arange", "T.arange(N)", "np.arange(N)"),
    Row("cat, last axis", "T.cat((a, b), 1)", jax="jnp.concatenate((a, b), 1)", shape="matrix",
        grad=("a", "b")),
    Row("transposed copy", "a.T.contiguous()", jax="a.T", shape="matrix", grad=("a",)),
    Row("repeat", "a.repeat(2, 2)", jax="jnp.tile(a, (2, 2))", shape="matrix", grad=("a",)),
)  # fmt: skip
CASES: list[Case] = cases("join", ROWS)
