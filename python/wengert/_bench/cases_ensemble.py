"""Small networks trained one by one, and 64 of them together; the figures are a model's."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from .cases_mlp import SMALL, Network, jax_forward
from .training import MODELS, Training

if TYPE_CHECKING:
    from .harness import Case


def regression(network: Network) -> Training:
    """Return the training of a network with one output."""

    def data(rng: np.random.Generator) -> tuple[Any, Any]:
        x = rng.standard_normal((network.batch, network.sizes[0]), np.float32)
        return x, np.sin(x.sum(1, keepdims=True))

    return Training(
        f"ensemble/{MODELS} models/{network.name} batch {network.batch}",
        network.model,
        data,
        lambda library, model, x, y: library.nn.functional.mse_loss(model(x), y),
        lambda jax, w, x, y: ((jax_forward(jax, w, x) - y) ** 2).mean(),
        scan=True,
        models=True,
    )


NETWORKS = (Network((2, 16, 16, 1), 16), Network((8, 64, 64, 1), 32))
CLASSIFIER = dataclasses.replace(
    SMALL.training(), name=f"ensemble/{MODELS} models/{SMALL.name} batch {SMALL.batch}", models=True
)

CASES: list[Case] = [
    *(regression(n).case(flops=n.step_flops, atol=1e-4) for n in NETWORKS),
    CLASSIFIER.case(flops=SMALL.step_flops, atol=1e-4),
]
