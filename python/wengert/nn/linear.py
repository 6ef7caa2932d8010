"""The linear layer and its kin, and layers that only reshape."""

from __future__ import annotations

import math

from wengert._core import empty
from wengert._core.functional import linear

from . import init
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from wengert._core import Tensor, device, dtype


class Linear(Module):
    """``y = x W^T + b``.

    Parameters
    ----------
    in_features, out_features
        Sizes of the last dimension of input and output.
    bias
        Whether to add b.

    Attributes
    ----------
    weight
        W, of shape (out_features, in_features), uniform in +-1/sqrt(in_features) at the start.
    bias
        b, of shape (out_features,), from the same distribution, or None.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in_features: int,
        out_features: int,
        bias: bool | None = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self.in_features = in_features
        self.out_features = out_features
        self.weight = Parameter(empty((out_features, in_features), device=device, dtype=dtype))
        bias_values = empty(out_features, device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if bias_values is None else Parameter(bias_values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values from PyTorch's default distributions."""
        init.kaiming_uniform_(self.weight, a=math.sqrt(5))
        if self.bias is not None:
            bound = 1 / math.sqrt(self.in_features) if self.in_features > 0 else 0
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply by the weight and add the bias, in one kernel."""
        return linear(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}"
        )


class Identity(Module):
    """Returns its input."""

    def __init__(self, *args: object, **kwargs: object) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Return the input."""
        return input


class Flatten(Module):
    """Joins the dimensions start_dim to end_dim into one."""

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        super().__init__()
        self.start_dim = start_dim
        self.end_dim = end_dim

    def forward(self, input: Tensor) -> Tensor:
        """Flatten the input."""
        return input.flatten(self.start_dim, self.end_dim)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"
