"""Adadelta."""

from __future__ import annotations

from wengert import _core
from wengert.autograd import enable_grad, no_grad

from .optimizer import Optimizer, check

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any


class Adadelta(Optimizer):
    r"""Steps in proportion to the size of earlier steps over that of the gradients.

    With g the gradient plus ``weight_decay`` p::

        v = rho v + (1 - rho) g^2
        d = sqrt(u + eps) / sqrt(v + eps) g
        u = rho u + (1 - rho) d^2
        p = p - lr d

    Parameters
    ----------
    params
        Tensors or groups.
    lr, rho, eps, weight_decay, maximize
        As in the formulas; ``maximize`` ascends.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Zeiler, Adadelta: an adaptive learning rate method (2012).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0,
        foreach: bool | None = None,
        *,
        capturable: bool = False,
        maximize: bool = False,
        differentiable: bool = False,
    ) -> None:
        check("learning rate", lr)
        if not 0.0 <= rho <= 1.0:
            raise ValueError(f"Invalid rho value: {rho}")
        check("epsilon value", eps)
        check("weight_decay value", weight_decay)
        if differentiable:
            raise ValueError("Adadelta: differentiable=True is not supported")
        super().__init__(
            params,
            {"lr": lr, "rho": rho, "eps": eps, "weight_decay": weight_decay, "maximize": maximize},
        )

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Update every parameter that has a gradient."""
        loss = None
        if closure is not None:
            with enable_grad():
                loss = closure()
        with no_grad():
            for group in self.param_groups:
                for p in group["params"]:
                    if p.grad is not None:
                        self._update(p, group)
        return loss

    def _update(self, p: _core.Tensor, group: dict[str, Any]) -> None:
        assert p.grad is not None
        state, rho, eps = self.state[p], group["rho"], group["eps"]
        if not state:
            state["step"] = _core.zeros(())
            state["square_avg"] = _core.zeros_like(p)
            state["acc_delta"] = _core.zeros_like(p)
        state["step"] += 1
        g = -p.grad if group["maximize"] else p.grad
        if group["weight_decay"] != 0:
            g = g.add(p, alpha=group["weight_decay"])
        squares, steps = state["square_avg"], state["acc_delta"]
        squares.mul_(rho).addcmul_(g, g, value=1 - rho)
        delta = steps.add(eps).sqrt_().div_(squares.add(eps).sqrt_()).mul_(g)
        steps.mul_(rho).addcmul_(delta, delta, value=1 - rho)
        p.add_(delta, alpha=-group["lr"])
