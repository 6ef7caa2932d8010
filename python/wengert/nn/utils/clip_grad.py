"""Limits on gradients, in place: on their common norm or on each element."""

from __future__ import annotations

import math

from wengert import _core
from wengert._core import Tensor
from wengert.autograd import no_grad

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable

    Tensors = Tensor | Iterable[Tensor]


# Orders of norms over all tensors that are one launch.
ONE_LAUNCH = (1.0, 2.0, math.inf)


def _listed(tensors: Tensors) -> list[Tensor]:
    return [tensors] if isinstance(tensors, Tensor) else list(tensors)


def _norm(x: Tensor, p: float) -> Tensor:
    if p == -math.inf:
        return x.abs().min()
    if p == 0:
        return (x != 0).to(x.dtype).sum()
    return (x.abs() ** p).sum() ** (1 / p)


def check_finite(norm: Tensor, norm_type: float) -> None:
    """Raise RuntimeError if a norm of gradients is nan or infinite."""
    if not math.isfinite(norm.item()):
        raise RuntimeError(
            f"The total norm of order {norm_type} for gradients from `parameters` is non-finite, "
            "so it cannot be clipped. To disable this error and scale the gradients by the "
            "non-finite norm anyway, set `error_if_nonfinite=False`"
        )


@no_grad()
def get_total_norm(
    tensors: Tensors,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,  # noqa: ARG001
) -> Tensor:
    """Return the norm of all elements of tensors, as of one vector.

    Parameters
    ----------
    tensors
        A tensor, or an iterable of them.
    norm_type
        The p of the p-norm, ``inf`` for the greatest magnitude.
    error_if_nonfinite
        Whether a norm that is nan or infinite is an error.
    foreach
        Accepted for PyTorch's sake.

    Raises
    ------
    RuntimeError
        If the norm is not finite and was to be.
    """
    norm_type = float(norm_type)
    listed = _listed(tensors)
    if not listed:
        return _core.zeros(())
    if norm_type in ONE_LAUNCH:
        total = _core.norm_of_all(listed, norm_type)
    else:
        norms = [_norm(t.detach(), norm_type) for t in listed]
        norms = [n.to(norms[0].device) for n in norms]
        total = norms[0] if len(norms) == 1 else _norm(_core.stack(norms), norm_type)
    if error_if_nonfinite:
        check_finite(total, norm_type)
    return total


@no_grad()
def clip_grads_with_norm_(
    parameters: Tensors,
    max_norm: float,
    total_norm: Tensor,
    foreach: bool | None = None,  # noqa: ARG001
) -> None:
    """Scale the gradients of parameters by ``max_norm / (total_norm + 1e-6)`` where below 1."""
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    _core.clip_all_(grads, total_norm, float(max_norm))


def clip_grad_norm_(
    parameters: Tensors,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
    foreach: bool | None = None,  # noqa: ARG001
) -> Tensor:
    """Scale the gradients of parameters so that their common norm is at most max_norm.

    (Pascanu, Mikolov, Bengio, 2013.)

    Parameters
    ----------
    parameters
        A tensor, or an iterable of them; those without a gradient are left out.
    max_norm
        The greatest norm allowed.
    norm_type
        The p of the p-norm, ``inf`` for the greatest magnitude.
    error_if_nonfinite
        Whether a norm that is nan or infinite is an error.
    foreach
        Accepted for PyTorch's sake.

    Returns
    -------
    Tensor
        The norm before.

    Raises
    ------
    RuntimeError
        If the norm is not finite and was to be.
    """
    params = _listed(parameters)
    grads = [p.grad for p in params if p.grad is not None]
    total = get_total_norm(grads, norm_type, error_if_nonfinite)
    clip_grads_with_norm_(params, max_norm, total)
    return total


@no_grad()
def clip_grad_value_(
    parameters: Tensors,
    clip_value: float,
    foreach: bool | None = None,  # noqa: ARG001
) -> None:
    """Limit each element of the gradients of parameters to +-clip_value."""
    limit = float(clip_value)
    grads = [p.grad for p in _listed(parameters) if p.grad is not None]
    _core.limit_all_(grads, -limit, limit)
