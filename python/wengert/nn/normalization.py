"""Modules that normalize over features or groups of channels: no running statistics."""

from __future__ import annotations

from wengert._core import empty

from . import functional as F  # noqa: N812
from . import init
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from wengert._core import Tensor, device, dtype


class _Affine(Module):
    """Base of those with a weight and a bias, ones and zeros at the start."""

    weight: Parameter | None
    bias: Parameter | None

    def _make_parameters(
        self, shape: tuple[int, ...], weight: bool, bias: bool, **how: Any
    ) -> None:
        for name, wanted in (("weight", weight), ("bias", bias)):
            self.register_parameter(name, Parameter(empty(shape, **how)) if wanted else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones and the bias to zeros."""
        if self.weight is not None:
            init.ones_(self.weight)
        if self.bias is not None:
            init.zeros_(self.bias)


def _shape_of(normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    return (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)


class LayerNorm(_Affine):
    """``(x - mean) / sqrt(var + eps) * weight + bias`` over the last dimensions.

    Parameters
    ----------
    normalized_shape
        The sizes of these dimensions, or the size of the last one.
    eps
        Added to the variance.
    elementwise_affine
        Whether there is a weight.
    bias
        Whether there is, with the weight, a bias.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        self._make_parameters(
            self.normalized_shape,
            elementwise_affine,
            elementwise_affine and bias,
            device=device,
            dtype=dtype,
        )

    def forward(self, input: Tensor) -> Tensor:
        """Normalize."""
        return F.layer_norm(input, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )


class RMSNorm(_Affine):
    """``x / sqrt(mean(x^2) + eps) * weight`` over the last dimensions.

    Parameters
    ----------
    normalized_shape
        The sizes of these dimensions, or the size of the last one.
    eps
        Added to the mean square; by default the dtype's.
    elementwise_affine
        Whether there is a weight.
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self.normalized_shape = _shape_of(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        values = empty(self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", Parameter(values) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set the weight to ones."""
        if self.weight is not None:
            init.ones_(self.weight)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize."""
        return F.rms_norm(input, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )


class GroupNorm(_Affine):
    """Layer normalization of groups of channels of (N, C, ...).

    Parameters
    ----------
    num_groups
        How many groups the channels are cut into.
    num_channels
        How many channels there are.
    eps
        Added to the variance.
    affine
        Whether there is a weight a channel.
    bias
        Whether there is, with the weight, a bias a channel.

    Raises
    ------
    ValueError
        If the channels cannot be cut into as many groups.
    """

    def __init__(
        self,
        num_groups: int,
        num_channels: int,
        eps: float = 1e-5,
        affine: bool = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
        *,
        bias: bool = True,
    ) -> None:
        super().__init__()
        if num_channels % num_groups:
            raise ValueError(
                f"num_channels ({num_channels}) must be divisible by num_groups ({num_groups})"
            )
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        self._make_parameters((num_channels,), affine, affine and bias, device=device, dtype=dtype)

    def forward(self, input: Tensor) -> Tensor:
        """Normalize."""
        return F.group_norm(input, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.affine}, "
            f"bias={self.bias is not None}"
        )
