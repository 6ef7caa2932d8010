"""The commonest losses as modules, and their bases; the others stand in `loss_rare`."""

from __future__ import annotations

from . import functional as F  # noqa: N812
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from wengert._core import Tensor


class Loss(Module):
    """Base of losses: 'mean', 'sum' or 'none' of what they give for each item.

    ``size_average`` and ``reduce`` are the old way to say so.
    """

    def __init__(
        self,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__()
        if size_average is not None or reduce is not None:
            from ._losses import reduction_of

            reduction = reduction_of(size_average, reduce, reduction)
        self.reduction = reduction


class WeightedLoss(Loss):
    """Base of losses with a weight for each class or element, which is a buffer."""

    weight: Tensor | None

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        reduce: bool | None = None,
        reduction: str = "mean",
    ) -> None:
        super().__init__(size_average, reduce, reduction)
        self.register_buffer("weight", weight)


class MSELoss(Loss):
    """The squared error ``(input - target)^2``.

    Input and target are of shapes that broadcast; the loss is a number, or with
    ``reduction='none'`` of their common shape.
    """

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare input with target."""
        return F.mse_loss(input, target, reduction=self.reduction)


class CrossEntropyLoss(WeightedLoss):
    """The cross-entropy of logits against classes, or against probabilities of classes.

    ``-weight[c] log softmax(input)[c]`` of the target class c. Input is of shape (C,), (N, C) or
    (N, C, d1, ...), the target int64 of shape (), (N,) or (N, d1, ...); or floating and of the
    input's shape, probabilities of all classes. The mean is weighted.

    Parameters
    ----------
    weight
        A factor of each class, of shape (C,).
    ignore_index
        A target of this number counts for nothing.
    label_smoothing
        The share of probability, from 0 to 1, spread evenly over all classes (Szegedy and others,
        Rethinking the Inception architecture, 2016).

    Raises
    ------
    RuntimeError, ValueError
        When called, if shapes do not fit; ValueError if the numbers of items differ.
    IndexError
        When called, if a target is no class.
    """

    def __init__(
        self,
        weight: Tensor | None = None,
        size_average: bool | None = None,
        ignore_index: int = -100,
        reduce: bool | None = None,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(weight, size_average, reduce, reduction)
        self.ignore_index = ignore_index
        self.label_smoothing = label_smoothing

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Compare logits with classes."""
        return F.cross_entropy(
            input,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            label_smoothing=self.label_smoothing,
        )
