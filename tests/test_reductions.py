"""Reductions, scans, sorting and searching: special values, ties, refusals, threads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

if TYPE_CHECKING:
    from collections.abc import Callable

NAN, INF = math.nan, math.inf
SPECIAL = [1, NAN, -INF, 0.0, -0.0, NAN, INF, -1, 1]


def same(name: str, values: Any, *args: Any, **kwargs: Any) -> None:
    """Compare with PyTorch, bit for bit but for rounding."""
    x = np.asarray(values)
    got = getattr(wg, name)(wg.from_numpy(x), *args, **kwargs)
    want = getattr(torch, name)(torch.from_numpy(x), *args, **kwargs)
    pairs = zip(got, want, strict=True) if isinstance(got, tuple) else [(got, want)]
    for g, w in pairs:
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=1e-6, strict=True)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("name", "args"),
    [("nansum", ()), ("nanmean", (0,)), ("aminmax", ()), ("cummax", (0,)), ("cummin", (0,)),
     ("logsumexp", (0,)), ("median", ()), ("median", (0,)), ("nanmedian", ()), ("nanmedian", (0,)),
     ("cumsum", (0,)), ("cumprod", (0,)), ("prod", ()), ("count_nonzero", ()), ("var", (0,)),
     ("nanquantile", (0.4,)), ("quantile", (0.4,)), ("kthvalue", (9,)), ("logcumsumexp", (0,))],
)  # fmt: skip
def test_special_values(name: str, args: tuple[Any, ...], dtype: str) -> None:
    if name != "kthvalue":  # of several NaN, which is the ninth is open
        same(name, np.array(SPECIAL, dtype), *args)
    same(name, np.array([3, NAN, 1, 2, 7, 0, 9, 8, 5], dtype), *args)
    same(name, np.array([-INF, -INF, 1, 2, -INF, 0, 4, 4.5, 9], dtype), *args)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64", "int64", "bool"])
@pytest.mark.parametrize("n", [9, 700, 40_000])
@pytest.mark.parametrize("descending", [False, True])
def test_sort_is_stable(dtype: str, n: int, descending: bool) -> None:
    x = np.random.default_rng(0).integers(-9, 9, n).astype(dtype)
    if dtype.startswith("float"):
        x[: len(SPECIAL)] = SPECIAL
    same("sort", x, dim=0, descending=descending, stable=True)
    same("argsort", x, dim=0, descending=descending, stable=True)


@needs_torch
def test_tensors_of_quantiles() -> None:
    x = np.random.default_rng(0).normal(size=(3, 4, 5))
    q = np.array([0.0, 0.3, 0.75, 1.0])
    for kwargs in ({}, {"dim": 1}, {"dim": 0, "keepdim": True}, {"keepdim": True}):
        got = wg.quantile(wg.from_numpy(x), wg.from_numpy(q), **kwargs)
        want = torch.quantile(torch.from_numpy(x), torch.from_numpy(q), **kwargs)
        np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-12, atol=1e-15, strict=True)


@needs_torch
@pytest.mark.parametrize("dim", [None, 0, 1])
@pytest.mark.parametrize("name", ["unique", "unique_consecutive"])
def test_unique(name: str, dim: int | None) -> None:
    x = np.random.default_rng(0).integers(0, 3, (40, 2))
    for flags in ((False, False), (True, False), (False, True), (True, True)):
        kwargs = {"return_inverse": flags[0], "return_counts": flags[1], "dim": dim}
        same(name, x, **kwargs)
    same(name, np.array([1.0, NAN, NAN, 1.0]), return_counts=True)


def test_zero_gradient_where_a_norm_or_a_deviation_is_zero() -> None:
    functions: list[Callable[[Any], Any]] = [
        lambda x: x.std(),
        lambda x: x.norm(),
        lambda x: x.norm(3),
        lambda x: x.norm(1),
    ]
    for f in functions:
        x = wg.zeros(3, requires_grad=True)
        f(x).backward()
        assert x.grad is not None
        assert x.grad.tolist() == [0, 0, 0]


@needs_torch
def test_products_with_zeros_to_second_order() -> None:
    for f in ("prod", "cumprod"):
        results = []
        for lib in (wg, torch):
            x = lib.tensor([[2.0, 0.0, 3.0, 0.0], [1.5, 0.0, 2.0, -1.0]], dtype=lib.float64)
            x.requires_grad_()
            y = getattr(x, f)(1)
            w = lib.tensor([[1.0, 2.0, 4.0, 8.0]], dtype=lib.float64)[
                :, : y.reshape(2, -1).shape[1]
            ]
            (g,) = lib.autograd.grad((y.reshape(2, -1) * w).sum(), x, create_graph=True)
            (gg,) = lib.autograd.grad((g * g).sum() + g.sum(), x)
            results.append((g.detach().numpy(), gg.numpy()))
        for a, b in zip(*results, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


REFUSED: list[tuple[type[Exception], Callable[[], Any]]] = [
    (RuntimeError, lambda: wg.ones(2, 3).topk(4)),
    (RuntimeError, lambda: wg.ones(2, 3).kthvalue(4)),
    (IndexError, lambda: wg.ones(2, 0).kthvalue(1)),
    (IndexError, lambda: wg.ones(2, 0).median(1)),
    (IndexError, lambda: wg.ones(2, 3).cumsum(2)),
    (RuntimeError, lambda: wg.quantile(wg.ones(3), 1.5)),
    (RuntimeError, lambda: wg.quantile(wg.ones(0), 0.5)),
    (RuntimeError, lambda: wg.quantile(wg.ones(3).long(), 0.5)),
    (RuntimeError, lambda: wg.quantile(wg.ones(3), 0.5, interpolation="cubic")),
    (RuntimeError, lambda: wg.ones(3).long().var()),
    (RuntimeError, lambda: wg.ones(3).long().norm()),
    (RuntimeError, lambda: wg.ones(3).norm("inf")),
    (RuntimeError, lambda: wg.ones(2, 0).norm(INF)),
    (RuntimeError, lambda: wg.ones(3).bincount(minlength=2)),
    (RuntimeError, lambda: wg.tensor([-1]).bincount()),
    (RuntimeError, lambda: wg.tensor([1]).bincount(minlength=-1)),
    (RuntimeError, lambda: wg.ones(3).histc(0)),
    (RuntimeError, lambda: wg.tensor([1.0, NAN]).histc(3)),
    (RuntimeError, lambda: wg.searchsorted(wg.ones(2, 3), wg.ones(3, 3))),
    (RuntimeError, lambda: wg.searchsorted(wg.ones(3), wg.ones(3), side="middle")),
    (RuntimeError, lambda: wg.searchsorted(wg.ones(3), wg.ones(3), side="left", right=True)),
    (RuntimeError, lambda: wg.searchsorted(wg.ones(2), wg.ones(3), sorter=wg.tensor([0, 5]))),
    (RuntimeError, lambda: wg.diff(wg.tensor(1.0))),
    (RuntimeError, lambda: wg.gradient(wg.ones(1))),
    (IndexError, lambda: wg.trapezoid(wg.tensor(1.0))),
    (RuntimeError, lambda: wg.ones(3).renorm(2, 0, 1)),
    (ValueError, lambda: wg.unravel_index(wg.tensor([1]), (2, -3))),
]


@pytest.mark.parametrize("case", range(len(REFUSED)))
def test_refusals(case: int) -> None:
    error, call = REFUSED[case]
    with pytest.raises(error):
        call()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_threads_change_no_bit(dtype: str) -> None:
    rng = np.random.default_rng(0)
    before = wg.get_num_threads()
    operations: list[Callable[[Any], Any]] = [
        lambda x: x.var(0), lambda x: x.var(1), lambda x: x.var(), lambda x: x.norm(3),
        lambda x: x.cumsum(0), lambda x: x.cumsum(1), lambda x: x.flatten().cumsum(0),
        lambda x: x.cumprod(1), lambda x: x.logcumsumexp(1), lambda x: x.sort(0)[1],
        lambda x: x.topk(7, 1)[1], lambda x: x[:, ::2].sum(), lambda x: x.prod(1),
    ]  # fmt: skip
    for shape in ((40_000, 7), (7, 40_000)):
        x = wg.from_numpy(rng.normal(size=shape).astype(dtype))
        for f in operations:
            results = []
            for threads in (1, 3):
                wg.set_num_threads(threads)
                results.append(f(x).numpy())
            wg.set_num_threads(before)
            np.testing.assert_array_equal(*results)


@pytest.mark.parametrize("axes", [(0, 2), (1, 3), (0, 2, 3), (0, 1), (2,), (0, 1, 2, 3)])
def test_any_layout(axes: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).normal(size=(9, 40, 11, 34))
    for a in (x, x.transpose(2, 0, 3, 1), x[:, ::2, :, ::3], np.broadcast_to(x[:1], x.shape)):
        t = wg.from_numpy(np.array(x)) if a is x else wg.from_numpy(a)
        np.testing.assert_allclose(t.sum(axes).numpy(), a.sum(axes), rtol=1e-11, atol=1e-11)
        np.testing.assert_allclose(t.var(axes, correction=0).numpy(), a.var(axes), rtol=1e-11)
        np.testing.assert_array_equal(t.amin(axes).numpy(), a.min(axes))


def test_variance_of_distant_values_is_accurate() -> None:
    x = (np.random.default_rng(0).normal(size=40_000) + 1e4).astype("float32")
    exact = x.astype("longdouble").var(ddof=1)
    assert abs(float(wg.from_numpy(x).var()) / float(exact) - 1) < 1e-4
