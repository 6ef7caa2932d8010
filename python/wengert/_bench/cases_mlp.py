"""Training a small network, and asking it: where everything around the arithmetic shows.

Every candidate starts from the same weights; they must agree after a few steps. PyTorch's compiled
mode is not among them: it is JAX that stands for compilers here.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Peers

SIZES = (64, 64, 64, 10)
BATCH = 32
STEPS = 5  # before comparing
SCAN = 100  # steps a call, where JAX compiles the loop too
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
VARIANTS: dict[str, dict[str, bool]] = {
    "torch": {},
    "torch foreach": {"foreach": True},
    "torch fused": {"fused": True},
}


def _weights(rng: np.random.Generator) -> list[Any]:
    """Return weight and bias of each layer; a weight is (out, in)."""
    out = []
    for inputs, outputs in itertools.pairwise(SIZES):
        scale = (2.0 / inputs) ** 0.5
        out.append((rng.standard_normal((outputs, inputs)) * scale).astype(np.float32))
        out.append((rng.standard_normal(outputs) * 0.1).astype(np.float32))
    return out


def _data(rng: np.random.Generator) -> tuple[Any, Any]:
    x = rng.standard_normal((BATCH, SIZES[0])).astype(np.float32)
    return x, rng.integers(0, SIZES[-1], BATCH)


def _model(p: Peers, peer: str, weights: list[Any]) -> Any:
    nn = (p.wg if peer == WENGERT else p.torch).nn
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(SIZES):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    no_grad = (p.wg if peer == WENGERT else p.torch).no_grad
    with no_grad():
        for param, value in zip(model.parameters(), weights, strict=True):
            param.copy_(p.array(peer, value))
    return model


def _eager_step(p: Peers, label: str, options: dict[str, bool], weights: list[Any]) -> Candidate:
    peer = label.split()[0]
    library = p.wg if peer == WENGERT else p.torch
    model = _model(p, peer, weights)
    x, t = (p.array(peer, a) for a in _data(p.rng(1)))
    loss_fn = library.nn.CrossEntropyLoss()
    optimizer = library.optim.Adam(model.parameters(), lr=LR, **options)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_fn(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    return Candidate(label, "step()", {"step": step}, _stepper(step, lambda: model.parameters()))


def _stepper(step: Callable[[], Any], params: Callable[[], Any]) -> Callable[[], Any]:
    def check() -> Any:
        losses = [step() for _ in range(STEPS)]
        return [*losses, *params()]

    return check


def _jax_parts(p: Peers) -> tuple[Any, Any]:
    """Return the network and one training step, as functions for JAX."""
    jax, jnp = p.jax, p.jax.numpy

    def forward(weights: Any, x: Any) -> Any:
        for i in range(0, len(weights), 2):
            x = x @ weights[i].T + weights[i + 1]
            if i + 2 < len(weights):
                x = jax.nn.relu(x)
        return x

    def loss_of(weights: Any, x: Any, t: Any) -> Any:
        log_p = jax.nn.log_softmax(forward(weights, x))
        return -jnp.take_along_axis(log_p, t[:, None], 1).mean()

    def step(state: Any, x: Any, t: Any) -> Any:
        weights, first, second, count = state
        loss, grads = jax.value_and_grad(loss_of)(weights, x, t)
        count = count + 1
        first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, grads, strict=True)]
        second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, grads, strict=True)]
        size = LR / (1 - BETA1**count)
        root = jnp.sqrt(1 - BETA2**count)
        weights = [
            w - size * m / (jnp.sqrt(v) / root + EPS)
            for w, m, v in zip(weights, first, second, strict=True)
        ]
        return (weights, first, second, count), loss

    return forward, step


def _jax_steps(p: Peers, weights: list[Any], scan: bool) -> Candidate:
    jax, jnp = p.jax, p.jax.numpy
    _, one = _jax_parts(p)
    x, t = (p.array("jax", a) for a in _data(p.rng(1)))

    def start() -> Any:
        own = [p.array("jax", w) for w in weights]
        zeros = ([jnp.zeros_like(w) for w in own] for _ in range(2))
        return (own, *zeros, jnp.zeros((), jnp.float32))

    def many(state: Any, x: Any, t: Any) -> Any:
        return jax.lax.scan(lambda s, _: one(s, x, t), state, length=SCAN)

    compiled = jax.jit(many if scan else one, donate_argnums=0)
    box = [start()]

    def step() -> None:
        box[0] = compiled(box[0], x, t)[0]

    def check() -> Any:
        single = jax.jit(one)
        state, losses = start(), []
        for _ in range(STEPS):
            state, loss = single(state, x, t)
            losses.append(loss)
        return [*losses, *state[0]]

    return Candidate(
        "jax jit, scan" if scan else "jax jit",
        "step()",
        {"step": step, "wait": lambda: jax.block_until_ready(box[0])},
        check,
        after="wait()",
        per=SCAN if scan else None,
    )


def _build_training(p: Peers) -> list[Candidate]:
    weights = _weights(p.rng())
    candidates = [_eager_step(p, WENGERT, {}, weights)]
    if p.torch:
        candidates += [_eager_step(p, k, options, weights) for k, options in VARIANTS.items()]
    if p.jax:
        candidates += [_jax_steps(p, weights, scan) for scan in (False, True)]
    return candidates


def _build_inference(p: Peers) -> list[Candidate]:
    weights = _weights(p.rng())
    row = _data(p.rng(1))[0][:1]
    candidates = []
    for peer in (WENGERT, "torch"):
        if not p.has(peer):
            continue
        library = p.wg if peer == WENGERT else p.torch
        forward = library.no_grad()(_model(p, peer, weights))
        candidates.append(_asking(peer, "f(x)", {"f": forward, "x": p.array(peer, row)}))
    candidates.append(_asking("numpy", "f(x)", {"f": _numpy_forward(weights), "x": row}))
    if p.jax:
        own = [p.array("jax", w) for w in weights]
        names = {"f": p.jax.jit(_jax_parts(p)[0]), "own": own, "x": p.array("jax", row)}
        candidates.append(_asking("jax jit", "f(own, x).block_until_ready()", names))
    return candidates


def _numpy_forward(weights: list[Any]) -> Callable[[Any], Any]:
    def forward(x: Any) -> Any:
        for i in range(0, len(weights), 2):
            x = x @ weights[i].T + weights[i + 1]
            if i + 2 < len(weights):
                x = np.maximum(x, 0)
        return x

    return forward


def _asking(label: str, expr: str, names: dict[str, Any]) -> Candidate:
    return Candidate(label, expr, names, lambda: eval(expr, dict(names)))


NETWORK = "-".join(map(str, SIZES))
FORWARD = 2.0 * sum(m * n for m, n in itertools.pairwise(SIZES))  # of the products, for a row
CASES: list[Case] = [
    Case(
        f"mlp/training step/{NETWORK} batch {BATCH}",
        "one step: zero_grad, forward, cross-entropy, backward, Adam",
        _build_training,
        # forward, the weights' gradients, and the inputs', but for the first layer's
        flops=BATCH * (3 * FORWARD - 2.0 * SIZES[0] * SIZES[1]),
        rtol=1e-3,
        atol=1e-5,
    ),
    Case(
        f"mlp/inference/{NETWORK} batch 1",
        "one forward, not recorded",
        _build_inference,
        flops=FORWARD,
        rtol=1e-4,
        atol=1e-5,
    ),
]
