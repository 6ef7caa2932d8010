"""Activations as modules that few networks need; loaded at first use."""

from __future__ import annotations

from wengert._core import full

from . import functional as F  # noqa: N812
from .activation import AlongDim
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

    from wengert._core import Tensor, device, dtype


class _Inplace(Module):
    """Base of those that may overwrite their input, and say so."""

    inplace: bool

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace

    def _settings(self) -> str:
        return ""

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        shown = [self._settings(), "inplace=True" if self.inplace else ""]
        return ", ".join(text for text in shown if text)


class LeakyReLU(_Inplace):
    """x above 0 and ``negative_slope * x`` below (Maas, Hannun, Ng, 2013)."""

    def __init__(self, negative_slope: float = 0.01, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.negative_slope = negative_slope

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.leaky_relu(input, self.negative_slope, self.inplace)

    def _settings(self) -> str:
        return f"negative_slope={self.negative_slope}"


class ELU(_Inplace):
    """x above 0 and ``alpha (exp(x) - 1)`` below (Clevert, Unterthiner, Hochreiter, 2016)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.elu(input, self.alpha, self.inplace)

    def _settings(self) -> str:
        return f"alpha={self.alpha}"


class CELU(_Inplace):
    """x above 0 and ``alpha (exp(x / alpha) - 1)`` below (Barron, 2017)."""

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.alpha = alpha

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.celu(input, self.alpha, self.inplace)

    def _settings(self) -> str:
        return f"alpha={self.alpha}"


class Threshold(_Inplace):
    """x above threshold and value elsewhere."""

    def __init__(self, threshold: float, value: float, inplace: bool = False) -> None:
        super().__init__(inplace)
        self.threshold = threshold
        self.value = value

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.threshold(input, self.threshold, self.value, self.inplace)

    def _settings(self) -> str:
        return f"threshold={self.threshold}, value={self.value}"


class SELU(_Inplace):
    """ELU, scaled so that signals keep mean 0 and variance 1 (Klambauer and others, 2017)."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.selu(input, self.inplace)


class SiLU(_Inplace):
    """``x sigmoid(x)`` (Hendrycks and Gimpel, 2016; Elfwing, Uchibe, Doya, 2018)."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.silu(input, self.inplace)


class Mish(_Inplace):
    """``x tanh(softplus(x))`` (Misra, 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.mish(input, self.inplace)


class Hardsigmoid(_Inplace):
    """``min(max(x + 3, 0), 6) / 6``."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.hardsigmoid(input, self.inplace)


class Hardswish(_Inplace):
    """``x hardsigmoid(x)`` (Howard and others, 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.hardswish(input, self.inplace)


class Hardtanh(_Inplace):
    """x between two bounds and the nearer bound elsewhere.

    ``min_value`` and ``max_value`` are old names of the bounds.

    Raises
    ------
    AssertionError
        If the bounds are not in order.
    """

    def __init__(
        self,
        min_val: float = -1.0,
        max_val: float = 1.0,
        inplace: bool = False,
        min_value: float | None = None,
        max_value: float | None = None,
    ) -> None:
        super().__init__(inplace)
        for old, new, value in (
            ("min_value", "min_val", min_value),
            ("max_value", "max_val", max_value),
        ):
            if value is not None:
                import warnings

                warnings.warn(
                    f"keyword argument `{old}` is deprecated and rename to `{new}`",
                    FutureWarning,
                    stacklevel=2,
                )
        self.min_val = min_val if min_value is None else min_value
        self.max_val = max_val if max_value is None else max_value
        if not self.max_val > self.min_val:
            raise AssertionError(
                f"Hardtanh: max_val ({self.max_val}) must be larger than min_val ({self.min_val})"
            )

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.hardtanh(input, self.min_val, self.max_val, self.inplace)

    def _settings(self) -> str:
        return f"min_val={self.min_val}, max_val={self.max_val}"


class ReLU6(Hardtanh):
    """``min(max(x, 0), 6)`` of each element."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__(0.0, 6.0, inplace)

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.relu6(input, self.inplace)

    def _settings(self) -> str:
        return ""


class PReLU(Module):
    """x above 0 and ``weight * x`` below, weight learned (He, Zhang, Ren, Sun, 2015).

    Parameters
    ----------
    num_parameters
        1, or the number of channels (the second dimension of the input).
    init
        The weight at the start.
    """

    def __init__(
        self,
        num_parameters: int = 1,
        init: float = 0.25,
        device: device | str | None = None,
        dtype: dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_parameters = num_parameters
        self.init = init
        self.weight = Parameter(full((num_parameters,), float(init), device=device, dtype=dtype))

    def reset_parameters(self) -> None:
        """Set the weight to its first value."""
        from .init import constant_

        constant_(self.weight, self.init)

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.prelu(input, self.weight)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"num_parameters={self.num_parameters}"


class LogSigmoid(Module):
    """``log(1 / (1 + exp(-x)))`` of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.logsigmoid(input)


class Tanhshrink(Module):
    """``x - tanh(x)`` of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.tanhshrink(input)


class Softsign(Module):
    """``x / (1 + |x|)`` of each element."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.softsign(input)


class Softplus(Module):
    """``log(1 + exp(beta x)) / beta``, and x itself where ``beta x`` is above threshold."""

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        super().__init__()
        self.beta = beta
        self.threshold = threshold

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.softplus(input, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"beta={self.beta}, threshold={self.threshold}"


class Softshrink(Module):
    """x moved by lambd towards 0, and 0 within lambd of it."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.softshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"{self.lambd}"


class Hardshrink(Module):
    """x, and 0 within lambd of 0."""

    def __init__(self, lambd: float = 0.5) -> None:
        super().__init__()
        self.lambd = lambd

    def forward(self, input: Tensor) -> Tensor:
        """Apply it to each element."""
        return F.hardshrink(input, self.lambd)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"{self.lambd}"


class GLU(Module):
    """``a * sigmoid(b)``, a and b the halves along dim (Dauphin, Fan, Auli, Grangier, 2017)."""

    def __init__(self, dim: int = -1) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, input: Tensor) -> Tensor:
        """Halve and gate."""
        return F.glu(input, self.dim)

    def extra_repr(self) -> str:
        """Return what ``repr`` shows."""
        return f"dim={self.dim}"


class Softmin(AlongDim):
    """``exp(-x) / sum(exp(-x))`` along dim."""

    def forward(self, input: Tensor) -> Tensor:
        """Apply it along dim."""
        return F.softmin(input, self.dim)


class Softmax2d(Module):
    """Softmax over the channels of (N, C, H, W) or (C, H, W)."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__()

    def forward(self, input: Tensor) -> Tensor:
        """Apply it along the channels.

        Raises
        ------
        ValueError
            If the input has another number of dimensions.
        """
        if input.dim() not in (3, 4):
            raise ValueError(
                f"Softmax2d: expected input to be 3D or 4D, got {input.dim()}D instead"
            )
        return F.softmax(input, -3)
