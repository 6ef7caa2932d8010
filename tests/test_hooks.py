"""Hooks on tensors and nodes, gradients kept by results, and functions with their own backward."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.autograd.function import Function, once_differentiable

LIBRARIES = [pytest.param(wg, id="wengert")] + (
    [pytest.param(torch, id="torch")] if torch is not None else []
)
both = pytest.mark.parametrize("m", LIBRARIES)


def leaf(m: Any, *values: float) -> Any:
    return m.tensor(values, dtype=m.float64, requires_grad=True)


# --- hooks of tensors ---------------------------------------------------------------------------


@both
def test_a_hook_sees_and_replaces_the_gradient(m: Any) -> None:
    x = leaf(m, 1.0, 2.0)
    y = x * x
    seen = []
    y.register_hook(lambda g: seen.append(g.tolist()))
    handle = y.register_hook(lambda g: g * 10)
    y.register_hook(lambda g: seen.append(g.tolist()))
    y.sum().backward(retain_graph=True)
    assert seen == [[1.0, 1.0], [10.0, 10.0]]
    assert x.grad.tolist() == [20.0, 40.0]
    handle.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.tolist() == [2.0, 4.0]


@both
def test_a_hook_runs_once_for_all_uses(m: Any) -> None:
    x = leaf(m, 3.0)
    y = x * 2
    seen = []
    y.register_hook(lambda g: seen.append(g.item()))
    (y * y + 5 * y).sum().backward()
    assert seen == [17.0]


@both
def test_hooks_of_leaves(m: Any) -> None:
    x = leaf(m, 1.0, 2.0)
    seen: list[Any] = []
    x.register_hook(lambda g: g + 1)
    x.register_post_accumulate_grad_hook(lambda p: seen.append((p is x, p.grad.tolist())))
    (3 * x).sum().backward()
    assert seen == [(True, [4.0, 4.0])]
    (g,) = m.autograd.grad((3 * x).sum(), x)
    assert g.tolist() == [4.0, 4.0]
    assert len(seen) == 1


@both
def test_hooks_are_refused(m: Any) -> None:
    with pytest.raises(RuntimeError, match="doesn't require grad"):
        m.ones(2).register_hook(print)
    with pytest.raises(RuntimeError, match="non-leaf"):
        (leaf(m, 1.0) * 2).register_post_accumulate_grad_hook(print)
    x = leaf(m, 1.0, 2.0)
    y = x * 2
    y.register_hook(lambda g: g.sum())
    with pytest.raises(RuntimeError, match="changed the size"):
        y.sum().backward()
    y = x * 2
    y.register_hook(lambda _: 3)
    with pytest.raises(TypeError):
        y.sum().backward()


@both
def test_an_exception_in_a_hook_comes_out_and_the_tape_stays_usable(m: Any) -> None:
    class MineError(Exception):
        pass

    def hook(_: Any) -> None:
        raise MineError("here")

    x = leaf(m, 1.0)
    y = x * 2
    handle = y.register_hook(hook)
    with pytest.raises(MineError, match="here"):
        y.sum().backward(retain_graph=True)
    handle.remove()
    x.grad = None
    y.sum().backward()
    assert x.grad.item() == 2.0


@both
def test_retain_grad(m: Any) -> None:
    x = leaf(m, 1.0, 2.0)
    y = x * x
    with pytest.warns(UserWarning, match="not a leaf"):
        assert y.grad is None
    assert not y.retains_grad
    y.retain_grad()
    assert y.retains_grad
    y.register_hook(lambda g: g * 2)  # what is kept comes after all hooks
    y.sum().backward(retain_graph=True)
    y.sum().backward()
    assert y.grad.tolist() == [4.0, 4.0]
    with pytest.raises(RuntimeError, match="requires_grad=False"):
        m.ones(1).retain_grad()


@both
def test_a_tensor_changed_in_place_retains_the_new_gradient(m: Any) -> None:
    x = leaf(m, 1.0)
    y = x * 2
    y.retain_grad()
    y.mul_(3)
    (y * y).sum().backward()
    assert y.grad.item() == 12.0
    assert x.grad.item() == 72.0


# --- nodes ---------------------------------------------------------------------------------------


def test_nodes() -> None:
    x = leaf(wg, 1.0)
    assert x.grad_fn is None
    y = x * wg.ones(1, dtype=wg.float64)
    z = y.exp()
    assert z.grad_fn is not None
    (into, slot), *rest = z.grad_fn.next_functions
    assert (into, slot, rest) == (y.grad_fn, 0, [])
    assert hash(into) == hash(y.grad_fn)
    assert y.grad_fn.name() == "MulBackward0"
    assert y.grad_fn.next_functions[0][0].name() == "AccumulateGrad"
    assert y.grad_fn.next_functions[1] == (None, 0)


@both
def test_hooks_of_nodes(m: Any) -> None:
    x = leaf(m, 3.0)
    y = x * 2
    seen: list[Any] = []

    def before(grads: Any) -> Any:
        seen.append(grads[0].item())
        return (grads[0] * 10,)

    def after(grads_in: Any, grads_out: Any) -> Any:
        seen.append((grads_in[0].item(), grads_out[0].item()))
        return (grads_in[0] + 1, *grads_in[1:])

    y.grad_fn.register_prehook(before)
    y.grad_fn.register_hook(after)
    y.sum().backward()
    assert seen == [1.0, (20.0, 10.0)]
    assert x.grad.item() == 21.0


# --- Function ------------------------------------------------------------------------------------


def functions(m: Any) -> Any:
    """The same Functions on either library."""
    base = m.autograd.Function

    class Cube(base):  # type: ignore[misc,valid-type]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**3

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            return g * 3 * x * x

    class Exp(base):  # type: ignore[misc,valid-type]
        @staticmethod
        def forward(x: Any) -> Any:
            return x.exp()

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            assert len(inputs) == 1
            ctx.save_for_backward(output)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * ctx.saved_tensors[0]

    class Split(base):  # type: ignore[misc,valid-type]
        @staticmethod
        def forward(ctx: Any, x: Any, factor: float, y: Any) -> Any:
            ctx.factor = factor
            ctx.save_for_backward(x, y)
            order = x.argsort()
            ctx.mark_non_differentiable(order)
            return x * y * factor, x + y, order

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any, _: Any) -> Any:
            x, y = ctx.saved_tensors
            assert ctx.needs_input_grad == (True, False, True)
            return g * y * ctx.factor + h, None, g * x * ctx.factor + h

    return Cube, Exp, Split


@both
def test_functions_and_their_higher_derivatives(m: Any) -> None:
    cube, exp, _ = functions(m)
    x = leaf(m, 0.5, -1.5)
    for fn, orders in (
        (cube.apply, [3 * np.square([0.5, -1.5]), 6 * np.array([0.5, -1.5]), np.full(2, 6.0)]),
        (exp.apply, [np.exp([0.5, -1.5])] * 3),
    ):
        y = fn(x)
        for expected in orders:
            (y,) = m.autograd.grad(y.sum(), x, create_graph=True)
            np.testing.assert_allclose(y.detach().numpy(), expected, rtol=1e-14)


@both
def test_several_inputs_and_outputs(m: Any) -> None:
    _, _, split = functions(m)
    x, y = leaf(m, 1.0, 2.0), leaf(m, 3.0, -1.0)
    a, b, order = split.apply(x, 2.0, y)
    assert not order.requires_grad
    assert order.tolist() == [0, 1]
    a.sum().backward(retain_graph=True)  # b's gradient is zeros
    assert x.grad.tolist() == [6.0, -2.0]
    (a + b).sum().backward()
    assert y.grad.tolist() == [2.0 + 2 + 1, 4.0 + 4 + 1]


def test_gradcheck_of_functions() -> None:
    cube, exp, split = functions(wg)
    x, y = leaf(wg, 0.3, 1.2), leaf(wg, -0.7, 0.4)
    for fn in (cube.apply, exp.apply):
        assert wg.autograd.gradcheck(fn, (x,))
        assert wg.autograd.gradgradcheck(fn, (x,))
    assert wg.autograd.gradcheck(lambda a, b: split.apply(a, 1.5, b)[:2], (x, y))


@both
def test_no_gradient_wanted_records_nothing(m: Any) -> None:
    cube, _, _ = functions(m)
    assert not cube.apply(m.ones(2)).requires_grad
    with m.no_grad():
        assert not cube.apply(leaf(m, 1.0)).requires_grad


@both
def test_materialized_gradients(m: Any) -> None:
    seen: list[Any] = []

    class Two(m.autograd.Function):  # type: ignore[misc,name-defined]
        materialize = True

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.set_materialize_grads(Two.materialize)
            return x.clone(), x.clone()

        @staticmethod
        def backward(ctx: Any, g: Any, h: Any) -> Any:
            seen.append(None if h is None else h.tolist())
            return g

    for Two.materialize in (True, False):
        Two.apply(leaf(m, 1.0))[0].sum().backward()
    assert seen == [[0.0], None]


@both
def test_mark_dirty(m: Any) -> None:
    class Double(m.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            x.mul_(2)
            ctx.mark_dirty(x)
            return x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x = leaf(m, 1.0, 3.0)
    y = x * 1
    z = Double.apply(y)
    assert z is y
    (z * z).sum().backward()
    assert x.grad.tolist() == [8.0, 24.0]
    with pytest.raises(RuntimeError, match="leaf"):
        Double.apply(leaf(m, 1.0))


@both
def test_once_differentiable(m: Any) -> None:
    once = once_differentiable if m is wg else torch.autograd.function.once_differentiable

    class Square(m.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x

        @staticmethod
        @once
        def backward(ctx: Any, g: Any) -> Any:
            return 2 * ctx.saved_tensors[0] * g

    x = leaf(m, 3.0)
    y = Square.apply(x)
    weight = leaf(m, 1.0)
    (g,) = m.autograd.grad(y, x, weight, create_graph=True)
    assert g.item() == 6.0
    with pytest.raises(RuntimeError, match="once_differentiable"):
        g.sum().backward()


@both
def test_wrong_backwards(m: Any) -> None:
    class Wrong(m.autograd.Function):  # type: ignore[misc,name-defined]
        result: Any = None

        @staticmethod
        def forward(ctx: Any, x: Any, n: int) -> Any:
            return x * n

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return Wrong.result

    x = leaf(m, 1.0, 2.0)
    for result, text in (
        (m.ones(2), "incorrect number of gradients"),
        ((m.ones(2), 1.0), "different than None"),
        ((m.ones(3), None), "invalid gradient"),
    ):
        Wrong.result = result
        with pytest.raises(RuntimeError, match=text):
            Wrong.apply(x, 2).sum().backward()
    assert x.grad is None
    with pytest.raises(NotImplementedError):
        m.autograd.Function.apply(x)


def test_changed_and_freed_saved_tensors() -> None:
    cube, _, _ = functions(wg)
    x = leaf(wg, 1.0) * 1
    y = cube.apply(x)
    x.mul_(2)
    with pytest.raises(RuntimeError, match="inplace"):
        y.sum().backward()
    x = leaf(wg, 1.0)
    y = cube.apply(x)
    y.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        y.sum().backward()


def test_a_function_keeps_nothing_alive() -> None:
    _, exp, _ = functions(wg)
    x = leaf(wg, 1.0)
    y = exp.apply(x)
    watch = weakref.ref(y)
    gc.disable()
    try:
        del y
        assert watch() is None  # an output that is saved does not own itself
    finally:
        gc.enable()


@both
def test_grad_inside_backward(m: Any) -> None:
    class Inner(m.autograd.Function):  # type: ignore[misc,name-defined]
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x.sin()

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            with m.enable_grad():
                again = x.detach().requires_grad_()
                (d,) = m.autograd.grad(again.sin().sum(), again)
            return g * d

    x = leaf(m, 0.3, 0.7)
    Inner.apply(x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.cos([0.3, 0.7]), rtol=1e-14)


@needs_torch
def test_batched_gradients() -> None:
    results = []
    for m in (wg, torch):
        x = leaf(m, 1.0, 2.0, 3.0)
        y = x * x
        eye = m.eye(3, dtype=m.float64)
        (rows,) = m.autograd.grad(y, x, eye, is_grads_batched=True)
        results.append(rows.tolist())
    assert results[0] == results[1]
    assert results[0][1] == [0.0, 4.0, 0.0]


def test_function_cannot_be_instantiated() -> None:
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        Function()
