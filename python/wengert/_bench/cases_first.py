"""How long the first step takes: capturing against compiling."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .cases_mlp import SMALL
from .harness import WENGERT, Candidate, Case
from .training import CAPTURED, COMPILED, JIT, LR

if TYPE_CHECKING:
    from .peers import Peers


def _eager(p: Peers, label: str, weights: list[Any]) -> Candidate:
    """A new module, optimizer and step; captured, the call that captures is the second one."""
    training = SMALL.training()
    peer = label.split()[0]
    m = p.wg if peer == WENGERT else p.torch
    batch = [p.array(peer, a) for a in training.data(p.rng(1))]

    def first() -> Any:
        model = training.started(p, peer, weights)
        optimizer = m.optim.Adam(model.parameters(), lr=LR)

        def loss_of(*batch: Any) -> Any:
            return training.loss(m, model, *batch)

        if label == COMPILED:
            m._dynamo.reset()
            loss_of = m.compile(loss_of)

        def step(*batch: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(*batch)
            loss.backward()
            optimizer.step()
            return loss

        if label != CAPTURED:
            return step(*batch)
        captured = m.capture(step)
        loss = captured(*batch)
        captured(*batch)
        return loss

    return Candidate(label, "first()", {"first": first}, lambda: [first()])


def _jax(p: Peers, weights: list[Any]) -> Candidate:
    training, jax = SMALL.training(), p.jax
    batch = [p.array("jax", a) for a in training.data(p.rng(1))]
    own = [p.array("jax", w) for w in weights]

    def first() -> Any:
        jax.clear_caches()

        def step(own: Any, *batch: Any) -> Any:
            loss, grads = jax.value_and_grad(lambda w: training.jax_loss(jax, w, *batch))(own)
            return loss, [w - LR * g for w, g in zip(own, grads, strict=True)]

        return jax.block_until_ready(jax.jit(step)(own, *batch))[0]

    return Candidate(JIT, "first()", {"first": first}, lambda: [first()])


def _build(p: Peers) -> list[Candidate]:
    weights = SMALL.training().weights(p)
    labels = [WENGERT, CAPTURED]
    if p.torch:
        labels += ["torch", *([COMPILED] if p.compile else [])]
    found = [_eager(p, label, weights) for label in labels]
    return [*found, _jax(p, weights)] if p.jax else found


CASES: list[Case] = [
    Case(
        f"first/training step/{SMALL.name} batch {SMALL.batch}",
        "a new model's first step; captured: its first two; jit, compile: with compiling",
        _build,
        rtol=1e-3,
        atol=1e-5,
    )
]
