"""Single operations and chains of them on one element: what an operation costs by itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case
from .peers import everywhere, expressions
from .training import CAPTURED

if TYPE_CHECKING:
    from .peers import Peers

LENGTH = 100


def _one(rng: np.random.Generator) -> dict[str, np.ndarray[Any, Any]]:
    return {k: rng.standard_normal(1).astype(np.float32) for k in "ab"}


def _single(what: str, expr: str, numpy_expr: str, jax_expr: str, mlx_expr: str) -> list[Case]:
    both = everywhere(expr)
    others = {"numpy": numpy_expr, "jax jit": jax_expr, "mlx": mlx_expr}
    return [
        expressions(f"scalar/recorded/{what}", both, _one, grad=("a", "b")),
        expressions(f"scalar/unrecorded/{what}", {**both, **others}, _one),
    ]


def _chain(x: Any, factor: Any, term: Any) -> Any:
    for _ in range(LENGTH // 3):
        x = x * factor
        x = x + term
        x = x.tanh()
    return x * factor


def _build_chain(p: Peers, recorded: bool, backward: bool) -> list[Candidate]:
    arrays = [np.full(1, v, np.float32) for v in (0.5, 1.1, 0.1)]
    candidates = []
    for peer in (WENGERT, "torch"):
        if not p.has(peer):
            continue
        x, factor, term = (p.array(peer, a, recorded) for a in arrays)
        stmt = "y = chain(x, factor, term)"
        if backward:
            stmt = "x.grad = factor.grad = term.grad = None; chain(x, factor, term).backward()"
        names = {"chain": _chain, "x": x, "factor": factor, "term": term}

        def check(scope: dict[str, Any] = names, stmt: str = stmt) -> list[Any]:
            scope = dict(scope)
            exec(stmt, scope)
            return [scope[k].grad for k in ("x", "factor", "term")] if backward else [scope["y"]]

        candidates.append(Candidate(peer, stmt, names, check))
    if backward:
        candidates.append(_captured_chain(p, arrays))
    if p.jax and (backward or not recorded):
        candidates.append(_jax_chain(p, arrays, backward))
    return candidates


def _captured_chain(p: Peers, arrays: list[Any]) -> Candidate:
    given = [p.array(WENGERT, a, True) for a in arrays]
    f = p.wg.capture(lambda *given: p.wg.autograd.grad(_chain(*given), given))
    names = {"f": f, **dict(zip("abc", given, strict=True))}
    return Candidate(CAPTURED, "f(a, b, c)", names, lambda: [f(*given), f(*given)][-1])


def _jax_chain(p: Peers, arrays: list[Any], backward: bool) -> Candidate:
    jax, jnp = p.jax, p.jax.numpy

    def chain(x: Any, factor: Any, term: Any) -> Any:
        for _ in range(LENGTH // 3):
            x = jnp.tanh(x * factor + term)
        return (x * factor).sum() if backward else x * factor

    f = jax.jit(jax.grad(chain, argnums=(0, 1, 2)) if backward else chain)
    x, factor, term = (p.array("jax", a) for a in arrays)
    names = {"f": f, "x": x, "factor": factor, "term": term, "wait": jax.block_until_ready}
    return Candidate("jax jit", "wait(f(x, factor, term))", names, lambda: f(x, factor, term))


def _chain_case(what: str, recorded: bool, backward: bool) -> Case:
    counted = f"one operation, of {LENGTH}" + (", there and back" if backward else "")
    return Case(
        f"scalar/chain/{what}",
        counted,
        lambda p: _build_chain(p, recorded, backward),
        per=LENGTH,
        rtol=1e-4,
    )


CASES: list[Case] = [
    *_single("add", "a + b", "a + b", "a + b", "a + b"),
    *_single("mul", "a * b", "a * b", "a * b", "a * b"),
    *_single("tanh", "a.tanh()", "np.tanh(a)", "jnp.tanh(a)", "mx.tanh(a)"),
    _chain_case("unrecorded", recorded=False, backward=False),
    _chain_case("recorded", recorded=True, backward=False),
    _chain_case("forward and backward", recorded=True, backward=True),
]
