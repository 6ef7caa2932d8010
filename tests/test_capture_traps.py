"""A capture cannot lie: nothing that a replay would not repeat gets into a program unnoticed."""

from __future__ import annotations

import math
import random
from collections import deque
from dataclasses import dataclass
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from training_steps import descent
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

X = wg.tensor([1.0, 2.0, 3.0])
FACTOR = 2.0
SETTINGS: dict[str, Any] = {"factor": 2.0, "nested": {"shift": [1.0]}}


def check_follows(step: Callable[..., Any], change: Callable[[], None], *args: Any) -> None:
    """Whether a captured function gives what the function itself gives, changed in between."""
    captured = wg.capture(step)
    args = args or (X,)
    for _ in range(3):
        assert captured(*args).tolist() == step(*args).tolist()
    assert captured.captures == 1
    change()
    for _ in range(3):
        assert captured(*args).tolist() == step(*args).tolist()


def test_a_number_in_a_closure() -> None:
    """A changed cell captures anew."""
    factor = 2.0

    def step(x: wg.Tensor) -> wg.Tensor:
        return x * factor

    def change() -> None:
        nonlocal factor
        factor = 3.0

    check_follows(step, change)


def test_a_global(monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a changed global, also one that a called function names."""

    def inner(x: wg.Tensor) -> wg.Tensor:
        return x * FACTOR

    check_follows(lambda x: inner(x) + 1, lambda: monkeypatch.setitem(globals(), "FACTOR", 5.0))


def test_a_dict_and_a_list(monkeypatch: pytest.MonkeyPatch) -> None:
    """Containers are compared to their elements."""

    def step(x: wg.Tensor) -> wg.Tensor:
        return x * SETTINGS["factor"] + SETTINGS["nested"]["shift"][0]

    shift = [1.0]
    monkeypatch.setitem(SETTINGS["nested"], "shift", shift)
    check_follows(step, lambda: shift.__setitem__(0, 4.0))
    check_follows(step, lambda: monkeypatch.setitem(SETTINGS, "factor", 7.0))


def test_an_appended_list() -> None:
    """A list that grew is another list."""
    terms = [1.0]

    def step(x: wg.Tensor) -> wg.Tensor:
        for t in terms:
            x = x + t
        return x

    check_follows(step, lambda: terms.append(3.0))


@pytest.mark.parametrize("kind", ["set", "deque", "array"])
def test_other_containers(kind: str) -> None:
    """Sets, deques and small NumPy arrays are compared by value."""
    held: Any = {"set": {1.0}, "deque": deque([1.0]), "array": np.ones(1)}[kind]

    def step(x: wg.Tensor) -> wg.Tensor:
        return x * float(sum(held))

    def change() -> None:
        if kind == "set":
            held.add(5.0)
        elif kind == "deque":
            held.append(5.0)
        else:
            held[0] = 6.0

    check_follows(step, change)


@dataclass
class Config:
    """A user's settings."""

    factor: float = 2.0


class Slotted:
    """Without a dict."""

    __slots__ = ("factor",)

    def __init__(self) -> None:
        self.factor = 2.0


@pytest.mark.parametrize("make", [Config, Slotted, lambda: SimpleNamespace(factor=2.0)])
def test_attributes(make: Callable[[], Any]) -> None:
    """Attributes of objects are compared."""
    config = make()

    def change() -> None:
        config.factor = 4.0

    check_follows(lambda x: x * config.factor, change)


def test_a_class_attribute(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of classes too."""

    class Flags:
        factor = 2.0

    def step(x: wg.Tensor) -> wg.Tensor:
        return x * Flags.factor

    check_follows(step, lambda: monkeypatch.setattr(Flags, "factor", 3.0))


class Scaled(nn.Module):
    """A module with a number and a branch."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = 2.0
        self.drop = nn.Dropout(0.5)
        self.weight = nn.Parameter(wg.ones(3))

    def forward(self, x: wg.Tensor) -> wg.Tensor:
        """Scale."""
        if self.training:
            return self.drop(x) * self.weight
        return x * self.scale * self.weight


def test_modules() -> None:
    """Training flags, numbers and replaced parameters."""
    model = Scaled().eval()

    def change(name: str, value: Any) -> Callable[[], None]:
        return lambda: setattr(model, name, value)

    with wg.no_grad():
        check_follows(lambda x: model(x), change("scale", 3.0))
        check_follows(lambda x: model(x), change("weight", nn.Parameter(wg.full((3,), 5.0))))
        captured = wg.capture(model)
        captured(X)
        model.train()
        wg.manual_seed(3)
        dropped = captured(X).tolist()
        wg.manual_seed(3)
        assert dropped == model(X).tolist()
        model.eval()
        assert captured(X).tolist() == model(X).tolist()
        assert captured.captures == 2


def test_replaced_data() -> None:
    """A parameter whose memory is another is noticed; one that is written into is simply read."""
    weight = wg.ones(3)

    def step(x: wg.Tensor) -> wg.Tensor:
        return x * weight

    def write() -> None:
        weight.fill_(4.0)

    def swap() -> None:
        weight.data = wg.full((3,), 9.0)

    check_follows(step, write)
    check_follows(step, swap)


def test_defaults_partial_and_methods() -> None:
    """Where else a function has values from."""

    def step(x: wg.Tensor, factors: list[float] = [2.0]) -> wg.Tensor:  # noqa: B006
        return x * factors[0]

    default = step.__defaults__
    assert default is not None

    def change() -> None:
        default[0][0] = 3.0

    check_follows(step, change)
    config = Config()

    def scaled(config: Config, x: wg.Tensor) -> wg.Tensor:
        return x * config.factor

    def more() -> None:
        config.factor = 8.0

    check_follows(partial(scaled, config), more)


def test_shapes_and_flags_choose_programs() -> None:
    """Branches on what a program is looked up by."""

    def step(x: wg.Tensor, double: bool = False, power: int = 1) -> wg.Tensor:
        x = x.sum() if x.dim() == 2 else x
        return x * 2 if double else x**power

    captured = wg.capture(step)
    for _ in range(2):
        for x in (X, wg.ones(2, 2), X.double(), wg.ones(6)[::2]):
            assert captured(x).tolist() == step(x).tolist()
            assert captured(x).dtype == x.dtype
        assert captured(X, True).tolist() == [2.0, 4.0, 6.0]
        assert captured(X, double=True).tolist() == [2.0, 4.0, 6.0]
        assert captured(X, power=2).tolist() == [1.0, 4.0, 9.0]
        assert captured(X, power=3).tolist() == [1.0, 8.0, 27.0]
    assert captured.captures <= 8


def test_equal_arguments_that_differ() -> None:
    """1 and True, 0.0 and -0.0 are equal, and are not the same."""
    captured = wg.capture(lambda x, v: wg.full_like(x, v) if isinstance(v, bool) else x / v)
    x = wg.ones(1)
    assert captured(x, 0.0).item() == math.inf
    assert captured(x, -0.0).item() == -math.inf
    assert captured(x, True).item() == 1
    assert captured(2 * x, 1).item() == 2


def test_grad_mode_and_autocast() -> None:
    """What the thread is set to."""

    def step(x: wg.Tensor) -> wg.Tensor:
        return (x @ x.T).detach() if wg.is_grad_enabled() else (x @ x.T) * 2

    captured = wg.capture(step)
    x = wg.randn(4, 4)
    plain = captured(x)
    with wg.no_grad():
        assert captured(x).tolist() == (plain * 2).tolist()
    with wg.autocast("cpu", dtype=wg.bfloat16):
        assert captured(x).dtype == wg.bfloat16
    assert captured(x).tolist() == plain.tolist()


# --- what is refused -----------------------------------------------------------------------------


def generated() -> Iterator[float]:
    """Yield numbers."""
    yield from (1.0, 2.0, 3.0)


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda x: x * x.sum().item(), r"item\(\)"),
        (lambda x: x if x.sum() > 0 else -x, "looked at the numbers"),
        (lambda x: wg.tensor(x.tolist()), "looked at the numbers"),
        (lambda x: wg.from_numpy(x.numpy() * 2), "looked at the numbers"),
        (lambda x: x[x > 1], "looked at the numbers"),
        (lambda x: x.nonzero(), "looked at the numbers"),
        (lambda x: wg.from_numpy(np.ones(3, np.float32)) + x, "another library"),
        (lambda x: x * int(x[0]), "looked at the numbers"),
        (lambda x: (print(x), x)[1], "looked at the numbers"),
    ],
)
def test_looking_at_numbers(
    step: Callable[..., Any], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error names the line and the remedy; nothing is returned that would not be repeated."""
    with pytest.raises(wg.CaptureError, match=message) as caught:
        wg.capture(step)(X)
    assert "test_capture_traps.py" in str(caught.value)
    capsys.readouterr()
    captured = wg.capture(step, fallback=True)
    with pytest.warns(UserWarning, match=message):
        result = captured(X)
    assert result.tolist() == step(X).tolist()
    assert captured(X + 1).tolist() == step(X + 1).tolist()


def test_random_numbers_of_python_and_numpy() -> None:
    """Draws from others' generators would be repeated."""
    rng = np.random.default_rng(0)
    own = random.Random(0)
    for draw in (random.random, np.random.rand, rng.random, own.random):
        with pytest.raises(wg.CaptureError, match="drawn from"):
            wg.capture(lambda x, draw=draw: x * float(draw()))(X)


def test_iterators() -> None:
    """An iterator would not go on."""
    numbers, counter = generated(), count()
    for step in (lambda x: x * next(numbers), lambda x: x * next(counter)):
        with pytest.raises(wg.CaptureError, match="iterator"):
            wg.capture(step)(X)


def test_changes_of_python_objects() -> None:
    """What every call changes is refused, and named; what the first makes is not."""
    seen: list[float] = []
    state = SimpleNamespace(count=0, table=None)

    def appends(x: wg.Tensor) -> wg.Tensor:
        seen.append(1.0)
        return x

    def counts(x: wg.Tensor) -> wg.Tensor:
        state.count += 1
        return x * state.count

    def lazy(x: wg.Tensor) -> wg.Tensor:
        if state.table is None:
            state.table = [2.0]
        return x * state.table[0]

    for step, name in ((appends, "seen"), (counts, "state")):
        captured = wg.capture(step)
        with pytest.raises(wg.CaptureError, match=name):
            for _ in range(5):
                captured(X)
    captured = wg.capture(lazy)
    assert [captured(X).tolist() for _ in range(3)] == [[2.0, 4.0, 6.0]] * 3
    assert captured.captures == 1

    def sums(x: wg.Tensor) -> wg.Tensor:
        if state.table is None:
            state.table = wg.zeros(3)
        state.table.add_(x)
        return state.table.clone()

    state.table = None
    captured = wg.capture(sums)
    assert [captured(X).tolist() for _ in range(4)] == [[k, 2.0 * k, 3.0 * k] for k in range(1, 5)]
    assert captured.captures == 1


def test_kept_tensors() -> None:
    """What is computed and kept elsewhere is renewed where that can be, else refused."""
    model = SimpleNamespace(last=None)
    kept: list[wg.Tensor] = []

    def remembers(x: wg.Tensor) -> wg.Tensor:
        model.last = x * 2
        return x + 1

    captured = wg.capture(remembers)
    for k in range(4):
        captured(X * k)
        assert model.last is not None
        assert model.last.tolist() == (X * k * 2).tolist()
    first = model.last
    captured(X * 9)
    assert first.tolist() == (X * 6).tolist()

    def carries(x: wg.Tensor) -> wg.Tensor:
        model.last = model.last * 2 + x
        return x + 1

    captured = wg.capture(carries)
    with pytest.raises(wg.CaptureError, match="last"):
        for _ in range(5):
            captured(X)

    def appends(x: wg.Tensor) -> wg.Tensor:
        kept.append(x * 2)
        return x

    captured = wg.capture(appends)
    with pytest.raises(wg.CaptureError, match="kept"):
        for _ in range(5):
            captured(X)


def test_a_graph_that_lives_on() -> None:
    """Results that are still to be differentiated."""
    weight = wg.ones(3, requires_grad=True)
    with pytest.raises(wg.CaptureError, match="graph"):
        wg.capture(lambda x: x * weight)(X)
    y = weight * 2
    with pytest.raises(wg.CaptureError, match="graph"):
        wg.capture(lambda x: x.sum().backward())(y)


def test_hooks() -> None:
    """Hooks that come and go are noticed, and what they name; an argument may have none."""
    weight, factor = wg.ones(3, requires_grad=True), SimpleNamespace(value=2.0)

    def step(x: wg.Tensor) -> wg.Tensor:
        weight.grad = None
        (weight * x).sum().backward()
        assert weight.grad is not None
        return weight.grad.clone()

    captured = wg.capture(step)
    grads = [captured(X).tolist() for _ in range(3)]
    handle = weight.register_hook(lambda g: g * factor.value)
    grads += [captured(X).tolist() for _ in range(2)]
    factor.value = 3.0
    grads.append(captured(X).tolist())
    handle.remove()
    grads.append(captured(X).tolist())
    assert grads == [[k, 2.0 * k, 3.0 * k] for k in (1, 1, 1, 2, 2, 3, 1)]
    leaf = X.clone().requires_grad_()
    leaf.register_hook(lambda g: g * 2)
    with pytest.raises(wg.CaptureError, match="hooks"):
        wg.capture(lambda x: x.detach() * 2)(leaf)


def test_arguments_that_are_made_others() -> None:
    """Their shape, or whether they require grad, which a replay would leave as it is."""
    for change in ("unsqueeze_(0)", "requires_grad_()", "t_()"):
        with pytest.raises(wg.CaptureError, match="in place"):
            wg.capture(eval(f"lambda x: x.{change}.detach() * 2"))(wg.ones(2, 3))


def test_arguments_that_share_memory() -> None:
    """Arguments that are one tensor, or parts of one, are not those that are two."""

    def step(a: wg.Tensor, b: wg.Tensor) -> wg.Tensor:
        a.add_(1)
        return a + b

    captured = wg.capture(step)
    a, b, whole = wg.zeros(3), wg.zeros(3), wg.zeros(4)
    assert captured(a, b).tolist() == [1.0] * 3
    assert captured(a, a).tolist() == [4.0] * 3
    assert captured(a, b).tolist() == [3.0] * 3
    assert captured(whole[:3], whole[1:]).tolist() == [2.0, 2.0, 1.0]
    held = wg.ones(3)
    captured = wg.capture(lambda x: x.mul_(2) + held)
    assert captured(wg.ones(3)).tolist() == [3.0] * 3
    assert captured(held).tolist() == [4.0] * 3
    assert held.tolist() == [2.0] * 3


def test_settings_of_optimizers_are_read_anew() -> None:
    """Learning rates, betas and weight decay need no new program; what changes launches does."""
    weight = wg.ones(3, requires_grad=True)
    optimizer = optim.SGD([weight], lr=0.1)
    captured = wg.capture(descent(weight, optimizer))
    captured(X), captured(X)
    before = weight.detach().clone()
    optimizer.param_groups[0]["lr"] = 1.0
    captured(X)
    assert weight.tolist() == (before - X).tolist()
    captures = captured.captures
    optimizer.param_groups[0]["weight_decay"] = 0.5
    before = weight.detach().clone()
    captured(X)
    assert weight.tolist() == (before - (X + 0.5 * before)).tolist()
    assert captured.captures == captures
    optimizer.param_groups[0]["momentum"] = 0.9
    for _ in range(3):
        captured(X)
    reference = optimizer.state_dict()["state"]
    assert "momentum_buffer" in reference[0]

    def looks(x: wg.Tensor) -> wg.Tensor:
        return x * optimizer.param_groups[0]["lr"]

    def change() -> None:
        optimizer.param_groups[0]["lr"] = 0.25

    check_follows(looks, change)


def test_a_loaded_state() -> None:
    """load_state_dict puts other states in place."""
    weight = wg.ones(3, requires_grad=True)
    optimizer = optim.Adam([weight], lr=0.1)
    captured = wg.capture(descent(weight, optimizer))
    for _ in range(3):
        captured(X)
    saved, at = optimizer.state_dict(), weight.detach().clone()
    saved = {
        "state": {0: {k: v.clone() for k, v in saved["state"][0].items()}},
        "param_groups": saved["param_groups"],
    }
    rows = []
    for _ in range(2):
        with wg.no_grad():
            weight.copy_(at)
        optimizer.load_state_dict(saved)
        for _ in range(3):
            captured(X)
        rows.append(weight.tolist())
    assert rows[0] == rows[1]


def test_many_signatures_warn() -> None:
    """A bounded number of programs, and a warning that says what to do."""
    captured = wg.capture(lambda x, k: x * k, max_captures=3)
    for k in range(3):
        assert captured(X, k).tolist() == [k, 2.0 * k, 3.0 * k]
    for k in range(3, 8):
        with pytest.warns(UserWarning, match="max_captures=3"):
            result = captured(X, k)
        assert result.tolist() == [k, 2.0 * k, 3.0 * k]
    assert sum(map(len, captured._entries.values())) <= 3


# --- replays beside plain runs -------------------------------------------------------------------


def test_verification_finds_what_no_guard_sees(tmp_path: Path) -> None:
    """A value from outside of Python: each second call is compared, and the line is named."""
    file = tmp_path / "factor"
    file.write_text("2.0")

    def step(x: wg.Tensor) -> wg.Tensor:
        with open(file) as f:  # noqa: PTH123
            factor = float(f.read())
        return (x * factor).exp()

    captured = wg.capture(step, verify_every=2)
    for _ in range(6):
        captured(X)
    file.write_text("3.0")
    with pytest.raises(wg.CaptureError, match=r"result 0 of shape .*exp at .*traps.py"):
        for _ in range(2):
            captured(X)
    with pytest.raises(ValueError, match="verify_every"):
        wg.capture(step, verify_every=-1)


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_verified_training(dropout: float) -> None:
    """States, gradients and generators are put back: the steps are those of plain runs."""
    rows = []
    for verify in (0, 1, 3, None):
        wg.manual_seed(0)
        model = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Dropout(dropout))
        optimizer = optim.Adam(model.parameters(), 0.1)

        def step(x: wg.Tensor) -> wg.Tensor:
            optimizer.zero_grad()  # noqa: B023
            loss = model(x).square().mean()  # noqa: B023
            loss.backward()
            optimizer.step()  # noqa: B023
            return loss

        run = step if verify is None else wg.capture(step, verify_every=verify)
        losses = [run(wg.rand(4, 3)).item() for _ in range(12)]
        rows.append((losses, model[0].weight.tolist(), model[1].running_mean.tolist()))
    assert rows[0] == rows[1] == rows[2] == rows[3]
