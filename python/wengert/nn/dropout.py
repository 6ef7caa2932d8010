"""Modules that drop elements or channels at random while training, and do nothing afterwards."""

from __future__ import annotations

from . import functional as F  # noqa: N812
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from wengert._core import Tensor


class _Dropout(Module):
    """Base of them.

    Parameters
    ----------
    p
        The probability of each to be dropped.
    inplace
        Whether to overwrite the input.

    Raises
    ------
    ValueError
        If p is no probability.
    """

    def __init__(self, p: float = 0.5, inplace: bool = False) -> None:
        super().__init__()
        if not 0 <= p <= 1:
            raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")
        self.p = p
        self.inplace = inplace

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"p={self.p}, inplace={self.inplace}"


class Dropout(_Dropout):
    """Zeroes elements and divides the others by ``1 - p``."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop, while training."""
        return F.dropout(input, self.p, self.training, self.inplace)


class Dropout1d(_Dropout):
    """Zeroes channels of (N, C, L) or (C, L)."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop, while training."""
        return F.dropout1d(input, self.p, self.training, self.inplace)


class Dropout2d(_Dropout):
    """Zeroes channels of (N, C, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop, while training."""
        return F.dropout2d(input, self.p, self.training, self.inplace)


class Dropout3d(_Dropout):
    """Zeroes channels of (N, C, D, H, W) or (C, D, H, W)."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop, while training."""
        return F.dropout3d(input, self.p, self.training, self.inplace)


class AlphaDropout(_Dropout):
    """Drops elements to SELU's lowest value, keeping mean and variance."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop, while training."""
        return F.alpha_dropout(input, self.p, self.training, self.inplace)


class FeatureAlphaDropout(_Dropout):
    """Drops channels to SELU's lowest value, keeping mean and variance."""

    def forward(self, input: Tensor) -> Tensor:
        """Drop, while training."""
        return F.feature_alpha_dropout(input, self.p, self.training, self.inplace)
