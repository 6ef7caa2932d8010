"""Jacobians, Hessians and products with vectors: results, structure and errors as PyTorch's."""

from __future__ import annotations

import importlib
import itertools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

if TYPE_CHECKING:
    from collections.abc import Callable

X, Y, Z = [[0.5, -1.0, 2.0], [1.5, 0.25, -0.75]], [1.0, 2.0, -0.5], 0.75
GIVEN: dict[str, Any] = {"X": X, "Y": Y, "Z": Z, "XY": (X, Y), "Xtuple": (X,), "none": ()}

# Functions, each with the inputs that it takes.
TO_TENSORS: dict[str, tuple[Callable[..., Any], str]] = {
    "elementwise": (lambda x: x.exp() * x, "X"),
    "reduced": (lambda x: (x * x).sum(0), "X"),
    "number": (lambda x: (x**3).sum(), "X"),
    "of a number": (lambda x: x.sin() * 2, "Z"),
    "two inputs": (lambda x, y: (x * y).sin(), "XY"),
    "two of each": (lambda x, y: ((x * y).exp(), y * y), "XY"),
    "three outputs": (lambda x: (x.sin(), x.sum(), x[0] * 2), "X"),
    "tuples of one": (lambda x: (x * x,), "Xtuple"),
    "one unused": (lambda x, y: x * x, "XY"),
    "linear": (lambda x, y: x * 2 + y, "XY"),
    "an output is constant": (lambda x: (x * x, x.detach() * 2), "X"),
    "constant": (lambda x: x.detach() * 2, "X"),
    "list": (lambda x: [x * x], "X"),
    "no tensor": (lambda x: 3.0, "X"),
    "tuple with a number": (lambda x: (x, 3.0), "X"),
    "matrix product": (lambda x, y: x @ y, "XY"),
    "itself": (lambda x: x, "X"),
}
TO_NUMBERS: dict[str, tuple[Callable[..., Any], str]] = {
    "cubes": (lambda x: (x**3).sum(), "X"),
    "of a number": (lambda x: x**4, "Z"),
    "two inputs": (lambda x, y: (x * y).sin().sum(), "XY"),
    "tuple of one": (lambda x: x.exp().sum(), "Xtuple"),
    "one element": (lambda x: (x * x).sum().reshape(1, 1), "X"),
    "linear": (lambda x: x.sum() * 2, "X"),
    "one unused": (lambda x, y: (x * x).sum(), "XY"),
    "one linear": (lambda x, y: (x * x).sum() + y.sum(), "XY"),
    "squares": (lambda x: (x * x).sum(), "X"),
    "constant": (lambda x: x.detach().sum(), "X"),
    "too many": (lambda x: x * 2, "X"),
    "tuple": (lambda x: (x.sum(),), "X"),
    "no tensor": (lambda x: 3.0, "X"),
}


def tensors(library: Any, values: Any, requires_grad: bool = False) -> Any:
    if isinstance(values, tuple):
        return tuple(tensors(library, v, requires_grad) for v in values)
    return library.tensor(values, dtype=library.float64).requires_grad_(requires_grad)


def plain(found: Any) -> Any:
    """The structure of tuples, with arrays; PyTorch's forward mode returns lists for them."""
    if isinstance(found, (tuple, list)):
        return tuple(plain(f) for f in found)
    return found.detach().numpy() if hasattr(found, "detach") else found


def same(a: Any, b: Any) -> None:
    assert type(a) is type(b)
    if isinstance(a, tuple):
        assert len(a) == len(b)
        for x, y in zip(a, b, strict=True):
            same(x, y)
    else:
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14, strict=True)


def outcome(call: Callable[[Any], Any], library: Any) -> Any:
    module = importlib.import_module(f"{library.__name__}.autograd.functional")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what PyTorch's own forward mode uses is deprecated
            return plain(call(module))
    except Exception as error:
        text = str(error).replace("torch.", "").replace("wengert.", "")
        return type(error), " ".join(text.split()).replace("isonly", "is only")


def assert_same_outcome(call: Callable[[Any, Any], Any]) -> None:
    ours = outcome(lambda module: call(module, wg), wg)
    theirs = outcome(lambda module: call(module, torch), torch)
    if isinstance(theirs, tuple) and theirs and isinstance(theirs[0], type):
        assert ours == theirs
    else:
        same(ours, theirs)


@needs_torch
@pytest.mark.parametrize("name", TO_TENSORS)
def test_jacobians_equal_torch(name: str) -> None:
    fn, given = TO_TENSORS[name]
    ways: list[dict[str, Any]] = [
        {}, {"create_graph": True}, {"strict": True}, {"strict": True, "create_graph": True},
        {"vectorize": True}, {"vectorize": True, "strict": True},
        {"strategy": "forward-mode"}, {"strategy": "sideways"},
        {"strategy": "forward-mode", "create_graph": True},
    ]  # fmt: skip
    if name not in ("list", "no tensor", "tuple with a number"):
        ways.append({"strategy": "forward-mode", "vectorize": True})
    for way in ways:
        assert_same_outcome(
            lambda module, library: module.jacobian(fn, tensors(library, GIVEN[given]), **way)  # noqa: B023
        )


@needs_torch
@pytest.mark.parametrize("name", TO_NUMBERS)
def test_hessians_equal_torch(name: str) -> None:
    fn, given = TO_NUMBERS[name]
    ways: list[dict[str, Any]] = [
        {}, {"create_graph": True}, {"strict": True}, {"strict": True, "create_graph": True},
        {"vectorize": True}, {"outer_jacobian_strategy": "sideways"},
        {"outer_jacobian_strategy": "forward-mode"},
        {"outer_jacobian_strategy": "forward-mode", "vectorize": True},
    ]  # fmt: skip
    for way in ways:
        assert_same_outcome(
            lambda module, library: module.hessian(fn, tensors(library, GIVEN[given]), **way)  # noqa: B023
        )


VECTORS: dict[str, Any] = {
    "none": None, "X": X, "Y": Y, "Z": Z, "XY": (X, Y), "YX": (Y, X), "X alone": (X,),
    "number": 3, "outputs": "outputs",
}  # fmt: skip


@needs_torch
@pytest.mark.parametrize("product", ["vjp", "jvp"])
@pytest.mark.parametrize("name", TO_TENSORS)
def test_products_equal_torch(product: str, name: str) -> None:
    fn, given = TO_TENSORS[name]

    def call(module: Any, library: Any, v: Any, **how: bool) -> Any:
        x = tensors(library, GIVEN[given])
        if v == 3:
            vector: Any = 3
        elif v == "outputs":
            found = fn(*x) if isinstance(x, tuple) else fn(x)
            vector = (
                tuple(library.cos(f) if hasattr(f, "detach") else f for f in found)
                if isinstance(found, tuple)
                else (library.cos(found) if hasattr(found, "detach") else found)
            )
        else:
            vector = None if v is None else tensors(library, v)
        return getattr(module, product)(fn, x, vector, **how)

    for v, create_graph, strict in itertools.product(
        VECTORS.values(), (False, True), (False, True)
    ):
        how = {"create_graph": create_graph, "strict": strict}
        assert_same_outcome(lambda module, library: call(module, library, v, **how))  # noqa: B023


@needs_torch
@pytest.mark.parametrize("product", ["vhp", "hvp"])
@pytest.mark.parametrize("name", TO_NUMBERS)
def test_second_products_equal_torch(product: str, name: str) -> None:
    fn, given = TO_NUMBERS[name]
    for v, create_graph, strict in itertools.product(
        (None, X, Y, Z, (X, Y), (X,)), (False, True), (False, True)
    ):
        assert_same_outcome(
            lambda module, library: getattr(module, product)(
                fn,
                tensors(library, GIVEN[given]),
                None if v is None else tensors(library, v),  # noqa: B023
                create_graph=create_graph,  # noqa: B023
                strict=strict,  # noqa: B023
            )
        )


@needs_torch
@pytest.mark.parametrize("name", ["jacobian", "hessian", "vjp", "jvp", "vhp", "hvp"])
def test_results_can_be_differentiated(name: str) -> None:
    found = []
    for library in (wg, torch):
        module = importlib.import_module(f"{library.__name__}.autograd.functional")
        x, v = tensors(library, (X, X), requires_grad=True)
        fn: Any = lambda t: (t**4).sum()  # noqa: E731
        if name in ("jacobian", "hessian"):
            assert not getattr(module, name)(fn, x).requires_grad
            result = getattr(module, name)(fn, x, create_graph=True)
        else:
            v = v if name != "vjp" else v.sum()
            assert not getattr(module, name)(fn, x, v)[1].requires_grad
            result = getattr(module, name)(fn, x, v, create_graph=True)[1]
        found.append(library.autograd.grad(result.sum(), x)[0].numpy())
    same(*found)


def test_inputs_that_a_function_captured_are_others() -> None:
    from wengert.autograd import functional

    x = wg.tensor([1.0, 2.0], requires_grad=True)
    assert functional.jacobian(lambda t: t * x, x).tolist() == [[1.0, 0.0], [0.0, 2.0]]


def test_nothing_to_differentiate() -> None:
    from wengert.autograd import functional

    x = wg.ones(2, 3)
    for how in ({}, {"vectorize": True}, {"vectorize": True, "strategy": "forward-mode"}):
        found = functional.jacobian(lambda t: t[:0] * 2, x, **how)  # type: ignore[arg-type]
        assert tuple(found.shape) == (0, 3, 2, 3)
        found = functional.jacobian(lambda t: t.sum() + x, x[:0], **how)  # type: ignore[arg-type]
        assert tuple(found.shape) == (2, 3, 0, 3)


def test_inside_no_grad() -> None:
    from wengert.autograd import functional

    with wg.no_grad():
        x = wg.tensor([1.0, 2.0])
        assert functional.jacobian(lambda t: t * t, x).tolist() == [[2.0, 0.0], [0.0, 4.0]]
        assert functional.jvp(lambda t: t * t, x, x)[1].tolist() == [2.0, 8.0]
        assert functional.hvp(lambda t: (t**3).sum(), x, x)[1].tolist() == [6.0, 24.0]
