"""The tape: what backward and grad promise, when they refuse; nothing leaks or overflows."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from wengert.autograd import enable_grad, grad, inference_mode, no_grad, set_grad_enabled

if TYPE_CHECKING:
    from collections.abc import Callable


def leaf(*values: float) -> wg.Tensor:
    return wg.tensor(
        values[0] if len(values) == 1 else values, dtype=wg.float64, requires_grad=True
    )


# --- backward ----------------------------------------------------------------------------------


def test_gradients_accumulate() -> None:
    x = leaf(1, 2)
    for n in range(1, 4):
        (x * x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == [2 * n, 4 * n]
    kept = x.grad
    (x * x).sum().backward()
    assert x.grad is kept
    x.grad = None
    x.sum().backward()
    assert x.grad.tolist() == [1, 1]


def test_a_second_backward_needs_retain_graph() -> None:
    x = leaf(1, 2)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    assert x.grad is not None
    assert x.grad.tolist() == [4, 8]
    with pytest.raises(RuntimeError, match=r"second time|freed"):
        y.backward()
    z = (x + x).sum()  # saves nothing: PyTorch allows it too
    z.backward()
    z.backward()


def test_backward_of_what_is_not_scalar() -> None:
    x = leaf(1, 2)
    y = x * 3
    with pytest.raises(
        RuntimeError, match=r"scalar outputs, got shape \(2\)|scalar outputs.*\(2,?\)"
    ):
        y.backward()
    y.backward(wg.tensor([1.0, 10.0], dtype=wg.float64), retain_graph=True)
    assert x.grad is not None
    assert x.grad.tolist() == [3, 30]
    with pytest.raises(RuntimeError, match="shape"):
        y.backward(wg.ones(3, dtype=wg.float64))
    (x[:1] * 2).backward()  # one element is enough
    assert x.grad.tolist() == [5, 30]


def test_backward_into_some_inputs() -> None:
    a, b = leaf(2), leaf(3)
    c = a * b
    (c * c).backward(inputs=[a, c])
    assert (a.grad.item(), b.grad) == (36, None)
    assert c.grad.item() == 12
    wg.autograd.backward([a * 2, b * 2], [wg.tensor(1.0), wg.tensor(5.0)])
    assert (a.grad.item(), b.grad.item()) == (38, 10)


def test_backward_without_history() -> None:
    for y in (wg.ones(()), leaf(1).detach()):
        with pytest.raises(RuntimeError, match="does not require grad"):
            y.backward()
    x = leaf(1)
    x.backward()
    assert x.grad.item() == 1


def test_only_floats_require_grad() -> None:
    with pytest.raises(RuntimeError, match="floating"):
        wg.ones(2, dtype=wg.int64, requires_grad=True)
    x = leaf(1, 2)
    assert not (x > 1).requires_grad
    assert not x.long().requires_grad
    assert not x.argmax().requires_grad
    assert x.float().requires_grad


def test_what_is_a_leaf() -> None:
    x = leaf(1)
    assert (x.is_leaf, (x * 2).is_leaf, x.detach().is_leaf, wg.ones(1).is_leaf) == (
        True,
        False,
        True,
        True,
    )
    with pytest.raises(RuntimeError, match="leaf"):
        (x * 2).requires_grad_(False)
    assert (x * 2).requires_grad_().requires_grad
    y = (x * 2).detach_()
    assert y.is_leaf
    assert not y.requires_grad
    x.requires_grad_(False)
    assert not (x * 2).requires_grad


@pytest.mark.parametrize(
    ("build", "want"),
    [
        (lambda x: x * x * x, [3.0, 12.0]),
        (lambda x: (x + x) * (x - x) + x, [1.0, 1.0]),
        (lambda x: x.detach() * x, [1.0, 2.0]),
        (lambda x: (y := x * 2) * y + y, [10.0, 18.0]),
        (lambda x: x.expand(3, 2) * 2, [6.0, 6.0]),
        (lambda x: wg.cat([x, x * 2, x[1:]]), [3.0, 4.0]),
        (lambda x: wg.stack([x, x.detach()]), [1.0, 1.0]),
        (lambda x: x[0] * x, [4.0, 1.0]),
        (lambda x: x[[1, 1, 0]] * wg.tensor([1.0, 2.0, 4.0], dtype=wg.float64), [4.0, 3.0]),
        (lambda x: x[None, ::2].t(), [1.0, 0.0]),
        (lambda x: (x.view(2, 1) @ x.view(1, 2)).sum(), [6.0, 6.0]),
        (lambda x: wg.where(x > 1.5, x * 10, x), [1.0, 10.0]),
        (lambda x: x.clone().mul_(3), [3.0, 3.0]),
        (lambda x: x.float() * 2, [2.0, 2.0]),
        (lambda x: x.max() + x.min(), [1.0, 1.0]),
        (lambda x: 1 / x - (-x) ** 2, [-3.0, -4.25]),
    ],
)
def test_gradients_of_graphs(build: Callable[[wg.Tensor], wg.Tensor], want: list[float]) -> None:
    x = leaf(1, 2)
    build(x).sum().backward()
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), want)
    assert x.grad.dtype is wg.float64


def test_gradients_through_index_assignment() -> None:
    x, v = leaf(1, 2, 3), leaf(5)
    y = x * 2
    y[1] = v * 3
    y[2:] = 7
    (y * y).sum().backward()
    assert x.grad.tolist() == [8, 0, 0]
    assert v.grad.item() == 90
    z = wg.zeros(3, dtype=wg.float64)
    z[0] = v
    assert z.requires_grad
    (z * z).sum().backward()
    assert v.grad.item() == 100


def test_gradients_of_inplace_operations() -> None:
    x = leaf(1, 2)
    y = x * 1
    y.add_(x).mul_(3).exp_()
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy(), 6 * np.exp(6 * np.array([1, 2])))
    z = x * 1
    z.fill_(4)
    assert grad((z * x).sum(), x)[0].tolist() == [4, 4]
    w = x * 1
    w.copy_(x * 5)
    assert grad(w.sum(), x)[0].tolist() == [5, 5]


def test_gradients_never_share_memory() -> None:
    for op in (
        lambda a, b: a + b,
        lambda a, b: wg.cat([a.view(2), b.view(2)]),
        lambda a, b: a - -b,
    ):
        a, b = leaf(1, 2), leaf(3, 4)
        op(a, b).sum().backward()
        assert a.grad.data_ptr() != b.grad.data_ptr()
        a.grad.fill_(100)
        assert b.grad.tolist() == [1, 1]
    a, g = leaf(1, 2), wg.ones(2, dtype=wg.float64)
    (a + 0).backward(g)
    a.grad.zero_()
    assert g.tolist() == [1, 1]
    first, second = grad(a + (b := leaf(0, 0)), [a, b], g)
    assert (first.tolist(), second.tolist()) == ([1, 1], [1, 1])


def test_gradient_of_a_view_is_dense() -> None:
    x = wg.ones(3, 2, requires_grad=True)
    x.t().expand(4, 2, 3).sum().backward()
    assert x.grad.is_contiguous()
    assert x.grad.tolist() == [[4, 4]] * 3


def test_assigned_gradients() -> None:
    x = leaf(1, 2)
    x.grad = wg.ones(2, dtype=wg.float64)
    x.sum().backward()
    assert x.grad.tolist() == [2, 2]
    for bad in (wg.ones(3, dtype=wg.float64), wg.ones(2), x):
        with pytest.raises(RuntimeError):
            x.grad = bad
    with pytest.raises(TypeError):
        x.grad = 3  # type: ignore[assignment]


# --- grad --------------------------------------------------------------------------------------


def test_grad_leaves_leaves_alone() -> None:
    x, y = leaf(2), leaf(3)
    z = x * y
    assert [g.item() for g in grad(z, [x, y])] == [3, 2]
    assert x.grad is y.grad is None
    h = x * x
    assert grad(h * 3, h, retain_graph=True)[0].item() == 3
    assert grad(h, h)[0].item() == 1
    assert grad([x * 2, x * y], x, [None, wg.tensor(10.0)])[0].item() == 32


def test_unused_inputs() -> None:
    x, y = leaf(2), leaf(1, 2)
    with pytest.raises(RuntimeError, match="not have been used"):
        grad(x * 2, [x, y])
    assert grad(x * 2, [x, y], allow_unused=True)[1] is None
    assert grad(x * 2, [x, y], materialize_grads=True)[1].tolist() == [0, 0]
    with pytest.raises(ValueError, match="allow_unused"):
        grad(x * 2, y, allow_unused=False, materialize_grads=True)
    with pytest.raises(RuntimeError, match="does not require grad"):
        grad(x * 2, wg.ones(1))


def test_higher_derivatives() -> None:
    x = leaf(2)
    y = x**4
    for want in (32, 48, 48, 24, 0):
        (y,) = grad(y, x, create_graph=True)
        assert y.item() == pytest.approx(want)


def test_create_graph_in_backward() -> None:
    x = leaf(3)
    (x**3).backward(create_graph=True)
    assert x.grad.requires_grad
    assert grad(x.grad, x)[0].item() == 18
    x.grad = None


def test_derivative_of_a_network_in_a_loss() -> None:
    """A gradient penalty: the gradient by the input, used in a loss by the weights."""
    x, w = wg.randn(4, 3, dtype=wg.float64, requires_grad=True), wg.randn(3, 3, dtype=wg.float64)
    w.requires_grad_()

    def penalty(w: wg.Tensor) -> wg.Tensor:
        (g,) = grad((x @ w).tanh().sum(), x, create_graph=True)
        return (g * g).sum()

    assert wg.autograd.gradcheck(penalty, w)


# --- what is refused ---------------------------------------------------------------------------


def test_changing_a_leaf_in_place() -> None:
    x = leaf(1, 2)
    for change in (
        lambda: x.add_(1),
        lambda: x.__setitem__(0, 1),
        lambda: x.zero_(),
        lambda: x.uniform_(),
        lambda: x[0].mul_(2),
        lambda: x.view(2).exp_(),
        lambda: x.copy_(x.detach()),
    ):
        with pytest.raises(RuntimeError, match="leaf"):
            change()
    with no_grad():
        x.add_(1)
        x[0] = 5
    assert x.tolist() == [5, 3]
    x.data.zero_()
    assert x.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("use", "name"),
    [
        (lambda x: x * x, "mul"),
        (lambda x: x.exp(), "exp"),
        (lambda x: x.sin(), "sin"),
        (lambda x: x @ x, "dot"),
        (lambda x: x.max(), "amax|max"),
        (lambda x: x.softmax(0), "softmax"),
        (lambda x: x**2.5, "pow"),
    ],
)
def test_changed_saved_tensors_are_refused_by_name(use: Any, name: str) -> None:
    x = leaf(1, 2)
    y = x * 2
    z = use(y)
    (z if name in ("exp", "softmax") else y).add_(1)
    with pytest.raises(RuntimeError, match=f"(?s)({name}).*in.?place"):
        z.sum().backward()


def test_changes_that_do_no_harm() -> None:
    x = leaf(1, 2)
    y = x * 2
    z = y + 1  # needs none of its operands
    y.add_(1)
    z.sum().backward()
    assert x.grad.tolist() == [2, 2]
    y = x * 2
    w = y.exp()  # needs its result alone
    y.zero_()
    w.sum().backward()


def test_views_follow_their_base() -> None:
    x = leaf(1, 2, 3)
    y = x * 1
    old = y[1:]
    y[1] = 7
    assert grad((old * 2).sum(), x, retain_graph=True)[0].tolist() == [0, 0, 2]
    assert grad((y[1:] * 2).sum(), x)[0].tolist() == [0, 0, 2]


def test_views_made_without_recording() -> None:
    y = leaf(1, 2) * 1
    with no_grad():
        v = y.view(2, 1)
    (v * leaf(3)).sum().backward()


def test_expanded_memory_is_not_written() -> None:
    with pytest.raises(RuntimeError, match=r"single memory location.*\(3, 2\)"):
        wg.ones(2).expand(3, 2).add_(1)


# --- the switch --------------------------------------------------------------------------------


def recorded() -> bool:
    return (leaf(1) * 2).requires_grad


@pytest.mark.parametrize(
    ("mode", "inside"),
    [
        (no_grad, False),
        (inference_mode, False),
        (enable_grad, True),
        (lambda: set_grad_enabled(False), False),
        (lambda: set_grad_enabled(True), True),
        (lambda: inference_mode(False), True),
    ],
)
@pytest.mark.parametrize("outside", [True, False])
def test_modes_as_context_and_decorator(mode: Any, inside: bool, outside: bool) -> None:
    with set_grad_enabled(outside):
        inside = inside and (outside or mode is not inference_mode)
        with mode():
            if mode in (no_grad, enable_grad):
                assert recorded() == wg.is_grad_enabled() == inside
            assert recorded() == wg.is_grad_enabled()
        assert wg.is_grad_enabled() == outside
        context = mode()
        set_grad_enabled(outside)
        decorated = context(recorded)
        assert wg.is_grad_enabled() == outside
        assert decorated() == decorated()
        assert wg.is_grad_enabled() == outside
        with pytest.raises(ZeroDivisionError), mode():
            1 / 0  # noqa: B018
        assert wg.is_grad_enabled() == outside


def test_modes_without_parentheses_and_as_functions() -> None:
    assert no_grad(recorded)() is False
    assert inference_mode(recorded)() is False
    with no_grad():
        assert enable_grad(recorded)() is True
        assert no_grad()(recorded)() is False
    set_grad_enabled(False)
    assert not recorded()
    set_grad_enabled(True)
    assert recorded()

    @no_grad()
    def nested(depth: int) -> bool:
        return recorded() or (depth > 0 and nested(depth - 1))

    assert nested(3) is False
    assert nested.__name__ == "nested"


def test_nothing_is_kept_without_recording() -> None:
    x = leaf(*range(1000))
    with no_grad():
        one = wg.memory_stats()["current_bytes"]
        kept = x.sum()
        one = wg.memory_stats()["current_bytes"] - one
        before = wg.memory_stats()["current_bytes"]
        y = ((x * 2) * x).exp().sum()
        assert wg.memory_stats()["current_bytes"] == before + one
        assert not kept.requires_grad
    assert not y.requires_grad


def test_the_switch_is_per_thread() -> None:
    seen: list[bool] = []
    with no_grad():
        t = threading.Thread(target=lambda: seen.append(recorded()))
        t.start()
        t.join()
    assert seen == [True]


# --- size --------------------------------------------------------------------------------------


def test_a_chain_of_a_million_operations() -> None:
    x = leaf(1)
    y = x
    for _ in range(1_000_000):
        y = y + 1
    y.backward()
    assert (x.grad.item(), y.item()) == (1, 1_000_001)
    del y


def test_a_long_chain_freed_without_backward() -> None:
    y = leaf(1) * 1
    for _ in range(200_000):
        y = y * 1.0
    del y


def test_a_wide_graph() -> None:
    x = leaf(1)
    wg.stack([x * i for i in range(1000)]).sum().backward()
    assert x.grad.item() == 499500


def resident_pages() -> int:
    """Of this process; 0 where the system does not say."""
    if not Path("/proc/self/statm").exists():
        return 0
    return int(Path("/proc/self/statm").read_text().split()[1])


def step(w: wg.Tensor, x: wg.Tensor) -> None:
    loss = ((x * w).tanh() + w[0]).sum()
    loss.backward()
    with no_grad():
        w -= 1e-3 * w.grad
    w.grad = None


def test_no_leak() -> None:
    w, x = leaf(1, 2, 3), wg.ones(3, dtype=wg.float64)
    for _ in range(5000):
        step(w, x)
    gc.collect()
    bytes_before, pages_before = wg.memory_stats()["current_bytes"], resident_pages()
    for _ in range(100_000):
        step(w, x)
    gc.collect()
    assert wg.memory_stats()["current_bytes"] == bytes_before
    assert resident_pages() - pages_before < 512  # 2 MiB; a leaked node a step would be 20


@pytest.mark.parametrize(
    "fail",
    [
        lambda x: x @ wg.ones(5),
        lambda x: x.view(7),
        lambda x: x[9],
        lambda x: x.sum(3),
        lambda x: wg.cat([x, wg.ones(2, 2)]),
    ],
)
def test_no_leak_in_errors(fail: Any) -> None:
    x = wg.ones(3, requires_grad=True)

    def attempt() -> None:
        with pytest.raises((RuntimeError, IndexError)):
            fail(x * 2)

    attempt()
    before = wg.memory_stats()["current_bytes"]
    for _ in range(50):
        attempt()
    gc.collect()
    assert wg.memory_stats()["current_bytes"] == before


def test_memory_of_a_step_is_bounded_by_what_is_saved() -> None:
    x = wg.ones(100_000, requires_grad=True)
    y = x
    for _ in range(20):
        y = y + 1  # saves nothing
    wg._core.reset_peak_memory_stats()
    before = wg.memory_stats()["current_bytes"]
    y.sum().backward()
    assert wg.memory_stats()["peak_bytes"] - before < 3 * 400_000
