"""SGD, RMSprop and Adagrad."""

from __future__ import annotations

from wengert._core import float32

from .optimizer import FusedOptimizer, check

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wengert._core import dtype


class SGD(FusedOptimizer):
    r"""Gradient descent, with momentum and Nesterov's variant.

    With g the gradient plus ``weight_decay`` p::

        b = momentum b + (1 - dampening) g        (b = g at the first step)
        d = g + momentum b if nesterov else b     (d = g without momentum)
        p = p - lr d

    Parameters
    ----------
    params
        Tensors or groups.
    lr
        The learning rate.
    momentum, dampening, weight_decay, nesterov, maximize
        As in the formulas; ``maximize`` ascends.
    state_dtype
        What b is kept as, see `Adam`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Polyak, Some methods of speeding up the convergence of iteration methods (1964); Sutskever,
    Martens, Dahl, Hinton, On the importance of initialization and momentum (2013).
    """

    rule = "sgd"
    state_names = ("momentum_buffer", "_unused1", "_unused2")
    has_step = False

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        momentum: float = 0,
        dampening: float = 0,
        weight_decay: float = 0,
        nesterov: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
        state_dtype: dtype | str | None = None,
    ) -> None:
        check("learning rate", lr)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        if nesterov and (momentum <= 0 or dampening != 0):
            raise ValueError("Nesterov momentum requires a momentum and zero dampening")
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "dampening": dampening,
                "weight_decay": weight_decay,
                "nesterov": nesterov,
                "maximize": maximize,
            },
            state_dtype,
        )


class RMSprop(FusedOptimizer):
    r"""Steps divided by a running root mean square of the gradient.

    With g the gradient plus ``weight_decay`` p::

        v = alpha v + (1 - alpha) g^2
        m = alpha m + (1 - alpha) g, s = v - m^2   (centered; else s = v)
        d = g / (sqrt(s) + eps)
        b = momentum b + d                         (b = d without momentum)
        p = p - lr b

    Parameters
    ----------
    params
        Tensors or groups.
    lr, alpha, eps, weight_decay, momentum, centered, maximize
        As in the formulas; ``maximize`` ascends.
    state_dtype
        What v and b are kept as, see `Adam`. ``centered`` takes the difference of two states and
        needs them in full.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Tieleman and Hinton, Lecture 6.5 of Neural Networks for Machine Learning (2012); centered:
    Graves, Generating sequences with recurrent neural networks (2013).
    """

    rule = "rmsprop"
    state_names = ("square_avg", "momentum_buffer", "grad_avg")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0,
        momentum: float = 0,
        centered: bool = False,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        state_dtype: dtype | str | None = None,
    ) -> None:
        check("learning rate", lr)
        check("epsilon value", eps)
        check("momentum value", momentum)
        check("weight_decay value", weight_decay)
        check("alpha value", alpha)
        if centered and state_dtype not in (None, float32):
            raise ValueError(
                f"RMSprop: centered=True takes the difference of two states; got "
                f"state_dtype={state_dtype!r}, expected None or float32"
            )
        super().__init__(
            params,
            {
                "lr": lr,
                "momentum": momentum,
                "alpha": alpha,
                "eps": eps,
                "centered": centered,
                "weight_decay": weight_decay,
                "maximize": maximize,
            },
            state_dtype,
        )


class Adagrad(FusedOptimizer):
    r"""Steps divided by the root of the sum of all squared gradients.

    With g the gradient plus ``weight_decay`` p, at step t::

        s = s + g^2
        p = p - lr / (1 + (t - 1) lr_decay) g / (sqrt(s) + eps)

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Duchi, Hazan, Singer, Adaptive subgradient methods for online learning (2011).
    """

    rule = "adagrad"
    state_names = ("sum", "_unused1", "_unused2")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-2,
        lr_decay: float = 0,
        weight_decay: float = 0,
        initial_accumulator_value: float = 0,
        eps: float = 1e-10,
        *,
        maximize: bool = False,
        foreach: bool | None = None,
        fused: bool | None = None,
    ) -> None:
        check("learning rate", lr)
        check("lr_decay value", lr_decay)
        check("weight_decay value", weight_decay)
        check("initial_accumulator_value value", initial_accumulator_value)
        check("epsilon value", eps)
        super().__init__(
            params,
            {
                "lr": lr,
                "lr_decay": lr_decay,
                "eps": eps,
                "weight_decay": weight_decay,
                "initial_accumulator_value": initial_accumulator_value,
                "maximize": maximize,
            },
        )

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group of parameters, whose sums of squares start at the initial value."""
        super().add_param_group(param_group)
        group, core = self.param_groups[-1], self._groups[-1]
        for i, p in enumerate(group["params"]):
            start = p.detach().clone().fill_(group["initial_accumulator_value"])
            core.set_state(i, 0.0, [start])
        self._show_states(group, core)
