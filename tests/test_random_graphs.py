"""Random programs of views, in-place changes and operations: values and gradients as PyTorch's."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

if TYPE_CHECKING:
    from collections.abc import Callable

PROGRAMS = 400  # each kind; a seed names one


def some_view(t: Any, r: random.Random) -> Any:
    """The tensor seen in another way."""
    choices: list[Callable[[], Any]] = [
        lambda: t.unsqueeze(r.randint(0, t.dim())),
        lambda: t.reshape(-1),
        lambda: t.expand(2, *t.shape),
    ]
    if t.dim():
        choices += [lambda: t.transpose(0, -1), lambda: t[r.randint(0, 1) :: r.randint(1, 2)]]
    if t.dim() > 1:
        choices += [lambda: t.flatten(0, 1), lambda: t[..., -1]]
    return t if t.dim() > 4 or t.numel() == 0 else r.choice(choices)()


def pure(t: Any, library: Any, r: random.Random) -> Any:
    """Views and operations in turn."""
    operations: list[Callable[[Any], Any]] = [
        lambda x: x.sum(0), lambda x: x.mean(-1), lambda x: x * x * 0.5, lambda x: x.sin() + x,
        lambda x: x.softmax(-1), lambda x: (x @ x.mT * 0.1).tanh() if x.dim() > 1 else x,
        lambda x: x.clone().mul_(2), lambda x: x.contiguous(), lambda x: library.stack([x, x * 2]),
    ]  # fmt: skip
    for _ in range(r.randint(2, 6)):
        t = some_view(t, r)
        t = r.choice(operations)(t) if t.dim() and t.numel() else t * 2
    return t


def place(t: Any, r: random.Random) -> Any:
    """An index of a part of the tensor."""
    n = len(t)
    return r.choice([
        r.randint(-n, n - 1), slice(r.randint(0, n), None, r.randint(1, 3)), ..., (..., -1),
        (None, slice(None, None, 2)),
    ])  # fmt: skip


def changing(t: Any, library: Any, r: random.Random) -> Any:
    """In-place operations and assignments to parts, recorded."""
    y = t * 1
    for _ in range(r.randint(2, 8)):
        kind = r.randrange(8) if y.numel() else 3
        if kind == 0:
            y.add_(t.sum())
        elif kind == 1:
            y[place(y, r)] = r.random()
        elif kind == 2:
            y[place(y, r)] = t.mean() * 2
        elif kind == 3:
            y = y * y * 0.3
        elif kind == 4:
            y.copy_(y.detach() * 0.5 + t.max())
        elif kind == 5:
            y = library.cat([y, y.neg()]).mul_(0.7)
        elif kind == 6:
            y = y.tanh() * 1.5
        else:
            y = y[place(y, r)].clone() if y.dim() > 1 else y + 1
    return y


@needs_torch
@pytest.mark.parametrize("program", [pure, changing])
def test_random_programs(program: Callable[[Any, Any, random.Random], Any]) -> None:
    for seed in range(PROGRAMS):
        rng = np.random.default_rng(seed)
        start = rng.normal(size=rng.integers(1, 6, rng.integers(1, 4)))
        results = []
        for library in (wg, torch):
            x = library.tensor(start).requires_grad_()
            y = program(x, library, random.Random(seed))
            weight = np.cos(np.arange(y.numel())).reshape(tuple(y.shape))
            (g,) = library.autograd.grad(y, x, library.tensor(weight), materialize_grads=True)
            results.append((y.detach().numpy(), g.numpy()))
        for ours, theirs in zip(*results, strict=True):
            np.testing.assert_allclose(
                ours, theirs, rtol=1e-9, atol=1e-12, strict=True, err_msg=f"seed {seed}"
            )
