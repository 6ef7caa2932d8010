"""What a second run in float64 tells: wrong rules, and rounding errors."""

from __future__ import annotations

import gc
import inspect
import itertools
from typing import Any

import numpy as np
import pytest

import wengert as wg
from op_table import FLOATS, ROWS, Row, Sample
from test_ops import as_function
from wengert import nn
from wengert.testing import GradcheckError, spoil


def line_number() -> int:
    frame = inspect.currentframe()
    assert frame is not None
    assert frame.f_back is not None
    return frame.f_back.f_lineno


# --- check -------------------------------------------------------------------------------------


def total(fn: Any, leaves: list[Any], dtype: str) -> wg.Tensor:
    results = fn(*leaves)
    results = results if isinstance(results, tuple) else (results,)
    zero = wg.tensor(0.0, dtype=getattr(wg, dtype))
    return sum((y.sum() for y in results if y.requires_grad), zero)


def is_small(sample: Sample) -> bool:
    arrays = itertools.chain(*(a if isinstance(a, list) else [a] for a in sample.args))
    return sum(a.size for a in arrays if isinstance(a, np.ndarray)) <= 200


@pytest.mark.parametrize("dtype", FLOATS)
@pytest.mark.parametrize(
    "row", [r for r in ROWS.values() if r.differentiable], ids=lambda r: r.name
)
def test_every_operation_passes(row: Row, dtype: str) -> None:
    """No rule is called wrong that is not, and every line can be computed again."""
    if dtype not in row.dtypes:
        pytest.skip(f"no {dtype}")
    for sample in filter(is_small, row.draw(dtype, small=True)):
        fn, leaves = as_function(row, sample)
        if not total(fn, leaves, dtype).requires_grad:
            continue
        found = wg.tape(total, fn, leaves, dtype).check()
        for f in found.unknown:
            assert "finite" in f.verdict, str(f)


class Deep(nn.Module):
    """A network of which one activation, deep inside, may have a wrong rule."""

    def __init__(self, depth: int, wrong: int | None, factor: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList([nn.Linear(6, 6) for _ in range(depth)])
        self.wrong, self.factor = wrong, factor

    def forward(self, x: wg.Tensor) -> wg.Tensor:
        for k, layer in enumerate(self.layers):
            x = layer(x)
            if k == self.wrong:
                x = spoil(wg.tanh(x), self.factor)
                self.at = line_number() - 1
            else:
                x = wg.tanh(x)
        return x


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
@pytest.mark.parametrize("factor", [2.0, -1.0, 1.001])
def test_a_wrong_rule_deep_in_a_network_is_found(dtype: wg.dtype, factor: float) -> None:
    wg.manual_seed(0)
    model = Deep(20, 13, factor).to(dtype)
    x = wg.randn(8, 6, dtype=dtype)
    t = wg.tape(lambda: model(x).square().mean())
    with pytest.raises(GradcheckError) as caught:
        t.check()
    message = str(caught.value)
    assert "1 of" in message
    assert "tanh: the derivative of" in message
    assert f"test_tape_check.py:{model.at} in Deep.forward" in message
    (wrong,) = t.check(raise_exception=False).wrong
    assert (wrong.line.operation, wrong.line.module, wrong.line.line) == ("tanh", "model", model.at)
    assert wrong.by_rule == pytest.approx(factor * wrong.by_differences, rel=1e-6)
    honest = Deep(20, None, 1).to(dtype)
    found = wg.tape(lambda: honest(x).square().mean()).check()
    assert found
    assert len(found) == 20 * 3 + 20 + 2 - 1  # the first layer's input is a constant


def test_a_wrong_rule_in_a_large_line_is_found() -> None:
    x = wg.randn(300, 400).requires_grad_()
    found = wg.tape(lambda: spoil(x * 3.0, 1.001).sum()).check(raise_exception=False)
    assert [f.line.operation for f in found.wrong] == ["mul"]


class Cube(wg.autograd.Function):
    factor = 3.0

    @staticmethod
    def forward(ctx: Any, x: wg.Tensor) -> wg.Tensor:
        ctx.save_for_backward(x)
        ctx.kept = x
        return x * x * x

    @staticmethod
    def backward(ctx: Any, grad: wg.Tensor) -> wg.Tensor:
        (x,) = ctx.saved_tensors
        return Cube.factor * grad * x * x


class CubeByHand(Cube):
    @staticmethod
    def backward(ctx: Any, grad: wg.Tensor) -> wg.Tensor:
        assert grad.dtype == ctx.kept.dtype  # it knows of no float64
        return Cube.factor * grad * ctx.kept * ctx.kept


@pytest.mark.parametrize("function", [Cube, CubeByHand])
def test_functions_of_users(function: type[Cube], monkeypatch: pytest.MonkeyPatch) -> None:
    x = wg.randn(20).requires_grad_()
    t = wg.tape(lambda: (function.apply(x * 1) * 2).sum())
    found = t.check()
    assert not found.unknown, found
    monkeypatch.setattr(Cube, "factor", 3.03)
    with pytest.raises(GradcheckError, match=r"1 of 4 derivatives are wrong\n +Cube\w*: the"):
        t.check()
    audited = t.audit()
    assert all(a.rounding is not None for a in audited if a.line.index is not None)
    (x.exp() * function.apply(x)).sum().backward()
    assert x.grad is not None


def test_kinks_are_left_out() -> None:
    x = wg.tensor([-1.0, 0.0, 0.0, 2.0], requires_grad=True)
    assert wg.tape(lambda: wg.relu(x).sum()).check()
    (f, *_) = wg.tape(lambda: wg.relu(x[1:3]).abs().sum()).check().unknown
    assert "kink" in f.verdict
    found = wg.tape(lambda: spoil(wg.relu(x), 3.0).sum()).check(raise_exception=False)
    assert len(found.wrong) == 1


def test_aliases_and_changes_in_place() -> None:
    x = wg.randn(6, 6).requires_grad_()

    def f() -> wg.Tensor:
        a = x * 2
        view = a.view(4, 9)[1:]
        a.mul_(a.detach().clone())
        a[2] = a[1] * 2
        a.add_(1)
        return (a * a).sum() + (x.T @ x).sum() + view.shape[0]

    found = wg.tape(f).check()
    assert not found.unknown, found


def test_what_shares_memory_with_a_constant_is_left_out() -> None:
    x = wg.randn(3).requires_grad_()
    found = wg.tape(lambda: (x * x.detach()).sum()).check()
    assert ["constant" in f.verdict for f in found] == [True, False]


def test_constants_made_of_an_operand_stay_what_they_are() -> None:
    x = wg.randn(4).requires_grad_()

    def f() -> wg.Tensor:
        y = x / (x.detach().square().sum().sqrt() + 1)
        y = y - y.detach().max()
        return (y + (y.round() - y).detach()).sum()

    assert not wg.tape(f).check().unknown


def test_random_lines() -> None:
    x = wg.randn(50).requires_grad_()
    found = wg.tape(lambda: (nn.functional.dropout(x, 0.3) * wg.randn(50)).sum()).check()
    assert not found.unknown, found


def test_operations_with_several_results() -> None:
    x = wg.randn(4, 3).requires_grad_()

    def f() -> wg.Tensor:
        values, places = wg.sort(x, 0)
        first, *rest = wg.unbind(values)
        return (first * rest[1]).sum() + wg.take_along_dim(x, places, 0).square().sum()

    assert not wg.tape(f).check().unknown


@pytest.mark.parametrize("dtype", [wg.float16, wg.bfloat16])
def test_narrow_dtypes(dtype: wg.dtype) -> None:
    x = wg.randn(8, 8, dtype=dtype).requires_grad_()
    assert not wg.tape(lambda: (x @ x).tanh().softmax(-1).square().mean()).check().unknown


def test_check_leaves_everything_as_it_was() -> None:
    wg.manual_seed(0)
    x = wg.randn(4, 4).requires_grad_()
    x.grad = wg.ones(4, 4)
    before = x.tolist()

    def f() -> wg.Tensor:
        return (x @ x).sort(0)[0].cumsum(0).square().sum()

    value = f().item()
    t = wg.tape(f)
    t.check()
    t.audit()
    assert x.tolist() == before
    assert x.grad.tolist() == wg.ones(4, 4).tolist()
    assert f().item() == value


def test_check_is_printed() -> None:
    x = wg.ones(3).requires_grad_()
    found = wg.tape(lambda: x.exp().sum()).check()
    rows = str(found).splitlines()
    assert rows[0].split()[:3] == ["line", "by", "verdict"]
    assert rows[-1] == "Check: 2 right, 0 wrong, 0 unknown"
    assert "<table" in found._repr_html_()


def test_spoil_needs_a_result() -> None:
    for t in (wg.ones(2), wg.ones(2).requires_grad_()):
        with pytest.raises(RuntimeError, match="spoil: nothing was recorded"):
            spoil(t)
    x = wg.tensor(2.0, requires_grad=True)
    spoil(x * 3, 2.0).backward()
    assert x.grad is not None
    assert x.grad.item() == 6


# --- audit -------------------------------------------------------------------------------------


def test_audit_against_a_run_in_float64() -> None:
    wg.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    x, y = wg.randn(9, 5), wg.randn(9, 3)
    found = wg.tape(lambda: ((model(x) - y) ** 2).sum()).audit()
    exact = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3)).double()
    exact.load_state_dict(model.state_dict())
    ((exact(x.double()) - y.double()) ** 2).sum().backward()
    ((model(x) - y) ** 2).sum().backward()
    for name, p in model.named_parameters():
        q = dict(exact.named_parameters())[name]
        assert p.grad is not None
        assert q.grad is not None
        away = (p.grad.double() - q.grad).square().sum().sqrt() / q.grad.square().sum().sqrt()
        audited = found[f"model.{name}"].adjoint
        assert audited is not None
        assert audited.relative == pytest.approx(away.item(), rel=1e-6)


def test_audit_finds_the_line_that_loses_digits() -> None:
    x = wg.tensor([1e-4, 2e-4], requires_grad=True)

    def f() -> wg.Tensor:
        c = x.cos()
        lost = 1 - c  # x^2 / 2, of which hardly a digit is left
        return (lost * 2).sum()

    found = wg.tape(f).audit()
    a, b, c = found["a"], found["b"], found["c"]
    for line in (a, b, c):
        assert line.rounding is not None
        assert line.rounding.ulp <= 1
    assert a.value is not None
    assert a.value.ulp <= 1
    assert b.value is not None
    assert b.value.ulp > 1e6
    assert c.value is not None
    assert c.value.relative > 0.1
    assert b.adjoint is not None
    assert b.adjoint.ulp == 0


def test_audit_in_float64_finds_nothing() -> None:
    x = wg.randn(5, dtype=wg.float64).requires_grad_()
    found = wg.tape(lambda: (x.exp() @ x).tanh()).audit()
    assert all(a.value is None or a.value.ulp == 0 for a in found)
    assert all(a.adjoint is not None and a.adjoint.ulp == 0 for a in found)


def test_audit_of_half_precision() -> None:
    x = wg.randn(100, dtype=wg.float16).requires_grad_()
    found = wg.tape(lambda: (x.exp() * x).sum()).audit()
    rounding = [a.rounding.ulp for a in found if a.rounding]
    assert 0 < max(rounding) <= 0.51
    assert found.worst in list(found)
    assert str(found).splitlines()[0].split()[:4] == ["line", "dtype", "own", "ULP"]
    assert "<table" in found._repr_html_()


def test_ulp_distance() -> None:
    from wengert._tape.audit import ulp_distance

    one = wg.tensor([1.0, 2.0])
    error = ulp_distance(one, wg.tensor([1 + 2**-24, 2 - 2**-22], dtype=wg.float64))
    assert error is not None
    assert error.ulp == 2.0  # below 2 the spacing is 2^-23
    error = ulp_distance(wg.tensor([0.0]), wg.tensor([0.0], dtype=wg.float64))
    assert error is not None
    assert (error.ulp, error.relative) == (0.0, 0.0)
    nothing = wg.tensor([float("nan")])
    assert ulp_distance(nothing, nothing.double()) is None


# --- what stays behind -------------------------------------------------------------------------


def test_nothing_stays_in_memory() -> None:
    x = wg.randn(50, 50).requires_grad_()

    def f() -> wg.Tensor:
        return (x @ x).tanh().sum()

    def ask() -> None:
        t = wg.tape(f)
        assert t.check()
        assert len(t.audit())
        assert len(t.profile(n=2))
        assert t.backward()

    ask()
    gc.collect()
    before = wg.memory_stats()["current_blocks"]
    ask()
    gc.collect()
    assert wg.memory_stats()["current_blocks"] == before


def test_an_error_in_the_function_takes_the_instrument_away() -> None:
    x = wg.ones(2).requires_grad_()
    calls: list[int] = []

    def f() -> wg.Tensor:
        calls.append(1)
        if len(calls) > 1:
            wg.ones(2, 3) @ wg.ones(2, 3)
        return x.exp().sum()

    t = wg.tape(f)
    for ask in (t.check, t.audit, t.profile):
        with pytest.raises(RuntimeError, match="matmul"):
            ask()
    with wg.testing.count_launches() as counter:
        x.exp()
    assert counter.counts == {"exp": 1}
    with wg.tape() as after:
        x.exp()
    assert len(after) == 1
