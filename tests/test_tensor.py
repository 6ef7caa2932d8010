"""The Tensor type: making, indexing, converting, showing, copying; memory and neighbours."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import re
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

DTYPES = ("float32", "float64", "int64", "bool")
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
NAN, INF = float("nan"), float("inf")


def name(t: Any) -> str:
    return str(t.dtype).rpartition(".")[2]


def grid(*shape: int, dtype: str = "float32") -> Any:
    """0, 1, 2, ... as an array."""
    return np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(dtype)


def assert_array(t: wg.Tensor, a: Any) -> None:
    np.testing.assert_array_equal(t.numpy(), np.asarray(a), strict=True)


# --- making ------------------------------------------------------------------------------------

DATA = [
    1,
    1.5,
    True,
    [1, 2],
    [1, 2.5],
    [True, False],
    [True, 2],
    [[1, 2], [3, 4]],
    [],
    [[]],
    [[], []],
    [[[1.0]]],
    (1, 2),
    [(1, 2), [3, 4]],
    2**62,
    -(2**63),
    NAN,
    [INF, 1],
    np.float32(2),
    np.int64(3),
    np.bool_(True),
    [np.float64(1), 2],
    np.ones((2, 0)),
    np.ones(3, "float32"),
    np.array(4),
    [np.ones(2), np.zeros(2)],
]


@needs_torch
@pytest.mark.filterwarnings("ignore:Creating a tensor from a list of numpy")
@pytest.mark.parametrize("data", DATA, ids=lambda d: repr(d)[:30])
def test_tensor_from_data(data: Any) -> None:
    got, want = wg.tensor(data), torch.tensor(data)
    assert name(got) == name(want)
    assert_array(got, want.numpy())


@each_dtype
def test_tensor_of_a_given_dtype(dtype: str) -> None:
    for data in ([0, 1, 3], [0.0, 2.7], [True, False], np.array([1.5, 0.0])):
        assert_array(wg.tensor(data, dtype=getattr(wg, dtype)), np.array(data).astype(dtype))


def test_tensor_copies_and_as_tensor_shares() -> None:
    a = np.zeros(3, "float32")
    copied, shared = wg.tensor(a), wg.as_tensor(a)
    a[0] = 7
    assert copied[0].item() == 0
    assert shared[0].item() == 7
    assert wg.as_tensor(shared) is shared
    assert wg.as_tensor(a, dtype=wg.float64).dtype is wg.float64
    assert wg.as_tensor([1, 2]).tolist() == [1, 2]
    t = wg.tensor([1.0, 2.0], requires_grad=True)
    assert wg.tensor(t).requires_grad is False


def test_nested_tensors_as_data() -> None:
    assert wg.tensor([wg.tensor(1.0), wg.tensor(2.0)]).tolist() == [1, 2]
    assert wg.tensor([wg.tensor(1), 2]).dtype is wg.int64


def test_full_of_bool() -> None:
    assert wg.full((2,), True).dtype is wg.bool


ARANGES = [
    (5,),
    (0,),
    (2, 7),
    (5, 2, -1),
    (0, 1, 0.25),
    (1.0,),
    (0, 10, 3),
    (1, 2, 0.3),
    (-3, 3, 2),
    (0.0, 1.0, 0.1),
    (3, 3),
]


@needs_torch
@pytest.mark.parametrize("args", ARANGES)
def test_arange(args: tuple[Any, ...]) -> None:
    got, want = wg.arange(*args), torch.arange(*args)
    assert name(got) == name(want)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, strict=True)


@each_dtype
def test_creation_of_a_dtype(dtype: str) -> None:
    d = getattr(wg, dtype)
    for f, value in ((wg.zeros, 0), (wg.ones, 1)):
        assert_array(f(2, 3, dtype=d), np.full((2, 3), value, dtype))
    assert wg.empty(0, 4, dtype=d).shape == (0, 4)
    assert_array(wg.full_like(wg.zeros(2), 1, dtype=d), np.ones(2, dtype))


def test_default_dtype() -> None:
    wg.set_default_dtype(wg.float64)
    try:
        assert wg.tensor(1.5).dtype is wg.zeros(1).dtype is wg.rand(1).dtype is wg.float64
        assert (wg.tensor(1) / 2).dtype is wg.float64
    finally:
        wg.set_default_dtype(wg.float32)
    with pytest.raises(TypeError):
        wg.set_default_dtype(wg.int64)


def test_the_old_constructor() -> None:
    assert wg.Tensor().shape == (0,)
    assert wg.Tensor(2, 3).shape == (2, 3)
    assert wg.Tensor([1, 2]).dtype is wg.float32
    assert isinstance(wg.nn.Parameter(wg.zeros(2)), wg.Tensor)


# --- properties --------------------------------------------------------------------------------


def test_properties() -> None:
    t = wg.zeros(2, 3, 4, dtype=wg.float64)
    assert (t.shape, t.ndim, t.dim(), t.numel(), len(t)) == ((2, 3, 4), 3, 3, 24, 2)
    assert isinstance(t.shape, wg.Size)
    assert t.shape.numel() == 24
    assert repr(t.shape) == "wengert.Size([2, 3, 4])"
    assert (t.size(), t.size(-1), t.stride(), t.stride(0)) == ((2, 3, 4), 4, (12, 4, 1), 12)
    assert (t.itemsize, t.nbytes, t.storage_offset()) == (8, 192, 0)
    assert (t.device, str(t.device), t.device.type) == (wg.device("cpu"), "cpu", "cpu")
    assert (t.dtype, repr(t.dtype), t.dtype.itemsize) == (wg.float64, "wengert.float64", 8)
    assert t.is_contiguous()
    assert not t.mT.is_contiguous()
    assert t.T.shape == wg.zeros(4, 3, 2).shape
    assert (t.mT.shape, t.permute(2, 0, 1).stride()) == ((2, 4, 3), (1, 12, 4))
    assert (wg.float, wg.double, wg.long) == (wg.float32, wg.float64, wg.int64)


def test_stride_is_a_plain_tuple_and_does_not_leak() -> None:
    t = wg.zeros(2, 3)
    assert type(t.stride()) is tuple
    before = len(gc.get_objects())
    for _ in range(1000):
        t.stride()
    assert len(gc.get_objects()) < before + 500


def test_identity_hash_and_attributes() -> None:
    t = wg.zeros(2)
    t.note = "mine"  # type: ignore[attr-defined]
    assert {t: 1}[t] == 1
    assert t.note == "mine"  # type: ignore[attr-defined]
    assert t.requires_grad_() is t
    assert t.contiguous() is t
    assert t.to(wg.float32) is t
    assert t.to(wg.float32, copy=True) is not t
    assert t.detach() is not t


@pytest.mark.parametrize("value", [3, 2.5, True, -1, 0])
def test_scalars(value: Any) -> None:
    for t in (wg.tensor(value), wg.tensor([[value]])):
        assert t.item() == value
        assert type(t.item()) is type(value)
        assert bool(t) is bool(value)
        assert int(t) == int(value)
        assert float(t) == float(value)
    if isinstance(value, int):
        assert [10, 11, 12, 13][wg.tensor(value)] == [10, 11, 12, 13][value]


@each_dtype
def test_tolist(dtype: str) -> None:
    for a in (
        grid(dtype=dtype),
        grid(3, dtype=dtype),
        grid(2, 3, dtype=dtype),
        grid(2, 0, dtype=dtype),
    ):
        assert wg.from_numpy(a).tolist() == a.tolist()
        assert wg.from_numpy(a).T.tolist() == a.T.tolist()


def test_iteration_and_membership() -> None:
    t = wg.tensor([[1, 2], [3, 4]])
    assert [row.tolist() for row in t] == [[1, 2], [3, 4]]
    first, _ = t
    first[0] = 9
    assert t[0, 0].item() == 9
    assert 3 in t
    assert 7 not in t


# --- indexing ----------------------------------------------------------------------------------

BASIC = [
    0,
    -1,
    slice(None),
    slice(1, 3),
    slice(None, None, 2),
    slice(1, None, 3),
    slice(-2, None),
    slice(5, 2),
    slice(0, 100),
    None,
    ...,
    (),
    (0, 1),
    (0, 1, 2),
    (slice(None), 1),
    (..., 0),
    (0, ...),
    (slice(None), None, 1),
    (None, ..., None),
    (slice(1, 2), slice(0, 2), slice(None, None, 2)),
    (-1, slice(None), -2),
    (..., slice(1, 3)),
    (np.int64(1),),
    (slice(np.int64(0), np.int64(2)),),
]


@pytest.mark.parametrize("index", BASIC, ids=repr)
def test_basic_indexing(index: Any) -> None:
    a = grid(4, 3, 5)
    t = wg.from_numpy(a.copy())
    picked = t[index]
    assert_array(picked, a[index])
    if picked.numel():
        assert t.data_ptr() <= picked.data_ptr() < t.data_ptr() + t.nbytes
    b = a.copy()
    b[index] = -1
    t[index] = -1
    assert_array(t, b)


@pytest.mark.parametrize("index", BASIC, ids=repr)
def test_assignment_broadcasts(index: Any) -> None:
    a = grid(4, 3, 5)
    t = wg.from_numpy(a.copy())
    value = np.asarray(np.array(a[index][..., :1] if np.ndim(a[index]) else a[index]) + 100)
    a[index] = value
    t[index] = wg.from_numpy(value)
    assert_array(t, a)


@pytest.mark.parametrize("kind", [list, wg.tensor, np.array])
@pytest.mark.parametrize("rows", [[0, 2], [-1], [2, 2, 0], [[0, 1], [3, 2]]], ids=repr)
def test_rows_by_integers(rows: list[Any], kind: Any) -> None:
    a = grid(4, 3)
    assert_array(wg.from_numpy(a)[kind(rows)], a[np.array(rows)])


def test_no_rows() -> None:
    assert wg.zeros(4, 3)[[]].shape == (0, 3)
    assert wg.zeros(4, 3)[wg.tensor([], dtype=wg.int64)].shape == (0, 3)


def test_zero_dimensional_tensor_as_index() -> None:
    a = grid(4, 3)
    t = wg.from_numpy(a)
    at = wg.tensor(2)
    assert_array(t[at], a[2])
    assert_array(t[1:, at], a[1:, 2])
    assert_array(t[at : at + 1], a[2:3])
    t[at, 0] = 50.0
    assert t[2, 0].item() == 50


def test_assignment_casts_and_takes_arrays() -> None:
    t = wg.zeros(2, 3, dtype=wg.int64)
    t[0] = 2.9
    t[1] = wg.tensor([1.5, 2.5, 3.5])
    assert t.tolist() == [[2, 2, 2], [1, 2, 3]]
    t[:, 0] = np.array([7, 8])
    t[:, 1] = [5, 6]
    assert t.tolist() == [[7, 5, 2], [8, 6, 3]]


def test_assignment_from_overlapping_memory() -> None:
    t = wg.arange(6)
    t[1:] = t[:-1]
    assert t.tolist() == [0, 0, 1, 2, 3, 4]
    m = wg.arange(9).reshape(3, 3)
    m.copy_(m.t())
    assert m.tolist() == [[0, 3, 6], [1, 4, 7], [2, 5, 8]]
    x = wg.arange(6)
    x[1:].add_(x[:-1])
    assert x.tolist() == [0, 1, 3, 5, 7, 9]


def test_views_share_memory_and_versions() -> None:
    t = wg.zeros(2, 3)
    views = [
        t[0],
        t.view(6),
        t.t(),
        t.reshape(3, 2),
        t.detach(),
        t.expand(2, 2, 3),
        t.data,
        t[None],
    ]
    before = t._version
    t.fill_(3)
    assert all(v.max().item() == 3 for v in views)
    assert t._version == before + 1
    assert views[0]._version == t._version
    views[1][0] = 8
    assert t[0, 0].item() == 8
    assert views[0]._base is t
    assert t._base is None
    assert t.clone().data_ptr() != t.data_ptr()


# --- text --------------------------------------------------------------------------------------

SHOWN = [
    0.0,
    1.5,
    [1.0, 2.0],
    [1, 2, 300],
    [True, False],
    [],
    [[]],
    [[1.0, 2.5], [3.0, 4.0]],
    [0.1, 1000.0],
    [1e-5, 1.0],
    [1e10, 1.0],
    [NAN, 1.0],
    [INF, -INF],
    [[NAN, INF]],
    [-1, 10],
    [1e8, 2e8],
    [1.0, 1e9],
    [0.0, -0.0],
    [1 / 3],
    [[[1, 2], [3, 4]], [[5, 6], [7, 8]]],
    [123456.0, 0.5],
    [1000000.0],
]


def assert_text(ours: str, theirs: str) -> None:
    """Equal but for the names of dtypes, whose length may decide where a line ends."""
    assert re.sub(r",\s+dtype=wengert", ", dtype=torch", ours) == re.sub(
        r",\s+dtype=", ", dtype=", theirs
    )


@needs_torch
@pytest.mark.parametrize("data", SHOWN, ids=repr)
def test_repr(data: Any) -> None:
    assert_text(repr(wg.tensor(data)), repr(torch.tensor(data)))
    assert_text(str(wg.tensor(data)), str(torch.tensor(data)))


@needs_torch
@pytest.mark.parametrize(
    "shape", [(1001,), (30, 40), (2, 3, 4), (7, 200), (101, 2, 6), (2, 0, 3), (100,)]
)
@pytest.mark.parametrize("dtype", DTYPES)
def test_repr_of_shapes(shape: tuple[int, ...], dtype: str) -> None:
    a = (grid(*shape) - 5).astype(dtype)
    assert_text(repr(wg.from_numpy(a)), repr(torch.from_numpy(a)))


@needs_torch
def test_repr_says_what_requires_grad() -> None:
    assert repr(wg.ones(2, requires_grad=True)) == repr(torch.ones(2, requires_grad=True))
    assert "grad_fn=<" in repr(wg.ones(2, requires_grad=True) * 2)
    assert repr(wg.nn.Parameter(wg.ones(1))) == repr(torch.nn.Parameter(torch.ones(1)))


def test_format() -> None:
    assert f"{wg.tensor(1.23456):.2f}" == "1.23"
    assert f"{wg.tensor(7):>4}" == "   7"
    assert f"{wg.tensor([1])}" == "tensor([1])"


# --- neighbours --------------------------------------------------------------------------------


@each_dtype
def test_numpy_both_ways_without_a_copy(dtype: str) -> None:
    a = grid(2, 3, dtype=dtype)
    t = wg.from_numpy(a)
    back = t.numpy()
    assert np.shares_memory(a, back)
    assert np.shares_memory(a, t.t().numpy())
    t.zero_()
    assert not a.any()
    assert np.asarray(t).dtype == a.dtype
    del t
    assert not back.any()  # the memory outlives the tensor


def test_numpy_of_strided_memory() -> None:
    a = grid(6, 4)[1::2, ::2]
    assert wg.from_numpy(a).stride() == (8, 2)
    assert_array(wg.from_numpy(a), a)
    assert_array(
        wg.from_numpy(np.broadcast_to(grid(3), (2, 3)).copy()), np.broadcast_to(grid(3), (2, 3))
    )


def test_empty_arrays_can_be_written() -> None:
    wg.from_numpy(np.zeros((2, 0, 3))).zero_()


@needs_torch
@each_dtype
def test_dlpack_both_ways_without_a_copy(dtype: str) -> None:
    ours = wg.from_numpy(grid(2, 3, dtype=dtype))
    theirs = torch.from_dlpack(ours)
    assert theirs.data_ptr() == ours.data_ptr()
    theirs[0, 0] = 1
    assert ours[0, 0].item() == 1
    back = wg.from_dlpack(theirs.t())
    assert (back.data_ptr(), back.shape) == (ours.data_ptr(), (3, 2))
    assert np.shares_memory(np.from_dlpack(ours), ours.numpy())


NUMPY_OPERANDS = [np.float32(2), np.float64(2.5), np.int64(3), np.bool_(True), grid(3), grid(2, 3)]


@pytest.mark.parametrize("other", NUMPY_OPERANDS, ids=repr)
def test_numpy_operands(other: Any) -> None:
    t = wg.from_numpy(grid(2, 3) + 1)
    for result, want in ((t * other, t.numpy() * other), (other + t, other + t.numpy())):
        assert isinstance(result, wg.Tensor)
        np.testing.assert_allclose(result.numpy(), want)


def test_numpy_functions_take_tensors() -> None:
    t = wg.tensor([1.0, 4.0])
    assert np.sqrt(np.asarray(t)).tolist() == [1, 2]
    assert np.asarray(t, "float64").dtype == np.float64
    assert not np.shares_memory(np.array(t), t.numpy())


# --- copying -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "copier",
    [
        copy.deepcopy,
        lambda t: pickle.loads(pickle.dumps(t)),
    ],
    ids=["deepcopy", "pickle"],
)
@pytest.mark.parametrize(
    "make",
    [
        lambda: wg.tensor(2.5),
        lambda: wg.arange(6).reshape(2, 3).t(),
        lambda: wg.zeros(0, 2),
        lambda: wg.ones(2, requires_grad=True),
        lambda: wg.nn.Parameter(wg.ones(2, 2)),
        lambda: wg.tensor([True, False]),
    ],
)
def test_copies(copier: Any, make: Any) -> None:
    t = make()
    made = copier(t)
    assert type(made) is type(t)
    assert (made.dtype, made.requires_grad) == (t.dtype, t.requires_grad)
    assert_array(made.detach(), t.detach().numpy())
    if t.numel():
        assert made.data_ptr() != t.data_ptr()


def test_deepcopy_keeps_sharing_and_gradients() -> None:
    p = wg.ones(2, requires_grad=True)
    (p * 3).sum().backward()
    a, b = copy.deepcopy([p, p])
    assert a is b
    assert a.grad.tolist() == [3, 3]


def test_copies_of_dtypes_and_results() -> None:
    assert pickle.loads(pickle.dumps(wg.float64)) is wg.float64
    assert pickle.loads(pickle.dumps(wg.device("cpu"))) == wg.device("cpu")
    p = wg.ones(2, requires_grad=True)
    with pytest.raises(RuntimeError, match="graph leaves"):
        copy.deepcopy(p * 2)
    assert pickle.loads(pickle.dumps(p * 2)).is_leaf


# --- memory ------------------------------------------------------------------------------------


def test_data_looks_at_other_memory() -> None:
    p = wg.zeros(2, requires_grad=True)
    p.data.add_(1)
    assert p.tolist() == [1, 1]
    p.data = wg.tensor([[5.0]])
    assert (p.tolist(), p.requires_grad, p.is_leaf) == ([[5]], True, True)
    (p * 2).sum().backward()
    assert p.grad.tolist() == [[2]]


def test_freed_memory_is_counted_and_used_again() -> None:
    wg.empty_cache()
    before = wg.memory_stats()
    t = wg.zeros(1000)
    held = wg.memory_stats()
    assert held["current_bytes"] >= before["current_bytes"] + 4000
    assert held["peak_bytes"] >= held["current_bytes"]
    address = t.data_ptr()
    del t
    after = wg.memory_stats()
    assert after["current_bytes"] == before["current_bytes"]
    assert after["current_blocks"] == before["current_blocks"]
    # AddressSanitizer keeps freed memory apart
    assert wg.zeros(1000).data_ptr() == address or "libasan" in os.environ.get("LD_PRELOAD", "")
    assert wg.zeros(3).data_ptr() % 64 == 0


@pytest.mark.parametrize(
    "text",
    [
        "x += 1",
        "x -= 2",
        "x *= 3",
        "x /= 2",
        "x.add_(1, alpha=2)",
        "x.fill_(4)",
        "x[0] = 1",
        "x.copy_(2)",
        "x.relu_()",
    ],
)
def test_inplace_operations_keep_the_tensor(text: str) -> None:
    x = wg.tensor([1.0, -2.0])
    same, view, version = x, x[0:1], x._version
    names = {"x": x}
    exec(text, names)
    assert names["x"] is same
    assert x._version == version + 1
    assert view[0].item() == x[0].item()
