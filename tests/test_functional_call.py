"""Modules called with other tensors for their own; the state of several modules stacked."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn
from wengert.func._functional_call import functional_call
from wengert.func._stack import stack_module_state


def of(library: Any) -> tuple[Any, Any]:
    if library is wg:
        return functional_call, stack_module_state
    return torch.func.functional_call, torch.func.stack_module_state


@functools.cache
def net_class(library: Any) -> Any:
    class Net(library.nn.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.body = library.nn.Sequential(
                library.nn.Linear(2, 2), library.nn.Tanh(), library.nn.Linear(2, 2)
            )
            self.tied = library.nn.Linear(2, 2)
            self.tied.weight = self.body[2].weight
            self.register_buffer("count", library.zeros(1))
            self.note = "plain"

        def forward(self, x: Any, scale: float = 1.0) -> Any:
            self.count = self.count + 1
            return self.tied(self.body(x)) * scale + self.count

    return Net


def net(library: Any) -> Any:
    made = net_class(library)()
    for i, p in enumerate(made.parameters()):
        library.nn.init.constant_(p, 0.1 * (i + 1))
    return made


def outcome(call: Any) -> Any:
    try:
        result = call()
    except Exception as error:
        return type(error), str(error).replace("torch.", "").replace("wengert.", "")
    return result.tolist()


def state(m: Any) -> dict[str, tuple[int, Any]]:
    """All members but the buffer that forward itself replaces."""
    named = [*m.named_parameters(remove_duplicate=False), *m.named_buffers(remove_duplicate=False)]
    return {name: (id(t), t.tolist()) for name, t in named if name != "count"}


def scenarios(library: Any) -> list[Any]:
    """What calls return, or raise, and what they write to the dicts."""
    call, _ = of(library)
    m = net(library)
    x = library.ones(1, 2)
    before = state(m)
    ones, zeros = library.ones(2, 2), library.zeros(2)
    cases: list[tuple[Any, dict[str, Any]]] = [
        ({}, {}),
        ({"body.0.weight": ones}, {}),
        ({"body.0.weight": ones, "count": zeros}, {"kwargs": {"scale": 3.0}}),
        ({"body.2.weight": ones}, {}),
        ({"tied.weight": ones}, {}),
        ({"tied.weight": ones}, {"tie_weights": False}),
        ({"tied.weight": ones, "body.2.weight": ones}, {}),
        ({"tied.weight": ones, "body.2.weight": ones * 2}, {}),
        ({"tied.weight": ones, "body.2.weight": ones * 2}, {"tie_weights": False}),
        ({"body.0.weight": ones}, {"strict": True}),
        ({"body.0.weight": ones, "nowhere": ones}, {"strict": True}),
        ({"nowhere": ones}, {}),
        ({"no.where": ones}, {}),
        ({"note.weight": ones}, {}),
        ({"body.0.weight": None}, {}),
        ({"body.0.weight": 3}, {}),
        ({"note": ones}, {}),
        ({"": ones}, {}),
        ({"body.0.weight": ones, "body.0.bias": 3}, {}),
        ({"body.0.weight": library.ones(3, 3)}, {}),
        (({"body.0.weight": ones}, {"body.0.bias": zeros}), {}),
        ([{"body.0.weight": ones}, {"body.0.weight": zeros}], {}),
        ([{"body.0.weight": ones}, 3], {}),
        (3, {}),
        ({"body.0.bias": library.zeros(2)}, {"strict": True, "kwargs": {"scale": 2.0}}),
    ]
    found = []
    for given, how in cases:
        library.nn.init.zeros_(m.count)
        result = outcome(lambda: call(m, given, (x,), **how))  # noqa: B023
        assert state(m) == before, given
        assert "nowhere" not in m.__dict__
        written = {k: v.tolist() if hasattr(v, "tolist") else v for k, v in given.items()} if (
            isinstance(given, dict)
        ) else None  # fmt: skip
        found.append((result, written))
    found.append((outcome(lambda: call(m, {}, x)), None))
    found.append((outcome(lambda: call(m, {}, None, {"x": x})), None))
    return found


def test_calls() -> None:
    found = scenarios(wg)
    assert found[1][0] == outcome(
        lambda: functional_call(net(wg), {"body.0.weight": wg.ones(2, 2)}, wg.ones(1, 2))
    )
    assert found[2][1]["count"] == [1.0, 1.0]


@needs_torch
def test_calls_equal_torch() -> None:
    for ours, theirs in zip(scenarios(wg), scenarios(torch), strict=True):
        (a, written), (b, their_written) = ours, theirs
        assert written == their_written
        if isinstance(b, tuple):
            assert a[0] is b[0], (a, b)
            if "linear" not in a[1]:  # the call itself failed, with a message of its own
                assert a[1] == b[1].replace("nn.modules.module.Module", "nn.Module")
        else:
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_gradients_go_to_what_was_given() -> None:
    m = nn.Linear(2, 1)
    given = {name: p.detach().clone().requires_grad_() for name, p in m.named_parameters()}
    x = wg.tensor([[1.0, 2.0]])
    functional_call(m, given, x).sum().backward()
    assert given["weight"].grad.tolist() == [[1.0, 2.0]]
    assert m.weight.grad is None
    assert m.weight is dict(m.named_parameters())["weight"]


def test_a_module_with_two_names_gets_its_own_back() -> None:
    inner = nn.Linear(2, 2)
    m = nn.Sequential(inner, nn.Tanh(), inner)
    own = inner.weight
    given = {"0.weight": wg.ones(2, 2), "2.weight": wg.zeros(2, 2)}
    functional_call(m, given, wg.ones(1, 2), tie_weights=False)
    assert inner.weight is own
    assert isinstance(inner.weight, nn.Parameter)


def stacks(library: Any) -> list[Any]:
    _, stack = of(library)
    models = [net(library) for _ in range(3)]
    params, buffers = stack(models)
    found: list[Any] = [
        {k: (tuple(v.shape), v.requires_grad, v.is_leaf) for k, v in named.items()}
        for named in (params, buffers)
    ]
    frozen = net(library).requires_grad_(False)
    for bad in (
        [],
        [models[0], net(library).eval()],
        [models[0], library.nn.Tanh()],
        [models[0], frozen],
    ):
        try:
            stack(bad)
        except Exception as error:
            found.append((type(error), str(error)))
    return found


@needs_torch
def test_stacks_equal_torch() -> None:
    assert stacks(wg) == stacks(torch)
    assert len(stacks(wg)) == 6


@needs_torch
def test_the_old_name_warns() -> None:
    for library in (wg, torch):
        stateless = importlib.import_module(f"{library.__name__}.nn.utils.stateless")
        m = library.nn.Linear(1, 1)
        with pytest.warns(FutureWarning):
            y = stateless.functional_call(m, {"bias": library.zeros(1)}, library.zeros(1, 1))
        assert y.tolist() == [[0.0]]
