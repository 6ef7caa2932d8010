"""Pictures of losses and of the ways that optimizers take over them; matplotlib draws them.

Loaded when it is named; matplotlib when a picture is drawn.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core, optim
from ._creation import from_numpy
from .autograd import no_grad

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from ._core import Tensor

    Array = NDArray[Any]
    Make = Callable[[list[Tensor]], optim.Optimizer]

__all__ = ["Path", "Picture", "descent", "landscape", "paths"]

_COLORS = ("#d1495b", "#00798c", "#edae49", "#5b3fa0", "#66a182", "#2e4057")


@dataclass(frozen=True)
class Path:
    """The way of an optimizer.

    Attributes
    ----------
    name
        The optimizer's.
    points
        The two coordinates at the start and after each step.
    losses
        The loss there.
    """

    name: str
    points: Array
    losses: Array


@dataclass(frozen=True)
class Picture:
    """What was drawn, which may be unpacked: ``figure, axes = picture``.

    Attributes
    ----------
    figure, axes
        Matplotlib's.
    """

    figure: Any
    axes: Any

    def __iter__(self) -> Iterator[Any]:
        return iter((self.figure, self.axes))


def _pyplot() -> Any:
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("viz: matplotlib is needed; expected 'pip install matplotlib'") from error
    return plt


# --- the plane -----------------------------------------------------------------------------------


class _Plane:
    """Two coordinates of a list of parameters, and the loss as a function of them.

    Parameters of two elements in all are the coordinates themselves. Otherwise the coordinates are
    along two directions from where the parameters are; they are put back there when it is left.
    """

    def __init__(
        self,
        loss_fn: Callable[[], Tensor],
        params: Iterable[Tensor],
        directions: tuple[Sequence[Tensor], Sequence[Tensor]] | None,
        seed: int,
    ) -> None:
        self._loss_fn = loss_fn
        self.params = list(params)
        if not self.params:
            raise ValueError("viz: expected at least one parameter")
        self._start = [p.detach().clone() for p in self.params]
        self.direct = directions is None and sum(p.numel() for p in self.params) == 2
        at = self._flat(self.params)
        if self.direct:
            self._origin = np.zeros_like(at)
            self._axes = np.eye(2)
        else:
            self._origin = at
            chosen = directions or _random_directions(self.params, seed)
            self._axes = np.stack([self._flat(d) for d in chosen])
            if self._axes.shape[1] != at.size:
                raise ValueError(
                    f"viz: directions of {self._axes.shape[1]} elements for parameters of {at.size}"
                )

    @staticmethod
    def _flat(tensors: Iterable[Tensor]) -> Array:
        parts = [t.detach().cpu().to(_core.float64).numpy().ravel() for t in tensors]
        return np.concatenate(parts)

    def __enter__(self) -> _Plane:
        return self

    def __exit__(self, *exc: object) -> None:
        self.restore()

    def restore(self) -> None:
        """Put the parameters back where they were."""
        with no_grad():
            for p, start in zip(self.params, self._start, strict=True):
                p.copy_(start)

    def here(self) -> Array:
        """Return the coordinates of the point of the plane that is nearest to the parameters."""
        away = self._flat(self.params) - self._origin
        return np.linalg.lstsq(self._axes.T, away, rcond=None)[0]

    def loss_at(self, x: float, y: float) -> float:
        """Return the loss at a point of the plane."""
        flat, at = self._origin + x * self._axes[0] + y * self._axes[1], 0
        with no_grad():
            for p in self.params:
                part = flat[at : at + p.numel()].reshape(tuple(p.shape))
                p.copy_(from_numpy(part.copy()))
                at += p.numel()
            return self._loss_fn().item()


def _random_directions(params: Sequence[Tensor], seed: int) -> list[list[Tensor]]:
    """Return two directions in which each row of each parameter changes in proportion.

    Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets, 2018.
    """
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(2):
        direction = []
        for p in params:
            w = p.detach().cpu().to(_core.float64).numpy()
            d = rng.standard_normal(w.shape)
            over = tuple(range(1, w.ndim))
            length = np.sqrt(np.square(w).sum(axis=over, keepdims=True))
            own = np.sqrt(np.square(d).sum(axis=over, keepdims=True))
            direction.append(from_numpy(np.asarray(d * length / np.maximum(own, 1e-12))))
        out.append(direction)
    return out


# --- pictures ------------------------------------------------------------------------------------


def landscape(
    loss_fn: Callable[[], Tensor],
    params: Iterable[Tensor],
    *,
    extent: tuple[float, float, float, float] | None = None,
    steps: int = 61,
    directions: tuple[Sequence[Tensor], Sequence[Tensor]] | None = None,
    levels: int = 24,
    log: bool = False,
    seed: int = 0,
    ax: Any = None,
) -> Picture:
    """Draw the contours of a loss over two coordinates of its parameters.

    Parameters of two elements in all are drawn as they are. Of more, the plane through where they
    are is drawn, along two directions: random ones, in proportion to the parameters row by row, or
    those given. The parameters are left as they were.

    Parameters
    ----------
    loss_fn
        Takes nothing and returns the loss, computed from the parameters.
    params
        What is changed.
    extent
        Least and greatest first coordinate, and second; by default 1 around the parameters.
    steps
        Points along each coordinate.
    directions
        Two lists of tensors, of the parameters' shapes.
    levels, log
        How many contours, and whether they are those of the logarithm of the loss.
    seed
        Of the random directions.
    ax
        Matplotlib axes to draw in; by default new ones.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no parameters, or a direction does not fit them.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018.
    """
    _pyplot()
    with _Plane(loss_fn, params, directions, seed) as plane:
        return _contours(plane, extent or _around(plane.here()[None]), steps, levels, log, ax)


def paths(
    loss_fn: Callable[[], Tensor],
    params: Iterable[Tensor],
    optimizers: Mapping[str, Make] | None = None,
    *,
    n: int = 100,
) -> list[Path]:
    """Run optimizers from where the parameters are, each n steps; return the ways that they took.

    Coordinates are those of the parameters if these are two numbers. Otherwise they are along the
    two directions that most of the ways lie in (principal components, of all of them together).
    The parameters are left as they were.
    """
    kept = list(params)
    walked = _walk(loss_fn, kept, optimizers, n)
    axes = _common_axes(walked, kept)
    start = walked[0][1][0]
    if axes is None:
        return [Path(name, points, losses) for name, points, losses in walked]
    return [Path(name, (points - start) @ axes.T, losses) for name, points, losses in walked]


def descent(
    loss_fn: Callable[[], Tensor],
    params: Iterable[Tensor],
    optimizers: Mapping[str, Make] | None = None,
    *,
    n: int = 100,
    extent: tuple[float, float, float, float] | None = None,
    steps: int = 81,
    levels: int = 24,
    log: bool = False,
    ax: Any = None,
) -> Picture:
    """Draw the ways that optimizers take over a loss, from where the parameters are.

    Over two numbers the contours are the loss itself; over more, the loss in the plane through the
    start in which most of the ways lie, onto which these are projected. The parameters are left as
    they were.

    Parameters
    ----------
    loss_fn
        Takes nothing and returns the loss, computed from the parameters.
    params
        What is changed.
    optimizers
        A function of a list of parameters for each name; by default plain descent, momentum,
        RMSProp and Adam, at rates that suit a loss with curvature of about 1 to 30.
    n
        Steps of each.
    extent, steps, levels, log, ax
        As in `landscape`; by default the extent is what the ways need.

    Raises
    ------
    ImportError
        If matplotlib is not installed.
    ValueError
        If there are no parameters.

    References
    ----------
    Li, Xu, Taylor, Studer, Goldstein, Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018,
    section 7: the plane of optimization paths.
    """
    _pyplot()
    kept = list(params)
    walked = _walk(loss_fn, kept, optimizers, n)
    axes = _common_axes(walked, kept)
    directions = None if axes is None else tuple(_unflat(a, kept) for a in axes)
    start = walked[0][1][0]
    shown = [
        Path(name, points if axes is None else (points - start) @ axes.T, losses)
        for name, points, losses in walked
    ]
    with _Plane(loss_fn, kept, directions, 0) as plane:  # type: ignore[arg-type]
        inside = [p.points[np.isfinite(p.points).all(axis=1)] for p in shown]
        reach = extent or _around(np.concatenate(inside))
        picture = _contours(plane, reach, steps, levels, log, ax)
    for path, color in zip(shown, _COLORS * (1 + len(shown) // len(_COLORS)), strict=False):
        x, y = path.points.T
        picture.axes.plot(x, y, "-", color="white", lw=3.2, alpha=0.75, zorder=2)
        label = f"{path.name}: {path.losses[-1]:.3g}"
        picture.axes.plot(x, y, ".-", color=color, lw=1.4, ms=3.5, label=label, zorder=3)
        picture.axes.plot(x[-1:], y[-1:], "o", color=color, mec="white", ms=8, zorder=4)
    picture.axes.plot(*shown[0].points[0], "X", color="black", mec="white", ms=11, zorder=5)
    picture.axes.set_xlim(*reach[:2])
    picture.axes.set_ylim(*reach[2:])
    picture.axes.legend(title=f"loss after {n} steps", framealpha=0.92, fontsize=9)
    return picture


def _walk(
    loss_fn: Callable[[], Tensor],
    params: list[Tensor],
    optimizers: Mapping[str, Make] | None,
    n: int,
) -> list[tuple[str, Array, Array]]:
    """For each optimizer, the parameters laid end to end before each step and at last; losses."""
    out = []
    grads = [p.grad for p in params]
    made = _default_optimizers() if optimizers is None else optimizers
    if not made:
        raise ValueError("viz: expected at least one optimizer")
    for name, make in made.items():
        with _Plane(loss_fn, params, None, 0) as plane:
            optimizer = make(params)
            points, losses = [plane._flat(params)], []
            for _ in range(n):
                optimizer.zero_grad()
                loss = loss_fn()
                losses.append(loss.item())
                loss.backward()
                optimizer.step()
                points.append(plane._flat(params))
            with no_grad():
                losses.append(loss_fn().item())
            out.append((name, np.stack(points), np.array(losses)))
    for p, grad in zip(params, grads, strict=True):
        p.grad = grad
    return out


def _default_optimizers() -> dict[str, Make]:
    return {
        "SGD": lambda p: optim.SGD(p, lr=0.02),
        "momentum": lambda p: optim.SGD(p, lr=0.02, momentum=0.9),
        "RMSProp": lambda p: optim.RMSprop(p, lr=0.05),
        "Adam": lambda p: optim.Adam(p, lr=0.1),
    }


def _common_axes(walked: list[tuple[str, Array, Array]], params: list[Tensor]) -> Array | None:
    """Return two orthonormal directions in which most of the ways lie; None for two numbers."""
    if sum(p.numel() for p in params) == 2:
        return None
    away = np.concatenate([points - points[0] for _, points, _ in walked])
    away = away[np.isfinite(away).all(axis=1)]
    axes = np.linalg.svd(away, full_matrices=False)[2][:2]
    if len(axes) < 2:  # of one number
        raise ValueError("viz: expected parameters of two elements or more")
    return axes


def _unflat(flat: Array, params: Sequence[Tensor]) -> list[Tensor]:
    out, at = [], 0
    for p in params:
        out.append(from_numpy(flat[at : at + p.numel()].reshape(tuple(p.shape)).copy()))
        at += p.numel()
    return out


def _around(points: Array) -> tuple[float, float, float, float]:
    """Return an extent with all points and a margin; at least 1 to each side of a lone one."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = np.where(high - low > 0, 0.2 * (high - low), 1.0)
    margin = np.maximum(margin, 0.1 * margin.max())
    (x0, y0), (x1, y1) = low - margin, high + margin
    return float(x0), float(x1), float(y0), float(y1)


def _levels(shown: Any, levels: int, log: bool) -> dict[str, Any]:
    """Return contours that lie closer together near the minimum, and their colours."""
    low, high = float(shown.min()), float(shown.max())
    if log or not high > low:
        return {"levels": levels}
    from matplotlib.colors import PowerNorm

    at = low + (high - low) * np.linspace(0, 1, levels + 1) ** 2
    return {"levels": at, "norm": PowerNorm(0.5, low, high)}


def _contours(
    plane: _Plane,
    extent: tuple[float, float, float, float],
    steps: int,
    levels: int,
    log: bool,
    ax: Any,
) -> Picture:
    plt = _pyplot()
    x = np.linspace(extent[0], extent[1], steps)
    y = np.linspace(extent[2], extent[3], steps)
    z = np.array([[plane.loss_at(a, b) for a in x] for b in y])
    shown = np.log10(np.maximum(z, np.finfo(float).tiny)) if log else z
    shown = np.ma.masked_invalid(shown)
    if ax is None:
        _, ax = plt.subplots(figsize=(6.4, 5.0), layout="constrained")
    filled = ax.contourf(x, y, shown, **_levels(shown, levels, log), cmap="Blues_r", alpha=0.85)
    ax.contour(x, y, shown, levels=filled.levels, colors="white", linewidths=0.5, alpha=0.7)
    bar = ax.figure.colorbar(filled, ax=ax, label="log10 of the loss" if log else "loss")
    bar.ax.yaxis.set_major_formatter("{x:.3g}")
    ax.set_xlabel("first parameter" if plane.direct else "along the first direction")
    ax.set_ylabel("second parameter" if plane.direct else "along the second direction")
    return Picture(ax.figure, ax)
