"""Reading and writing by index tensors: in place and out of it, large, masks, reductions."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

if TYPE_CHECKING:
    from collections.abc import Iterator


def array(t: Any) -> Any:
    return t.detach().numpy()


@contextmanager
def quiet() -> Iterator[None]:
    """Without PyTorch's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@needs_torch
@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int8", "bool"])
def test_index_put(dtype: str, accumulate: bool) -> None:
    at = ([0, 2, 1], [1, 1, 0])
    results = []
    for library in (wg, torch):
        kind = getattr(library, dtype)
        t = library.ones(3, 4).to(kind)[:, ::2]
        tensors = tuple(library.tensor(i) for i in at)
        out = t.index_put(tensors, library.tensor([1, 0, 1]).to(kind), accumulate)
        t.index_put_(tensors, library.tensor([1, 0, 1]).to(kind), accumulate=accumulate)
        assert out.tolist() == t.tolist()
        results.append((str(out.dtype).rpartition(".")[2], out.tolist()))
    assert results[0] == results[1]


def test_index_put_takes_none() -> None:
    t = wg.zeros(2, 3).index_put((None, wg.tensor([0, 2])), wg.tensor([1.0, 2.0]))
    assert t.tolist() == [[1.0, 0.0, 2.0], [1.0, 0.0, 2.0]]


# --- in place ----------------------------------------------------------------------------------

WRITES = [
    ("scatter_", (1, [[0, 2], [2, 1]], "v")),
    ("scatter_", (1, [[0, 2], [2, 1]], 5.0)),
    ("scatter_add_", (0, [[0, 1], [1, 1]], "v")),
    ("index_add_", (1, [1, 1], "v")),
    ("index_copy_", (1, [2, 0], "v")),
    ("index_fill_", (1, [2, 0], 3.0)),
    ("put_", ([[0, 5], [2, 2]], "v", True)),
]


@needs_torch
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32", "uint8"])
@pytest.mark.parametrize(("name", "args"), WRITES)
@pytest.mark.parametrize("layout", ["dense", "step", "transposed"])
def test_inplace_writes(name: str, args: Any, dtype: str, layout: str) -> None:
    results = []
    for library in (wg, torch):
        kind = getattr(library, dtype)
        memory = library.ones(6, 6).to(kind)
        t = {"dense": memory[:2].reshape(-1)[:6].reshape(2, 3), "step": memory[::3, ::2],
             "transposed": memory.T[3:5, ::2]}[layout]  # fmt: skip
        values = library.tensor([[1, 2], [3, 4]]).to(kind)
        given = [values if a == "v" else library.tensor(a) if isinstance(a, list) else a
                 for a in args]  # fmt: skip
        assert getattr(t, name)(*given) is t
        results.append((t.tolist(), memory.tolist()))
    assert results[0] == results[1]


@pytest.mark.parametrize(("name", "args"), [(n, a) for n, a in WRITES if "v" in a])
def test_inplace_writes_are_recorded(name: str, args: Any) -> None:
    x = wg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], dtype=wg.float64, requires_grad=True)
    v = wg.tensor([[0.5, 1.5], [2.5, 3.5]], dtype=wg.float64, requires_grad=True)

    given = [v if a == "v" else wg.tensor(a) if isinstance(a, list) else a for a in args]

    def gradients(name: str) -> Any:
        return wg.autograd.grad(getattr(x * x, name)(*given).square().sum(), (x, v))

    got, want = gradients(name), gradients(name[:-1])
    for g, w in zip(got, want, strict=True):
        assert g.tolist() == w.tolist()


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.index_add_(0, wg.tensor([0, 9]), wg.ones(2, 3)),
        lambda t: t.scatter_(1, wg.tensor([[0, 9]]), 5.0),
        lambda t: t.index_put_((wg.tensor([0, -9]),), wg.ones(2, 3)),
        lambda t: t.put_(wg.tensor([0, 6]), wg.ones(2)),
        lambda t: t.index_copy_(0, wg.tensor([0, -1]), wg.ones(2, 3)),
        lambda t: t.masked_fill_(wg.ones(2, 2, 3).to(wg.bool), 5.0),
        lambda t: t.masked_scatter_(wg.ones(2, 3).to(wg.bool), wg.ones(5)),
        lambda t: t.__setitem__(([0, 1], [0, 7]), 5.0),
        lambda t: t.__setitem__([0, 1], wg.ones(5)),
    ],
)
def test_a_refused_write_changes_nothing(write: Any) -> None:
    t = wg.zeros(2, 3)
    with pytest.raises((IndexError, RuntimeError)):
        write(t)
    assert t.tolist() == [[0.0] * 3] * 2
    assert t._version == wg.zeros(2, 3)._version


# --- large: threads ----------------------------------------------------------------------------


@pytest.fixture
def threads() -> Any:
    before = wg.get_num_threads()
    yield wg.set_num_threads
    wg.set_num_threads(before)


LARGE: dict[str, Any] = {
    "vector": lambda x, at: wg.zeros(1000).index_add(0, at, x),
    "rows": lambda x, at: wg.zeros(1000, 10).index_add(
        0, at[: x.numel() // 10], x.reshape(-1, 10)),
    "columns": lambda x, at: wg.zeros(600, 1000).scatter_add(
        1, at.reshape(600, -1), x.reshape(600, -1)),
    "matrix": lambda x, at: wg.zeros(1000, 600).scatter_add(
        0, at.reshape(-1, 600), x.reshape(-1, 600)),
    "product": lambda x, at: wg.ones(1000).scatter_reduce(0, at, 1 + x / 1e4, "prod"),
    "last": lambda x, at: wg.zeros(1000).scatter(0, at, x),
    "mask": lambda x, at: x[at > 500],
    "read": lambda x, at: x[at],
}  # fmt: skip


@pytest.mark.parametrize("name", LARGE)
def test_bits_do_not_depend_on_threads(name: str, threads: Any) -> None:
    rng = np.random.default_rng(0)
    x = wg.from_numpy(rng.normal(size=300_000).astype("f4"))
    at = wg.from_numpy(rng.integers(0, 1000, 300_000))
    results = []
    for n in (1, 2, 5):
        threads(n)
        results.append(array(LARGE[name](x, at)))
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("dtype", ["float32", "bool", "uint8", "float16", "int64"])
def test_large_masks(dtype: str) -> None:
    rng = np.random.default_rng(1)
    mask = rng.random((301, 257)) < 0.4
    a = rng.integers(0, 100, (301, 257)).astype(dtype)
    t = wg.from_numpy(a)
    np.testing.assert_array_equal(array(t[wg.from_numpy(mask)]), a[mask])
    np.testing.assert_array_equal(array(t.nonzero()), np.argwhere(a))
    np.testing.assert_array_equal(array(t.T[wg.from_numpy(mask.T.copy())]), a.T[mask.T])


# --- the rest of the family --------------------------------------------------------------------


def test_where_of_one_argument() -> None:
    a = np.array([[0.0, 1.0], [np.nan, -0.0]])
    for got, want in zip(wg.where(wg.from_numpy(a)), np.nonzero(a), strict=True):
        np.testing.assert_array_equal(array(got), want)
    t = wg.from_numpy(a)
    for got, want in zip(t.nonzero(as_tuple=True), np.nonzero(a), strict=True):
        np.testing.assert_array_equal(array(got), want)
    assert [c.tolist() for c in wg.where(wg.tensor(3))] == [[0]]


@needs_torch
@pytest.mark.parametrize("reduce", ["add", "multiply"])
def test_scatter_with_reduce(reduce: str) -> None:
    results = []
    for library in (wg, torch):
        t = library.arange(6.0).reshape(2, 3)
        at = library.tensor([[0, 0, 2]])
        with quiet():
            out = t.scatter(1, at, library.tensor([[2.0, 3.0, 4.0]]), reduce=reduce)
            also = t.scatter_(1, at, 3, reduce=reduce)
        results.append((out.tolist(), also.tolist()))
    assert results[0] == results[1]


@needs_torch
def test_means_of_integers_are_rounded_down() -> None:
    for values in ([1, 1], [-7, 2], [2**62, 3]):
        got, want = (
            m.tensor([-7, 2]).scatter_reduce(0, m.tensor([0, 0]), m.tensor(values), "mean")
            for m in (wg, torch)
        )
        assert got.tolist() == want.tolist()


@needs_torch
@pytest.mark.parametrize("reduce", ["prod", "amax", "amin", "mean", "sum"])
@pytest.mark.parametrize("include", [True, False])
def test_gradients_at_zeros_and_ties(reduce: str, include: bool) -> None:
    if reduce in ("amax", "amin") and not include:
        pytest.skip("PyTorch counts input's own element among those that share the gradient")
    results = []
    for m in (wg, torch):
        x = m.tensor([0.0, 2.0, 2.0, 5.0], requires_grad=True)
        v = m.tensor([0.0, 0.0, 3.0, 2.0, 2.0, 0.0], requires_grad=True)
        at = m.tensor([0, 1, 1, 2, 2, 3])
        out = x.scatter_reduce(0, at, v, reduce, include_self=include)
        (out * m.tensor([1.0, 2.0, 3.0, 4.0])).sum().backward()
        results.append((out.tolist(), v.grad.tolist(), x.grad.tolist()))
    assert results[0] == results[1]
