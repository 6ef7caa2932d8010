"""The gamma distribution."""

from __future__ import annotations

from wengert import _core
from wengert._creation import arange
from wengert._types import finfo
from wengert.autograd import no_grad

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from wengert._core import Tensor

__all__ = ["Gamma"]


def log_of_draws(concentration: Tensor) -> Tensor:
    """Return logarithms of draws of gamma distributions of rate 1.

    By rejection (Marsaglia, Tsang, A simple method for generating gamma variables, 2000), again for
    those rejected, some 5 % or fewer; below 1 as G(a) = G(a + 1) U^(1/a). Logarithms, because draws
    of a small concentration are too small for their dtype.
    """
    small = concentration < 1
    d = (concentration + small.to(concentration.dtype) - 1 / 3).flatten()
    c = (9 * d).rsqrt()
    found = _core.empty_like(d)
    pending = arange(d.numel(), device=d.device)
    how: Any = {"dtype": d.dtype, "device": d.device}
    while pending.numel():
        d_left, x = d[pending], _core.randn(pending.shape, **how)
        v = (1 + c[pending] * x) ** 3
        bound = 0.5 * x.square() + d_left * (1 - v + v.log())
        # written so that NaN is not rejected for ever
        rejected = (v <= 0) | (_core.rand(pending.shape, **how).log() >= bound)
        found[pending] = d_left.log() + v.log()
        pending = pending[rejected]
    found = found.view(concentration.shape)
    power = _core.rand(found.shape, **how).log() / concentration
    return _core.where(small, found + power, found)


class Gamma(Distribution):
    """The density rate^a x^(a - 1) exp(-rate x) / Gamma(a) at x > 0, with a the concentration.

    Draws do not pass gradients on: ``has_rsample`` is False, unlike PyTorch's.

    Parameters
    ----------
    concentration, rate
        Tensors or numbers that broadcast, positive.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If a parameter violates its constraint.
    """

    arg_constraints: ClassVar = {
        "concentration": constraints.positive,
        "rate": constraints.positive,
    }
    support = constraints.nonnegative
    _parameters = ("concentration", "rate")

    def __init__(
        self,
        concentration: Tensor | float,
        rate: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.concentration, self.rate = broadcast_all(concentration, rate)
        super().__init__(self.concentration.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean, concentration over rate."""
        return self.concentration / self.rate

    @property
    def mode(self) -> Tensor:
        """The mode (concentration - 1) / rate, or zero."""
        return ((self.concentration - 1) / self.rate).clamp(min=0)

    @property
    def variance(self) -> Tensor:
        """The variance, concentration over squared rate."""
        return self.concentration / self.rate.square()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return draws, of which none is zero."""
        with no_grad():
            concentration = self.concentration.expand(self._extended_shape(sample_shape))
            drawn = log_of_draws(concentration).exp() / self.rate
            return drawn.clamp(min=finfo(drawn.dtype).tiny)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return a log rate + (a - 1) log x - rate x - log Gamma(a)."""
        if self._validate_args:
            self._validate_sample(value)
        a, rate = self.concentration, self.rate
        return a.xlogy(rate) + (a - 1).xlogy(value) - rate * value - a.lgamma()

    def entropy(self) -> Tensor:
        """Return a - log rate + log Gamma(a) + (1 - a) digamma(a)."""
        a = self.concentration
        return a - self.rate.log() + a.lgamma() + (1 - a) * a.digamma()
