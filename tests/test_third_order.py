"""Derivatives of first to third order of the whole table.

Each is a number: the derivative of the one before, weighted. It is compared with PyTorch's, and the
third, along a direction, with differences of the second in every library's absence.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

import wengert as wg
from oracle import needs_torch, torch
from test_ops import (
    array,
    as_function,
    dtype_name,
    leaves_of,
    oracle,
    rows,
    small,
    to_torch,
    to_wg,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from op_table import Row, Sample

ORDER = 3
SAMPLES = 3  # of each row, from its smallest

differentiable = rows(lambda r: r.differentiable and r.compare == "values")


def weights(library: Any, t: Any, order: int) -> Any:
    values = np.cos(np.arange(t.numel()) * 1.3 + order).reshape(tuple(t.shape))
    return (to_wg if library is wg else to_torch)(values)


def elements(sample: Sample) -> int:
    """Of the largest tensor among the arguments."""
    return max(
        (a.size for given in sample.args for a in (given if isinstance(given, list) else [given])
         if isinstance(a, np.ndarray)),
        default=0,
    )  # fmt: skip


def chosen(row: Row) -> list[Sample]:
    return [s for s in small(row) if elements(s) > 1][:SAMPLES]


def weighted(library: Any, tensors: Any, order: int) -> Any:
    """The sum of all elements that depend on something, weighted; None if there are none."""
    terms = [
        (t * weights(library, t, order)).sum()
        for t in tensors
        if t is not None and t.requires_grad and dtype_name(t) == "float64"
    ]
    total = None
    for term in terms:
        total = term if total is None else total + term
    return total


def ladder(library: Any, fn: Callable[..., Any], leaves: list[Any], order: int) -> list[list[Any]]:
    """Gradients of first, second and so on order, until there is nothing to differentiate."""
    found = []
    result = fn(*leaves)
    tensors: Any = result if isinstance(result, (tuple, list)) else (result,)
    for step in range(order):
        total = weighted(library, tensors, step)
        if total is None:
            break
        tensors = library.autograd.grad(
            total, leaves, create_graph=step + 1 < order, allow_unused=True
        )
        # cloned, for PyTorch has zeros without memory
        found.append([None if t is None else t.detach().clone() for t in tensors])
    return found


def of_torch(row: Row, sample: Sample) -> tuple[Callable[..., Any], list[Any]]:
    leaves, args, kwargs = leaves_of(sample, to_torch)
    return lambda *_: oracle(row)(*args, **kwargs), leaves


def padded(found: list[list[Any]], leaves: list[Any]) -> list[Any]:
    """Arrays, zeros for what is missing."""
    steps = found + [[None] * len(leaves)] * (ORDER - len(found))
    return [
        np.zeros(tuple(leaf.shape)) if g is None else array(g)
        for step in steps
        for g, leaf in zip(step, leaves, strict=True)
    ]


@needs_torch
@differentiable
def test_equal_torch(row: Row) -> None:
    for sample in chosen(row):
        fn, leaves = as_function(row, sample)
        ours = padded(ladder(wg, fn, leaves, ORDER), leaves)
        theirs: list[Any] = []
        their_fn, their_leaves = of_torch(row, sample)
        # PyTorch lacks some; its third derivatives of these differ from those of their formulas
        wrong = row.name in ("layer_norm", "batch_norm", "instance_norm")
        for order in range(ORDER - wrong, 0, -1):
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    found = ladder(torch, their_fn, their_leaves, order)
            except (RuntimeError, NotImplementedError):
                continue
            theirs = padded(found, their_leaves)[: order * len(leaves)]
            break
        for i, (got, want) in enumerate(zip(ours, theirs, strict=False)):
            known = np.isfinite(
                want
            )  # PyTorch's third derivative of logcumsumexp is not, at its end
            scale = 1 + np.max(np.abs(want), initial=0, where=known)
            np.testing.assert_allclose(
                got[known],
                want[known],
                rtol=1e-7,
                atol=1e-9 * scale,
                err_msg=f"order {i // len(leaves) + 1}",
            )


@differentiable
def test_third_order_equals_differences(row: Row) -> None:
    for sample in chosen(row)[:1]:
        fn, leaves = as_function(row, sample)
        found = ladder(wg, fn, leaves, ORDER)
        third = padded(found, leaves)[2 * len(leaves) :]
        rng = np.random.default_rng(5)
        ways = [rng.normal(size=tuple(t.shape)) for t in leaves]
        exact = sum(float((g * v).sum()) for g, v in zip(third, ways, strict=True))

        def second(h: float) -> float:
            at = [
                (t.detach() + to_wg(np.asarray(v * h))).requires_grad_()
                for t, v in zip(leaves, ways, strict=True)  # noqa: B023
            ]
            steps = ladder(wg, fn, at, 2)  # noqa: B023
            if len(steps) < 2:
                return 0.0
            return sum(
                float((array(g) * np.asarray(array(weights(wg, g, 2)))).sum())
                for g in steps[1]
                if g is not None
            )

        def difference(h: float) -> float:  # of fourth order
            return (8 * (second(h) - second(-h)) - (second(2 * h) - second(-2 * h))) / (12 * h)

        h = 2e-4
        estimates = [difference(h), difference(h / 2)]
        scale = 1 + max(abs(exact), *(float(np.abs(g).max(initial=0)) for g in third))
        trust = abs(estimates[0] - estimates[1]) * 20
        np.testing.assert_allclose(exact, estimates[1], rtol=0, atol=2e-5 * scale + trust)
