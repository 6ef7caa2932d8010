"""The multivariate normal distribution."""

from __future__ import annotations

import math

from wengert import _core
from wengert._shapes import broadcast_shapes

from . import constraints
from .distribution import Distribution
from .utils import lazy_property

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor

__all__ = ["MultivariateNormal"]


def factor_of_inverse(precision: Tensor) -> Tensor:
    """Return the lower triangular L with (L L')^-1 = precision.

    With J the reversal of rows, J P J = C C' for C lower triangular, so P = U U' with
    U = J C J upper triangular, and L = U'^-1.
    """
    upper = _core.linalg_cholesky(precision.flip((-2, -1))).flip((-2, -1))
    return inverse_of_lower(upper.mT)


def inverse_of_lower(lower: Tensor) -> Tensor:
    """Return the inverse of a lower triangular matrix."""
    eye = _core.eye(lower.shape[-1], dtype=lower.dtype, device=lower.device)
    return _core.linalg_solve_triangular(lower, eye.expand(lower.shape), upper=False)


def squared_distance(lower: Tensor, x: Tensor) -> Tensor:
    """Return x' (L L')^-1 x of each vector x, the squared Mahalanobis distance.

    Dimensions of x in front of those of L's batch become columns, so that one solve by each L
    serves all of them and L is not repeated.
    """
    front = x.dim() - (lower.dim() - 1)
    kept = x.shape[front:-1]
    if lower.shape[:-2] != kept:
        lower = lower.expand(*kept, *lower.shape[-2:])
    columns = x.flatten(0, front - 1) if front else x.unsqueeze(0)
    z = _core.linalg_solve_triangular(lower, columns.movedim(0, -1), upper=False)
    return z.square().sum(-2).movedim(-1, 0).reshape(x.shape[:-1])


def half_log_det(lower: Tensor) -> Tensor:
    """Return half of log det(L L')."""
    return lower.diagonal(0, -2, -1).log().sum(-1)


class MultivariateNormal(Distribution):
    """The normal distribution of vectors.

    Parameters
    ----------
    loc
        The mean, of shape (..., n).
    covariance_matrix, precision_matrix, scale_tril
        One of them, of shape (..., n, n): the covariance, its inverse, or its lower triangular
        factor L with L L' = covariance, which everything is computed from.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If not one of the three is given, has too few dimensions or violates its constraint.
    """

    arg_constraints: ClassVar = {
        "loc": constraints.real_vector,
        "covariance_matrix": constraints.positive_definite,
        "precision_matrix": constraints.positive_definite,
        "scale_tril": constraints.lower_cholesky,
    }
    support = constraints.real_vector
    has_rsample = True
    _parameters = ("loc", "covariance_matrix", "precision_matrix", "scale_tril")

    def __init__(
        self,
        loc: Tensor,
        covariance_matrix: Tensor | None = None,
        precision_matrix: Tensor | None = None,
        scale_tril: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if loc.dim() < 1:
            raise ValueError("loc must be at least one-dimensional.")
        given = {
            "covariance_matrix": covariance_matrix,
            "precision_matrix": precision_matrix,
            "scale_tril": scale_tril,
        }
        matrices = [(name, matrix) for name, matrix in given.items() if matrix is not None]
        if len(matrices) != 1:
            raise ValueError(
                "Exactly one of covariance_matrix or precision_matrix or scale_tril may be "
                "specified."
            )
        name, matrix = matrices[0]
        if matrix.dim() < 2:
            of_what = "scale_tril matrix" if name == "scale_tril" else name
            raise ValueError(
                f"{of_what} must be at least two-dimensional, with optional leading batch "
                "dimensions"
            )
        batch = broadcast_shapes(matrix.shape[:-2], loc.shape[:-1])
        self.loc = loc.expand(*batch, -1)
        setattr(self, name, matrix.expand(*batch, -1, -1))
        super().__init__(batch, loc.shape[-1:], validate_args=validate_args)
        if name == "covariance_matrix":
            matrix = _core.linalg_cholesky(matrix)
        elif name == "precision_matrix":
            matrix = factor_of_inverse(matrix)
        self._unbroadcasted_scale_tril = matrix  # not expanded: solved by once

    def expand(self, batch_shape: Sequence[int], _instance: object = None) -> MultivariateNormal:
        """Return the distribution expanded to another batch shape."""
        new: MultivariateNormal = super().expand(batch_shape, _instance)
        new._unbroadcasted_scale_tril = self._unbroadcasted_scale_tril
        return new

    def _expanded(self, matrix: Tensor) -> Tensor:
        return matrix.expand(self._batch_shape + self._event_shape + self._event_shape)

    @lazy_property
    def scale_tril(self) -> Tensor:
        """The lower triangular factor L of the covariance L L'."""
        return self._expanded(self._unbroadcasted_scale_tril)

    @lazy_property
    def covariance_matrix(self) -> Tensor:
        """The covariance matrix L L'."""
        lower = self._unbroadcasted_scale_tril
        return self._expanded(lower @ lower.mT)

    @lazy_property
    def precision_matrix(self) -> Tensor:
        """The inverse of the covariance."""
        inverse = inverse_of_lower(self._unbroadcasted_scale_tril)
        return self._expanded(inverse.mT @ inverse)

    @property
    def mean(self) -> Tensor:
        """The mean ``loc``."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The mode ``loc``."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """The diagonal of the covariance."""
        squares = self._unbroadcasted_scale_tril.square().sum(-1)
        return squares.expand(self._batch_shape + self._event_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return loc + L e, where e is standard normal."""
        shape = self._extended_shape(sample_shape)
        e = _core.randn(shape, dtype=self.loc.dtype, device=self.loc.device)
        lower = self._unbroadcasted_scale_tril
        if lower.dim() == 2:
            return self.loc + e @ lower.mT
        return self.loc + (lower @ e.unsqueeze(-1)).squeeze(-1)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return -(log det(2 pi covariance) + squared Mahalanobis distance) / 2."""
        if self._validate_args:
            self._validate_sample(value)
        lower = self._unbroadcasted_scale_tril
        distance = squared_distance(lower, value - self.loc)
        constant = self._event_shape[0] * math.log(2 * math.pi)
        return -0.5 * (constant + distance) - half_log_det(lower)

    def entropy(self) -> Tensor:
        """Return log det(2 pi e covariance) / 2."""
        constant = 0.5 * self._event_shape[0] * (1 + math.log(2 * math.pi))
        return (constant + half_log_det(self._unbroadcasted_scale_tril)).expand(self._batch_shape)
