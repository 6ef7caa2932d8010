"""The normal distribution."""

from __future__ import annotations

import math

from wengert import _core

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor

__all__ = ["Normal"]

HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Normal(Distribution):
    """The normal distribution of mean ``loc`` and standard deviation ``scale``.

    Parameters
    ----------
    loc, scale
        Tensors or numbers that broadcast; the scale is positive.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If a parameter violates its constraint.
    """

    arg_constraints: ClassVar = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.real
    has_rsample = True
    _parameters = ("loc", "scale")

    def __init__(
        self, loc: Tensor | float, scale: Tensor | float, validate_args: bool | None = None
    ) -> None:
        self.loc, self.scale = broadcast_all(loc, scale)
        super().__init__(self.loc.shape, validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """The mean ``loc``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The mode ``loc``."""
        return self.loc

    @property
    def stddev(self) -> Tensor:
        """The standard deviation ``scale``."""
        return self.scale

    @property
    def variance(self) -> Tensor:
        """The variance, the squared scale."""
        return self.scale.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return loc + scale e, where e is standard normal."""
        shape = self._extended_shape(sample_shape)
        return (
            self.loc + _core.randn(shape, dtype=self.loc.dtype, device=self.loc.device) * self.scale
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -((x - loc) / scale)^2 / 2 - log scale - log(2 pi) / 2."""
        if self._validate_args:
            self._validate_sample(value)
        z = (value - self.loc) / self.scale
        return -0.5 * z.square() - self.scale.log() - HALF_LOG_2PI

    def cdf(self, value: Tensor) -> Tensor:
        """Return (1 + erf((x - loc) / (scale sqrt 2))) / 2."""
        if self._validate_args:
            self._validate_sample(value)
        return 0.5 * (1 + ((value - self.loc) / (self.scale * math.sqrt(2))).erf())

    def icdf(self, value: Tensor) -> Tensor:
        """Return loc + scale sqrt(2) erfinv(2 p - 1)."""
        return self.loc + self.scale * (2 * value - 1).erfinv() * math.sqrt(2)

    def entropy(self) -> Tensor:
        """Return 1/2 + log(2 pi) / 2 + log scale."""
        return 0.5 + HALF_LOG_2PI + self.scale.log()
