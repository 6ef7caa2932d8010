"""The Laplace distribution."""

from __future__ import annotations

from wengert._types import finfo

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor

__all__ = ["Laplace"]


class Laplace(Distribution):
    """The density exp(-|x - loc| / scale) / (2 scale).

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
        """The scale times sqrt(2)."""
        return 2**0.5 * self.scale

    @property
    def variance(self) -> Tensor:
        """Twice the squared scale."""
        return 2 * self.scale.square()

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return loc - scale sign(u) log(1 - |u|), where u is uniform in (-1, 1)."""
        u = self.loc.detach().new_empty(self._extended_shape(sample_shape))
        u.uniform_(finfo(u.dtype).eps - 1, 1)
        return self.loc - self.scale * u.sign() * (-u.abs()).log1p()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -log(2 scale) - |x - loc| / scale."""
        if self._validate_args:
            self._validate_sample(value)
        return -(2 * self.scale).log() - (value - self.loc).abs() / self.scale

    def cdf(self, value: Tensor) -> Tensor:
        """Return 1/2 - sign(x - loc) expm1(-|x - loc| / scale) / 2."""
        if self._validate_args:
            self._validate_sample(value)
        z = value - self.loc
        return 0.5 - 0.5 * z.sign() * (-z.abs() / self.scale).expm1()

    def icdf(self, value: Tensor) -> Tensor:
        """Return loc - scale sign(p - 1/2) log(1 - 2 |p - 1/2|)."""
        t = value - 0.5
        return self.loc - self.scale * t.sign() * (-2 * t.abs()).log1p()

    def entropy(self) -> Tensor:
        """Return 1 + log(2 scale)."""
        return 1 + (2 * self.scale).log()
