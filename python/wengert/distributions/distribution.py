"""The base of distributions: shapes, validation, and what follows from the rest."""

from __future__ import annotations

from wengert import _core
from wengert._core import Size, Tensor
from wengert.autograd import no_grad

from .constraints import is_dependent
from .utils import lazy_property

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, ClassVar

    from .constraints import Constraint

__all__ = ["Distribution"]


class Distribution:
    """Base of all distributions.

    A sample has the shape ``sample_shape + batch_shape + event_shape``: independent draws, beside
    one another the distributions of a batch, and what one draw of one of them is.

    Parameters
    ----------
    batch_shape, event_shape
        As above.
    validate_args
        Whether to check parameters now, and values of ``log_prob`` and ``cdf`` later; by default
        as `set_default_validate_args` says, which is True unless Python runs with ``-O``.

    Raises
    ------
    ValueError
        If a parameter violates its constraint.
    """

    has_rsample: ClassVar[bool] = False
    has_enumerate_support: ClassVar[bool] = False
    _validate_args: bool = __debug__

    # Parameters that expand() expands; those not yet computed are left to be.
    _parameters: ClassVar[tuple[str, ...]]

    def __init__(
        self,
        batch_shape: Sequence[int] = (),
        event_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ) -> None:
        self._batch_shape = Size(batch_shape)
        self._event_shape = Size(event_shape)
        if validate_args is not None:
            self._validate_args = validate_args
        if self._validate_args:
            self._validate_parameters()

    @staticmethod
    def set_default_validate_args(value: bool) -> None:
        """Set whether distributions made from now on validate.

        Raises
        ------
        ValueError
            If the value is no bool.
        """
        if value not in (True, False):
            raise ValueError(f"set_default_validate_args: expected True or False, got {value!r}")
        Distribution._validate_args = value

    def _validate_parameters(self) -> None:
        try:
            constraints = self.arg_constraints
        except NotImplementedError:
            import warnings

            warnings.warn(
                f"{type(self)} does not define `arg_constraints`. Please set `arg_constraints = "
                "{}` or initialize the distribution with `validate_args=False` to turn off "
                "validation.",
                stacklevel=4,
            )
            return
        for name, constraint in constraints.items():
            if is_dependent(constraint):
                continue
            if name not in self.__dict__ and isinstance(
                getattr(type(self), name, None), lazy_property
            ):
                continue
            value = getattr(self, name)
            valid = constraint.check(value)
            if _core.capturing():
                _core.check_true(valid, f"Expected parameter {name} to satisfy {constraint!r}")
            elif not valid.all():
                raise ValueError(
                    f"Expected parameter {name} ({type(value).__name__} of shape "
                    f"{tuple(value.shape)}) of distribution {self!r} to satisfy the constraint "
                    f"{constraint!r}, but found invalid values:\n{value}"
                )

    def _validate_sample(self, value: Any) -> None:
        """Raise ValueError if the value cannot be a draw from here."""
        if not isinstance(value, Tensor):
            raise ValueError("The value argument to log_prob must be a Tensor")
        n = len(self._event_shape)
        shape = tuple(value.shape)
        if shape[len(shape) - n :] != tuple(self._event_shape):
            raise ValueError(
                "The right-most size of value must match event_shape: "
                f"{value.shape} vs {self._event_shape}."
            )
        expected = Size(self._batch_shape + self._event_shape)
        for i, j in zip(reversed(shape), reversed(expected), strict=False):
            if i != 1 and j != 1 and i != j:
                raise ValueError(
                    "Value is not broadcastable with batch_shape+event_shape: "
                    f"{value.shape} vs {expected}."
                )
        try:
            support = self.support
        except NotImplementedError:
            import warnings

            warnings.warn(
                f"{type(self)} does not define `support` to enable sample validation. Please "
                "initialize the distribution with `validate_args=False` to turn off validation.",
                stacklevel=3,
            )
            return
        valid = support.check(value)
        if _core.capturing():
            _core.check_true(valid, f"Expected value argument to be within {support!r}")
        elif not valid.all():
            raise ValueError(
                f"Expected value argument ({type(value).__name__} of shape {shape}) to be within "
                f"the support ({support!r}) of the distribution {self!r}, but found invalid "
                f"values:\n{value}"
            )

    def _get_checked_instance(self, cls: type, _instance: Any = None) -> Any:
        if _instance is None and type(self).__init__ is not cls.__init__:  # type: ignore[misc]
            raise NotImplementedError(
                f"Subclass {type(self).__name__} of {cls.__name__} that defines a custom __init__ "
                "method must also define a custom .expand() method."
            )
        return self.__new__(type(self)) if _instance is None else _instance

    def expand(self, batch_shape: Sequence[int], _instance: Any = None) -> Any:
        """Return the distribution with its parameters expanded to another batch shape.

        Raises
        ------
        NotImplementedError
            If a subclass has an ``__init__`` of its own and no ``expand``.
        """
        for cls in type(self).__mro__:
            if "_parameters" in cls.__dict__:
                break
        else:
            raise NotImplementedError
        new = self._get_checked_instance(cls, _instance)
        shape, old = Size(batch_shape), len(self._batch_shape)
        for name in self._parameters:
            if name in self.__dict__:
                value = self.__dict__[name]
                new.__dict__[name] = value.expand(shape + value.shape[old:])
        new._batch_shape, new._event_shape = shape, self._event_shape
        new._validate_args = self._validate_args
        return new

    @property
    def batch_shape(self) -> Size:
        """The shape of the batch of distributions."""
        return self._batch_shape

    @property
    def event_shape(self) -> Size:
        """The shape of one draw of one of them."""
        return self._event_shape

    @property
    def arg_constraints(self) -> dict[str, Constraint]:
        """What the parameters must satisfy, by name."""
        raise NotImplementedError

    @property
    def support(self) -> Any:
        """The constraint that draws satisfy."""
        raise NotImplementedError

    @property
    def mean(self) -> Tensor:
        """The mean of the draws."""
        raise NotImplementedError

    @property
    def mode(self) -> Tensor:
        """The most probable value."""
        raise NotImplementedError(f"{type(self)} does not implement mode")

    @property
    def variance(self) -> Tensor:
        """The variance of the draws, element by element."""
        raise NotImplementedError

    @property
    def stddev(self) -> Tensor:
        """The root of the variance."""
        return self.variance.sqrt()

    def sample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return draws, of shape ``sample_shape + batch_shape + event_shape``, not recorded."""
        with no_grad():
            return self.rsample(sample_shape)

    def rsample(self, sample_shape: Sequence[int] = ()) -> Tensor:
        """Return draws that are differentiable functions of the parameters.

        Raises
        ------
        NotImplementedError
            If there is no such function: ``has_rsample`` is False.
        """
        raise NotImplementedError

    def sample_n(self, n: int) -> Tensor:
        """Return n draws; ``sample((n,))`` is preferred."""
        return self.sample((n,))

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log of the density or mass at the value."""
        raise NotImplementedError

    def cdf(self, value: Tensor) -> Tensor:
        """Return the probability of draws up to the value."""
        raise NotImplementedError

    def icdf(self, value: Tensor) -> Tensor:
        """Return the inverse of `cdf`."""
        raise NotImplementedError

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Return all values there are, along a new first dimension."""
        raise NotImplementedError

    def entropy(self) -> Tensor:
        """Return the entropy, in nats, of each distribution of the batch."""
        raise NotImplementedError

    def perplexity(self) -> Tensor:
        """Return the exponential of the entropy."""
        return self.entropy().exp()

    def _extended_shape(self, sample_shape: Sequence[int] = ()) -> Size:
        return Size(Size(sample_shape) + self._batch_shape + self._event_shape)

    def __repr__(self) -> str:
        named = [name for name in self.arg_constraints if name in self.__dict__]
        shown = []
        for name in named:
            value = self.__dict__[name]
            shown.append(f"{name}: {value if value.numel() == 1 else value.size()}")
        return f"{type(self).__name__}({', '.join(shown)})"
