"""SPSA: the formula, its mean, and that it descends."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import nn
from wengert.optim import SPSA


def test_steps_are_the_formula() -> None:
    """Beside Spall's in NumPy, over the same signs; two groups of their own gains."""
    gains = [(0.3, 0.2, 0.602, 0.101, 0.0), (0.1, 0.05, 0.7, 0.2, 5.0)]
    p = [np.array([1.0, -2.0, 0.5]), np.array([[0.1, 0.2]])]
    w = [wg.tensor(x, requires_grad=True) for x in p]
    names = ("a", "c", "alpha", "gamma", "A")
    groups = [
        {"params": [x], **dict(zip(names, g, strict=True))} for x, g in zip(w, gains, strict=True)
    ]
    optimizer = SPSA(groups, generator=wg.Generator().manual_seed(3))
    drawn = wg.Generator().manual_seed(3)

    def loss(x: Any, y: Any) -> Any:
        return (x * x).sum() * (1 + y.sum() ** 2) + (y**2).sum()

    for k in range(20):
        signs = [2 * wg.randint(0, 2, x.shape, generator=drawn).numpy() - 1.0 for x in p]
        cs = [c / (k + 1) ** gamma for _, c, _, gamma, _ in gains]
        up = loss(*(x + c * d for x, c, d in zip(p, cs, signs, strict=True)))
        down = loss(*(x - c * d for x, c, d in zip(p, cs, signs, strict=True)))
        p = [
            x - a / (k + 1 + A) ** alpha * (up - down) / (2 * c) / d
            for x, (a, _, alpha, _, A), c, d in zip(p, gains, cs, signs, strict=True)
        ]
        returned = optimizer.step(lambda: loss(*w))
        assert returned.item() == pytest.approx((up + down) / 2)
        for x, y in zip(w, p, strict=True):
            np.testing.assert_allclose(x.detach().numpy(), y, rtol=1e-12)


def test_the_mean_of_the_estimate_is_the_gradient() -> None:
    """On a quadratic, exactly: over all signs, the sum of estimates is that of gradients."""
    w = wg.tensor([1.0, -2.0, 0.5], dtype=wg.float64, requires_grad=True)
    curvature = wg.tensor([[2.0, 0.3, 0.0], [0.3, 1.0, -0.4], [0.0, -0.4, 3.0]]).double()
    start, estimates = w.detach().clone(), {}
    for seed in range(200):
        optimizer = SPSA([w], a=1.0, c=0.1, generator=wg.Generator().manual_seed(seed))
        optimizer.step(lambda: 0.5 * w @ curvature @ w)
        g = (start - w.detach()).numpy()
        estimates[tuple(np.sign(g))] = g
        with wg.no_grad():
            w.copy_(start)
    assert len(estimates) == 4  # of 8 draws, two opposite ones estimate alike
    mean = np.mean(list(estimates.values()), axis=0)
    np.testing.assert_allclose(mean, (curvature @ start).numpy(), rtol=1e-9)


def test_it_descends_a_quadratic() -> None:
    w = wg.tensor(np.linspace(-2, 2, 10), requires_grad=True)
    scale = wg.linspace(0.5, 2.0, 10, dtype=wg.float64)
    optimizer = SPSA([w], a=0.2, c=0.01, A=20, generator=wg.Generator().manual_seed(0))
    calls = [0]

    def closure() -> wg.Tensor:
        calls[0] += 1
        assert not wg.is_grad_enabled()
        return (scale * w * w).sum()

    first = (scale * w * w).sum().item()
    for _ in range(500):
        optimizer.step(closure)
    assert calls[0] == 1000
    assert (scale * w * w).sum().item() < 1e-3 * first
    assert w.grad is None


def test_it_trains_a_small_network() -> None:
    """Exclusive or of signs; in the end on the share of wrong answers, which has no derivative."""
    x = wg.randn(64, 2, generator=wg.Generator().manual_seed(1))
    wanted = x[:, 0] * x[:, 1] > 0
    wg.manual_seed(0)
    net = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1))

    def smooth() -> wg.Tensor:
        return nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], wanted.float())

    def wrong() -> float:
        return ((net(x)[:, 0] > 0) != wanted).float().mean().item()

    optimizer = SPSA(net.parameters(), a=4.0, c=0.1, A=50, generator=wg.Generator().manual_seed(0))
    first = smooth().item()
    assert wrong() > 0.3
    for _ in range(1500):
        optimizer.step(smooth)
    assert smooth().item() < 0.4 * first
    assert wrong() < 0.15
    optimizer = SPSA(net.parameters(), a=0.1, c=0.1, generator=wg.Generator().manual_seed(0))
    for _ in range(10):
        assert isinstance(optimizer.step(wrong), float)


def test_an_error_in_the_closure_leaves_everything_as_it_was() -> None:
    w, frozen = wg.ones(3, requires_grad=True), wg.ones(2)
    optimizer = SPSA([w, frozen], c=0.1)
    calls = []

    def closure() -> wg.Tensor:
        calls.append(w.tolist())
        if len(calls) == 2:
            raise ZeroDivisionError
        return w.sum()

    with pytest.raises(ZeroDivisionError):
        optimizer.step(closure)
    assert w.tolist() == [1.0, 1.0, 1.0]
    assert calls[0] != calls[1] != w.tolist()
    assert optimizer.param_groups[0]["step"] == 0
    optimizer.step(w.sum)
    assert frozen.tolist() == [1.0, 1.0]
    with pytest.raises(TypeError, match=r"SPSA\.step: missing the closure"):
        optimizer.step()


def test_settings_states_and_maximize() -> None:
    for wrong in ({"a": -1}, {"c": 0}, {"alpha": -0.1}, {"gamma": -1}, {"A": -1}):
        with pytest.raises(ValueError, match=f"Invalid {next(iter(wrong))} value"):
            SPSA([wg.ones(1, requires_grad=True)], **wrong)
    w, v = wg.ones(3, requires_grad=True), wg.ones(3, requires_grad=True)
    down = SPSA([w], generator=wg.Generator().manual_seed(0))
    up = SPSA([v], maximize=True, generator=wg.Generator().manual_seed(0))
    for _ in range(3):
        down.step(lambda: (w * w).sum())
        up.step(lambda: -(v * v).sum())
    assert w.tolist() == v.tolist()
    resumed = SPSA([v], generator=down.generator)
    resumed.load_state_dict(down.state_dict())
    assert resumed.param_groups[0]["step"] == 3
    assert "alpha: 0.602" in repr(resumed)
