"""Functions whose number of results depends on their arguments."""

from __future__ import annotations

from . import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable

    from ._core import Tensor


def _chosen(
    found: Callable[..., tuple[Tensor, Tensor, Tensor]],
    input: Tensor,
    inverse: bool,
    counts: bool,
    dim: int | None,
) -> Tensor | tuple[Tensor, ...]:
    output, places, numbers = found(input, dim, inverse, counts)
    results = (output, *((places,) if inverse else ()), *((numbers,) if counts else ()))
    return results if len(results) > 1 else output


def unique(
    input: Tensor,
    sorted: bool = True,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """Return the distinct elements, or with dim the distinct slices along it, in order.

    With ``return_inverse`` also where each element of the input is in the result, and with
    ``return_counts`` how often each is there. They are sorted whatever ``sorted`` says. Each NaN
    is an element of its own.
    """
    del sorted
    return _chosen(_core._unique, input, return_inverse, return_counts, dim)


def unique_consecutive(
    input: Tensor,
    return_inverse: bool = False,
    return_counts: bool = False,
    dim: int | None = None,
) -> Tensor | tuple[Tensor, ...]:
    """Return the first of each run of equal elements, or with dim of equal slices along it.

    ``return_inverse`` and ``return_counts`` add what they add to `unique`.
    """
    return _chosen(_core._unique_consecutive, input, return_inverse, return_counts, dim)
