"""autograd.graph: hooks on what is saved, nodes and edges, hooks on several gradients."""

from __future__ import annotations

import gc
import threading
import weakref
from typing import Any

import pytest
import torch

import wengert as wg
from wengert.autograd import graph

BOTH = pytest.mark.parametrize("lib", [wg, torch], ids=["wengert", "torch"])


def blocks() -> int:
    gc.collect()
    return wg.memory_stats()["current_blocks"]


# --- saved_tensors_hooks -----------------------------------------------------------------------


@BOTH
def test_hooks_see_what_is_saved_and_read(lib: Any) -> None:
    seen: list[tuple[str, Any]] = []

    def pack(x: Any) -> Any:
        assert not lib.is_grad_enabled()
        seen.append(("pack", x.tolist()))
        return x.detach() * 10

    def unpack(x: Any) -> Any:
        seen.append(("unpack", x.tolist()))
        return x / 10

    a = lib.tensor([2.0], requires_grad=True)
    b = lib.tensor([3.0], requires_grad=True)
    with lib.autograd.graph.saved_tensors_hooks(pack, unpack):
        y = a * b
        z = y.exp()
    w = z * y  # outside of the block
    assert (
        sorted(seen)
        == sorted([("pack", [2.0]), ("pack", [3.0]), ("pack", pytest.approx([z.item()]))], key=str)
        or len(seen) == 3
    )
    w.sum().backward()
    assert [kind for kind, _ in seen] == ["pack"] * 3 + ["unpack"] * 3
    assert a.grad.item() == pytest.approx((3 * z * (1 + y)).item())
    assert b.grad.item() == pytest.approx((2 * z * (1 + y)).item())


@BOTH
def test_nested_hooks_and_what_is_kept(lib: Any) -> None:
    hooks = lib.autograd.graph.saved_tensors_hooks
    with hooks(lambda x: x * 2, lambda x: x / 2):  # noqa: SIM117
        with hooks(lambda x: ("inner", x.detach()), lambda packed: packed[1] * 100):
            x = lib.ones(2, requires_grad=True)
            y = x * x
    y.sum().backward()
    assert x.grad.tolist() == [200.0, 200.0]


def test_any_object_may_stand_for_a_tensor(tmp_path: Any) -> None:
    names = iter(range(100))

    def pack(x: wg.Tensor) -> str:
        path = str(tmp_path / str(next(names)))
        wg.save(x, path)
        return path

    x = wg.randn(4, 5, requires_grad=True)
    w = wg.randn(3, 5, requires_grad=True)

    def loss() -> wg.Tensor:
        return wg.nn.functional.linear(x, w).tanh().softmax(1).square().sum()

    plain = wg.autograd.grad(loss(), (x, w))
    with graph.saved_tensors_hooks(pack, wg.load):
        kept = loss()
    for a, b in zip(plain, wg.autograd.grad(kept, (x, w)), strict=True):
        assert a.tolist() == b.tolist()


def test_higher_derivatives_through_hooks() -> None:
    x = wg.tensor([0.3, 0.7], dtype=wg.float64, requires_grad=True)

    def third() -> list[float]:
        y = (x.sin() * x.exp() * x).tanh().sum()
        for _ in range(2):
            (g,) = wg.autograd.grad(y, x, create_graph=True)
            y = g.sum()
        return wg.autograd.grad(y, x)[0].tolist()

    plain = third()
    with graph.saved_tensors_hooks(lambda t: t.detach().clone(), lambda t: t):
        assert third() == plain


def test_functions_save_through_hooks() -> None:
    class Square(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: wg.Tensor) -> wg.Tensor:
            y = x * x
            ctx.save_for_backward(x, None, y)
            return y

        @staticmethod
        def backward(ctx: Any, g: wg.Tensor) -> wg.Tensor:
            x, nothing, y = ctx.saved_tensors
            assert nothing is None
            assert y.tolist() == [9.0]
            return 2 * x * g

    packed = []

    def pack(t: wg.Tensor) -> wg.Tensor:
        packed.append(t.tolist())
        return t.detach().clone()

    x = wg.tensor([3.0], requires_grad=True)
    with graph.saved_tensors_hooks(pack, lambda t: t):
        y = Square.apply(x)
    assert packed == [[3.0], [9.0]]
    y.backward()
    assert x.grad.tolist() == [6.0]


@BOTH
@pytest.mark.parametrize("where", ["pack", "unpack"])
def test_exceptions_travel(lib: Any, where: str) -> None:
    class OurError(Exception):
        pass

    error = OurError("mine")

    def raises(x: Any) -> Any:
        raise error

    def same(x: Any) -> Any:
        return x

    hooks = (raises, same) if where == "pack" else (lambda x: x.detach(), raises)
    x = lib.ones(2, requires_grad=True)
    with pytest.raises(OurError) as info:
        with lib.autograd.graph.saved_tensors_hooks(*hooks):
            y = (x * x).sum()
        y.backward()
    assert info.value is error
    names = [entry.name for entry in info.traceback]
    assert names[-1] == "raises"
    (x * 3).sum().backward()  # nothing is left behind
    assert x.grad.tolist() == [3, 3]


def test_nothing_leaks_when_hooks_raise() -> None:
    x = wg.ones(100, requires_grad=True)

    def raises(t: Any) -> Any:
        raise KeyError

    def once(pack: Any, unpack: Any) -> None:
        with pytest.raises(KeyError):
            with graph.saved_tensors_hooks(pack, unpack):
                y = (x.exp() * x).sum()
            y.backward()

    once(raises, raises)
    before = blocks()
    for _ in range(20):
        once(raises, raises)
        once(lambda t: t.detach(), raises)
    assert blocks() == before


def test_bad_hooks() -> None:
    x = wg.ones(3, requires_grad=True)

    def loss(pack: Any, unpack: Any) -> None:
        with graph.saved_tensors_hooks(pack, unpack):
            y = (x * x).sum()
        y.backward()

    with pytest.raises(TypeError, match="unpack_hook expected to be a Tensor but got result of"):
        loss(lambda t: t.detach(), lambda t: 3)
    with pytest.raises(RuntimeError, match=r"mul: the unpack hook .* float32 of shape \(2,\)"):
        loss(lambda t: t.detach(), lambda t: t[:2])
    with pytest.raises(RuntimeError, match="returned float64 of shape"):
        loss(lambda t: t.detach(), lambda t: t.double())
    with pytest.raises(RuntimeError, match="pack hook is modifying its input in place"):
        loss(lambda t: t.add_(1), lambda t: t)
    with pytest.raises(TypeError):
        loss(3, 4)
    with pytest.raises(RuntimeError, match="none are set"):
        wg._core.pop_saved_hooks()


@BOTH
def test_disabled_hooks(lib: Any) -> None:
    with lib.autograd.graph.disable_saved_tensors_hooks("not here"):
        with pytest.raises(RuntimeError, match="not here"):  # noqa: SIM117
            with lib.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
                pass
        with lib.autograd.graph.disable_saved_tensors_hooks("nor here"):  # noqa: SIM117
            with pytest.raises(RuntimeError, match="nor here"):
                lib.autograd.graph.save_on_cpu().__enter__()
    with lib.autograd.graph.saved_tensors_hooks(lambda x: x, lambda x: x):
        pass


def test_save_on_cpu() -> None:
    x = wg.ones(3, requires_grad=True)
    with graph.save_on_cpu(pin_memory=True):
        y = (x.exp() * x).sum()
    y.backward()
    assert x.grad.tolist() == pytest.approx([2 * 2.718281828] * 3)


def test_hooks_are_of_a_thread() -> None:
    packed = []

    def work() -> None:
        x = wg.ones(2, requires_grad=True)
        (x * x).sum().backward()

    with graph.saved_tensors_hooks(packed.append, lambda x: x):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert packed == []


def test_saved_objects_are_freed_with_the_graph() -> None:
    class Box:
        def __init__(self, t: wg.Tensor) -> None:
            self.t = t.detach()

    alive: list[weakref.ref[Box]] = []

    def pack(t: wg.Tensor) -> Box:
        box = Box(t)
        alive.append(weakref.ref(box))
        return box

    x = wg.ones(3, requires_grad=True)
    with graph.saved_tensors_hooks(pack, lambda box: box.t):
        y = (x.exp() * x.sin()).sum()
        z = x.exp() * 2
    assert all(ref() is not None for ref in alive)
    y.backward()
    del z
    assert all(ref() is None for ref in alive)


def test_tapes_of_packed_tensors() -> None:
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    with graph.saved_tensors_hooks(lambda t: t.detach(), lambda t: t):
        y = (x * x).exp().sum()
    tape = wg.tape(y)
    assert "exp" in str(tape)
    y.backward()
    assert x.grad is not None


# --- changes of saved tensors ------------------------------------------------------------------


@BOTH
def test_allow_mutation(lib: Any) -> None:
    with lib.autograd.graph.allow_mutation_on_saved_tensors() as context:
        a = lib.ones(2, 3, requires_grad=True)
        b = a.clone()
        out = (b**2).sum()
        b.sin_()
        b.mul_(0)
        out.sum().backward()
        assert a.grad.tolist() == [[2.0] * 3] * 2
        c = lib.ones(3, requires_grad=True)
        d = c * 1
        e = d * d
        d[0] = 5.0
        (e.sum() + d.sum()).backward()
        assert c.grad.tolist() == [2.0, 3.0, 3.0]
        f = (c.exp() * 2).sum()
        context.clear()
    with pytest.raises(AssertionError, match="Trying to backward outside"):
        f.backward()


# --- nodes and edges ---------------------------------------------------------------------------


@BOTH
def test_nodes_and_edges(lib: Any) -> None:
    x = lib.ones(2, requires_grad=True)
    y = x * 2
    z = y.sum()
    assert isinstance(z.grad_fn, lib.autograd.graph.Node)
    get = lib.autograd.graph.get_gradient_edge
    edge = get(y)
    assert isinstance(edge, lib.autograd.graph.GradientEdge)
    assert edge.node == y.grad_fn
    assert edge.output_nr == 0
    (g,) = lib.autograd.grad(z, edge, retain_graph=True)
    assert g.tolist() == [1, 1]
    (g,) = lib.autograd.grad(z, [get(x)], retain_graph=True)
    assert g.tolist() == [2, 2]
    (g,) = lib.autograd.grad(get(z), [x], retain_graph=True)
    assert g.tolist() == [2, 2]
    lib.autograd.backward(z, inputs=[get(x)])
    assert x.grad.tolist() == [2, 2]
    with pytest.raises(RuntimeError, match="not possible to get the gradient edge"):
        get(lib.ones(2))


def test_an_edge_keeps_its_graph() -> None:
    x = wg.ones(2, requires_grad=True)
    edge = graph.get_gradient_edge((x * 2).exp())
    (g,) = wg.autograd.grad(edge, x, wg.ones(2))
    assert g.tolist() == pytest.approx([2 * 7.389056] * 2)
    with pytest.raises(IndexError, match="output_nr 3"):
        wg._core.at_edge(edge.node, 3)


@BOTH
def test_increment_version(lib: Any) -> None:
    x, y = lib.ones(2), lib.ones(2)
    lib.autograd.graph.increment_version(x)
    lib.autograd.graph.increment_version([x, y])
    assert (x._version, y._version) == (2, 1)
    with lib.inference_mode():
        lib.autograd.graph.increment_version(lib.ones(2))


@BOTH
@pytest.mark.parametrize("mode", ["all", "any"])
def test_multi_grad_hook(lib: Any, mode: str) -> None:
    a = lib.ones(2, requires_grad=True)
    b = lib.ones(2, requires_grad=True)
    c, d = a * b, a * b
    calls: list[Any] = []

    def fn(grads: Any) -> None:
        calls.append([g is not None for g in grads] if mode == "all" else grads.tolist())

    handle = lib.autograd.graph.register_multi_grad_hook((a, b, c, d), fn, mode=mode)
    c.sum().backward(retain_graph=True)
    c.sum().backward(inputs=(a,), retain_graph=True)
    (c + d).sum().backward(retain_graph=True)
    if lib is wg:  # PyTorch does not support leaves here
        wg.autograd.grad(c.sum(), [b], retain_graph=True)
    expected = [
        [True, True, True, False],
        [True, False, True, False],
        [True, True, True, True],
        [False, True, True, False],
    ][: 4 if lib is wg else 3]
    assert calls == (expected if mode == "all" else [[1.0, 1.0]] * len(expected))
    handle.remove()
    c.sum().backward()
    assert len(calls) == len(expected)
    with pytest.raises(ValueError, match="Expects mode to be one of"):
        lib.autograd.graph.register_multi_grad_hook((a,), fn, mode="some")
