"""Hooks of modules: around calls, saving and loading."""

from __future__ import annotations

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn


def scenario(library: Any) -> list[Any]:
    """What hooks of every kind see and change."""
    seen: list[Any] = []
    m = library.nn.Linear(2, 2)
    library.nn.init.ones_(m.weight)
    library.nn.init.zeros_(m.bias)

    def note(name: str, result: Any = None) -> Any:
        def hook(module: Any, *args: Any) -> Any:
            assert module is m
            seen.append((name, [type(a).__name__ for a in args]))
            return result(*args) if result else None

        return hook

    m.register_forward_pre_hook(note("a"))
    m.register_forward_pre_hook(note("b", lambda args: args[0] * 2))
    m.register_forward_pre_hook(note("c", lambda args: (args[0] + 1,)), prepend=True)
    kept = m.register_forward_pre_hook(note("d", lambda args, kwargs: None), with_kwargs=True)
    m.register_forward_hook(note("e", lambda args, out: out * 10))
    m.register_forward_hook(note("f", lambda args, kwargs, out: out + 1), with_kwargs=True)
    handle = m.register_forward_hook(note("g"), prepend=True)
    x = library.ones(1, 2)
    seen.append(m(x).tolist())
    handle.remove()
    handle.remove()
    kept.remove()
    seen.append(m(x).tolist())
    with m.register_forward_hook(note("h", lambda args, out: (out, 1))):
        seen.append(type(m(x)).__name__)
    seen.append(type(m(x)).__name__)
    return seen


@needs_torch
def test_order_and_results_equal_torch() -> None:
    assert scenario(wg) == scenario(torch)


@needs_torch
@pytest.mark.parametrize("always_call", [False, True])
def test_errors_pass_and_always_call(always_call: bool) -> None:
    for library in (wg, torch):
        m, seen = library.nn.Linear(2, 2), []
        m.register_forward_hook(lambda *args: seen.append(1), always_call=always_call)  # noqa: B023
        with pytest.raises(RuntimeError):
            m(library.ones(3, 3))
        assert len(seen) == always_call


def test_a_hook_that_fails_after_an_error_is_told_of() -> None:
    def broken(*args: Any) -> None:
        raise ValueError("late")

    m = nn.Linear(2, 2)
    m.register_forward_hook(broken, always_call=True)
    with pytest.warns(UserWarning, match="late"), pytest.raises(RuntimeError):
        m(wg.ones(3, 3))
    with pytest.raises(ValueError, match="late"):
        m(wg.ones(2, 2))


def test_keyword_arguments_can_be_replaced() -> None:
    m = nn.Linear(2, 2)
    m.register_forward_pre_hook(
        lambda module, args, kwargs: ((), {"input": kwargs["input"] * 0}), with_kwargs=True
    )
    assert m(input=wg.ones(1, 2)).tolist() == [m.bias.tolist()]
    m.register_forward_pre_hook(lambda module, args, kwargs: 3, with_kwargs=True)
    with pytest.raises(RuntimeError, match="tuple of"):
        m(input=wg.ones(1, 2))


def test_hooks_of_fused_modules_are_called() -> None:
    m, seen, x = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)), [], wg.randn(3, 2)
    before = m(x)
    for i in (1, 0):
        handle = m[i].register_forward_hook(lambda module, args, out: seen.append(module))
        np.testing.assert_array_equal(m(x).detach().numpy(), before.detach().numpy())
        assert seen == [m[i]]
        seen.clear()
        handle.remove()
    m.register_forward_hook(lambda module, args, out: out * 0)
    assert m(x).abs().max().item() == 0


def test_copies_have_hooks_of_their_own() -> None:
    m = nn.Linear(2, 2)
    m.register_forward_hook(lambda module, args, out: out * 0)
    made = copy.deepcopy(m)
    handle = made.register_forward_hook(lambda module, args, out: out + 1)
    assert (m(wg.ones(1, 2)).sum().item(), made(wg.ones(1, 2)).sum().item()) == (0, 2)
    handle.remove()
    assert made(wg.ones(1, 2)).sum().item() == 0


def test_no_hook_costs_nothing() -> None:
    code = (
        "from wengert import nn; import sys; call = nn.Module.__call__; nn.Linear(1, 1);"
        "assert 'wengert.nn._hooks' not in sys.modules;"
        "nn.ReLU().register_forward_hook(print); assert nn.Module.__call__ is not call"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@needs_torch
def test_hooks_around_saving_and_loading_equal_torch() -> None:
    def run(library: Any) -> Any:
        seen: list[Any] = []
        m = library.nn.Sequential(library.nn.Linear(1, 1), library.nn.ReLU())
        m[0].register_state_dict_pre_hook(lambda mod, prefix, keep: seen.append((prefix, keep)))
        m[0].register_state_dict_post_hook(
            lambda mod, state, prefix, meta: state.update({prefix + "more": 1})
        )
        m.register_load_state_dict_pre_hook(lambda mod, state, *rest: state.pop("0.more"))
        m.register_load_state_dict_post_hook(
            lambda mod, keys: (
                (seen.append(list(keys.missing_keys)), keys.missing_keys.clear())[2:] or None
            )
        )
        state = m.state_dict()
        seen.append(list(state))
        del state["0.bias"]
        seen.append(repr(m.load_state_dict(state)))
        m.register_state_dict_post_hook(lambda *args: 3)
        try:
            m.state_dict()
        except RuntimeError:
            seen.append("refused")
        return seen

    assert run(wg) == run(torch)
