"""Optimizers against PyTorch's over a hundred steps, their settings, groups and states."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

SETTINGS: list[tuple[str, dict[str, Any]]] = [
    ("SGD", {"lr": 0.05}),
    ("SGD", {"lr": 0.05, "weight_decay": 0.1, "maximize": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.01}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.01}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "centered": True, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "eps": 1e-4}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5, "centered": True, "maximize": True}),
    ("Adagrad", {"lr": 0.1}),
    (
        "Adagrad",
        {"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5, "weight_decay": 0.01},
    ),
    ("Adagrad", {"lr": 0.1, "eps": 1e-3, "maximize": True}),
    ("Adam", {"lr": 0.02}),
    ("Adam", {"lr": 0.02, "betas": (0.7, 0.9), "eps": 1e-3, "weight_decay": 0.1}),
    ("Adam", {"lr": 0.02, "amsgrad": True}),
    ("Adam", {"lr": 0.02, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.02, "weight_decay": 0.1, "decoupled_weight_decay": True}),
    ("AdamW", {"lr": 0.02}),
    ("AdamW", {"lr": 0.02, "weight_decay": 0.3, "amsgrad": True}),
]
each_setting = pytest.mark.parametrize(
    ("name", "settings"),
    SETTINGS,
    ids=[f"{n}-{'-'.join(k for k in s if k != 'lr')}" for n, s in SETTINGS],
)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def start(dtype: str) -> list[Any]:
    """Values of parameters of several shapes: a scalar, vectors with tails, an empty one."""
    rng = np.random.default_rng(0)
    return [np.asarray(rng.normal(size=s)).astype(dtype) for s in ((), (3,), (5, 7), (0,), (1, 67))]


def parameters(library: Any, dtype: str) -> list[Any]:
    return [library.tensor(a).requires_grad_() for a in start(dtype)]


def assert_equal_trajectories(ours: list[Any], theirs: list[Any], dtype: str) -> None:
    tolerance = {"float32": 4e-6, "float64": 1e-13}[dtype]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def gradient(i: int, p: Any) -> Any:
    return np.asarray(np.random.default_rng(i).normal(size=tuple(p.shape)) + 0.3)


def follow(
    library: Any, optimizer: Any, params: list[Any], steps: range, skip: int = 0
) -> list[Any]:
    """Steps along given gradients, so that two libraries cannot drift apart through a loss."""
    for i in steps:
        for k, p in enumerate(params):
            g = library.tensor(gradient(10 * i + k, p)).to(p.dtype)
            p.grad = None if skip and (i + k) % skip == 0 else g
        optimizer.step()
    return [p.detach().numpy().copy() for p in params]


@needs_torch
@each_dtype
@each_setting
def test_a_hundred_steps_equal_torch(name: str, settings: dict[str, Any], dtype: str) -> None:
    results = []
    for library in (wg, torch):
        params = parameters(library, dtype)
        optimizer = getattr(library.optim, name)(params, **settings)
        results.append(follow(library, optimizer, params, range(100)))
    assert_equal_trajectories(*results, dtype)


@needs_torch
@each_setting
def test_missing_gradients_equal_torch(name: str, settings: dict[str, Any]) -> None:
    results = []
    for library in (wg, torch):
        params = parameters(library, "float64")
        optimizer = getattr(library.optim, name)(params, **settings)
        results.append(follow(library, optimizer, params, range(12), skip=3))
    assert_equal_trajectories(*results, "float64")


@needs_torch
@each_setting
def test_changed_settings_and_groups_equal_torch(name: str, settings: dict[str, Any]) -> None:
    results = []
    for library in (wg, torch):
        params = parameters(library, "float64")
        optimizer = getattr(library.optim, name)(
            [{"params": params[:2]}, {"params": params[2:4], "lr": 0.5 * settings["lr"]}],
            **settings,
        )
        follow(library, optimizer, params[:4], range(5))
        optimizer.param_groups[0]["lr"] *= 0.1
        optimizer.param_groups[1]["weight_decay"] = 0.2
        optimizer.add_param_group({"params": params[4]})
        results.append(follow(library, optimizer, params, range(5, 15)))
    assert_equal_trajectories(*results, "float64")


@needs_torch
@each_setting
def test_states_have_the_names_of_torch(name: str, settings: dict[str, Any]) -> None:
    states = []
    for library in (wg, torch):
        params = parameters(library, "float32")
        optimizer = getattr(library.optim, name)(params, **settings)
        follow(library, optimizer, params, range(2))
        state = optimizer.state_dict()
        states.append(
            (
                {
                    k: {n: tuple(v.shape) for n, v in s.items() if v is not None}
                    for k, s in state["state"].items()
                },
                [g["params"] for g in state["param_groups"]],
                {k: settings[k] for k in settings if k in state["param_groups"][0]},
            )
        )
    assert states[0] == states[1]


@each_setting
def test_states_loaded_continue_alike(name: str, settings: dict[str, Any]) -> None:
    kept = parameters(wg, "float32")
    optimizer = getattr(wg.optim, name)(kept, **settings)
    follow(wg, optimizer, kept, range(7))
    state = copy.deepcopy(optimizer.state_dict())
    loaded = [p.detach().clone().requires_grad_() for p in kept]
    other = getattr(wg.optim, name)(loaded, lr=123.0)
    other.load_state_dict(state)
    for a, b in zip(
        follow(wg, optimizer, kept, range(7, 20)),
        follow(wg, other, loaded, range(7, 20)),
        strict=True,
    ):
        np.testing.assert_array_equal(a, b)
    assert other.param_groups[0]["lr"] == settings["lr"]


@each_setting
def test_parameters_that_are_not_dense(name: str, settings: dict[str, Any]) -> None:
    dense = wg.randn(4, 3).requires_grad_()
    memory = wg.zeros(3, 8)
    memory[:, ::2].copy_(dense.detach().t())
    strided = memory[:, ::2].t().requires_grad_()
    assert not strided.is_contiguous()
    results = []
    for p in (dense, strided):
        optimizer = getattr(wg.optim, name)([p], **settings)
        results.append(follow(wg, optimizer, [p], range(5)))
    np.testing.assert_array_equal(*results)
    assert memory[:, 1::2].abs().sum().item() == 0


def test_the_grouping_does_not_change_bits() -> None:
    one, many = parameters(wg, "float32"), parameters(wg, "float32")
    together = wg.optim.Adam(one)
    apart = wg.optim.Adam([{"params": p} for p in many])
    for a, b in zip(
        follow(wg, together, one, range(9)), follow(wg, apart, many, range(9)), strict=True
    ):
        np.testing.assert_array_equal(a, b)


def test_closures_and_zero_grad() -> None:
    p = wg.ones(2, requires_grad=True)
    optimizer = wg.optim.SGD([p], lr=0.1)

    def closure() -> wg.Tensor:
        optimizer.zero_grad()
        loss = (p * p).sum()
        loss.backward()
        return loss

    with wg.no_grad():
        assert optimizer.step(closure).item() == 2
    np.testing.assert_allclose(p.tolist(), [0.8, 0.8], rtol=1e-6)
    kept = p.grad
    optimizer.zero_grad(set_to_none=False)
    assert p.grad is kept
    assert kept.tolist() == [0, 0]
    optimizer.zero_grad()
    assert p.grad is None
    assert optimizer.step() is None
    np.testing.assert_allclose(p.tolist(), [0.8, 0.8], rtol=1e-6)


def test_a_step_is_one_launch_and_marks_the_parameters_changed() -> None:
    params = [wg.ones(10, 10, requires_grad=True) for _ in range(20)]
    optimizer = wg.optim.AdamW(params)
    saved = params[0] * params[0]
    sum((p * 2).sum() for p in params).backward()
    optimizer.step()
    with wg.testing.count_launches() as counter:
        optimizer.step()
    assert sum(counter.counts.values()) == 1
    with pytest.raises(RuntimeError, match="mul"):
        saved.sum().backward()


def test_a_step_takes_everything_or_nothing() -> None:
    a, b = wg.ones(2, requires_grad=True), wg.ones(2, dtype=wg.float64, requires_grad=True)
    optimizer = wg.optim.SGD([a, b], lr=0.1)
    (a.sum() + b.sum()).backward()
    with pytest.raises(RuntimeError, match="float32 and float64"):
        optimizer.step()
    assert a.tolist() == [1, 1]


@each_setting
def test_training_lowers_the_loss(name: str, settings: dict[str, Any]) -> None:
    wg.manual_seed(0)
    x = wg.randn(64, 3)
    y = (x @ wg.tensor([[1.0], [-2.0], [0.5]])).tanh()
    model = wg.nn.Sequential(wg.nn.Linear(3, 16), wg.nn.Tanh(), wg.nn.Linear(16, 1))
    sign = -1 if settings.get("maximize") else 1
    optimizer = getattr(wg.optim, name)(model.parameters(), **settings)
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = wg.nn.functional.mse_loss(model(x), y)
        (loss * sign).backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < (0.9 if settings.get("weight_decay", 0) >= 0.1 else 0.5) * losses[0]


def test_repr_lists_the_settings() -> None:
    text = repr(wg.optim.SGD([wg.ones(1, requires_grad=True)], lr=0.25))
    assert text.startswith("SGD (\nParameter Group 0\n")
    assert "    lr: 0.25" in text
