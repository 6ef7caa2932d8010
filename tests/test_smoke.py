"""Every row of the table once through every way of calling it, with nothing compared.

What can fail here is a crash, a hang or an error of a type that no caller expects. Short enough to
run under sanitizers, which see the rest.
"""

from __future__ import annotations

import contextlib
import itertools
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import ROWS, Draw, Row, Sample
from test_ops import EXPOSURE, FUNCTION, INPLACE, converted, forms, relaid, rows, to_wg

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ALL_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32",
              "float64")  # fmt: skip


LAYOUTS = ("transposed", "step", "offset", "expanded")


@contextlib.contextmanager
def refusals() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with contextlib.suppress(RuntimeError, TypeError, ValueError, IndexError):
            yield


def samples(row: Row, dtype: str = "float32") -> list[Sample]:
    """All samples of structured rows, a few shapes of the others."""
    if row.samples is not None:
        return row.samples(Draw(row, dtype))
    return [s for s in row.draw(dtype) if all(np.size(a) <= 100 for a in s.args)][2:]


def results(value: Any) -> list[wg.Tensor]:
    each = value if isinstance(value, (tuple, list)) else [value]
    return [t for t in each if isinstance(t, wg.Tensor)]


def read(value: Any) -> None:
    """Every element is looked at."""
    for t in results(value):
        t.detach().clone().tolist()


@rows()
def test_forward(row: Row) -> None:
    for sample in samples(row):
        for fn in forms(row.name):
            with refusals():
                args, kwargs = converted(sample, to_wg)
                read(fn(*args, **kwargs))


@rows()
def test_every_dtype_on_every_layout(row: Row) -> None:
    for dtype, layout in zip(ALL_DTYPES, itertools.cycle(LAYOUTS), strict=False):
        draw = dtype if dtype in row.dtypes else row.dtypes[0]
        for sample in samples(row, draw)[:4]:

            def operand(a: Any, dtype: str = dtype, layout: str = layout) -> Any:
                t = wg.from_numpy(relaid(a, layout))
                return t if a.dtype.kind != "f" and row.samples else t.to(getattr(wg, dtype))

            with refusals():
                args, kwargs = converted(sample, operand)
                read(forms(row.name)[0](*args, **kwargs))


def differentiable(convert: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def leaf(a: Any) -> Any:
        t = convert(a)
        return t.requires_grad_() if t.dtype.is_floating_point else t

    return leaf


@rows()
def test_backward(row: Row) -> None:
    for sample in samples(row):
        with refusals():
            args, kwargs = converted(sample, differentiable(to_wg))
            out = [t for t in results(forms(row.name)[-1](*args, **kwargs)) if t.requires_grad]
            flat = [t for a in args for t in (a if isinstance(a, list) else [a])]
            leaves = [t for t in flat if isinstance(t, wg.Tensor) and t.requires_grad]
            total = sum((t.sum() * t.sum() for t in out), wg.zeros(()))
            first = wg.autograd.grad(total, leaves, create_graph=True, materialize_grads=True)
            read(first)
            read(wg.autograd.grad(sum(t.sum() for t in first), leaves, materialize_grads=True))


@rows(lambda r: r.name in INPLACE)
def test_inplace(row: Row) -> None:
    for sample in samples(row):
        for convert in (to_wg, lambda a: to_wg(a) * 1, lambda a: wg.from_numpy(relaid(a, "step"))):
            args, kwargs = converted(sample, convert)
            if not isinstance(args[0], wg.Tensor):
                continue
            with refusals():
                read(getattr(args[0], row.name + "_")(*args[1:], **kwargs))
        args, kwargs = converted(sample, differentiable(to_wg))
        with refusals():
            x = args[0] * 1
            if not isinstance(x, wg.Tensor):
                continue
            getattr(x, row.name + "_")(*args[1:], **kwargs)
            x.sum().backward()
            read(args[0].grad)


@rows(lambda r: EXPOSURE[r.name] & FUNCTION)
def test_out(row: Row) -> None:
    for sample in samples(row):
        with refusals():
            args, kwargs = converted(sample, to_wg)
            result = getattr(wg, row.name)(*args, **kwargs)
            many = isinstance(result, tuple)
            fresh = results(result)
            for out in (
                [wg.zeros_like(t) for t in fresh],
                [wg.zeros(0, dtype=t.dtype) for t in fresh],
                [args[0] for _ in fresh],  # an operand
            ):
                with refusals():
                    getattr(wg, row.name)(*args, **kwargs, out=tuple(out) if many else out[0])
                    read(out)


@rows()
def test_arguments_of_wrong_types(row: Row) -> None:
    for wrong in (None, "text", object(), [], 2**70, -1, np.zeros((2, 0)), wg.zeros(2, 2), 1e300):
        for sample in samples(row)[:1]:
            args, kwargs = converted(sample, to_wg)
            for i in range(len(args) + 1):
                with refusals():
                    read(forms(row.name)[-1](*args[:i], wrong, *args[i + 1 :], **kwargs))


@pytest.mark.parametrize("dtype", ["float32", "float64", "int32", "int64", "bool"])
def test_operands_past_a_vector(dtype: str) -> None:
    """Elementwise loops on lengths around the vectors', at addresses that no vector likes."""
    for row in ROWS.values():
        if not row.elementwise:
            continue
        d = Draw(row, dtype if dtype in row.dtypes else "float32")
        for n in (15, 16, 17, 33, 67):
            operands = [to_wg(d(n + 1, operand=i))[1:] for i in range(row.elementwise)]
            with refusals():
                read(forms(row.name)[0](*(x.to(getattr(wg, dtype)) for x in operands)))
