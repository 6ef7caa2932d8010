"""Adam and AdamW."""

from __future__ import annotations

from .optimizer import FusedOptimizer, check

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from wengert._core import dtype


class Adam(FusedOptimizer):
    r"""Steps of the running mean of the gradient over the root of the mean of its square.

    With g the gradient plus ``weight_decay`` p, at step t::

        m = beta1 m + (1 - beta1) g
        v = beta2 v + (1 - beta2) g^2
        s = max(s, v)                        (amsgrad; else s = v)
        p = p - lr / (1 - beta1^t) m / (sqrt(s / (1 - beta2^t)) + eps)

    Parameters
    ----------
    params
        Tensors or groups.
    lr, betas, eps, weight_decay, amsgrad, maximize
        As in the formulas; ``maximize`` ascends.
    decoupled_weight_decay
        Shrink p by ``lr * weight_decay`` instead of adding to the gradient, as `AdamW`.
    state_dtype
        What m, v and s are kept as: None, the dtype of the parameters; ``wg.float32``;
        ``wg.bfloat16``; or ``"8bit"``, bytes with a scale to each 256 elements, of parameters of
        at least 4,096 elements (smaller ones keep float32). A parameter takes 8, 4 or 2.03 bytes
        of states. The step itself is computed in float32. v, of which a step changes a thousandth,
        is rounded up or down by chance, or it would stand still; so is m in bytes. The chance
        depends on the step and the element alone.

    Raises
    ------
    ValueError
        If a setting is out of range, or narrow states are asked for of float64 parameters.

    References
    ----------
    Kingma and Ba, Adam: a method for stochastic optimization (2015); amsgrad: Reddi, Kale, Kumar,
    On the convergence of Adam and beyond (2018); states in bytes: Dettmers, Lewis, Shleifer,
    Zettlemoyer, 8-bit optimizers via block-wise quantization (2022).
    """

    rule = "adam"
    state_names = ("exp_avg", "exp_avg_sq", "max_exp_avg_sq")

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        decoupled_weight_decay: bool = False,
        state_dtype: dtype | str | None = None,
    ) -> None:
        check("learning rate", lr)
        check("epsilon value", eps)
        check("beta parameter at index 0", betas[0], below=1.0)
        check("beta parameter at index 1", betas[1], below=1.0)
        check("weight_decay value", weight_decay)
        if differentiable:
            raise ValueError("Adam: differentiable=True is not supported")
        super().__init__(
            params,
            {
                "lr": lr,
                "betas": tuple(betas),
                "eps": eps,
                "weight_decay": weight_decay,
                "amsgrad": amsgrad,
                "maximize": maximize,
                "decoupled_weight_decay": decoupled_weight_decay,
            },
            state_dtype,
        )


class AdamW(Adam):
    r"""Adam with the weight decay taken out of the gradient: ``p = p - lr weight_decay p`` first.

    The settings are those of `Adam`.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Loshchilov and Hutter, Decoupled weight decay regularization (2019).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
        amsgrad: bool = False,
        *,
        foreach: bool | None = None,
        maximize: bool = False,
        capturable: bool = False,
        differentiable: bool = False,
        fused: bool | None = None,
        state_dtype: dtype | str | None = None,
    ) -> None:
        super().__init__(
            params, lr, betas, eps, weight_decay, amsgrad, maximize=maximize,
            differentiable=differentiable, decoupled_weight_decay=True, state_dtype=state_dtype,
        )  # fmt: skip
