"""The Bernoulli distribution: one with a probability, else zero."""

from __future__ import annotations

from wengert import _core
from wengert.autograd import no_grad

from . import constraints
from ._binary import BinaryParameter
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wengert._core import Tensor

__all__ = ["Bernoulli"]


class Bernoulli(BinaryParameter):
    """One with probability p, else zero; draws have the dtype of the parameter.

    Parameters
    ----------
    probs
        The probability p.
    logits
        Or its log odds, log p - log(1 - p).
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If not one of the two is given, or it violates its constraint.
    """

    support = constraints.boolean
    has_enumerate_support = True
    _parameters = ("probs", "logits")

    @property
    def mean(self) -> Tensor:
        """The probability p."""
        return self.probs

    @property
    def mode(self) -> Tensor:
        """Zero or one, NaN where both are as probable."""
        return (self.probs >= 0.5).to(self.probs.dtype).masked_fill(self.probs == 0.5, float("nan"))

    @property
    def variance(self) -> Tensor:
        """The variance p (1 - p)."""
        return self.probs * (1 - self.probs)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return zeros and ones."""
        with no_grad():
            return _core.bernoulli(self.probs.expand(self._extended_shape(sample_shape)))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return log p or log(1 - p)."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = broadcast_all(self.logits, value)
        return -_core.binary_cross_entropy_with_logits(logits, value, reduction="none")

    def entropy(self) -> Tensor:
        """Return -p log p - (1 - p) log(1 - p)."""
        return self._binary_entropy()

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return zero and one along a new first dimension."""
        values = self._param.detach().new_tensor([0, 1]).view(-1, *([1] * len(self._batch_shape)))
        return values.expand(-1, *self._batch_shape) if expand else values
