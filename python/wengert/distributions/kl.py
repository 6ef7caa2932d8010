"""Kullback-Leibler divergences, by pairs of types."""

from __future__ import annotations

import math

from wengert import _core
from wengert._shapes import broadcast_shapes

from .bernoulli import Bernoulli
from .beta import Beta
from .categorical import Categorical
from .exponential import Exponential
from .gamma import Gamma
from .geometric import Geometric
from .independent import Independent
from .laplace import Laplace
from .multivariate_normal import MultivariateNormal, half_log_det, squared_distance
from .normal import HALF_LOG_2PI, Normal
from .one_hot_categorical import OneHotCategorical
from .poisson import Poisson
from .uniform import Uniform
from .utils import sum_rightmost

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from wengert._core import Tensor

    from .distribution import Distribution

    Divergence = Callable[[Any, Any], Tensor]

__all__ = ["kl_divergence", "register_kl"]

INF = float("inf")

_registered: dict[tuple[type, type], Divergence] = {}
_found: dict[tuple[type, type], Divergence | None] = {}


def register_kl(type_p: type, type_q: type) -> Callable[[Divergence], Divergence]:
    """Return a decorator that makes a function the divergence of a pair of types.

    `kl_divergence` takes the most specific pair registered; if two are equally specific, it warns.

    Raises
    ------
    TypeError
        If one of them is not a type.
    """
    for name, given in (("type_p", type_p), ("type_q", type_q)):
        if not isinstance(given, type):
            raise TypeError(f"Expected {name} to be a Distribution subclass but got {given}")

    def decorator(fun: Divergence) -> Divergence:
        _registered[type_p, type_q] = fun
        _found.clear()
        return fun

    return decorator


def _dispatch(type_p: type, type_q: type) -> Divergence | None:
    """Return the most specific function registered for the types or bases of them."""
    order_p, order_q = type_p.__mro__, type_q.__mro__
    pairs = [(p, q) for p, q in _registered if p in order_p and q in order_q]
    if not pairs:
        return None
    by_p = min(pairs, key=lambda pq: (order_p.index(pq[0]), order_q.index(pq[1])))
    by_q = min(pairs, key=lambda pq: (order_q.index(pq[1]), order_p.index(pq[0])))
    if _registered[by_p] is not _registered[by_q]:
        import warnings

        warnings.warn(
            f"Ambiguous kl_divergence({type_p.__name__}, {type_q.__name__}). Please "
            f"register_kl({by_p[0].__name__}, {by_q[1].__name__})",
            RuntimeWarning,
            stacklevel=3,
        )
    return _registered[by_p]


def kl_divergence(p: Distribution, q: Distribution) -> Tensor:
    """Return the mean of log p(x) - log q(x) over draws x of p, for each of the batch.

    Raises
    ------
    NotImplementedError
        If no formula is registered for the pair.
    """
    pair = (type(p), type(q))
    if pair not in _found:
        _found[pair] = _dispatch(*pair)
    fun = _found[pair]
    if fun is None:
        raise NotImplementedError(
            f"No KL(p || q) is implemented for p type {type(p).__name__} and q type "
            f"{type(q).__name__}"
        )
    return fun(p, q)


# Discrete.


@register_kl(Bernoulli, Bernoulli)
def _bernoulli_bernoulli(p: Bernoulli, q: Bernoulli) -> Tensor:
    softplus = _core.softplus
    one = p.probs * (softplus(-q.logits) - softplus(-p.logits))
    one = one.masked_fill(q.probs == 0, INF).masked_fill(p.probs == 0, 0)
    zero = (1 - p.probs) * (softplus(q.logits) - softplus(p.logits))
    return one + zero.masked_fill(q.probs == 1, INF).masked_fill(p.probs == 1, 0)


@register_kl(Categorical, Categorical)
def _categorical_categorical(p: Categorical, q: Categorical) -> Tensor:
    terms = p.probs * (p.logits - q.logits)
    return terms.masked_fill(q.probs == 0, INF).masked_fill(p.probs == 0, 0).sum(-1)


@register_kl(OneHotCategorical, OneHotCategorical)
def _one_hot_one_hot(p: OneHotCategorical, q: OneHotCategorical) -> Tensor:
    return _categorical_categorical(p._categorical, q._categorical)


@register_kl(Geometric, Geometric)
def _geometric_geometric(p: Geometric, q: Geometric) -> Tensor:
    failures = p.mean
    chance = q.probs.masked_fill(failures == 0, 0)  # none: their probability does not matter
    return -p.entropy() - failures * (-chance).log1p() - q.probs.log()


@register_kl(Poisson, Poisson)
def _poisson_poisson(p: Poisson, q: Poisson) -> Tensor:
    terms = p.rate * (p.rate.log() - q.rate.log())
    terms = terms.masked_fill(q.rate == 0, INF).masked_fill(p.rate == 0, 0)
    return terms - (p.rate - q.rate)


@register_kl(Bernoulli, Poisson)
def _bernoulli_poisson(p: Bernoulli, q: Poisson) -> Tensor:
    return -p.entropy() - (p.probs * q.rate.log() - q.rate)  # log k! = 0 at k = 0 and 1


# Continuous.


@register_kl(Normal, Normal)
def _normal_normal(p: Normal, q: Normal) -> Tensor:
    ratio = (p.scale / q.scale).square()
    return 0.5 * (ratio + ((p.loc - q.loc) / q.scale).square() - 1 - ratio.log())


@register_kl(Beta, Normal)
@register_kl(Exponential, Normal)
@register_kl(Gamma, Normal)
@register_kl(Laplace, Normal)
@register_kl(Uniform, Normal)
def _moments_normal(p: Distribution, q: Normal) -> Tensor:
    """Of p, log q sees the mean and the variance alone."""
    square = p.variance + (p.mean - q.loc).square()
    return 0.5 * square / q.scale.square() + q.scale.log() + HALF_LOG_2PI - p.entropy()


@register_kl(Normal, Laplace)
def _normal_laplace(p: Normal, q: Laplace) -> Tensor:
    away = p.loc - q.loc
    z = away / p.scale
    mean_distance = p.scale * math.sqrt(2 / math.pi) * (-0.5 * z.square()).exp()
    mean_distance = mean_distance + away * (z / math.sqrt(2)).erf()
    return (2 * q.scale).log() + mean_distance / q.scale - p.entropy()


@register_kl(Laplace, Laplace)
def _laplace_laplace(p: Laplace, q: Laplace) -> Tensor:
    ratio, away = p.scale / q.scale, (p.loc - q.loc).abs()
    return ratio * (-away / p.scale).exp() + away / q.scale - 1 - ratio.log()


@register_kl(Exponential, Exponential)
def _exponential_exponential(p: Exponential, q: Exponential) -> Tensor:
    ratio = q.rate / p.rate
    return ratio - 1 - ratio.log()


def _as_gamma(p: Exponential | Gamma) -> tuple[Tensor, Tensor]:
    """Concentration and rate; an exponential distribution is a gamma distribution."""
    return (p.concentration if isinstance(p, Gamma) else _core.ones_like(p.rate)), p.rate


@register_kl(Exponential, Gamma)
@register_kl(Gamma, Exponential)
@register_kl(Gamma, Gamma)
def _gammas(p: Exponential | Gamma, q: Exponential | Gamma) -> Tensor:
    (a, rate), (b, rate_q) = _as_gamma(p), _as_gamma(q)
    return (
        b * (rate / rate_q).log()
        + (b.lgamma() - a.lgamma())
        + (a - b) * a.digamma()
        + (rate_q - rate) * (a / rate)
    )


def _below_gamma(p: Distribution, q: Exponential | Gamma, mean_log: Tensor) -> Tensor:
    """Of p with the mean of log x, on the positive numbers, to a gamma distribution."""
    a, rate = _as_gamma(q)
    cross = a.lgamma() - a * rate.log() - (a - 1) * mean_log + rate * p.mean
    return cross - p.entropy()


@register_kl(Beta, Beta)
def _beta_beta(p: Beta, q: Beta) -> Tensor:
    a, b, c, d = p.concentration1, p.concentration0, q.concentration1, q.concentration0
    own = (a - c) * a.digamma() + (b - d) * b.digamma()
    return q._log_normalizer - p._log_normalizer + own + (c + d - a - b) * (a + b).digamma()


@register_kl(Beta, Exponential)
@register_kl(Beta, Gamma)
def _beta_gamma(p: Beta, q: Exponential | Gamma) -> Tensor:
    a, b = p.concentration1, p.concentration0
    return _below_gamma(p, q, a.digamma() - (a + b).digamma())


@register_kl(Beta, Uniform)
def _beta_uniform(p: Beta, q: Uniform) -> Tensor:
    inside = (q.low <= 0) & (q.high >= 1)
    return ((q.high - q.low).log() - p.entropy()).masked_fill(~inside, INF)


def _mean_log(low: Tensor, high: Tensor) -> Tensor:
    """Of log x, x uniform between two numbers that are not negative."""
    return (high.xlogy(high) - low.xlogy(low)) / (high - low) - 1


@register_kl(Uniform, Beta)
def _uniform_beta(p: Uniform, q: Beta) -> Tensor:
    inside = (p.low >= 0) & (p.high <= 1)
    low, high = p.low.clamp(min=0), p.high.clamp(max=1)
    logs = (q.concentration1 - 1) * _mean_log(low, high)
    logs = logs + (q.concentration0 - 1) * _mean_log(1 - high, 1 - low)
    return (q._log_normalizer - logs - p.entropy()).masked_fill(~inside, INF)


@register_kl(Uniform, Gamma)
def _uniform_gamma(p: Uniform, q: Gamma) -> Tensor:
    low = p.low.clamp(min=0)
    return _below_gamma(p, q, _mean_log(low, p.high)).masked_fill(p.low < 0, INF)


@register_kl(Uniform, Uniform)
def _uniform_uniform(p: Uniform, q: Uniform) -> Tensor:
    inside = (q.low <= p.low) & (p.high <= q.high)
    return ((q.high - q.low) / (p.high - p.low)).log().masked_fill(~inside, INF)


@register_kl(Uniform, Exponential)
def _uniform_exponential(p: Uniform, q: Exponential) -> Tensor:
    return (q.rate * p.mean - p.entropy() - q.rate.log()).masked_fill(p.low < 0, INF)


@register_kl(Exponential, Beta)
@register_kl(Exponential, Uniform)
@register_kl(Gamma, Beta)
@register_kl(Gamma, Uniform)
@register_kl(Laplace, Beta)
@register_kl(Laplace, Exponential)
@register_kl(Laplace, Gamma)
@register_kl(Laplace, Uniform)
@register_kl(Normal, Beta)
@register_kl(Normal, Exponential)
@register_kl(Normal, Gamma)
@register_kl(Normal, Uniform)
@register_kl(Poisson, Bernoulli)
def _beyond_the_support(p: Distribution, q: Distribution) -> Tensor:
    """Draws of p lie where q has none."""
    shape = broadcast_shapes(p.batch_shape, q.batch_shape)
    return p.mean.detach().new_full(shape, INF)


@register_kl(MultivariateNormal, MultivariateNormal)
def _multivariate_normals(p: MultivariateNormal, q: MultivariateNormal) -> Tensor:
    if p.event_shape != q.event_shape:
        raise ValueError(
            "KL-divergence between two Multivariate Normals with different event shapes cannot be "
            f"computed: {p.event_shape} and {q.event_shape}"
        )
    n = p.event_shape[0]
    lower_p, lower_q = p._unbroadcasted_scale_tril, q._unbroadcasted_scale_tril
    batch = broadcast_shapes(lower_p.shape[:-2], lower_q.shape[:-2])
    ratio = _core.linalg_solve_triangular(
        lower_q.expand(*batch, n, n), lower_p.expand(*batch, n, n), upper=False
    )
    trace = ratio.square().sum((-2, -1))
    distance = squared_distance(lower_q, p.loc - q.loc)
    return half_log_det(lower_q) - half_log_det(lower_p) + 0.5 * (trace + distance - n)


@register_kl(Independent, Independent)
def _independent_independent(p: Independent, q: Independent) -> Tensor:
    if p.reinterpreted_batch_ndims != q.reinterpreted_batch_ndims:
        raise NotImplementedError(
            "kl_divergence: Independent distributions with reinterpreted_batch_ndims "
            f"{p.reinterpreted_batch_ndims} and {q.reinterpreted_batch_ndims}; expected the same"
        )
    return sum_rightmost(kl_divergence(p.base_dist, q.base_dist), p.reinterpreted_batch_ndims)
