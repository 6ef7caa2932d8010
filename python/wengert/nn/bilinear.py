"""The bilinear layer, and the one that splits a dimension; loaded at first use."""

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

    from wengert._core import Tensor, device, dtype


class Bilinear(Module):
    """``y_o = x1^T W_o x2 + b_o``.

    Parameters
    ----------
    in1_features, in2_features, out_features
        Sizes of the last dimensions of the inputs and the output.
    bias
        Whether to add b.

    Raises
    ------
    ValueError
        If in1_features is not positive.
    """

    weight: Parameter
    bias: Parameter | None

    def __init__(
        self,
        in1_features: int,
        in2_features: int,
        out_features: int,
        bias: bool | None = True,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        if in1_features <= 0:
            raise ValueError(f"in1_features must be > 0, but got {in1_features}")
        self.in1_features = in1_features
        self.in2_features = in2_features
        self.out_features = out_features
        shape = (out_features, in1_features, in2_features)
        self.weight = Parameter(empty(shape, device=device, dtype=dtype))
        values = empty((out_features,), device=device, dtype=dtype) if bias else None
        self.register_parameter("bias", None if values is None else Parameter(values))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw new values, uniform in +-1/sqrt(in1_features)."""
        bound = 1 / math.sqrt(self.in1_features)
        init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            init.uniform_(self.bias, -bound, bound)

    def forward(self, input1: Tensor, input2: Tensor) -> Tensor:
        """Multiply both inputs into the weight."""
        return F.bilinear(input1, input2, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return (
            f"in1_features={self.in1_features}, in2_features={self.in2_features}, "
            f"out_features={self.out_features}, bias={self.bias is not None}"
        )


class Unflatten(Module):
    """Splits a dimension into several; one size may be -1.

    Raises
    ------
    TypeError
        If the dimension is no int, or the sizes are no sequence of ints.
    """

    def __init__(self, dim: int, unflattened_size: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(dim, int):
            raise TypeError(f"unflatten: expected dim to be an int, got {type(dim).__name__}")
        if not isinstance(unflattened_size, (tuple, list)):
            raise TypeError(
                "unflattened_size must be a tuple of ints, but found type "
                f"{type(unflattened_size).__name__}"
            )
        for i, size in enumerate(unflattened_size):
            if not isinstance(size, int):
                raise TypeError(
                    "unflattened_size must be tuple of ints, but found element of type "
                    f"{type(size).__name__} at pos {i}"
                )
        self.dim = dim
        self.unflattened_size = unflattened_size

    def forward(self, input: Tensor) -> Tensor:
        """Split the dimension."""
        dim = self.dim if self.dim >= 0 else self.dim + input.dim()
        size, sizes = input.size(self.dim), tuple(self.unflattened_size)
        known = math.prod(n for n in sizes if n >= 0)
        if known != size and not (sizes.count(-1) == 1 and known and size % known == 0):
            raise RuntimeError(
                f"unflatten: provided sizes {list(sizes)} don't multiply up to the size of dim "
                f"{self.dim} ({size}) in the input tensor"
            )
        sizes = tuple(size // known if n == -1 else n for n in sizes)
        return input.reshape(input.shape[:dim] + sizes + input.shape[dim + 1 :])

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"dim={self.dim}, unflattened_size={self.unflattened_size}"
