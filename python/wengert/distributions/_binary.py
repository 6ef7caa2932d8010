"""What Bernoulli and Geometric share: a probability, or its log odds."""

from __future__ import annotations

from . import constraints
from .distribution import Distribution
from .utils import broadcast_all, lazy_property, logits_to_probs, probs_to_logits

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import ClassVar

    from wengert._core import Size, Tensor


class BinaryParameter(Distribution):
    """Distributions of one probability, given as ``probs`` or as ``logits``."""

    arg_constraints: ClassVar = {"probs": constraints.unit_interval, "logits": constraints.real}

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        if probs is not None:
            (self.probs,) = broadcast_all(probs)
        elif logits is not None:
            (self.logits,) = broadcast_all(logits)
        super().__init__(self._param.shape, validate_args=validate_args)

    @lazy_property
    def probs(self) -> Tensor:
        """The probability of a one."""
        return logits_to_probs(self.logits, is_binary=True)

    @lazy_property
    def logits(self) -> Tensor:
        """Its log odds, log p - log(1 - p)."""
        return probs_to_logits(self.probs, is_binary=True)

    @property
    def _param(self) -> Tensor:
        found = self.__dict__
        return found["probs"] if "probs" in found else found["logits"]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.shape

    def _binary_entropy(self) -> Tensor:
        """-p log p - (1 - p) log(1 - p), as softplus(l) - l p."""
        logits = self.logits
        softplus = logits.clamp(min=0) + (-logits.abs()).exp().log1p()
        return softplus - logits * self.probs
