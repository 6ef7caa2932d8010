"""no_grad, enable_grad, set_grad_enabled and inference_mode, against PyTorch's."""

from __future__ import annotations

import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest
import torch

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

BOTH = pytest.mark.parametrize("lib", [wg, torch], ids=["wengert", "torch"])


def modes(lib: Any) -> tuple[bool, bool]:
    return lib.is_grad_enabled(), lib.is_inference_mode_enabled()


@BOTH
def test_nesting(lib: Any) -> None:
    assert modes(lib) == (True, False)
    with lib.no_grad():
        assert modes(lib) == (False, False)
        with lib.enable_grad():
            assert modes(lib) == (True, False)
        with lib.inference_mode(False):
            assert modes(lib) == (True, False)
        assert modes(lib) == (False, False)
    with lib.inference_mode():
        assert modes(lib) == (False, True)
        with lib.enable_grad():
            assert modes(lib) == (True, True)
            x = lib.ones(2, requires_grad=True)
            assert not (x * 2).requires_grad
        with lib.inference_mode(mode=False):
            assert modes(lib) == (True, False)
            assert not lib.ones(2).is_inference()
            assert (x * 2).requires_grad
        assert modes(lib) == (False, True)
    with lib.set_grad_enabled(False):
        assert modes(lib) == (False, False)
    assert modes(lib) == (True, False)


@BOTH
def test_an_exception_leaves_the_modes_as_they_were(lib: Any) -> None:
    for block in (lib.no_grad, lib.inference_mode, lambda: lib.set_grad_enabled(False)):
        with pytest.raises(KeyError), block():
            raise KeyError
        assert modes(lib) == (True, False)


@BOTH
def test_set_grad_enabled_as_a_function(lib: Any) -> None:
    lib.set_grad_enabled(False)
    assert modes(lib) == (False, False)
    lib.set_grad_enabled(True)
    assert modes(lib) == (True, False)


DECORATORS: dict[str, tuple[Callable[[Any], Any], tuple[bool, bool]]] = {
    "no_grad": (lambda lib: lib.no_grad, (False, False)),
    "no_grad()": (lambda lib: lib.no_grad(), (False, False)),
    "enable_grad": (lambda lib: lib.enable_grad, (True, False)),
    "set_grad_enabled": (lambda lib: lib.set_grad_enabled(False), (False, False)),
    "inference_mode": (lambda lib: lib.inference_mode, (False, True)),
    "inference_mode()": (lambda lib: lib.inference_mode(), (False, True)),
    "inference_mode(False)": (lambda lib: lib.inference_mode(False), (True, False)),
}


@BOTH
@pytest.mark.parametrize(("decorator", "inside"), DECORATORS.values(), ids=DECORATORS)
def test_decorators(lib: Any, decorator: Callable[[Any], Any], inside: tuple[bool, bool]) -> None:
    @decorator(lib)
    def plain(a: int, *, b: int = 2) -> tuple[int, int, tuple[bool, bool]]:
        """Say so."""
        return a, b, modes(lib)

    @decorator(lib)
    def generator(n: int) -> Generator[Any, Any, str]:
        for _ in range(n):
            got = yield modes(lib)
            assert got in (None, "sent")
            assert modes(lib) == inside
        return "done"

    outside = modes(lib)
    assert plain(1, b=3) == (1, 3, inside)
    assert (plain.__name__, plain.__doc__) == ("plain", "Say so.")
    running = generator(2)
    assert modes(lib) == outside
    assert next(running) == inside
    assert modes(lib) == outside
    assert running.send("sent") == inside
    with pytest.raises(StopIteration) as end:
        next(running)
    assert end.value.value == "done"
    assert modes(lib) == outside


@BOTH
def test_generators_are_closed_and_thrown_into(lib: Any) -> None:
    seen = []

    @lib.no_grad()
    def generator() -> Generator[int, None, None]:
        try:
            yield 1
        except ValueError:
            seen.append(modes(lib))
            yield 2
        finally:
            seen.append(modes(lib))

    running = generator()
    next(running)
    assert running.throw(ValueError()) == 2
    running.close()
    assert seen == [(False, False)] * 2
    assert modes(lib) == (True, False)


@BOTH
def test_classes(lib: Any) -> None:
    class Plain:
        def __init__(self) -> None:
            self.seen = modes(lib)

        def later(self) -> tuple[bool, bool]:
            return modes(lib)

    with pytest.warns(FutureWarning, match="Decorating classes is deprecated"):
        decorated = lib.no_grad()(Plain)
    made = decorated()
    assert made.seen == (False, False)
    assert made.later() == (True, False)


@BOTH
def test_methods(lib: Any) -> None:
    class Plain:
        @lib.no_grad()
        def method(self, x: int) -> tuple[int, tuple[bool, bool]]:
            return x, modes(lib)

        @staticmethod
        @lib.inference_mode()
        def static() -> tuple[bool, bool]:
            return modes(lib)

    assert Plain().method(3) == (3, (False, False))
    assert Plain.static() == (False, True)


def test_modes_are_of_a_thread() -> None:
    seen = []
    with wg.inference_mode():
        thread = threading.Thread(target=lambda: seen.append(modes(wg)))
        thread.start()
        thread.join()
    with wg.no_grad():
        thread = threading.Thread(target=lambda: seen.append(modes(wg)))
        thread.start()
        thread.join()
    assert seen == [(True, False)] * 2


# --- inference tensors -------------------------------------------------------------------------


def refusals(lib: Any) -> dict[str, Callable[[Any], Any]]:
    return {
        "in place": lambda t: t.add_(1),
        "in place, a view": lambda t: t[:1].mul_(2),
        "setitem": lambda t: t.__setitem__(0, 1),
        "shape in place": lambda t: t.unsqueeze_(0),
        "copy_": lambda t: t.copy_(lib.ones(2)),
        "requires_grad_": lambda t: t.requires_grad_(),
        "saved": lambda t: lib.ones(2, requires_grad=True) * t,
        "saved by matmul": lambda t: lib.ones(2, 2, requires_grad=True) @ t,
        "_version": lambda t: t._version,
    }


@pytest.mark.parametrize("name", refusals(wg))
def test_inference_tensors_are_refused(name: str) -> None:
    messages = []
    for lib in (torch, wg):
        with lib.inference_mode():
            t = lib.ones(2)
        with pytest.raises(RuntimeError) as info:
            refusals(lib)[name](t)
        messages.append(str(info.value))
    assert t.tolist() == [1, 1]
    start = messages[0].split(".")[0]
    assert start.lower() in messages[1].lower(), messages


@BOTH
def test_what_inference_tensors_are(lib: Any) -> None:
    normal = lib.ones(2)
    with lib.inference_mode():
        t = lib.ones(2)
        assert t.is_inference()
        assert t.add_(1).is_inference()
        assert (t * 2).is_inference()
        assert not normal.is_inference()
        assert not normal.view(2).is_inference()
        assert not normal.add_(1).is_inference()
        assert (normal + 1).is_inference()
        assert lib.ones(1, requires_grad=True).requires_grad
    assert t.view(2).is_inference()
    assert t.detach().is_inference()
    assert not t.clone().is_inference()
    assert not (t + 1).is_inference()
    x = lib.ones(2, requires_grad=True)
    (x + t).sum().backward()  # nothing is saved
    (x * t.clone()).sum().backward()
    assert x.grad.tolist() == [3, 3]


def test_a_model_runs_in_inference_mode_and_trains_afterwards() -> None:
    model = wg.nn.Sequential(wg.nn.Linear(4, 8), wg.nn.ReLU(), wg.nn.Linear(8, 1))
    x = wg.randn(5, 4)
    with wg.inference_mode():
        out = model(x)
    assert out.is_inference()
    assert not out.requires_grad
    loss = model(x).sum()
    loss.backward()
    wg.optim.SGD(model.parameters(), lr=0.1).step()
    assert not any(p.is_inference() for p in model.parameters())
    assert loss.item() == pytest.approx(out.sum().item(), rel=1e-5)


def test_nothing_is_recorded_in_inference_mode() -> None:
    class Twice(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: wg.Tensor) -> wg.Tensor:
            ctx.save_for_backward(x)
            return x * 2

        @staticmethod
        def backward(ctx: Any, g: wg.Tensor) -> wg.Tensor:
            return g * 2

    with wg.inference_mode(), wg.enable_grad():
        x = wg.ones(2, requires_grad=True)
        assert not Twice.apply(x).requires_grad
        assert not wg.utils.checkpoint.checkpoint(wg.exp, x).requires_grad
    x.grad = wg.ones(2)
    with pytest.raises(RuntimeError, match="optimizer step: Inplace update to inference tensor"):
        wg.optim.SGD([x], lr=0.1).step()


def test_no_warning_without_a_class() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")

        @wg.no_grad
        def f() -> None: ...

        f()
