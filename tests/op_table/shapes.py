"""Shapes by name, pieces, diagonals, copies in another order, padding."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .row import call, likes, method, structured

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Draw, Row, Sample


def _pairs(d: Draw) -> list[Sample]:
    return [call(d(2, 3), 0, 1), call(d(2, 3, 4), -1, 0), call(d(), 0, 0)]


def _moves(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3, 4), 0, -1),
        call(d(2, 3, 4), (0, 1), (2, 0)),
        call(d(2, 3), (), ()),
        call(d(), 0, 0),
    ]


def _like_other(shape: tuple[int, ...], other: tuple[int, ...]) -> Callable[[Draw], list[Sample]]:
    return lambda d: [call(d(*shape), np.zeros(other, "int64"))]


def _atleast(d: Draw) -> list[Sample]:
    return [
        call(d()),
        call(d(2)),
        call(d(2, 3)),
        call(d(2, 2, 2)),
        call([d(), d(2)]),
        call(d(), d(2)),
    ]


def _splits(d: Draw) -> list[Sample]:
    return [
        call(d(5, 2), 2),
        call(d(2, 5), 5, 1),
        call(d(5), [1, 0, 4]),
        call(d(2, 4), (3, 1), dim=-1),
        call(d(0, 2), 0),
        call(d(12), [1] * 12),
    ]


def _tensor_splits(d: Draw) -> list[Sample]:
    return [
        call(d(5, 2), 3),
        call(d(2, 3), (1, 0, 5), 1),
        call(d(4), [-3, -1]),
        call(d(2, 3), np.array([1, 2]), 1),
        call(d(3), np.array(2)),
        call(d(2, 3), []),
    ]


def _by_dimension(*shape: int) -> Callable[[Draw], list[Sample]]:
    return lambda d: [call(d(*shape), 2), call(d(*shape), [1, 3]), call(d(*shape), (-1,))]


def _diagonals(d: Draw) -> list[Sample]:
    return [
        call(d(3, 3)),
        call(d(2, 4), 1),
        call(d(4, 2), offset=-2),
        call(d(2, 3, 2), 0, 0, 2),
        call(d(2, 3, 3), 1, -2, -1),
        call(d(2, 3), 7),
        call(d(0, 3)),
    ]


def _embeds(d: Draw) -> list[Sample]:
    return [
        call(d(3)),
        call(d(2, 3), 1),
        call(d(2, 2), -2),
        call(d(2, 3), 1, 0, 2),
        call(d(2, 2), dim1=2, dim2=0),
        call(d(2, 0)),
    ]


def _windows(d: Draw) -> list[Sample]:
    return [
        call(d(8), 0, 3, 2),
        call(d(7), 0, 2, 3),
        call(d(6), 0, 5, 1),
        call(d(2, 5), -1, 3, 1),
        call(d(5, 2), 0, 2, 2),
        call(d(), 0, 1, 1),
        call(d(3), 0, 0, 1),
    ]


def _triangles(d: Draw) -> list[Sample]:
    return [
        call(d(3, 3)),
        call(d(2, 4), 1),
        call(d(4, 2), -1),
        call(d(2, 2, 3), diagonal=2),
        call(d(2, 3), 2**62),
        call(d(0, 3)),
    ]


def _flips(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), (0,)),
        call(d(2, 3), (0, -1)),
        call(d(3, 2, 4), [1]),
        call(d(2, 3), ()),
        call(d(), ()),
        call(d(0, 2), (1,)),
        call(d(2, 40), (1,)),
    ]


def _rotations(d: Draw) -> list[Sample]:
    return [
        *(call(d(2, 3), k) for k in range(-2, 4)),
        call(d(2, 3, 2), 1, (2, 0)),
        call(d(2, 3), k=-5, dims=[1, 0]),
    ]


def _rolls(d: Draw) -> list[Sample]:
    return [
        call(d(5), 2),
        call(d(2, 3), 1),
        call(d(2, 3), -1, 0),
        call(d(2, 3), (1, 2), (0, 1)),
        call(d(2, 3), (1, 1), (1, 1)),
        call(d(3), -7, 0),
        call(d(0), 1, 0),
        call(d(), 1),
    ]


def _repeats(d: Draw) -> list[Sample]:
    return [
        call(d(3), 2),
        call(d(2, 3), 2, 1),
        call(d(2, 3), (2, 1, 3)),
        call(d(2), (2, 0)),
        call(d(), (2, 2)),
        call(d(2, 3), 1, 1),
        call(d(), (3,)),
    ]


def _tiles(d: Draw) -> list[Sample]:
    return [call(d(2, 3), (2,)), call(d(2), (2, 2)), call(d(2, 3), ()), call(d(), (2,))]


def _interleaves(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), 2),
        call(d(2, 3), 2, 0),
        call(d(2, 3), 3, dim=-1),
        call(d(2, 3), 0, 1),
        call(d(2, 3), np.array([1, 2]), 0),
        call(d(3), np.array([0, 2, 1])),
        call(d(2, 3), np.array([2]), 1, output_size=6),
        call(d(2, 3), np.array(2), 1),
        call(d(), 2),
    ]


def _pads(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), (1, 2)),
        call(d(2, 3), (1, -1, -1, 2), value=1),
        call(d(2, 3), (0, 0, 2, 0), "constant", 0.0),
        call(d(2, 3), (-3, 0)),
        call(d(2), ()),
        call(d(2, 4), (2, 1), mode="reflect"),
        call(d(1, 3, 4), (1, 2, 2, 1), mode="reflect"),
        call(d(1, 1, 2, 2, 2), (1, 1, 0, 1, 1, 0), mode="reflect"),
        call(d(2, 4), (-1, 2), mode="reflect"),
        call(d(2, 3), (4, 1), mode="replicate"),
        call(d(1, 2, 2, 3), (1, 0, -1, 2), mode="replicate"),
        call(d(2, 3), (3, 1), mode="circular"),
        call(d(1, 1, 3, 2), (1, 2, 0, 3), mode="circular"),
        call(d(2, 4), (-1, 1), mode="circular"),
    ]


def _pad(torch: Any) -> Callable[..., Any]:
    return torch.nn.functional.pad  # type: ignore[no-any-return]


def itself(name: str, samples: Callable[[Draw], list[Sample]]) -> Row:
    """A method that changes its tensor."""
    return structured(name, samples, torch=method(name), differentiable=False)


ROWS: tuple[Row, ...] = (
    # --- by name ---
    structured("movedim", _moves, view=True),
    structured("moveaxis", _moves, view=True),
    structured("swapaxes", _pairs, view=True),
    structured("swapdims", _pairs, view=True),
    structured(
        "unflatten",
        lambda d: [
            call(d(2, 6), 1, (2, 3)),
            call(d(4, 2), -2, (2, -1)),
            call(d(0, 2), 0, (0, 3)),
            call(d(2, 3), dim=1, sizes=(3, 1)),
        ],
        view=True,
    ),
    structured("ravel", lambda d: [*likes(d), call(d(2, 3, 2))], view=True),
    structured("view_as", _like_other((2, 3), (3, 2)), view=True, torch=method("view_as")),
    structured("reshape_as", _like_other((2, 3), (6, 1)), view=True, torch=method("reshape_as")),
    structured("expand_as", _like_other((1, 3), (2, 2, 3)), view=True, torch=method("expand_as")),
    structured(
        "sum_to_size",
        lambda d: [call(d(2, 3), 3), call(d(2, 3), (2, 1)), call(d(2, 3), ()), call(d(2), 2)],
        torch=method("sum_to_size"),
        rtol=32,
    ),
    structured("atleast_1d", _atleast),
    structured("atleast_2d", _atleast),
    structured("atleast_3d", _atleast),
    itself("transpose_", _pairs),
    itself("swapaxes_", _pairs),
    itself("swapdims_", _pairs),
    itself("t_", lambda d: [call(d(2, 3)), call(d(3)), call(d())]),
    itself("unsqueeze_", lambda d: [call(d(2, 3), 0), call(d(2, 3), -1), call(d(), 0)]),
    itself("squeeze_", lambda d: [call(d(1, 3, 1)), call(d(1, 3), 0), call(d(1, 2, 1), (0, 2))]),
    # --- pieces ---
    structured(
        "select",
        lambda d: [call(d(2, 3), 0, 1), call(d(2, 3, 2), -2, -1), call(d(3), 0, 0)],
        view=True,
    ),
    structured("split", _splits),
    structured(
        "split_with_sizes", lambda d: [call(d(5), [1, 0, 4]), call(d(2, 4), (3, 1), dim=-1)]
    ),
    structured(
        "chunk",
        lambda d: [call(d(5, 2), 2), call(d(2, 5), 3, 1), call(d(2), 7), call(d(0, 2), 3)],
    ),
    structured("tensor_split", _tensor_splits),
    structured("hsplit", _by_dimension(2, 4)),
    structured("vsplit", _by_dimension(4, 2)),
    structured("dsplit", _by_dimension(1, 2, 4)),
    structured(
        "unbind", lambda d: [call(d(3, 2)), call(d(2, 3), 1), call(d(2, 1, 2), dim=-1), call(d(3))]
    ),
    # --- diagonals and windows ---
    structured("diagonal", _diagonals, view=True),
    structured("diag_embed", _embeds),
    structured("diag", lambda d: [call(d(3)), call(d(2), -1), call(d(2, 3), 1), call(d(3, 3))]),
    structured("diagflat", lambda d: [call(d(2, 2), 1), call(d()), call(d(3), -1), call(d(0))]),
    structured("unfold", _windows, view=True, torch=method("unfold"), rtol=32),
    structured("tril", _triangles, inplace=True),
    structured("triu", _triangles, inplace=True),
    # --- copies in another order, and repeated ---
    structured("flip", _flips),
    structured("fliplr", lambda d: [call(d(2, 3)), call(d(2, 3, 2))]),
    structured("flipud", lambda d: [call(d(3)), call(d(2, 3, 2))]),
    structured("rot90", _rotations),
    structured("roll", _rolls),
    structured("repeat", _repeats, torch=method("repeat"), rtol=32),
    structured("tile", _tiles, rtol=32),
    structured("repeat_interleave", _interleaves, rtol=32, dtypes=("float32", "float64", "int64")),
    structured("pad", _pads, torch=_pad, rtol=32, extends=("bool",)),
)
