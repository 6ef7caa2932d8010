"""The tape, read: lines, values, local derivatives, adjoints, and where each line comes from."""

from __future__ import annotations

import doctest
import gc
import inspect
import math
import threading
from typing import Any

import pytest

import wengert as wg
from wengert import nn


def line_number() -> int:
    """The number of the line that calls this."""
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


def number(t: wg.Tensor | None) -> float:
    assert t is not None
    return t.item()


# --- the worked example ------------------------------------------------------------------------


def worked(x: wg.Tensor) -> wg.Tensor:
    a = x**2
    b = wg.exp(a)
    c = a + b
    d = wg.sqrt(c)
    e = wg.cos(c)
    return d + e


def check_worked(t: wg.Tape) -> None:
    x = 0.7
    a = x**2
    b = math.exp(a)
    c = a + b
    d, e = math.sqrt(c), math.cos(c)
    assert [str(line) for line in t] == [
        "a = square(x)", "b = exp(a)", "c = add(a, b)", "d = sqrt(c)", "e = cos(c)", "f = add(d, e)"
    ]  # fmt: skip
    values = {"x": x, "a": a, "b": b, "c": c, "d": d, "e": e, "f": d + e}
    local = {
        "a": [2 * x], "b": [b], "c": [1, 1], "d": [1 / (2 * d)], "e": [-math.sin(c)], "f": [1, 1],
    }  # fmt: skip
    dc = 1 / (2 * d) - math.sin(c)
    adjoints = {"f": 1, "e": 1, "d": 1, "c": dc, "b": dc, "a": dc * b + dc, "x": (dc * b + dc) * 2 * x}  # noqa: E501  # fmt: skip
    for name, value in values.items():
        assert number(t[name].value) == pytest.approx(value, rel=1e-15)
        assert number(t[name].adjoint) == pytest.approx(adjoints[name], rel=1e-14)
        assert t[name].times_computed == 1
    for name, derivatives in local.items():
        assert [number(d) for d in t[name].local_derivatives] == pytest.approx(
            derivatives, rel=1e-14
        )
    assert [t[n].times_used for n in "abcdef"] == [1, 1, 2, 1, 1, 2]
    assert [t[n].uses for n in "xabcdef"] == [1, 2, 1, 2, 1, 1, 0]


def test_the_worked_example() -> None:
    x = wg.tensor(0.7, dtype=wg.float64, requires_grad=True)
    y = worked(x)
    t = wg.tape(y)
    assert t["c"].adjoint is None
    assert t["c"].times_computed == 0
    y.backward()
    check_worked(t)
    assert x.grad is not None
    assert number(t["x"].adjoint) == x.grad.item()
    (t,) = (line for line in t if line.name == "c")
    assert (t.times_computed, t.times_used) == (1, 2)  # reuse is all there is to it


def test_the_worked_example_in_a_block() -> None:
    x = wg.tensor(0.7, dtype=wg.float64, requires_grad=True)
    with wg.tape() as t:
        y = worked(x)
    y.backward()
    check_worked(t)


def test_the_worked_example_with_backward_in_the_block() -> None:
    x = wg.tensor(0.7, dtype=wg.float64, requires_grad=True)
    with wg.tape() as t:
        worked(x).backward()
    check_worked(t)


def test_table() -> None:
    x = wg.tensor(0.7, dtype=wg.float64, requires_grad=True)
    y = worked(x)
    t = wg.tape(y)
    y.backward()
    rows = str(t).splitlines()
    assert [len(row) for row in rows[:1]] == [len(rows[0].rstrip())]
    cells = rows[4].split()
    first = inspect.getsourcelines(worked)[1]
    assert rows[0].split() == [
        "line", "value", "local", "derivatives", "adjoint", "computed", "used", "where"
    ]  # fmt: skip
    assert cells == [
        "c", "=", "add(a,", "b)", "2.12232", "dc/da", "=", "1,", "dc/db", "=", "1", "-0.508515",
        "1", "2", f"test_tape.py:{first + 3}",
    ]  # fmt: skip
    assert rows[-1] == "adjoints: 7 computed, used 8 times"
    assert repr(t) == "<Tape of 6 lines>"


def test_docstring() -> None:
    from wengert import _tape

    finder = doctest.DocTestFinder(recurse=False)
    (test,) = finder.find(_tape.tape, "tape", globs={"wg": wg})
    assert doctest.DocTestRunner().run(test).failed == 0


# --- values ------------------------------------------------------------------------------------


def test_values_that_nobody_saved_are_computed() -> None:
    x = wg.tensor([1.0, 2.0], requires_grad=True)

    def make() -> wg.Tensor:
        a = x * 3
        return (a + a).exp() + 1

    y = make()
    t = wg.tape(y)
    y.sum().backward()
    assert [line.value.tolist() for line in t if line.value is not None][:2] == [[3, 6], [6, 12]]
    assert t[0].inputs == ("x", "3")


def test_unknown_values_are_none() -> None:
    def make() -> tuple[wg.Tensor, wg.Tensor]:
        w = wg.tensor([1.0, 2.0], requires_grad=True)
        return w, (w.reshape(2, 1).sum() + 3) * 2

    w, y = make()
    t = wg.tape(y)
    y.backward()
    assert t[0].value is None
    assert " - " in str(t)
    with wg.no_grad():
        w.add_(1)
    assert t["w"].value is None


def test_a_released_graph_still_lists() -> None:
    x = wg.tensor(2.0, requires_grad=True)
    y = x.exp().sin()
    y.backward()
    t = wg.tape(y)
    assert [line.operation for line in t] == ["exp", "sin"]
    assert t[1].local_derivatives == (None,)
    assert t[1].adjoint is None


def test_tape_does_not_disturb_backward() -> None:
    x = wg.tensor(2.0, requires_grad=True)
    y = (x * x).exp()
    t = wg.tape(y)
    assert [d for line in t for d in line.local_derivatives]
    y.backward()
    before = x.grad
    with pytest.raises(RuntimeError, match="second time"):
        y.backward()
    assert before is not None
    assert number(t["x"].adjoint) == before.item()
    z = (x * x).exp()
    x.grad = None
    z.backward()
    assert before.item() == number(x.grad)


def test_adjoints_are_not_overwritten_by_later_work() -> None:
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    a = x * 2
    y = (a * a).sum()
    t = wg.tape(y)
    y.backward(retain_graph=True)
    first = t[a].adjoint
    assert first is not None
    assert first.tolist() == [4, 8]
    (y * 2).backward()  # of another result: the adjoints by that one
    assert first.tolist() == [4, 8]
    assert t[a].adjoint.tolist() == [8, 16]  # type: ignore[union-attr]
    assert t[a].times_computed == 2
    assert x.grad is not None
    assert x.grad.tolist() == [24, 48]


def test_partial_gradients_have_adjoints_on_their_way_alone() -> None:
    a, b = (wg.tensor(v, requires_grad=True) for v in (2.0, 3.0))
    p, q = a.exp(), b.exp()
    t = wg.tape(p * q)
    wg.autograd.grad(p * q, a)
    assert t[p].adjoint is not None
    assert t[q].adjoint is None


# --- local derivatives -------------------------------------------------------------------------


def test_local_derivatives_of_elementwise_lines_have_the_result_s_shape() -> None:
    x = wg.tensor([[1.0], [2.0]], requires_grad=True)
    y = wg.tensor([3.0, 4.0, 5.0], requires_grad=True)
    t = wg.tape((x * y).sum())
    by_x, by_y = t[0].local_derivatives
    assert by_x.tolist() == [[3, 4, 5], [3, 4, 5]]  # type: ignore[union-attr]
    assert by_y.tolist() == [[1, 1, 1], [2, 2, 2]]  # type: ignore[union-attr]


def test_local_derivatives_of_other_lines_are_jacobians() -> None:
    x = wg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    w = wg.tensor([[5.0, 6.0]], requires_grad=True)
    y = x @ w.T
    t = wg.tape(y.sum())
    by_x, by_w = t[y].local_derivatives
    assert by_x is not None
    assert by_w is not None
    assert tuple(by_x.shape) == (2, 1, 2, 2)
    assert by_x[:, 0].tolist() == [[[5, 6], [0, 0]], [[0, 0], [5, 6]]]
    assert by_w[:, 0, :, 0].tolist() == x.tolist()
    assert t[-1].local_derivatives[0].tolist() == [[1], [1]]  # type: ignore[union-attr]


def test_large_jacobians_are_not_formed() -> None:
    x = wg.ones(10, 10).requires_grad_()
    y = x @ x
    t = wg.tape(y.sum())
    assert t[y].local_derivatives == (None, None)
    assert "by the rule of matmul" in str(t)
    assert t[-1].local_derivatives[0].shape == (10, 10)  # type: ignore[union-attr]


def test_constants() -> None:
    x = wg.ones(2, 3).requires_grad_()
    data = wg.ones(2, 3)
    with wg.tape() as t:
        y = (x + 2) * data + wg.tensor(1.5)
        y = y**3
    assert [line.inputs for line in t] == [("x", "2"), ("a", "(2, 3)"), ("b", "1.5"), ("c",)]
    assert t[1].local_derivatives[1] is None
    assert t[-1].parameters == (3,)
    assert str(t[-1]) == "d = pow(c, 3)"
    assert wg.tape(y)[0].inputs == ("x", "_")  # an addition saves nothing
    assert str(wg.tape(x.clamp(-1, 0))[0]) == "a = clamp(x, -1, 0)"


# --- sources -----------------------------------------------------------------------------------


def test_lines_know_their_source() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    y, first = x.exp(), line_number()
    z = (
        y.sin()
        * x
    )  # fmt: skip
    t = wg.tape(z)
    assert [line.line for line in t] == [first, first + 2, first + 2]
    assert {line.file for line in t} == {__file__}
    assert {line.function.split(".")[-1] for line in t if line.function} == {
        "test_lines_know_their_source"
    }
    assert t.inputs[0].file is None


def test_lines_in_modules_point_at_the_user() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 3))

        def forward(self, x: wg.Tensor) -> wg.Tensor:
            self.at = line_number() + 1
            return self.inner(x)

    net = Net()
    loss, at = nn.functional.mse_loss(net(wg.ones(4, 2)), wg.ones(4, 3)), line_number()
    t = wg.tape(loss)
    assert [line.line for line in t][:2] == [net.at, net.at]
    assert {line.line for line in t[2:]} == {at}
    assert {line.file for line in t} == {__file__}
    kinds = ("0.weight", "0.bias", "1.weight", "1.bias")
    assert [line.name for line in t.inputs] == [f"net.inner.{kind}" for kind in kinds]


def test_lines_of_a_recorded_backward_are_at_its_call() -> None:
    x = wg.tensor(2.0, dtype=wg.float64, requires_grad=True)
    y = x.exp() * x
    g, at = wg.autograd.grad(y, x, create_graph=True)[0], line_number()
    t = wg.tape(g)
    later = [line for line in t if line.line == at]
    assert later
    assert {line.line for line in t} == {at, at - 1}
    g.backward()
    assert number(x.grad) == pytest.approx(4 * math.exp(2))
    with wg.tape() as t:
        y = x.exp()
        y.backward(create_graph=True)
        at = line_number() - 1
    assert [line.line for line in t] == [at - 1] + [at] * (len(t) - 1)
    x.grad = None


def test_source_in_code_made_by_exec() -> None:
    scope: dict[str, Any] = {"wg": wg, "__name__": "made"}
    exec(compile("\n\ndef f(x):\n    return x.exp()\n", "<made>", "exec"), scope)
    t = wg.tape(scope["f"](wg.tensor(1.0, requires_grad=True)))
    assert (t[0].file, t[0].line) == ("<made>", 4)
    nameless: dict[str, Any] = {"x": wg.tensor(1.0, requires_grad=True)}
    exec("y = x.exp()", nameless)
    assert wg.tape(nameless["y"])[0].line == 1


def test_version_check_names_the_line() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    y = x.exp()
    z, at = y * y, line_number()
    with wg.no_grad():
        y.add_(1)
    with pytest.raises(RuntimeError, match=rf"^mul: .* recorded at .*test_tape\.py:{at} in "):
        z.backward()


# --- shapes of graphs --------------------------------------------------------------------------


def test_views_and_inplace_changes() -> None:
    x = wg.tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    with wg.tape() as t:
        a = x * 2
        v = a.view(2, 2)[0]
        b = v.sum()
        a[3] = 0.0
        y = (a * a).sum() + b
        y.mul_(2)
    y.backward()
    assert [line.operation for line in t] == [
        "mul", "view", "index", "sum", "index_put_", "mul", "sum", "add", "mul"
    ]  # fmt: skip
    assert t[2].value is None  # of the memory that has since been changed
    assert t[4].value.tolist() == [2, 4, 6, 0]  # type: ignore[union-attr]
    assert x.grad is not None
    assert t["x"].adjoint.tolist() == x.grad.tolist() == [20, 36, 48, 0]  # type: ignore[union-attr]
    assert number(t[-1].value) == 2 * (4 + 16 + 36 + 6)


def test_overwritten_operands() -> None:
    x = wg.tensor(3.0, requires_grad=True)
    with wg.tape() as t:
        y = x * 2
        y.add_(1)
    assert [str(line) for line in t] == ["a = mul(x, 2)", "b = add(a, 1)"]
    assert [number(line.value) for line in t] == [6, 7]


def test_operations_with_several_results_are_a_line_for_each() -> None:
    x = wg.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    with wg.tape() as listed:
        first, second = wg.unbind(x)
        y = (first * second).sum()
    t = wg.tape(y)
    y.backward()
    for tape in (t, listed):
        names = [str(line) for line in tape]
        assert names[:3] == ["a = unbind(x)[0]", "b = unbind(x)[1]", "c = mul(a, b)"]
        assert tape[second].value.tolist() == [3, 4]  # type: ignore[union-attr]
        assert tape[first].adjoint.tolist() == [3, 4]  # type: ignore[union-attr]
        assert tape[second].adjoint.tolist() == [1, 2]  # type: ignore[union-attr]
        by_x = tape[second].local_derivatives[0]
        assert by_x is not None
        assert by_x.tolist() == [[[0, 0], [1, 0]], [[0, 0], [0, 1]]]


def test_one_line_read_twice_by_another() -> None:
    x = wg.tensor(3.0, requires_grad=True)
    a = x.exp()
    y = a * a
    t = wg.tape(y)
    y.backward()
    assert t[a].uses == 1
    assert t[1].inputs == ("a", "a")
    assert t[1].times_used == 2
    assert t[a].times_computed == 1


def test_long_chain() -> None:
    x = wg.tensor(1.0, dtype=wg.float64, requires_grad=True)
    y = x
    n = 100_000
    for _ in range(n):
        y = y * 1.0
    t = wg.tape(y)
    y.backward()
    assert len(t) == n
    assert len(t.lines) == n
    assert number(t[0].adjoint) == number(t[n // 2].value) == 1
    assert [line.name for line in t[22:26]] == ["w", "y", "z", "aa"]  # x is a variable
    text = str(t)
    assert f"... ({n - 40} lines)" in text
    assert len(text.splitlines()) == 1 + 1 + 40 + 1 + 1
    del y, t


def test_names() -> None:
    weight = wg.tensor([1.0], requires_grad=True)
    b = wg.tensor([2.0], requires_grad=True)
    y = (weight * b).exp() * wg.tensor([1.0], requires_grad=True)
    t = wg.tape(y, names={"weight": b})
    assert [str(line) for line in t] == [
        "a = mul(x0, weight)", "b = exp(a)", "c = mul(b, x2)"
    ]  # fmt: skip
    t = wg.tape(y)  # a variable's name is not given to a line again
    assert [str(line) for line in t] == ["a = mul(weight, b)", "c = exp(a)", "d = mul(c, x2)"]
    assert t["b"].index is None
    assert t["c"].index == 1
    assert t["b"].operation == "input"


def test_results_from_before_the_block_are_inputs() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    early = x.exp()
    with wg.tape() as t:
        y = early.sin()
    y.backward()
    assert str(t[0]) == "a = sin(early)"
    assert number(t["early"].adjoint) == pytest.approx(math.cos(math.e))


def test_indexing() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    y = x.exp().sin().cos()
    t = wg.tape(y)
    assert t[-1].name == t[y].name == "c"
    assert [line.name for line in t[:2]] == ["a", "b"]
    with pytest.raises(IndexError):
        t[3]
    with pytest.raises(KeyError, match="'q'"):
        t["q"]
    with pytest.raises(KeyError, match="not the result"):
        t[wg.ones(1)]


# --- recording ---------------------------------------------------------------------------------


def test_nothing_recorded() -> None:
    x = wg.tensor([1.0, 2.0], requires_grad=True)
    with pytest.raises(RuntimeError, match=r"^tape: nothing was recorded .*\(2,\).*a leaf"):
        wg.tape(x)
    with wg.no_grad():
        y = x.exp()
    with pytest.raises(RuntimeError, match=r"^tape: nothing was recorded .*no_grad"):
        wg.tape(y)
    with pytest.raises(
        TypeError, match=r"^tape: expected a Tensor, or a function and its arguments, got float"
    ):
        wg.tape(1.0)  # type: ignore[arg-type]
    with wg.tape() as t:
        pass
    assert len(t) == 0
    assert str(t).startswith("line")


def test_a_tape_is_entered_once() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    t = wg.tape(x.exp())
    with pytest.raises(RuntimeError, match=r"new wg\.tape"), t:
        pass
    with wg.tape() as t, pytest.raises(RuntimeError, match="already"), t:
        pass


def test_nested_tapes_both_list() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    with wg.tape() as outer:
        y = x.exp()
        with wg.tape() as inner:
            z = y.sin()
        z = z.cos()
    z.backward()
    assert [line.operation for line in outer] == ["exp", "sin", "cos"]
    assert [line.operation for line in inner] == ["sin"]
    assert number(inner[0].adjoint) == number(outer[1].adjoint)


def test_an_error_in_the_block_ends_the_listing() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    with pytest.raises(ZeroDivisionError), wg.tape() as t:
        x.exp()
        _ = 1 / 0
    x.sin()
    assert [line.operation for line in t] == ["exp"]


def test_threads_list_their_own_lines() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    barrier = threading.Barrier(4)
    wrong: list[Any] = []

    def work(k: int) -> None:
        barrier.wait()
        with wg.tape() as t:
            y = x
            for _ in range(200 + k):
                y = y * 1.0
        wg.autograd.grad(y, x)
        if len(t) != 200 + k or any(line.times_computed != 1 for line in t):
            wrong.append(k)

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_backward_on_another_thread_leaves_adjoints() -> None:
    x = wg.tensor(1.0, requires_grad=True)
    y = x.exp()
    t = wg.tape(y)
    thread = threading.Thread(target=y.backward)
    thread.start()
    thread.join()
    assert number(t["x"].adjoint) == pytest.approx(math.e)


def test_the_graph_goes_with_the_tape() -> None:
    x = wg.ones(100).requires_grad_()

    def run() -> None:
        y = x
        for _ in range(10):
            y = y.exp()
        t = wg.tape(y)
        assert len(t) == 10
        del y, t
        gc.collect()
        assert wg.memory_stats()["current_blocks"] == before
        with wg.tape() as t:
            y = x.exp().sum()
        y.backward()
        assert str(t)
        x.grad = None

    gc.collect()
    before = wg.memory_stats()["current_blocks"]
    run()
    gc.collect()
    assert wg.memory_stats()["current_blocks"] == before


def test_tape_is_loaded_when_asked_for() -> None:
    import subprocess
    import sys

    code = "import sys, wengert as wg; assert 'wengert._tape' not in sys.modules; wg.tape"
    subprocess.run([sys.executable, "-c", code], check=True)
