"""The checkers check: right derivatives pass, wrong ones are named, and inputs are left alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.testing import (
    GradcheckError,
    count_launches,
    gradcheck,
    gradgradcheck,
    numerical_gradient,
)


def leaf(*shape: int, dtype: Any = wg.float64) -> wg.Tensor:
    return wg.rand(shape, dtype=dtype, requires_grad=True)


def half_wrong(x: wg.Tensor) -> wg.Tensor:
    """A square whose derivative is half of what it should be."""
    return x * x.detach()


def test_right_derivatives_pass() -> None:
    a, b = leaf(2, 3), leaf(3)
    assert gradcheck(lambda x, y: (x * y, x.sum(0), 3, x.argmax()), (a, b))
    assert gradgradcheck(lambda x, y: (x * y.exp(), x.sum(0).square()), (a, b))
    assert gradgradcheck(lambda x: x.exp(), a, leaf(2, 3))
    assert gradcheck(lambda x: x * 2, leaf(0, 3))
    assert gradcheck(lambda x: x.t(), a)
    assert gradcheck(lambda x: x.detach() * 0, a)
    assert wg.autograd.gradcheck is gradcheck
    assert wg.autograd.gradgradcheck is gradgradcheck


def test_a_mismatch_names_output_and_input_and_shows_both() -> None:
    message = r"(?s)^Jacobian mismatch for output 1 with respect to input 2,\nnumerical:\[\[.*"
    with pytest.raises(GradcheckError, match=message + r"\nanalytical:\[\["):
        gradcheck(lambda x, k, y: (x * k, half_wrong(y)), (leaf(2), 3, leaf(2)))
    assert not gradcheck(half_wrong, leaf(2), raise_exception=False)
    assert not gradgradcheck(lambda x: x * half_wrong(x), leaf(2), raise_exception=False)
    assert issubclass(GradcheckError, RuntimeError)


def test_a_hidden_dependence_is_found() -> None:
    with pytest.raises(GradcheckError, match="expected to be zero"):
        gradcheck(lambda x: x.detach() * 2, leaf(2))


def test_a_backward_that_varies_is_found() -> None:
    calls = [0]

    class Wandering:
        def __call__(self, x: wg.Tensor) -> wg.Tensor:
            return x * 1

    original = wg.testing.grad

    def drifting(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return tuple(g + 1e-9 * calls[0] for g in original(*args, **kwargs))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wg.testing, "grad", drifting)
        with pytest.raises(GradcheckError, match=r"not reentrant.* 0\.0"):
            gradcheck(Wandering(), leaf(2))
        assert gradcheck(Wandering(), leaf(2), nondet_tol=1e-6)


def test_what_inputs_must_be() -> None:
    with pytest.raises(ValueError, match="at least one input"):
        gradcheck(lambda x: x, wg.ones(2))
    with pytest.raises(RuntimeError, match=r"1th input.*stride 0"):
        gradcheck(lambda x, y: y, (leaf(1), leaf(1).detach().expand(3).requires_grad_()))
    with pytest.warns(UserWarning, match="Input #0 requires gradient and is not a double"):
        gradcheck(lambda x: x * 2, leaf(2, dtype=wg.float32), eps=1e-2, atol=1e-2)
    with pytest.raises(ValueError, match="'central', 'forward' or 'complex'"):
        numerical_gradient(lambda x: x, leaf(1), method="backward")


def test_inputs_are_left_as_they_were() -> None:
    x = leaf(3, 4)
    before, version = x.tolist(), x._version
    strided = x.detach()[:, ::2].requires_grad_()
    assert gradcheck(lambda a: a.exp(), strided)
    with pytest.raises(ZeroDivisionError):
        numerical_gradient(lambda a: a / (1 // 0), x)
    assert x.tolist() == before
    assert x._version == version
    assert x.grad is None


@pytest.mark.parametrize(("method", "tolerance"), [("central", 1e-8), ("forward", 1e-4)])
def test_numerical_gradients(method: str, tolerance: float) -> None:
    x, y = leaf(2, 3), leaf(3)
    found = numerical_gradient(lambda a, b: (a * b).sin(), (x, y), method=method)
    exact = wg.autograd.grad((x * y).sin().sum(), [x, y])
    for a, b in zip(found, exact, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=tolerance)


def exact_and_errors(method: str, steps: list[float]) -> list[float]:
    """The errors of f' for f(x) = exp(x) / (sin^3 x + cos^3 x) at 1.5, the example of Squire
    and Trapp (1998)."""
    x = np.array([1.5])
    s, c = np.sin(x), np.cos(x)
    d = s**3 + c**3
    exact = np.exp(x) * (d - 3 * s**2 * c + 3 * c**2 * s) / d**2

    def f(x: np.ndarray) -> np.ndarray:
        return np.exp(x) / (np.sin(x) ** 3 + np.cos(x) ** 3)

    found = [numerical_gradient(f, x, h, method)[0] for h in steps]
    return [float(abs(g - exact)[0] / exact[0]) for g in found]


@pytest.mark.parametrize(("method", "order"), [("forward", 1), ("central", 2), ("complex", 2)])
def test_orders_of_the_error(method: str, order: int) -> None:
    coarse, fine = exact_and_errors(method, [2e-3, 1e-3])
    assert coarse / fine == pytest.approx(2**order, rel=0.02)


def test_only_the_complex_step_survives_small_steps() -> None:
    (forward,) = exact_and_errors("forward", [1e-15])
    (central,) = exact_and_errors("central", [1e-15])
    assert min(forward, central) > 1e-3
    assert max(exact_and_errors("complex", [1e-9, 1e-20, 1e-100, 1e-200])) < 2e-15


@pytest.mark.parametrize(
    ("method", "tolerance"), [("forward", 1e-6), ("central", 1e-9), ("complex", 1e-15)]
)
def test_default_steps(method: str, tolerance: float) -> None:
    x = np.array([[0.3, -2.0], [1e-3, 5.0]])
    (found,) = numerical_gradient(lambda x: np.sin(x) * x, x, method=method)
    exact = np.sin(x) + x * np.cos(x)
    assert np.max(np.abs(found - exact) / (1 + np.abs(exact))) < tolerance
    (far,) = numerical_gradient(lambda x: x**2, 1e6 * x, method=method)
    np.testing.assert_allclose(far, 2e6 * x, rtol=100 * tolerance, atol=1)
    (single,) = numerical_gradient(np.sin, x.astype(np.float32), method=method)
    assert single.dtype == np.float32
    np.testing.assert_allclose(single, np.cos(x), rtol=1e-3, atol=1e-3)


def test_complex_steps_of_tensors() -> None:
    """A function written for either library takes arrays here; tensors are given, and returned."""
    x, y = leaf(2, 3), leaf(3)
    found = numerical_gradient(lambda a, b: np.exp(a * b), (x, y), method="complex")
    exact = wg.autograd.grad((x * y).exp().sum(), [x, y])
    for a, b in zip(found, exact, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-14)


@pytest.mark.parametrize(
    "fn",
    [np.abs, lambda x: x.real, lambda x: 3.0, lambda x: wg.exp(x), lambda x: wg.ones(1), np.floor],
)
def test_complex_steps_need_complex_functions(fn: Any) -> None:
    with pytest.raises(TypeError, match="numerical_gradient: method 'complex'"):
        numerical_gradient(fn, np.ones(2), method="complex")


@pytest.mark.parametrize("x", [wg.arange(3), np.arange(3), 1.0])
@pytest.mark.parametrize("method", ["central", "complex"])
def test_inputs_are_floating(x: Any, method: str) -> None:
    with pytest.raises(TypeError, match=r"expected floating point inputs, got (.*int64|float)"):
        numerical_gradient(lambda x: x, x, method=method)


def test_launches_are_counted() -> None:
    x = wg.ones(3)
    with count_launches() as counter:
        (x + x).exp()
    assert counter.counts == {"add": 1, "exp": 1}
    x.exp()
    assert sum(counter.counts.values()) == 2


@needs_torch
@pytest.mark.parametrize("wrong", [True, False])
def test_verdicts_equal_torch(wrong: bool) -> None:
    verdicts = []
    for library in (wg, torch):
        x = library.ones(2, 2, dtype=library.float64, requires_grad=True)
        f = half_wrong if wrong else (lambda x: x.exp())
        verdicts.append(library.autograd.gradcheck(f, x, raise_exception=False))
        verdicts.append(library.autograd.gradgradcheck(f, x, raise_exception=False))
    assert verdicts[:2] == verdicts[2:]
