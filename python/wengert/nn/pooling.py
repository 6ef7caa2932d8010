"""Pooling, resampling and sliding blocks as modules."""

from __future__ import annotations

from . import functional as F  # noqa: N812
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from wengert._core import Tensor


class _MaxPool(Module):
    """Base of them.

    Parameters
    ----------
    kernel_size, stride, padding, dilation
        One int, or one a dimension; stride is kernel_size unless given.
    return_indices
        Whether to return the places of what was found, too.
    ceil_mode
        Whether windows may reach over the end.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.dilation = dilation
        self.return_indices = return_indices
        self.ceil_mode = ceil_mode

    def forward(self, input: Tensor) -> Any:
        """Return the largest element of each window."""
        return getattr(F, f"max_pool{self.axes}d")(
            input, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode,
            self.return_indices,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class MaxPool1d(_MaxPool):
    """The largest element of each window of the last dimension."""

    axes = 1


class MaxPool2d(_MaxPool):
    """The largest element of each window of the last two dimensions."""

    axes = 2


class MaxPool3d(_MaxPool):
    """The largest element of each window of the last three dimensions."""

    axes = 3


class _AvgPool(Module):
    kernel_size: int | Sequence[int]
    stride: int | Sequence[int]
    padding: int | Sequence[int]

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class AvgPool1d(_AvgPool):
    """The mean of each window of the last dimension.

    Parameters
    ----------
    kernel_size, stride, padding
        stride is kernel_size unless given.
    ceil_mode
        Whether windows may reach over the end.
    count_include_pad
        Whether zeros of the padding count.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
    ) -> None:
        super().__init__()

        def single(value: int | Sequence[int]) -> tuple[int, ...]:
            return tuple(value) if hasattr(value, "__iter__") else (value,)

        self.kernel_size = single(kernel_size)
        self.stride = single(stride if stride is not None else kernel_size)
        self.padding = single(padding)
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean of each window."""
        return F.avg_pool1d(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad,
        )  # fmt: skip


class _AvgPoolN(_AvgPool):
    """Base of those over several dimensions.

    Parameters
    ----------
    kernel_size, stride, padding
        One int, or one a dimension; stride is kernel_size unless given.
    ceil_mode
        Whether windows may reach over the end.
    count_include_pad
        Whether zeros of the padding count.
    divisor_override
        What to divide sums by, whatever counts.
    """

    axes: ClassVar[int]

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] | None = None,
        padding: int | Sequence[int] = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.stride = stride if stride is not None else kernel_size
        self.padding = padding
        self.ceil_mode = ceil_mode
        self.count_include_pad = count_include_pad
        self.divisor_override = divisor_override

    def forward(self, input: Tensor) -> Tensor:
        """Return the mean of each window."""
        out: Tensor = getattr(F, f"avg_pool{self.axes}d")(
            input, self.kernel_size, self.stride, self.padding, self.ceil_mode,
            self.count_include_pad, self.divisor_override,
        )  # fmt: skip
        return out


class AvgPool2d(_AvgPoolN):
    """The mean of each window of the last two dimensions."""

    axes = 2


class AvgPool3d(_AvgPoolN):
    """The mean of each window of the last three dimensions."""

    axes = 3


class _AdaptiveAvgPool(Module):
    """Base of them.

    Parameters
    ----------
    output_size
        One int, or one a dimension; None leaves a dimension as it is.
    """

    axes: ClassVar[int]

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        super().__init__()
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """Return means of windows of even size."""
        out: Tensor = getattr(F, f"adaptive_avg_pool{self.axes}d")(input, self.output_size)
        return out

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"output_size={self.output_size}"


class AdaptiveAvgPool1d(_AdaptiveAvgPool):
    """Means of so many windows that share the last dimension out."""

    axes = 1


class AdaptiveAvgPool2d(_AdaptiveAvgPool):
    """Means of so many windows that share the last two dimensions out."""

    axes = 2


class AdaptiveAvgPool3d(_AdaptiveAvgPool):
    """Means of so many windows that share the last three dimensions out."""

    axes = 3


class _AdaptiveMaxPool(_AdaptiveAvgPool):
    """Base of them.

    Parameters
    ----------
    output_size
        One int, or one a dimension; None leaves a dimension as it is.
    return_indices
        Whether to return the places of what was found, too.
    """

    def __init__(
        self, output_size: int | Sequence[int | None] | None, return_indices: bool = False
    ) -> None:
        super().__init__(output_size)
        self.return_indices = return_indices

    def forward(self, input: Tensor) -> Any:
        """Return the largest elements of windows of even size."""
        return getattr(F, f"adaptive_max_pool{self.axes}d")(
            input, self.output_size, self.return_indices
        )


class AdaptiveMaxPool1d(_AdaptiveMaxPool):
    """The largest elements of so many windows that share the last dimension out."""

    axes = 1


class AdaptiveMaxPool2d(_AdaptiveMaxPool):
    """The largest elements of so many windows that share the last two dimensions out."""

    axes = 2


class AdaptiveMaxPool3d(_AdaptiveMaxPool):
    """The largest elements of so many windows that share the last three dimensions out."""

    axes = 3


class Upsample(Module):
    """The input with its last dimensions resampled.

    Parameters
    ----------
    size, scale_factor
        The size of the output, or its ratio to that of the input: one of them.
    mode, align_corners, recompute_scale_factor
        As `functional.interpolate` takes them.
    """

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: str = "nearest",
        align_corners: bool | None = None,
        recompute_scale_factor: bool | None = None,
    ) -> None:
        super().__init__()
        self.name = type(self).__name__
        self.size = size
        self.scale_factor: float | tuple[float, ...] | None = None
        if isinstance(scale_factor, (tuple, list)):
            self.scale_factor = tuple(float(f) for f in scale_factor)
        elif scale_factor is not None:
            self.scale_factor = float(scale_factor)  # type: ignore[arg-type]
        self.mode = mode
        self.align_corners = align_corners
        self.recompute_scale_factor = recompute_scale_factor

    def forward(self, input: Tensor) -> Tensor:
        """Resample the input."""
        return F.interpolate(
            input, self.size, self.scale_factor, self.mode, self.align_corners,
            self.recompute_scale_factor,
        )  # fmt: skip

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        given = "scale_factor" if self.scale_factor is not None else "size"
        return f"{given}={getattr(self, given)}, mode={self.mode!r}"


class UpsamplingNearest2d(Upsample):
    """Each pixel repeated."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, "nearest")


class UpsamplingBilinear2d(Upsample):
    """Pixels between the corners, which stay where they are."""

    def __init__(
        self,
        size: int | Sequence[int] | None = None,
        scale_factor: float | Sequence[float] | None = None,
    ) -> None:
        super().__init__(size, scale_factor, "bilinear", True)


class Unfold(Module):
    """Sliding blocks of (N, C, H, W) as columns of (N, C kernel, blocks).

    Parameters
    ----------
    kernel_size, dilation, padding, stride
        Of the blocks: one int, or one a dimension.
    """

    def __init__(
        self,
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.dilation = dilation
        self.padding = padding
        self.stride = stride

    def forward(self, input: Tensor) -> Tensor:
        """Return the blocks."""
        return F.unfold(input, self.kernel_size, self.dilation, self.padding, self.stride)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"kernel_size={self.kernel_size}, dilation={self.dilation}, padding={self.padding}, "
            f"stride={self.stride}"
        )


class Fold(Unfold):
    """Columns of (N, C kernel, blocks) added up to what they are sliding blocks of.

    Parameters
    ----------
    output_size
        The sizes H and W.
    kernel_size, dilation, padding, stride
        Of the blocks: one int, or one a dimension.
    """

    def __init__(
        self,
        output_size: int | Sequence[int],
        kernel_size: int | Sequence[int],
        dilation: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        stride: int | Sequence[int] = 1,
    ) -> None:
        super().__init__(kernel_size, dilation, padding, stride)
        self.output_size = output_size

    def forward(self, input: Tensor) -> Tensor:
        """Add the blocks up."""
        return F.fold(
            input, self.output_size, self.kernel_size, self.dilation, self.padding, self.stride
        )

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"output_size={self.output_size}, {super().extra_repr()}"
