"""What the distributions share: broadcasting of parameters, probabilities and logits."""

from __future__ import annotations

from wengert import _core
from wengert._core import Tensor
from wengert._creation import tensor
from wengert._types import finfo
from wengert.autograd import enable_grad

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = [
    "broadcast_all",
    "clamp_probs",
    "lazy_property",
    "logits_to_probs",
    "probs_to_logits",
]


def broadcast_all(*values: Tensor | float) -> tuple[Tensor, ...]:
    """Return tensors of one shape: numbers take the dtype of the first tensor, or the default.

    Raises
    ------
    ValueError
        If a value is neither a number nor a tensor.
    """
    if not all(isinstance(v, (Tensor, int, float)) for v in values):
        raise ValueError(
            "Input arguments must all be instances of Number, Tensor; got "
            + ", ".join(type(v).__name__ for v in values)
        )
    first = next((v for v in values if isinstance(v, Tensor)), None)
    dtype = _core.get_default_dtype() if first is None else first.dtype
    where = None if first is None else first.device
    tensors = [v if isinstance(v, Tensor) else tensor(v, dtype=dtype, device=where) for v in values]
    return tuple(tensors if len(tensors) == 1 else _core.broadcast_tensors(*tensors))


def clamp_probs(probs: Tensor) -> Tensor:
    """Keep probabilities at least the dtype's epsilon away from 0 and 1."""
    eps = finfo(probs.dtype).eps
    return probs.clamp(min=eps, max=1 - eps)


def probs_to_logits(probs: Tensor, is_binary: bool = False) -> Tensor:
    """Return log odds if binary, else log probabilities over the last dimension."""
    p = clamp_probs(probs)
    return p.log() - (-p).log1p() if is_binary else p.log()


def logits_to_probs(logits: Tensor, is_binary: bool = False) -> Tensor:
    """Return the sigmoid if binary, else the softmax over the last dimension."""
    return logits.sigmoid() if is_binary else logits.softmax(-1)


def sum_rightmost(value: Tensor, dim: int) -> Tensor:
    """Sum over the last ``dim`` dimensions."""
    return value.sum(tuple(range(-dim, 0))) if dim else value


class lazy_property:
    """An attribute computed when first read, and kept.

    It is recorded even if that reading stands under ``no_grad``, since later ones may not.
    """

    def __init__(self, wrapped: Callable[[Any], Any]) -> None:
        self.wrapped = wrapped
        self.__name__ = wrapped.__name__
        self.__doc__ = wrapped.__doc__

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        if instance is None:
            return self
        with enable_grad():
            value = self.wrapped(instance)
        instance.__dict__[self.__name__] = value
        return value
