"""Anomaly detection: the line that made the first number that is none."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HERE = r"[^\s]*test_anomaly\.py"
pytestmark = pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")


@pytest.fixture(autouse=True)
def mode_is_restored() -> Iterator[None]:
    before = wg._core.anomaly_mode()
    yield
    assert wg._core.anomaly_mode() == before


def here() -> int:
    import sys

    return sys._getframe(1).f_lineno


def test_the_switches() -> None:
    assert not wg.is_anomaly_enabled()
    assert wg.is_anomaly_check_nan_enabled()
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        block = wg.autograd.detect_anomaly()
    with block:
        assert wg.is_anomaly_enabled()
        with wg.autograd.set_detect_anomaly(False):
            assert not wg.is_anomaly_enabled()
        assert wg.is_anomaly_enabled()
        with wg.autograd.set_detect_anomaly(True, check_nan=False):
            assert wg.autograd.is_anomaly_enabled()
            assert not wg.is_anomaly_check_nan_enabled()
    wg.autograd.set_detect_anomaly(True)
    assert wg.is_anomaly_enabled()
    wg.autograd.set_detect_anomaly(False)
    wg.set_anomaly_enabled(True)
    wg.set_anomaly_enabled(False)
    assert not wg.is_anomaly_enabled()


def test_a_backward_that_makes_nan() -> None:
    x = wg.zeros(3, requires_grad=True)
    y, at = x.sqrt(), here()
    z = (y * 0).sum()
    with wg.autograd.detect_anomaly(), pytest.raises(RuntimeError) as info:
        z.backward()
    text = str(info.value)
    assert text.startswith("Function 'SqrtBackward0' returned nan values in its 0th output"), text
    assert re.search(rf"sqrt was recorded at {HERE}:{at} in test_a_backward", text), text


def test_infinite_gradients_are_no_anomaly() -> None:
    x = wg.zeros(3, requires_grad=True)
    with wg.autograd.detect_anomaly():
        x.sqrt().sum().backward()
    assert x.grad.tolist() == [math.inf] * 3


def test_nan_that_was_given() -> None:
    x = wg.ones(2, requires_grad=True)
    with wg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="given for output 0"):
        (x * 2).backward(wg.tensor([1.0, math.nan]))


def test_check_nan_off() -> None:
    x = wg.zeros(3, requires_grad=True)
    with wg.autograd.detect_anomaly(check_nan=False):
        ((x.sqrt() * 0) + wg.zeros(3).log() * 0).sum().backward()
    assert all(math.isnan(v) for v in x.grad.tolist())


def test_double_backward_and_functions() -> None:
    class Bad(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: wg.Tensor) -> wg.Tensor:
            return x.clone()

        @staticmethod
        def backward(ctx: Any, g: wg.Tensor) -> wg.Tensor:
            return g * math.nan

    x = wg.ones(2, requires_grad=True)
    y = Bad.apply(x)
    with wg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match="Function 'BadBackward"):
        y.sum().backward()
    with wg.autograd.detect_anomaly():
        (g,) = wg.autograd.grad((x**3).sum(), x, create_graph=True)
        g.sum().backward()
    assert x.grad.tolist() == [6, 6]


MADE: dict[str, tuple[Callable[[wg.Tensor], Any], str]] = {
    "div": (lambda x: x / wg.zeros(3), r"^div: made nan or inf of float32 of shape \(3,\) and f"),
    "log": (lambda x: (x * 0).log(), r"^log: .* holds 0 nan and 3 inf"),
    "sqrt": (lambda x: (-x).sqrt(), r"^sqrt: .* holds 3 nan and 0 inf"),
    "exp": (lambda x: (x * 1000).exp(), "^exp: "),
    "a number": (lambda x: x / 0, "^div: made .* and the number 0"),
    "sum": (lambda x: (x * 3e38).sum(), "^sum: "),
    "matmul": (lambda x: (x * 3e38) @ (x * 3e38), "^matmul: |^mul: |^dot: "),
    "std": (lambda x: x[:1].std(), "^std: "),
    "narrow": (lambda x: (x * 7e4).half(), "^to: "),
    "in place": (lambda x: (x * 0).log_(), "^log: "),
    "in place, div_": (lambda x: (x * 1).div_(0), "^div: "),
    "not recorded": (lambda x: wg.ones(2) / 0, "^div: "),
}  # fmt: skip


@pytest.mark.parametrize(("make", "message"), MADE.values(), ids=MADE)
def test_a_forward_that_makes_it(make: Callable[[wg.Tensor], Any], message: str) -> None:
    x = wg.ones(3, requires_grad=True)
    make(x)
    with wg.autograd.detect_anomaly(), pytest.raises(RuntimeError, match=message) as info:
        make(x)
    at = make.__code__.co_firstlineno
    assert re.search(rf" at {HERE}:{at} in ", str(info.value)), info.value
    with wg.autograd.detect_anomaly(check_forward=False):
        make(x)


def test_what_was_there_before_is_no_anomaly() -> None:
    bad = wg.tensor([math.nan, math.inf, 1.0], requires_grad=True)
    with wg.autograd.detect_anomaly():
        (bad * 2).exp().sum()
        (bad + 0).add_(1).mul_(2)
        bad.softmax(0)
        bad.masked_fill(wg.tensor([True, True, False]), -math.inf)
        wg.ones(3, requires_grad=True).masked_fill(wg.tensor([True, False, True]), -math.inf)
        wg.nn.functional.pad(wg.ones(2, requires_grad=True), (1, 1), value=-math.inf)
        wg.full((2,), math.inf) - 1
        wg.ones(3, requires_grad=True).clamp(max=math.inf)
        y = wg.ones(3, requires_grad=True) * 1
        y[0] = math.inf
        wg.where(wg.tensor([True, False]), wg.ones(2, requires_grad=True), -math.inf)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
@pytest.mark.parametrize("n", [1, 7, 31, 64, 333, 70_000, 300_001])
def test_every_place_is_looked_at(dtype: str, n: int) -> None:
    """No element is missed, and none that is finite is taken for another."""
    one = wg.ones((), requires_grad=True).to(getattr(wg, dtype)).detach()
    largest = wg.finfo(getattr(wg, dtype)).max
    x = wg.full((n,), largest, dtype=getattr(wg, dtype))
    x[::3] = -largest
    x[::5] = wg.finfo(getattr(wg, dtype)).tiny / 2
    places = {0, n - 1, n // 2, min(n - 1, 17), min(n - 1, n // 3)}
    with wg.autograd.detect_anomaly():
        x * one
        for place in places:
            for bad in (math.nan, math.inf, -math.inf):
                top = wg.zeros(n, dtype=x.dtype)
                top[place] = 1.0
                bottom = wg.ones(n, dtype=x.dtype)
                bottom[place] = 0.0
                if math.isnan(bad):
                    top[place] = 0.0
                elif bad < 0:
                    top[place] = -1.0
                with pytest.raises(RuntimeError, match=r"holds \d nan and \d inf"):
                    top / bottom


def test_layouts() -> None:
    x = wg.arange(12.0).reshape(3, 4)
    with wg.autograd.detect_anomaly():
        for y in (x.t(), x[:, ::2], x[:, :1].expand(3, 4), x[::2].t()):
            (y.clone().requires_grad_() * 2).sum().backward()
            with pytest.raises(RuntimeError, match=r"^div: "):
                y / y
        w = wg.zeros(3, 4, requires_grad=True)
        with pytest.raises(RuntimeError, match="SqrtBackward0"):
            (w.t().sqrt() * wg.zeros(4, 3))[:, 1:].sum().backward()


def test_the_tape_is_usable_afterwards() -> None:
    x = wg.zeros(3, requires_grad=True)
    z = (x.sqrt() * 0).sum()
    with wg.autograd.detect_anomaly(), pytest.raises(RuntimeError):
        z.backward(retain_graph=True)
    z.backward()
    x.grad = None
    (x + 1).sum().backward()
    assert x.grad.tolist() == [1, 1, 1]


def test_tapes_under_anomaly_detection() -> None:
    with wg.autograd.detect_anomaly():
        x = wg.ones(3, requires_grad=True)
        tape = wg.tape((x.exp() * 2).sum())
        str(tape)
        with wg.testing.count_launches() as counts:
            (x * 2).sum().backward()
    assert "all_finite" not in counts.counts


def tensors_of(sample: Any, fn: Callable[..., Any]) -> tuple[list[wg.Tensor], Any]:
    """The tensors among a sample's arguments, and the result."""
    given: list[wg.Tensor] = []

    def one(x: Any) -> Any:
        if isinstance(x, list) and x and isinstance(x[0], np.ndarray):
            return [one(each) for each in x]
        if not isinstance(x, np.ndarray):
            return x
        given.append(wg.tensor(x))
        if given[-1].is_floating_point():
            given[-1].requires_grad_()
        return given[-1]

    args = [one(x) for x in sample.args]
    return given, fn(*args, **{k: one(v) for k, v in sample.kwargs.items()})


def is_finite(t: Any) -> bool:
    return not isinstance(t, wg.Tensor) or bool(t.detach().double().isfinite().all())


OUT_OF_PLACE = {n: r for n, r in ROWS.items() if r.differentiable and not n.endswith("_")}


@pytest.mark.parametrize("row", OUT_OF_PLACE.values(), ids=OUT_OF_PLACE)
def test_finite_results_are_no_anomaly(row: Any) -> None:
    """What an operation is composed of may not be reported, where its result is finite."""
    where = {name: w for name, _, w, _, _ in wg._core.op_rows()}[row.name]
    if where & 16:
        fn = getattr(wg.linalg, row.name.removeprefix("linalg_"))
    else:
        homes = {2: wg, 4: wg.nn.functional, 8: wg._core, 1: wg.Tensor}
        fn = next(getattr(home, row.name) for bit, home in homes.items() if where & bit)
    for sample in row.draw("float64" if "float64" in row.dtypes else "float32"):
        state = wg.get_rng_state()
        given, result = tensors_of(sample, fn)
        results = result if isinstance(result, (tuple, list)) else [result]
        if not all(map(is_finite, [*given, *results])):
            continue
        wg.set_rng_state(state)
        with wg.autograd.detect_anomaly():
            tensors_of(sample, fn)
