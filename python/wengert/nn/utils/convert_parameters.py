"""Parameters as one vector, and back."""

from __future__ import annotations

from wengert import _core
from wengert._core import Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable


def parameters_to_vector(parameters: Iterable[Tensor]) -> Tensor:
    """Return all elements of parameters, one after the other."""
    return _core.cat([p.reshape(-1) for p in parameters])


def vector_to_parameters(vec: Tensor, parameters: Iterable[Tensor]) -> None:
    """Give parameters the values that `parameters_to_vector` has put in a vector.

    Raises
    ------
    RuntimeError
        If the vector has too few elements.
    TypeError
        If it is no tensor.
    """
    if not isinstance(vec, Tensor):
        raise TypeError(f"expected wengert.Tensor, but got: {type(vec).__name__}")
    params = list(parameters)
    need = sum(p.numel() for p in params)
    if vec.numel() < need:
        raise RuntimeError(
            f"vector_to_parameters: got {vec.numel()} elements; expected at least {need}"
        )
    start = 0
    for p in params:
        p.data = vec.narrow(0, start, p.numel()).reshape(p.shape).data
        start += p.numel()
