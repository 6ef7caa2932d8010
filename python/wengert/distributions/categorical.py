"""The categorical distribution: one of K classes."""

from __future__ import annotations

from wengert import _core
from wengert._core import Size, Tensor
from wengert._creation import arange
from wengert._types import finfo
from wengert.autograd import no_grad

from . import constraints
from .distribution import Distribution
from .utils import lazy_property, logits_to_probs, probs_to_logits

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

__all__ = ["Categorical"]


class Categorical(Distribution):
    """One of the classes 0, ..., K - 1, a whole number.

    Parameters
    ----------
    probs
        Probabilities of the classes along the last dimension, normalized to the sum 1.
    logits
        Or their logarithms, up to an additive constant.
    validate_args
        As in `Distribution`.

    Raises
    ------
    ValueError
        If not one of the two is given, if it has no dimension, or violates its constraint.
    """

    arg_constraints: ClassVar = {"probs": constraints.simplex, "logits": constraints.real_vector}
    has_enumerate_support = True
    _parameters = ("probs", "logits")

    def __init__(
        self,
        probs: Tensor | None = None,
        logits: Tensor | None = None,
        validate_args: bool | None = None,
    ) -> None:
        if (probs is None) == (logits is None):
            raise ValueError("Either `probs` or `logits` must be specified, but not both.")
        given = logits if probs is None else probs
        assert given is not None
        if given.dim() < 1:
            name = "logits" if probs is None else "probs"
            raise ValueError(f"`{name}` parameter must be at least one-dimensional.")
        if probs is not None:
            self.probs = probs / probs.sum(-1, keepdim=True)
        else:
            self.logits = given.log_softmax(-1)
        super().__init__(given.shape[:-1], validate_args=validate_args)

    @lazy_property
    def probs(self) -> Tensor:
        """The probabilities of the classes, with the sum 1."""
        return logits_to_probs(self.logits)

    @lazy_property
    def logits(self) -> Tensor:
        """The logarithms of the probabilities."""
        return probs_to_logits(self.probs)

    @property
    def _param(self) -> Tensor:
        found = self.__dict__
        return found["probs"] if "probs" in found else found["logits"]

    @property
    def _num_events(self) -> int:
        return self._param.shape[-1]

    @property
    def param_shape(self) -> Size:
        """The shape of the parameter."""
        return self._param.shape

    @constraints.dependent_property(is_discrete=True, event_dim=0)
    def support(self) -> Any:
        """The whole numbers below K."""
        return constraints.integer_interval(0, self._num_events - 1)

    @property
    def mean(self) -> Tensor:
        """NaN: classes have no mean."""
        return self.probs.new_full(self._extended_shape(), float("nan"))

    @property
    def variance(self) -> Tensor:
        """NaN: classes have no variance."""
        return self.mean

    @property
    def mode(self) -> Tensor:
        """The most probable class."""
        return self.probs.argmax(-1)

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return draws, of dtype int64."""
        shape = Size(sample_shape)
        with no_grad():
            probs = self.probs.reshape(-1, self._num_events)
            drawn = _core.multinomial(probs, shape.numel(), replacement=True)
            return drawn.t().reshape(self._extended_shape(shape))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the probability of the class."""
        if self._validate_args:
            self._validate_sample(value)
        logits, index = self.logits, value.long()
        shape = index.shape
        if shape != self._batch_shape:
            from wengert._shapes import broadcast_shapes

            shape = broadcast_shapes(shape, self._batch_shape)
            index = index.expand(shape)
            logits = logits.expand(*shape, self._num_events)
        return logits.gather(-1, index.unsqueeze(-1)).squeeze(-1)

    def entropy(self) -> Tensor:
        """Return -sum p log p, where 0 log 0 = 0."""
        logits = self.logits.clamp(min=finfo(self.logits.dtype).min)
        return -(logits * self.probs).sum(-1)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return the classes 0, ..., K - 1 along a new first dimension."""
        values = arange(self._num_events, device=self._param.device).view(
            -1, *([1] * len(self._batch_shape))
        )
        return values.expand(-1, *self._batch_shape) if expand else values
