"""Functions of neural networks that are compositions: dropout, norms, distances, gates.

`functional` offers them; a row of the same name in the table of operations comes before them.
"""

from __future__ import annotations

import math

from wengert import _core, arange
from wengert._core import Tensor, where

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wengert._core import dtype

__all__ = [
    "alpha_dropout",
    "channel_shuffle",
    "cosine_similarity",
    "dropout1d",
    "dropout2d",
    "dropout3d",
    "feature_alpha_dropout",
    "glu",
    "gumbel_softmax",
    "normalize",
    "pairwise_distance",
    "pixel_shuffle",
    "pixel_unshuffle",
    "softmin",
]


def _warn(text: str) -> None:
    import warnings

    warnings.warn(text, stacklevel=3)


def _clamp_min(x: Tensor, least: float) -> Tensor:
    """x, but at least ``least``; the gradient passes where x is not below, NaN stays."""
    return where(x < least, least, x)


def _at_least(x: Tensor, least: float) -> Tensor:
    """The value of `_clamp_min` with the gradient of x."""
    with_value = x.detach()
    return x + (_clamp_min(with_value, least) - with_value)


def implicit_dim(name: str, ndim: int) -> int:
    """Return the dimension that softmax takes where none is given, which it warns of."""
    _warn(
        f"Implicit dimension choice for {name} has been deprecated. Change the call to include "
        "dim=X as an argument."
    )
    return 0 if ndim in (0, 1, 3) else 1


# --- norms and distances -----------------------------------------------------------------------


def _norm(x: Tensor, p: float, dim: int | Sequence[int], keepdim: bool) -> Tensor:
    """The p-norm along dim, whose gradient is 0 at 0."""
    if p == math.inf:
        return x.abs().amax(dim, keepdim)
    if p == -math.inf:
        return x.abs().amin(dim, keepdim)
    if p == 0:
        return (x != 0).to(x.dtype).sum(dim, keepdim)
    if p == 1:
        return x.abs().sum(dim, keepdim)
    if p == 2:
        total = x.square().sum(dim, keepdim)
        zero = total == 0
        return where(zero, 0.0, where(zero, 1.0, total).sqrt())
    zero = x == 0
    total = where(zero, 0.0, where(zero, 1.0, x.abs()) ** p).sum(dim, keepdim)
    zero = total == 0
    return where(zero, 0.0, where(zero, 1.0, total) ** (1 / p))


def normalize(
    input: Tensor,
    p: float = 2.0,
    dim: int | Sequence[int] = 1,
    eps: float = 1e-12,
    out: Tensor | None = None,
) -> Tensor:
    """Divide by the p-norm along dim, or by eps where that is greater."""
    made = input / _clamp_min(_norm(input, p, dim, True), eps)
    return made if out is None else out.copy_(made)


def cosine_similarity(x1: Tensor, x2: Tensor, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """``x1 . x2 / (max(|x1|, eps) max(|x2|, eps))`` along dim.

    Raises
    ------
    RuntimeError
        If the tensors are not of floating point, or their shapes do not go together.
    """
    kind = _core.result_type(x1, x2)
    if not kind.is_floating_point:
        raise RuntimeError(
            f"cosine_similarity: got {x1.dtype} and {x2.dtype}; expected a floating point dtype"
        )
    ndim = max(x1.dim(), x2.dim())
    x1, x2 = (t.to(kind).reshape((1,) * (ndim - t.dim()) + t.shape) for t in (x1, x2))
    unit1, unit2 = (t / _at_least(_norm(t, 2, dim, True), eps) for t in (x1, x2))
    return (unit1 * unit2).sum(dim)


def pairwise_distance(
    x1: Tensor, x2: Tensor, p: float = 2.0, eps: float = 1e-6, keepdim: bool = False
) -> Tensor:
    """The p-norm of ``x1 - x2 + eps`` along the last dimension."""
    return _norm(x1 - x2 + eps, p, -1, keepdim)


# --- gates -------------------------------------------------------------------------------------


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``a * sigmoid(b)``, a and b the halves along dim (Dauphin, Fan, Auli, Grangier, 2017).

    Raises
    ------
    RuntimeError
        If there is no such dimension to halve.
    """
    if input.dim() == 0:
        raise RuntimeError("glu: does not support 0-dimensional tensors")
    size = input.size(dim)
    if size % 2:
        raise RuntimeError(
            f"glu: halving dimension must be even, but dimension {dim} is size {size}"
        )
    half = size // 2
    return input.narrow(dim, 0, half) * input.narrow(dim, half, half).sigmoid()


def softmin(
    input: Tensor, dim: int | None = None, _stacklevel: int = 3, dtype: dtype | None = None
) -> Tensor:
    """``softmax(-input)`` along dim."""
    if dim is None:
        dim = implicit_dim("softmin", input.dim())
    return (-input).softmax(dim, dtype=dtype)


def gumbel_softmax(
    logits: Tensor, tau: float = 1, hard: bool = False, eps: float = 1e-10, dim: int = -1
) -> Tensor:
    """Draw from a softened categorical distribution (Jang, Gu, Poole, 2017).

    With ``hard`` the draw is one-hot and the gradient that of the soft one.
    """
    if eps != 1e-10:
        _warn("`eps` parameter is deprecated and has no effect.")
    noise = -(-_core.rand_like(logits).log()).log()
    soft = ((logits + noise) / tau).softmax(dim)
    if not hard:
        return soft
    shape = [1] * soft.dim()
    shape[dim] = soft.size(dim)
    places = arange(soft.size(dim), device=soft.device).reshape(shape)
    chosen = (soft.detach().argmax(dim, keepdim=True) == places).to(soft.dtype)
    return chosen - soft.detach() + soft


# --- dropout -----------------------------------------------------------------------------------


def _check_probability(p: float) -> None:
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"dropout probability has to be between 0 and 1, but got {p}")


def _kept(input: Tensor, shape: Sequence[int], p: float) -> Tensor:
    """Ones with probability 1 - p, and zeros."""
    return (_core.rand(shape, dtype=input.dtype, device=input.device) >= p).to(input.dtype)


def _scaled(input: Tensor, shape: Sequence[int], p: float, inplace: bool) -> Tensor:
    mask = _kept(input, shape, p)
    if 0.0 < p < 1.0:
        mask = mask / (1.0 - p)
    return input.mul_(mask) if inplace else input * mask


def _channels(input: Tensor) -> tuple[int, ...]:
    """The shape of a mask for whole channels."""
    if input.dim() < 2:
        raise RuntimeError("Feature dropout requires at least 2 dimensions in the input")
    return (*input.shape[:2], *(1 for _ in input.shape[2:]))


def _channel_dropout(input: Tensor, p: float, training: bool, inplace: bool) -> Tensor:
    return _scaled(input, _channels(input), p, inplace) if training else input


def dropout1d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (N, C, L) or (C, L) with probability p.

    Raises
    ------
    RuntimeError
        If the input has another number of dimensions.
    ValueError
        If p is no probability.
    """
    _check_probability(p)
    if input.dim() not in (2, 3):
        raise RuntimeError(
            f"dropout1d: Expected 2D or 3D input, but received a {input.dim()}D input."
        )
    if input.dim() == 2:  # no batch: the first dimension is that of the channels
        shape = (input.shape[0], 1)
        return _scaled(input, shape, p, inplace) if training else input
    return _channel_dropout(input, p, training, inplace)


def dropout2d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (N, C, H, W) with probability p.

    Three dimensions are taken as (N, C, L), with a warning.

    Raises
    ------
    ValueError
        If p is no probability.
    """
    _check_probability(p)
    if input.dim() == 3:
        _warn(
            "dropout2d: Received a 3D input to dropout2d and assuming that channel-wise 1D "
            "dropout behavior is desired - input is interpreted as shape (N, C, L), where C is "
            "the channel dim."
        )
    elif input.dim() != 4:
        _warn(f"dropout2d: Received a {input.dim()}-D input to dropout2d; expected 3-D or 4-D.")
    return _channel_dropout(input, p, training, inplace)


def dropout3d(
    input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
) -> Tensor:
    """Zero whole channels of (N, C, D, H, W), or of (C, D, H, W), with probability p.

    Raises
    ------
    ValueError
        If p is no probability.
    """
    _check_probability(p)
    if input.dim() == 4:
        shape = (input.shape[0], 1, 1, 1)
        return _scaled(input, shape, p, inplace) if training else input
    if input.dim() != 5:
        _warn(f"dropout3d: Received a {input.dim()}-D input to dropout3d; expected 4-D or 5-D.")
    return _channel_dropout(input, p, training, inplace)


# -scale * alpha of SELU: what its output tends to on the left.
_SELU_LOWEST = 1.7580993408473766


def _alpha_scaled(input: Tensor, shape: Sequence[int], p: float, inplace: bool) -> Tensor:
    kept = _kept(input, shape, p)
    scale = 0.0 if p == 1 else 1 / math.sqrt((_SELU_LOWEST**2 * p + 1) * (1 - p))
    shift = (kept - 1) * (_SELU_LOWEST * scale) + _SELU_LOWEST * scale * p
    if inplace:
        return input.mul_(kept * scale).add_(shift)
    return input * (kept * scale) + shift


def alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """Drop to SELU's lowest value, keeping mean and variance (Klambauer and others, 2017).

    Raises
    ------
    ValueError
        If p is no probability.
    """
    _check_probability(p)
    return _alpha_scaled(input, input.shape, p, inplace) if training and p > 0 else input


def feature_alpha_dropout(
    input: Tensor, p: float = 0.5, training: bool = False, inplace: bool = False
) -> Tensor:
    """As `alpha_dropout`, for whole channels.

    Raises
    ------
    ValueError
        If p is no probability.
    """
    _check_probability(p)
    return _alpha_scaled(input, _channels(input), p, inplace) if training and p > 0 else input


# --- channels and pixels -----------------------------------------------------------------------


def _check_factor(name: str, input: Tensor, factor: int, least: int = 3) -> None:
    if input.dim() < least:
        raise RuntimeError(
            f"{name}: expects input to have at least {least} dimensions, got {input.dim()}"
        )
    if factor <= 0:
        raise RuntimeError(f"{name}: expects a positive factor, got {factor}")


def pixel_shuffle(input: Tensor, upscale_factor: int) -> Tensor:
    """(..., C r^2, H, W) as (..., C, H r, W r): channels become finer pixels.

    Raises
    ------
    RuntimeError
        If the channels are no multiple of r^2.
    """
    r = upscale_factor
    _check_factor("pixel_shuffle", input, r)
    *batch, c, h, w = input.shape
    if c % (r * r):
        raise RuntimeError(
            f"pixel_shuffle: expects its input's channels to be divisible by {r}^2, got {c}"
        )
    n = len(batch)
    x = input.reshape(*batch, c // (r * r), r, r, h, w)
    order = [*range(n), n, n + 3, n + 1, n + 4, n + 2]
    return x.permute(order).reshape(*batch, c // (r * r), h * r, w * r)


def pixel_unshuffle(input: Tensor, downscale_factor: int) -> Tensor:
    """(..., C, H r, W r) as (..., C r^2, H, W): pixels become channels.

    Raises
    ------
    RuntimeError
        If height or width is no multiple of r.
    """
    r = downscale_factor
    _check_factor("pixel_unshuffle", input, r)
    *batch, c, h, w = input.shape
    if h % r or w % r:
        raise RuntimeError(
            f"pixel_unshuffle: expects height and width to be divisible by {r}, got {h} and {w}"
        )
    n = len(batch)
    x = input.reshape(*batch, c, h // r, r, w // r, r)
    order = [*range(n), n, n + 2, n + 4, n + 1, n + 3]
    return x.permute(order).reshape(*batch, c * r * r, h // r, w // r)


def channel_shuffle(input: Tensor, groups: int) -> Tensor:
    """Channels of groups taken in turn: one of each group, then the next of each.

    Raises
    ------
    RuntimeError
        If the channels cannot be divided into the groups.
    """
    _check_factor("channel_shuffle", input, groups)
    n, c, *rest = input.shape
    if c % groups:
        raise RuntimeError(
            f"channel_shuffle: expects {groups} groups to divide the channels, got {c}"
        )
    return input.reshape(n, groups, c // groups, *rest).transpose(1, 2).reshape(n, c, *rest)
