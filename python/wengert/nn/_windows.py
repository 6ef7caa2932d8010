"""Functions of images that are compositions: adaptive pooling, resampling, sliding blocks.

`functional` offers them.
"""

from __future__ import annotations

import math

from wengert import _core, arange, float32, float64, int64
from wengert._core import Tensor, eye
from wengert._core.functional import conv_transpose2d, pad

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    Sizes = int | Sequence[int | None] | None

__all__ = [
    "adaptive_avg_pool1d",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool3d",
    "adaptive_max_pool1d",
    "adaptive_max_pool2d",
    "adaptive_max_pool3d",
    "fold",
    "interpolate",
    "unfold",
]

# --- adaptive pooling --------------------------------------------------------------------------


def _asked(name: str, input: Tensor, size: Any, axes: int) -> list[int]:
    """The size of each of the last dimensions; None stands for what it is."""
    given = list(size) if isinstance(size, (tuple, list)) else [size] * axes
    if len(given) != axes:
        raise RuntimeError(f"{name}: output_size must be {axes} ints, got {size}")
    if input.dim() < axes:
        raise RuntimeError(f"{name}: expected input of {axes + 1} or {axes + 2} dimensions")
    there = input.shape[-axes:]
    return [n if n is not None else there[i] for i, n in enumerate(given)]


def adaptive_avg_pool1d(input: Tensor, output_size: Sizes) -> Tensor:
    """Return means of so many windows that share the last dimension out.

    Raises
    ------
    RuntimeError
        If a size is negative, or the input empty.
    """
    return _core._adaptive_avg_pool(input, _asked("adaptive_avg_pool1d", input, output_size, 1))


def adaptive_avg_pool2d(input: Tensor, output_size: Sizes) -> Tensor:
    """Return means of so many windows that share the last two dimensions out.

    Raises
    ------
    RuntimeError
        If a size is negative, or the input empty.
    """
    return _core._adaptive_avg_pool(input, _asked("adaptive_avg_pool2d", input, output_size, 2))


def adaptive_avg_pool3d(input: Tensor, output_size: Sizes) -> Tensor:
    """Return means of so many windows that share the last three dimensions out.

    Raises
    ------
    RuntimeError
        If a size is negative, or the input empty.
    """
    return _core._adaptive_avg_pool(input, _asked("adaptive_avg_pool3d", input, output_size, 3))


def _adaptive_max(name: str, input: Tensor, size: Sizes, axes: int, indices: bool) -> Any:
    best = _core._adaptive_max_pool(input, _asked(name, input, size, axes))
    return tuple(best) if indices else best[0]


def adaptive_max_pool1d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Return the largest elements of so many windows that share the last dimension out.

    Raises
    ------
    RuntimeError
        If a size is negative, or the input empty.
    """
    return _adaptive_max("adaptive_max_pool1d", input, output_size, 1, return_indices)


def adaptive_max_pool2d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Return the largest elements of so many windows that share the last two dimensions out.

    Raises
    ------
    RuntimeError
        If a size is negative, or the input empty.
    """
    return _adaptive_max("adaptive_max_pool2d", input, output_size, 2, return_indices)


def adaptive_max_pool3d(input: Tensor, output_size: Sizes, return_indices: bool = False) -> Any:
    """Return the largest elements of so many windows that share the last three dimensions out.

    Raises
    ------
    RuntimeError
        If a size is negative, or the input empty.
    """
    return _adaptive_max("adaptive_max_pool3d", input, output_size, 3, return_indices)


# --- resampling --------------------------------------------------------------------------------

_NEAREST = ("nearest", "nearest-exact", "area")
_SMOOTH = {"linear": 3, "bilinear": 4, "bicubic": 4, "trilinear": 5}


def _cubic(t: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The weights of four neighbours (Keys, Cubic convolution interpolation, 1981, a = -0.75)."""
    a = -0.75

    def near(x: Tensor) -> Tensor:
        return ((a + 2) * x - (a + 3)) * x * x + 1

    def far(x: Tensor) -> Tensor:
        return ((a * x - 5 * a) * x + 8 * a) * x - 4 * a

    return far(t + 1), near(t), near(1 - t), far(2 - t)


def _places(n: int, like: Tensor) -> Tensor:
    """0, 1, ... n - 1, in the precision that PyTorch computes places in."""
    wide = like.dtype if like.dtype == float64 else float32
    return arange(n, dtype=wide, device=like.device)


def _nearest(x: Tensor, dim: int, out: int, step: float, shift: float) -> Tensor:
    at = ((_places(out, x) + shift) * step).floor().to(int64)
    return x.index_select(dim, at.clamp(max=x.shape[dim] - 1))


def _between(x: Tensor, dim: int, out: int, step: float, mode: str, align: bool) -> Tensor:
    """Neighbours along a dimension, each for its share."""
    n = x.shape[dim]
    at = _places(out, x)
    if align:
        at = at * ((n - 1) / (out - 1) if out > 1 else 0.0)
    else:
        at = (at + 0.5) * step - 0.5
        if mode != "bicubic":
            at = at.clamp(min=0.0)
    first = at.floor()
    t = (at - first).reshape(-1, *(1,) * (x.dim() - 1 - dim)).to(x.dtype)
    shares = enumerate(_cubic(t), -1) if mode == "bicubic" else enumerate((1 - t, t))
    base = first.to(int64)
    parts = [x.index_select(dim, (base + k).clamp(min=0, max=n - 1)) * share for k, share in shares]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _output_sizes(
    input: Tensor, size: Any, scale_factor: Any, recompute: bool | None
) -> tuple[list[int], list[float]]:
    """The sizes of the result, and how far its places are apart in the input."""
    there = input.shape[2:]
    if size is None and scale_factor is None:
        raise ValueError("interpolate: either size or scale_factor should be defined")
    if size is not None and scale_factor is not None:
        raise ValueError("interpolate: only one of size or scale_factor should be defined")
    given = size if size is not None else scale_factor
    each = list(given) if isinstance(given, (tuple, list)) else [given] * len(there)
    if len(each) != len(there):
        raise ValueError(
            "interpolate: input and output must have the same number of spatial dimensions, but "
            f"got {tuple(there)} and {tuple(each)}"
        )
    if size is not None:
        if recompute:
            raise ValueError(
                "interpolate: recompute_scale_factor is not meaningful with an explicit size"
            )
        sizes = [int(n) for n in each]
    else:
        sizes = [math.floor(float(n) * float(f)) for n, f in zip(there, each, strict=True)]
    if any(n <= 0 for n in (*sizes, *there)):
        raise RuntimeError(
            "interpolate: input and output sizes should be greater than 0, but got "
            f"{tuple(there)} and {tuple(sizes)}"
        )
    if scale_factor is not None and not recompute:
        return sizes, [1 / float(f) for f in each]
    return sizes, [n / m for n, m in zip(there, sizes, strict=True)]


def interpolate(
    input: Tensor,
    size: int | Sequence[int] | None = None,
    scale_factor: float | Sequence[float] | None = None,
    mode: str = "nearest",
    align_corners: bool | None = None,
    recompute_scale_factor: bool | None = None,
    antialias: bool = False,
) -> Tensor:
    """(N, C, ...) with its last one to three dimensions resampled.

    Parameters
    ----------
    input
        What is resampled.
    size, scale_factor
        The size of the output, or its ratio to that of the input: one of them.
    mode
        'nearest', 'nearest-exact', 'area'; 'linear', 'bilinear', 'bicubic' or 'trilinear'.
    align_corners
        Whether the centres of the outermost elements stay where they are, or their edges.
    recompute_scale_factor
        Whether the ratio is that of the sizes, not the given one.
    antialias
        There is none.

    Raises
    ------
    ValueError
        If not one of size and scale_factor is given, for each dimension, or align_corners in a
        mode that has no use for it.
    NotImplementedError
        For a mode that there is not, or not for so many dimensions, for integers, and for
        antialias.
    RuntimeError
        If a size is not positive.
    """
    if antialias:
        raise NotImplementedError("interpolate: there is no antialias=True")
    if mode in _NEAREST and align_corners is not None:
        raise ValueError(f"interpolate: align_corners cannot be set in mode {mode!r}")
    if mode not in (*_NEAREST, *_SMOOTH) or not 3 <= input.dim() <= 5:
        raise NotImplementedError(
            f"interpolate: 3D, 4D and 5D input in the modes {', '.join((*_NEAREST, *_SMOOTH))}; "
            f"got {input.dim()}D and {mode!r}"
        )
    if mode in _SMOOTH and input.dim() != _SMOOTH[mode]:
        raise NotImplementedError(
            f"interpolate: mode {mode!r} needs {_SMOOTH[mode]}D input, got {input.dim()}D"
        )
    sizes, steps = _output_sizes(input, size, scale_factor, recompute_scale_factor)
    if mode == "area":
        return _core._adaptive_avg_pool(input, sizes)
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"interpolate: not implemented for {input.dtype}")
    out = input
    for d, (n, step) in enumerate(zip(sizes, steps, strict=True), 2):
        if mode in ("nearest", "nearest-exact"):
            out = _nearest(out, d, n, step, 0.5 if mode == "nearest-exact" else 0.0)
        elif n != input.shape[d] or step != 1.0:
            out = _between(out, d, n, step, mode, bool(align_corners))
    return out.contiguous()


# --- sliding blocks ----------------------------------------------------------------------------


def _pair(name: str, what: str, value: int | Sequence[int], least: int) -> tuple[int, int]:
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) != 2:
        raise RuntimeError(f"{name}: it is expected {what} equals to 2 ints, but got {value}")
    if any(v < least for v in pair):
        raise RuntimeError(f"{name}: {what} should be at least {least}, but got {value}")
    return pair


def _blocks(
    name: str, size: Sequence[int], kernel: Any, dilation: Any, padding: Any, stride: Any
) -> tuple[int, int]:
    """How many blocks there are along each dimension."""
    first, second = (
        (size[i] + 2 * padding[i] - dilation[i] * (kernel[i] - 1) - 1) // stride[i] + 1
        for i in range(2)
    )
    if first < 1 or second < 1:
        raise RuntimeError(
            f"{name}: size {tuple(size)} with kernel_size={kernel}, dilation={dilation} and "
            f"padding={padding} has no blocks: calculated {(first, second)}"
        )
    return first, second


def _parameters(name: str, kernel_size: Any, dilation: Any, padding: Any, stride: Any) -> Any:
    return (
        _pair(name, "kernel_size", kernel_size, 1),
        _pair(name, "dilation", dilation, 1),
        _pair(name, "padding", padding, 0),
        _pair(name, "stride", stride, 1),
    )


def unfold(
    input: Tensor,
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Sliding blocks of (N, C, H, W), or of one sample, as columns of (N, C kernel, blocks).

    Raises
    ------
    RuntimeError
        If the input has not three or four dimensions, or no block fits.
    NotImplementedError
        For integers.
    """
    if input.dim() == 3:
        return unfold(input.unsqueeze(0), kernel_size, dilation, padding, stride).squeeze(0)
    if input.dim() != 4:
        raise RuntimeError(f"unfold: expected 3D or 4D input, but got shape {tuple(input.shape)}")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"unfold: not implemented for {input.dtype}")
    kernel, apart, sides, steps = _parameters("unfold", kernel_size, dilation, padding, stride)
    n, c, *size = input.shape
    rows, columns = _blocks("unfold", size, kernel, apart, sides, steps)
    x = pad(input, (sides[1], sides[1], sides[0], sides[0]))
    for d in range(2):
        x = x.unfold(2 + d, apart[d] * (kernel[d] - 1) + 1, steps[d])
    x = x[..., :: apart[0], :: apart[1]]
    x = x.permute(0, 1, 4, 5, 2, 3)
    return x.reshape(n, c * kernel[0] * kernel[1], rows * columns)


def fold(
    input: Tensor,
    output_size: int | Sequence[int],
    kernel_size: int | Sequence[int],
    dilation: int | Sequence[int] = 1,
    padding: int | Sequence[int] = 0,
    stride: int | Sequence[int] = 1,
) -> Tensor:
    """Columns of (N, C kernel, blocks) added up to what they are sliding blocks of.

    Raises
    ------
    RuntimeError
        If the input has not two or three dimensions, or not as many blocks as there are.
    NotImplementedError
        For integers.
    """
    if input.dim() == 2:
        one = fold(input.unsqueeze(0), output_size, kernel_size, dilation, padding, stride)
        return one.squeeze(0)
    if input.dim() != 3:
        raise RuntimeError(f"fold: expected 2D or 3D input, but got shape {tuple(input.shape)}")
    if not input.dtype.is_floating_point:
        raise NotImplementedError(f"fold: not implemented for {input.dtype}")
    kernel, apart, sides, steps = _parameters("fold", kernel_size, dilation, padding, stride)
    size = _pair("fold", "output_size", output_size, 1)
    n, rows, blocks = input.shape
    taps = kernel[0] * kernel[1]
    if rows % taps:
        raise RuntimeError(
            f"fold: expected size of input's dimension 1 to be divisible by the product of "
            f"kernel_size, but got {rows} and kernel_size={kernel}"
        )
    grid = _blocks("fold", size, kernel, apart, sides, steps)
    if grid[0] * grid[1] != blocks:
        raise RuntimeError(
            f"fold: expected size of input's dimension 2 to be the number of blocks, "
            f"{grid[0]} * {grid[1]}, but got {blocks}"
        )
    channels = rows // taps
    more = [
        size[d] - ((grid[d] - 1) * steps[d] - 2 * sides[d] + apart[d] * (kernel[d] - 1) + 1)
        for d in range(2)
    ]
    # Every block is one element that brings its own kernel: a transposed convolution.
    weight = eye(taps, dtype=input.dtype, device=input.device).reshape(taps, 1, *kernel)
    planes = input.reshape(n * channels, taps, *grid)
    out = conv_transpose2d(planes, weight, None, steps, sides, more, 1, apart)
    return out.reshape(n, channels, *size)
