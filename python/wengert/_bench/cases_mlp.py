"""Training networks of linear layers, and asking one: at small sizes, everything around the
arithmetic shows; at large ones, the arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case
from .training import CAPTURED, Training, jax_cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Peers


@dataclass(frozen=True)
class Network:
    """Linear layers with ReLU between them, of so many features, and the rows of a batch."""

    sizes: tuple[int, ...]
    batch: int
    regresses: bool = False  # to numbers, by the mean of squares

    @property
    def name(self) -> str:
        return "-".join(map(str, self.sizes))

    @property
    def forward_flops(self) -> float:
        """Of the products, for a row."""
        return 2.0 * sum(m * n for m, n in itertools.pairwise(self.sizes))

    @property
    def step_flops(self) -> float:
        """Forward, the weights' gradients, and the inputs', but for the first layer's."""
        return self.batch * (3 * self.forward_flops - 2.0 * self.sizes[0] * self.sizes[1])

    def model(self, library: Any) -> Any:
        nn = library.nn
        layers: list[Any] = []
        for inputs, outputs in itertools.pairwise(self.sizes):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])

    def data(self, rng: np.random.Generator) -> tuple[Any, Any]:
        x = rng.standard_normal((self.batch, self.sizes[0]), np.float32)
        if self.regresses:
            return x, rng.standard_normal((self.batch, self.sizes[-1]), np.float32)
        return x, rng.integers(0, self.sizes[-1], self.batch)

    def loss(self, library: Any, model: Any, x: Any, t: Any) -> Any:
        functional = library.nn.functional
        return (functional.mse_loss if self.regresses else functional.cross_entropy)(model(x), t)

    def jax_loss(self, jax: Any, w: Any, x: Any, t: Any) -> Any:
        y = jax_forward(jax, w, x)
        return ((y - t) ** 2).mean() if self.regresses else jax_cross_entropy(jax, y, t)

    def training(self) -> Training:
        return Training(
            f"mlp/training step/{self.name} batch {self.batch}",
            self.model,
            self.data,
            self.loss,
            self.jax_loss,
            scan=self.batch * self.forward_flops < 1e7,
        )


def jax_forward(jax: Any, weights: Any, x: Any) -> Any:
    """Return the last layer's output, in JAX."""
    for i in range(0, len(weights), 2):
        x = x @ weights[i].T + weights[i + 1]
        if i + 2 < len(weights):
            x = jax.nn.relu(x)
    return x


SMALL = Network((64, 64, 64, 10), 32)
ACTOR = Network((4, 64, 64, 2), 1)
NETWORKS = (
    SMALL,
    Network((8, 64, 64, 1), 32, regresses=True),
    Network((8, 64, 64, 1), 1, regresses=True),
    Network((784, 128, 64, 10), 64),
    Network((784, 512, 512, 10), 128),
    Network((1024,) * 5, 256),
)


def _build_inference(p: Peers, network: Network) -> list[Candidate]:
    training = network.training()
    weights = training.weights(p)
    row = network.data(p.rng(1))[0][:1]
    candidates = []
    for peer in (WENGERT, "torch"):
        if not p.has(peer):
            continue
        library = p.wg if peer == WENGERT else p.torch
        forward = library.no_grad()(training.started(p, peer, weights))
        names = {"f": forward, "x": p.array(peer, row)}
        candidates.append(_asking(peer, "f(x)", names))
        if peer == WENGERT:
            names = {**names, "f": library.capture(forward)}
            candidates.append(_asking(CAPTURED, "f(x)", names))
    candidates.append(_asking("numpy", "f(x)", {"f": _numpy_forward(weights), "x": row}))
    if p.jax:
        jitted = p.jax.jit(lambda own, x: jax_forward(p.jax, own, x))
        own = [p.array("jax", w) for w in weights]
        names = {"f": jitted, "own": own, "x": p.array("jax", row)}
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


CASES: list[Case] = [
    *(n.training().case(flops=n.step_flops, atol=1e-4) for n in NETWORKS),
    *(
        Case(
            f"mlp/inference/{network.name} batch 1",
            "one forward, not recorded",
            partial(_build_inference, network=network),
            flops=network.forward_flops,
            rtol=1e-4,
            atol=1e-5,
        )
        for network in (SMALL, ACTOR)
    ),
]
