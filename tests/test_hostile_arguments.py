"""Arguments whose conversion to numbers changes the very sequence that they stand in."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable


class Emptying:
    """A number that empties its list when it is read."""

    def __init__(self, home: list[Any]) -> None:
        self.home = home

    def __index__(self) -> int:
        self.home.clear()
        return 1

    def __float__(self) -> float:
        return float(self.__index__())


class Growing(Emptying):
    """A number that makes its list longer when it is read."""

    def __index__(self) -> int:
        self.home.extend([1] * 1000)
        return 1


def adam(betas: Any) -> Any:
    optimizer = wg.optim.Adam([wg.ones(2).requires_grad_()], foreach=False)
    optimizer.param_groups[0]["betas"] = betas
    optimizer.param_groups[0]["params"][0].grad = wg.ones(2)
    return optimizer.step()


CALLS: list[Callable[[Any], Any]] = [
    wg.zeros,
    lambda s: wg.ones(2, 3).reshape(s),
    lambda s: wg.ones(1, 1, 1).sum(s),
    lambda s: wg.ones(8).split(s),
    lambda s: wg.tensordot(wg.ones(1, 1, 1), wg.ones(1, 1, 1), (s, [0, 1, 2])),
    lambda s: wg.ones(3, 3)[s],
    lambda s: wg.tensor(s),
    adam,
]


@pytest.mark.parametrize("kind", [Emptying, Growing])
@pytest.mark.parametrize("call", CALLS)
def test_a_list_that_changes_while_it_is_read(call: Callable[[Any], Any], kind: Any) -> None:
    """What comes out is the caller's own fault; memory that is not the list's is never read."""
    sizes: list[Any] = []
    sizes += [kind(sizes), 1, 1]
    with contextlib.suppress(TypeError, ValueError, RuntimeError, IndexError):
        call(sizes)
