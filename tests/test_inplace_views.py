"""Recorded changes in place of views and of what views were taken from."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.autograd import gradcheck, gradgradcheck


def row(m: Any, x: Any) -> Any:
    del m
    y = x * 2
    y[0].mul_(3)
    return y


def base_after_the_view(m: Any, x: Any) -> Any:
    del m
    y = x * 2
    v = y[0]
    y.mul_(x)
    return v


def column_of_a_constant(m: Any, x: Any) -> Any:
    y = m.zeros(2, 3, dtype=m.float64)
    v = y[:, 1]
    v.copy_(x[:, 0])
    return y * x


def a_view_of_another_shape_follows(m: Any, x: Any) -> Any:
    y = m.zeros(2, 3, dtype=m.float64)
    v, w = y[:, 1], y.view(-1)
    v.add_(x[:, 0])
    return w * w


def every_second(m: Any, x: Any) -> Any:
    del m
    y = x * 1
    y.view(-1)[::2].sin_()
    return y.t() * 2


def expanded(m: Any, x: Any) -> Any:
    del m
    y = x * 1
    e = y[:, :1].expand(2, 4)
    y.exp_()
    return e


def windows(m: Any, x: Any) -> Any:
    del m
    y = x * 1
    u = y.unfold(1, 2, 1)
    y.mul_(x)
    return u.sin()


def transposed_base(m: Any, x: Any) -> Any:
    del m
    y = (x * 1).t()
    y[0].mul_(5)
    return y * y


def twice_and_by_turns(m: Any, x: Any) -> Any:
    del m
    y = x * 1
    v, w = y[0], y[:, 0]
    v += 1
    w *= 2
    v.cos_()
    return v.sum() * w + y.sum()


def strided_memory(m: Any, x: Any) -> Any:
    del m
    y = x.t() * 2
    y[1:].mul_(y[:-1].clone())
    return y


def masked(m: Any, x: Any) -> Any:
    y = x * 1
    v = y[1]
    v[m.tensor([True, False, True])] = x[0, 0]
    return y * y


PROGRAMS = [
    row, base_after_the_view, column_of_a_constant, a_view_of_another_shape_follows, every_second,
    expanded, windows, transposed_base, twice_and_by_turns, strided_memory, masked,
]  # fmt: skip
programs = pytest.mark.parametrize("program", PROGRAMS, ids=lambda f: f.__name__)


@needs_torch
@programs
def test_values_and_gradients_equal_torch(program: Any) -> None:
    results = []
    for m in (wg, torch):
        x = m.tensor(np.arange(1.0, 7.0).reshape(2, 3) / 3, requires_grad=True)
        y = program(m, x)
        (y * y).sum().backward()
        results.append((y.detach().numpy(), x.grad.numpy()))
    for ours, theirs in zip(*results, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-13)


@programs
def test_derivatives(program: Any) -> None:
    x = wg.tensor(np.arange(1.0, 7.0).reshape(2, 3) / 3, requires_grad=True)
    assert gradcheck(lambda x: program(wg, x), (x,))
    assert gradgradcheck(lambda x: program(wg, x), (x,))


def test_a_view_knows_that_its_base_was_changed() -> None:
    x = wg.ones(2, requires_grad=True)
    y = wg.zeros(2, 2)
    v = y[0]
    assert (v.requires_grad, v.is_leaf) == (False, True)
    y[0] = x * 3
    assert (v.requires_grad, v.is_leaf) == (True, False)
    assert v.grad_fn is not None
    v.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [3.0, 3.0]


def test_what_the_operation_itself_reads_is_kept() -> None:
    def squared(x: Any) -> Any:
        y = x * 1
        v = y[0]
        v *= v
        y[1].mul_(y[0].clone())
        return y

    x = wg.tensor([[1.0, 2.0], [3.0, -1.0]], dtype=wg.float64, requires_grad=True)
    with pytest.raises(RuntimeError, match="inplace"):
        y = x * 1
        z = y[0].exp()
        w = z * z
        z[0].mul_(2)  # z is needed by its own derivative
        w.sum().backward()
    assert gradcheck(squared, (x,))


def test_refused() -> None:
    x = wg.ones(2, 2, requires_grad=True)
    with pytest.raises(RuntimeError, match="view of a leaf"):
        x[0].mul_(2)
    y = x * 1
    with wg.no_grad():
        v = y[0]
    with pytest.raises(RuntimeError, match="created in no_grad mode"):
        v.mul_(2)
    with pytest.raises(RuntimeError, match=r"share memory|single memory location"):
        y.unfold(1, 2, 1).view(2, 1, 2).expand(2, 2, 2).mul_(2)
    windows = (x.repeat(1, 2) * 1).unfold(1, 2, 1)
    with pytest.raises(RuntimeError, match="share memory"):
        windows.mul_(2)
    assert y.tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_a_base_that_looks_at_other_memory_is_left_alone() -> None:
    x = wg.ones(2, requires_grad=True)
    y = wg.zeros(3, 2)
    v = y[2]
    y.data = wg.zeros(1, 2)
    v.copy_(x)
    y[0] = x
    v.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]
