"""Convolutions as modules."""

from __future__ import annotations

import math

from wengert._core import empty

from . import functional as F  # noqa: N812
from . import init
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import ClassVar

    from wengert._core import Tensor, device, dtype

_PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def _each(value: int | Sequence[int], axes: int) -> tuple[int, ...]:
    """A value for each axis."""
    return tuple(value) if hasattr(value, "__iter__") else (value,) * axes


class _Conv(Module):
    """Base of them: parameters and what is checked.

    Attributes
    ----------
    weight
        Uniform in +-1 / sqrt(fan in) at the start.
    bias
        From the same distribution, or None.
    """

    axes: ClassVar[int]
    transposed = False
    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int],
        padding: int | Sequence[int] | str,
        dilation: int | Sequence[int],
        output_padding: int | Sequence[int],
        groups: int,
        bias: bool,
        padding_mode: str,
        device: device | str | None,
        dtype: dtype | None,
    ) -> None:
        super().__init__()
        if groups <= 0:
            raise ValueError("groups must be a positive integer")
        if in_channels % groups != 0:
            raise ValueError("in_channels must be divisible by groups")
        if out_channels % groups != 0:
            raise ValueError("out_channels must be divisible by groups")
        self.in_channels, self.out_channels = in_channels, out_channels
        self.kernel_size = _each(kernel_size, self.axes)
        self.stride = _each(stride, self.axes)
        self.padding = padding if isinstance(padding, str) else _each(padding, self.axes)
        self.dilation = _each(dilation, self.axes)
        self.transposed = type(self).transposed
        self.output_padding = _each(output_padding, self.axes)
        self.groups = groups
        self.padding_mode = padding_mode
        if isinstance(padding, str):
            if padding not in ("same", "valid"):
                raise ValueError(
                    f"Invalid padding string {padding!r}, should be one of 'same', 'valid'"
                )
            if padding == "same" and any(s != 1 for s in self.stride):
                raise ValueError("padding='same' is not supported for strided convolutions")
        if padding_mode not in _PADDING_MODES:
            raise ValueError(
                f"padding_mode must be one of {_PADDING_MODES}, but got padding_mode="
                f"{padding_mode!r}"
            )
        first, second = (
            (in_channels, out_channels) if self.transposed else (out_channels, in_channels)
        )
        sizes = (first, second // groups, *self.kernel_size)
        self.weight = Parameter(empty(sizes, device=device, dtype=dtype))
        values = empty(out_channels, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from PyTorch's default distributions."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        fan_in = math.prod(self.weight.shape[1:])
        if self.bias is not None and fan_in != 0:
            bound = 1 / math.sqrt(fan_in)
            init.uniform_(self.bias, -bound, bound)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        text = (
            f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}, "
            f"stride={self.stride}"
        )
        usual = {"padding": 0, "dilation": 1, "output_padding": 0}
        for name, value in usual.items():
            if getattr(self, name) != (value,) * self.axes:
                text += f", {name}={getattr(self, name)}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode}"
        return text


class _Direct(_Conv):
    """Base of those that are not transposed."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] | str = 0,
        dilation: int | Sequence[int] = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, 0, groups, bias,
            padding_mode, device, dtype,
        )  # fmt: skip

    def _sides(self) -> tuple[int, ...]:
        """How much is put before and after each dimension, from the last one on."""
        sides: list[int] = []
        for i in reversed(range(self.axes)):
            total = self.dilation[i] * (self.kernel_size[i] - 1)
            if self.padding == "same":
                sides += [total // 2, total - total // 2]
            elif self.padding == "valid":
                sides += [0, 0]
            else:
                sides += [int(self.padding[i])] * 2
        return tuple(sides)

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        function = getattr(F, f"conv{self.axes}d")
        padding: object = self.padding
        if self.padding_mode != "zeros":
            input = F.pad(input, self._sides(), self.padding_mode)
            padding = 0
        out: Tensor = function(
            input, weight, bias, self.stride, padding, self.dilation, self.groups
        )
        return out

    def forward(self, input: Tensor) -> Tensor:
        """Convolve the input with the weight and add the bias."""
        return self._conv_forward(input, self.weight, self.bias)


class Conv1d(_Direct):
    """``y = x * w + b`` over the last dimension of (N, C, L), or of one sample (C, L).

    Parameters
    ----------
    in_channels, out_channels
        Sizes of dimension C of input and output.
    kernel_size, stride, padding, dilation
        One int, or one a dimension; padding may be 'same' or 'valid'.
    groups
        The channels are cut into so many groups, each convolved for itself.
    bias
        Whether to add b.
    padding_mode
        'zeros', 'reflect', 'replicate' or 'circular'.
    """

    axes = 1


class Conv2d(_Direct):
    """``y = x * w + b`` over the last two dimensions of (N, C, H, W), or of one sample (C, H, W).

    Parameters
    ----------
    in_channels, out_channels
        Sizes of dimension C of input and output.
    kernel_size, stride, padding, dilation
        One int, or one a dimension; padding may be 'same' or 'valid'.
    groups
        The channels are cut into so many groups, each convolved for itself.
    bias
        Whether to add b.
    padding_mode
        'zeros', 'reflect', 'replicate' or 'circular'.
    """

    axes = 2


class Conv3d(_Direct):
    """``y = x * w + b`` over the last three dimensions of (N, C, D, H, W), or of one sample.

    Parameters
    ----------
    in_channels, out_channels
        Sizes of dimension C of input and output.
    kernel_size, stride, padding, dilation
        One int, or one a dimension; padding may be 'same' or 'valid'.
    groups
        The channels are cut into so many groups, each convolved for itself.
    bias
        Whether to add b.
    padding_mode
        'zeros', 'reflect', 'replicate' or 'circular'.
    """

    axes = 3


class _Transposed(_Conv):
    """Base of the transposed ones."""

    transposed = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        output_padding: int | Sequence[int] = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: int | Sequence[int] = 1,
        padding_mode: str = "zeros",
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        if padding_mode != "zeros":
            raise ValueError(f'Only "zeros" padding mode is supported for {type(self).__name__}')
        super().__init__(
            in_channels, out_channels, kernel_size, stride, padding, dilation, output_padding,
            groups, bias, padding_mode, device, dtype,
        )  # fmt: skip

    def _padding_for(self, input: Tensor, output_size: Sequence[int]) -> tuple[int, ...]:
        """The output padding that gives the asked size."""
        batched = input.dim() == self.axes + 2
        given = tuple(output_size)
        if len(given) == self.axes + 1 + batched:
            given = given[1 + batched :]
        if len(given) != self.axes:
            raise ValueError(
                f"{type(self).__name__}: for {input.dim()}D input, output_size must have "
                f"{self.axes} or {self.axes + 1 + batched} elements (got {len(given)})"
            )
        least = [
            (input.shape[1 + batched + d] - 1) * self.stride[d]
            - 2 * int(self.padding[d])
            + self.dilation[d] * (self.kernel_size[d] - 1)
            + 1
            for d in range(self.axes)
        ]
        most = [n + self.stride[d] - 1 for d, n in enumerate(least)]
        if any(not low <= n <= high for low, n, high in zip(least, given, most, strict=True)):
            raise ValueError(
                f"requested an output size of {given}, but valid sizes range from {least} to "
                f"{most} (for an input of {tuple(input.shape[1 + batched :])})"
            )
        return tuple(n - low for n, low in zip(given, least, strict=True))

    def forward(self, input: Tensor, output_size: Sequence[int] | None = None) -> Tensor:
        """Add the weight times each element; output_size chooses among sizes that fit."""
        more = self.output_padding
        if output_size is not None:
            more = self._padding_for(input, output_size)
        function = getattr(F, f"conv_transpose{self.axes}d")
        out: Tensor = function(
            input, self.weight, self.bias, self.stride, self.padding, more, self.groups,
            self.dilation,
        )  # fmt: skip
        return out


class ConvTranspose1d(_Transposed):
    """The transposed convolution over the last dimension of (N, C, L), or of one sample (C, L).

    Parameters
    ----------
    in_channels, out_channels
        Sizes of dimension C of input and output.
    kernel_size, stride, padding, output_padding, dilation
        One int, or one a dimension: those of the convolution whose derivative it is;
        output_padding chooses among the sizes that a stride maps to one.
    groups
        The channels are cut into so many groups, each for itself.
    bias
        Whether to add b.
    """

    axes = 1


class ConvTranspose2d(_Transposed):
    """The transposed convolution over the last two dimensions of (N, C, H, W), or of one sample.

    Parameters
    ----------
    in_channels, out_channels
        Sizes of dimension C of input and output.
    kernel_size, stride, padding, output_padding, dilation
        One int, or one a dimension: those of the convolution whose derivative it is;
        output_padding chooses among the sizes that a stride maps to one.
    groups
        The channels are cut into so many groups, each for itself.
    bias
        Whether to add b.
    """

    axes = 2


class ConvTranspose3d(_Transposed):
    """The transposed convolution over the last three dimensions, or of one sample.

    Parameters
    ----------
    in_channels, out_channels
        Sizes of dimension C of input and output.
    kernel_size, stride, padding, output_padding, dilation
        One int, or one a dimension: those of the convolution whose derivative it is;
        output_padding chooses among the sizes that a stride maps to one.
    groups
        The channels are cut into so many groups, each for itself.
    bias
        Whether to add b.
    """

    axes = 3
