"""Losses and normalizations, forward and backward."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .rows import Row, cases

if TYPE_CHECKING:
    from .harness import Case

_NLL = "-jnp.take_along_axis({}, target[:, None], 1).mean()"

ROWS = (
    Row("mse", "F.mse_loss(a, b)", jax="((a - b) ** 2).mean()", grad=("a",)),
    Row("l1", "F.l1_loss(a, b)", jax="jnp.abs(a - b).mean()", grad=("a",)),
    Row("smooth l1", "F.smooth_l1_loss(a, b)", grad=("a",)),
    Row("huber", "F.huber_loss(a, b)", grad=("a",)),
    Row("bce with logits", "F.binary_cross_entropy_with_logits(a, unit)", grad=("a",)),
    Row("bce", "F.binary_cross_entropy(unit, positive / 2)", grad=("unit",)),
    Row("kl_div", "F.kl_div(a, positive, reduction='sum')", grad=("a",), loose=1e-3),
    Row("cross entropy", "F.cross_entropy(a, target)", jax=_NLL.format("jax.nn.log_softmax(a)"),
        shape="table", grad=("a",)),
    Row("nll", "F.nll_loss(a, target)", jax=_NLL.format("a"), shape="table", grad=("a",)),
    Row("softmax", "F.softmax(a, -1)", jax="jax.nn.softmax(a)", shape="table", grad=("a",)),
    Row("log_softmax, first axis", "F.log_softmax(a, 0)", jax="jax.nn.log_softmax(a, 0)",
        shape="table", grad=("a",)),
    Row("layer_norm", "F.layer_norm(a, (a.shape[-1],), row)", shape="table", grad=("a", "row"),
        loose=1e-2),
)  # fmt: skip
CASES: list[Case] = cases("loss", ROWS)
