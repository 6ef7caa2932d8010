"""Every operation, captured: its replay has the bits of a plain call, forwards and backwards."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import ROWS, Row, Sample
from test_ops import forms

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

# What looks at numbers, for some arguments, and is refused then.
LOOKS = {
    "_unique", "_unique_consecutive", "argwhere", "bincount", "det", "histc", "index_put",
    "linalg_det", "masked_scatter", "masked_select", "nonzero", "one_hot", "repeat_interleave",
    "tensor_split", "unravel_index",
}  # fmt: skip
UNSET = {"empty", "empty_like", "new_empty"}  # whose numbers mean nothing
NO_GRADIENT = {"linalg_svd"}  # for all its arguments


def split(sample: Sample) -> tuple[list[Any], Any]:
    """The arrays of a sample, and how to put tensors in their place."""
    arrays: list[Any] = []

    def taken(x: Any) -> Any:
        if isinstance(x, list) and x and isinstance(x[0], np.ndarray):
            return [taken(each) for each in x]
        if isinstance(x, np.ndarray):
            arrays.append(x)
            return len(arrays) - 1, "tensor"
        return x

    args = [taken(x) for x in sample.args]
    kwargs = {k: taken(v) for k, v in sample.kwargs.items()}

    def filled(x: Any, tensors: Sequence[wg.Tensor]) -> Any:
        if isinstance(x, list):
            return [filled(each, tensors) for each in x]
        if isinstance(x, tuple) and len(x) == 2 and x[1] == "tensor":
            return tensors[x[0]]
        return x

    return arrays, lambda tensors: (
        [filled(x, tensors) for x in args],
        {k: filled(v, tensors) for k, v in kwargs.items()},
    )


def check(row: Row, sample: Sample, file: Path) -> None:
    arrays, fill = split(sample)
    fn = forms(row.name)[-1]

    def step(*given: wg.Tensor) -> tuple[wg.Tensor, ...]:
        grads_too = row.name not in NO_GRADIENT
        bases = [t.detach().requires_grad_(t.is_floating_point() and grads_too) for t in given]
        args, kwargs = fill([t.clone() for t in bases])
        result = fn(*args, **kwargs)
        results = list(result) if isinstance(result, (tuple, list)) else [result]
        results = [r for r in results if isinstance(r, wg.Tensor)]
        total = sum((r * r).sum() for r in results if r.requires_grad)
        leaves = [t for t in bases if t.requires_grad]
        grads: Sequence[wg.Tensor | None] = ()
        if isinstance(total, wg.Tensor) and leaves:
            grads = wg.autograd.grad(total, leaves, allow_unused=True)
        return (*(r.detach().clone() for r in results), *(g for g in grads if g is not None))

    captured = wg.capture(step)
    for factor in (1.0, 0.75, 1.0):
        given = [wg.tensor(a * a.dtype.type(factor) if a.dtype.kind == "f" else a) for a in arrays]
        state = wg.get_rng_state()
        expected = step(*given)
        wg.set_rng_state(state)
        results = captured(*given)
        same(results, expected)
    assert captured.captures == 1
    wg.set_rng_state(state)
    captured.save(file, *given)
    same(wg.load_program(file)(*given), expected)


def same(results: Sequence[wg.Tensor], expected: Sequence[wg.Tensor]) -> None:
    assert len(results) == len(expected)
    for ours, theirs in zip(results, expected, strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.shape == theirs.shape
        assert ours.numpy().tobytes() == theirs.numpy().tobytes()


@pytest.mark.parametrize(
    "row", [r for r in ROWS.values() if r.name not in UNSET], ids=lambda r: r.name
)
def test_replays_have_the_same_bits(row: Row, tmp_path: Path) -> None:
    """Of the operation and its derivatives, with other numbers than it was captured with.

    So has the program from a file.
    """
    dtype = "int64" if {"float32", "float64"} <= set(row.refuses) else row.dtypes[0]
    for sample in row.draw(dtype):
        try:
            check(row, sample, tmp_path / "op.wgp")
        except wg.CaptureError as e:
            if row.name not in LOOKS:
                raise
            assert "looked at the numbers" in str(e)  # noqa: PT017


def check_numbers(step: Any, numbers: Sequence[Any]) -> None:
    """A step captured with the first numbers, for the others too."""
    captured = wg.capture(step)
    for given in numbers:
        x = wg.tensor(given, dtype=wg.float64)
        state = wg.get_rng_state()
        expected = step(x)
        wg.set_rng_state(state)
        for ours, theirs in zip(captured(x), expected, strict=True):
            assert ours.numpy().tobytes() == theirs.numpy().tobytes()
    assert captured.captures == 1


def test_zeros_that_come_and_go() -> None:
    """In products, whose derivatives are others where a factor is zero."""

    def step(x: wg.Tensor) -> Any:
        x = x.detach().requires_grad_()
        x.prod().backward()
        (rows,) = wg.autograd.grad((x.prod(1) * wg.arange(2)).sum(), x)
        return x.grad, rows

    rows = [[1.5, 2.0, -0.75], [0.3, 1.1, 0.7]]
    zero = [[1.5, 0.0, -0.75], [0.3, 1.1, 0.7]]
    check_numbers(step, [rows, zero, [zero[0], zero[0]], rows])


def test_nan_that_comes_and_goes() -> None:
    """In quantiles, of rows that hold a NaN at one time and none at another."""

    def step(x: wg.Tensor) -> Any:
        x = x.detach().requires_grad_()
        q = wg.tensor([0.0, 0.3, 1.0], dtype=wg.float64)
        results = [
            *(x.quantile(q, 1, interpolation=how) for how in ("linear", "nearest", "higher")),
            *(x.nanquantile(0.6, dim=1, interpolation=how) for how in ("linear", "midpoint")),
        ]
        (g,) = wg.autograd.grad(results[0].nansum() + results[3].nansum(), x)
        return *(r.detach() for r in results), g

    rows = [[1.5, 2.0, -0.75, 4.0], [0.3, 1.1, 0.7, 0.1]]
    odd = [[1.5, float("nan"), -0.75, 4.0], [0.3, 1.1, 0.7, 0.1]]
    check_numbers(step, [rows, odd, [odd[0], [float("nan")] * 4], rows])


def test_permutations_masks_and_frequencies() -> None:
    """What a step may do with its batch."""
    weight = wg.randn(5, 3, dtype=wg.float64)

    def step(x: wg.Tensor) -> Any:
        w = weight.detach().requires_grad_()
        order = wg.randperm(len(x))
        mixed = 0.7 * x + 0.3 * x[order]
        mixed[mixed < 0] = 0.25
        mixed[x[:, 0] > 1] = -1
        index = (x[:, 0].abs() * 2).long().clamp(max=4)
        wg.nn.functional.embedding(index, w, scale_grad_by_freq=True).sum().backward()
        return order, mixed, w.grad

    check_numbers(step, [[[1.5, 2.0], [-0.2, 1.0], [0.4, -3.0]], [[0.1, 0.2]] * 3, [[-9, 1]] * 3])
    captured = wg.capture(lambda x, q: x.quantile(q))
    x = wg.tensor([1.0, 2.0, 4.0])
    assert [captured(x, wg.tensor(q)).item() for q in (0.5, 0.5, 1.0)] == [2.0, 2.0, 4.0]
    with pytest.raises(RuntimeError, match="range"):
        captured(x, wg.tensor(1.5))
