"""Operations along rows, and losses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import Sample, call, structured, wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Any, Array, Draw, Row


def _softmaxes(d: Draw) -> list[Sample]:
    return [
        call(d(3), 0),
        call(d(2, 3), 1),
        call(d(2, 3), 0),
        call(d(2, 3, 2), dim=-2),
        call(d(), 0),
        call(d(0, 3), 1),
        call(d(3, 37), -1),
    ]


def _classes(d: Draw, *shape: int, ignored: int = -100) -> Array:
    """Classes below 3, the second one ignored."""
    drawn = d.ints(0, 3, *shape)
    drawn.reshape(-1)[1] = ignored
    return drawn


def _positive(d: Draw, *shape: int) -> Array:
    return np.asarray(np.abs(d(*shape)) + 0.1).astype(d.dtype)


def _weighed(*args: Array, **kwargs: Any) -> Sample:
    """A call with weights, by which PyTorch does not differentiate."""
    return Sample(args, kwargs, constants=tuple(k for k in kwargs if k.endswith("weight")))


def _functional(name: str) -> Callable[[Any], Callable[..., Any]]:
    return lambda torch: getattr(torch.nn.functional, name)


def _loss(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    return structured(name, samples, torch=_functional(name), **more)


def _of_classes(d: Draw) -> list[Sample]:
    """Whatever cross_entropy and nll_loss share."""
    return [
        call(d(2, 3), d.ints(0, 3, 2)),
        call(d(3), d.ints(0, 3)),
        call(d(2, 3, 2), d.ints(0, 3, 2, 2), reduction="sum"),
        call(d(4, 3), _classes(d, 4)),
        call(d(4, 3), _classes(d, 4), reduction="none"),
        call(d(4, 3), _classes(d, 4, ignored=1), ignore_index=1),
        _weighed(d(4, 3), _classes(d, 4), weight=_positive(d, 3)),
        _weighed(d(2, 3, 2, 2), _classes(d, 2, 2, 2), weight=_positive(d, 3), reduction="sum"),
        _weighed(d(4, 3), _classes(d, 4), weight=_positive(d, 3), reduction="none"),
        call(d(2, 3), d.ints(0, 3, 2).astype(np.uint8)),
        wrong(d(2, 3), d.ints(0, 3, 3)),
        wrong(d(2, 3), d.ints(3, 4, 2)),
        wrong(d(2, 3), d.ints(0, 3, 2), d(2)),
        wrong(d(2, 3), d.ints(0, 3, 2).astype(np.int32)),
        wrong(d(2, 3), d.ints(0, 3, 2), reduction="batchmean"),
    ]


def _cross_entropies(d: Draw) -> list[Sample]:
    smoothed = {"label_smoothing": 0.1}
    return [
        *_of_classes(d),
        call(d(4, 3), _classes(d, 4), **smoothed),
        _weighed(d(4, 3), _classes(d, 4), weight=_positive(d, 3), **smoothed),
        _weighed(d(4, 3), _classes(d, 4), weight=_positive(d, 3), reduction="none", **smoothed),
        call(d(2, 3, 2), d.ints(0, 3, 2, 2), reduction="sum", **smoothed),
        call(d(3), d.ints(0, 3), **smoothed),
        # probabilities
        call(d(4, 3), _positive(d, 4, 3)),
        _weighed(d(4, 3), _positive(d, 4, 3), weight=_positive(d, 3), reduction="none"),
        call(d(2, 3, 2), _positive(d, 2, 3, 2), reduction="sum", **smoothed),
        _weighed(d(3), _positive(d, 3), weight=_positive(d, 3), **smoothed),
        wrong(d(2, 3), _positive(d, 2, 3), ignore_index=1),
        wrong(d(2, 3), d.ints(0, 3, 2), label_smoothing=1.5),
    ]


def _reductions(*args: Array) -> list[Sample]:
    return [call(*args), call(*args, reduction="sum"), call(*args, reduction="none")]


def _losses(d: Draw) -> list[Sample]:
    return [
        *_reductions(d(2, 3), d(2, 3)),
        call(d(), d()),
        wrong(d(2, 3), d(2, 3), reduction="batchmean"),
    ]


def _weighted(d: Draw) -> list[Sample]:
    weight = _positive(d, 2, 3)
    return [
        *_losses(d),
        *(call(d(2, 3), d(2, 3), weight=weight, reduction=how) for how in ("mean", "sum", "none")),
        wrong(d(2, 3), d(2, 3), weight=weight[0]),
    ]


def _smooth_l1s(d: Draw) -> list[Sample]:
    return [
        *_losses(d),
        call(d(2, 3), d(2, 3), beta=0.3),
        call(d(2, 3), d(2, 3), beta=0.0),
        wrong(d(2, 3), d(2, 3), beta=-1.0),
    ]


def _hubers(d: Draw) -> list[Sample]:
    return [
        *_weighted(d),
        call(d(2, 3), d(2, 3), delta=0.3),
        wrong(d(2, 3), d(2, 3), delta=0.0),
    ]


def _probabilities(d: Draw, *shape: int) -> Array:
    return np.asarray((np.abs(d(*shape)) / 2.2 + 0.04).astype(d.dtype))


def _cross_entropies_of_two(d: Draw) -> list[Sample]:
    p, t = _probabilities(d, 2, 3), _probabilities(d, 2, 3)
    return [
        *_reductions(p, t),
        *(_weighed(*s.args, weight=_positive(d, 3), **s.kwargs) for s in _reductions(p, t)),
        call(_probabilities(d), _probabilities(d)),
        wrong(p, t[0]),
        wrong(p - 1, t),
        wrong(p, t, reduction="batchmean"),
    ]


def _cross_entropies_of_logits(d: Draw) -> list[Sample]:
    x, t = d(2, 3), _probabilities(d, 2, 3)
    return [
        *_reductions(x, t),
        *(_weighed(*s.args, weight=_positive(d, 3), **s.kwargs) for s in _reductions(x, t)),
        call(x * 100, t),
        _weighed(x, t, pos_weight=_positive(d, 3)),
        _weighed(x, t, weight=_positive(d, 2, 3), pos_weight=_positive(d, 3), reduction="sum"),
        wrong(x, t[0]),
    ]


def _divergences(d: Draw) -> list[Sample]:
    logs, t = d(2, 3), _positive(d, 2, 3)
    return [
        call(logs, t, reduction="batchmean"),
        call(logs, t, reduction="sum"),
        call(logs, t, reduction="none"),
        call(logs, logs / 2, reduction="batchmean", log_target=True),
        call(logs, logs / 2, reduction="none", log_target=True),
        wrong(logs, t, reduction="max"),
    ]


REFUSED = ("int64", "bool")

ROWS: tuple[Row, ...] = (
    structured("softmax", _softmaxes, rtol=16, refuses=REFUSED),
    structured("log_softmax", _softmaxes, rtol=16, refuses=REFUSED),
    _loss("cross_entropy", _cross_entropies, rtol=64),
    _loss("nll_loss", _of_classes, rtol=32),
    _loss("mse_loss", _weighted, rtol=16),
    _loss("l1_loss", _weighted, rtol=16, kink=True),
    _loss("smooth_l1_loss", _smooth_l1s, rtol=16, kink=True),
    _loss("huber_loss", _hubers, rtol=16, kink=True),
    _loss("binary_cross_entropy", _cross_entropies_of_two, rtol=32),
    _loss("binary_cross_entropy_with_logits", _cross_entropies_of_logits, rtol=32),
    _loss("kl_div", _divergences, rtol=32),
)
