"""utils.checkpoint: the same gradients, less memory, the same errors as PyTorch's."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING, Any

import pytest
import torch

import wengert as wg
from wengert.utils.checkpoint import (
    CheckpointError,
    checkpoint,
    checkpoint_sequential,
    set_checkpoint_debug_enabled,
    set_checkpoint_early_stop,
)

if TYPE_CHECKING:
    from collections.abc import Callable

REENTRANT = pytest.mark.parametrize("reentrant", [False, True])


def gradients(fn: Callable[..., Any], *leaves: wg.Tensor) -> list[list[float]]:
    leaves = tuple(x.detach().requires_grad_() for x in leaves)
    fn(*leaves).sum().backward()
    return [x.grad.tolist() for x in leaves]


def block(x: wg.Tensor, w: wg.Tensor) -> wg.Tensor:
    return wg.nn.functional.gelu((x @ w).tanh() * x.sigmoid()).softmax(1)


@REENTRANT
def test_gradients_are_the_same(reentrant: bool) -> None:
    x, w = wg.randn(4, 5), wg.randn(5, 5)
    plain = gradients(block, x, w)
    kept = gradients(lambda x, w: checkpoint(block, x, w, use_reentrant=reentrant), x, w)
    assert plain == kept


def test_it_runs_again_once_a_backward() -> None:
    runs = []

    def fn(x: wg.Tensor, k: float, *, shift: wg.Tensor) -> tuple[wg.Tensor, float, wg.Tensor]:
        runs.append(k)
        return (x * k + shift).exp(), k, x.sin().sin()

    x = wg.ones(3, requires_grad=True)
    shift = wg.zeros(3, requires_grad=True)
    a, k, b = checkpoint(fn, x, 0.5, shift=shift)
    assert k == 0.5
    assert runs == [0.5]
    (a * b).sum().backward(retain_graph=True)
    assert len(runs) == 2
    first = x.grad.tolist(), shift.grad.tolist()
    x.grad = shift.grad = None
    (a * b).sum().backward()
    assert len(runs) == 3
    assert (x.grad.tolist(), shift.grad.tolist()) == first
    with pytest.raises(RuntimeError, match="second time"):
        (a * b).sum().backward()


def test_nothing_is_recorded_without_grad() -> None:
    with wg.no_grad():
        y = checkpoint(block, wg.randn(2, 3, requires_grad=True), wg.randn(3, 3))
    assert not y.requires_grad


def test_grad_and_higher_derivatives() -> None:
    x = wg.tensor([0.3, -0.7, 1.1], dtype=wg.float64, requires_grad=True)
    w = wg.tensor([0.5, 0.2, -0.1], dtype=wg.float64, requires_grad=True)

    def fn(x: wg.Tensor, w: wg.Tensor) -> wg.Tensor:
        return (x.sin() * w.exp() * x).tanh()

    def derivatives(call: Callable[..., wg.Tensor]) -> list[Any]:
        y = call(x, w)
        out = []
        for _ in range(3):
            y, other = wg.autograd.grad(y.sum(), (x, w), create_graph=True)
            out += [y.tolist(), other.tolist()]
        return out

    plain = derivatives(fn)
    assert derivatives(lambda *a: checkpoint(fn, *a)) == plain
    assert derivatives(lambda *a: checkpoint(lambda *b: checkpoint(fn, *b), *a)) == plain
    assert wg.testing.gradcheck(lambda *a: checkpoint(fn, *a), (x, w))
    assert wg.testing.gradgradcheck(lambda *a: checkpoint(fn, *a), (x, w))


def test_reentrant_refuses_grad() -> None:
    x = wg.ones(2, requires_grad=True)
    y = checkpoint(wg.exp, x, use_reentrant=True)
    with pytest.raises(RuntimeError, match=r"incompatible with \.grad\(\)"):
        wg.autograd.grad(y.sum(), x)
    y.sum().backward()
    with pytest.raises(ValueError, match="Unexpected keyword arguments: dim"):
        checkpoint(wg.softmax, x, dim=0, use_reentrant=True)
    with pytest.raises(ValueError, match="only supported when use_reentrant=False"):
        checkpoint(wg.exp, x, use_reentrant=True, debug=True)


@REENTRANT
def test_the_same_random_numbers(reentrant: bool) -> None:
    def fn(x: wg.Tensor) -> wg.Tensor:
        return wg.nn.functional.dropout(x.exp(), 0.5) * wg.rand(100)

    x = wg.zeros(100, requires_grad=True)
    wg.manual_seed(3)
    plain = fn(x)
    after = wg.get_rng_state()
    wg.manual_seed(3)
    y = checkpoint(fn, x, use_reentrant=reentrant)
    assert y.tolist() == plain.tolist()
    assert wg.get_rng_state().tolist() == after.tolist()
    y.sum().backward()
    assert wg.get_rng_state().tolist() == after.tolist()
    assert x.grad.tolist() == plain.tolist()  # exp(0) = 1, whatever was kept and scaled


def test_nesting() -> None:
    depth = [0]

    def inner(x: wg.Tensor) -> wg.Tensor:
        depth[0] += 1
        return x.sin().exp().tanh()

    def middle(x: wg.Tensor) -> wg.Tensor:
        return checkpoint(inner, checkpoint(inner, x.cos()) * x)

    def outer(x: wg.Tensor) -> wg.Tensor:
        return checkpoint(middle, checkpoint(middle, x)).exp()

    x = wg.randn(5, dtype=wg.float64)

    def straight(x: wg.Tensor) -> wg.Tensor:
        for _ in range(2):
            x = inner(inner(x.cos()) * x)
        return x.exp()

    assert gradients(lambda x: checkpoint(outer, x), x) == gradients(straight, x)


def test_a_module_with_hooks_and_parameters() -> None:
    wg.manual_seed(0)
    model = wg.nn.Sequential(
        *[layer for _ in range(6) for layer in (wg.nn.Linear(8, 8), wg.nn.Tanh())]
    )
    x = wg.randn(3, 8)
    model(x).sum().backward()
    plain = [p.grad.tolist() for p in model.parameters()]
    for how in ({}, {"use_reentrant": True}, {"preserve_rng_state": False}):
        for p in model.parameters():
            p.grad = None
        given = x.clone().requires_grad_()
        checkpoint_sequential(model, 3, given, **how).sum().backward()
        assert [p.grad.tolist() for p in model.parameters()] == plain
        assert given.grad is not None
    for segments in (1, 5, 12):
        for p in model.parameters():
            p.grad = None
        checkpoint_sequential(list(model), segments, x).sum().backward()
        assert [p.grad.tolist() for p in model.parameters()] == plain


def test_contexts() -> None:
    seen = []

    class Noted:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            seen.append(self.name)

        def __exit__(self, *exc: object) -> None:
            seen.append(self.name + " ends")

    def contexts() -> tuple[Any, Any]:
        return Noted("forward"), Noted("again")

    x = wg.ones(2, requires_grad=True)
    checkpoint(lambda x: x.exp(), x, context_fn=contexts).sum().backward()
    assert seen == ["forward", "forward ends", "again", "again ends"]


# --- what goes wrong ---------------------------------------------------------------------------


def unsteady(lib: Any, second: Callable[[Any], Any]) -> Callable[[Any], Any]:
    runs = [0]

    def fn(x: Any) -> Any:
        runs[0] += 1
        return (x.sin().exp() if runs[0] == 1 else second(x)).sum()

    return fn


OTHERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "fewer": (lambda x: x.sin(), "A different number of tensors was saved during the original"),
    "other shapes": (lambda x: x[:1].sin().exp(), "different metadata than during the forward"),
    "other dtypes": (
        lambda x: x.double().sin().exp(),
        "different metadata than during the forward",
    ),
}


@pytest.mark.parametrize("lib", [wg, torch], ids=["wengert", "torch"])
@pytest.mark.parametrize(("second", "message"), OTHERS.values(), ids=OTHERS)
def test_a_function_that_changes(lib: Any, second: Callable[[Any], Any], message: str) -> None:
    import torch.utils.checkpoint as theirs

    run = checkpoint if lib is wg else theirs.checkpoint
    error = CheckpointError if lib is wg else theirs.CheckpointError
    assert issubclass(error, RuntimeError)
    x = lib.ones(3, requires_grad=True)
    y = run(unsteady(lib, second), x, use_reentrant=False)
    with pytest.raises(error, match=message):
        y.backward()
    (x * 2).sum().backward()  # nothing is left behind
    assert x.grad.tolist() == [2, 2, 2]


def test_more_tensors() -> None:
    x = wg.ones(3, requires_grad=True)
    fn = unsteady(wg, lambda x: x.sin().exp().sin())
    with set_checkpoint_early_stop(False):
        y = checkpoint(fn, x)
    with pytest.raises(CheckpointError, match="trying to save more tensors during recomputation"):
        y.backward()


def test_debug_shows_both_runs() -> None:
    x = wg.ones(3, requires_grad=True)
    y = checkpoint(unsteady(wg, lambda x: x[:1].sin().exp()), x, debug=True)
    with pytest.raises(CheckpointError) as info:
        y.backward()
    text = str(info.value)
    assert "tensor at position 0:\nsaved metadata: {'shape': " in text
    assert "Tensor 0 saved during the original forward:" in text
    assert "Tensor 0 saved during the recomputation:" in text
    assert "in fn" in text
    with set_checkpoint_debug_enabled(True):
        y = checkpoint(unsteady(wg, lambda x: x.sin()), x)
    with pytest.raises(CheckpointError, match="Tensor 0 saved during the recomputation"):
        y.backward()
    with pytest.raises(ValueError, match="determinism_check should be one of"):
        checkpoint(wg.exp, x, determinism_check="strict")


def test_without_the_check_shapes_are_still_safe() -> None:
    x = wg.ones(3, requires_grad=True)
    y = checkpoint(unsteady(wg, lambda x: x[:1].sin().exp()), x, determinism_check="none")
    with pytest.raises(RuntimeError, match="the unpack hook of a saved tensor returned"):
        y.backward()


def test_an_argument_changed_in_place() -> None:
    a = wg.ones(3, requires_grad=True)
    x = a * 1
    y = checkpoint(lambda x: x.sin().exp(), x)
    x.add_(1)
    with pytest.raises(RuntimeError, match=r"checkpoint: .* last changed by add_ at"):
        y.sum().backward()


@REENTRANT
def test_exceptions_travel(reentrant: bool) -> None:
    error = KeyError("mine")
    fails = [False]

    def fn(x: wg.Tensor) -> wg.Tensor:
        if fails[0]:
            raise error
        return x.sin().exp()

    x = wg.ones(2, requires_grad=True)
    y = checkpoint(fn, x, use_reentrant=reentrant)
    fails[0] = True
    with pytest.raises(KeyError) as info:
        y.sum().backward(retain_graph=True)
    assert info.value is error
    with pytest.raises(KeyError) as info:
        checkpoint(fn, x, use_reentrant=reentrant)
    assert info.value is error
    fails[0] = False
    assert wg.is_grad_enabled()
    wg.autograd.backward(y.sum())
    assert x.grad is not None


def test_early_stop() -> None:
    ran: list[str] = []

    def fn(x: wg.Tensor) -> wg.Tensor:
        y = x.sin()
        ran.append("first")
        y = y.exp()
        ran.append("last")
        return y + 1

    x = wg.ones(2, requires_grad=True)
    checkpoint(fn, x).sum().backward()
    assert ran == ["first", "last", "first"]
    ran.clear()
    checkpoint(fn, x, early_stop=False).sum().backward()
    assert ran == ["first", "last"] * 2
    ran.clear()
    with set_checkpoint_early_stop(False):
        checkpoint(fn, x).sum().backward()
    assert ran == ["first", "last"] * 2


# --- memory ------------------------------------------------------------------------------------


def activation_bytes(model: Any, x: wg.Tensor, run: Callable[[], wg.Tensor]) -> int:
    """What a step holds at its peak beside parameters, inputs and parameters' gradients."""
    for p in model.parameters():
        p.grad = wg.zeros_like(p)
    gc.collect()
    wg._core.reset_peak_memory_stats()
    before = wg.memory_stats()["current_bytes"]
    run().backward()
    return wg.memory_stats()["peak_bytes"] - before


def test_square_root_of_the_memory() -> None:
    wg.manual_seed(0)
    layers: list[Any] = []
    for _ in range(64):
        layers += [wg.nn.Linear(64, 64), wg.nn.ReLU()]
    model = wg.nn.Sequential(*layers)
    x = wg.randn(4096, 64)  # 1 MiB a layer
    plain = activation_bytes(model, x, lambda: model(x).sum())
    kept = activation_bytes(model, x, lambda: checkpoint_sequential(model, 8, x).sum())
    assert plain >= 64 * 2**20
    assert kept <= plain / 4, (plain, kept)


def test_nothing_stays() -> None:
    x = wg.ones(1000, requires_grad=True)

    def once(fails: bool) -> None:
        y = checkpoint(lambda x: checkpoint(lambda z: z.sin().exp(), x.cos()) * x, x)
        if not fails:
            y.sum().backward()

    once(False)
    gc.collect()
    before = wg.memory_stats()["current_blocks"]
    for i in range(50):
        once(i % 2 == 0)
    gc.collect()
    assert wg.memory_stats()["current_blocks"] == before
