"""Indexing by tensors and masks."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from .row import call, structured

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Draw, Row, Sample


def _at(*values: Any) -> Any:
    return np.array(values, "int64")


def _along(d: Draw) -> list[Any]:
    """Tensors, dimensions and indices as gather and scatter take them."""
    return [
        (d(), 0, np.array(0)),
        (d(3), 0, _at(2, 0, 0, 1)),
        (d(3), -1, np.array(1)),
        (d(3, 2), 0, d.ints(0, 3, 4, 2)),
        (d(2, 3), 1, d.ints(0, 3, 2, 2).astype("int32")),
        (d(2, 3, 2), 1, d.ints(0, 3, 1, 4, 2)),
        (d(2, 0, 3), 0, d.ints(0, 2, 2, 0, 3)),
        (d(2, 3), 0, np.zeros((0, 3), "int64")),
    ]


def _gathers(d: Draw) -> list[Sample]:
    return [call(*each) for each in _along(d)]


def _scatters(d: Draw) -> list[Sample]:
    return [call(x, dim, at, d(*at.shape, operand=1)) for x, dim, at in _along(d)]


def _distinct(d: Draw) -> list[Sample]:
    """Places that do not repeat: at others PyTorch's own derivative by src is not the limit."""
    return [
        call(d(), 0, np.array(0), d()),
        call(d(3), 0, _at(2, 0), d(2)),
        call(d(3, 2), 0, _at([0, 2], [2, 1]), d(2, 2)),
        call(d(2, 3), 1, _at([2, 0], [1, 0]), d(2, 2)),
        call(d(2, 3), 1, _at([2], [1]), 2.5),
        call(d(2, 3), 1, np.zeros((2, 0), "int64"), d(2, 0)),
    ]


def _reduced(*how: str, index: bool = False) -> Any:
    def samples(d: Draw) -> list[Sample]:
        out = []
        for reduce in how:
            for include in (True, False):
                if index:
                    at = _at(1, 1, 0)
                    out.append(call(d(3, 2), 0, at, d(3, 2), reduce, include_self=include))
                    out.append(call(d(2, 4), -1, at, d(2, 3), reduce, include_self=include))
                else:
                    at = _at([0, 2], [0, 1], [2, 1])
                    out.append(call(d(3, 2), 0, at, d(3, 2), reduce, include_self=include))
                    out.append(call(d(2, 3), 1, at.T, d(2, 3), reduce, include_self=include))
        return [*out, call(d(3), 0, np.array([], "int64"), d(0), how[0])]

    return samples


def _index_adds(d: Draw) -> list[Sample]:
    return [
        call(d(3, 2), 0, _at(1, 1, 0), d(3, 2)),
        call(d(2, 3), 1, _at(2), d(2, 1)),
        call(d(2, 3, 2), -2, _at(0, 2, 0).astype("int32"), d(2, 3, 2)),
        call(d(3), 0, np.array(1), d(1)),
        call(d(), 0, np.array(0), d()),
        call(d(3, 2), 0, np.array([], "int64"), d(0, 2)),
    ]


def _fills(d: Draw) -> list[Sample]:
    return [
        call(d(3, 2), 0, _at(2, -3), 1),
        call(d(2, 3), 1, _at(1), d()),
        call(d(), 0, np.array(0), 0),
        call(d(2, 3), 1, np.array([], "int64"), d()),
    ]


def _masks(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d.mask(2, 3)),
        call(d(2, 3), d.mask(3)),
        call(d(3), d.mask(2, 3)),
        call(d(2, 1), d.mask(1, 3)),
        call(d(), d.mask()),
        call(d(0, 2), d.mask(0, 2)),
        call(d(17, 9), d.mask(17, 9)),
    ]


def _masked_fills(d: Draw) -> list[Sample]:
    return [call(*s.args, v) for s in _masks(d) for v in (1, d())]


def _places(d: Draw) -> list[Sample]:
    return [call(d()), call(d(7)), call(d(3, 5)), call(d(2, 0)), call(d(2, 3, 4)), call(d(0))]


def _quiet(name: str) -> Callable[[Any], Callable[..., Any]]:
    """PyTorch's function without its warning of being new."""

    def oracle(torch: Any) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)
                return getattr(torch, name)(*args, **kwargs)

        return run

    return oracle


def _puts(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), _at(0, -1), d(2)),
        call(d(2, 3), _at([1, 1], [0, 3]), d(4), accumulate=True),
        call(d(), _at(0), d(1)),
        call(d(3), np.array([], "int64"), d(0)),
    ]


def _index_puts(d: Draw) -> list[Sample]:
    return [
        call(d(3, 2), [_at(0, -1)], d(2, 2)),
        call(d(3, 2), [_at(1, 1)], d(2), True),
        call(d(3, 2), [_at(1, 1, 1), np.array(1)], d(3), True),
        call(d(2, 3, 2), [_at(0, -1), _at([2], [0])], d(2, 1, 2)),
        call(d(3, 2), [d.mask(3, 2)], d()),
        call(d(3, 2), [d.mask(3)], d(2)),
        call(d(3), [_at([0, 1], [2, 1])], d(), True),
    ]


ROWS: tuple[Row, ...] = (
    structured(
        "index_select",
        lambda d: [
            call(d(3, 2), 0, _at(2, 0, 2)),
            call(d(2, 3), 1, _at(1)),
            call(d(2, 3, 2), -2, _at(0, 0).astype("int32")),
            call(d(3), 0, np.array([], "int64")),
            call(d(), 0, _at(0)),
            call(d(2, 3), 1, np.array(2)),
        ],
    ),
    structured("gather", _gathers),
    structured(
        "take_along_dim",
        lambda d: [
            call(d(2, 3), d.ints(-3, 3, 2, 4), 1),
            call(d(2, 3), d.ints(0, 2, 1, 1), dim=0),
            call(d(1, 3), d.ints(0, 3, 2, 2), -1),
            call(d(2, 3), _at(5, 0)),
        ],
    ),
    structured("take", lambda d: [call(d(2, 3), _at([0, -1], [5, 0])), call(d(), np.array(0))]),
    structured("scatter", _distinct, inplace=True),
    structured("scatter_add", _scatters, inplace=True),
    structured(
        "scatter_reduce",
        _reduced("sum", "prod", "mean", "amax", "amin"),
        inplace=True,
        dtypes=("float32", "float64", "int64"),
    ),
    structured("index_add", _index_adds, inplace=True),
    structured(
        "index_copy",
        lambda d: [
            call(d(3, 2), 0, _at(2, 0), d(2, 2)),
            call(d(2, 3), -1, _at(1), d(2, 1)),
            call(d(3), 0, np.array([], "int64"), d(0)),
        ],
        inplace=True,
    ),
    structured("index_fill", _fills, inplace=True),
    structured(
        "index_reduce",
        _reduced("prod", "mean", "amax", "amin", index=True),
        torch=_quiet("index_reduce"),
        inplace=True,
        dtypes=("float32", "float64", "int64"),
    ),
    structured("put", _puts, inplace=True),
    structured(
        "index_put",
        _index_puts,
        inplace=True,
    ),
    structured(
        "select_scatter",
        lambda d: [call(d(2, 3), d(2), 1, -1), call(d(2, 3), d(3), 0, 0), call(d(3), d(), 0, 1)],
    ),
    structured(
        "slice_scatter",
        lambda d: [
            call(d(2, 5), d(2, 2), 1, 1, None, 2),
            call(d(3, 2), d(2, 2), 0, -2),
            call(d(3), d(0), end=0),
        ],
    ),
    structured(
        "diagonal_scatter",
        lambda d: [
            call(d(3, 3), d(3)),
            call(d(2, 3), d(2), 1),
            call(d(2, 3, 2), d(3, 1), -1, 0, 2),
        ],
    ),
    # --- masks ---
    structured("masked_fill", _masked_fills, inplace=True),
    structured("masked_select", _masks),
    structured(
        "masked_scatter",
        lambda d: [call(*s.args, d(200)) for s in _masks(d)],
        inplace=True,
    ),
    structured("nonzero", _places, differentiable=False),
    structured("argwhere", _places, differentiable=False),
    structured(
        "one_hot",
        lambda d: [call(_at(0, 2, 1)), call(d.ints(0, 3, 2, 2), 4), call(np.array(1))],
        differentiable=False,
        dtypes=("int64",),
    ),
    structured(
        "isin",
        lambda d: [
            call(d(2, 3), d(4)),
            call(d(7), d(0)),
            call(d(40), d(40), invert=True),
            call(d(2, 3), 1),
        ],
        differentiable=False,
        refuses=("bool",),
    ),
)
