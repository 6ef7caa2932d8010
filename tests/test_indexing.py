"""Indexing: generated index expressions against PyTorch and NumPy, for reading, writing and
gradients; assignment; what must be refused; the protocol of sequences."""

from __future__ import annotations

import itertools
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.testing import gradcheck, gradgradcheck

if TYPE_CHECKING:
    from collections.abc import Iterator


def grid(*shape: int, dtype: str = "float64", scale: float = 1) -> Any:
    return np.asarray(np.arange(1, 1 + int(np.prod(shape))) * scale).astype(dtype).reshape(shape)


def array(t: Any) -> Any:
    return t.detach().numpy()


# --- generated indices -------------------------------------------------------------------------


class Maker:
    """Draws indices of a shape, as nested tuples of plain Python and NumPy objects."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)

    def shape(self) -> tuple[int, ...]:
        dims = int(self.rng.integers(0, 5))
        sizes = self.rng.choice([0, 1, 2, 3, 4], dims, p=[0.08, 0.17, 0.25, 0.25, 0.25])
        return tuple(int(s) for s in sizes)

    def bound(self, size: int) -> int | None:
        return None if self.rng.random() < 0.3 else int(self.rng.integers(-size - 2, size + 3))

    def integers(self, size: int, shape: tuple[int, ...]) -> Any:
        at = self.rng.integers(-size, size, shape)
        kind = self.rng.integers(0, 3)
        return at.tolist() if kind == 0 and shape else at.astype("int32" if kind == 1 else "int64")

    def index(self, shape: tuple[int, ...]) -> Any:
        rng, items = self.rng, []
        common = tuple(int(s) for s in rng.integers(1, 4, int(rng.integers(1, 3))))
        ellipsis = int(rng.integers(0, len(shape) + 1)) if rng.random() < 0.3 else -1
        dim, stop = 0, int(rng.integers(0, len(shape) + 1))
        masked = 0
        while dim < stop:
            size = shape[dim]
            if len(items) == ellipsis:
                items.append(...)
                dim, stop = len(shape) - (stop - dim), len(shape)
                ellipsis = -1
                continue
            kind = rng.choice(["int", "slice", "none", "at", "mask", "bool"],
                              p=[0.17, 0.28, 0.1, 0.3, 0.12, 0.03])  # fmt: skip
            if kind == "none" and len(shape) + len(items) < 6:
                items.append(None)
            elif kind == "bool" and not masked:
                items.append(bool(rng.integers(0, 2)))
            elif kind == "int" and size:
                items.append(int(rng.integers(-size, size)))
                dim += 1
            elif kind == "at" and size:
                ones = tuple(1 if rng.random() < 0.2 else s for s in common)
                items.append(self.integers(size, ones[int(rng.integers(0, len(ones))) :]))
                dim += 1
            elif kind == "mask" and not masked:
                dims = int(rng.integers(1, stop - dim + 1))
                items.append(rng.random(shape[dim : dim + dims]) < 0.5)
                masked = 1
                dim += dims
            else:
                step = int(rng.integers(1, 4)) if rng.random() < 0.4 else None
                items.append(slice(self.bound(size), self.bound(size), step))
                dim += 1
        # PyTorch 2.13 still takes a list of lists for a tuple
        nested = len(items) == 1 and isinstance(items[0], list) and isinstance(items[0][0], list)
        if len(items) == 1 and rng.random() < 0.5 and not nested:
            return items[0]
        return tuple(items)


def cases(count: int) -> list[Any]:
    out = []
    for seed in range(count):
        make = Maker(seed)
        shape = make.shape()
        out.append(pytest.param(shape, make.index(shape), seed, id=f"{seed}-{shape}"))
    return out


def converted(index: Any, library: Any) -> Any:
    """The index with arrays turned into tensors of a library."""
    if isinstance(index, tuple):
        return tuple(converted(i, library) for i in index)
    if isinstance(index, np.ndarray):
        return library.from_numpy(np.array(index))
    return index


@contextmanager
def quiet() -> Iterator[None]:
    """Without PyTorch's warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def outcome(read: Any) -> Any:
    """The result, or the exception."""
    try:
        with quiet():
            return read()
    except (IndexError, RuntimeError, ValueError) as e:
        return e


def laid_out(a: Any, seed: int) -> Any:
    """The same values: dense, or with other strides."""
    if seed % 3 == 0 or a.ndim == 0 or a.size == 0:
        return np.array(a)
    if seed % 3 == 1:
        return np.array(a.T, order="C").T
    wide = np.zeros((*a.shape[:-1], a.shape[-1] * 2), a.dtype)
    wide[..., ::2] = a
    return wide[..., ::2]


GENERATED = cases(600)
generated = pytest.mark.parametrize(("shape", "index", "seed"), GENERATED)


@needs_torch
@generated
def test_reading_is_pytorchs(shape: Any, index: Any, seed: int) -> None:
    a = grid(*shape)
    want = outcome(lambda: torch.from_numpy(a.copy())[converted(index, torch)])
    for at in (index, converted(index, wg)):
        got = outcome(lambda at=at: wg.from_numpy(laid_out(a, seed))[at])
        if isinstance(want, Exception):
            assert type(got) is type(want), (got, want)
            continue
        assert not isinstance(got, Exception), got
        np.testing.assert_array_equal(array(got), want.numpy(), strict=True)


@generated
def test_reading_is_numpys(shape: Any, index: Any, seed: int) -> None:
    """Where the two agree: NumPy counts integers among the index arrays."""
    items = index if isinstance(index, tuple) else (index,)
    arrays = sum(isinstance(i, (np.ndarray, list, bool)) for i in items)
    integers = sum(isinstance(i, int) and not isinstance(i, bool) for i in items)
    zero_dim = any(isinstance(i, np.ndarray) and i.ndim == 0 for i in items)
    if (arrays and (integers or zero_dim)) or any(isinstance(i, bool) for i in items):
        pytest.skip("PyTorch reads this otherwise")
    a = grid(*shape)
    try:
        want = a[index]
    except IndexError:
        with pytest.raises(IndexError):
            wg.from_numpy(a)[index]
        return
    got = wg.from_numpy(laid_out(a, seed))[index]
    np.testing.assert_array_equal(array(got), want, strict=True)


@needs_torch
@pytest.mark.parametrize("dtype", ["float64", "float32", "int64", "bool", "int16"])
@pytest.mark.parametrize(("shape", "index", "seed"), GENERATED[:250])
def test_writing_is_pytorchs(shape: Any, index: Any, seed: int, dtype: str) -> None:
    rng = np.random.default_rng(seed)
    a = np.asarray(grid(*shape) % 5).astype(dtype)
    theirs = torch.from_numpy(np.array(a))
    picked = outcome(lambda: theirs[converted(index, torch)])
    if isinstance(picked, Exception):
        ours = wg.from_numpy(np.array(a))
        with pytest.raises(type(picked)):
            ours[index] = 0
        np.testing.assert_array_equal(array(ours), a)
        return
    sizes = tuple(1 if rng.random() < 0.3 else s for s in picked.shape)[int(rng.integers(0, 2)) :]
    # every place gets one value, whichever of several PyTorch leaves there
    value = np.asarray(rng.integers(0, 7, sizes) if seed % 2 and not repeats(shape, index) else
             np.full(sizes, 3)).astype(dtype)  # fmt: skip
    theirs[converted(index, torch)] = torch.from_numpy(np.array(value))
    mine = laid_out(a, seed)
    ours = wg.from_numpy(mine)
    version = ours._version
    ours[index] = wg.from_numpy(np.array(value))
    if index is not False:
        assert ours._version == version + 1
    np.testing.assert_array_equal(array(ours), theirs.numpy(), strict=True)


def repeats(shape: Any, index: Any) -> bool:
    """Whether an index picks an element more than once."""
    at = array(wg.arange(int(np.prod(shape))).reshape(shape)[index])
    return np.unique(at).size != at.size


@needs_torch
@pytest.mark.parametrize(("shape", "index", "seed"), GENERATED[:300])
def test_gradients_of_reading_and_writing(shape: Any, index: Any, seed: int) -> None:
    a = grid(*shape)
    if isinstance(outcome(lambda: torch.from_numpy(a)[converted(index, torch)]), Exception):
        return
    results = []
    for library in (wg, torch):
        at = converted(index, library)
        x = library.from_numpy(laid_out(a, seed)).requires_grad_()
        y = x[at]
        if index is False:
            continue
        v = library.from_numpy(grid(*y.shape, scale=1 / 7)).requires_grad_()
        written = (x * 2).clone()
        written[at] = v * 3
        weights = library.from_numpy(grid(*shape, scale=2))
        with quiet():
            (y * y).sum().backward(retain_graph=True)
            (written * weights).sum().backward()
        results.append((array(x.grad), array(v.grad)))
    for got, want in zip(*results, strict=True) if results else ():
        np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(("shape", "index", "seed"), GENERATED[:120:3])
def test_derivatives_of_reading_and_writing(shape: Any, index: Any, seed: int) -> None:
    x = wg.from_numpy(laid_out(grid(*shape, scale=0.2), seed)).requires_grad_()
    try:
        y = x.detach()[index]
    except IndexError:
        return
    if x.numel() == 0 or y.numel() == 0 or x.numel() + y.numel() > 40:
        return
    v = wg.from_numpy(grid(*y.shape, scale=1 / 3)).requires_grad_()

    def read(x: Any) -> Any:
        return x[index] * x[index]

    def write(x: Any, v: Any) -> Any:
        out = x * x
        out[index] = v[..., None][..., 0] * v
        return out

    gradcheck(read, (x,))
    gradgradcheck(read, (x,))
    if not repeats(shape, index):  # else only one of several values stays, as in PyTorch
        gradcheck(write, (x, v))
        gradgradcheck(write, (x, v))


# --- assignment --------------------------------------------------------------------------------


def test_gradients_through_writes() -> None:
    x = wg.tensor([1.0, -2.0, 3.0, -4.0], requires_grad=True)
    out = wg.zeros(4)
    mask = x.detach() > 0
    out[mask] = x[mask] ** 2
    out[mask.logical_not()] = 0.0
    out.sum().backward()
    assert x.grad.tolist() == [2.0, 0.0, 6.0, 0.0]
    w = wg.ones(3, requires_grad=True)
    z = wg.zeros(3, 2)
    for i in range(2):
        z[:, i] = w * (i + 2)
    z.sum().backward()
    assert w.grad.tolist() == [5.0, 5.0, 5.0]


def test_augmented_assignment() -> None:
    t = wg.zeros(4)
    t[[0, 0, 2]] += 1.0
    assert t.tolist() == [1.0, 0.0, 1.0, 0.0]  # as NumPy: not accumulated
    t[t > 0] *= 3.0
    assert t.tolist() == [3.0, 0.0, 3.0, 0.0]
    t[1:3] += 1.0
    assert t.tolist() == [3.0, 1.0, 4.0, 0.0]


def test_values_are_cast_and_broadcast() -> None:
    t = wg.zeros(2, 3, dtype=wg.int64)
    t[[0, 1], [0, 2]] = 2.9
    t[wg.tensor([True, False])] = np.array([7.0, 8.0, 9.0])
    t[1, [0, 1]] = [5, 6]
    assert t.tolist() == [[7, 8, 9], [5, 6, 2]]
    t[[0]] = wg.ones(1, 1, 1, 3).to(wg.int64)  # leading ones are dropped
    assert t[0].tolist() == [1, 1, 1]


def test_overlapping_memory() -> None:
    t = wg.arange(5)
    t[[0, 1, 2, 3]] = t[1:]
    assert t.tolist() == [1, 2, 3, 4, 4]
    t.index_add_(0, wg.tensor([4, 3, 2, 1, 0]), t)
    assert t.tolist() == [5, 6, 6, 6, 5]
    at = wg.tensor([1, 2, 0])
    at[at] = wg.tensor([10, 20, 30])
    assert at.tolist() == [30, 10, 20]


def test_false_takes_anything() -> None:
    t = wg.ones(3)
    t[False] = wg.ones(7)
    assert t.tolist() == [1.0, 1.0, 1.0]


# --- what is refused ---------------------------------------------------------------------------

HOSTILE: list[Any] = [
    10**30, -(10**30), 2**63 - 1, -(2**63), 1.0, float("nan"), "a", b"a", object(), {}, {1},
    [1.0], [float("nan")], ["a"], [None], [[0], [0, 1]], [object()], [10**30], [2**62], [-(2**63)],
    (0, 1, 2, 3), (0,) * 1000, (None,) * 9, (*(None,) * 8, [0]), (*(None,) * 8, True),
    (None,) * 1000, (..., 0, ..., 0, 0, 0),
    slice("a", None), slice(1.5, None), slice(None, None, -1), slice(None, None, 0),
    [slice(None)], np.array([0.5]), np.array(["a"]), np.array([None]), np.array(2.5),
    np.zeros((2, 2, 2, 2), bool), np.zeros(3, bool), np.zeros((2, 4), bool), np.zeros((3, 3), bool),
    ([0, 1], [0, 1, 2]), ([0], [5]), ([[[[[[[[[0]]]]]]]]],), lambda: 0, int, range(5), 1 + 2j,
]  # fmt: skip


@pytest.mark.parametrize("index", HOSTILE, ids=lambda i: repr(i)[:40])
def test_hostile_indices(index: Any) -> None:
    t = wg.from_numpy(grid(2, 3))
    errors = (IndexError, TypeError, ValueError, RuntimeError)
    with pytest.raises(errors):
        t[index]
    with pytest.raises(errors):
        t[index] = 5.0
    assert t.tolist() == grid(2, 3).tolist()


def test_a_list_in_itself() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises((IndexError, RuntimeError)):
        wg.ones(3)[loop]


REFUSED = [
    (lambda t: t[[0, 5]], IndexError, "index 5 is out of bounds for dimension 0 with size 2"),
    (lambda t: t[:, wg.tensor([-4])], IndexError, "index -4 .* dimension 1 with size 3"),
    (lambda t: t[np.zeros(3, bool)], IndexError, r"mask \(3,\) at index 0 .*\(2, 3\) at index 0"),
    (lambda t: t[:, np.zeros(2, bool)], IndexError, r"mask \(2,\) at index 0 .* at index 1"),
    (lambda t: t[0, 0, 0], IndexError, "too many indices for tensor of dimension 2"),
    (lambda t: t[wg.ones(1)], IndexError, "must be long, int, byte or bool tensors, got float32"),
    (lambda t: t[[0, 1], [0, 1, 2]], IndexError, r"broadcast together with shapes \(2,\), \(3,\)"),
    (lambda t: t[1.5], IndexError, "only integers, slices.*got float"),
    (lambda t: t[[slice(None), 0]], IndexError, r"use x\[tuple\(seq\)\]"),
    (lambda t: t.gather(1, wg.tensor([[3]])), RuntimeError, "^gather: index 3 .* dimension 1"),
    (lambda t: t.gather(1, wg.tensor([[-1]])), RuntimeError, "^gather: index -1 "),
    (lambda t: t.gather(1, wg.tensor([0])), RuntimeError, "^gather: .*number of dimensions"),
    (lambda t: t.gather(1, wg.ones(3, 1).to(wg.int64)), RuntimeError, "^gather: .*no larger"),
    (lambda t: t.gather(1, wg.ones(1, 1)), RuntimeError, "^gather: .*int64 index, got float32"),
    (lambda t: t.scatter(1, wg.tensor([[0, 1]]), t[:1, :1]), RuntimeError, "^scatter: .*src"),
    (lambda t: t.scatter(1, wg.tensor([[0]]), 1, reduce="x"), RuntimeError, "add or multiply"),
    (lambda t: t.scatter_reduce(1, wg.tensor([[0]]), t, "x"), RuntimeError, "sum, prod, mean"),
    (lambda t: t.index_add(0, wg.tensor([0]), t), RuntimeError, "number of indices"),
    (lambda t: t.index_fill(0, wg.tensor([0]), wg.ones(1)), RuntimeError, "0-dimensional"),
    (lambda t: t.take(wg.tensor([6])), IndexError, "^take: out of range, index 6"),
    (lambda t: t.masked_fill(wg.ones(2, 3), 1), RuntimeError, "boolean masks.*float32"),
    (lambda t: t.masked_select(wg.ones(2, 3)), RuntimeError, "boolean masks.*float32"),
    (lambda t: t.index_put((wg.tensor([0]),), wg.ones(3).to(wg.float32)), RuntimeError, "dtypes"),
    (lambda t: wg.nn.functional.one_hot(wg.tensor([3]), 2), RuntimeError, "smaller than num_class"),
    (lambda t: wg.nn.functional.one_hot(wg.tensor([-1])), RuntimeError, "non-negative"),
]


@pytest.mark.parametrize(("call", "kind", "text"), REFUSED)
def test_messages(call: Any, kind: Any, text: str) -> None:
    with pytest.raises(kind, match=text):
        call(wg.from_numpy(grid(2, 3)))


# --- protocols ---------------------------------------------------------------------------------


def test_iteration_and_unpacking() -> None:
    t = wg.from_numpy(grid(3, 2)).requires_grad_()
    a, b, c = t
    (a * b * c).sum().backward()
    assert t.grad.shape == (3, 2)
    assert [r.tolist() for r in t] == grid(3, 2).tolist()
    assert list(wg.zeros(0, 3)) == []
    assert dict(zip("ab", wg.tensor([1, 2]), strict=True))["b"].item() == 2
    assert sum(wg.tensor([1, 2, 3])).item() == 6
    for bad in (iter, len):
        with pytest.raises(TypeError, match="0-d tensor"):
            bad(wg.tensor(5))


def test_scalars_as_integers() -> None:
    i = wg.tensor(2)
    assert list(range(5))[i] == 2
    assert "abcde"[wg.tensor([1]) : i + 1] == "bc"
    assert wg.arange(5)[i : np.int64(4)].tolist() == [2, 3]
    assert wg.arange(5)[wg.tensor(3, dtype=wg.int32)].item() == 3
    assert hex(i) == "0x2"
    for bad in (wg.tensor(1.0), wg.tensor([1, 2])):
        with pytest.raises(TypeError, match="only integer tensors of a single element"):
            range(bad)  # type: ignore[call-overload]


def test_numbers_of_no_dimension() -> None:
    t = wg.tensor(5.0)
    assert t[...].item() == t[()].item() == 5.0
    assert t[None].shape == t[True].shape == (1,)
    assert t[False].shape == (0,)
    t[...] = 6.0
    t[()] = t + 1
    t[wg.tensor(True)] = t * 2
    assert t.item() == 14.0
    with pytest.raises(IndexError, match="0-dim"):
        t[0]
    with pytest.raises(RuntimeError, match="3 elements cannot be converted to Scalar"):
        wg.ones(3).item()


def test_membership() -> None:
    t = wg.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert 3 in t
    assert 5 not in t
    assert wg.tensor([3.0, 4.0]) in t
    for bad in ("a", None):
        with pytest.raises(RuntimeError, match=r"^in: "):
            assert bad in t


def test_basic_parts_are_views_and_others_copies() -> None:
    t = wg.zeros(3, 4)
    t[1:, None, ..., 2].fill_(1.0)
    assert t.sum().item() == 2.0
    for index in ([0], (slice(None), [0]), wg.ones(3, 4).to(wg.bool), True):
        t[index].fill_(9.0)
    assert t.sum().item() == 2.0


@pytest.mark.parametrize("sizes", list(itertools.product([0, 1, 3], repeat=2)))
def test_all_and_no_rows(sizes: tuple[int, int]) -> None:
    a = grid(*sizes)
    t = wg.from_numpy(a)
    for index in ([], range(sizes[0]), np.zeros(sizes, bool), np.ones(sizes, bool)):
        np.testing.assert_array_equal(
            array(t[index]), a[list(index) if isinstance(index, range) else index].reshape(
                array(t[index]).shape)
        )  # fmt: skip
