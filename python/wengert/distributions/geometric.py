"""The geometric distribution: failures before the first success."""

from __future__ import annotations

from wengert import _core
from wengert._types import finfo
from wengert.autograd import no_grad

from . import constraints
from ._binary import BinaryParameter
from .utils import broadcast_all

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence

    from wengert._core import Tensor

__all__ = ["Geometric"]


class Geometric(BinaryParameter):
    """How many trials of success probability p fail before the first success: p (1 - p)^k.

    Unlike ``Tensor.geometric_``, which counts that success too.

    Parameters
    ----------
    probs
        The probability p, in (0, 1].
    logits
        Or its log odds, log p - log(1 - p).
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If not one of the two is given, or it violates its constraint.
    """

    support = constraints.nonnegative_integer
    _parameters = ("probs", "logits")

    def __init__(
        self,
        probs: Tensor | float | None = None,
        logits: Tensor | float | None = None,
        validate_args: bool | None = None,
    ) -> None:
        super().__init__(probs, logits, validate_args)
        if self._validate_args and probs is not None:
            value = self.probs.detach()
            if not (value > 0).all():
                raise ValueError(
                    f"Expected parameter probs ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to be positive but found "
                    f"invalid values:\n{value[value <= 0]}"
                )

    @property
    def mean(self) -> Tensor:
        """The mean 1/p - 1."""
        return 1.0 / self.probs - 1.0

    @property
    def mode(self) -> Tensor:
        """Zero, the most probable count."""
        return _core.zeros_like(self.probs)

    @property
    def variance(self) -> Tensor:
        """The variance (1/p - 1) / p."""
        return (1.0 / self.probs - 1.0) / self.probs

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return floor(log u / log(1 - p)) of uniform u, in the dtype of the parameter."""
        with no_grad():
            probs = self.probs
            u = probs.new_empty(self._extended_shape(sample_shape))
            u.uniform_(finfo(probs.dtype).tiny, 1)
            return (u.log() / (-probs).log1p()).floor()

    def log_prob(self, value: Tensor) -> Tensor:
        """Return k log(1 - p) + log p, where 0 log 0 = 0."""
        if self._validate_args:
            self._validate_sample(value)
        value, probs = broadcast_all(value, self.probs)
        safe = probs.masked_fill((probs == 1) & (value == 0), 0)
        return value * (-safe).log1p() + self.probs.log()

    def entropy(self) -> Tensor:
        """Return the entropy of one trial over p."""
        return self._binary_entropy() / self.probs
