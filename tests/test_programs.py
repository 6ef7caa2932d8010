"""Random programs in wengert and in PyTorch: values, gradients of first and second order, refusals.

``WENGERT_EXAMPLES`` is the number of programs.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
hypothesis = pytest.importorskip(
    "hypothesis", reason="hypothesis, which makes programs, is missing"
)

from hypothesis import strategies as st  # noqa: E402

from programs import STEPS, Draws, Ended, Program, leaf_lists, start, steps  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

EXAMPLES = int(os.environ.get("WENGERT_EXAMPLES", "300"))
SEED = os.environ.get("WENGERT_SEED")


def programs(fn: Callable[..., None]) -> Callable[[], None]:
    settings = hypothesis.settings(
        max_examples=EXAMPLES,
        derandomize=SEED is None,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        suppress_health_check=list(hypothesis.HealthCheck),
    )

    @functools.wraps(fn)
    def check(**drawn: Any) -> None:
        with contextlib.suppress(Ended):
            fn(**drawn)

    made = settings(hypothesis.given(leaf_lists, steps, st.integers(0, 30))(check))
    return made if SEED is None else hypothesis.seed(int(SEED))(made)


def written(leaves: Any, drawn: Any) -> Program:
    p = start(wg, torch, leaves)
    for name, numbers in drawn:
        STEPS[name](p, Draws(numbers))
    return p


def total(p: Program, other: int) -> None:
    """Define ``loss``: the sum of the newest tensor and of another, weighted."""
    names = p.usable()
    chosen = dict.fromkeys([names[0], names[other % len(names)]])
    terms = []
    for name in chosen:
        n = int(np.prod(p.shape(name)))
        weights = [round(float(w), 3) for w in np.cos(np.arange(n))]
        terms.append(f"({name} * m.tensor({weights}, dtype=m.float64).view({p.shape(name)})).sum()")
    p.run(f"loss = {' + '.join(terms)}")


def gradients(p: Program, of: str, how: str) -> bool:
    """Define ``gloss0`` and so on, the gradients by the leaves; False where there are none."""
    wanting = p.wanting()
    if not wanting:
        return False
    made = "".join(f"g{of}{i}, " for i in range(len(wanting)))
    error, _ = p.run(f"{made}= m.autograd.grad({of}, [{', '.join(wanting)}], {how})")
    if error is not None:
        return False
    for i, name in enumerate(wanting):
        a, b = (space[f"g{of}{i}"] for space in p.spaces)
        p.same(a, b, f"gradient of {of} by {name}")
        if a is not None and b is not None and a.numel() and not p.overwrites():
            assert a.requires_grad or not b.requires_grad, f"{p}\ng{of}{i}.requires_grad"
    return not p.copied


@programs
def test_values_and_gradients(leaves: Any, drawn: Any, other: int) -> None:
    p = written(leaves, drawn)
    p.compare_variables()
    total(p, other)
    gradients(p, "loss", "allow_unused=True")


@programs
def test_second_derivatives(leaves: Any, drawn: Any, other: int) -> None:
    p = written(leaves, drawn)
    total(p, other)
    if not gradients(p, "loss", "create_graph=True, allow_unused=True"):
        return
    n = len(p.wanting())
    terms = [
        f"(gloss{i} * gloss{i}).sum()"
        for i in range(n)
        if all(g is not None and g.requires_grad for g in (s[f"gloss{i}"] for s in p.spaces))
    ]
    if terms:
        p.run(f"again = {' + '.join(terms)}")
        gradients(p, "again", "allow_unused=True")


@programs
def test_backward(leaves: Any, drawn: Any, other: int) -> None:
    p = written(leaves, drawn)
    total(p, other)
    p.run("loss.backward(retain_graph=True)")
    first, _ = p.run("loss.backward()")
    p.run("loss.backward()")
    if first is not None:  # PyTorch has accumulated the gradients before the error
        return
    p.compare_variables()
    for name in p.names:
        a, b = (space[name] for space in p.spaces)
        # A gradient that comes to a view that was changed reaches its base in PyTorch alone.
        viewed = any(p.family(n)[-1] is b for n in p.names if n != name)
        if b.is_leaf or (b.retains_grad and not viewed):
            p.same(a.grad, b.grad, f"{name}.grad")
