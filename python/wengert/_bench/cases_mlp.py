"""Training networks of linear layers, and asking one: at small sizes, everything around the
arithmetic shows; at large ones, the arithmetic."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case
from .training import Training, jax_cross_entropy

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Peers


@dataclass(frozen=True)
class Network:
    """Linear layers of so many features with ReLU between them, classifying a batch of rows."""

    sizes: tuple[int, ...]
    batch: int

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
        return x, rng.integers(0, self.sizes[-1], self.batch)

    def training(self) -> Training:
        return Training(
            f"mlp/training step/{self.name} batch {self.batch}",
            self.model,
            self.data,
            lambda library, model, x, t: library.nn.functional.cross_entropy(model(x), t),
            lambda jax, w, x, t: jax_cross_entropy(jax, jax_forward(jax, w, x), t),
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
NETWORKS = (SMALL, Network((784, 512, 512, 10), 128), Network((1024,) * 5, 256))


def _build_inference(p: Peers) -> list[Candidate]:
    training = SMALL.training()
    weights = training.weights(p)
    row = SMALL.data(p.rng(1))[0][:1]
    candidates = []
    for peer in (WENGERT, "torch"):
        if not p.has(peer):
            continue
        library = p.wg if peer == WENGERT else p.torch
        forward = library.no_grad()(training.started(p, peer, weights))
        candidates.append(_asking(peer, "f(x)", {"f": forward, "x": p.array(peer, row)}))
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
    Case(
        f"mlp/inference/{SMALL.name} batch 1",
        "one forward, not recorded",
        _build_inference,
        flops=SMALL.forward_flops,
        rtol=1e-4,
        atol=1e-5,
    ),
]
