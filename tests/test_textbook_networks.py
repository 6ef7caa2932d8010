"""Textbook cases of training: a class of network, four optimizers, all weights as one vector."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert
import wengert as wg
from oracle import needs_torch, torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    Array = NDArray[np.float64]


def tensor(a: Any, requires_grad: bool = False) -> wg.Tensor:
    return wg.tensor(a, dtype=wg.float64, requires_grad=requires_grad)


# --- a network, as a user of PyTorch writes it --------------------------------------------------


def network_class(library: Any) -> Any:
    """The class below, with `import wengert as torch` or the real one."""
    torch, nn, F = library, library.nn, library.nn.functional  # noqa: N806

    class Net(nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.fc1 = nn.Linear(3 * 10 * 20, 60)
            self.fc2 = nn.Linear(60, 40)
            self.fc3 = nn.Linear(40, 10)

        def forward(self, x: Any) -> Any:
            x = torch.flatten(x, 1)
            x = F.relu(self.fc1(x))
            x = F.relu(self.fc2(x))
            return self.fc3(x)

    return Net


def train(library: Any, net: Any, images: Any, labels: Any, steps: int) -> list[float]:
    criterion = library.nn.CrossEntropyLoss()
    optimizer = library.optim.SGD(net.parameters(), lr=0.05, momentum=0.9)
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = criterion(net(images), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def data() -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(32, 3, 10, 20)).astype(np.float32), rng.integers(0, 10, size=32)


def test_network_class_learns_random_data() -> None:
    images, labels = data()
    wg.manual_seed(0)
    net = network_class(wengert)()
    assert [tuple(p.shape) for p in net.parameters()] == [
        (60, 600), (60,), (40, 60), (40,), (10, 40), (10,)
    ]  # fmt: skip
    losses = train(wengert, net, wg.tensor(images), wg.tensor(labels), 60)
    assert losses[0] == pytest.approx(math.log(10), abs=0.2)  # it knows nothing yet
    assert losses[-1] < 0.05 < losses[0]


@needs_torch
def test_network_class_equals_pytorch_s() -> None:
    images, labels = data()
    theirs = network_class(torch)()
    ours = network_class(wengert)()
    ours.load_state_dict({k: wg.tensor(v.numpy()) for k, v in theirs.state_dict().items()})
    x, y = wg.tensor(images), wg.tensor(labels)
    t_x, t_y = torch.tensor(images), torch.tensor(labels)
    np.testing.assert_allclose(
        ours(x).detach().numpy(), theirs(t_x).detach().numpy(), rtol=1e-5, atol=1e-6
    )
    np.testing.assert_allclose(
        train(wengert, ours, x, y, 20), train(torch, theirs, t_x, t_y, 20), rtol=1e-4
    )
    for a, b in zip(ours.parameters(), theirs.parameters(), strict=True):
        np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=1e-4, atol=1e-6)


# --- optimizers against their formulas ----------------------------------------------------------

Rule = "Callable[[Array, Array, dict[str, Any], int], Array]"


def sgd(p: Array, g: Array, s: dict[str, Any], step: int) -> Array:
    return p - 0.1 * g


def momentum(p: Array, g: Array, s: dict[str, Any], step: int) -> Array:
    """Polyak, 1964."""
    s["b"] = 0.9 * s.get("b", 0.0) + g
    return p - 0.1 * s["b"]


def rmsprop(p: Array, g: Array, s: dict[str, Any], step: int) -> Array:
    """Tieleman, Hinton, 2012."""
    s["v"] = 0.99 * s.get("v", 0.0) + 0.01 * g**2
    return p - 0.01 * g / (np.sqrt(s["v"]) + 1e-8)


def adam(p: Array, g: Array, s: dict[str, Any], step: int) -> Array:
    """Kingma, Ba, 2015, algorithm 1."""
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g**2
    m, v = s["m"] / (1 - 0.9**step), s["v"] / (1 - 0.999**step)
    return p - 0.001 * m / (np.sqrt(v) + 1e-8)


@pytest.mark.parametrize(
    ("rule", "make"),
    [
        (sgd, lambda p: wg.optim.SGD(p, lr=0.1)),
        (momentum, lambda p: wg.optim.SGD(p, lr=0.1, momentum=0.9)),
        (rmsprop, wg.optim.RMSprop),
        (adam, wg.optim.Adam),
    ],
)
def test_optimizers_follow_their_formulas(rule: Any, make: Callable[[Any], Any]) -> None:
    rng = np.random.default_rng(1)
    by_hand = [rng.normal(size=(3, 4)), rng.normal(size=5)]
    params = [tensor(p, True) for p in by_hand]
    states: list[dict[str, Any]] = [{}, {}]
    optimizer = make(params)
    for step in range(1, 31):
        optimizer.zero_grad()
        loss = sum(((p - 1) ** 2).sum() + p.sin().sum() for p in params)
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()
        for k, (p, s) in enumerate(zip(by_hand, states, strict=True)):
            by_hand[k] = rule(p, 2 * (p - 1) + np.cos(p), s, step)
        for p, expected in zip(params, by_hand, strict=True):
            np.testing.assert_allclose(p.detach().numpy(), expected, rtol=1e-12, atol=1e-14)


# --- all weights as one vector ------------------------------------------------------------------


def test_a_step_on_one_long_vector_is_the_same_step() -> None:
    """An optimizer needs to know of a network no more than a vector and its gradient."""
    wg.manual_seed(0)
    net = wg.nn.Sequential(wg.nn.Linear(3, 4), wg.nn.Tanh(), wg.nn.Linear(4, 2))
    x, t = wg.randn(6, 3), wg.randn(6, 2)
    params = list(net.parameters())

    def backward() -> None:
        net.zero_grad()
        wg.nn.functional.mse_loss(net(x), t).backward()

    start = [p.detach().clone() for p in params]
    each = wg.optim.Adam(params, lr=0.01)
    for _ in range(5):
        backward()
        each.step()
    expected = wg.cat([p.detach().reshape(-1) for p in params])

    with wg.no_grad():
        for p, s in zip(params, start, strict=True):
            p.copy_(s)
    vector = wg.cat([p.detach().reshape(-1) for p in params]).requires_grad_()
    assert tuple(vector.shape) == (3 * 4 + 4 + 4 * 2 + 2,)
    whole = wg.optim.Adam([vector], lr=0.01)
    for _ in range(5):
        backward()
        vector.grad = wg.cat([p.grad.reshape(-1) for p in params if p.grad is not None])
        whole.step()
        at = 0
        with wg.no_grad():
            for p in params:
                p.copy_(vector[at : at + p.numel()].view(*p.shape))
                at += p.numel()
    assert vector.tolist() == expected.tolist()  # bit for bit
