"""Matrix products."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

from .row import call, structured, wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Draw, Row, Sample


NUMBERS = ("float32", "float64", "int64")


def _matmuls(d: Draw) -> list[Sample]:
    shapes = [
        ((2, 3), (3, 4)),
        ((3,), (3,)),
        ((3,), (3, 2)),
        ((2, 3), (3,)),
        ((2, 2, 3), (3, 2)),
        ((2, 1, 2, 3), (2, 3, 2)),
        ((3,), (2, 3, 2)),
        ((2, 2, 3), (3,)),
        ((0, 3), (3, 2)),
        ((2, 0), (0, 3)),
        ((1, 1), (1, 1)),
        ((5, 9), (9, 7)),
        ((0, 2, 3), (3, 2)),
    ]
    return [call(d(*a), d(*b)) for a, b in shapes]


def _linears(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d(4, 3), d(4)),
        call(d(2, 3), d(4, 3)),
        call(d(3), d(2, 3), d(2)),
        call(d(2, 2, 3), d(2, 3), bias=d(2)),
        call(d(0, 3), d(2, 3), d(2)),
    ]


def _addmms(d: Draw) -> list[Sample]:
    whole: dict[str, Any] = {"beta": 2, "alpha": 3}
    return [
        call(d(2, 4), d(2, 3), d(3, 4)),
        call(d(4), d(2, 3), d(3, 4)),
        call(d(2, 1), d(2, 3), d(3, 4)),
        call(d(), d(2, 3), d(3, 4), **whole),
        call(d(2, 4), d(2, 3), d(3, 4), beta=0),
        call(d(2, 4), d(2, 3), d(3, 4), alpha=2),
        call(d(2, 2), d(2, 0), d(0, 2)),
        call(d(2), d(2, 0), d(0, 2), **whole),
        wrong(d(2, 4), d(2, 3), d(4, 4)),
        wrong(d(5), d(2, 3), d(3, 4)),
    ]


def _batched(d: Draw, start: tuple[int, ...]) -> list[Sample]:
    return [
        call(d(*start), d(3, 2, 2), d(3, 2, 4)),
        call(d(4), d(3, 2, 2), d(3, 2, 4), beta=2, alpha=3),
        call(d(2, 1), d(3, 2, 2), d(3, 2, 4), beta=0),
        call(d(), d(3, 2, 0), d(3, 0, 4)),
        call(d(2, 4), d(0, 2, 2), d(0, 2, 4)),
        wrong(d(*start), d(2, 2, 2), d(3, 2, 4)),
    ]


def _vectors(d: Draw) -> list[Sample]:
    return [call(d(4), d(4)), call(d(0), d(0)), call(d(1), d(1)), wrong(d(2, 2), d(2))]


def _outers(d: Draw) -> list[Sample]:
    return [call(d(3), d(4)), call(d(0), d(2)), wrong(d(2, 2), d(2))]


def _einsums(d: Draw) -> list[Sample]:
    def equation(text: str, *shapes: tuple[int, ...]) -> Sample:
        return call(text, [d(*s) for s in shapes])

    def refused(text: str, *shapes: tuple[int, ...]) -> Sample:
        return wrong(text, [d(*s) for s in shapes])

    return [
        equation("ij,jk->ik", (2, 3), (3, 4)),
        equation("ij,jk", (2, 3), (3, 4)),
        equation(" b i j , b j k -> b i k ", (2, 2, 3), (2, 3, 2)),
        equation("ij->ji", (2, 3)),
        equation("ij->", (2, 3)),
        equation("ii", (3, 3)),
        equation("iij->ij", (2, 2, 3)),
        equation("iii->i", (3, 3, 3)),
        equation("...ij,...jk->...ik", (2, 1, 2, 3), (3, 3, 2)),
        equation("i...,i->...", (3, 2, 2), (3,)),
        equation("...", (2, 3)),
        equation("...i->i", (2, 3)),
        equation("i,j->ij", (2,), (3,)),
        equation("i,i->", (3,), (3,)),
        equation("bi,bi->b", (2, 3), (2, 3)),
        equation("bn,anm,bm->ba", (2, 3), (2, 3, 2), (2, 2)),
        equation("ij,jk,kl,lm->im", (2, 3), (3, 2), (2, 4), (4, 1)),
        equation("ij,j->i", (2, 3), (1,)),
        equation("ij,kl->", (2, 3), (2, 2)),
        equation("aB,aA", (2, 3), (2, 2)),
        equation("ij,jk->ik", (2, 0), (0, 3)),
        equation(",i->i", (), (3,)),
        equation("", ()),
        refused("ij,jk->ik", (2, 3), (2, 3)),
        refused("ij,jk->ik", (2, 3)),
        refused("ij->ik", (2, 3)),
        refused("ij->ii", (2, 3)),
        refused("i.j", (2, 3)),
        refused("i1", (2, 3)),
        refused("ii", (2, 3)),
    ]


def _tensordots(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d(2, 3)),
        call(d(2, 3), d(3, 2), 1),
        call(d(2), d(3), dims=0),
        call(d(2, 3, 2), d(3, 2, 4), ([1, 2], [0, 1])),
        call(d(2, 3, 2), d(2, 3), dims=([-1, 1], [0, -1])),
        call(d(2, 3), d(1, 3), ([0], [0])),
        call(d(2, 0), d(0, 3), 1),
        wrong(d(2, 3), d(2, 3), 1),
        wrong(d(2, 3), d(2, 3), 3),
        wrong(d(2, 3), d(2, 3), -1),
        wrong(d(2, 3), d(2, 3), ([0, 1], [0])),
        wrong(d(2, 3), d(2, 3), ([0, 0], [0, 1])),
        wrong(d(2, 3), d(2, 3), ([5], [0])),
    ]


def _inners(d: Draw) -> list[Sample]:
    return [
        call(d(3), d(3)),
        call(d(2, 3), d(2, 2, 3)),
        call(d(), d(2, 3)),
        wrong(d(2, 3), d(2)),
        call(d(2, 0), d(3, 0)),
    ]


def _chains(d: Draw) -> list[Sample]:
    return [
        call([d(2, 3), d(3, 4)]),
        call([d(4, 1), d(1, 5), d(5, 2), d(2, 3)]),
        wrong([d(2, 3), d(2, 3)]),
        call([d(2, 3), d(3, 0), d(0, 2)]),
    ]


def _multi_dots(d: Draw) -> list[Sample]:
    return [
        *_chains(d),
        call([d(3), d(3, 4), d(4)]),
        call([d(3), d(3)]),
        wrong([d(2, 3)]),
        wrong([d(2, 2), d(2), d(2, 2)]),
    ]


def _crosses(d: Draw) -> list[Sample]:
    return [
        call(d(3), d(3)),
        call(d(2, 3), d(2, 3)),
        call(d(3, 2), d(3, 2), dim=0),
        call(d(2, 3), d(1, 3), dim=-1),
        wrong(d(2, 2), d(2, 2)),
        wrong(d(2, 3), d(3)),
    ]


def _cdists(d: Draw) -> list[Sample]:
    a, b = d(3, 2), d(2, 2)
    modes = ("use_mm_for_euclid_dist", "donot_use_mm_for_euclid_dist")
    return [
        *(call(a, b, p) for p in (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, math.inf)),
        call(d(2, 1, 3, 2), d(2, 2, 2)),
        *(call(d(3, 2), d(2, 2), compute_mode=m) for m in modes),
        call(d(3, 0), d(2, 0)),
        call(d(0, 2), d(2, 2)),
        call(d(30, 3), d(4, 3)),
        wrong(d(3, 2), d(2, 3)),
        wrong(d(3), d(2, 3)),
        wrong(a, b, -1.0),
    ]


def _bilinears(d: Draw) -> list[Sample]:
    return [
        call(d(2, 3), d(2, 2), d(4, 3, 2), d(4)),
        call(d(3), d(2), d(1, 3, 2)),
        call(d(2, 2, 2), d(2, 2, 1), d(2, 2, 1), d(2)),
        wrong(d(2, 3), d(2, 3), d(4, 3, 2)),
        wrong(d(2, 3), d(1, 2), d(4, 3, 2)),
    ]


def _powers(d: Draw) -> list[Sample]:
    return [
        *(call(d(3, 3), n) for n in (1, 2, 3, 5)),
        call(d(2, 2, 2), 2),
        call(d(0, 0), 2),
        wrong(d(2, 3), 2),
        wrong(d(3), 2),
    ]


def _cross(torch: Any) -> Callable[..., Any]:
    def run(a: Any, b: Any, dim: int | None = None) -> Any:
        with warnings.catch_warnings():  # about the default of dim
            warnings.simplefilter("ignore")
            return torch.cross(a, b, dim)

    return run


def _activated(torch: Any) -> Callable[..., Any]:
    def run(x: Any, weight: Any, bias: Any, activation: str) -> Any:
        return getattr(torch, activation)(torch.nn.functional.linear(x, weight, bias))

    return run


ROWS: tuple[Row, ...] = (
    structured("matmul", _matmuls, third=True, refuses=("bool",)),
    structured(
        "mm",
        lambda d: [call(d(2, 3), d(3, 4)), call(d(1, 0), d(0, 2)), wrong(d(2, 3), d(2, 3))],
        refuses=("bool",),
    ),
    structured(
        "bmm",
        lambda d: [
            call(d(2, 2, 3), d(2, 3, 4)),
            call(d(0, 2, 3), d(0, 3, 2)),
            wrong(d(1, 2, 3), d(2, 3, 2)),
            wrong(d(2, 3), d(3, 2)),
        ],
        refuses=("bool",),
    ),
    structured(
        "mv",
        lambda d: [call(d(2, 3), d(3)), call(d(2, 0), d(0)), wrong(d(2, 3), d(2))],
        refuses=("bool",),
    ),
    structured("addmm", _addmms, inplace=True, third=True, refuses=("bool",)),
    structured("baddbmm", lambda d: _batched(d, (3, 2, 4)), inplace=True, refuses=("bool",)),
    structured("addbmm", lambda d: _batched(d, (2, 4)), inplace=True, refuses=("bool",)),
    structured(
        "addmv",
        lambda d: [
            call(d(2), d(2, 3), d(3)),
            call(d(), d(2, 3), d(3)),
            call(d(1), d(2, 3), d(3), beta=2, alpha=3),
            call(d(2), d(2, 3), d(3), beta=0),
            wrong(d(3), d(2, 3), d(3)),
        ],
        inplace=True,
        refuses=("bool",),
    ),
    structured(
        "addr",
        lambda d: [
            call(d(2, 3), d(2), d(3)),
            call(d(3), d(2), d(3), beta=2, alpha=3),
            call(d(), d(2), d(3), beta=0),
            wrong(d(2, 2), d(2), d(3)),
        ],
        inplace=True,
        dtypes=NUMBERS,
    ),
    structured("dot", _vectors, refuses=("bool",)),
    structured("vdot", _vectors, refuses=("bool",)),
    structured("outer", _outers),
    structured("ger", _outers),
    structured("einsum", _einsums, rtol=16, dtypes=NUMBERS),
    structured("tensordot", _tensordots, dtypes=NUMBERS),
    structured("inner", _inners, dtypes=NUMBERS),
    structured(
        "chain_matmul",
        _chains,
        torch=lambda torch: torch.linalg.multi_dot,
        refuses=("bool",),
        rtol=64,
    ),
    structured("linalg_multi_dot", _multi_dots, refuses=("bool",), rtol=64),
    structured("matrix_power", _powers, rtol=64, dtypes=NUMBERS),
    structured("linalg_matrix_power", _powers, rtol=64, dtypes=NUMBERS),
    structured(
        "kron",
        lambda d: [
            call(d(2, 3), d(2, 2)),
            call(d(3), d(2, 2)),
            call(d(), d(2)),
            call(d(2, 0), d(2, 1)),
        ],
    ),
    structured(
        "trace",
        lambda d: [call(d(3, 3)), call(d(2, 4)), call(d(0, 2)), wrong(d(3))],
        refuses=("bool",),
        rtol=16,
    ),
    structured(
        "linalg_vecdot",
        lambda d: [
            call(d(2, 3), d(2, 3)),
            call(d(2, 3), d(2, 1), dim=0),
            call(d(2, 0), d(0)),
            wrong(d(2, 3), d(2)),
        ],
        rtol=16,
    ),
    structured("cross", _crosses, torch=_cross),
    structured("linalg_cross", _crosses),
    structured("cdist", _cdists, rtol=512, kink=True),
    structured("bilinear", _bilinears, refuses=("bool",), rtol=16),
    structured("linear", _linears, refuses=("bool",)),
    structured(
        "_linear_activation",
        lambda d: [
            call(d(2, 3), d(4, 3), b, a) for a in ("relu", "tanh", "sigmoid") for b in (None, d(4))
        ],
        torch=_activated,
        rtol=32,
    ),
)
