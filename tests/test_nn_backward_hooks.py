"""Hooks around the backward of modules, and hooks of all modules at once."""

from __future__ import annotations

import contextlib
import copy
import gc
import importlib
import warnings
import weakref
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def plain(value: Any) -> Any:
    """Tensors as lists, whatever holds them."""
    if isinstance(value, (tuple, list)):
        return tuple(plain(v) for v in value)
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return round(value, 6) if isinstance(value, float) else value


def linear(library: Any) -> Any:
    m = library.nn.Linear(2, 2)
    library.nn.init.constant_(m.weight, 0.5)
    library.nn.init.constant_(m.bias, 0.25)
    return m


def leaf(library: Any, *shape: int) -> Any:
    return library.ones(*shape).requires_grad_()


def both(library: Any) -> Any:
    class Both(library.nn.Module):  # type: ignore[misc]
        """Takes tensors and others; returns a tuple of tensors and others."""

        def forward(self, x: Any, scale: float, y: Any) -> Any:
            return x * scale, "text", x * y, y.detach()

    return Both()


def full_hooks(library: Any, seen: list[Any]) -> None:
    m, x = linear(library), leaf(library, 1, 2)
    m.register_full_backward_hook(lambda *a: seen.append(("a", plain(a[1:]))))
    m.register_full_backward_pre_hook(lambda *a: seen.append(("b", plain(a[1:]))))
    m.register_full_backward_hook(lambda *a: seen.append(("c", plain(a[1:]))), prepend=True)
    m.register_full_backward_pre_hook(lambda *a: seen.append(("d", 0)), prepend=True)
    m(x).sum().backward()
    seen.append((x.grad.tolist(), m.weight.grad.tolist(), m.bias.grad.tolist()))


def replaced_gradients(library: Any, seen: list[Any]) -> None:
    m, x = linear(library), leaf(library, 1, 2)
    m.register_full_backward_pre_hook(lambda m, out: (out[0] * 3,))
    m.register_full_backward_hook(lambda m, inp, out: (inp[0] * 10,))
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    m(x).sum().backward()
    seen.append((x.grad.tolist(), m.weight.grad.tolist(), m.bias.grad.tolist()))


def several_tensors(library: Any, seen: list[Any]) -> None:
    m, x, y = both(library), leaf(library, 2), leaf(library, 2)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    results = m(x, 3.0, y)
    (results[0] + results[2] * 2).sum().backward()
    seen.append(plain((x.grad, y.grad)))
    results = m(x, 3.0, y)
    results[2].sum().backward()
    seen.append([type(r).__name__.lower() for r in results])


def no_gradient_by_the_input(library: Any, seen: list[Any]) -> None:
    m = linear(library)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    m(library.ones(1, 2)).sum().backward()
    seen.append(m.weight.grad.tolist())
    m.register_full_backward_hook(lambda m, inp, out: (out[0],))
    m(library.ones(1, 2)).sum().backward()


def no_gradient_at_all(library: Any, seen: list[Any]) -> None:
    m = linear(library).requires_grad_(False)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(1))
    seen.append(m(library.ones(1, 2)).requires_grad)
    with library.no_grad():
        seen.append(m(leaf(library, 1, 2)).requires_grad)


def keyword_arguments(library: Any, seen: list[Any]) -> None:
    m = both(library)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    m(leaf(library, 2), scale=2.0, y=leaf(library, 2))[2].sum().backward()


def wrong_number_of_inputs(library: Any, seen: list[Any]) -> None:
    m = linear(library)
    m.register_full_backward_hook(lambda m, inp, out: (inp[0], inp[0]))
    m(leaf(library, 1, 2)).sum().backward()


def wrong_number_of_outputs(library: Any, seen: list[Any]) -> None:
    m = linear(library)
    m.register_full_backward_pre_hook(lambda m, out: ())
    m(leaf(library, 1, 2)).sum().backward()


def wrong_shape(library: Any, seen: list[Any]) -> None:
    m = linear(library)
    m.register_full_backward_hook(lambda m, inp, out: (inp[0][0],))
    m(leaf(library, 1, 2)).sum().backward()


def second_derivatives(library: Any, seen: list[Any]) -> None:
    m, x = library.nn.Sequential(linear(library), library.nn.Tanh()), leaf(library, 1, 2)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    (g,) = library.autograd.grad(m(x).sum(), x, create_graph=True)
    seen.append(plain(library.autograd.grad((g * g).sum(), x)))


def twice_through_one_graph(library: Any, seen: list[Any]) -> None:
    m, x = linear(library), leaf(library, 1, 2)
    handle = m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    y = m(x)
    y.sum().backward(retain_graph=True)
    handle.remove()
    y.sum().backward(retain_graph=True)
    seen.append(plain(x.grad))


def output_that_is_no_tensor(library: Any, seen: list[Any]) -> None:
    class Named(library.nn.Module):  # type: ignore[misc]
        def forward(self, x: Any) -> Any:
            return {"y": x * 2}

    m, x = Named(), leaf(library, 2)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    m(x)["y"].sum().backward()
    seen.append(plain(x.grad))


def old_hooks(library: Any, seen: list[Any]) -> None:
    m, x = library.nn.Tanh(), leaf(library, 2)
    m.register_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    m(x).sum().backward()
    m.register_backward_hook(lambda m, inp, out: (inp[0] * 2,))
    m(x).sum().backward()
    seen.append(plain(x.grad))
    m.register_full_backward_hook(lambda m, inp, out: None)


def old_hooks_of_several_nodes(library: Any, seen: list[Any]) -> None:
    m = both(library)
    m.register_backward_hook(lambda m, inp, out: seen.append(1))
    m(leaf(library, 2), 2.0, leaf(library, 2))[2].sum().backward()
    n = library.nn.Sequential(library.nn.Tanh(), library.nn.ReLU())
    n.register_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    n(leaf(library, 2) * 1).sum().backward()


def full_then_old(library: Any, seen: list[Any]) -> None:
    m = linear(library)
    m.register_full_backward_hook(lambda m, inp, out: None)
    m.register_backward_hook(lambda m, inp, out: None)


def nested_modules(library: Any, seen: list[Any]) -> None:
    m = library.nn.Sequential(linear(library), library.nn.ReLU(), linear(library))
    for name, child in m.named_modules():
        child.register_full_backward_hook(
            lambda m, inp, out, name=name: seen.append((name, plain((inp, out))))
        )
    m(leaf(library, 1, 2)).sum().backward()


def with_forward_hooks(library: Any, seen: list[Any]) -> None:
    m, x = linear(library), leaf(library, 1, 2)
    m.register_forward_pre_hook(lambda m, args: (args[0] * 2,))
    m.register_forward_hook(lambda m, args, out: out * 3)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    seen.append(m(x).tolist())
    m(x).sum().backward()
    seen.append(plain(x.grad))


def copies(library: Any, seen: list[Any]) -> None:
    m = linear(library)
    m.register_full_backward_hook(lambda m, inp, out: seen.append(plain((inp, out))))
    copy.deepcopy(m)(leaf(library, 1, 2)).sum().backward()


SCENARIOS = [
    full_hooks, replaced_gradients, several_tensors, no_gradient_by_the_input, no_gradient_at_all,
    keyword_arguments, wrong_number_of_inputs, wrong_number_of_outputs, wrong_shape,
    second_derivatives, twice_through_one_graph, output_that_is_no_tensor, old_hooks,
    old_hooks_of_several_nodes, full_then_old, nested_modules, with_forward_hooks, copies,
]  # fmt: skip


def run(scenario: Callable[..., None], library: Any) -> list[Any]:
    """What hooks saw, then warnings by kind, then the error, with its message, if any."""
    seen: list[Any] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            scenario(library, seen)
        except Exception as error:
            text = str(error).split(", got")[0].split("(")[0]
            seen.append((type(error), text if "size" not in text else "size"))
    told = [(w.category, str(w.message).split(".")[0].split(" but ")[0]) for w in caught]
    return [*seen, [w for w in told if w[0] in (UserWarning, FutureWarning)]]


@needs_torch
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda s: s.__name__)
def test_hooks_of_a_module_equal_torch(scenario: Callable[..., None]) -> None:
    assert run(scenario, wg) == run(scenario, torch)


def test_hooks_see_gradients() -> None:
    ones = (((1.0, 1.0),),)
    expected = [("d", 0), ("b", (ones,)), ("c", (ones, ones)), ("a", (ones, ones))]
    assert run(full_hooks, wg)[:4] == expected


@contextlib.contextmanager
def removed(handles: list[Any]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def hooks_of_all(library: Any) -> list[Any]:
    module = importlib.import_module(f"{library.__name__}.nn.modules.module")
    seen: list[Any] = []

    def note(name: str) -> Callable[..., None]:
        return lambda m, *a: seen.append((name, type(m).__name__, plain(a)))

    m = library.nn.Sequential(linear(library), library.nn.ReLU())
    x = leaf(library, 1, 2)
    m[0].register_forward_pre_hook(note("own before"))
    m[0].register_forward_hook(note("own after"))
    m[0].register_full_backward_pre_hook(note("own before backward"))
    m[0].register_full_backward_hook(note("own after backward"))
    handles = [
        module.register_module_forward_pre_hook(note("before")),
        module.register_module_forward_hook(note("after")),
        module.register_module_full_backward_pre_hook(note("before backward")),
        module.register_module_full_backward_hook(note("after backward")),
        module.register_module_forward_hook(note("with kwargs"), with_kwargs=True),
        module.register_module_forward_hook(note("always"), always_call=True),
    ]
    with removed(handles):
        m(x).sum().backward()
        try:
            module.register_module_backward_hook(note("old"))
        except RuntimeError as error:
            seen.append(str(error))
        try:
            m(library.ones(3, 3))
        except RuntimeError:
            seen.append("refused")
    seen.append("removed")
    m(x).sum().backward()
    with module.register_module_forward_hook(lambda m, args, out: out * 2):
        seen.append(m(x).tolist())
    return seen


@needs_torch
def test_hooks_of_all_modules_equal_torch() -> None:
    for ours, theirs in zip(hooks_of_all(wg), hooks_of_all(torch), strict=True):
        assert ours == theirs


def test_hooks_of_all_modules() -> None:
    names = [s[0] for s in hooks_of_all(wg) if isinstance(s, tuple)]
    assert {"before", "after", "before backward", "after backward", "always"} <= {*names}


def test_old_hooks_keep_no_module_alive() -> None:
    m, x = nn.Tanh(), wg.ones(2).requires_grad_() * 1
    m.register_backward_hook(lambda m, inp, out: None)
    y = m(x).sum()
    alive = weakref.ref(m)
    del m
    gc.collect()
    assert alive() is None
    with pytest.raises(RuntimeError, match="dead Module"):
        y.backward()


def test_what_full_hooks_watch_is_freed() -> None:
    m, x = nn.Linear(2, 2), wg.ones(1, 2).requires_grad_()
    m.register_full_backward_hook(lambda m, inp, out: None)
    y = m(x).sum()
    y.backward()
    alive = weakref.ref(m)
    del m, y
    gc.collect()
    assert alive() is None
