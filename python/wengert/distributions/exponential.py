"""The exponential distribution."""

from __future__ import annotations

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor

__all__ = ["Exponential"]


class Exponential(Distribution):
    """Waiting times of density rate exp(-rate x).

    Parameters
    ----------
    rate
        One over the mean, positive.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If the rate is not positive.
    """

    arg_constraints: ClassVar = {"rate": constraints.positive}
    support = constraints.nonnegative
    has_rsample = True
    _parameters = ("rate",)

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean, one over the rate."""
        return self.rate.reciprocal()

    @property
    def mode(self) -> Tensor:
        """Zero, where the density is highest."""
        return self.rate.new_zeros(self.rate.shape)

    @property
    def stddev(self) -> Tensor:
        """The same as the mean."""
        return self.rate.reciprocal()

    @property
    def variance(self) -> Tensor:
        """The variance, one over the squared rate."""
        return self.rate.reciprocal().square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return e / rate, where e is exponential of rate 1."""
        shape = self._extended_shape(sample_shape)
        return self.rate.detach().new_empty(shape).exponential_() / self.rate

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log rate - rate x."""
        if self._validate_args:
            self._validate_sample(value)
        return self.rate.log() - self.rate * value

    def cdf(self, value: Tensor) -> Tensor:
        """Return 1 - exp(-rate x)."""
        if self._validate_args:
            self._validate_sample(value)
        return 1 - (-self.rate * value).exp()

    def icdf(self, value: Tensor) -> Tensor:
        """Return -log(1 - p) / rate."""
        return -(-value).log1p() / self.rate

    def entropy(self) -> Tensor:
        """Return 1 - log rate."""
        return 1.0 - self.rate.log()
