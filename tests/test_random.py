"""Random numbers: from the seed and the order of draws alone, with the right distributions."""

from __future__ import annotations

import copy
import math
import pickle
import threading
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
    "log_normal_": lambda: wg.empty(N).log_normal_(),
    "exponential_": lambda: wg.empty(N).exponential_(),
    "cauchy_": lambda: wg.empty(N, dtype=wg.bfloat16).cauchy_().float(),
    "geometric_": lambda: wg.empty(N, dtype=wg.int64).geometric_(0.01),
    "random_": lambda: wg.empty(N, dtype=wg.int32).random_(),
    "bernoulli": lambda: wg.bernoulli(wg.full((N,), 0.3)),
    "bernoulli_": lambda: wg.empty(N).bernoulli_(0.3),
    "normal": lambda: wg.normal(wg.zeros(N), wg.ones(N)),
    "poisson": lambda: wg.poisson(wg.arange(N).float() * (50 / N)),
    "multinomial": lambda: wg.multinomial(wg.ones(100, 200), 20),
    "multinomial_again": lambda: wg.multinomial(wg.ones(100, 200), 500, replacement=True),
    "dropout": lambda: wg.dropout(wg.ones(N), 0.4, True),
    "randint_like": lambda: wg.randint_like(wg.empty(N), 1000),
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
    state = wg.get_rng_state()
    first = draw()
    wg.set_rng_state(state)
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


# --- other distributions ------------------------------------------------------------------------

FLOATS = (wg.float32, wg.float64)


def quantiles_fit(x: Any, cdf: Callable[[Any], Any]) -> None:
    """Kolmogorov and Smirnov's distance, below what one draw in a million exceeds."""
    x = np.sort(x.astype("float64"))
    steps = np.arange(len(x) + 1) / len(x)
    f = cdf(x)
    distance = max(np.abs(f - steps[1:]).max(), np.abs(f - steps[:-1]).max())
    assert distance < 2.7 / math.sqrt(len(x))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_continuous_distributions(dtype: Any) -> None:
    wg.manual_seed(5)
    x = wg.empty(N, dtype=dtype)
    quantiles_fit(x.exponential_(2.5).numpy(), lambda v: 1 - np.exp(-2.5 * v))
    assert (x > 0).all()
    quantiles_fit(x.cauchy_(1, 2).numpy(), lambda v: np.arctan((v - 1) / 2) / np.pi + 0.5)
    assert np.abs(x.numpy()).max() > 1e4
    erf = np.vectorize(math.erf)
    quantiles_fit(
        x.log_normal_(0.5, 0.25).numpy(),
        lambda v: 0.5 + 0.5 * erf((np.log(v) - 0.5) / (0.25 * math.sqrt(2))),
    )


def chi_squared_fits(counts: Any, expected: Any) -> None:
    """Within six standard deviations of a chi-squared variable of this many cells."""
    counts, expected = np.asarray(counts, "float64"), np.asarray(expected, "float64")
    freedom = len(counts) - 1
    value = ((counts - expected) ** 2 / expected).sum()
    assert abs(value - freedom) < 6 * math.sqrt(2 * freedom) + 6


@pytest.mark.parametrize("dtype", [*FLOATS, wg.int64], ids=str)
@pytest.mark.parametrize("p", [0.02, 0.5, 0.97])
def test_geometric(p: float, dtype: Any) -> None:
    wg.manual_seed(6)
    x = wg.empty(N, dtype=dtype).geometric_(p).numpy().astype(int)
    assert x.min() == 1
    ks = np.arange(1, 200)
    expected = N * p * (1 - p) ** (ks - 1)
    ks = ks[expected > 10]
    counts = [*np.bincount(x, minlength=300)[ks], (x > ks[-1]).sum()]
    chi_squared_fits(counts, [*expected[: len(ks)], N * (1 - p) ** len(ks)])


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0, 9.99, 10.0, 25.0, 300.0, 1e6])
def test_poisson(rate: float, dtype: Any) -> None:
    wg.manual_seed(7)
    x = wg.poisson(wg.full((N,), rate, dtype=dtype)).numpy().astype("float64")
    assert x.mean() == pytest.approx(rate, abs=5 * math.sqrt(rate / N))
    assert x.var() == pytest.approx(rate, rel=0.02, abs=1e-9)
    assert (x == np.floor(x)).all()
    if not 0 < rate < 1000:
        return
    ks = np.arange(400)
    logs = [k * math.log(rate) - rate - math.lgamma(k + 1) for k in ks]
    expected = N * np.exp(logs)
    often = expected > 10
    counts = np.bincount(x.astype(int), minlength=400)[:400]
    chi_squared_fits(counts[often], expected[often] * counts[often].sum() / expected[often].sum())


def test_poisson_of_the_largest_rates() -> None:
    x = wg.poisson(wg.tensor([1e13, 1e300, math.inf], dtype=wg.float64))
    assert x.tolist() == [pytest.approx(1e13, rel=1e-5), pytest.approx(1e300), math.inf]


@pytest.mark.parametrize("dtype", [*FLOATS, wg.float16, wg.bfloat16, wg.int64, wg.bool], ids=str)
@pytest.mark.parametrize("p", [0.0, 1e-3, 0.3, 1.0])
def test_bernoulli(p: float, dtype: Any) -> None:
    wg.manual_seed(8)
    slack = 5 * math.sqrt(p * (1 - p) / N)
    for x in (
        wg.empty(N, dtype=dtype).bernoulli_(p),
        wg.zeros(N, dtype=dtype).bernoulli(p),
        wg.empty(N, dtype=dtype).bernoulli_(wg.full((N,), p, dtype=wg.float64)),
    ):
        assert x.dtype is dtype
        values = x.to(wg.float64).numpy()
        assert set(np.unique(values)) <= {0.0, 1.0}
        assert values.mean() == pytest.approx(p, abs=slack)


def test_normal_takes_each_its_own() -> None:
    wg.manual_seed(9)
    x = wg.normal(wg.tensor([[0.0], [100.0]]), wg.tensor([1.0, 0.0, 5.0])).shape
    assert x == (2, 3)
    mean, std = wg.tensor([0.0, 100.0]).expand(N, 2), wg.tensor([1.0, 5.0])
    x = wg.normal(mean, std).numpy()
    np.testing.assert_allclose(x.mean(0), [0, 100], atol=0.06)
    np.testing.assert_allclose(x.std(0), [1, 5], rtol=0.02)
    assert (wg.normal(3.0, wg.zeros(4)) == 3).all()


@pytest.mark.parametrize("dtype", [wg.float16, wg.bfloat16], ids=str)
def test_narrow_uniforms_stay_below_one(dtype: Any) -> None:
    wg.manual_seed(10)
    x = wg.rand(N, dtype=dtype).float().numpy()
    assert 0.99 < x.max() < 1
    assert x.mean() == pytest.approx(0.5, abs=0.005)


@pytest.mark.parametrize("dtype", [wg.uint8, wg.int8, wg.int16, wg.bool, wg.int32], ids=str)
def test_random_covers_the_dtype(dtype: Any) -> None:
    x = wg.empty(N, dtype=dtype).random_().to(wg.int64)
    high = {wg.bool: 1, wg.uint8: 255, wg.int8: 127}.get(dtype)
    assert x.min() >= 0
    if high is not None:
        assert np.unique(x.numpy()).tolist() == list(range(high + 1))
    assert set(wg.empty(500, dtype=wg.int8).random_(-2, 3).tolist()) == {-2, -1, 0, 1, 2}
    whole = wg.empty(1000, dtype=wg.int64).random_(-(2**63), None).numpy()
    assert whole.min() < -(2**62)
    assert whole.max() > 2**62


# --- categories ---------------------------------------------------------------------------------


def test_multinomial_with_replacement() -> None:
    wg.manual_seed(11)
    weights = np.array([[1.0, 0, 2, 5], [0, 0, 3, 0]])
    x = wg.multinomial(wg.tensor(weights), N, replacement=True).numpy()
    counts = np.bincount(x[0], minlength=4)
    assert counts[1] == 0
    chi_squared_fits(counts[[0, 2, 3]], N * np.array([1, 2, 5]) / 8)
    assert (x[1] == 2).all()


def test_multinomial_without_replacement() -> None:
    wg.manual_seed(12)
    w = np.array([1.0, 2, 5])
    x = wg.multinomial(wg.tensor(w).expand(30_000, 3), 3).numpy()
    assert (np.sort(x) == np.arange(3)).all()
    p = w / w.sum()
    orders = [(a, b) for a in range(3) for b in range(3) if a != b]
    counts = [((x[:, 0] == a) & (x[:, 1] == b)).sum() for a, b in orders]
    chi_squared_fits(counts, [30_000 * p[a] * p[b] / (1 - p[a]) for a, b in orders])
    assert set(wg.multinomial(wg.tensor([0.0, 1, 0, 1]), 2).tolist()) == {1, 3}


# --- dropout ------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [*FLOATS, wg.bfloat16], ids=str)
@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_dropout(p: float, dtype: Any) -> None:
    wg.manual_seed(13)
    x = wg.ones(N, dtype=dtype, requires_grad=True)
    y = wg.nn.functional.dropout(x, p)
    assert y.dtype is dtype
    values = y.detach().to(wg.float64).numpy()
    kept = float(wg.tensor(1 / (1 - p), dtype=dtype))
    assert set(np.unique(values)) == {0.0, kept}
    assert np.mean(values == 0) == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / N))
    y.sum().backward()
    assert same(x.grad.float(), y.detach().float())


def test_dropout_derivatives() -> None:
    def dropped(x: wg.Tensor) -> wg.Tensor:
        wg.manual_seed(14)
        return wg.nn.functional.dropout(x * x, 0.4).t() * x.t()

    x = wg.randn(4, 5, dtype=wg.float64, requires_grad=True)
    assert wg.testing.gradcheck(dropped, [x])
    assert wg.testing.gradgradcheck(dropped, [x])


@pytest.mark.parametrize("dtype", [wg.float32, wg.float16], ids=str)
def test_dropout_in_place(dtype: Any) -> None:
    x = wg.randn(100, 6, dtype=dtype)
    wg.manual_seed(15)
    want = wg.dropout(x, 0.5, True)
    for made in (x.clone(), x.t().clone().t()):
        wg.manual_seed(15)
        assert wg.nn.functional.dropout(made, 0.5, inplace=True) is made
        assert same(made.float(), want.float())
    leaf = wg.ones(1000, requires_grad=True)
    y = leaf * 3
    wg.dropout_(y, 0.5, True)
    y.sum().backward()
    assert same(leaf.grad, y.detach())


def test_dropout_that_does_nothing_returns_its_input() -> None:
    x = wg.ones(3)
    assert wg.dropout(x, 0.5, train=False) is x
    assert wg.nn.functional.dropout(x, 0.0) is x
    assert math.isnan(wg.dropout(wg.tensor([math.inf]), 1.0, True).item())


# --- generators ---------------------------------------------------------------------------------

OWN: dict[str, Callable[[Any], wg.Tensor]] = {
    "rand": lambda g: wg.rand(50, generator=g),
    "randn": lambda g: wg.randn(50, generator=g),
    "rand_like": lambda g: wg.rand_like(wg.empty(50), generator=g),
    "randn_like": lambda g: wg.randn_like(wg.empty(50), generator=g),
    "randint": lambda g: wg.randint(10**6, (50,), generator=g),
    "randint_like": lambda g: wg.randint_like(wg.empty(50), 10**6, generator=g),
    "randperm": lambda g: wg.randperm(50, generator=g),
    "normal": lambda g: wg.normal(wg.zeros(50), wg.ones(50), generator=g),
    "normal_sizes": lambda g: wg.normal(0.0, 1.0, (50,), generator=g),
    "bernoulli": lambda g: wg.bernoulli(wg.full((50,), 0.5), generator=g),
    "bernoulli_p": lambda g: wg.empty(50).bernoulli(0.5, generator=g),
    "bernoulli_": lambda g: wg.empty(50).bernoulli_(generator=g),
    "multinomial": lambda g: wg.multinomial(wg.ones(100), 50, generator=g),
    "poisson": lambda g: wg.poisson(wg.full((50,), 30.0), generator=g),
    **{
        name: lambda g, name=name: getattr(wg.empty(50), name)(generator=g)
        for name in ("uniform_", "normal_", "exponential_", "log_normal_", "cauchy_", "random_")
    },
    "geometric_": lambda g: wg.empty(50).geometric_(0.01, generator=g),
}


@pytest.mark.parametrize("draw", OWN.values(), ids=OWN)
def test_a_generator_of_ones_own(draw: Callable[[Any], wg.Tensor]) -> None:
    before = wg.get_rng_state()
    g = wg.Generator().manual_seed(3)
    first, second = draw(g), draw(g)
    assert not same(first, second)
    assert same(draw(wg.Generator().manual_seed(3)), first)
    assert same(wg.get_rng_state(), before)
    wg.manual_seed(3)
    assert same(draw(None), first)
    assert same(draw(wg.default_generator), second)


def test_generator_states() -> None:
    g = wg.Generator(device="cpu")
    assert g.initial_seed() == 67280421310721
    assert str(g.device) == "cpu"
    assert g.manual_seed(7) is g
    wg.rand(10, generator=g)
    state = g.get_state()
    assert state.dtype is wg.uint8
    copies = [g.clone_state(), copy.deepcopy(g), pickle.loads(pickle.dumps(g))]
    copies.append(wg.Generator().set_state(state))
    want = wg.rand(10, generator=g)
    for each in copies:
        assert each.initial_seed() == 7
        assert same(wg.rand(10, generator=each), want)
    assert g.seed() == g.initial_seed()
    assert wg.seed() == wg.initial_seed()
    assert wg.manual_seed(-1) is wg.default_generator
    assert wg.initial_seed() == 2**64 - 1


def test_fork_rng() -> None:
    wg.manual_seed(1)
    first = wg.rand(3)
    wg.manual_seed(1)
    with wg.random.fork_rng():
        wg.manual_seed(2)
        wg.rand(3)
    assert same(wg.rand(3), first)
    with wg.random.fork_rng(enabled=False):
        wg.manual_seed(1)
    assert same(wg.rand(3), first)


def test_draws_of_other_threads_do_not_overlap() -> None:
    g = wg.Generator().manual_seed(1)
    drawn: list[Any] = []
    threads = [
        threading.Thread(target=lambda: drawn.extend(wg.rand(64, generator=g) for _ in range(50)))
        for _ in range(4)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len({x[0].item() for x in drawn}) > 190
    starts = {x.numpy().tobytes() for x in drawn}
    assert len(starts) == 200


def test_fills_forget_what_was_recorded() -> None:
    leaf = wg.ones(3, requires_grad=True)
    y = leaf * 2
    y.uniform_()
    (y * 3).sum().backward()
    assert leaf.grad is None
    p = wg.full((3,), 0.5, requires_grad=True)
    assert wg.bernoulli(p).requires_grad
    (wg.bernoulli(p) * p).sum().backward()
    assert set(p.grad.tolist()) <= {0.0, 1.0}
