"""What surrounds the arithmetic: calls of layers, functions and optimizers on next to nothing.

The family `scalar` has the single operations.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case
from .peers import everywhere, expressions

if TYPE_CHECKING:
    from collections.abc import Callable

    from .peers import Peers

SHAPES = ((64, 64), (64,), (64, 64), (64,), (10, 64), (10,))  # of a small network's parameters
STEPS = 3  # of an optimizer, before comparing


def _values(n: int) -> Callable[[np.random.Generator], dict[str, np.ndarray[Any, Any]]]:
    return lambda rng: {"a": rng.standard_normal(n, np.float32)}


def _both(build: Callable[[Peers, str], Candidate]) -> Callable[[Peers], list[Candidate]]:
    return lambda p: [build(p, peer) for peer in (WENGERT, "torch") if p.has(peer)]


def _linear(p: Peers, peer: str, recorded: bool) -> Candidate:
    library, rng = p.names(peer)["T"], p.rng()
    layer = library.nn.Linear(8, 8)
    with library.no_grad():
        for param in layer.parameters():
            param.copy_(p.array(peer, rng.standard_normal(tuple(param.shape), np.float32)))
    call = layer if recorded else library.no_grad()(layer)
    x = p.array(peer, rng.standard_normal((1, 8), np.float32))
    return Candidate(peer, "layer(x)", {"layer": call, "x": x}, lambda: call(x))


def _adam(p: Peers, peer: str) -> Candidate:
    rng, params = p.rng(), []
    for shape in SHAPES:
        param = p.array(peer, rng.standard_normal(shape, np.float32), True)
        param.grad = p.array(peer, rng.standard_normal(shape, np.float32))
        params.append(param)
    optimizer = p.names(peer)["T"].optim.Adam(params)

    def check() -> Any:
        for _ in range(STEPS):
            optimizer.step()
        return params

    return Candidate(peer, "step()", {"step": optimizer.step}, check)


def _mapped(p: Peers, peer: str) -> Candidate:
    library = p.names(peer)["T"]
    f = library.func.vmap(library.func.grad(lambda x: (x.sin() * x).sum()))
    x = p.array(peer, p.rng().standard_normal((4, 3), np.float32))
    return Candidate(peer, "f(x)", {"f": f, "x": x}, lambda: f(x))


CASES: list[Case] = [
    Case("overhead/nn.Linear(8, 8) recorded/batch 1", "one call",
         _both(lambda p, peer: _linear(p, peer, recorded=True))),
    Case("overhead/nn.Linear(8, 8) unrecorded/batch 1", "one call",
         _both(lambda p, peer: _linear(p, peer, recorded=False))),
    Case("overhead/Adam step/6 small tensors", "one step", _both(_adam), rtol=1e-4),
    expressions("overhead/x[0]/1k", everywhere("a[0]", WENGERT, "torch", "numpy"), _values(1000)),
    expressions("overhead/sum/1k", everywhere("a.sum()", WENGERT, "torch", "numpy"),
                _values(1000), atol=1e-4),
    expressions("overhead/zeros/1k", {**everywhere("T.zeros(1000)"),
                                      "numpy": "np.zeros(1000, np.float32)"}, _values(1)),
    Case("overhead/vmap of grad/4x3", "one call", _both(_mapped), rtol=1e-4),
]  # fmt: skip
