"""What autograd.Function promises, beside PyTorch: what forward may return and mark, what backward
may return, arguments by keyword, and what a node tells of its call."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

MODULES = [pytest.param(wg, id="wengert"), pytest.param(torch, id="torch", marks=needs_torch)]
both = pytest.mark.parametrize("m", MODULES)
Method = Callable[..., Any]


def leaf(m: Any, *values: float) -> Any:
    return m.tensor(values, dtype=m.float64, requires_grad=True)


def function(m: Any, forward: Method, backward: Method | None = None, **others: Method) -> Any:
    """A Function of these methods."""
    methods = {"forward": forward, **({"backward": backward} if backward else {}), **others}
    members = {name: staticmethod(method) for name, method in methods.items()}
    return type("Given", (m.autograd.Function,), members)


def gradient(m: Any, fn: Any, *args: Any) -> Any:
    """The gradient of the sum of the first result by the first argument."""
    result = fn.apply(*args)
    (result[0] if isinstance(result, (tuple, list)) else result).sum().backward()
    return args[0].grad.tolist()


# --- what backward returns -----------------------------------------------------------------------


@both
@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (lambda m, g: g * 2, [2.0, 2.0]),
        (lambda m, g: (g * 2,), [2.0, 2.0]),
        (lambda m, g: (g * 2, None, None), [2.0, 2.0]),  # trailing Nones are no matter
        (lambda m, g: g.float(), [1.0, 1.0]),
        (lambda m, g: m.ones(3, 2), [3.0, 3.0]),  # summed to the input's shape
        (lambda m, g: m.ones(1, 2), [1.0, 1.0]),
    ],
)
def test_gradients_that_fit(m: Any, result: Method, expected: list[float]) -> None:
    fn = function(m, lambda ctx, x: x * 2, lambda ctx, g: result(m, g))
    x = leaf(m, 1.0, 2.0)
    assert gradient(m, fn, x) == expected
    assert x.grad.dtype == m.float64


@both
@pytest.mark.parametrize(
    ("result", "message"),
    [
        (lambda m, g: (g, g), "incorrect number of gradients"),
        (lambda m, g: (), "incorrect number of gradients"),
        (lambda m, g: 3, "expected"),
        (lambda m, g: m.ones(3), "invalid gradient at index 0"),
        (lambda m, g: m.ones(()), "invalid gradient at index 0"),
    ],
)
def test_gradients_that_do_not_fit(m: Any, result: Method, message: str) -> None:
    fn = function(m, lambda ctx, x: x * 2, lambda ctx, g: result(m, g))
    x = leaf(m, 1.0, 2.0)
    with pytest.raises(RuntimeError, match=message):
        gradient(m, fn, x)
    assert x.grad is None


@both
def test_no_gradient(m: Any) -> None:
    x, y = leaf(m, 1.0), leaf(m, 2.0)
    fn = function(m, lambda ctx, x, y: x * y, lambda ctx, g: (None, g))
    fn.apply(x, y).sum().backward()
    assert x.grad is None
    assert y.grad.tolist() == [1.0]


@both
def test_a_backward_that_raises(m: Any) -> None:
    fn = function(m, lambda ctx, x: x * 2, lambda ctx, g: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        gradient(m, fn, leaf(m, 1.0))


@both
def test_backward_or_vjp(m: Any) -> None:
    fn = function(m, lambda ctx, x: x * 2, vjp=lambda ctx, g: g * 7)
    assert gradient(m, fn, leaf(m, 1.0)) == [7.0]
    fn = function(m, lambda ctx, x: x * 2, lambda ctx, g: g, vjp=lambda ctx, g: g * 7)
    with pytest.raises(RuntimeError, match="Implementing both 'backward' and 'vjp'"):
        gradient(m, fn, leaf(m, 1.0))
    fn = function(m, lambda ctx, x: x * 2)
    with pytest.raises(NotImplementedError, match="either the backward or vjp method"):
        gradient(m, fn, leaf(m, 1.0))
    with pytest.raises(NotImplementedError, match="must implement the forward"):
        type("Empty", (m.autograd.Function,), {}).apply(leaf(m, 1.0))  # type: ignore[attr-defined]


# --- what forward returns ------------------------------------------------------------------------


@both
def test_results_that_are_no_tensors(m: Any) -> None:
    seen: list[Any] = []
    fn = function(
        m, lambda ctx, x: (x * 2, 3, None, "s"), lambda ctx, *gs: seen.append(gs) or gs[0]
    )
    x = leaf(m, 1.0)
    y, *others = fn.apply(x)
    assert others == [3, None, "s"]
    y.sum().backward()
    assert seen[0][1:] == (None, None, None)
    assert function(m, lambda ctx, x: 3, lambda ctx, g: g).apply(x) == 3


@both
def test_an_argument_that_is_returned(m: Any) -> None:
    fn = function(m, lambda ctx, x: x, lambda ctx, g: g * 3)
    x = leaf(m, 1.0, 2.0)
    y = fn.apply(x)
    assert y is not x
    assert y.grad_fn.name() == "GivenBackward"
    assert y.data_ptr() == x.data_ptr()
    assert gradient(m, fn, x) == [3.0, 3.0]
    with m.no_grad():
        assert not fn.apply(x).requires_grad
    turned = leaf(m, 1.0, 2.0, 3.0, 4.0).view(2, 2).t()
    assert fn.apply(turned).stride() == turned.stride()
    fn = function(m, lambda ctx, x: x.view(-1), lambda ctx, g: g * 3)
    assert gradient(m, fn, leaf(m, 1.0, 2.0)) == [3.0, 3.0]


@both
def test_what_forward_sees(m: Any) -> None:
    seen: list[Any] = []

    def forward(ctx: Any, x: Any) -> Any:
        seen.append((m.is_grad_enabled(), x.requires_grad, ctx.needs_input_grad))
        with m.enable_grad():
            return x * 2  # its history is not the Function's

    fn = function(m, forward, lambda ctx, g: seen.append(m.is_grad_enabled()) or g * 7)
    assert gradient(m, fn, leaf(m, 1.0)) == [7.0]
    assert seen == [(False, True, (True,)), False]


@both
def test_one_tensor_twice(m: Any) -> None:
    x = leaf(m, 2.0)
    fn = function(m, lambda ctx, x, y: x * y, lambda ctx, g: (g, g * 2))
    fn.apply(x, x).sum().backward()
    assert x.grad.tolist() == [3.0]


@both
def test_integers_and_marked_results(m: Any) -> None:
    seen: list[Any] = []

    def forward(ctx: Any, x: Any) -> Any:
        flat = x * 3
        ctx.mark_non_differentiable(flat)
        return x * 2, x > 0, flat, x.to(m.int64)

    def backward(ctx: Any, g: Any, positive: Any, flat: Any, whole: Any) -> Any:
        seen.append((positive.shape, flat.tolist(), whole.shape))
        return g * 2

    x = leaf(m, 1.0)
    fn = function(m, forward, backward)
    assert [t.requires_grad for t in fn.apply(x)] == [True, False, False, False]
    assert gradient(m, fn, x) == [2.0]
    assert seen == [((1,), [0.0], (1,))]
    fn = function(m, lambda ctx, x: ctx.mark_non_differentiable(x) or x, lambda ctx, g: g)
    assert not fn.apply(x).requires_grad


# --- changes in place ----------------------------------------------------------------------------


def triple(m: Any) -> Any:
    def forward(ctx: Any, x: Any) -> Any:
        ctx.mark_dirty(x)
        return x.mul_(3)

    return function(m, forward, lambda ctx, g: g * 3)


@both
def test_a_view_that_is_changed(m: Any) -> None:
    x = leaf(m, 1.0, 2.0, 4.0)
    y = x * 1
    part = y[1:]
    assert triple(m).apply(part) is part
    (y * y).sum().backward()  # d (3 x)^2 = 18 x
    assert x.grad.tolist() == [2.0, 36.0, 72.0]


@both
def test_a_constant_that_is_changed(m: Any) -> None:
    def forward(ctx: Any, x: Any, by: Any) -> Any:
        ctx.mark_dirty(x)
        ctx.save_for_backward(by)
        return x.mul_(by)

    fn = function(m, forward, lambda ctx, g: (None, g * 5))
    x, by = m.ones(2, dtype=m.float64), leaf(m, 2.0, 3.0)
    assert fn.apply(x, by) is x
    assert x.requires_grad
    x.sum().backward()
    assert by.grad.tolist() == [5.0, 5.0]


@both
def test_wrong_marks(m: Any) -> None:
    x = leaf(m, 1.0)
    with pytest.raises(RuntimeError, match="leaf Variable that requires grad"):
        triple(m).apply(x)
    fn = function(m, lambda ctx, x: ctx.mark_dirty(x) or x * 1, lambda ctx, g: g)
    with pytest.raises(RuntimeError, match="must all be outputs of the Function"):
        fn.apply(x * 1)

    def made(ctx: Any, x: Any) -> Any:
        y = x * 1
        ctx.mark_dirty(y)
        return y

    with pytest.warns(UserWarning, match="received a tensor that was not an input"):
        y = function(m, made, lambda ctx, g: g * 2).apply(x)
    y.sum().backward()
    assert x.grad.tolist() == [2.0]


def test_a_result_that_shares_memory_may_be_changed() -> None:
    fn = function(wg, lambda ctx, x: x, lambda ctx, g: g * 3)
    x = leaf(wg, 1.0, 2.0)
    base = x * 1
    y = fn.apply(base)
    y.mul_(2)  # PyTorch refuses
    for result in (y, base):  # both are 2 x, by the Function's rule
        assert wg.autograd.grad(result.sum(), x, retain_graph=True)[0].tolist() == [6.0, 6.0]
        assert result.tolist() == [2.0, 4.0]
    with pytest.raises(RuntimeError, match="a view of a leaf Variable"):
        fn.apply(x).mul_(2)


# --- the context ---------------------------------------------------------------------------------


@both
def test_saved_tensors(m: Any) -> None:
    def forward(ctx: Any, x: Any, y: Any) -> Any:
        ctx.save_for_backward(y)
        ctx.save_for_backward(x, None, y)  # the last call counts
        ctx.factor = 2
        return x * y * 2

    def backward(ctx: Any, g: Any) -> Any:
        x, nothing, y = ctx.saved_tensors
        assert nothing is None
        return g * y * ctx.factor, g * x * ctx.factor

    fn = function(m, forward, backward)
    x, y = leaf(m, 1.0, 2.0), leaf(m, 3.0, 4.0)
    z = fn.apply(x, y)
    node = z.grad_fn
    assert node.factor == 2  # the node is the context, too
    assert node.saved_tensors[2].tolist() == [3.0, 4.0]
    assert node.needs_input_grad == (True, True)
    with pytest.raises(AttributeError):
        _ = node.nothing
    assert m.autograd.gradcheck(fn.apply, (x, y))
    assert m.autograd.gradgradcheck(fn.apply, (x, y))
    with pytest.raises(TypeError, match="argument 1 is of type int"):
        function(m, lambda ctx, x: ctx.save_for_backward(x, 3), backward).apply(x)
    fn = function(m, lambda ctx, x: ctx.save_for_forward(x) or x * 2, lambda ctx, g: g)
    assert gradient(m, fn, x) == [1.0, 1.0]


@both
def test_what_is_wanted(m: Any) -> None:
    seen: list[Any] = []
    fn = function(
        m,
        lambda ctx, x, n, y: x * n * y,
        lambda ctx, g: (seen.append(ctx.needs_input_grad), (g, None, g))[1],
    )
    fn.apply(leaf(m, 1.0), 2, m.ones(1)).sum().backward()
    fn.apply(leaf(m, 1.0), 2, leaf(m, 1.0)).sum().backward()
    assert seen == [(True, False, False), (True, False, True)]


@both
def test_arguments_by_keyword(m: Any) -> None:
    fn = function(m, lambda ctx, x, y, n=2: x * y * n, lambda ctx, g: (g, g * 2))
    for call in (
        lambda x, y: fn.apply(x, y=y),
        lambda x, y: fn.apply(y=y, x=x),
        lambda x, y: fn.apply(x, y),
    ):
        x, y = leaf(m, 1.0), leaf(m, 1.0)
        call(x, y).sum().backward()
        assert (x.grad.tolist(), y.grad.tolist()) == ([1.0], [2.0])


@both
def test_setup_context_is_told_defaults(m: Any) -> None:
    seen: list[Any] = []
    fn = function(
        m,
        lambda x, n=2, y=3: x * n * y,
        lambda ctx, g: (g * 6, None, None),
        setup_context=lambda ctx, inputs, output: seen.append((inputs[1:], ctx.needs_input_grad)),
    )
    fn.apply(leaf(m, 1.0))
    fn.apply(leaf(m, 1.0), y=5)
    assert seen == [((2, 3), (True, False, False)), ((2, 5), (True, False, False))]
    assert gradient(m, fn, leaf(m, 1.0)) == [6.0]


@both
def test_hooks_of_the_node(m: Any) -> None:
    fn = function(m, lambda ctx, x: x * 2, lambda ctx, g: g * 2)
    seen: list[Any] = []
    x = leaf(m, 1.0)
    y = fn.apply(x)
    y.grad_fn.register_prehook(lambda gs: seen.append(gs[0].item()))
    y.grad_fn.register_hook(lambda gi, go: seen.append((gi[0].item(), go[0].item())))
    (y * 5).sum().backward()
    assert seen == [5.0, (10.0, 5.0)]


def test_instances_are_refused() -> None:
    fn = function(wg, lambda ctx, x: x)
    with pytest.raises(RuntimeError, match="should not be instantiated"):
        fn()


@both
def test_straight_through(m: Any) -> None:
    """The commonest use: a rounding whose gradient passes."""
    fn = function(m, lambda ctx, x: x.round(), lambda ctx, g: g)
    x = leaf(m, 0.4, 1.7)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (fn.apply(x) * x).sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), np.array([0.0, 2.0]) + np.array([0.4, 1.7]))
