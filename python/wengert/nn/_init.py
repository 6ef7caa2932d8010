"""The rarer starting values of `init`; loaded at first use.

They are drawn by wengert's generator, so that `manual_seed` holds for them, and worked out in
NumPy.
"""

from __future__ import annotations

import math

import numpy as np

from wengert import _core, from_numpy

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import NDArray

    from wengert._core import Tensor


def _drawn(name: str, shape: tuple[int, ...], generator: Any) -> NDArray[Any]:
    given = {} if generator is None else {"generator": generator}
    return getattr(_core, name)(shape, dtype=_core.float64, device="cpu", **given).numpy()


def _write(tensor: Tensor, values: NDArray[Any]) -> Tensor:
    return tensor.copy_(from_numpy(np.ascontiguousarray(values)).to(tensor.dtype))


def trunc_normal(
    tensor: Tensor, mean: float, std: float, a: float, b: float, generator: Any
) -> Tensor:
    """Draw anew, from the normal distribution, what falls outside of [a, b].

    Where less than a part in a hundred would fall inside, numbers uniform in [a, b] are accepted
    with the probability that their density asks for.
    """
    if not a <= b:
        raise ValueError(f"trunc_normal_: expected a <= b, got {a} and {b}")
    if mean < a - 2 * std or mean > b + 2 * std:
        import warnings

        warnings.warn(
            "mean is more than 2 std from [a, b] in nn.init.trunc_normal_. The distribution of "
            "values may be incorrect.",
            stacklevel=4,
        )
    if not math.isfinite(mean + std):
        return tensor.fill_(math.nan)
    values = np.empty(tensor.numel())
    if std == 0 or a == b:
        return tensor.fill_(min(max(mean, a), b))
    low, high = (a - mean) / std, (b - mean) / std
    inside = 0.5 * (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2)))
    nearest = min(max(0.0, low), high)  # where the density is greatest
    reach = 40 / max(1.0, abs(nearest))  # what lies further is of no account
    low, high = max(low, nearest - reach), min(high, nearest + reach)
    left = np.arange(values.size)
    for _ in range(2048):
        if not left.size:
            break
        if inside > 0.01:
            z = _drawn("randn", (left.size,), generator)
            accepted = (z >= low) & (z <= high)
        else:
            z = low + (high - low) * _drawn("rand", (left.size,), generator)
            ceiling = np.exp(0.5 * (nearest**2 - z**2))
            accepted = _drawn("rand", (left.size,), generator) <= ceiling
        values[left[accepted]] = mean + std * z[accepted]
        left = left[~accepted]
    values[left] = min(max(mean, a), b)  # numbers too far apart for any to lie between
    return _write(tensor, np.clip(values, a, b).reshape(tensor.shape))


def eye(tensor: Tensor) -> Tensor:
    """Write the identity."""
    if tensor.dim() != 2:
        raise ValueError("eye_: only tensors with 2 dimensions are supported")
    return _write(tensor, np.eye(*tensor.shape))


def dirac(tensor: Tensor, groups: int) -> Tensor:
    """Write a 1 at the centre of the kernel that joins each output to the input of its number."""
    if tensor.dim() not in (3, 4, 5):
        raise ValueError("dirac_: only tensors with 3, 4, or 5 dimensions are supported")
    if groups < 1 or tensor.size(0) % groups:
        raise ValueError("dirac_: dim 0 must be divisible by groups")
    values = np.zeros(tensor.shape)
    outputs = tensor.size(0) // groups
    centre = tuple(n // 2 for n in tensor.shape[2:])
    for g in range(groups):
        for i in range(min(outputs, tensor.size(1))):
            values[(g * outputs + i, i) + centre] = 1
    return _write(tensor, values)


def orthogonal(tensor: Tensor, gain: float, generator: Any) -> Tensor:
    """Write the Q of a normal matrix, its signs chosen so that Q is uniformly distributed.

    (Mezzadri, 2007: the diagonal of R is made positive.)
    """
    if tensor.dim() < 2:
        raise ValueError("orthogonal_: only tensors with 2 or more dimensions are supported")
    if tensor.numel() == 0:
        return tensor
    rows = tensor.size(0)
    columns = tensor.numel() // rows
    normal = _drawn("randn", (rows, columns), generator)
    q, r = np.linalg.qr(normal.T if rows < columns else normal)
    q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)
    return _write(tensor, (gain * (q.T if rows < columns else q)).reshape(tensor.shape))


def sparse(tensor: Tensor, sparsity: float, std: float, generator: Any) -> Tensor:
    """Write normal numbers, and zeros at the same number of places of each column."""
    if tensor.dim() != 2:
        raise ValueError("sparse_: only tensors with 2 dimensions are supported")
    rows, columns = tensor.shape
    values = std * _drawn("randn", (rows, columns), generator)
    order = np.argsort(_drawn("rand", (rows, columns), generator), axis=0)
    np.put_along_axis(values, order[: math.ceil(sparsity * rows)], 0.0, axis=0)
    return _write(tensor, values)
