"""Limited-memory BFGS, with a line search for the strong Wolfe conditions."""

from __future__ import annotations

from wengert import _core
from wengert.autograd import enable_grad, no_grad

from .optimizer import Optimizer

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    from wengert._core import Tensor


class _Point:
    """A place along the line: the step, the loss, its gradient, and the slope there."""

    __slots__ = ("grad", "loss", "slope", "t")

    def __init__(self, t: float, loss: float, grad: Tensor, slope: float) -> None:
        self.t, self.loss, self.grad, self.slope = t, loss, grad, slope


def _cubic_minimum(a: _Point, b: _Point, low: float, high: float) -> float:
    """Where the cubic through two points with their slopes is least, within bounds."""
    if a.t > b.t:
        a, b = b, a
    d = a.slope + b.slope - 3 * (a.loss - b.loss) / (a.t - b.t)
    root = d * d - a.slope * b.slope
    if not root >= 0:
        return (low + high) / 2
    w = root**0.5
    denominator = b.slope - a.slope + 2 * w
    at = b.t - (b.t - a.t) * (b.slope + w - d) / denominator if denominator else (low + high) / 2
    return min(max(at, low), high)


def _strong_wolfe(
    evaluate: Callable[[float], _Point],
    start: _Point,
    t: float,
    direction_size: float,
    tolerance_change: float,
    decrease: float = 1e-4,
    curvature: float = 0.9,
    max_evaluations: int = 25,
) -> tuple[_Point, int]:
    """Find a step of sufficient decrease with a slope small enough; and the evaluations it took.

    Nocedal and Wright, Numerical optimization (2006), algorithms 3.5 and 3.6.
    """

    def too_high(p: _Point) -> bool:
        return p.loss > start.loss + decrease * p.t * start.slope

    def flat_enough(p: _Point) -> bool:
        return abs(p.slope) <= -curvature * start.slope

    # Go on until two points hold a good step between them.
    before, here, count = start, evaluate(t), 1
    while True:
        if too_high(here) or (count > 1 and here.loss >= before.loss) or here.slope >= 0:
            if flat_enough(here) and not too_high(here):
                return here, count
            break
        if flat_enough(here):
            return here, count
        if count >= max_evaluations:
            break
        low = here.t + 0.01 * (here.t - before.t)
        t = _cubic_minimum(before, here, low, 10 * here.t)
        before, here = here, evaluate(t)
        count += 1
    best, other = (before, here) if before.loss <= here.loss else (here, before)
    # Close in on it.
    stuck = False
    while count < max_evaluations:
        low, high = min(best.t, other.t), max(best.t, other.t)
        width = high - low
        if width * direction_size < tolerance_change:
            break
        t = _cubic_minimum(best, other, low, high)
        near_end = min(high - t, t - low) < 0.1 * width
        if near_end and (stuck or t >= high or t <= low):
            # away from an end where it has made no progress
            t = high - 0.1 * width if abs(t - high) < abs(t - low) else low + 0.1 * width
            near_end = False
        stuck = near_end
        middle = evaluate(t)
        count += 1
        if too_high(middle) or middle.loss >= best.loss:
            other = middle
            if other.loss < best.loss:
                best, other = other, best
            continue
        if flat_enough(middle):
            return middle, count
        if middle.slope * (other.t - best.t) >= 0:
            other = best
        best = middle
    return best, count


class LBFGS(Optimizer):
    r"""Steps along ``-H g``, with H estimated from the last changes of position and gradient.

    Parameters
    ----------
    params
        Tensors, in one group.
    lr
        The length of the first step to try.
    max_iter
        Iterations to a step.
    max_eval
        Evaluations of the closure to a step; 5/4 of max_iter by default.
    tolerance_grad
        Stop where no gradient is larger.
    tolerance_change
        Stop where the loss, or all positions, change by less.
    history_size
        How many changes H is made from.
    line_search_fn
        None takes steps of length lr; ``"strong_wolfe"`` searches along the line.

    Raises
    ------
    ValueError
        If lr is negative or there is more than one group.

    References
    ----------
    Liu and Nocedal, On the limited memory BFGS method for large scale optimization (1989).
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float = 1,
        max_iter: int = 20,
        max_eval: int | None = None,
        tolerance_grad: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
        line_search_fn: str | None = None,
    ) -> None:
        if not lr >= 0:
            raise ValueError(f"Invalid learning rate: {lr}")
        super().__init__(
            params,
            {
                "lr": lr,
                "max_iter": max_iter,
                "max_eval": max_iter * 5 // 4 if max_eval is None else max_eval,
                "tolerance_grad": tolerance_grad,
                "tolerance_change": tolerance_change,
                "history_size": history_size,
                "line_search_fn": line_search_fn,
            },
        )
        if len(self.param_groups) != 1:
            raise ValueError("LBFGS doesn't support per-parameter options (parameter groups)")
        self._params = self.param_groups[0]["params"]

    # --- all parameters as one vector ----------------------------------------------------------

    def _position(self) -> list[Tensor]:
        return [p.detach().clone() for p in self._params]

    def _gradient(self) -> Tensor:
        return _core.cat(
            [
                (_core.zeros_like(p) if p.grad is None else p.grad).detach().reshape(-1)
                for p in self._params
            ]
        )

    def _move(self, origin: list[Tensor], t: float, direction: Tensor) -> None:
        at = 0
        for p, o in zip(self._params, origin, strict=True):
            n = p.numel()
            p.copy_(o.add(direction[at : at + n].view(p.shape), alpha=t))
            at += n

    # --- the step ------------------------------------------------------------------------------

    def step(self, closure: Callable[[], Any]) -> Any:  # type: ignore[override]
        """Take up to ``max_iter`` iterations.

        Parameters
        ----------
        closure
            Clears the gradients, computes the loss and its gradients, and returns the loss.

        Raises
        ------
        RuntimeError
            If ``line_search_fn`` is not known.
        """
        with no_grad():
            return self._step(closure)

    def _step(self, closure: Callable[[], Any]) -> Any:
        group = self.param_groups[0]
        search = group["line_search_fn"]
        if search not in (None, "strong_wolfe"):
            raise RuntimeError("only 'strong_wolfe' is supported")

        def evaluated() -> Any:
            with enable_grad():
                return closure()

        first = evaluated()
        loss, evaluations = float(first), 1
        state = self.state[self._params[0]]
        state["func_evals"] = state.get("func_evals", 0) + 1
        state.setdefault("n_iter", 0)
        g = self._gradient()
        if float(g.abs().max()) <= group["tolerance_grad"]:
            return first
        for iteration in range(1, group["max_iter"] + 1):
            state["n_iter"] += 1
            d = self._direction(state, g, group["history_size"])
            previous_loss = loss
            slope = float(g.dot(d))
            if state["n_iter"] == 1:
                t = min(1.0, 1.0 / float(g.abs().sum())) * group["lr"]
            else:
                t = group["lr"]
            state["prev_flat_grad"] = g.clone()
            if slope > -group["tolerance_change"]:
                break
            origin, used = self._position(), 0
            if search is not None:

                def along(t: float, origin: list[Tensor] = origin, direction: Tensor = d) -> _Point:
                    self._move(origin, t, direction)
                    value = float(evaluated())
                    grad = self._gradient()
                    return _Point(t, value, grad, float(grad.dot(direction)))

                found, used = _strong_wolfe(
                    along,
                    _Point(0.0, loss, g, slope),
                    t,
                    float(d.abs().max()),
                    group["tolerance_change"],
                )
                t, loss, g = found.t, found.loss, found.grad
                self._move(origin, t, d)
            else:
                self._move(origin, t, d)
                if iteration != group["max_iter"]:
                    loss = float(evaluated())
                    g = self._gradient()
                    used = 1
            state.update(d=d, t=t, prev_loss=previous_loss)
            evaluations += used
            state["func_evals"] += used
            if (
                evaluations >= group["max_eval"]
                or float(g.abs().max()) <= group["tolerance_grad"]
                or float(d.abs().max()) * t <= group["tolerance_change"]
                or abs(loss - previous_loss) < group["tolerance_change"]
            ):
                break
        return first

    def _direction(self, state: dict[str, Any], g: Tensor, history: int) -> Tensor:
        """Learn from the last step, and multiply -g by the estimate of the inverse Hessian."""
        if "d" not in state:
            state.update(old_dirs=[], old_stps=[], ro=[], H_diag=1.0)
            return g.neg()
        changes, steps, inverses = state["old_dirs"], state["old_stps"], state["ro"]
        y = g.sub(state["prev_flat_grad"])
        s = state["d"].mul(state["t"])
        ys = float(y.dot(s))
        if ys > 1e-10:  # else the curvature is not that of a minimum
            if len(changes) == history:
                for kept in (changes, steps, inverses):
                    kept.pop(0)
            changes.append(y)
            steps.append(s)
            inverses.append(1.0 / ys)
            state["H_diag"] = ys / float(y.dot(y))
        q = g.neg()
        weights = []
        for y, s, rho in zip(changes[::-1], steps[::-1], inverses[::-1], strict=True):
            a = rho * float(s.dot(q))
            weights.append(a)
            q.add_(y, alpha=-a)
        d = q.mul(state["H_diag"])
        for y, s, rho, a in zip(changes, steps, inverses, weights[::-1], strict=True):
            d.add_(s, alpha=a - rho * float(y.dot(d)))
        return d
