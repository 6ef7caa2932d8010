"""Convolutions there and back, pooling, and the training of a small convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case
from .peers import expressions

if TYPE_CHECKING:
    from .peers import Peers

STEPS = 3  # before comparing
LR = 1e-3
BATCH = 64


def _convolution(
    name: str,
    x: tuple[int, ...],
    w: tuple[int, ...],
    outputs: tuple[int, ...],
    padding: int = 0,
    groups: int = 1,
) -> list[Case]:
    """Forward, and forward with both gradients, after it has been run once for the shape of g."""
    axes = len(x) - 2
    ours = f"F.conv{axes}d(x, w, None, 1, {padding}, 1, {groups})"
    jax = (
        f"jax.lax.conv_general_dilated(x, w, {(1,) * axes}, {((padding, padding),) * axes}, "
        f"feature_group_count={groups})"
    )
    g = (x[0], w[0], *outputs)

    def inputs(rng: np.random.Generator) -> dict[str, Any]:
        scale = np.float32(np.prod(w[1:]) ** -0.5)
        return {
            "x": rng.standard_normal(x, np.float32),
            "w": rng.standard_normal(w, np.float32) * scale,
            "g": rng.standard_normal(g, np.float32),
        }

    pulled = f"(y := {ours}, grad(y, (x, w), g))"
    vjp = f"(lambda y, pull: (y, pull(g)))(*jax.vjp(lambda x, w: {jax}, x, w))"
    flops = 2.0 * float(np.prod(w)) * x[0] * float(np.prod(outputs))
    return [
        expressions(
            f"cnn/{name}{' forward and backward' if both else ''}",
            {WENGERT: mine, "torch": mine, "jax jit": theirs},
            inputs,
            counted="one convolution",
            grad=("x", "w") if both else (),
            flops=flops * (3 if both else 1),
            rtol=1e-3,
            atol=1e-3,
        )
        for both, mine, theirs in ((False, ours, jax), (True, pulled, vjp))
    ]


def _pooling(x: tuple[int, ...]) -> list[Case]:
    ours = "F.max_pool2d(x, 2)"
    jax = "jax.lax.reduce_window(x, -jnp.inf, jax.lax.max, (1, 1, 2, 2), (1, 1, 2, 2), 'VALID')"
    g = (*x[:2], x[2] // 2, x[3] // 2)

    def inputs(rng: np.random.Generator) -> dict[str, Any]:
        return {"x": rng.standard_normal(x, np.float32), "g": rng.standard_normal(g, np.float32)}

    pulled = f"(y := {ours}, grad(y, (x,), g))"
    vjp = f"(lambda y, pull: (y, pull(g)))(*jax.vjp(lambda x: {jax}, x))"
    size = "x".join(map(str, x))
    return [
        expressions(
            f"cnn/max_pool2d {size}{' forward and backward' if both else ''}",
            {WENGERT: mine, "torch": mine, "jax jit": theirs},
            inputs,
            counted="one pooling",
            grad=("x",) if both else (),
        )
        for both, mine, theirs in ((False, ours, jax), (True, pulled, vjp))
    ]


# --- LeNet-5 -----------------------------------------------------------------------------------

SHAPES = (
    ((6, 1, 5, 5), (6,)),
    ((16, 6, 5, 5), (16,)),
    ((120, 400), (120,)),
    ((84, 120), (84,)),
    ((10, 84), (10,)),
)


def _weights(rng: np.random.Generator) -> list[Any]:
    out = []
    for weight, bias in SHAPES:
        scale = np.float32(np.prod(weight[1:]) ** -0.5)
        out.append(rng.standard_normal(weight, np.float32) * scale)
        out.append(rng.standard_normal(bias, np.float32) * np.float32(0.1))
    return out


def _data(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.standard_normal((BATCH, 1, 28, 28), np.float32), rng.integers(0, 10, BATCH)


def _eager(p: Peers, peer: str, weights: list[Any]) -> Candidate:
    library = p.wg if peer == WENGERT else p.torch
    nn = library.nn
    model = nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip
    with library.no_grad():
        for param, value in zip(model.parameters(), weights, strict=True):
            param.copy_(p.array(peer, value))
    x, t = (p.array(peer, a) for a in _data(p.rng(1)))
    loss_fn = nn.CrossEntropyLoss()
    optimizer = library.optim.Adam(model.parameters(), lr=LR)

    def step() -> Any:
        optimizer.zero_grad()
        loss = loss_fn(model(x), t)
        loss.backward()
        optimizer.step()
        return loss

    def check() -> Any:
        return [*(step() for _ in range(STEPS)), *model.parameters()]

    return Candidate(peer, "step()", {"step": step}, check)


def _jax(p: Peers, weights: list[Any]) -> Candidate:
    jax, jnp = p.jax, p.jax.numpy
    x, t = (p.array("jax", a) for a in _data(p.rng(1)))

    def block(x: Any, w: Any, b: Any, padding: int) -> Any:
        sides = ((padding, padding),) * 2
        y = jax.lax.conv_general_dilated(x, w, (1, 1), sides) + b[:, None, None]
        window = (1, 1, 2, 2)
        return jax.lax.reduce_window(jax.nn.relu(y), -jnp.inf, jax.lax.max, window, window, "VALID")

    def loss_of(w: Any) -> Any:
        h = block(block(x, w[0], w[1], 2), w[2], w[3], 0).reshape(BATCH, -1)
        h = jax.nn.relu(h @ w[4].T + w[5])
        h = jax.nn.relu(h @ w[6].T + w[7])
        log_p = jax.nn.log_softmax(h @ w[8].T + w[9])
        return -jnp.take_along_axis(log_p, t[:, None], 1).mean()

    def one(state: Any) -> Any:
        own, first, second, count = state
        loss, grads = jax.value_and_grad(loss_of)(own)
        count = count + 1
        first = [0.9 * m + 0.1 * g for m, g in zip(first, grads, strict=True)]
        second = [0.999 * v + 0.001 * g * g for v, g in zip(second, grads, strict=True)]
        size, root = LR / (1 - 0.9**count), jnp.sqrt(1 - 0.999**count)
        own = [
            w - size * m / (jnp.sqrt(v) / root + 1e-8)
            for w, m, v in zip(own, first, second, strict=True)
        ]
        return (own, first, second, count), loss

    def start() -> Any:
        own = [p.array("jax", w) for w in weights]
        zeros = ([jnp.zeros_like(w) for w in own] for _ in range(2))
        return (own, *zeros, jnp.zeros((), jnp.float32))

    compiled = jax.jit(one, donate_argnums=0)
    box = [start()]

    def step() -> None:
        box[0] = compiled(box[0])[0]

    def check() -> Any:
        single, state, losses = jax.jit(one), start(), []
        for _ in range(STEPS):
            state, loss = single(state)
            losses.append(loss)
        return [*losses, *state[0]]

    names = {"step": step, "wait": lambda: jax.block_until_ready(box[0])}
    return Candidate("jax jit", "step()", names, check, after="wait()")


def _build(p: Peers) -> list[Candidate]:
    weights = _weights(p.rng())
    candidates = [_eager(p, WENGERT, weights)]
    if p.torch:
        candidates.append(_eager(p, "torch", weights))
    if p.jax:
        candidates.append(_jax(p, weights))
    return candidates


CASES: list[Case] = [
    *_convolution("conv2d 64x1x28x28, 6 of 5x5", (64, 1, 28, 28), (6, 1, 5, 5), (28, 28), 2),
    *_convolution("conv2d 64x6x14x14, 16 of 5x5", (64, 6, 14, 14), (16, 6, 5, 5), (10, 10)),
    *_convolution("conv2d 32x64x28x28, 64 of 3x3", (32, 64, 28, 28), (64, 64, 3, 3), (28, 28), 1),
    *_convolution("conv2d 8x32x56x56, each 3x3", (8, 32, 56, 56), (32, 1, 3, 3), (56, 56), 1, 32),
    *_convolution("conv1d 32x64x256, 64 of 5", (32, 64, 256), (64, 64, 5), (252,)),
    *_pooling((64, 6, 28, 28)),
    *_pooling((32, 64, 56, 56)),
    Case(
        f"cnn/LeNet-5 training step, batch {BATCH}",
        "one step: zero_grad, forward, cross-entropy, backward, Adam",
        _build,
        rtol=1e-3,
        atol=1e-4,
    ),
]
