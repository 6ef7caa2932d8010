"""Which dtype comes out: every pair of dtypes, ranks and Python numbers, against PyTorch."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import torch

if TYPE_CHECKING:
    from collections.abc import Callable

if torch is None:
    pytest.skip("PyTorch, the reference, is not installed", allow_module_level=True)

DTYPES = ("bool", "int64", "float32", "float64")
# An operand: a dtype and a rank, or a Python number.
TENSORS = [(d, rank) for d in DTYPES for rank in (1, 0)]
NUMBERS = (True, 2, 2.5)
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    f.__name__: f
    for f in (
        operator.add,
        operator.mul,
        operator.truediv,
        operator.sub,
        operator.pow,
        operator.eq,
        operator.ne,
        operator.lt,
        operator.le,
        operator.gt,
        operator.ge,
    )
}


def operand(library: Any, spec: Any) -> Any:
    if not isinstance(spec, tuple):
        return spec
    dtype, rank = spec
    return library.ones((2,) * rank, dtype=getattr(library, dtype))


def name(t: Any) -> str:
    return str(t.dtype if hasattr(t, "dtype") else t).rpartition(".")[2]


def text(spec: Any) -> str:
    return f"{spec[0]}[{spec[1]}d]" if isinstance(spec, tuple) else repr(spec)


def is_bool(spec: Any) -> bool:
    return spec is True or (isinstance(spec, tuple) and spec[0] == "bool")


def differs(op: str, a: Any, b: Any) -> bool:
    """Where wengert means to differ: a tensor of bools may be subtracted from a number and a number
    from it; and a power of bools is refused with any exponent, True included.
    """
    bools = is_bool(a) + is_bool(b)
    if op in ("sub", "isub"):
        return bools == 1 and True not in (a, b)
    return bools == 2 and op == "pow"


PAIRS = [
    *itertools.product(TENSORS, TENSORS),
    *itertools.product(TENSORS, NUMBERS),
    *itertools.product(NUMBERS, TENSORS),
]
each_pair = pytest.mark.parametrize(("a", "b"), PAIRS, ids=text)


@pytest.mark.parametrize("default", ["float32", "float64"])
@pytest.mark.parametrize("op", OPERATORS)
@each_pair
def test_operators(op: str, a: Any, b: Any, default: str) -> None:
    wg_default, torch_default = wg.get_default_dtype(), torch.get_default_dtype()
    wg.set_default_dtype(getattr(wg, default))
    torch.set_default_dtype(getattr(torch, default))
    fn = OPERATORS[op]
    try:
        try:
            want = fn(operand(torch, a), operand(torch, b))
            assert not differs(op, a, b) or op == "pow"
        except RuntimeError:
            if op == "sub" and differs(op, a, b):
                got = fn(operand(wg, a), operand(wg, b))
                assert name(got) == name(operand(wg, a) + operand(wg, b))
                return
            want = None
        if want is None or differs(op, a, b):
            with pytest.raises(RuntimeError):
                fn(operand(wg, a), operand(wg, b))
        else:
            got = fn(operand(wg, a), operand(wg, b))
            assert name(got) == name(want)
            np.testing.assert_array_equal(got.numpy(), want.numpy(), strict=True)
    finally:
        wg.set_default_dtype(wg_default)
        torch.set_default_dtype(torch_default)


@pytest.mark.parametrize(("a", "b"), [p for p in PAIRS if isinstance(p[0], tuple)], ids=text)
def test_result_type(a: Any, b: Any) -> None:
    if isinstance(b, tuple):
        got = wg.result_type(operand(wg, a), operand(wg, b))
        assert name(got) == name(torch.result_type(operand(torch, a), operand(torch, b)))


@pytest.mark.parametrize("op", ["add", "sub", "mul", "maximum", "minimum", "div"])
@pytest.mark.parametrize(("a", "b"), list(itertools.product(TENSORS, TENSORS)), ids=text)
def test_functions(op: str, a: Any, b: Any) -> None:
    try:
        want = getattr(torch, op)(operand(torch, a), operand(torch, b))
    except RuntimeError:
        if differs(op, a, b):
            return
        with pytest.raises(RuntimeError):
            getattr(wg, op)(operand(wg, a), operand(wg, b))
    else:
        assert name(getattr(wg, op)(operand(wg, a), operand(wg, b))) == name(want)


INPLACE = (operator.iadd, operator.isub, operator.imul, operator.itruediv)


@pytest.mark.parametrize("op", INPLACE, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("a", "b"), [p for p in PAIRS if isinstance(p[0], tuple)], ids=text)
def test_inplace_operators_keep_the_dtype_or_refuse(op: Any, a: Any, b: Any) -> None:
    try:
        want = op(operand(torch, a), operand(torch, b))
    except RuntimeError:
        if differs(op.__name__, a, b):
            return
        x = operand(wg, a)
        before = x.clone()
        with pytest.raises(RuntimeError):
            op(x, operand(wg, b))
        np.testing.assert_array_equal(x.numpy(), before.numpy())
    else:
        got = op(operand(wg, a), operand(wg, b))
        assert name(got) == name(want)
        np.testing.assert_array_equal(got.numpy(), want.numpy(), strict=True)


@pytest.mark.parametrize(
    ("a", "b"), list(itertools.product(TENSORS, (*TENSORS, *NUMBERS))), ids=text
)
def test_where(a: Any, b: Any) -> None:
    def run(library: Any) -> Any:
        return library.where(
            library.ones(2, dtype=library.bool), operand(library, a), operand(library, b)
        )

    assert name(run(wg)) == name(run(torch))


@pytest.mark.parametrize(("source", "target"), list(itertools.product(DTYPES, DTYPES)))
def test_conversions(source: str, target: str) -> None:
    values = [0, 1, 1, 0] if source == "bool" else [-3, 0, 2, 7]
    got = wg.tensor(values, dtype=getattr(wg, source)).to(getattr(wg, target))
    want = torch.tensor(values, dtype=getattr(torch, source)).to(getattr(torch, target))
    assert name(got) == name(want)
    np.testing.assert_array_equal(got.numpy(), want.numpy(), strict=True)


def test_floats_become_integers_by_cutting_off() -> None:
    assert wg.tensor([-1.7, -0.2, 0.9, 2.5]).long().tolist() == [-1, 0, 0, 2]
    assert wg.tensor([float("nan"), 0.0, -0.0, 1e-30]).bool().tolist() == [True, False, False, True]
