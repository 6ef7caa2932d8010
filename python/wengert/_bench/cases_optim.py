"""Optimizer steps alone, over large tensors and over many smaller ones.

Gradients stay the same from step to step. PyTorch runs its default, the foreach and the fused form.
Bytes are those of float32 states whatever the states are (28 a parameter for Adam), so that rows
of narrower states compare.
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
MAX_NORM = 1.0  # far below the norms of the gradients
LAYOUTS = {
    "10M in 1 tensor": (1, 10_000_000),
    "50M in 1 tensor": (1, 50_000_000),
    "10k in each of 100 tensors": (100, 10_000),
    "1M in 200 tensors": (200, 5_000),
    "1M in 1 tensor": (1, 1_000_000),
}
# name: class, settings, arrays read or written once a step, operations an element
OPTIMIZERS: dict[str, tuple[str, dict[str, float], int, int]] = {
    "adam": ("Adam", {"lr": 1e-3}, 7, 13),
    "adamw": ("AdamW", {"lr": 1e-3, "weight_decay": 1e-2}, 7, 15),
    "sgd momentum": ("SGD", {"lr": 1e-3, "momentum": 0.9}, 5, 4),
    "rmsprop": ("RMSprop", {"lr": 1e-3}, 5, 8),
}
VARIANTS: dict[str, dict[str, bool]] = {
    WENGERT: {},
    "torch": {},
    "torch foreach": {"foreach": True},
    "torch fused": {"fused": True},
}
NO_FUSED = ("RMSprop",)  # of PyTorch's
STATES = {"bfloat16 states": "bfloat16", "8-bit states": "8bit"}
WITH_STATES = ("10M in 1 tensor", "1M in 200 tensors")


def _candidate(
    p: Peers,
    label: str,
    kind: str,
    settings: Any,
    layout: tuple[int, int],
    way: Callable[[Any, list[Any], Any], Callable[[], Any]] | None = None,
) -> Candidate:
    """A step, or what `way` makes of a library, its parameters and its optimizer."""
    peer, _, variant = label.partition(" ")
    library = p.wg if peer == WENGERT else p.torch
    tensors, each = layout
    rng = p.rng()
    params = []
    for _ in range(tensors):
        param = p.array(peer, rng.standard_normal(each, np.float32), True)
        param.grad = p.array(peer, rng.standard_normal(each, np.float32))
        params.append(param)
    chosen = VARIANTS.get(f"{peer} {variant}", {})
    optimizer = getattr(library.optim, kind)(params, **settings, **chosen)
    step = optimizer.step if way is None else way(library, params, optimizer)

    def check() -> Any:
        for _ in range(STEPS):
            step()
        return [q[:SHOWN] for q in params]

    return Candidate(label, "step()", {"step": step}, check)


def _builder(
    kind: str, settings: Any, layout: tuple[int, int]
) -> Callable[[Peers], list[Candidate]]:
    def build(p: Peers) -> list[Candidate]:
        labels = [label for label in VARIANTS if p.has(label.split()[0])]
        if kind in NO_FUSED:
            labels = [label for label in labels if "fused" not in label]
        return [_candidate(p, label, kind, settings, layout) for label in labels]

    return build


def _states(kept: str, layout: tuple[int, int]) -> Callable[[Peers], list[Candidate]]:
    def build(p: Peers) -> list[Candidate]:
        state_dtype = getattr(p.wg, kept, kept)
        narrow = {"lr": 1e-3, "state_dtype": state_dtype}
        made = [_candidate(p, WENGERT, "Adam", narrow, layout)]
        made.append(_candidate(p, f"{WENGERT} float32", "Adam", {"lr": 1e-3}, layout))
        if p.has("torch"):
            made.append(_candidate(p, "torch fused", "Adam", {"lr": 1e-3}, layout))
        return made

    return build


def _in_the_step(library: Any, params: list[Any], optimizer: Any) -> Callable[[], Any]:  # noqa: ARG001
    return lambda: optimizer.step(max_norm=MAX_NORM)


def _before_the_step(library: Any, params: list[Any], optimizer: Any) -> Callable[[], Any]:
    def step() -> None:
        library.nn.utils.clip_grad_norm_(params, MAX_NORM)
        optimizer.step()

    return step


def _clipped(layout: tuple[int, int]) -> Callable[[Peers], list[Candidate]]:
    def build(p: Peers) -> list[Candidate]:
        ways = {WENGERT: _in_the_step, f"{WENGERT} clip_grad_norm_": _before_the_step}
        if p.has("torch"):
            ways |= dict.fromkeys(("torch foreach", "torch fused"), _before_the_step)
        return [_candidate(p, k, "Adam", {"lr": 1e-3}, layout, way) for k, way in ways.items()]

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
CASES += [
    Case(
        f"optim/adam, {name}/{where}",
        "one step",
        _states(kept, LAYOUTS[where]),
        nbytes=28.0 * LAYOUTS[where][0] * LAYOUTS[where][1],
        rtol=1e-4,
        # Of the three steps, 1e-3 each: a sixth, and all of bytes, whose rounding is coarse.
        atol=3e-3 if name == "8-bit states" else 5e-4,
    )
    for where in WITH_STATES
    for name, kept in STATES.items()
]
CASES += [
    Case(
        f"optim/adam, clipped/{where}",
        "one step",
        _clipped(LAYOUTS[where]),
        nbytes=32.0 * LAYOUTS[where][0] * LAYOUTS[where][1],  # gradients twice
        rtol=1e-4,
    )
    for where in WITH_STATES
]
