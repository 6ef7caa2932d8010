"""Normalization, embedding and attention."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .losses import REFUSED, _functional, _positive
from .row import Sample, call, structured, wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Any, Array, Draw, Row


def _layer(name: str, samples: Callable[[Draw], list[Sample]], **more: Any) -> Row:
    return structured(name, samples, torch=_functional(name), **more)


def _norms(d: Draw) -> list[Sample]:
    """Whatever layer_norm and rms_norm share."""
    return [
        call(d(2, 3), (3,)),
        call(d(2, 3), (3,), d(3)),
        call(d(2, 3, 2), (3, 2), d(3, 2)),
        call(d(3), (3,), eps=0.1),
        call(d(40, 5), (5,), d(5)),  # more rows than a block of them
        call(d(3, 37), (37,), d(37)),
        call(d(0, 3), (3,), d(3)),
        wrong(d(2, 3), (2,)),
        wrong(d(2, 3), ()),
        wrong(d(3), (2, 3)),
        wrong(d(2, 3), (3,), d(2)),
    ]


def _layer_norms(d: Draw) -> list[Sample]:
    return [
        *_norms(d),
        call(d(2, 3), (3,), d(3), d(3)),
        call(d(2, 3), (3,), None, d(3)),
        call(d(2, 3, 2), (3, 2), d(3, 2), bias=d(3, 2), eps=0.1),
        call(d(1100, 4), (4,), d(4), d(4)),
        wrong(d(2, 3), (3,), d(3), d(2)),
    ]


def _group_norms(d: Draw) -> list[Sample]:
    return [
        call(d(2, 4), 2),
        call(d(2, 4), 2, d(4), d(4)),
        call(d(2, 4, 2), 2, d(4), d(4)),
        call(d(1, 4, 2, 3), 4, d(4), d(4), eps=0.1),
        call(d(40, 4, 3), 1, d(4)),
        call(d(2, 4, 35), 2, d(4), d(4)),
        wrong(d(2, 4), 3),
        wrong(d(4), 2),
        wrong(d(2, 4), 2, d(3)),
        wrong(d(2, 4), 2, d(4), d(3)),
    ]


def _running(d: Draw, n: int) -> dict[str, Array]:
    return {"running_mean": d(n), "running_var": _positive(d, n)}


def _normalized(*args: Any, **kwargs: Any) -> Sample:
    """A call with running statistics, by which nobody differentiates."""
    return Sample(args, kwargs, constants=("running_mean", "running_var"))


def _batch_norms(d: Draw) -> list[Sample]:
    sides = {"weight": d(3), "bias": d(3)}
    return [
        call(d(4, 3), None, None, training=True),
        call(d(4, 3), None, None, d(3), d(3), True),
        call(d(2, 3, 4), None, None, d(3), None, True, eps=0.1),
        call(d(2, 3, 2, 5), None, None, d(3), d(3), True),
        call(d(5, 70), None, None, d(70), d(70), True),
        _normalized(d(4, 3), training=True, momentum=0.3, **_running(d, 3)),
        _normalized(d(2, 3, 2), **_running(d, 3)),
        _normalized(d(2, 3), **_running(d, 3), **sides, eps=0.1),
        wrong(d(1, 3), None, None, training=True),
        wrong(d(2, 3), None, None),
        wrong(d(3), d(3), d(3)),
        wrong(d(2, 3), d(2), d(2)),
        wrong(d(2, 3), None, None, d(2), None, True),
    ]


def _instance_norms(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3, 4)),
        call(d(2, 3, 4), weight=d(3), bias=d(3)),
        call(d(1, 3, 2, 3), weight=d(3), eps=0.1),
        _normalized(d(2, 3, 4), weight=d(3), momentum=0.3, **_running(d, 3)),
        _normalized(d(2, 3, 4), use_input_stats=False, **_running(d, 3)),
        wrong(d(2, 3, 1)),
        wrong(d(2, 3)),
    ]


def _embeddings(d: Draw) -> list[Sample]:
    index = np.array([[0, 3, 1], [3, 3, 0]])
    return [
        call(index, d(4, 3)),
        call(d.ints(0, 4), d(4, 3)),
        call(index.astype(np.int32), d(4, 2)),
        call(np.zeros((0, 2), np.int64), d(4, 3)),
        call(index, d(4, 40)),
        wrong(index + 1, d(4, 3)),
        wrong(index - 1, d(4, 3)),
        wrong(index, d(4)),
        wrong(index.astype(np.int16), d(4, 3)),
    ]


def _attentions(d: Draw) -> list[Sample]:
    dead = np.array([[True, False, True], [False, False, False]])
    return [
        call(d(2, 3), d(4, 3), d(4, 2)),
        call(d(1, 1, 2, 3), d(1, 1, 3, 3), d(1, 1, 3, 2)),
        call(d(2, 3, 5), d(2, 3, 5), d(2, 3, 4), is_causal=True),
        call(d(3, 2), d(3, 2), d(3, 2), is_causal=True, scale=0.3),
        call(d(2, 3), d(3, 3), d(3, 2), dead),
        call(d(2, 3), d(3, 3), d(3, 2), d(2, 3)),
        call(d(2, 2, 2, 3), d(2, 2, 3, 3), d(2, 2, 3, 4), d.mask(2, 1, 1, 3)),
        call(d(2, 2, 2, 3), d(1, 2, 3, 3), d(3, 4)),
        call(d(1, 4, 3, 2), d(1, 2, 2, 2), d(1, 2, 2, 2), enable_gqa=True),
        call(d(2, 2, 2, 3, 4), d(2, 2, 2, 2, 4), d(2, 2, 2, 2, 4)),
        # more queries and keys than a tile has, head sizes of whole vectors and others
        call(d(1, 2, 70, 16), d(1, 2, 130, 16), d(1, 2, 130, 32), scale=0.1),
        call(d(1, 2, 130, 7), d(1, 2, 70, 7), d(1, 2, 70, 9), is_causal=True),
        call(d(2, 0, 3), d(2, 3, 3), d(2, 3, 2)),
        call(d(2, 3), d(0, 3), d(0, 2)),
        wrong(d(3), d(4, 3), d(4, 2)),
        wrong(d(2, 3), d(4, 2), d(4, 2)),
        wrong(d(2, 3), d(4, 3), d(3, 2)),
        wrong(d(2, 3), d(4, 3), d(4, 2), d.mask(2, 4), is_causal=True),
        wrong(d(2, 3), d(4, 3), d(4, 2), d.mask(2, 3)),
        wrong(d(2, 3), d(4, 3), d(4, 2), d.ints(0, 1, 2, 4)),
        wrong(d(2, 3), d(4, 3), d(4, 2), dropout_p=1.5),
        wrong(d(1, 3, 3, 2), d(1, 2, 2, 2), d(1, 2, 2, 2), enable_gqa=True),
    ]


ROWS: tuple[Row, ...] = (
    _layer("layer_norm", _layer_norms, rtol=64, refuses=REFUSED),
    _layer("rms_norm", _norms, rtol=64, refuses=REFUSED),
    _layer("group_norm", _group_norms, rtol=64, refuses=REFUSED),
    _layer("batch_norm", _batch_norms, rtol=64, refuses=REFUSED),
    _layer("instance_norm", _instance_norms, rtol=64, refuses=REFUSED),
    _layer("embedding", _embeddings, rtol=16),
    _layer("scaled_dot_product_attention", _attentions, rtol=64, refuses=REFUSED),
)
