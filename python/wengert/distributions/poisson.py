"""The Poisson distribution: counts of independent events."""

from __future__ import annotations

from wengert import _core
from wengert.autograd import no_grad

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor

__all__ = ["Poisson"]


class Poisson(Distribution):
    """Counts k of probability rate^k exp(-rate) / k!; draws have the dtype of the rate.

    Parameters
    ----------
    rate
        The mean, not negative.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If the rate is negative.
    """

    arg_constraints: ClassVar = {"rate": constraints.nonnegative}
    support = constraints.nonnegative_integer
    _parameters = ("rate",)

    def __init__(self, rate: Tensor | float, validate_args: bool | None = None) -> None:
        (self.rate,) = broadcast_all(rate)
        super().__init__(self.rate.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean, the rate itself."""
        return self.rate

    @property
    def mode(self) -> Tensor:
        """The rate, rounded down."""
        return self.rate.floor()

    @property
    def variance(self) -> Tensor:
        """The variance, the rate itself."""
        return self.rate

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return counts, in the dtype of the rate."""
        with no_grad():
            return _core.poisson(self.rate.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return k log rate - rate - log k!."""
        if self._validate_args:
            self._validate_sample(value)
        rate, value = broadcast_all(self.rate, value)
        return value.xlogy(rate) - rate - (value + 1).lgamma()
