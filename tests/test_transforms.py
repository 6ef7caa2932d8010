"""Every row of the operation table under transforms: forward mode, vmap, batches of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import ROWS, Draw, Row, Sample
from test_ops import array, converted, forms, leaves_of, rows, to_wg
from wengert import func

if TYPE_CHECKING:
    from collections.abc import Callable

COPIES = 3  # how many samples make a batch


def result_of(fn: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> list[Any]:
    out = fn(*args, **kwargs)
    return list(out) if isinstance(out, (tuple, list)) else [out]


def as_function(row: Row, sample: Sample) -> tuple[Callable[..., Any], list[Any]] | None:
    """The operation as a function of the sample's floating tensors, and these."""
    leaves, args, kwargs = leaves_of(sample, to_wg)
    if not leaves:
        return None
    fn = forms(row.name)[-1]
    place = {id(t): i for i, t in enumerate(leaves)}
    tensors = [t.detach() for t in leaves]

    def of(*given: Any) -> tuple[Any, ...]:
        def one(x: Any) -> Any:
            if isinstance(x, list):
                return [one(each) for each in x]
            return given[place[id(x)]] if id(x) in place else x

        outputs = result_of(fn, [one(a) for a in args], {k: one(v) for k, v in kwargs.items()})
        return tuple(t for t in outputs if t.dtype.is_floating_point)

    return of, tensors


def numbers_like(t: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return wg.tensor(rng.standard_normal(tuple(t.shape)), dtype=t.dtype)


def cases(row: Row) -> list[tuple[Callable[..., Any], list[Any]]]:
    found = (as_function(row, s) for s in row.draw("float64", small=True))
    return [f for f in found if f is not None]


def small(tensors: list[Any]) -> bool:
    return sum(t.numel() for t in tensors) <= 24


differentiable = rows(lambda r: r.differentiable)


@differentiable
def test_forward_mode_is_the_transpose_of_reverse_mode(row: Row) -> None:
    """<w, J t> = <J^T w, t> for any w and t."""
    for f, tensors in cases(row):
        tangents = [numbers_like(t, 1 + i) for i, t in enumerate(tensors)]
        outputs, pushed = func.jvp(f, tuple(tensors), tuple(tangents))
        plain, pull = func.vjp(f, *tensors)
        for y, p in zip(outputs, plain, strict=True):
            np.testing.assert_allclose(array(y), array(p), rtol=1e-12, atol=1e-12)
        for seed in (7, 8):
            weights = tuple(numbers_like(y, seed) for y in outputs)
            pulled = pull(weights)
            pulled = pulled if isinstance(pulled, tuple) else (pulled,)
            left = sum(float((w * t).sum()) for w, t in zip(weights, pushed, strict=True))
            right = sum(float((g * t).sum()) for g, t in zip(pulled, tangents, strict=True))
            if all(t.numel() for t in tensors):  # a mean of nothing has a tangent that is NaN
                np.testing.assert_allclose(left, right, rtol=1e-7, atol=1e-7)


@differentiable
def test_jacobians_by_rows_and_by_columns(row: Row) -> None:
    """Batches of gradients and of tangents give what one gradient after the other gives."""
    for f, tensors in cases(row)[:6]:
        if not small(tensors):
            continue
        if any(y.dim() + t.dim() > 8 for y in f(*tensors) for t in tensors):
            continue  # a tensor has no more dimensions
        places = tuple(range(len(tensors)))
        by_rows = func.jacrev(f, places)(*tensors)
        by_columns = func.jacfwd(f, places, randomness="different")(*tensors)
        outputs, pull = func.vjp(f, *tensors)
        for k, y in enumerate(outputs):
            for i in range(y.numel()):
                seeds = [wg.zeros_like(each) for each in outputs]
                seeds[k].view(-1)[i] = 1.0
                pulled = pull(tuple(seeds))
                pulled = pulled if isinstance(pulled, tuple) else (pulled,)
                for x, g in enumerate(pulled):
                    want = array(g)
                    shape = (y.numel(), *want.shape)
                    for jacobian in (by_rows, by_columns):
                        got = array(jacobian[k][x].reshape(shape)[i])
                        np.testing.assert_allclose(got, want, rtol=1e-7, atol=1e-7)


@rows(lambda r: r.third and r.differentiable)
def test_hessians_nest_either_way(row: Row) -> None:
    for f, tensors in cases(row)[:4]:
        if not small(tensors):
            continue

        def total(x: Any, f: Any = f, rest: Any = tensors[1:]) -> Any:
            return sum((y * y).sum() for y in f(x, *rest))

        modes = [
            outer(inner(total))(tensors[0])
            for outer in (func.jacfwd, func.jacrev)
            for inner in (func.jacfwd, func.jacrev)
        ]
        for other in modes[1:]:
            np.testing.assert_allclose(array(modes[0]), array(other), rtol=1e-7, atol=1e-7)


# --- vmap --------------------------------------------------------------------------------------


def batches(row: Row, dtype: str) -> list[list[Sample]]:
    """Samples of equal shapes, several of each."""
    drawn = []
    for seed in range(COPIES):
        d = Draw(row, dtype, seed)
        if row.samples is not None:
            drawn.append([s for s in row.samples(d) if not s.wrong])
        else:
            shapes = row.draw(dtype)
            drawn.append(
                [
                    Sample(tuple(d(*a.shape, operand=i) for i, a in enumerate(s.args)))
                    for s in shapes
                ]
            )
    return [list(each) for each in zip(*drawn, strict=True)]


def tensor_places(sample: Sample) -> list[Any]:
    named = [k for k, v in sample.kwargs.items() if isinstance(v, np.ndarray)]
    return [
        i
        for i, a in enumerate(sample.args)
        if isinstance(a, (np.ndarray, list))
        and (isinstance(a, np.ndarray) or (a and isinstance(a[0], np.ndarray)))
    ] + named


def mapped(
    fn: Callable[..., Any], samples: list[Sample], over: list[Any], dim: int
) -> tuple[list[Any], list[list[Any]]]:
    """The function by vmap over some arguments, and in a loop."""
    first = samples[0]
    chosen = [[(s.kwargs[p] if isinstance(p, str) else s.args[p]) for p in over] for s in samples]

    def put(values: list[Any]) -> tuple[list[Any], dict[str, Any]]:
        args, kwargs = converted(first, to_wg)
        for p, v in zip(over, values, strict=True):
            if isinstance(p, str):
                kwargs[p] = v
            else:
                args[p] = v
        return args, kwargs

    def whole(*values: Any) -> tuple[Any, ...]:
        args, kwargs = put(list(values))
        return tuple(result_of(fn, args, kwargs))

    def stacked(column: tuple[Any, ...]) -> Any:
        if isinstance(column[0], list):
            return [stacked(each) for each in zip(*column, strict=True)]
        return to_wg(np.stack(column, min(dim, column[0].ndim)))

    def dims(value: Any) -> Any:
        if isinstance(value, list):
            return [dims(v) for v in value]
        return min(dim, value.ndim)

    loop = [
        whole(*([to_wg(x) for x in v] if isinstance(v, list) else to_wg(v) for v in each))
        for each in chosen
    ]
    columns = list(zip(*chosen, strict=True))
    batch = [stacked(c) for c in columns]
    in_dims = tuple(dims(c[0]) for c in columns)
    got = func.vmap(whole, in_dims=in_dims, randomness="different")(*batch)
    return list(got), [list(each) for each in zip(*loop, strict=True)]


UNMAPPED = {
    "nonzero", "argwhere", "masked_select", "_unique", "_unique_consecutive",
    "repeat_interleave", "bincount", "copy_", "fill_", "zero_", "where",
}  # fmt: skip


def compare(row: Row, got: list[Any], want: list[list[Any]]) -> None:
    assert len(got) == len(want)
    for g, parts in zip(got, want, strict=True):
        expected = wg.stack(parts) if parts else g
        assert g.dtype is expected.dtype
        assert g.shape == expected.shape
        if row.compare == "shape":
            continue
        if g.dtype.is_floating_point:
            eps = 1e-9 if g.dtype is wg.float64 else 1e-6
            np.testing.assert_allclose(array(g), array(expected), rtol=eps, atol=eps)
        else:
            np.testing.assert_array_equal(array(g), array(expected))


@pytest.mark.parametrize("dtype", ["float64", "int64"])
@rows(lambda r: r.compare == "values" and r.name not in UNMAPPED)
def test_vmap_equals_a_loop(row: Row, dtype: str) -> None:
    if dtype not in row.dtypes or dtype in row.refuses:
        return
    for samples in batches(row, dtype):
        places = tensor_places(samples[0])
        ways = [places] if len(places) <= 1 else [places, places[:1], places[1:]]
        for over in ways:
            if not over:
                continue
            fn = forms(row.name)[0]
            try:
                for s in samples:
                    args, kwargs = converted(s, to_wg)
                    result_of(fn, args, kwargs)
            except (RuntimeError, TypeError, IndexError, ValueError):
                continue  # refused without vmap, too
            for dim in (0, 1) if row.name != "view" else (0,):  # whose memory must fit
                got, want = mapped(fn, samples, over, dim)
                compare(row, got, want)


@rows(lambda r: r.inplace and r.elementwise)
def test_vmap_of_changes_in_place(row: Row) -> None:
    if "float64" in row.refuses:
        return
    for samples in batches(row, "float64"):
        if any(np.broadcast_shapes(*(a.shape for a in s.args)) != s.args[0].shape for s in samples):
            continue

        def change(x: Any, *rest: Any) -> Any:
            y = x.clone()
            getattr(y, row.name + "_")(*rest)
            return (y,)

        try:
            change(*(to_wg(a) for a in samples[0].args))
        except RuntimeError:
            continue  # results of another dtype, refused without vmap, too
        got, want = mapped(change, samples, tensor_places(samples[0]), 0)
        compare(row, got, want)


@differentiable
def test_gradients_of_each_sample(row: Row) -> None:
    """vmap over grad, with one argument shared, equals a loop; so does grad over vmap."""
    if row.name in UNMAPPED or row.compare != "values":
        return
    for samples in batches(row, "float64")[:5]:
        functions = [as_function(row, s) for s in samples]
        if any(f is None for f in functions):
            continue
        tensors = [f[1] for f in functions if f is not None]
        one = functions[0]
        assert one is not None
        if any(not t.dtype.is_floating_point for t in tensors[0]) or len(
            [a for a in samples[0].args if isinstance(a, np.ndarray)]
        ) != len(tensors[0]):
            continue  # integers differ from sample to sample

        def total(*given: Any, f: Any = one[0]) -> Any:
            return sum((y * y).sum() for y in f(*given))

        places = tuple(range(len(tensors[0])))
        batch = [wg.stack(list(c)) for c in zip(*tensors, strict=True)]
        want = [func.grad(total, places)(*t) for t in tensors]
        got = func.vmap(func.grad(total, places), randomness="different")(*batch)
        outer = func.grad(lambda *b: func.vmap(total, randomness="different")(*b).sum(), places)(
            *batch
        )
        for p in places:
            expected = array(wg.stack([w[p] for w in want]))
            np.testing.assert_allclose(array(got[p]), expected, rtol=1e-8, atol=1e-8)
            np.testing.assert_allclose(array(outer[p]), expected, rtol=1e-8, atol=1e-8)


def test_the_sweep_covers_the_table() -> None:
    assert len([r for r in ROWS.values() if r.differentiable]) > 250
