"""The commonest activations as modules; the others stand in `activation_rare`."""

from __future__ import annotations

from . import functional as F  # noqa: N812
from .module import Module

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from wengert._core import Tensor


class ReLU(Module):
    """``max(x, 0)`` of each element (Nair and Hinton, 2010)."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return input.relu_() if self.inplace else F.relu(input)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return "inplace=True" if self.inplace else ""


class Tanh(Module):
    """The hyperbolic tangent of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.tanh(input)


class Sigmoid(Module):
    """The logistic function ``1 / (1 + exp(-x))`` of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.sigmoid(input)


class GELU(Module):
    """``x Phi(x)``, Phi the normal distribution function (Hendrycks and Gimpel, 2016)."""

    def __init__(self, approximate: str = "none") -> None:
        super().__init__()
        self.approximate = approximate

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.gelu(input, approximate=self.approximate)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"approximate={self.approximate!r}"


class AlongDim(Module):
    """Base of those that work along a dimension; None picks one by the old rule, and warns."""

    def __init__(self, dim: int | None = None) -> None:
        super().__init__()
        self.dim = dim

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"dim={self.dim}"


class Softmax(AlongDim):
    """``exp(x) / sum(exp(x))`` along dim.

    Parameters
    ----------
    dim
        The dimension whose elements sum to 1; the result has the input's shape.

    Raises
    ------
    IndexError
        When called, if the input has no such dimension.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Apply it along dim."""
        return F.softmax(input, self.dim)


class LogSoftmax(AlongDim):
    """``x - log(sum(exp(x)))`` along dim."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it along dim."""
        return F.log_softmax(input, self.dim)
