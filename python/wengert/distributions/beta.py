"""The beta distribution."""

from __future__ import annotations

from wengert._types import finfo
from wengert.autograd import no_grad

from . import constraints
from .distribution import Distribution
from .gamma import log_of_draws
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor

__all__ = ["Beta"]


class Beta(Distribution):
    """The density x^(a - 1) (1 - x)^(b - 1) / B(a, b) at 0 < x < 1.

    Draws do not pass gradients on: ``has_rsample`` is False, unlike PyTorch's.

    Parameters
    ----------
    concentration1, concentration0
        The exponents a and b, tensors or numbers that broadcast, positive.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If a parameter violates its constraint.
    """

    arg_constraints: ClassVar = {
        "concentration1": constraints.positive,
        "concentration0": constraints.positive,
    }
    support = constraints.unit_interval
    _parameters = ("concentration1", "concentration0")

    def __init__(
        self,
        concentration1: Tensor | float,
        concentration0: Tensor | float,
        validate_args: bool | None = None,
    ) -> None:
        self.concentration1, self.concentration0 = broadcast_all(concentration1, concentration0)
        super().__init__(self.concentration1.shape, validate_args=validate_args)

    @property
    def _log_normalizer(self) -> Tensor:
        """The logarithm of B(a, b)."""
        a, b = self.concentration1, self.concentration0
        return a.lgamma() + b.lgamma() - (a + b).lgamma()

    @property
    def mean(self) -> Tensor:
        """The mean a / (a + b)."""
        return self.concentration1 / (self.concentration1 + self.concentration0)

    @property
    def mode(self) -> Tensor:
        """The mode (a - 1) / (a + b - 2), an end if one is below 1; 1 if both are."""
        a, b = self.concentration1, self.concentration0
        above, below = (a - 1).clamp(min=0), (b - 1).clamp(min=0)
        return (above / (above + below)).masked_fill((a < 1) & (b < 1), 1)

    @property
    def variance(self) -> Tensor:
        """The variance a b / ((a + b)^2 (a + b + 1))."""
        a, b = self.concentration1, self.concentration0
        total = a + b
        return a * b / (total.square() * (total + 1))

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return G / (G + H) of gamma distributed G and H, of which none is zero or one."""
        with no_grad():
            shape = self._extended_shape(sample_shape)
            log_g = log_of_draws(self.concentration1.expand(shape))
            drawn = (log_g - log_of_draws(self.concentration0.expand(shape))).sigmoid()
            info = finfo(drawn.dtype)
            return drawn.clamp(min=info.tiny, max=1 - info.eps)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return (a - 1) log x + (b - 1) log(1 - x) - log B(a, b)."""
        if self._validate_args:
            self._validate_sample(value)
        a, b = self.concentration1, self.concentration0
        return (a - 1).xlogy(value) + (b - 1).xlogy(1 - value) - self._log_normalizer

    def entropy(self) -> Tensor:
        """Return log B - (a - 1) psi(a) - (b - 1) psi(b) + (a + b - 2) psi(a + b)."""
        a, b = self.concentration1, self.concentration0
        own = (a - 1) * a.digamma() + (b - 1) * b.digamma()
        return self._log_normalizer - own + (a + b - 2) * (a + b).digamma()
