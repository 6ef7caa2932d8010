"""Losses as modules."""

from __future__ import annotations

from wengert._core import functional as F  # noqa: N812

from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from wengert._core import Tensor


class MSELoss(Module):
    """The squared error; 'mean', 'sum' or 'none' of it."""

    def __init__(self, *, reduction: str = "mean") -> None:
        super().__init__()
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare input with target."""
        return F.mse_loss(input, target, reduction=self.reduction)


class CrossEntropyLoss(Module):
    """The cross-entropy of logits against classes; 'mean', 'sum' or 'none' of it."""

    def __init__(self, *, ignore_index: int = -100, reduction: str = "mean") -> None:
        super().__init__()
        self.ignore_index = ignore_index
        self.reduction = reduction

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits with classes."""
        return F.cross_entropy(
            input, target, ignore_index=self.ignore_index, reduction=self.reduction
        )
