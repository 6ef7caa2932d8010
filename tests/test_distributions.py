"""Distributions against PyTorch's: probabilities, gradients, divergences, errors; their draws."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.distributions as wd
from oracle import needs_torch, torch
from wengert.testing import gradcheck

if torch is not None:
    import torch.distributions as td

RNG = np.random.default_rng(0)


def positive(*shape: int) -> np.ndarray:
    return RNG.uniform(0.3, 2.5, shape)


def spd(*shape: int) -> np.ndarray:
    a = RNG.normal(size=shape)
    return a @ a.swapaxes(-1, -2) + 0.5 * np.eye(shape[-1])


@dataclass(frozen=True)
class Case:
    """A distribution, its parameters as arrays, and values inside its support."""

    type: str
    params: dict[str, np.ndarray]
    value: np.ndarray
    independent: int = 0
    name: str = ""

    def make(self, library: Any, dtype: str = "float64", grad: bool = False) -> tuple[Any, Any]:
        namespace = wd if library is wg else td
        params = {
            k: library.tensor(v, dtype=getattr(library, dtype), requires_grad=grad)
            for k, v in self.params.items()
        }
        made = getattr(namespace, self.type)(**params)
        if self.independent:
            made = namespace.Independent(made, self.independent)
        return made, list(params.values())

    def __str__(self) -> str:
        return self.name or f"{self.type}-{'-'.join(self.params)}"


SIMPLEX = RNG.dirichlet(np.ones(4), (2, 3))
LOWER = np.linalg.cholesky(spd(3, 3))
COUNTS = RNG.integers(0, 6, (5, 2, 3)).astype(float)
BITS = RNG.integers(0, 2, (5, 2, 3)).astype(float)
NORMALS = RNG.normal(size=(5, 2, 3))
PLACE = {"loc": RNG.normal(size=(2, 3)), "scale": positive(2, 3)}
CASES = [
    Case("Normal", PLACE, NORMALS),
    Case("Laplace", PLACE, NORMALS),
    Case("Normal", {"loc": PLACE["loc"], "scale": positive(3)}, NORMALS, 0, "Normal-broadcast"),
    Case("Normal", PLACE, NORMALS, 1, "Independent-Normal"),
    Case("Uniform", {"low": -positive(2, 3), "high": positive(2, 3)}, RNG.uniform(-0.3, 0.3, 3)),
    Case("Exponential", {"rate": positive(2, 3)}, positive(5, 2, 3)),
    Case(
        "Uniform",
        {"low": positive(2, 3) / 10, "high": 0.4 + positive(2, 3) / 5},
        RNG.uniform(0.26, 0.39, (5, 2, 3)),
    ),
    Case("Gamma", {"concentration": positive(2, 3), "rate": positive(2, 3)}, positive(5, 2, 3)),
    Case(
        "Beta", {"concentration1": positive(2, 3), "concentration0": positive(3)}, SIMPLEX[..., 0]
    ),
    Case("Poisson", {"rate": positive(2, 3)}, COUNTS),
    Case("Bernoulli", {"probs": SIMPLEX[..., 0]}, BITS),
    Case("Bernoulli", {"logits": PLACE["loc"]}, BITS),
    Case("Bernoulli", {"logits": PLACE["loc"]}, BITS, 2, "Independent-Bernoulli"),
    Case("Geometric", {"probs": SIMPLEX[..., 0]}, COUNTS),
    Case("Geometric", {"logits": PLACE["loc"]}, COUNTS),
    Case("Categorical", {"probs": 3 * SIMPLEX}, RNG.integers(0, 4, (5, 2, 3))),
    Case("Categorical", {"logits": RNG.normal(size=(3, 4))}, RNG.integers(0, 4, (5, 2, 3))),
    Case("OneHotCategorical", {"probs": SIMPLEX}, np.eye(4)[RNG.integers(0, 4, (5, 2, 3))]),
    Case("OneHotCategorical", {"logits": SIMPLEX}, np.eye(4)[RNG.integers(0, 4, (2, 3))]),
    Case(
        "MultivariateNormal", {"loc": RNG.normal(size=3), "covariance_matrix": spd(3, 3)}, NORMALS
    ),
    Case("MultivariateNormal", {"loc": PLACE["loc"], "precision_matrix": spd(3, 3)}, NORMALS),
    Case("MultivariateNormal", {"loc": PLACE["loc"], "covariance_matrix": spd(2, 3, 3)}, NORMALS),
    Case("MultivariateNormal", {"loc": RNG.normal(size=(5, 1, 3)), "scale_tril": LOWER}, NORMALS),
    Case(
        "MultivariateNormal",
        {"loc": RNG.normal(size=(4, 1, 3)), "covariance_matrix": spd(2, 3, 3)},
        RNG.normal(size=(5, 4, 2, 3)),
    ),
]
IDS = [f"{i}-{case}" for i, case in enumerate(CASES)]


def close(a: Any, b: Any, rtol: float = 1e-9, atol: float = 1e-12) -> None:
    assert tuple(a.shape) == tuple(b.shape)
    assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
    np.testing.assert_allclose(a.detach().numpy(), b.detach().numpy(), rtol=rtol, atol=atol)


def call(distribution: Any, name: str, *args: Any) -> Any:
    """An attribute or the result of a method; None if it is not implemented."""
    try:
        found = getattr(distribution, name)
        return found(*args) if callable(found) else found
    except NotImplementedError:
        return None


def same(ours: Any, theirs: Any, name: str, ours_by: Any, theirs_by: Any, *args: Any) -> None:
    """Values, and the derivatives of their sum, are PyTorch's."""
    a = call(ours, name, *[wg.tensor(x) for x in args])
    b = call(theirs, name, *[torch.tensor(x) for x in args])
    assert (a is None) == (b is None), name
    if a is None:
        return
    close(a, b)
    assert a.requires_grad == b.requires_grad, name
    if a.requires_grad:
        g = wg.autograd.grad(a.sum(), ours_by, retain_graph=True, allow_unused=True)
        h = torch.autograd.grad(b.sum(), theirs_by, retain_graph=True, allow_unused=True)
        for x, y in zip(g, h, strict=True):
            assert (x is None) == (y is None), name
            if x is not None:
                close(x, y, rtol=1e-8)  # of PyTorch's trigamma


@needs_torch
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_equal_torch(case: Case) -> None:
    (ours, by), (theirs, by_torch) = case.make(wg, grad=True), case.make(torch, grad=True)
    for name in ("mean", "variance", "stddev", "mode", "entropy", "perplexity"):
        same(ours, theirs, name, by, by_torch)
    same(ours, theirs, "log_prob", by, by_torch, case.value)
    if case.type != "Gamma":
        same(ours, theirs, "cdf", by, by_torch, case.value)
    same(ours, theirs, "icdf", by, by_torch, np.array([[0.05, 0.5, 0.99]]))


@needs_torch
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_shapes_equal_torch(case: Case) -> None:
    for dtype in ("float32", "float64"):
        (ours, _), (theirs, _) = case.make(wg, dtype), case.make(torch, dtype)
        for kind in ("batch_shape", "event_shape"):
            assert isinstance(getattr(ours, kind), wg.Size)
            assert tuple(getattr(ours, kind)) == tuple(getattr(theirs, kind))
        assert ours.has_rsample == (theirs.has_rsample and case.type not in ("Beta", "Gamma"))
        assert ours.has_enumerate_support == theirs.has_enumerate_support
        if case.type not in ("Beta", "OneHotCategorical"):  # PyTorch's do not show theirs
            assert repr(ours).replace("wengert.Size", "torch.Size") == repr(theirs)
        for shape in ((), (3,), (2, 0), wg.Size([2, 1])):
            if "Categorical" in case.type and 0 in shape:
                continue  # multinomial wants one draw at least
            a, b = ours.sample(shape), theirs.sample(tuple(shape))
            assert tuple(a.shape) == tuple(b.shape)
            assert str(a.dtype).split(".")[-1] == str(b.dtype).split(".")[-1]
        assert ours.sample_n(2).shape == ours.sample((2,)).shape


@needs_torch
@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_expanded_equal_torch(case: Case) -> None:
    (ours, by), (theirs, by_torch) = case.make(wg, grad=True), case.make(torch, grad=True)
    shape = (6, *theirs.batch_shape)
    for d in (ours, theirs):  # lazy attributes that are there are expanded too
        call(d, "entropy")
    wide, wide_torch = ours.expand(shape), theirs.expand(shape)
    assert type(wide) is type(ours)
    assert tuple(wide.batch_shape) == tuple(wide_torch.batch_shape) == shape
    assert wide.event_shape == ours.event_shape
    same(wide, wide_torch, "variance", by, by_torch)
    same(wide, wide_torch, "entropy", by, by_torch)
    same(wide, wide_torch, "log_prob", by, by_torch, wide.sample().numpy())
    for d in (ours, theirs):
        if d.batch_shape:
            with pytest.raises(RuntimeError):
                d.expand((7,) * len(d.batch_shape))


# Draws. With n of them, the mean of a quantity of standard deviation s is off by more than
# 5 s / sqrt(n) once in 1.7 million cases; the seed is fixed besides.
DRAWS = 40_000
HAVE_CDF = ("Normal", "Laplace", "Exponential", "Uniform")


@pytest.mark.parametrize("case", CASES, ids=IDS)
def test_moments_of_draws(case: Case) -> None:
    d, _ = case.make(wg)
    x = d.sample((DRAWS,)).double().numpy()
    if case.type == "Categorical":  # whose draws are names: their frequencies
        x = np.eye(4)[x.astype(int)]
        mean = d.probs.numpy()
        variance = mean * (1 - mean)
    else:
        mean, variance = d.mean.numpy(), d.variance.numpy()
    bound = 5 / np.sqrt(DRAWS)
    assert np.all(np.abs(x.mean(0) - mean) <= bound * np.sqrt(variance))
    squares = (x - mean) ** 2
    assert np.all(np.abs(squares.mean(0) - variance) <= bound * squares.std(0) + 1e-12)
    if case.type == "MultivariateNormal":
        away = x - mean
        products = away[..., :, None] * away[..., None, :]
        covariance = d.covariance_matrix.numpy()
        assert np.all(np.abs(products.mean(0) - covariance) <= bound * products.std(0))
    again, _ = case.make(wg)
    wg.manual_seed(7)
    first = d.sample((3,))
    wg.manual_seed(7)
    assert first.tolist() == again.sample((3,)).tolist()


@pytest.mark.parametrize(
    "case", [c for c in CASES if c.type in HAVE_CDF and not c.independent], ids=str
)
def test_draws_follow_the_cdf(case: Case) -> None:
    d, _ = case.make(wg)
    x = d.sample((DRAWS,))
    ranks = np.sort(d.cdf(x).numpy(), axis=0)
    n = np.arange(1, DRAWS + 1).reshape(-1, 1, 1) / DRAWS
    assert np.max(np.abs(ranks - n)) < 2.0 / np.sqrt(DRAWS)  # Kolmogorov: 1 in 1,500 beyond
    p = wg.linspace(0.01, 0.99, 21, dtype=wg.float64).view(-1, 1, 1)
    close(d.cdf(d.icdf(p)), p.expand(21, *d.batch_shape))


REPARAMETRIZED = [
    c
    for c in CASES
    if c.make(wg)[0].has_rsample and not {*c.params} & {"covariance_matrix", "precision_matrix"}
]  # but not by symmetric matrices: differences would leave them


@pytest.mark.parametrize("case", REPARAMETRIZED, ids=str)
def test_draws_are_differentiable(case: Case) -> None:
    """The pathwise derivative is that of the same draw at other parameters."""
    _, by = case.make(wg, grad=True)

    def draw(*params: wg.Tensor) -> Any:
        wg.manual_seed(5)
        d = getattr(wd, case.type)(
            **dict(zip(case.params, params, strict=True)), validate_args=False
        )
        return d.rsample((2,))

    assert gradcheck(draw, tuple(by))
    d, _ = case.make(wg, grad=True)
    assert d.rsample().requires_grad
    assert not d.sample().requires_grad


@pytest.mark.parametrize("name", ["covariance_matrix", "precision_matrix"])
def test_draws_pass_gradients_to_a_matrix(name: str) -> None:
    base = wg.tensor(RNG.normal(size=(3, 3)), requires_grad=True)

    def draw(a: wg.Tensor) -> wg.Tensor:
        wg.manual_seed(5)
        matrix = a @ a.mT + wg.eye(3, dtype=wg.float64)
        loc = wg.zeros(2, 3, dtype=wg.float64)
        return wd.MultivariateNormal(loc, **{name: matrix}).rsample((2,))

    assert gradcheck(draw, base)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
def test_draws_of_small_concentrations(dtype: Any) -> None:
    """Gamma draws so small that both of a beta's would be zero."""
    a = wg.full((DRAWS,), 1e-3, dtype=dtype)
    g = wd.Gamma(a, 1.0).sample()
    assert g.min() > 0
    assert abs(g.double().mean().item() - 1e-3) < 5 * np.sqrt(1e-3 / DRAWS)
    x = wd.Beta(a, 2 * a).sample()
    assert (x.min() > 0) & (x.max() < 1)
    assert abs(x.double().mean().item() - 1 / 3) < 5 * np.sqrt(2 / 9 / DRAWS)
    large = wd.Gamma(wg.full((DRAWS,), 1e6, dtype=dtype), 1e6).sample().double()
    assert abs(large.mean().item() - 1) < 5e-3 / np.sqrt(DRAWS) + 1e-6


def test_draws_of_wrong_parameters_end() -> None:
    for a in (float("nan"), float("inf"), -1.0, 0.0):
        wd.Gamma(a, 1.0, validate_args=False).sample((10,))


def test_score_function_gradient_is_the_pathwise_one_in_the_mean() -> None:
    """d/dm E[x^2] = 2 m, by either estimator."""
    m = wg.tensor(1.5, dtype=wg.float64, requires_grad=True)
    d = wd.Normal(m, 1.0)
    (pathwise,) = wg.autograd.grad(d.rsample((DRAWS,)).square().mean(), m)
    x = d.sample((DRAWS,))
    (score,) = wg.autograd.grad((d.log_prob(x) * x.square()).mean(), m)
    assert abs(pathwise.item() - 3) < 5 * 2 / np.sqrt(DRAWS)
    spread = ((x - 1.5) * x.square()).std().item()
    assert abs(score.item() - 3) < 5 * spread / np.sqrt(DRAWS)


def test_straight_through() -> None:
    logits = wg.tensor([[0.3, -1.0, 2.0]], requires_grad=True)
    d = wd.OneHotCategoricalStraightThrough(logits=logits)
    x = d.rsample((5,))
    close(x, x.detach().round())
    weight = wg.tensor([1.0, 2.0, -1.0])
    (g,) = wg.autograd.grad((x * weight).sum(), logits)
    (h,) = wg.autograd.grad((5 * logits.softmax(-1) * weight).sum(), logits)
    close(g, h, rtol=1e-5, atol=1e-6)


# Divergences.

PAIRS = [
    (p, q) for p in CASES for q in CASES if p.type != "MultivariateNormal" and p.type != q.type
]
PAIRS += [(p, q) for p in CASES for q in CASES if p.type == q.type]


@needs_torch
def test_divergences_equal_torch() -> None:
    """Every pair of types, in both orders: the value and its derivatives, or no formula."""
    checked = 0
    for p, q in PAIRS:
        results = []
        for library, namespace in ((wg, wd), (torch, td)):
            (a, by_a), (b, by_b) = p.make(library, grad=True), q.make(library, grad=True)
            try:
                kl = namespace.kl_divergence(a, b)
            except (NotImplementedError, RuntimeError):
                kl = None
            results.append((kl, [*by_a, *by_b]))
        (ours, by), (theirs, by_torch) = results
        assert (ours is None) == (theirs is None), (p, q)
        if ours is None:
            continue
        close(ours, theirs, rtol=1e-8)
        checked += 1
        if theirs.requires_grad and bool(theirs.isfinite().all()):
            g = wg.autograd.grad(ours.sum(), by, allow_unused=True)
            h = torch.autograd.grad(theirs.sum(), by_torch, allow_unused=True)
            for x, y in zip(g, h, strict=True):
                x = wg.zeros((), dtype=wg.float64) if x is None else x
                y = torch.zeros((), dtype=torch.float64) if y is None else y
                np.testing.assert_allclose(*np.broadcast_arrays(x.numpy(), y.numpy()), 1e-7, 1e-9)
    assert checked > 50


@pytest.mark.parametrize(("p", "q"), [(p, q) for p, q in PAIRS if p.value.shape == q.value.shape])
def test_divergences_are_means_of_log_ratios(p: Case, q: Case) -> None:
    (a, _), (b, _) = p.make(wg), q.make(wg)
    try:
        kl = wd.kl_divergence(a, b)
    except NotImplementedError:
        return
    if a.batch_shape != b.batch_shape:
        return
    if p is q:
        assert kl.abs().max() < 1e-12
    if not kl.isfinite().all():
        return
    x = a.sample((4000,))
    ratio = (a.log_prob(x) - b.log_prob(x)).numpy()
    assert np.all(np.abs(ratio.mean(0) - kl.numpy()) <= 5 * ratio.std(0) / np.sqrt(4000) + 1e-9)
    assert kl.min() > -1e-12


def test_divergences_at_the_edge() -> None:
    inf = float("inf")
    certain, never = wd.Bernoulli(1.0), wd.Bernoulli(0.0)
    half = wd.Bernoulli(0.5)
    assert wd.kl_divergence(half, certain).item() == inf
    assert wd.kl_divergence(half, never).item() == inf
    assert wd.kl_divergence(never, half).item() == pytest.approx(np.log(2))
    assert wd.kl_divergence(certain, certain).item() == 0
    two = wd.Categorical(wg.tensor([0.5, 0.5, 0.0]))
    three = wd.Categorical(wg.tensor([0.2, 0.4, 0.4]))
    assert wd.kl_divergence(three, two).item() == inf
    assert wd.kl_divergence(two, three).item() == pytest.approx(
        0.5 * np.log(0.5 / 0.2) + 0.5 * np.log(0.5 / 0.4), rel=1e-6
    )
    assert wd.kl_divergence(wd.Uniform(0.0, 1.0), wd.Uniform(0.5, 2.0)).item() == inf
    assert wd.kl_divergence(wd.Uniform(-1.0, 1.0), wd.Exponential(1.0)).item() == inf
    assert wd.kl_divergence(wd.Geometric(1.0), wd.Geometric(1.0)).item() == pytest.approx(
        0, abs=1e-5
    )
    assert wd.kl_divergence(wd.Poisson(0.0), wd.Poisson(2.0)).item() == 2
    assert wd.kl_divergence(wd.Normal(0.0, 1.0), wd.Uniform(0.0, 1.0)).item() == inf


def test_divergences_can_be_registered() -> None:
    class Left(wd.Normal):
        pass

    class Right(wd.Normal):
        pass

    assert wd.kl_divergence(Left(0.0, 1.0), Right(0.0, 1.0)).item() == 0

    @wd.register_kl(Left, wd.Normal)
    def one(p: Any, q: Any) -> Any:
        return wg.tensor(1.0)

    assert wd.kl_divergence(Left(0.0, 1.0), wd.Normal(0.0, 1.0)).item() == 1

    @wd.register_kl(wd.Normal, Right)
    def two(p: Any, q: Any) -> Any:
        return wg.tensor(2.0)

    with pytest.warns(RuntimeWarning, match=r"Ambiguous kl_divergence\(Left, Right\)"):
        wd.kl_divergence(Left(0.0, 1.0), Right(0.0, 1.0))
    wd.register_kl(Left, Right)(two)
    assert wd.kl_divergence(Left(0.0, 1.0), Right(0.0, 1.0)).item() == 2
    with pytest.raises(TypeError, match="Expected type_q to be a Distribution subclass"):
        wd.register_kl(wd.Normal, 3)  # type: ignore[arg-type]
    nothing: Any = wd.Bernoulli(0.5)
    with pytest.raises(NotImplementedError, match="p type Normal and q type Bernoulli"):
        wd.kl_divergence(wd.Normal(0.0, 1.0), nothing)


# Errors.

WRONG = {
    "scale": lambda t, d: d.Normal(t.zeros(2), t.tensor([1.0, 0.0])),
    "nan": lambda t, d: d.Normal(float("nan"), 1.0),
    "no parameter": lambda t, d: d.Categorical(),
    "both parameters": lambda t, d: d.Bernoulli(probs=0.5, logits=0.0),
    "no dimension": lambda t, d: d.Categorical(t.tensor(1.0)),
    "no dimension of logits": lambda t, d: d.Categorical(logits=t.tensor(1.0)),
    "negative probability": lambda t, d: d.Categorical(t.tensor([-1.0, 2.0])),
    "infinite logits": lambda t, d: d.Categorical(logits=t.tensor([float("inf"), 0.0])),
    "probability": lambda t, d: d.Bernoulli(2.0),
    "zero probability": lambda t, d: d.Geometric(0.0),
    "order": lambda t, d: d.Uniform(1.0, 0.0),
    "rate": lambda t, d: d.Exponential(0.0),
    "negative rate": lambda t, d: d.Poisson(-1.0),
    "type": lambda t, d: d.Laplace("a", 1.0),
    "no matrix": lambda t, d: d.MultivariateNormal(t.zeros(2)),
    "two matrices": lambda t, d: d.MultivariateNormal(t.zeros(2), t.eye(2), t.eye(2)),
    "no mean": lambda t, d: d.MultivariateNormal(t.tensor(0.0), t.eye(2)),
    "vector": lambda t, d: d.MultivariateNormal(t.zeros(2), t.ones(2)),
    "vector, tril": lambda t, d: d.MultivariateNormal(t.zeros(2), scale_tril=t.ones(2)),
    "indefinite": lambda t, d: d.MultivariateNormal(t.zeros(2), -t.eye(2)),
    "one indefinite": lambda t, d: d.MultivariateNormal(t.zeros(2), t.stack([t.eye(2), -t.eye(2)])),
    "asymmetric": lambda t, d: d.MultivariateNormal(t.zeros(2), t.tensor([[1.0, 2.0], [0.0, 1.0]])),
    "oblong": lambda t, d: d.MultivariateNormal(t.zeros(3), t.ones(2, 3)),
    "not triangular": lambda t, d: d.MultivariateNormal(t.zeros(2), scale_tril=t.ones(2, 2)),
    "dims": lambda t, d: d.Independent(d.Normal(0.0, 1.0), 1),
    "no tensor": lambda t, d: d.Normal(0.0, 1.0).log_prob(1.0),
    "support": lambda t, d: d.Bernoulli(0.5).log_prob(t.tensor(2.0)),
    "class": lambda t, d: d.Categorical(t.ones(3)).log_prob(t.tensor(3)),
    "broken": lambda t, d: d.Poisson(1.0).log_prob(t.tensor(0.5)),
    "two hot": lambda t, d: d.OneHotCategorical(t.ones(3)).log_prob(t.tensor([1.0, 1.0, 0.0])),
    "outside": lambda t, d: d.Uniform(0.0, 1.0).cdf(t.tensor(2.0)),
    "event": lambda t, d: d.MultivariateNormal(t.zeros(2), t.eye(2)).log_prob(t.zeros(3)),
    "batch": lambda t, d: d.Normal(t.zeros(2), 1.0).log_prob(t.zeros(3)),
    "no rsample": lambda t, d: d.Categorical(t.ones(3)).rsample(),
    "no cdf": lambda t, d: d.Categorical(t.ones(3)).cdf(t.tensor(1)),
    "no icdf": lambda t, d: d.Poisson(1.0).icdf(t.tensor(0.5)),
    "no entropy": lambda t, d: d.Poisson(1.0).entropy(),
    "cartesian": lambda t, d: d.Independent(d.Bernoulli(t.ones(2)), 1).enumerate_support(),
    "shape": lambda t, d: d.Normal(0.0, 1.0).sample(3),
    "default": lambda t, d: d.Distribution.set_default_validate_args(3),
    "dependent": lambda t, d: d.constraints.dependent.check(t.ones(1)),
    "few dimensions": lambda t, d: d.constraints.real_vector.check(t.tensor(1.0)),
}


@needs_torch
@pytest.mark.parametrize("wrong", WRONG)
def test_errors_equal_torch(wrong: str) -> None:
    raised = []
    for library, namespace in ((wg, wd), (torch, td)):
        with pytest.raises(Exception) as e:
            WRONG[wrong](library, namespace)
        raised.append((e.type, str(e.value)))
    (ours, text), (theirs, text_torch) = raised
    assert ours is theirs, raised
    if wrong not in ("type", "default", "shape"):
        assert text.replace("wengert.Size", "torch.Size").split() == text_torch.split()


def test_validation_can_be_turned_off() -> None:
    d = wd.Normal(0.0, -1.0, validate_args=False)
    assert d.log_prob(wg.tensor(0.0)).isnan()
    assert wd.Uniform(0.0, 1.0, validate_args=False).log_prob(wg.tensor(2.0)).item() == -np.inf
    assert not d.expand((2,))._validate_args
    before = wd.Distribution._validate_args
    try:
        wd.Distribution.set_default_validate_args(False)
        wd.Bernoulli(2.0)
        with pytest.raises(ValueError, match="to satisfy the constraint"):
            wd.Bernoulli(2.0, validate_args=True)
    finally:
        wd.Distribution.set_default_validate_args(before)


def test_a_distribution_of_ones_own() -> None:
    class Point(wd.Distribution):
        def __init__(self, at: wg.Tensor) -> None:
            self.at = at
            with pytest.warns(UserWarning, match="does not define `arg_constraints`"):
                super().__init__(at.shape)

        def rsample(self, sample_shape: Any = ()) -> wg.Tensor:
            return self.at.expand(self._extended_shape(sample_shape))

    point = Point(wg.ones(2))
    assert point.sample((3,)).tolist() == [[1.0, 1.0]] * 3
    with pytest.warns(UserWarning, match="does not define `support`"):
        point._validate_sample(wg.ones(2))
    for method in ("entropy", "enumerate_support", "perplexity"):
        with pytest.raises(NotImplementedError):
            getattr(point, method)()
    for quantity in ("mean", "variance", "stddev", "mode"):
        with pytest.raises(NotImplementedError):
            getattr(point, quantity)
    with pytest.raises(NotImplementedError):
        point.expand((3, 2))

    class Unit(wd.Normal):
        def __init__(self, loc: Any) -> None:
            super().__init__(loc, 1.0)

    with pytest.raises(NotImplementedError, match=r"must also define a custom .expand\(\) method"):
        Unit(0.0).expand((2,))


def test_support_is_enumerated() -> None:
    d = wd.Categorical(wg.ones(2, 3))
    assert d.enumerate_support(expand=False).tolist() == [[0], [1], [2]]
    assert d.enumerate_support().shape == (3, 2)
    assert wd.Bernoulli(wg.ones(2)).enumerate_support().tolist() == [[0, 0], [1, 1]]
    hot = wd.OneHotCategorical(wg.ones(2, 3))
    assert hot.enumerate_support().shape == (3, 2, 3)
    for each in (d, hot, wd.Bernoulli(wg.tensor([0.2, 0.7]))):
        total = each.log_prob(each.enumerate_support()).exp().sum(0)
        close(total, wg.ones(2), rtol=1e-6)


def test_lazy_attributes_are_recorded_though_first_read_without_recording() -> None:
    logits = wg.zeros(3, requires_grad=True)
    d = wd.Categorical(logits=logits)
    d.sample()  # reads probs under no_grad
    assert d.probs.requires_grad
    assert wd.Categorical.probs.__name__ == "probs"  # type: ignore[attr-defined]


@needs_torch
@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("boolean", [0.0, 1.0, 0.5]),
        ("real", [0.0, float("nan"), float("inf")]),
        ("positive", [0.0, 1.0]),
        ("nonnegative", [0.0, -1.0]),
        ("nonnegative_integer", [0.0, -1.0, 1.5, 2.0]),
        ("positive_integer", [0.0, 1.0, 1.5]),
        ("unit_interval", [0.0, 1.0, 1.1, -0.1]),
        ("simplex", [[0.5, 0.5], [0.5, 0.6], [-0.5, 1.5]]),
        ("one_hot", [[1.0, 0.0], [1.0, 1.0], [0.0, 0.0]]),
        ("lower_triangular", [[[1.0, 0.0], [2.0, -1.0]], [[1.0, 1.0], [0.0, 1.0]]]),
        ("lower_cholesky", [[[1.0, 0.0], [2.0, -1.0]], [[1.0, 0.0], [2.0, 1.0]]]),
        ("square", [[[1.0, 0.0], [2.0, -1.0]]]),
        ("symmetric", [[[1.0, 2.0], [2.0, 1.0]], [[1.0, 1.0], [0.0, 1.0]]]),
        ("positive_definite", [[[1.0, 0.5], [0.5, 1.0]], [[1.0, 2.0], [2.0, 1.0]]]),
        ("real_vector", [[1.0, float("nan")], [1.0, 2.0]]),
    ],
)
def test_constraints_equal_torch(name: str, values: list[Any]) -> None:
    ours, theirs = getattr(wd.constraints, name), getattr(td.constraints, name)
    assert ours.check(wg.tensor(values)).tolist() == theirs.check(torch.tensor(values)).tolist()
    assert repr(ours) == repr(theirs)
    assert (ours.is_discrete, ours.event_dim) == (theirs.is_discrete, theirs.event_dim)


def test_distributions_are_loaded_when_named() -> None:
    code = (
        "import sys, wengert as wg\n"
        "assert not any(m.startswith('wengert.distributions') for m in sys.modules)\n"
        "assert wg.distributions.Normal(0.0, 1.0).sample().shape == ()\n"
        "from wengert.distributions.categorical import Categorical\n"
        "assert Categorical is wg.distributions.Categorical\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
