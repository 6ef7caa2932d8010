"""Threads, very deep graphs, many steps: nothing recurses, races or leaks, whatever is thrown."""

from __future__ import annotations

import gc
import itertools
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable


def in_use() -> tuple[int, int]:
    """Bytes and blocks of tensors and nodes, which are counted alike."""
    gc.collect()
    stats = wg.memory_stats()
    return stats["current_bytes"], stats["current_blocks"]


def in_threads(n: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []
    start = threading.Barrier(n)

    def guarded(i: int) -> None:
        try:
            start.wait()
            work(i)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


# --- threads -----------------------------------------------------------------------------------


def mlp(seed: int) -> wg.nn.Sequential:
    wg.manual_seed(seed)
    return wg.nn.Sequential(wg.nn.Linear(6, 16), wg.nn.Tanh(), wg.nn.Linear(16, 2))


def trained(model: wg.nn.Module, x: wg.Tensor, steps: int) -> list[float]:
    optimizer = wg.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def test_threads_train_their_own_models_and_share_one() -> None:
    shared = mlp(100)
    x = wg.randn(7, 6)
    with wg.no_grad():
        answer = shared(x).tolist()
    alone = [trained(mlp(i), x, 60) for i in range(4)]
    models = [mlp(i) for i in range(4)]

    def work(i: int) -> None:
        assert trained(models[i], x, 60) == alone[i]
        for _ in range(60):
            with (wg.no_grad, wg.inference_mode, wg.enable_grad)[i % 3]():
                assert shared(x).tolist() == answer
            (g,) = wg.autograd.grad(shared(x).sum(), [shared[0].bias])
            assert g.shape == (16,)

    in_threads(4, work)
    assert all(p.grad is None for p in shared.parameters())


def test_threads_with_hooks_functions_and_checkpoints() -> None:
    class Scale(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: wg.Tensor, k: float) -> wg.Tensor:
            ctx.save_for_backward(x)
            ctx.k = k
            return x * k

        @staticmethod
        def backward(ctx: Any, g: wg.Tensor) -> Any:
            (x,) = ctx.saved_tensors
            return g * ctx.k + x * 0, None

    from wengert.utils.checkpoint import checkpoint

    def work(i: int) -> None:
        x = wg.full((5,), float(i), requires_grad=True)
        for _ in range(40):
            x.grad = None
            y = Scale.apply(x, float(i)) * 2
            y.register_hook(lambda g: g * 3)
            with wg.autograd.graph.saved_tensors_hooks(lambda t: t.detach(), lambda t: t):
                z = checkpoint(lambda y: y.sin().sin(), y) * 0 + y
            z.sum().backward()
            assert x.grad.tolist() == [6.0 * i] * 5

    in_threads(4, work)


def test_errors_in_one_thread_do_not_reach_another() -> None:
    def work(i: int) -> None:
        for _ in range(50):
            x = wg.ones(3, requires_grad=True)
            y = (x * x).sum()
            if i % 2:
                y.register_hook(lambda g: 1 / 0)
                with pytest.raises(ZeroDivisionError):
                    y.backward()
            else:
                y.backward()
                assert x.grad.tolist() == [2, 2, 2]

    in_threads(4, work)


# --- depth -------------------------------------------------------------------------------------


def test_a_million_nodes_are_freed_without_recursion() -> None:
    x = wg.ones((), requires_grad=True)
    x + 1
    before = in_use()
    y = x
    for _ in range(1_000_000):
        y = y + x
    assert in_use()[1] > before[1] + 1_000_000
    del y
    assert in_use() == before


def test_a_deep_chain_cut_in_the_middle() -> None:
    x = wg.ones((), requires_grad=True)
    before = in_use()
    y = x
    for _ in range(100_000):
        y = y * 1.0
    middle = [y]
    for _ in range(100_000):
        y = y * 1.0
    tail = y.detach_()  # what was before is only held by the middle
    assert in_use()[1] > before[1] + 100_000
    middle[0].backward(retain_graph=True)
    del middle
    del y, tail
    x.grad = None
    assert in_use() == before


class Same(wg.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: wg.Tensor) -> wg.Tensor:
        ctx.save_for_backward(x)
        ctx.also = x  # held by Python, too
        return x * 1.0

    @staticmethod
    def backward(ctx: Any, g: wg.Tensor) -> wg.Tensor:
        assert ctx.also is not None
        return g


def test_deep_chains_of_functions() -> None:
    x = wg.ones((), requires_grad=True)
    before = in_use()
    for walks in (False, True):
        y = x
        for _ in range(50_000):
            y = Same.apply(y)
        if walks:
            y.backward()
            assert x.grad.item() == 1
        del y
        x.grad = None
        assert in_use() == before


def test_deep_chains_of_hooks_and_what_they_hold() -> None:
    x = wg.ones((), requires_grad=True)
    before = in_use()
    for walks in (False, True):
        y = x
        for _ in range(50_000):
            last, y = y, y * 1.0
            y.register_hook(lambda g, last=last: g if last is not None else None)
            y.grad_fn.register_hook(lambda gi, go, last=last: None)
        if walks:
            y.backward()
            assert x.grad.item() == 1
        del y, last
        x.grad = None
        assert in_use() == before


def test_deep_chains_of_packed_tensors() -> None:
    x = wg.ones((), requires_grad=True)
    before = in_use()
    with wg.autograd.graph.saved_tensors_hooks(lambda t: [t], lambda kept: kept[0]):
        y = x
        for _ in range(50_000):
            y = y.sin() * y
    del y
    assert in_use() == before


def test_deep_chains_in_other_threads() -> None:
    made: list[wg.Tensor] = []

    def build(i: int) -> None:
        y = wg.ones((), requires_grad=True)
        for _ in range(20_000):
            y = Same.apply(y)
        made.append(y)

    threading.stack_size(256 * 1024)  # a small stack shows recursion early
    try:
        in_threads(2, build)
        in_threads(1, lambda i: made.clear())
    finally:
        threading.stack_size(0)
    assert made == []


def test_higher_derivatives_of_a_deep_chain() -> None:
    x = wg.ones((), dtype=wg.float64, requires_grad=True)
    before = in_use()
    y = x
    for _ in range(20_000):
        y = y.sin() + x
    (g,) = wg.autograd.grad(y, x, create_graph=True)
    (h,) = wg.autograd.grad(g, x)
    assert np.isfinite(h.item())
    del y, g, h
    assert in_use() == before


# --- many steps --------------------------------------------------------------------------------


def test_a_hundred_thousand_steps_leak_nothing() -> None:
    w = wg.ones(3, requires_grad=True)
    b = wg.zeros((), requires_grad=True)
    x = wg.tensor([0.1, 0.2, 0.3])
    optimizer = wg.optim.SGD([w, b], lr=1e-3, momentum=0.9)

    def step() -> None:
        optimizer.zero_grad()
        ((w @ x + b) ** 2).backward()
        optimizer.step()

    for _ in range(100):
        step()
    optimizer.zero_grad()
    before = in_use()
    for _ in range(100_000):
        step()
    optimizer.zero_grad()
    assert in_use() == before


def test_steps_of_every_kind_leak_nothing() -> None:
    from wengert.utils.checkpoint import checkpoint

    model = mlp(0)
    x = wg.randn(4, 6)

    def every_kind(i: int) -> None:
        y = model(x)
        y.register_hook(lambda g: g)
        y.retain_grad()
        z = Same.apply(y).exp()
        if i % 5 == 0:
            return  # never walked
        if i % 5 == 1:
            g = wg.autograd.grad(z.sum(), list(model.parameters()), create_graph=True)
            sum(each.square().sum() for each in g).backward()
        elif i % 5 == 2:
            checkpoint(model, x).sum().backward()
        elif i % 5 == 3:
            with wg.autograd.graph.saved_tensors_hooks(lambda t: t.detach(), lambda t: t):
                model(x).tanh().sum().backward()
        else:
            z.sum().backward(retain_graph=True)
            z.sum().backward()
        model.zero_grad()

    for i in range(10):
        every_kind(i)
    before = in_use()
    for i in range(500):
        every_kind(i)
    assert in_use() == before


# --- exceptions --------------------------------------------------------------------------------


class OurError(Exception):
    pass


def raising(where: str, error: BaseException | type[BaseException]) -> Callable[[], None]:
    """Something that raises an error at a certain place in a backward or a forward.

    Given one itself, hook, error, traceback and tensor hold each other for good.
    """

    def raises(*args: Any) -> Any:
        raise error

    class Bad(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: wg.Tensor) -> wg.Tensor:
            if where == "forward":
                raises()
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: wg.Tensor) -> wg.Tensor:
            if where == "backward":
                raises()
            if where == "nested":
                with wg.enable_grad():
                    t = wg.ones(2, requires_grad=True)
                    u = t * 2
                    u.register_hook(raises)
                    u.sum().backward()
            return g * 2

    def run() -> None:
        x = wg.ones(3, requires_grad=True)
        y = Bad.apply(x.exp()).sin()
        if where == "tensor hook":
            y.register_hook(raises)
        elif where == "prehook":
            y.grad_fn.register_prehook(raises)
        elif where == "hook":
            y.grad_fn.register_hook(raises)
        elif where == "leaf":
            x.register_hook(raises)
        elif where == "accumulated":
            x.register_post_accumulate_grad_hook(raises)
        elif where == "multi":
            wg.autograd.graph.register_multi_grad_hook((x, y), raises)
        y.sum().backward(create_graph=where == "forward")

    return run


PLACES = (
    "forward", "backward", "nested", "tensor hook", "prehook", "hook", "leaf", "accumulated",
    "multi",
)  # fmt: skip


@pytest.mark.parametrize("where", PLACES)
@pytest.mark.parametrize("kind", [OurError, KeyboardInterrupt, StopIteration, MemoryError])
def test_exceptions_travel_unchanged(where: str, kind: type[BaseException]) -> None:
    error = kind("mine")
    error.extra = object()  # type: ignore[attr-defined]
    with pytest.raises(kind) as info:
        raising(where, error)()
    assert info.value is error
    assert [entry.name for entry in info.traceback][-1] == "raises"
    names = {entry.name for entry in info.traceback}
    assert "run" in names
    assert wg.is_grad_enabled()
    x = wg.ones(2, requires_grad=True)  # the tape is as usable as before
    (x.exp() * x).sum().backward()
    assert x.grad.tolist() == pytest.approx([2 * 2.718281828] * 2)


@pytest.mark.parametrize("where", PLACES)
def test_exceptions_leak_nothing(where: str) -> None:
    def once() -> None:
        with pytest.raises(OurError):
            raising(where, OurError)()

    once()
    before = in_use()
    for _ in range(30):
        once()
    assert in_use() == before


def test_a_walk_that_failed_may_be_walked_again() -> None:
    fails = [True]

    def hook(g: wg.Tensor) -> wg.Tensor:
        if fails[0]:
            raise OurError
        return g

    x = wg.ones(3, requires_grad=True)
    y = x.exp()
    y.register_hook(hook)
    z = y.sum()
    with pytest.raises(OurError):
        z.backward(retain_graph=True)
    assert x.grad is None
    fails[0] = False
    z.backward()
    assert x.grad.tolist() == pytest.approx([2.718281828] * 3)


def test_garbage_collected_in_the_middle_of_a_walk() -> None:
    made = itertools.count()

    def hook(g: wg.Tensor) -> wg.Tensor:
        cycle: list[Any] = [wg.ones(3, requires_grad=True) * 2]
        cycle.append(cycle)
        if next(made) % 10 == 0:
            gc.collect()
        return g

    x = wg.ones(3, requires_grad=True)
    y = x
    for _ in range(200):
        y = y * 1.0
        y.register_hook(hook)
    y.sum().backward()
    assert x.grad.tolist() == [1, 1, 1]
