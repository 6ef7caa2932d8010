"""Convolutions there and back, pooling, and the training of a small convolutional network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .cases_mlp import jax_forward
from .harness import WENGERT
from .peers import expressions
from .training import Training, jax_cross_entropy

if TYPE_CHECKING:
    from .harness import Case

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


def _model(library: Any) -> Any:
    nn = library.nn
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _data(rng: np.random.Generator) -> tuple[Any, Any]:
    return rng.standard_normal((BATCH, 1, 28, 28), np.float32), rng.integers(0, 10, BATCH)


def _jax_loss(jax: Any, w: Any, x: Any, t: Any) -> Any:
    def block(x: Any, w: Any, b: Any, padding: int) -> Any:
        sides = ((padding, padding),) * 2
        y = jax.lax.conv_general_dilated(x, w, (1, 1), sides) + b[:, None, None]
        window = (1, 1, 2, 2)
        lowest = -jax.numpy.inf
        return jax.lax.reduce_window(jax.nn.relu(y), lowest, jax.lax.max, window, window, "VALID")

    h = block(block(x, w[0], w[1], 2), w[2], w[3], 0).reshape(BATCH, -1)
    return jax_cross_entropy(jax, jax_forward(jax, w[4:], h), t)


LENET = Training(
    f"cnn/LeNet-5 training step, batch {BATCH}",
    _model,
    _data,
    lambda library, model, x, t: library.nn.functional.cross_entropy(model(x), t),
    _jax_loss,
    in_mlx=False,
)

CASES: list[Case] = [
    *_convolution("conv2d 64x1x28x28, 6 of 5x5", (64, 1, 28, 28), (6, 1, 5, 5), (28, 28), 2),
    *_convolution("conv2d 64x6x14x14, 16 of 5x5", (64, 6, 14, 14), (16, 6, 5, 5), (10, 10)),
    *_convolution("conv2d 32x64x28x28, 64 of 3x3", (32, 64, 28, 28), (64, 64, 3, 3), (28, 28), 1),
    *_convolution("conv2d 8x32x56x56, each 3x3", (8, 32, 56, 56), (32, 1, 3, 3), (56, 56), 1, 32),
    *_convolution("conv1d 32x64x256, 64 of 5", (32, 64, 256), (64, 64, 5), (252,)),
    *_pooling((64, 6, 28, 28)),
    *_pooling((32, 64, 56, 56)),
    LENET.case(atol=1e-4),
]
