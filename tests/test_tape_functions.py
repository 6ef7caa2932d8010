"""Tapes of functions: modules, tables for notebooks, JSON, profiles."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import Any

import pytest

import wengert as wg
from wengert import nn


class Block(nn.Module):
    def __init__(self, n: int) -> None:
        super().__init__()
        self.up, self.down = nn.Linear(n, 2 * n), nn.Linear(2 * n, n)

    def forward(self, x: wg.Tensor) -> wg.Tensor:
        return x + self.down(wg.tanh(self.up(x)))


def two_blocks() -> tuple[nn.Sequential, wg.Tensor]:
    wg.manual_seed(0)
    return nn.Sequential(Block(3), Block(3)), wg.randn(5, 3)


# --- recording ---------------------------------------------------------------------------------


def test_a_function_and_its_arguments() -> None:
    x = wg.tensor(0.7, dtype=wg.float64, requires_grad=True)
    t = wg.tape(lambda v, k: (v * k).exp(), x, 2.0)
    assert [str(line) for line in t] == ["a = mul(x, 2)", "b = exp(a)"]
    assert t["x"].adjoint is None
    assert t.backward() is t
    assert x.grad is None  # adjoints alone
    assert t["x"].adjoint is not None
    assert t.result is not None
    assert t["x"].adjoint.item() == 2 * t.result.item()
    t.result.backward()
    assert x.grad is not None
    assert x.grad.item() == t["x"].adjoint.item()


def test_a_module_as_function() -> None:
    model = nn.Linear(3, 2)
    t = wg.tape(model, wg.ones(4, 3))
    assert [line.operation for line in t] == ["linear"]
    assert [line.name for line in t.inputs] == ["model.weight", "model.bias"]
    assert t[0].module == "model"


def test_names_come_from_closures_and_globals() -> None:
    def make() -> Any:
        inner = wg.tensor([1.0, 2.0], requires_grad=True)
        return lambda: inner.exp().sum()

    assert str(wg.tape(make())[0]) == "a = exp(inner)"
    space: dict[str, Any] = {"w": wg.tensor(1.0, requires_grad=True)}
    exec("def f():\n    return w * 2", space)
    assert str(wg.tape(space["f"])[0]) == "a = mul(w, 2)"


def test_errors() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    with pytest.raises(TypeError, match="function and its arguments, got int"):
        wg.tape(3)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a Tensor and arguments"):
        wg.tape(x.exp(), x)
    with pytest.raises(TypeError, match="returns a Tensor, got float"):
        wg.tape(lambda: 3.0)
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        wg.tape(lambda: x.detach().exp())
    with pytest.raises(RuntimeError, match="nothing was recorded"):
        wg.tape(lambda: x)
    with pytest.raises(RuntimeError, match="has no result"):
        wg.tape().backward()
    for tape in (wg.tape(x.exp()), wg.tape()):
        for ask in (tape.check, tape.audit, tape.profile):
            with pytest.raises(RuntimeError, match="expected a tape of a function"):
                ask()


def test_an_error_in_the_function_ends_the_recording() -> None:
    x = wg.tensor(1.0, requires_grad=True)

    def fail() -> wg.Tensor:
        nn.Linear(1, 1)(x.exp().reshape(1, 1))
        raise ZeroDivisionError

    plain = nn.Module.__call__
    with pytest.raises(ZeroDivisionError):
        wg.tape(fail)
    assert nn.Module.__call__ is plain
    with wg.tape() as t:
        x.sin()
    assert len(t) == 1


def test_adjoints_stop_at_what_was_recorded_before() -> None:
    x = wg.tensor(2.0, requires_grad=True)
    early = x.exp()
    t = wg.tape(lambda: early.sin()).backward()
    assert [line.name for line in t.inputs] == ["early"]
    assert t["early"].adjoint is not None
    assert x.grad is None
    early.backward()  # its graph is whole
    assert x.grad is not None


# --- modules -----------------------------------------------------------------------------------


def test_lines_know_their_module() -> None:
    model, x = two_blocks()
    t = wg.tape(lambda: model(x).square().mean())
    assert [(line.operation, line.module) for line in t] == [
        ("linear", "model.0.up"), ("tanh", "model.0"), ("linear", "model.0.down"),
        ("add", "model.0"),
        ("linear", "model.1.up"), ("tanh", "model.1"), ("linear", "model.1.down"),
        ("add", "model.1"), ("square", None), ("mean", None),
    ]  # fmt: skip
    assert [line.operation for line in t.of(model[1])] == ["linear", "tanh", "linear", "add"]
    assert len(t.of(model)) == 8
    assert [line.name for line in t.of("model.0.up")] == [t[0].name]
    assert [line.module for line in t.filter(operation="tanh")] == ["model.0", "model.1"]
    assert len(t.filter(module=model[0], operation="linear")) == 2
    assert len(t.filter()) == len(t)
    assert t.of(nn.Linear(1, 1)) == []


def test_modules_in_a_block_and_by_parameters() -> None:
    model, x = two_blocks()
    with wg.tape() as listed:
        y = model(x)
    assert listed[1].module == "model.0"
    read = wg.tape(y)  # only parameters tell
    assert [line.module for line in read[:3]] == ["model.0.up", None, "model.0.down"]
    assert [line.module for line in read.of(model[0])] == ["model.0.up", "model.0.down"]


def test_members_that_a_container_computes_for() -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 1))
    t = wg.tape(lambda: model(wg.ones(2, 3)).sum())
    assert [line.module for line in t.of(model)] == ["model.0", "model.2"]


def test_modules_that_no_variable_holds() -> None:
    x = wg.ones(2, 3).requires_grad_()
    t = wg.tape(lambda: nn.Sequential(Block(3), nn.Tanh())(x).sum())
    assert [line.module for line in t[:5]] == [
        "sequential.0.up", "sequential.0", "sequential.0.down", "sequential.0", "sequential.1"
    ]  # fmt: skip


def test_calls_of_modules_are_plain_again() -> None:
    plain = nn.Module.__call__
    model, x = two_blocks()
    with wg.tape(), wg.tape() as inner:
        assert nn.Module.__call__ is not plain
        model(x)
    assert nn.Module.__call__ is plain
    assert inner[0].module == "model.0.up"


def test_first_hook_of_the_process_inside_of_a_tape() -> None:
    code = """
import wengert as wg
from wengert import nn
model, seen = nn.Linear(2, 2), []
def f():
    model.register_forward_hook(lambda *a: seen.append(1))
    return model(wg.ones(1, 2)).sum()
t = wg.tape(f)
model(wg.ones(1, 2))
assert len(seen) == 2, seen
t = wg.tape(lambda: model(wg.ones(1, 2)).sum())
assert len(seen) == 3 and t[0].module == "model", seen
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_modules_on_other_threads_are_not_listed() -> None:
    model, x = two_blocks()
    with wg.tape() as t:
        thread = threading.Thread(target=lambda: model(x))
        thread.start()
        thread.join()
        y = model[0](x)
    assert len(t) == 4
    assert t[y].module == "model.0"


# --- views -------------------------------------------------------------------------------------


def test_notebook_table() -> None:
    model, x = two_blocks()
    t = wg.tape(lambda: model(x).square().mean()).backward()
    html = t._repr_html_()
    assert html.count("<tr>") == 1 + len(t.inputs) + len(t)
    assert "model.0.up" in html
    assert "adjoints: 18 computed" in html
    part = t.of(model[0])
    assert part._repr_html_().count("<tr>") == 1 + 4 + 4
    assert str(part).splitlines()[1].startswith("model.0.up.weight")


def test_notebook_table_escapes() -> None:
    x = wg.ones(1).requires_grad_()
    html = wg.tape(lambda: x.exp(), names={"<b>": x})._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html


def test_long_notebook_table() -> None:
    x = wg.ones(1).requires_grad_()

    def chain() -> wg.Tensor:
        y = x
        for _ in range(300):
            y = y * 1.0
        return y

    html = wg.tape(chain)._repr_html_()
    assert "260 lines" in html
    assert html.count("<tr>") == 1 + 1 + 40 + 1


def test_to_dict_is_json() -> None:
    model, x = two_blocks()
    t = wg.tape(lambda: model(x).square().mean()).backward()
    d = json.loads(json.dumps(t.to_dict()))
    assert [line["operation"] for line in d["lines"]] == [line.operation for line in t]
    assert d["lines"][0]["shape"] == [5, 6]
    assert d["lines"][0]["module"] == "model.0.up"
    assert d["lines"][0]["dtype"] == "wengert.float32"
    assert d["lines"][-1]["index"] == 9
    assert "value" not in d["lines"][0]
    assert d["inputs"][0]["name"] == "model.0.up.weight"
    d = json.loads(json.dumps(t.to_dict(values=True)))
    assert d["lines"][-1]["adjoint"] == 1.0
    assert len(d["lines"][0]["value"]) == 5


# --- profiles ----------------------------------------------------------------------------------


def test_profile_counts_work() -> None:
    a = wg.ones(20, 30).requires_grad_()
    b = wg.ones(30, 40).requires_grad_()
    p = wg.tape(lambda: (a @ b).exp().sum()).profile(n=3)
    by_name = {c.line.operation: c for c in p if c.line.index is not None}
    product = by_name["matmul"]
    assert product.forward.flops == 2 * 20 * 30 * 40
    assert product.backward.flops == 2 * 2 * 20 * 30 * 40
    assert product.forward.bytes == 4 * (20 * 30 + 30 * 40 + 20 * 40)
    assert by_name["exp"].forward.flops == 800
    assert by_name["exp"].backward.flops == 1600
    assert by_name["exp"].forward.bytes == 2 * 4 * 800
    assert by_name["sum"].forward.flops == 800
    assert by_name["sum"].forward.bytes == 4 * 801
    assert all(c.forward.seconds > 0 and c.forward.launches == 1 for c in by_name.values())
    assert p.flops == sum(c.flops for c in p)
    assert p.forward_seconds > 0
    assert p.backward_seconds > 0
    assert a.grad is None


def test_profile_tables() -> None:
    model, x = two_blocks()
    p = wg.tape(lambda: model(x).square().mean()).profile(n=2)
    seconds = [c.seconds for c in p]
    assert seconds == sorted(seconds, reverse=True)
    rows = str(p).splitlines()
    assert rows[0].split()[:4] == ["line", "forward", "backward", "share"]
    assert len(rows) == 1 + len(p) + 2
    assert rows[-2].startswith("all kernels")
    assert "100.0 %" in rows[-2]
    by_module = p.table(by="module").splitlines()
    assert {row.split()[0] for row in by_module[1:-2]} == {
        "-", "model.0", "model.1", "model.0.up", "model.0.down", "model.1.up", "model.1.down"
    }  # fmt: skip
    assert p.table(by="operation", most=1).splitlines()[2].startswith("(4 more)")
    with pytest.raises(ValueError, match="by must be one of"):
        p.table(by="colour")
    assert "<table" in p._repr_html_()
    assert len(json.loads(json.dumps(p.to_dict()))["lines"]) == len(p)


def test_profile_of_a_function_that_changes() -> None:
    x = wg.ones(1).requires_grad_()
    calls = []

    def f() -> wg.Tensor:
        calls.append(1)
        return x.exp() if len(calls) % 3 else x.sin()

    with pytest.raises(RuntimeError, match="other lines each time"):
        wg.tape(f).profile(n=3)
    with pytest.raises(ValueError, match="at least 1"):
        wg.tape(lambda: x.exp()).profile(n=0)


def test_launches_are_counted_beside_a_profile() -> None:
    x = wg.ones(10).requires_grad_()
    seen: list[dict[str, int]] = []

    def f() -> wg.Tensor:
        with wg.testing.count_launches() as counter:
            y = x.exp()
        seen.append(counter.counts)
        return y.sum()

    p = wg.tape(f).profile(n=1)
    assert all(counts == {"exp": 1} for counts in seen)
    assert {c.line.operation: c.forward.launches for c in p} == {"exp": 1, "sum": 1}


def test_profiles_leave_random_numbers_as_they_were() -> None:
    x = wg.ones(100).requires_grad_()
    t = wg.tape(lambda: nn.functional.dropout(x, 0.5).sum())
    wg.manual_seed(3)
    expected = wg.rand(5).tolist()
    wg.manual_seed(3)
    t.profile(n=2)
    t.check()
    t.audit()
    assert wg.rand(5).tolist() == expected


def test_import_stays_light() -> None:
    code = """
import sys, numpy
before = set(sys.modules)
import wengert as wg
late = {"wengert.viz", "wengert._tape", "matplotlib", "graphviz", "threading"}
assert not late & (set(sys.modules) - before), late & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
