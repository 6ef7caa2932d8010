"""Textbook cases of backpropagation, with their numbers. docs/textbook tells the same, shorter."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest

import wengert as wg
from wengert import nn

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def array(t: wg.Tensor | None) -> Array:
    assert t is not None
    return t.detach().numpy().copy()


def tensor(a: Array | float, requires_grad: bool = False) -> wg.Tensor:
    return wg.tensor(a, dtype=wg.float64, requires_grad=requires_grad)


def gradients(loss: wg.Tensor, weights: list[wg.Tensor]) -> list[Array]:
    return [array(g) for g in wg.autograd.grad(loss, weights)]


# --- sqrt(x^2 + exp(x^2)) + cos(x^2 + exp(x^2)) -------------------------------------------------


@pytest.mark.parametrize("x", [-1.3, -0.2, 0.0, 0.7, 1.1])
def test_worked_example(x: float) -> None:
    """Against the derivative by hand; test_tape.py checks every line of it."""
    c = x**2 + math.exp(x**2)
    by_hand = 2 * x * (1 + math.exp(x**2)) * (1 / (2 * math.sqrt(c)) - math.sin(c))
    v = tensor(x, requires_grad=True)
    a = v**2
    c_line = a + wg.exp(a)
    y = wg.sqrt(c_line) + wg.cos(c_line)
    t = wg.tape(y)
    y.backward()
    assert array(v.grad) == pytest.approx(by_hand, rel=1e-13, abs=1e-15)
    assert (t[c_line].times_computed, t[c_line].times_used) == (1, 2)


# --- differences, and what they cost ------------------------------------------------------------


def mlp(sizes: list[int], rng: np.random.Generator) -> tuple[wg.Tensor, Callable[..., wg.Tensor]]:
    """All weights of a tanh network as one vector, and its loss on some data as a function."""
    shapes = [(o, i) for i, o in itertools.pairwise(sizes)]
    n = sum(o * i + o for o, i in shapes)
    x, target = tensor(rng.normal(size=(8, sizes[0]))), tensor(rng.normal(size=(8, sizes[-1])))

    def loss(weights: wg.Tensor) -> wg.Tensor:
        z, at = x, 0
        for k, (o, i) in enumerate(shapes):
            w = weights[at : at + o * i].view(o, i)
            b = weights[at + o * i : at + o * i + o]
            at += o * i + o
            z = nn.functional.linear(z, w, b)
            if k < len(shapes) - 1:
                z = wg.tanh(z)
        return ((z - target) ** 2).mean()

    return tensor(rng.normal(size=n) / 2, requires_grad=True), loss


@pytest.mark.parametrize("hidden", [1, 4, 16])
def test_differences_need_a_call_for_each_weight(hidden: int) -> None:
    weights, loss = mlp([3, hidden, 2], np.random.default_rng(0))
    n = weights.numel()
    assert n == 3 * hidden + hidden + 2 * hidden + 2
    calls = 0

    def counted(w: wg.Tensor) -> wg.Tensor:
        nonlocal calls
        calls += 1
        return loss(w)

    (exact,) = gradients(counted(weights), [weights])
    assert calls == 1  # and one walk back
    t = wg.tape(loss(weights))
    wg.autograd.grad(loss(weights), weights)
    assert len(t) < 40 + 4 * 3  # lines, whatever n is

    calls = 0
    (central,) = wg.testing.numerical_gradient(counted, weights)
    assert calls == 2 * n + 1  # the one more learns the shape of the result
    calls = 0
    (forward,) = wg.testing.numerical_gradient(counted, weights, method="forward")
    assert calls == n + 1
    assert np.abs(array(central) - exact).max() < 1e-8
    assert np.abs(array(forward) - exact).max() < 1e-5


def test_first_order_taylor() -> None:
    """f(x + h d) - f(x) - h g.d falls as h^2: slope 2 in a log-log plot."""
    rng = np.random.default_rng(1)
    weights, loss = mlp([3, 5, 2], rng)
    d = tensor(rng.normal(size=weights.numel()))
    f = loss(weights)
    (g,) = wg.autograd.grad(f, weights)
    steps = 2.0 ** -np.arange(4, 12)
    with wg.no_grad():
        rest = [abs((loss(weights + h * d) - f - h * (g * d).sum()).item()) for h in steps]
        without = [abs((loss(weights + h * d) - f).item()) for h in steps]
    slope = np.polyfit(np.log(steps), np.log(rest), 1)[0]
    assert slope == pytest.approx(2, abs=0.05)
    assert np.polyfit(np.log(steps), np.log(without), 1)[0] == pytest.approx(1, abs=0.05)


# --- one hidden tanh layer, in closed form ------------------------------------------------------


def test_two_layer_network() -> None:
    """Bishop, Pattern Recognition and Machine Learning, 2006, section 5.3.2.

    a_j = sum_i v_ji x_i, z_j = tanh(a_j), y_k = sum_j w_kj z_j, E = 1/2 sum_k (y_k - t_k)^2:
    dE/dw_kj = (y_k - t_k) z_j and dE/dv_ji = (1 - z_j^2) x_i sum_k (y_k - t_k) w_kj.
    """
    rng = np.random.default_rng(2)
    x, t = rng.normal(size=4), rng.normal(size=3)
    v, w = tensor(rng.normal(size=(5, 4)), True), tensor(rng.normal(size=(3, 5)), True)
    error = 0.5 * ((w @ wg.tanh(v @ tensor(x)) - tensor(t)) ** 2).sum()
    by_v, by_w = gradients(error, [v, w])
    z = np.tanh(array(v) @ x)
    delta_k = array(w) @ z - t
    delta_j = (1 - z**2) * (delta_k @ array(w))
    assert np.abs(by_w - np.outer(delta_k, z)).max() < 1e-12
    assert np.abs(by_v - np.outer(delta_j, x)).max() < 1e-12


# --- a cascade of modules -----------------------------------------------------------------------


def jacobian(f: Callable[[wg.Tensor], wg.Tensor], at: wg.Tensor) -> Array:
    """By backpropagation, a row for each element of the result."""
    x = at.detach().clone().requires_grad_()
    y = f(x).reshape(-1)
    rows = [array(wg.autograd.grad(y[k], x, retain_graph=True)[0]).ravel() for k in range(len(y))]
    return np.array(rows)


def by_differences(f: Callable[[wg.Tensor], wg.Tensor], at: wg.Tensor) -> Array:
    h = 1e-6
    columns = []
    for k in range(at.numel()):
        step = np.zeros(at.numel())
        step[k] = h
        step_ = tensor(step.reshape(tuple(at.shape)))
        with wg.no_grad():
            columns.append(array(f(at + step_) - f(at - step_)).ravel() / (2 * h))
    return np.array(columns).T


def test_both_jacobians_of_each_module_and_their_product() -> None:
    rng = np.random.default_rng(3)
    modules: list[tuple[Callable[[wg.Tensor, wg.Tensor], wg.Tensor], Array]] = [
        (lambda w, z: wg.tanh(w @ z), rng.normal(size=(4, 3))),
        (lambda w, z: wg.sigmoid(w * z), rng.normal(size=4)),
        (lambda w, z: w @ z, rng.normal(size=(2, 4))),
        (lambda w, z: wg.exp(z - w).sum().reshape(1), rng.normal(size=2)),
    ]
    weights = [tensor(w, True) for _, w in modules]
    states = [tensor(rng.normal(size=3), True)]
    by_state, by_weights = [], []
    for (f, _), w in zip(modules, weights, strict=True):
        z = states[-1].detach()
        for of, at, found in [
            (lambda z, f=f, w=w: f(w, z), z, by_state),
            (lambda w, f=f, z=z: f(w, z), w.detach(), by_weights),
        ]:
            found.append(jacobian(of, at))
            assert np.abs(found[-1] - by_differences(of, at)).max() < 1e-7
        states.append(f(w, states[-1]))
    grads = gradients(states[-1].sum(), [states[0], *weights])
    product = np.eye(1)
    for k in reversed(range(len(modules))):  # the adjoint, carried from right to left
        assert np.abs((product @ by_weights[k]).ravel() - grads[1 + k].ravel()).max() < 1e-12
        product = product @ by_state[k]
    assert np.abs(product.ravel() - grads[0]).max() < 1e-12


# --- descent ------------------------------------------------------------------------------------


def linear_problem() -> tuple[Array, Array, Array]:
    rng = np.random.default_rng(4)
    x = rng.normal(size=(24, 3))
    t = x @ np.array([1.0, -2.0, 0.5]) + 0.1 * rng.normal(size=24)
    return x, t, np.linalg.lstsq(x, t, rcond=None)[0]


def average_loss(w: wg.Tensor, x: Array, t: Array) -> wg.Tensor:
    return 0.5 * ((tensor(x) @ w - tensor(t)) ** 2).mean()


def test_average_of_the_samples_gradients_is_the_batch_s() -> None:
    x, t, _ = linear_problem()
    w = tensor(np.array([0.3, 0.1, -0.2]), True)
    (batch,) = gradients(average_loss(w, x, t), [w])
    samples = [
        gradients(average_loss(w, x[k : k + 1], t[k : k + 1]), [w])[0] for k in range(len(x))
    ]
    assert np.abs(np.mean(samples, axis=0) - batch).max() < 1e-15
    by_hand = x.T @ (x @ array(w) - t) / len(x)
    assert np.abs(batch - by_hand).max() < 1e-15


@pytest.mark.parametrize(("size", "tolerance"), [(24, 1e-10), (6, 1e-3), (1, 1e-3)])
def test_full_mini_and_single_batches_reach_least_squares(size: int, tolerance: float) -> None:
    """A full batch takes a constant step, parts of it steps that fall (Robbins, Monro, 1951)."""
    x, t, best = linear_problem()
    w = tensor(np.zeros(3), True)
    rng = np.random.default_rng(5)
    steps = 0
    for _ in range(400):
        order = rng.permutation(len(x))
        for part in np.split(order, len(x) // size):
            (g,) = wg.autograd.grad(average_loss(w, x[part], t[part]), w)
            rate = 0.3 if size == len(x) else 0.3 / (1 + 0.01 * steps)
            with wg.no_grad():
                w -= rate * g
            steps += 1
    assert np.abs(array(w) - best).max() < tolerance


def test_a_positive_semi_definite_matrix_as_learning_rate() -> None:
    """g^T P g >= 0, so a small step along -P g never goes uphill, even if P is singular."""
    rng = np.random.default_rng(6)
    weights, loss = mlp([3, 4, 2], rng)
    n = weights.numel()
    for rank in (1, 3, n):
        root = rng.normal(size=(n, rank))
        p = tensor(root @ root.T / n)
        f = loss(weights)
        (g,) = wg.autograd.grad(f, weights)
        slope = (g @ p @ g).item()
        assert slope > 0
        with wg.no_grad():
            moved = loss(weights - 1e-5 * (p @ g))
        assert (moved - f).item() == pytest.approx(-1e-5 * slope, rel=1e-2)
    null = np.eye(n) - np.outer(array(g), array(g)) / (array(g) @ array(g))
    assert (g @ tensor(null) @ g).item() == pytest.approx(0, abs=1e-12)  # flat, to first order


def test_no_unit_direction_descends_as_steeply_as_the_gradient() -> None:
    rng = np.random.default_rng(7)
    weights, loss = mlp([3, 4, 2], rng)
    (g,) = gradients(loss(weights), [weights])
    h = 1e-6

    def slope(direction: Array) -> float:
        with wg.no_grad():
            up = loss(weights + h * tensor(direction)).item()
            return (up - loss(weights - h * tensor(direction)).item()) / (2 * h)

    steepest = slope(-g / np.linalg.norm(g))
    assert steepest == pytest.approx(-float(np.linalg.norm(g)), rel=1e-6)
    for _ in range(200):
        d = rng.normal(size=g.size)
        d /= np.linalg.norm(d)
        assert slope(d) > steepest
        assert slope(d) == pytest.approx(float(g @ d), abs=1e-7)


# --- a model that is only looked up -------------------------------------------------------------


def test_nearest_neighbour_is_forward_only() -> None:
    rng = np.random.default_rng(8)
    stored, labels = rng.normal(size=(20, 3)), rng.integers(0, 4, size=20)
    queries = rng.normal(size=(7, 3))
    points = tensor(stored, requires_grad=True)
    apart = ((tensor(queries).unsqueeze(1) - points) ** 2).sum(2)
    nearest = apart.argmin(1)
    expected = ((queries[:, None] - stored) ** 2).sum(2).argmin(1)
    assert nearest.tolist() == expected.tolist()
    assert wg.tensor(labels)[nearest].tolist() == labels[expected].tolist()
    assert not nearest.requires_grad
    with pytest.raises(RuntimeError, match=r"does not require grad.* int64 has no derivative"):
        nearest[0].backward()
    apart.amin(1).sum().backward()  # the distance itself has one
    by_hand = np.zeros_like(stored)
    for q, k in zip(queries, expected, strict=True):
        by_hand[k] += 2 * (stored[k] - q)
    assert np.abs(array(points.grad) - by_hand).max() < 1e-12
