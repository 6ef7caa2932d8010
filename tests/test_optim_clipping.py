"""Gradients clipped: in the step itself, by clip_grad_norm_ and by clip_grad_value_."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

OPTIMIZERS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.1, "momentum": 0.9, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "weight_decay": 0.1}),
    ("Adagrad", {"lr": 0.1}),
    ("Adam", {"lr": 0.01, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
]
SHAPES = ((), (3,), (5, 7), (0,), (1, 67), (130, 257), (20_000,))
ORDERS = (1.0, 2.0, 3.0, math.inf)


def parameters(library: Any, dtype: str, size: float = 1.0) -> list[Any]:
    """Parameters with gradients, and one without."""
    rng = np.random.default_rng(0)
    params = []
    for shape in SHAPES:
        p, g = (np.asarray(rng.normal(size=shape)) for _ in range(2))
        cast = getattr(library, dtype)
        params.append(library.tensor(p).to(cast).requires_grad_())
        params[-1].grad = library.tensor(size * g).to(cast)
    return [*params, library.ones(2, requires_grad=True)]


def numbers(params: list[Any]) -> list[Any]:
    return [p.detach().to(wg.float64).numpy().copy() for p in params]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("name", "settings"), OPTIMIZERS, ids=[n for n, _ in OPTIMIZERS])
@pytest.mark.parametrize("max_norm", [0.5, 1e9, 0.0])
def test_a_step_that_clips_has_the_bits_of_two(
    name: str, settings: dict[str, Any], dtype: str, order: float, max_norm: float
) -> None:
    one, two = parameters(wg, dtype), parameters(wg, dtype)
    fused = getattr(wg.optim, name)([{"params": one[:3]}, {"params": one[3:-1]}], **settings)
    plain = getattr(wg.optim, name)([{"params": two[:3]}, {"params": two[3:-1]}], **settings)
    for _ in range(2):
        fused.step(max_norm=max_norm, norm_type=order)
        norm = wg.nn.utils.clip_grad_norm_(two, max_norm, order)
        plain.step()
        assert fused.grad_norm is not None
        assert fused.grad_norm.item() == norm.item()
        assert fused.grad_norm.dtype == getattr(wg, dtype)
        for p, q in zip(one, two, strict=True):  # the gradients again, for the second round
            q.grad = None if p.grad is None else p.grad.clone()
    for a, b in zip(numbers(one), numbers(two), strict=True):
        np.testing.assert_array_equal(a, b)


def test_bfloat16_gradients_are_not_rounded_after_clipping() -> None:
    one, two = parameters(wg, "bfloat16")[:-1], parameters(wg, "bfloat16")[:-1]
    wide = [p.detach().to(wg.float32).requires_grad_() for p in one]
    for w, p in zip(wide, one, strict=True):
        assert p.grad is not None
        w.grad = p.grad.to(wg.float32)
    fused, plain, exact = (wg.optim.SGD(p, lr=1.0) for p in (one, two, wide))
    fused.step(max_norm=0.5)
    wg.nn.utils.clip_grad_norm_(two, 0.5)
    plain.step()
    exact.step(max_norm=0.5)
    for a, b, c in zip(numbers(one), numbers(two), numbers(wide), strict=True):
        np.testing.assert_allclose(a, c, rtol=2**-8, atol=1e-3)
        np.testing.assert_allclose(b, c, rtol=2**-7, atol=1e-3)


@needs_torch
@pytest.mark.parametrize("order", [*ORDERS, -math.inf, 0.0, 0.5])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
@pytest.mark.parametrize("max_norm", [0.5, 1e9])
def test_clip_grad_norm_equals_torch(dtype: str, order: float, max_norm: float) -> None:
    results, norms = [], []
    for library in (wg, torch):
        params = [p for p in parameters(library, dtype, 1e-2) if p.numel()]
        if dtype == "float16" and order in (0.5, 1.0):
            params = params[:4]  # else the norm is beyond float16
        norm = library.nn.utils.clip_grad_norm_(params, max_norm, norm_type=order)
        assert norm.dtype == getattr(library, dtype)
        norms.append(norm.item())
        results.append([p.grad.to(library.float64).numpy() for p in params if p.grad is not None])
    rtol = {"float32": 1e-5, "float64": 1e-12}.get(dtype, 0.02)
    np.testing.assert_allclose(norms[0], norms[1], rtol=rtol)
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7)


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", "float16"])
def test_clip_grad_value_equals_torch(dtype: str) -> None:
    results = []
    for library in (wg, torch):
        params = parameters(library, dtype)
        params[1].grad[0], params[1].grad[1] = math.nan, -math.inf
        library.nn.utils.clip_grad_value_(params, 0.3)
        results.append([p.grad.to(library.float64).numpy() for p in params if p.grad is not None])
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_one_launch_over_all_tensors() -> None:
    params = [wg.ones(10, 10, requires_grad=True) for _ in range(20)]
    for p in params:
        p.grad = wg.ones(10, 10)
    optimizer = wg.optim.Adam(params)
    optimizer.step(max_norm=1.0)
    for work, expected in (
        (lambda: optimizer.step(max_norm=1.0, error_if_nonfinite=True), 2),
        (lambda: wg.nn.utils.clip_grad_norm_(params, 1.0), 2),
        (lambda: wg.nn.utils.clip_grad_norm_(params, 100.0), 2),
        (lambda: wg.nn.utils.get_total_norm([p.grad for p in params], math.inf), 1),
        (lambda: wg.nn.utils.clip_grad_value_(params, 1e-3), 1),
    ):
        with wg.testing.count_launches() as counter:
            work()
        assert sum(counter.counts.values()) == expected


def test_norms_of_large_and_of_small_numbers() -> None:
    for size in (1e30, 1e-30):
        p = wg.zeros(1000, requires_grad=True)
        p.grad = wg.full((1000,), size)
        norm = wg.nn.utils.get_total_norm([p.grad])
        np.testing.assert_allclose(norm.item(), size * math.sqrt(1000), rtol=1e-6)


def test_norms_do_not_depend_on_threads() -> None:
    grads = [p.grad for p in parameters(wg, "float32")[:-1]] * 3
    before, found = wg.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            wg.set_num_threads(threads)
            found.append([wg.nn.utils.get_total_norm(grads, o).item() for o in ORDERS])
    finally:
        wg.set_num_threads(before)
    assert found[0] == found[1] == found[2]


def test_gradients_listed_twice_and_views() -> None:
    memory = wg.ones(40_000)
    p, q = wg.zeros(40_000, requires_grad=True), wg.zeros(2, 10_000, requires_grad=True)
    p.grad, q.grad = memory, memory[:20_000].view(10_000, 2).t()
    wg.nn.utils.clip_grads_with_norm_([p, q, p], 0.5, wg.tensor(1.0))
    np.testing.assert_allclose(memory[:20_000].numpy(), 0.125, rtol=1e-5)
    np.testing.assert_allclose(memory[20_000:].numpy(), 0.25, rtol=1e-5)


def test_changes_are_noticed_by_the_tape() -> None:
    for clip in (
        lambda p: wg.nn.utils.clip_grad_norm_([p], 0.1),
        lambda p: wg.nn.utils.clip_grad_value_([p], 0.1),
    ):
        p = wg.ones(3, requires_grad=True)
        p.grad = wg.ones(3)
        x = wg.ones(3, requires_grad=True)
        y = (x * p.grad).sum()
        clip(p)
        with pytest.raises(RuntimeError, match="clip_grad"):
            y.backward()


def test_zero_grad_after_the_step() -> None:
    params = parameters(wg, "float32")
    optimizer = wg.optim.SGD(params, lr=1.0)
    before = numbers(params)
    kept = [p.grad for p in params]
    optimizer.step(max_norm=1.0, zero_grad=True)
    assert all(p.grad is None for p in params)
    assert optimizer.grad_norm is not None
    factor = 1.0 / (optimizer.grad_norm.item() + 1e-6)
    for p, b, g in zip(params, before, kept, strict=True):
        want = b if g is None else b - factor * g.numpy()
        np.testing.assert_allclose(p.detach().numpy(), want, rtol=1e-5, atol=1e-6)
    optimizer.step(zero_grad=True)
    for p, b in zip(params, numbers(params), strict=True):
        np.testing.assert_array_equal(p.detach().numpy(), b)


def test_a_closure_and_clipping() -> None:
    p = wg.ones(2, requires_grad=True)
    optimizer = wg.optim.SGD([p], lr=1.0)

    def closure() -> wg.Tensor:
        loss = (10 * p).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure, max_norm=math.sqrt(2), zero_grad=True).item() == 20
    np.testing.assert_allclose(p.tolist(), [0, 0], atol=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_norms_that_are_not_finite(bad: float) -> None:
    params = parameters(wg, "float32")
    assert params[1].grad is not None
    params[1].grad[0] = bad
    optimizer = wg.optim.Adam(params)
    before = numbers(params)
    for order in ORDERS:
        with pytest.raises(RuntimeError, match="non-finite"):
            optimizer.step(max_norm=1.0, norm_type=order, error_if_nonfinite=True)
        with pytest.raises(RuntimeError, match="non-finite"):
            wg.nn.utils.clip_grad_norm_(params, 1.0, order, error_if_nonfinite=True)
    assert not optimizer.state
    assert optimizer.grad_norm is None
    for a, b in zip(numbers(params), before, strict=True):
        np.testing.assert_array_equal(a, b)
    optimizer.step(max_norm=1.0)
    assert optimizer.grad_norm is not None
    assert not math.isfinite(optimizer.grad_norm.item())


@pytest.mark.parametrize("bad", [-1.0, -math.inf, math.nan])
def test_limits_that_are_none(bad: float) -> None:
    p = wg.ones(2, requires_grad=True)
    p.grad = wg.ones(2)
    with pytest.raises(ValueError, match="max_norm"):
        wg.optim.SGD([p]).step(lambda: p.grad, max_norm=bad)
    with pytest.raises(TypeError):
        wg.optim.SGD([p]).step(max_norm="1")  # type: ignore[arg-type]
    assert p.tolist() == [1, 1]


def test_tensors_that_have_no_norm() -> None:
    with pytest.raises(RuntimeError, match="int64"):
        wg.nn.utils.get_total_norm([wg.ones(2, dtype=wg.int64)])
    assert wg.nn.utils.get_total_norm([]).item() == 0
    p = wg.ones(2, requires_grad=True)
    optimizer = wg.optim.SGD([p])
    assert optimizer.step(max_norm=1.0) is None
    assert optimizer.grad_norm is not None
    assert optimizer.grad_norm.item() == 0
