"""Every operation, taken by several models at once: the bits of plain calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import wengert as wg
from op_table import ROWS, Row, Sample
from test_capture_ops import LOOKS, NO_GRADIENT, UNSET, split
from test_ops import forms

if TYPE_CHECKING:
    from collections.abc import Sequence

FACTORS = (1.0, 0.75, 0.875)


def check(row: Row, sample: Sample) -> None:
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
        found = (*results, *(g for g in grads if g is not None))
        return tuple(r.detach().clone(memory_format=wg.contiguous_format) for r in found)

    captured = wg.capture(step)
    models = [
        [wg.tensor(a * a.dtype.type(f) if a.dtype.kind == "f" else a) for a in arrays]
        for f in FACTORS
    ]
    captured(*models[0])
    ensemble = captured.ensemble(len(models))
    state = wg.get_rng_state()
    found = ensemble(*(wg.stack(each) for each in zip(*models, strict=True)))
    for i, given in enumerate(models):
        wg.set_rng_state(state)
        expected = step(*given)
        assert len(found) == len(expected)
        for ours, theirs in zip(found, expected, strict=True):
            assert ours.dtype == theirs.dtype
            assert ours[i].shape == theirs.shape
            assert ours[i].numpy().tobytes() == theirs.numpy().tobytes()


@pytest.mark.parametrize(
    "row", [r for r in ROWS.values() if r.name not in UNSET], ids=lambda r: r.name
)
def test_models_have_the_same_bits(row: Row) -> None:
    """Of the operation and its derivatives, with numbers of each model's own."""
    dtype = "int64" if {"float32", "float64"} <= set(row.refuses) else row.dtypes[0]
    for sample in row.draw(dtype):
        try:
            check(row, sample)
        except wg.CaptureError as e:
            if row.name not in LOOKS:
                raise
            assert "looked at the numbers" in str(e)  # noqa: PT017
