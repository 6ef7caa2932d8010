"""What anomaly detection costs: training steps with and without it, in both libraries.

Their ratio within a library is what counts: it is 1 where the checks cost nothing.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case

if TYPE_CHECKING:
    from .peers import Peers

STEPS = 10  # a call, under one switch, as a program has it
NETWORKS = {(784, 128, 64, 10): 64, (2, 32, 32, 1): 256}  # and the batch


def _candidate(p: Peers, peer: str, sizes: tuple[int, ...], batch: int, on: bool) -> Candidate:
    library = p.wg if peer == WENGERT else p.torch
    nn, rng = library.nn, p.rng()
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise(sizes):
        layers += [nn.Linear(inputs, outputs), nn.ReLU()]
    model = nn.Sequential(*layers[:-1])
    with library.no_grad():
        for param in model.parameters():
            scale = param.shape[-1] ** -0.5
            value = rng.standard_normal(tuple(param.shape)).astype(np.float32) * np.float32(scale)
            param.copy_(p.array(peer, value))
    x = p.array(peer, rng.standard_normal((batch, sizes[0])).astype(np.float32))
    if sizes[-1] > 1:
        target = p.array(peer, rng.integers(0, sizes[-1], batch))
        loss_fn = nn.CrossEntropyLoss()
    else:
        target = p.array(peer, rng.standard_normal((batch, 1)).astype(np.float32))
        loss_fn = nn.MSELoss()
    optimizer = library.optim.SGD(model.parameters(), lr=1e-3)
    mode = library.autograd.set_detect_anomaly

    def steps() -> Any:
        with mode(on):
            for _ in range(STEPS):
                optimizer.zero_grad()
                loss = loss_fn(model(x), target)
                loss.backward()
                optimizer.step()
        return loss

    name = f"{peer} anomaly" if on else peer
    return Candidate(name, "steps()", {"steps": steps}, lambda: [steps(), *model.parameters()])


def _case(sizes: tuple[int, ...], batch: int) -> Case:
    def build(p: Peers) -> list[Candidate]:
        found = [peer for peer in (WENGERT, "torch") if p.has(peer)]
        return [_candidate(p, peer, sizes, batch, on) for peer in found for on in (False, True)]

    network = "-".join(map(str, sizes))
    return Case(
        f"anomaly/training step/{network} batch {batch}",
        "one step: zero_grad, forward, loss, backward, SGD",
        build,
        per=STEPS,
        rtol=1e-3,
        atol=1e-5,
    )


CASES: list[Case] = [_case(sizes, batch) for sizes, batch in NETWORKS.items()]
