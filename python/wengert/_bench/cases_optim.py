"""Optimizer steps alone, over one large tensor and over many smaller ones.

Gradients stay the same from step to step. PyTorch runs its default, the foreach and the fused form.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Peers

STEPS = 3  # before comparing
SHOWN = 1000  # values of each tensor that are compared
LAYOUTS = {"10M in 1 tensor": (1, 10_000_000), "10k in each of 100 tensors": (100, 10_000)}
# name: class, settings, arrays read or written once a step, operations an element
OPTIMIZERS: dict[str, tuple[str, dict[str, float], int, int]] = {
    "adam": ("Adam", {"lr": 1e-3}, 7, 13),
    "adamw": ("AdamW", {"lr": 1e-3, "weight_decay": 1e-2}, 7, 15),
    "sgd momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}, 5, 4),
}
VARIANTS: dict[str, dict[str, bool]] = {
    WENGERT: {},
    "torch": {},
    "torch foreach": {"foreach": True},
    "torch fused": {"fused": True},
}


def _candidate(
    p: Peers, label: str, kind: str, settings: Any, layout: tuple[int, int]
) -> Candidate:
    peer = label.split()[0]
    library = p.wg if peer == WENGERT else p.torch
    tensors, each = layout
    rng = p.rng()
    params = []
    for _ in range(tensors):
        param = p.array(peer, rng.standard_normal(each, np.float32), True)
        param.grad = p.array(peer, rng.standard_normal(each, np.float32))
        params.append(param)
    optimizer = getattr(library.optim, kind)(params, **settings, **VARIANTS[label])

    def check() -> Any:
        for _ in range(STEPS):
            optimizer.step()
        return [q[:SHOWN] for q in params]

    return Candidate(label, "step()", {"step": optimizer.step}, check)


def _builder(
    kind: str, settings: Any, layout: tuple[int, int]
) -> Callable[[Peers], list[Candidate]]:
    def build(p: Peers) -> list[Candidate]:
        labels = [label for label in VARIANTS if p.has(label.split()[0])]
        return [_candidate(p, label, kind, settings, layout) for label in labels]

    return build


CASES: list[Case] = [
    Case(
        f"optim/{name}/{where}",
        "one step",
        _builder(kind, settings, layout),
        nbytes=4.0 * arrays * layout[0] * layout[1],
        flops=float(flops * layout[0] * layout[1]),
        rtol=1e-4,
    )
    for where, layout in LAYOUTS.items()
    for name, (kind, settings, arrays, flops) in OPTIMIZERS.items()
]
