"""The scripts in examples/: that they run, and what they are there to show."""

from __future__ import annotations

import importlib
import math
import sys
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
SCRIPTS = sorted(p.stem for p in EXAMPLES.glob("*.py") if "def main(" in p.read_text())


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Imports a script as it is imported where it lies, and forgets it after the test."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if Path(getattr(sys.modules[name], "__file__", None) or "/").parent == EXAMPLES:
            del sys.modules[name]


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


@pytest.mark.parametrize("name", SCRIPTS)
def test_quick_run(name: str, example: Any, capsys: pytest.CaptureFixture[str]) -> None:
    example(name).main(["--quick"])
    assert "nan" not in capsys.readouterr().out


def test_reinforce_learns(example: Any) -> None:
    totals = example("reinforce").main(["--built-in", "--episodes", "100"])
    assert mean(totals[:10]) < 60
    assert max(mean(totals[i : i + 20]) for i in range(80)) > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", ["reinforce", "actor_critic"])
def test_the_pole_is_balanced(name: str, example: Any) -> None:
    totals = example(name).main(["--built-in"])
    assert mean(totals[:20]) < 60
    assert mean(totals[-20:]) > 150


def test_the_critic_learns(example: Any) -> None:
    totals = example("actor_critic").main(["--built-in", "--updates", "200"])
    assert max(mean(totals[i : i + 20]) for i in range(len(totals) - 20)) > 2 * mean(totals[:20])


def test_advantages_are_sums_of_errors(example: Any) -> None:
    import wengert as wg

    rewards, values = wg.tensor([[1.0], [2.0], [3.0]]), wg.tensor([[0.5], [0.25], [1.0]])
    next_values = wg.tensor([[0.25], [9.0], [2.0]])
    fell, ended = wg.tensor([[0.0], [1.0], [0.0]]), wg.tensor([[0.0], [1.0], [0.0]])
    found = example("actor_critic").advantages_of(
        rewards, values, next_values, fell, ended, gamma=0.5, lam=0.5
    )
    last = 3 + 0.5 * 2 - 1
    second = 2 - 0.25  # the episode ends: neither the next value nor later errors count
    first = 1 + 0.5 * 0.25 - 0.5 + 0.25 * second
    assert found.tolist() == [[first], [second], [last]]


def test_the_players_near_their_equilibrium(example: Any) -> None:
    gan = example("gan")
    early = gan.main(["--rounds", "30", "--log-every", "30"])
    late = gan.main(["--rounds", "1200", "--log-every", "1200"])
    assert early["accuracy"] > 0.7
    assert early["covariance"] > 1
    assert abs(late["accuracy"] - 0.5) < 0.05
    assert late["mean"] < 0.1
    assert late["covariance"] < 0.3


def test_the_cart_pole_obeys_its_equations(example: Any) -> None:
    """Lagrange's, of a cart and a rod of length 2 l hinged on it, hold of each step."""
    cartpole = example("cartpole")
    env = cartpole.CartPole()
    assert env.reset(seed=3)[0] == env.reset(seed=3)[0]
    cart, pole, half = cartpole.CART, cartpole.POLE, cartpole.HALF_LENGTH
    pushes = [0, 1, 1, 0, 1, 0, 0, 1]
    for push in pushes:
        x, v, angle, spin = env.state
        (x2, v2, angle2, spin2), reward, fallen, late, _ = env.step(push)
        assert (x2 - x, angle2 - angle) == pytest.approx(
            (cartpole.SECONDS * v, cartpole.SECONDS * spin)
        )
        pull, turn = (v2 - v) / cartpole.SECONDS, (spin2 - spin) / cartpole.SECONDS
        sin, cos = math.sin(angle), math.cos(angle)
        force = (cart + pole) * pull + pole * half * (turn * cos - spin**2 * sin)
        assert force == pytest.approx(cartpole.FORCE * (2 * push - 1))
        assert 4 / 3 * half * turn + pull * cos == pytest.approx(cartpole.GRAVITY * sin)
        assert (reward, fallen, late) == (1.0, False, False)
    while not env.step(1)[2]:
        pass
    assert env.steps < 30
    with pytest.raises(ValueError, match="expected action 0 or 1, got 2"):
        env.step(2)


def test_the_cart_pole_is_that_of_gymnasium(example: Any) -> None:
    pytest.importorskip("gymnasium")
    cartpole = example("cartpole")
    theirs, ours = cartpole.make(), cartpole.CartPole()
    ours.state = tuple(float(x) for x in theirs.reset(seed=0)[0])
    theirs.unwrapped.state = ours.state
    done, i = False, 0
    while not done:
        a, b = ours.step(i % 3 % 2), theirs.step(i % 3 % 2)
        assert a[0] == pytest.approx(b[0].tolist(), rel=1e-5, abs=1e-6)
        assert a[1:4] == (b[1], b[2], b[3])
        done, i = a[2], i + 1
