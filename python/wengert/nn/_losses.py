"""Losses that are compositions: for margins, embeddings and distributions.

`functional` offers them; a row of the same name in the table of operations comes before them.
"""

from __future__ import annotations

import math

from wengert import _core, arange
from wengert._core import Tensor, where

from . import functional as F  # noqa: N812
from ._functional import _at_least, _clamp_min, pairwise_distance

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "cosine_embedding_loss",
    "gaussian_nll_loss",
    "hinge_embedding_loss",
    "margin_ranking_loss",
    "multi_margin_loss",
    "multilabel_margin_loss",
    "multilabel_soft_margin_loss",
    "poisson_nll_loss",
    "soft_margin_loss",
    "triplet_margin_loss",
    "triplet_margin_with_distance_loss",
]


def reduction_of(size_average: bool | None, reduce: bool | None, reduction: str) -> str:
    """Return the reduction that two old switches, where given, stand for."""
    if size_average is None and reduce is None:
        return reduction
    meant = (
        ("mean" if size_average in (None, True) else "sum") if reduce in (None, True) else "none"
    )
    import warnings

    warnings.warn(
        f"size_average and reduce args will be deprecated, please use reduction='{meant}' instead.",
        stacklevel=3,
    )
    return meant


def _reduced(
    loss: Tensor, size_average: bool | None, reduce: bool | None, reduction: str
) -> Tensor:
    reduction = reduction_of(size_average, reduce, reduction)
    if reduction == "mean":
        return loss.mean()
    if reduction == "sum":
        return loss.sum()
    if reduction == "none":
        return loss
    raise ValueError(f"{reduction} is not a valid value for reduction")


# --- distributions -----------------------------------------------------------------------------


def gaussian_nll_loss(
    input: Tensor,
    target: Tensor,
    var: Tensor | float,
    full: bool = False,
    eps: float = 1e-6,
    reduction: str = "mean",
) -> Tensor:
    """``(log(var) + (input - target)^2 / var) / 2``, with var at least eps (Nix and Weigend, 1994).

    With ``full`` the constant ``log(2 pi) / 2`` is added.

    Raises
    ------
    ValueError
        If var is negative or of another shape, or the reduction is not known.
    """
    if isinstance(var, float):
        var = _core.full_like(input, var)
    if bool((var < 0).any()):
        raise ValueError("gaussian_nll_loss: var has negative entry/entries")
    if var.shape != input.shape:
        if input.shape[:-1] == var.shape:
            var = var.unsqueeze(-1)
        elif (
            input.dim() != var.dim()
            or sum(b for a, b in zip(input.shape, var.shape, strict=True) if a != b) != 1
        ):
            raise ValueError(
                f"gaussian_nll_loss: var is of incorrect size, got {tuple(var.shape)} for an input "
                f"of shape {tuple(input.shape)}"
            )
    var = _at_least(var, eps)
    loss = 0.5 * (var.log() + (input - target).square() / var)
    if full:
        loss = loss + 0.5 * math.log(2 * math.pi)
    return _reduced(loss, None, None, reduction)


def poisson_nll_loss(
    input: Tensor,
    target: Tensor,
    log_input: bool = True,
    full: bool = False,
    size_average: bool | None = None,
    eps: float = 1e-8,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``exp(input) - target * input``, or for rates themselves ``input - target log(input + eps)``.

    With ``full`` Stirling's approximation of ``log(target!)`` is added where target is above 1.

    Raises
    ------
    ValueError
        If the reduction is not known.
    """
    log = input if log_input else (input + eps).log()
    loss = (input.exp() if log_input else input) - target * log
    if full:
        t = where(target > 1, target, 1.0)
        stirling = t * t.log() - t + 0.5 * (2 * math.pi * t).log()
        loss = loss + where(target > 1, stirling, 0.0)
    return _reduced(loss, size_average, reduce, reduction)


# --- margins of pairs and triplets -------------------------------------------------------------


def cosine_embedding_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``1 - cos`` where target is 1, and ``max(0, cos - margin)`` where it is -1.

    Raises
    ------
    RuntimeError
        If the inputs do not have one dimension more than the target, which has none or one.
    ValueError
        If the reduction is not known.
    """
    dim = target.dim()
    if dim > 1 or input1.dim() != dim + 1 or input2.dim() != dim + 1:
        raise RuntimeError(
            f"cosine_embedding_loss: got inputs of shapes {tuple(input1.shape)} and "
            f"{tuple(input2.shape)} and a target of shape {tuple(target.shape)}; expected 1D "
            "inputs and a 0D target, or 2D and 1D"
        )
    tiny = 1e-12
    dot = (input1 * input2).sum(dim)
    sizes = (input1.square().sum(dim) + tiny) * (input2.square().sum(dim) + tiny)
    cos = dot / sizes.sqrt()
    apart = where(target == -1, _clamp_min(cos - margin, 0.0), 0.0)
    loss = where(target == 1, 1 - cos, 0.0) + apart
    return _reduced(loss, size_average, reduce, reduction)


def margin_ranking_loss(
    input1: Tensor,
    input2: Tensor,
    target: Tensor,
    margin: float = 0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, margin - target * (input1 - input2))``.

    Raises
    ------
    RuntimeError
        If the numbers of dimensions differ.
    ValueError
        If the reduction is not known.
    """
    if not input1.dim() == input2.dim() == target.dim():
        raise RuntimeError(
            "margin_ranking_loss : All input tensors should have same dimension but got sizes: "
            f"input1: {input1.shape}, input2: {input2.shape}, target: {target.shape} "
        )
    loss = _clamp_min(margin - target * (input1 - input2), 0.0)
    return _reduced(loss, size_average, reduce, reduction)


def hinge_embedding_loss(
    input: Tensor,
    target: Tensor,
    margin: float = 1.0,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The input where target is 1, and ``max(0, margin - input)`` where it is -1.

    Raises
    ------
    ValueError
        If the reduction is not known.
    """
    apart = where(target == 1, 0.0, _clamp_min(margin - input, 0.0))
    loss = apart + where(target == -1, 0.0, input)
    return _reduced(loss, size_average, reduce, reduction)


def triplet_margin_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    margin: float = 1.0,
    p: float = 2,
    eps: float = 1e-6,
    swap: bool = False,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``max(0, d(anchor, positive) - d(anchor, negative) + margin)``, d the p-norm.

    With ``swap`` the lesser of ``d(anchor, negative)`` and ``d(positive, negative)`` counts
    (Balntas, Riba, Ponsa, Mikolajczyk, 2016).

    Raises
    ------
    RuntimeError
        If the numbers of dimensions differ.
    ValueError
        If the margin is not positive or the reduction is not known.
    """

    def distance(a: Tensor, b: Tensor) -> Tensor:
        return pairwise_distance(a, b, p, eps)

    reduction = reduction_of(size_average, reduce, reduction)
    return triplet_margin_with_distance_loss(
        anchor, positive, negative, distance_function=distance, margin=margin, swap=swap,
        reduction=reduction,
    )  # fmt: skip


def triplet_margin_with_distance_loss(
    anchor: Tensor,
    positive: Tensor,
    negative: Tensor,
    *,
    distance_function: Callable[[Tensor, Tensor], Tensor] | None = None,
    margin: float = 1.0,
    swap: bool = False,
    reduction: str = "mean",
) -> Tensor:
    """As `triplet_margin_loss`, with any distance.

    Raises
    ------
    RuntimeError
        If the numbers of dimensions differ.
    ValueError
        If the margin is not positive or the reduction is not known.
    """
    if margin <= 0:
        raise ValueError(f"margin must be greater than 0, got {margin}")
    if not anchor.dim() == positive.dim() == negative.dim():
        raise RuntimeError(
            "triplet_margin_loss: the anchor, positive, and negative tensors are expected to have "
            f"the same number of dimensions, but got: anchor {anchor.dim()}D, positive "
            f"{positive.dim()}D, and negative {negative.dim()}D inputs"
        )
    distance = distance_function or pairwise_distance
    near, far = distance(anchor, positive), distance(anchor, negative)
    if swap:
        far = _core.minimum(far, distance(positive, negative))
    return _reduced(_clamp_min(margin + near - far, 0.0), None, None, reduction)


# --- margins of classes ------------------------------------------------------------------------


def soft_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """``log(1 + exp(-target * input))``.

    Raises
    ------
    ValueError
        If the reduction is not known.
    """
    return _reduced(-F.logsigmoid(target * input), size_average, reduce, reduction)


def _rows(name: str, input: Tensor) -> Tensor:
    """The input as (rows, classes)."""
    if input.dim() not in (1, 2) or input.shape[-1] == 0:
        raise RuntimeError(
            f"{name}: expected a non-empty vector or matrix of scores, got shape "
            f"{tuple(input.shape)}"
        )
    return input.reshape(-1, input.shape[-1])


def _check_classes(name: str, target: Tensor, least: int, classes: int) -> None:
    if target.dtype is not _core.int64:
        raise RuntimeError(f"{name}: expected a target of dtype int64, got {target.dtype}")
    if target.numel() and not least <= int(target.min()) <= int(target.max()) < classes:
        raise RuntimeError(
            f"{name}: target out of range, got {int(target.min())} to {int(target.max())} for "
            f"{classes} classes"
        )


def multi_margin_loss(
    input: Tensor,
    target: Tensor,
    p: int = 1,
    margin: float = 1.0,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of ``max(0, margin - input[target] + input[i])^p``, target left out.

    Raises
    ------
    RuntimeError
        If the shapes do not go together or a class is out of range.
    ValueError
        If p is neither 1 nor 2, weight is no vector, or the reduction is not known.
    """
    if p not in (1, 2):
        raise ValueError("multi_margin_loss: only p == 1 and p == 2 supported")
    if weight is not None and weight.dim() != 1:
        raise ValueError("multi_margin_loss: weight must be one-dimensional")
    x = _rows("multi_margin_loss", input)
    n, classes = x.shape
    if target.numel() != n or target.dim() > 1 or (input.dim() == 2 and target.dim() != 1):
        raise RuntimeError(
            f"multi_margin_loss: inconsistent target size, got {tuple(target.shape)} for an input "
            f"of shape {tuple(input.shape)}"
        )
    if weight is not None and weight.numel() != classes:
        raise RuntimeError(
            f"multi_margin_loss: inconsistent weight size, expected {classes} but got "
            f"{tuple(weight.shape)}"
        )
    _check_classes("multi_margin_loss", target, 0, classes)
    is_target = target.reshape(-1, 1) == arange(classes, device=x.device)
    own = where(is_target, x, 0.0).sum(1, keepdim=True)
    over = _clamp_min(margin - own + x, 0.0)
    if p == 2:
        over = over.square()
    if weight is not None:
        over = over * where(is_target, weight, 0.0).sum(1, keepdim=True)
    loss = where(is_target, 0.0, over).sum(1) / classes
    return _reduced(loss if input.dim() == 2 else loss.reshape(()), size_average, reduce, reduction)


def multilabel_margin_loss(
    input: Tensor,
    target: Tensor,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The sum of ``max(0, 1 - (input[t] - input[i]))`` over all targets t and others i, by class.

    The targets of a row are the classes before the first -1.

    Raises
    ------
    RuntimeError
        If the shapes do not go together or a class is out of range.
    ValueError
        If the reduction is not known.
    """
    x = _rows("multilabel_margin_loss", input)
    classes = x.shape[1]
    if target.shape != input.shape:
        raise RuntimeError(
            f"multilabel_margin_loss: inconsistent target size, got {tuple(target.shape)} for an "
            f"input of shape {tuple(input.shape)}"
        )
    _check_classes("multilabel_margin_loss", target, -1, classes)
    # how many -1 stand up to each place, counted by a product with a triangle of ones
    place = arange(classes, device=x.device)
    up_to = (place.reshape(-1, 1) <= place).to(_core.float32)
    t = target.reshape(-1, classes)
    counts = ((t < 0).to(_core.float32) @ up_to) == 0
    picks = (t.unsqueeze(2) == place) * counts.unsqueeze(2)  # (rows, slots, classes)
    is_target = picks.any(1)
    own = where(picks, x.unsqueeze(1), 0.0).sum(2, keepdim=True)
    counted = counts.unsqueeze(2) * (is_target == False).unsqueeze(1)  # noqa: E712
    loss = where(counted, _clamp_min(1 - own + x.unsqueeze(1), 0.0), 0.0).sum((1, 2)) / classes
    return _reduced(loss if input.dim() == 2 else loss.reshape(()), size_average, reduce, reduction)


def multilabel_soft_margin_loss(
    input: Tensor,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: str = "mean",
) -> Tensor:
    """The mean over classes of the cross-entropy of each against its target of 0 or 1.

    Raises
    ------
    ValueError
        If the reduction is not known.
    """
    loss = -(target * F.logsigmoid(input) + (1 - target) * F.logsigmoid(-input))
    if weight is not None:
        loss = loss * weight
    return _reduced(loss.mean(-1), size_average, reduce, reduction)
