"""Training steps that tests capture, and what their results are compared by."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable

    Batch = Callable[[int], tuple[wg.Tensor, ...]]


class Training(NamedTuple):
    """A step, what it trains, and its arguments."""

    step: Callable[..., Any]
    params: list[wg.Tensor]
    batch: Batch


def bits(tensors: Any) -> list[bytes | None]:
    return [None if t is None else t.detach().clone().numpy().tobytes() for t in tensors]


def descent(weight: wg.Tensor, optimizer: optim.Optimizer) -> Callable[[wg.Tensor], wg.Tensor]:
    """Make a step whose gradient by the weight is its argument."""

    def step(x: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = (weight * x).sum()
        loss.backward()
        optimizer.step()
        return loss

    return step


def mlp(
    optimizer: Callable[[Any], optim.Optimizer] = lambda p: optim.Adam(p, 1e-2),
    layers: tuple[Callable[[], nn.Module], ...] = (nn.ReLU,),
    clip: Callable[[list[wg.Tensor]], Any] | None = None,
    schedule: Callable[[optim.Optimizer], Any] | None = None,
    zero: str = "none first",
    dtype: wg.dtype = wg.float32,
) -> Training:
    """A small classifier with what a step may hold."""
    model = nn.Sequential(nn.Linear(16, 32), *(layer() for layer in layers), nn.Linear(32, 4)).to(
        dtype
    )
    params = list(model.parameters())
    opt = optimizer(params)
    scheduler = schedule(opt) if schedule else None
    xs, ys = wg.randn(10, 8, 16, dtype=dtype), wg.randint(0, 4, (10, 8))

    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        if "first" in zero:
            opt.zero_grad(set_to_none="none" in zero)
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            clip(params)
        opt.step()
        if scheduler:
            scheduler.step()
        if "last" in zero:
            opt.zero_grad(set_to_none="none" in zero)
        return loss

    return Training(step, params, lambda i: (xs[i % 10], ys[i % 10]))
