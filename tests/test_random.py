"""Random numbers: from the seed and the order of draws alone, with the right distributions."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable

N = 200_001
DRAWS: dict[str, Callable[[], wg.Tensor]] = {
    "rand": lambda: wg.rand(N),
    "rand64": lambda: wg.rand(N, dtype=wg.float64),
    "randn": lambda: wg.randn(N),
    "randn64": lambda: wg.randn(N, dtype=wg.float64),
    "rand_like": lambda: wg.rand_like(wg.empty(N)),
    "randn_like": lambda: wg.randn_like(wg.empty(N), dtype=wg.float64),
    "randint": lambda: wg.randint(-5, 7, (N,)),
    "randperm": lambda: wg.randperm(N),
    "uniform_": lambda: wg.empty(N).uniform_(-2, 3),
    "normal_": lambda: wg.empty(N, dtype=wg.float64).normal_(1, 2),
}
each_draw = pytest.mark.parametrize("draw", DRAWS.values(), ids=DRAWS)


def same(a: wg.Tensor, b: wg.Tensor) -> bool:
    return bool(np.array_equal(a.numpy(), b.numpy()))


@each_draw
def test_the_seed_decides(draw: Callable[[], wg.Tensor]) -> None:
    wg.manual_seed(3)
    first, second = draw(), draw()
    assert not same(first, second)
    wg.manual_seed(3)
    assert same(draw(), first)
    assert same(draw(), second)
    wg.manual_seed(4)
    assert not same(draw(), first)
    assert wg.initial_seed() == 4


@each_draw
def test_threads_do_not_matter(draw: Callable[[], wg.Tensor]) -> None:
    made = []
    for threads in (1, 2):
        wg.set_num_threads(threads)
        wg.manual_seed(3)
        made.append(draw())
    wg.set_num_threads(2)
    assert same(*made)


@each_draw
def test_states_can_be_restored(draw: Callable[[], wg.Tensor]) -> None:
    draw()
    state = wg._core.random_state()
    first = draw()
    wg._core.set_random_state(*state)
    assert same(draw(), first)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (3,), (63,), (64,), (65,), (5, 13), (1000,)])
@pytest.mark.parametrize("name", ["rand", "randn"])
def test_a_shorter_draw_is_the_start_of_a_longer_one(name: str, shape: Any) -> None:
    wg.manual_seed(1)
    short = getattr(wg, name)(shape).reshape(-1)
    wg.manual_seed(1)
    assert same(getattr(wg, name)(5000)[: short.numel()], short)


def moments(x: Any) -> list[float]:
    """Mean, variance, skewness, excess kurtosis."""
    x = x.astype("float64")
    z = (x - x.mean()) / x.std()
    return [x.mean(), x.var(), (z**3).mean(), (z**4).mean() - 3]


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_uniform_moments(dtype: Any, seed: int) -> None:
    wg.manual_seed(seed)
    x = wg.rand(N, dtype=dtype).numpy()
    assert 0 <= x.min() < 1e-4
    assert 1 - 1e-4 < x.max() < 1
    np.testing.assert_allclose(moments(x), [0.5, 1 / 12, 0, -1.2], atol=0.02)
    counts = np.histogram(x, 100, (0, 1))[0]
    chi_squared = float(((counts - N / 100) ** 2).sum() / (N / 100))
    assert 50 < chi_squared < 170  # 99 degrees of freedom


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64], ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2**40])
def test_normal_moments(dtype: Any, seed: int) -> None:
    wg.manual_seed(seed)
    x = wg.randn(N, dtype=dtype).numpy()
    np.testing.assert_allclose(moments(x), [0, 1, 0, 0], atol=0.05)
    assert 4 < np.abs(x).max() < 7
    for cut in (0.5, 1.0, 2.0, 3.0):
        assert np.mean(np.abs(x) < cut) == pytest.approx(math.erf(cut / math.sqrt(2)), abs=0.005)
    assert np.corrcoef(x[:-1], x[1:])[0, 1] == pytest.approx(0, abs=0.01)


def test_ranges() -> None:
    u = wg.empty(N).uniform_(-2, 3).numpy()
    assert -2 <= u.min() < -1.99
    assert 2.99 < u.max() <= 3
    n = wg.empty(N).normal_(5, 0.5).numpy()
    assert (n.mean(), n.std()) == (pytest.approx(5, abs=0.01), pytest.approx(0.5, abs=0.01))
    assert set(wg.randint(3, (1000,)).tolist()) == {0, 1, 2}
    assert set(wg.randint(-1, 2, (1000,)).tolist()) == {-1, 0, 1}
    assert wg.randint(5, 6, (10,)).tolist() == [5] * 10
    counts = np.bincount(wg.randint(10, (N,)).numpy())
    assert counts.min() > 0.95 * N / 10
    assert wg.randint(2**40, (1000,)).max().item() > 2**39
    assert wg.randint(2, (4,), dtype=wg.float32).dtype is wg.float32


@pytest.mark.parametrize("n", [0, 1, 2, 7, 1000, N])
def test_randperm_is_a_permutation(n: int) -> None:
    assert same(wg.tensor(np.sort(wg.randperm(n).numpy())), wg.arange(n))


def test_randperm_reaches_every_order() -> None:
    seen: dict[tuple[int, ...], int] = {}
    for _ in range(6000):
        order = tuple(wg.randperm(3).tolist())
        seen[order] = seen.get(order, 0) + 1
    assert len(seen) == 6
    assert min(seen.values()) > 850


def test_in_place_draws_fill_strided_memory_only() -> None:
    x = wg.zeros(10, 4)
    x[:, ::2].normal_()
    assert (x[:, ::2] != 0).all()
    assert (x[:, 1::2] == 0).all()
