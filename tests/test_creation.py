"""Tensors from shapes, ranges and data; what is to be known about dtypes."""

from __future__ import annotations

import copy
import itertools
import math
import pickle
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

NAMES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
)  # fmt: skip
each_dtype = pytest.mark.parametrize("name", NAMES)


def same(ours: Any, theirs: Any) -> None:
    assert str(ours.dtype).rpartition(".")[2] == str(theirs.dtype).rpartition(".")[2]
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.requires_grad == theirs.requires_grad
    assert ours.tolist() == theirs.tolist()


@needs_torch
@each_dtype
@pytest.mark.parametrize(
    "make",
    [
        lambda m, d: m.eye(3, 2, dtype=d),
        lambda m, d: m.linspace(0, 10, 6, dtype=d),
        lambda m, d: m.linspace(7, 0, 4, dtype=d).to(m.int64),
        lambda m, d: m.logspace(0, 2, 3, dtype=d),
        lambda m, d: m.tril_indices(3, 4, 1, dtype=d),
        lambda m, d: m.vander(m.tensor([1, 2, 3]).to(d)),
        lambda m, d: m.ones(2).new_zeros(2, 3, dtype=d),
        lambda m, d: m.ones(2).to(d).new_full((2,), 1),
        lambda m, d: m.ones(2).to(d).new_ones(2, device="cpu"),
        lambda m, d: m.ones(2).to(d).new_tensor([0, 1]),
        lambda m, d: m.zeros_like(m.ones(2), dtype=d, device="cpu"),
        lambda m, d: m.full_like(m.ones(2), 1, dtype=d, memory_format=m.preserve_format),
        lambda m, d: m.scalar_tensor(1, dtype=d),
        lambda m, d: m.zeros(2, dtype=d, layout=m.strided, pin_memory=False),
        lambda m, d: m.asarray([0, 1], dtype=d),
        lambda m, d: m.arange(3, dtype=d, pin_memory=False) if d is not m.bool else m.eye(1),
    ],
)
def test_every_dtype(make: Any, name: str) -> None:
    try:
        want = make(torch, getattr(torch, name))
    except (RuntimeError, TypeError) as refusal:
        with pytest.raises((type(refusal), *type(refusal).__bases__)):
            make(wg, getattr(wg, name))
        return
    same(make(wg, getattr(wg, name)), want)


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.eye(2, requires_grad=True),
        lambda m: m.linspace(0, 1, 3, requires_grad=True),
        lambda m: m.logspace(0, 1, 2, requires_grad=True),
        lambda m: m.ones_like(m.ones(2), requires_grad=True),
        lambda m: m.ones(2).new_zeros(2, requires_grad=True),
        lambda m: m.ones(2).new_tensor([1.0], requires_grad=True),
        lambda m: m.scalar_tensor(2, requires_grad=True),
        lambda m: m.asarray([1.0, 2], requires_grad=True),
        lambda m: m.tensor([1.0], requires_grad=True, pin_memory=False),
        lambda m: m.linspace(m.tensor(0.0), m.tensor(1.0), 3),
        lambda m: m.eye(2, out=m.empty(2, 2)),
        lambda m: m.full((2,), 3, out=m.empty(2)),
    ],
)
def test_keywords(make: Any) -> None:
    same(make(wg), make(torch))


def test_linspace_meets_both_ends() -> None:
    for dtype in (wg.float32, wg.float64, wg.float16):
        x = wg.linspace(-1 / 3, 0.7, 40_001, dtype=dtype)
        ends = wg.tensor([-1 / 3, 0.7], dtype=dtype)
        assert (x[0] == ends[0]).item()
        assert (x[-1] == ends[1]).item()
        assert (x[1:] >= x[:-1]).all()


def test_triangles_of_few_indices_in_huge_matrices() -> None:
    far = 10**18
    assert wg.tril_indices(far, 1, -far + 2).tolist() == [[far - 2, far - 1], [0, 0]]
    assert wg.triu_indices(far, 2, 0).tolist() == [[0, 0, 1], [0, 1, 1]]
    assert wg.triu_indices(far, 0).shape == (2, 0)


def test_asarray_shares_where_it_can() -> None:
    a = np.arange(3.0)
    t = wg.asarray(a)
    t[0] = 5
    assert a[0] == 5
    assert wg.asarray(t) is t
    assert wg.asarray(t, copy=True).data_ptr() != t.data_ptr()
    assert wg.asarray(a, copy=True).data_ptr() != a.ctypes.data
    assert wg.asarray(b"\x01\x02", dtype=wg.uint8).tolist() == [1, 2]
    with pytest.raises(ValueError, match="float32"):
        wg.asarray(a, dtype=wg.float32, copy=False)


@needs_torch
def test_limits() -> None:
    for name in ("float16", "bfloat16", "float32", "float64"):
        ours, theirs = wg.finfo(getattr(wg, name)), torch.finfo(getattr(torch, name))
        for field in ("bits", "eps", "max", "min", "tiny", "smallest_normal", "dtype"):
            assert getattr(ours, field) == getattr(theirs, field), (name, field)
        assert ours.resolution == pytest.approx(theirs.resolution)
        assert repr(ours) == repr(theirs)
    for name in ("uint8", "int8", "int16", "int32", "int64"):
        ours, theirs = wg.iinfo(getattr(wg, name)), torch.iinfo(getattr(torch, name))
        for field in ("bits", "max", "min", "dtype"):
            assert getattr(ours, field) == getattr(theirs, field)
    assert wg.finfo() == wg.finfo(wg.float32) != wg.finfo(wg.float64)
    assert wg.iinfo(wg.int8) == wg.iinfo(wg.int8)


@needs_torch
@pytest.mark.parametrize(("a", "b"), list(itertools.product(NAMES, NAMES)))
def test_types_promote(a: str, b: str) -> None:
    ours, theirs = [(getattr(m, a), getattr(m, b)) for m in (wg, torch)]
    assert str(wg.promote_types(*ours)) == f"wengert.{str(torch.promote_types(*theirs))[6:]}"
    assert wg.can_cast(*ours) == torch.can_cast(*theirs)
    assert ours[0].is_signed == theirs[0].is_signed


def test_properties() -> None:
    x = wg.ones(2, 3)
    assert wg.is_floating_point(x)
    assert not wg.is_complex(x)
    assert not x.to(wg.int8).is_floating_point()
    assert x.is_signed()
    assert not x.bool().is_signed()
    assert wg.is_same_size(x, x + 1)
    assert not wg.is_same_size(x, x.t())
    assert wg.numel(x) == 6
    assert wg.is_nonzero(wg.tensor([2.0]))
    assert str(wg.result_type(x, 1.5)) == "wengert.float32"
    assert wg.result_type(1, 2.5) is wg.float32
    assert (wg.pi, wg.e, wg.inf, wg.newaxis) == (math.pi, math.e, math.inf, None)
    assert math.isnan(wg.nan)
    assert x[wg.newaxis].shape == (1, 2, 3)


@pytest.mark.parametrize("each", [wg.strided, wg.preserve_format, wg.contiguous_format], ids=str)
def test_layouts_are_constants(each: Any) -> None:
    assert pickle.loads(pickle.dumps(each)) is each
    assert copy.deepcopy(each) is each
    assert repr(each).startswith("wengert.")
