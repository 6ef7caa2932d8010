"""SPSA: descent without derivatives, by two values of the loss a step."""

from __future__ import annotations

from wengert import _core
from wengert.autograd import no_grad

from .optimizer import Optimizer, check

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from wengert._core import Generator, Tensor


class SPSA(Optimizer):
    r"""Simultaneous perturbation stochastic approximation.

    All parameters move at once, each by plus or minus ``c_k``, drawn with equal chances; two values
    of the loss L, whatever the number of parameters, estimate the slope along that direction, and
    with it the gradient. At step k = 0, 1, ...::

        a_k = a / (k + 1 + A)^alpha
        c_k = c / (k + 1)^gamma
        D   = +-1 for each element
        g   = (L(p + c_k D) - L(p - c_k D)) / (2 c_k) D
        p   = p - a_k g

    The mean of g over D is the gradient, up to O(c_k^2); its variance grows with the number of
    parameters, which is what a gradient saves. No derivative is taken, so the loss may be anything
    that gives a number. Parameters that do not require grad stay as they are.

    Parameters
    ----------
    params
        Tensors or groups; the settings below may differ by group.
    a
        The scale of the steps: so that the first ones move the parameters as far as wanted.
    c
        The scale of the perturbations: about the standard deviation of the noise in the loss, or
        small where there is none.
    alpha, gamma
        How fast both fall. The defaults are the smallest for which Spall's conditions hold; the
        asymptotically best are 1 and 1/6.
    A
        Holds the first steps back: a tenth or less of the number of steps.
    maximize
        Ascend.
    generator
        What the signs are drawn from.

    Raises
    ------
    ValueError
        If a setting is out of range.

    References
    ----------
    Spall, Multivariate stochastic approximation using a simultaneous perturbation gradient
    approximation, IEEE Transactions on Automatic Control 37(3), 1992; Spall, Implementation of the
    simultaneous perturbation algorithm for stochastic optimization, IEEE Transactions on Aerospace
    and Electronic Systems 34(3), 1998, for the gains.
    """

    def __init__(
        self,
        params: Iterable[Any],
        a: float = 1e-2,
        c: float = 1e-2,
        alpha: float = 0.602,
        gamma: float = 0.101,
        A: float = 0.0,  # noqa: N803  # its name in the literature
        *,
        maximize: bool = False,
        generator: Generator | None = None,
    ) -> None:
        check("a value", a)
        check("alpha value", alpha)
        check("gamma value", gamma)
        check("A value", A)
        if not c > 0:
            raise ValueError(f"Invalid c value: {c}")
        self.generator = generator
        settings = {"a": a, "c": c, "alpha": alpha, "gamma": gamma, "A": A, "maximize": maximize}
        super().__init__(params, {**settings, "step": 0})

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Evaluate the loss on both sides of the parameters, and update them.

        Parameters
        ----------
        closure
            Computes the loss and returns it, a number or a tensor of one element. It is called
            twice, without recording: it calls no ``backward``. If it uses random numbers, the two
            calls see different ones unless it seeds them.

        Returns
        -------
        The mean of the two losses.

        Raises
        ------
        TypeError
            If there is no closure.
        """
        if closure is None:
            raise TypeError(
                "SPSA.step: missing the closure, which returns the loss; it is evaluated twice a "
                "step"
            )
        moves: list[tuple[dict[str, Any], Tensor, Tensor, Tensor, float]] = []
        with no_grad():
            for group in self.param_groups:
                c = group["c"] / (group["step"] + 1) ** group["gamma"]
                for p in group["params"]:
                    if p.requires_grad:
                        bits = _core.randint(0, 2, p.shape, dtype=p.dtype, generator=self.generator)
                        moves.append((group, p, p.clone(), 2 * bits - 1, c))
            losses = []
            try:
                for side in (1, -1):
                    for _, p, center, signs, c in moves:
                        p.copy_(center).add_(signs, alpha=side * c)
                    losses.append(closure())
            finally:  # at the very numbers they had
                for _, p, center, _, _ in moves:
                    p.copy_(center)
            difference = float(losses[0]) - float(losses[1])
            for group, p, _, signs, c in moves:
                a = group["a"] / (group["step"] + 1 + group["A"]) ** group["alpha"]
                rate = a * difference / (2 * c)
                p.add_(signs, alpha=rate if group["maximize"] else -rate)
            for group in self.param_groups:
                group["step"] += 1
            return (losses[0] + losses[1]) / 2
