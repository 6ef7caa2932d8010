"""Convolutions and pooling."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

from .row import FLOATS, call, structured, wrong

if TYPE_CHECKING:
    from collections.abc import Callable

    from .row import Draw, Row, Sample


def _conv1d(d: Draw) -> list[Sample]:
    return [
        call(d(2, 1, 5), d(2, 1, 3)),
        call(d(2, 2, 4), d(1, 2, 2), d(1)),
        call(d(2, 6), d(2, 2, 3), stride=2, padding=2),
        call(d(1, 2, 7), d(2, 1, 2), None, 3, 1, 2, 2),
        call(d(2, 1, 5), d(2, 1, 4), d(2), padding="same"),
        call(d(2, 1, 5), d(2, 1, 2), padding="valid", stride=2),
        call(d(0, 2, 5), d(3, 2, 2), d(3)),
        call(d(1, 1, 1), d(1, 1, 3), padding=9, dilation=9),
        call(d(3, 5, 70), d(4, 5, 3), d(4), padding=1),
        wrong(d(5), d(1, 1, 2)),
        wrong(d(1, 2, 5), d(1, 1, 2)),
        wrong(d(1, 1, 5), d(1, 1, 6)),
    ]


def _conv2d(d: Draw) -> list[Sample]:
    x, w = d(1, 1, 3, 4), d(2, 1, 2, 2)
    return [
        call(x, w),
        call(x, w, d(2), padding=1),
        call(x, w, d(2), stride=2, padding=(1, 2), dilation=(2, 1)),
        call(d(2, 3, 3), d(2, 2, 2, 1), stride=(1, 2)),
        call(d(1, 4, 3, 2), d(4, 1, 2, 2), d(4), groups=4),
        call(d(1, 2, 3, 2), d(4, 1, 2, 2), groups=2, padding=1),
        call(x, d(1, 1, 2, 3), None, 1, "same"),
        call(x, d(1, 1, 3, 2), None, padding="same", dilation=(1, 2)),
        call(d(2, 3, 12, 17), d(5, 3, 3, 3), d(5), padding=1),
        call(d(2, 7, 9, 11), d(27, 7, 3, 5), stride=3, padding=2),
        call(d(3, 40, 6, 5), d(17, 40, 3, 3), d(17)),
        call(d(1, 2, 40, 50), d(3, 2, 5, 5), dilation=3, padding=6, stride=(2, 3)),
        call(d(2, 6, 19, 21), d(6, 1, 3, 3), d(6), padding=1, groups=6),
        call(d(2, 6, 19, 21), d(12, 1, 3, 3), None, 2, 1, 1, 6),
        call(d(9, 1, 6, 7), d(6, 1, 5, 5), d(6)),
        call(d(2, 3, 4, 4), d(5, 3, 1, 1), d(5), stride=2),
        call(d(0, 3, 4, 4), d(1, 3, 2, 2)),
        wrong(d(1, 3, 4, 4), d(1, 2, 2, 2)),
        wrong(d(1, 3, 4, 4), d(1, 3, 5, 5)),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), d(2)),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2).astype("float64")),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), stride=0),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), padding=-1),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), dilation=0),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), groups=0),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), groups=2),
        wrong(d(1, 4, 4, 4), d(3, 2, 2, 2), groups=2),
        wrong(d(4, 4), d(3, 2, 2, 2)),
        wrong(d(1, 3, 4, 4), d(3, 2, 2)),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), stride=(1, 2, 3)),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), padding="same", stride=2),
        wrong(d(1, 3, 4, 4), d(1, 3, 2, 2), padding="nope"),
        wrong(d(1, 3, 4, 4), d(0, 3, 2, 2)),
        wrong(d(1, 3, 0, 4), d(1, 3, 1, 2)),
        wrong(d(1, 3, 0, 4), d(1, 3, 1, 2), padding=1),
        wrong(d(1, 3, 4, 4), d(1, 3, 0, 2)),
    ]


def _conv3d(d: Draw) -> list[Sample]:
    return [
        call(d(1, 1, 2, 3, 2), d(2, 1, 2, 2, 1)),
        call(d(1, 2, 2, 2, 3), d(2, 1, 1, 2, 2), d(2), (1, 1, 2), 1, 1, 2),
        call(d(1, 2, 2, 2), d(1, 1, 2, 1, 2), padding="same"),
        call(d(2, 3, 5, 6, 7), d(4, 3, 3, 2, 3), d(4), stride=2, padding=(2, 1, 0)),
        wrong(d(1, 1, 2, 3, 2), d(2, 1, 2, 2)),
    ]


def _transposed1d(d: Draw) -> list[Sample]:
    return [
        call(d(1, 2, 3), d(2, 1, 2)),
        call(d(2, 1, 3), d(1, 2, 3), d(2), stride=2, padding=1, output_padding=1),
        call(d(2, 3), d(2, 1, 2), None, 3, 0, 0, 2, 2),
        call(d(3, 4, 9), d(4, 5, 3), d(5), stride=3),
        wrong(d(1, 2, 3), d(3, 1, 2)),
    ]


def _transposed2d(d: Draw) -> list[Sample]:
    return [
        call(d(1, 1, 2, 3), d(1, 2, 2, 2), d(2)),
        call(d(1, 2, 2, 2), d(2, 1, 2, 3), stride=2, padding=1, groups=2),
        call(d(1, 2, 3), d(1, 1, 3, 2), stride=(2, 3), output_padding=(1, 2)),
        call(d(2, 6, 5, 7), d(6, 4, 3, 3), d(4), 2, 1, 1, 1, 2),
        call(d(2, 6, 5, 7), d(6, 2, 2, 2), d(6), 3, groups=3),
        call(d(0, 3, 4, 4), d(3, 2, 2, 2)),
        wrong(d(1, 3, 4, 4), d(3, 2, 2, 2), output_padding=1),
        wrong(d(1, 3, 4, 4), d(2, 2, 2, 2)),
        wrong(d(1, 3, 4, 4), d(3, 2, 2, 2), d(3)),
        wrong(d(1, 3, 1, 1), d(3, 2, 2, 2), padding=1),
        wrong(d(1, 3, 4, 4), d(3, 2, 2, 2), output_padding=-1),
    ]


def _transposed3d(d: Draw) -> list[Sample]:
    return [
        call(d(1, 1, 2, 1, 2), d(1, 2, 2, 2, 1), d(2)),
        call(d(2, 2, 2, 3), d(2, 3, 2, 3, 2), stride=2, padding=1, output_padding=(0, 1, 0)),
    ]


def _distinct(d: Draw, *shape: int) -> Any:
    """No two elements close to each other: the best must not change with a step."""
    n = 1
    for size in shape:
        n *= size
    return (d.rng.permutation(n).reshape(shape) - n // 2).astype(d.dtype)


def _pools(axes: int, more: Callable[[Draw], list[Sample]] | None = None) -> Any:
    """Samples that max_pool and avg_pool share."""
    last = (4, 5, 3)[-axes:] if axes > 1 else (7,)

    def samples(d: Draw) -> list[Sample]:
        x = _distinct(d, 2, 1, *last)
        return [
            call(x, 2),
            call(x, 2, 1),
            call(_distinct(d, 2, *last), 3, 2, 1),
            call(x, (3, 2, 2)[:axes], stride=(1, 2, 1)[:axes], padding=1, ceil_mode=True),
            call(x, 2, ceil_mode=True),
            call(_distinct(d, 0, 2, *last), 2),
            call(_distinct(d, 2, 3, *(n * 5 for n in last)), 3, 2),
            call(_distinct(d, 2, 3, *(n * 6 for n in last)), 2),
            wrong(x, 0),
            wrong(x, 9),
            wrong(x, 2, padding=2),
            wrong(x, 2, 0),
            *(more(d) if more else []),
        ]

    return samples


def _max_more(axes: int) -> Callable[[Draw], list[Sample]]:
    last = (6, 5, 5)[-axes:]

    def samples(d: Draw) -> list[Sample]:
        x = _distinct(d, 1, 2, *last)
        return [
            call(x, 2, dilation=2),
            call(x, 2, 1, 1, 3, return_indices=True),
            call(x, 3, return_indices=True, ceil_mode=True, padding=1),
            wrong(x, 2, dilation=0),
            wrong(d(*last[1:]), 2),
        ]

    return samples


def _avg_more(axes: int) -> Callable[[Draw], list[Sample]]:
    last = (4, 5, 3)[-axes:]

    def samples(d: Draw) -> list[Sample]:
        x = d(1, 2, *last)
        given = [call(x, 3, 2, 1, count_include_pad=False)]
        given += [call(x, 2, 2, 1, ceil_mode=True, count_include_pad=False)]
        if axes > 1:
            given += [call(x, 2, divisor_override=-3), wrong(x, 2, divisor_override=0)]
        return given

    return samples


def _adaptive(axes: int) -> Callable[[Draw], list[Sample]]:
    def samples(d: Draw) -> list[Sample]:
        x = _distinct(d, 1, 2, *(5, 4, 3)[-axes:])
        sizes = [(1,) * axes, (2, 3, 2)[:axes], (5, 4, 3)[-axes:], (7, 2, 4)[:axes]]
        return [
            *(call(x, list(size)) for size in sizes),
            call(_distinct(d, 3, *(6,) * axes), [3] * axes),
            call(_distinct(d, 0, 2, *(6,) * axes), [3] * axes),
        ]

    return samples


def _adaptive_any(d: Draw) -> list[Sample]:
    return [
        *_adaptive(1)(d),
        *_adaptive(2)(d),
        *_adaptive(3)(d),
        wrong(d(1, 2, 3, 4), [-1, 2]),
    ]


def _adaptive_oracle(name: str, **how: Any) -> Callable[[Any], Callable[..., Any]]:
    return lambda torch: (
        lambda x, size: getattr(torch.nn.functional, f"{name}{len(size)}d")(x, size, **how)
    )


def _functional(name: str) -> Callable[[Any], Callable[..., Any]]:
    return lambda torch: getattr(torch.nn.functional, name)


def _quiet(name: str) -> Callable[[Any], Callable[..., Any]]:
    """PyTorch's function without its remarks on what padding='same' costs it."""

    def oracle(torch: Any) -> Callable[..., Any]:
        def fn(*args: Any, **kwargs: Any) -> Any:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return getattr(torch, name)(*args, **kwargs)

        return fn

    return oracle


more: dict[str, Any] = {"rtol": 512, "dtypes": FLOATS, "refuses": ("int64", "bool")}

ROWS: tuple[Row, ...] = (
    structured("conv1d", _conv1d, torch=_quiet("conv1d"), third=True, **more),
    structured("conv2d", _conv2d, torch=_quiet("conv2d"), **more),
    structured("conv3d", _conv3d, torch=_quiet("conv3d"), **more),
    structured("conv_transpose1d", _transposed1d, **more),
    structured("conv_transpose2d", _transposed2d, **more),
    structured("conv_transpose3d", _transposed3d, **more),
    *(
        structured(
            f"max_pool{axes}d",
            _pools(axes, _max_more(axes)),
            torch=_functional(f"max_pool{axes}d"),
            dtypes=("float32", "float64", "int64"),
            extends=("int64",),
        )
        for axes in (1, 2, 3)
    ),
    *(
        structured(
            f"avg_pool{axes}d",
            _pools(axes, _avg_more(axes)),
            torch=_functional(f"avg_pool{axes}d"),
            **more,
        )
        for axes in (1, 2, 3)
    ),
    structured(
        "_adaptive_avg_pool", _adaptive_any, torch=_adaptive_oracle("adaptive_avg_pool"), **more
    ),
    structured(
        "_adaptive_max_pool",
        _adaptive_any,
        torch=_adaptive_oracle("adaptive_max_pool", return_indices=True),
        **more,
    ),
)
