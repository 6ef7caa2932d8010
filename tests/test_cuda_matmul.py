"""Matrix products on the CUDA device against those on the processor."""

from __future__ import annotations

import ctypes
import math
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import wengert as wg
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

F = wg.nn.functional
TILES = ("large", "medium", "small", "thin", "thin,turned")
FLOATING = (wg.float32, wg.float64, wg.bfloat16, wg.float16)
NARROW = (wg.bfloat16, wg.float16)
# Of results of size 1, by the dtype that they are rounded to.
TOLERANCE = {
    wg.float64: 1e-13,
    wg.float32: 2e-6,
    wg.bfloat16: 2**-8,
    wg.float16: 2**-11,
    wg.int64: 0,
}


@pytest.fixture(autouse=True)
def _settings() -> Iterator[None]:
    """Products by the own kernels, none on the processor; what a test has set ends with it."""
    library = _core.cuda.cublas()
    _core.cuda.set_cublas("0")
    before = _core.cuda.host_launches()
    yield
    _core.cuda.force_gemm("")
    _core.cuda.set_cublas(library or "0")
    wg.set_float32_matmul_precision("highest")
    assert _core.cuda.host_launches() == before


def numbers(*shape: int, dtype: wg.dtype = wg.float32) -> wg.Tensor:
    if dtype == wg.int64:
        return wg.randint(-9, 10, shape)
    return (wg.rand(*shape, dtype=wg.float64) * 2 - 1).to(dtype)


def wide(t: wg.Tensor) -> wg.Tensor:
    return t.detach().cpu().to(wg.float64 if t.dtype.is_floating_point else wg.int64)


def check(found: wg.Tensor, wanted: wg.Tensor, k: int, relative: float | None = None) -> None:
    """Compare with a result in float64 of products of k numbers between -1 and 1."""
    assert found.device.type == "cuda"
    assert found.shape == wanted.shape
    if found.numel() == 0:
        return
    relative = TOLERANCE[found.dtype] if relative is None else relative
    error = (wide(found) - wide(wanted)).abs()
    scale = wide(wanted).abs() + max(1.0, math.sqrt(k))
    assert float((error / scale).max()) <= relative


def product(a: wg.Tensor, b: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
    return a.cuda() @ b.cuda(), wide(a) @ wide(b)


def same(a: wg.Tensor, b: wg.Tensor) -> bool:
    return bool(wg.equal(a.cpu(), b.cpu()))


SIZES = [
    (1, 1, 1),
    (1, 7, 2),
    (2, 1, 7),
    (7, 2, 1),
    (31, 33, 64),
    (33, 31, 65),
    (64, 64, 33),
    (65, 127, 31),
    (130, 65, 40),
    (1, 200, 64),
    (200, 1, 33),
    (7, 130, 127),
    (130, 7, 64),
]


@pytest.mark.parametrize("dtype", [*FLOATING, wg.int64], ids=str)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_sizes(size: tuple[int, int, int], dtype: wg.dtype) -> None:
    m, n, k = size
    check(*product(numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype)), k)


@pytest.mark.parametrize("dtype", [*FLOATING, wg.int64], ids=str)
@pytest.mark.parametrize("tile", TILES)
def test_tiles(tile: str, dtype: wg.dtype) -> None:
    _core.cuda.force_gemm(tile)
    for m, n, k in ((70, 72, 40), (129, 66, 17), (3, 140, 9)):
        check(*product(numbers(m, k, dtype=dtype), numbers(k, n, dtype=dtype)), k)


@pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (0, 0, 0)], ids=str)
def test_empty(shape: tuple[int, int, int]) -> None:
    m, n, k = shape
    found, wanted = product(wg.ones(m, k), wg.ones(k, n))
    check(found, wanted, k)
    bias = wg.ones(n).cuda()
    y = F.linear(wg.ones(m, k).cuda(), wg.ones(n, k).cuda(), bias)
    assert y.shape == (m, n)
    assert bool((y.cpu() == k + 1).all())


def operand(rows: int, columns: int, form: str, dtype: wg.dtype) -> wg.Tensor:
    """Build a matrix that lies in the device's memory in one of several ways."""

    def dense(*shape: int) -> wg.Tensor:
        return numbers(*shape, dtype=dtype).cuda()

    if form == "rows":
        return dense(rows, columns)
    if form == "columns":
        return dense(columns, rows).t()
    if form == "padded":  # rows that are not aligned
        return dense(rows, columns + 3)[:, 2 : 2 + columns]
    if form == "padded columns":
        return dense(columns, rows + 5)[:, 1 : 1 + rows].t()
    if form == "apart":  # neither side by side
        return dense(rows, 2 * columns)[:, ::2]
    if form == "one row":
        return dense(1, columns).expand(rows, columns)
    return dense(rows, 1).expand(rows, columns)


FORMS = ("rows", "columns", "padded", "padded columns", "apart", "one row", "one column")


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16, wg.float64], ids=str)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("tile", ["medium", "thin", "thin,turned"])
def test_strides(tile: str, form: str, dtype: wg.dtype) -> None:
    m, n, k = 20, 24, 40
    _core.cuda.force_gemm(tile)

    a, b = operand(m, k, form, dtype), operand(k, n, form, dtype)
    other_a, other_b = operand(m, k, "rows", dtype), operand(k, n, "rows", dtype)
    check(a @ b, wide(a) @ wide(b), k)
    check(a @ other_b, wide(a) @ wide(other_b), k)
    check(other_a @ b, wide(other_a) @ wide(b), k)


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16, wg.int64], ids=str)
def test_batches(dtype: wg.dtype) -> None:
    def of(*shape: int) -> wg.Tensor:
        return numbers(*shape, dtype=dtype).cuda()

    for a, b in (
        (of(3, 5, 7), of(3, 7, 6)),
        (of(3, 5, 7), of(7, 6)),
        (of(5, 7), of(3, 7, 6)),
        (of(2, 1, 5, 7), of(1, 3, 7, 6)),
        (of(2, 5, 3, 7).transpose(1, 2), of(2, 6, 3, 7).permute(0, 2, 3, 1)),
        (of(2, 3, 4, 5, 7)[:, ::2], of(2, 2, 4, 7, 6)),
        (of(7), of(3, 7, 6)),
        (of(3, 5, 7), of(7)),
        (of(0, 5, 7), of(0, 7, 6)),
    ):
        check(*product(a, b), 7)


@pytest.mark.slow
def test_more_matrices_than_blocks_in_a_launch() -> None:
    n = 65535 + 7
    a, b = numbers(n, 1, 1), numbers(n, 1, 1)
    _core.cuda.force_gemm("small")
    found = (a.cuda() @ b.cuda()).cpu()
    assert wg.equal(found[-9:], (a @ b)[-9:])
    assert wg.equal(found[:9], (a @ b)[:9])


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("tile", ["large", "medium", "thin", "thin,turned"])
@pytest.mark.parametrize("activation", ["relu", "tanh", "sigmoid"])
def test_linear(activation: str, tile: str, dtype: wg.dtype) -> None:
    _core.cuda.force_gemm(tile)
    x, w, b = numbers(9, 20, dtype=dtype), numbers(18, 20, dtype=dtype), numbers(18, dtype=dtype)
    z = wide(x) @ wide(w).t() + wide(b)
    check(F.linear(x.cuda(), w.cuda(), b.cuda()), z, 20)
    fused = _core._linear_activation
    y = fused(x.cuda(), w.cuda(), b.cuda(), activation)
    check(y, getattr(wg, activation)(z), 20)


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16], ids=str)
@pytest.mark.parametrize("tile", ["large", "small", "small,split", "small,whole"])
def test_backward(tile: str, dtype: wg.dtype) -> None:
    """Gradients are added to those that are there, in the product itself where that can be."""
    _core.cuda.force_gemm(tile)
    k = 1100 if tile.startswith("small,") and dtype == wg.float32 else 30
    x, w = numbers(k, 12, dtype=dtype), numbers(10, 12, dtype=dtype)
    found, wanted = [], []
    for device, out in (("cuda", found), ("cpu", wanted)):
        # the reference takes what the device has rounded
        p, q = x.to(device), w.to(device)
        if device == "cpu":
            p, q = wide(p), wide(q)
        p.requires_grad_(True)
        q.requires_grad_(True)
        for _ in range(2):
            y = F.linear(p, q)
            y.backward(wg.ones(y.shape, dtype=y.dtype).to(device))
        out += [p.grad, q.grad]
    for f, g in zip(found, wanted, strict=True):
        check(f, g, 2 * k, 4 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16, wg.float64], ids=str)
def test_added_to(dtype: wg.dtype) -> None:
    c, a, b = (
        numbers(21, 19, dtype=dtype),
        numbers(21, 40, dtype=dtype),
        numbers(40, 19, dtype=dtype),
    )
    check(wg.addmm(c.cuda(), a.cuda(), b.cuda()), wide(c) + wide(a) @ wide(b), 40)
    row = numbers(19, dtype=dtype)
    check(wg.addmm(row.cuda(), a.cuda(), b.cuda()), wide(row) + wide(a) @ wide(b), 40)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.int64, wg.bfloat16], ids=str)
def test_chunks_of_k(dtype: wg.dtype) -> None:
    """Chunks that blocks share out give the bits of those that one block makes in turn."""
    k = 4200 if dtype in NARROW else 1100
    a, b = numbers(5, k, dtype=dtype), numbers(k, 6, dtype=dtype)
    c = numbers(5, 6, dtype=dtype)
    results = []
    for how in ("split", "whole"):
        for tile in ("small", "thin", "thin,turned"):
            _core.cuda.force_gemm(f"{tile},{how}")
            y = a.cuda() @ b.cuda()
            check(y, wide(a) @ wide(b), k)
            z = wg.addmm(c.cuda(), a.cuda(), b.cuda())
            check(z, wide(c) + wide(a) @ wide(b), k)
            results.append((y.cpu(), z.cpu()))
    for y, z in results[1:]:
        assert wg.equal(y, results[0][0])
        assert wg.equal(z, results[0][1])


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16], ids=str)
def test_rows_do_not_depend_on_others(dtype: wg.dtype) -> None:
    x, w = numbers(70, 90, dtype=dtype).cuda(), numbers(40, 90, dtype=dtype).cuda()
    whole = F.linear(x, w)
    for rows in (1, 2, 9, 33):
        assert same(F.linear(x[:rows], w), whole[:rows])
    for tile in TILES:
        _core.cuda.force_gemm(tile)
        assert same(F.linear(x, w), whole)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
@pytest.mark.parametrize("how", ["split", "whole"])
def test_chunks_and_epilogue(how: str, dtype: wg.dtype) -> None:
    k = 4200 if dtype in NARROW else 1100
    x, w, b = numbers(9, k, dtype=dtype), numbers(10, k, dtype=dtype), numbers(10, dtype=dtype)
    z = wide(x) @ wide(w).t() + wide(b)
    for tile in ("medium", "thin,turned"):
        _core.cuda.force_gemm(f"{tile},{how}")
        y = _core._linear_activation(x.cuda(), w.cuda(), b.cuda(), "sigmoid")
        check(y, wg.sigmoid(z), k)


@pytest.mark.parametrize("tile", TILES)
def test_tf32(tile: str) -> None:
    _core.cuda.force_gemm(tile)
    m, n, k = 33, 40, 70
    a, b = numbers(m, k), numbers(k, n)
    exact, wanted = product(a, b)
    check(exact, wanted, k)
    wg.backends.cuda.matmul.allow_tf32 = True
    for x, y in ((a, b), (a.t().contiguous().t(), b), (a, b.t().contiguous().t())):
        rounded = x.cuda() @ y.cuda()
        check(rounded, wanted, k, 2**-10)
        assert not same(rounded, exact)
    wg.set_float32_matmul_precision("highest")
    assert same(a.cuda() @ b.cuda(), exact)


@pytest.mark.parametrize("dtype", FLOATING, ids=str)
def test_infinities_and_nan(dtype: wg.dtype) -> None:
    a, b = numbers(3, 4, dtype=dtype), numbers(4, 5, dtype=dtype)
    a[1, 2] = math.inf
    b[3, 4] = math.nan
    found = (a.cuda() @ b.cuda()).cpu()
    wanted = a @ b
    assert wg.equal(wg.isnan(found), wg.isnan(wanted))
    assert wg.equal(wg.isinf(found), wg.isinf(wanted))


def test_integers_wrap() -> None:
    a = wg.tensor([[2**62, 3], [-(2**62), 2**63 - 1]])
    b = wg.tensor([[4, 2], [2**61, -1]])
    assert wg.equal((a.cuda() @ b.cuda()).cpu(), a @ b)


def test_forced_names_are_checked() -> None:
    with pytest.raises(ValueError, match="huge"):
        _core.cuda.force_gemm("huge")


FAKE = Path(_core.__file__).parent / "libfake_cublasLt.so"
if not FAKE.exists():
    FAKE = Path(wg.__file__).parent / "libfake_cublasLt.so"


@pytest.mark.skipif(not _core.cuda.emulated() or not FAKE.exists(), reason="of the emulator")
class TestLibrary:
    """Calls of cuBLASLt, by a library of its functions that computes on the emulator."""

    @pytest.fixture(autouse=True)
    def _library(self) -> None:
        _core.cuda.set_cublas(str(FAKE))
        assert _core.cuda.cublas() == str(FAKE)
        assert ctypes.CDLL(str(FAKE)).fake_cublaslt_calls() >= 0
        _core.cuda.force_gemm("library")

    def calls(self) -> int:
        return int(_core.cuda.cublas_calls())

    @pytest.mark.parametrize("dtype", FLOATING, ids=str)
    def test_products(self, dtype: wg.dtype) -> None:
        m, n, k = 9, 12, 20
        for turn_a in (False, True):
            for turn_b in (False, True):
                a, b = numbers(m, k, dtype=dtype).cuda(), numbers(k, n, dtype=dtype).cuda()
                if turn_a:
                    a = a.t().contiguous().t()
                if turn_b:
                    b = b.t().contiguous().t()
                before = self.calls()
                check(a @ b, wide(a) @ wide(b), k)
                check(a @ b, wide(a) @ wide(b), k)  # by its plan
                assert self.calls() == before + 2

    @pytest.mark.parametrize("dtype", FLOATING, ids=str)
    def test_epilogues(self, dtype: wg.dtype) -> None:
        x, w, b = (
            numbers(9, 20, dtype=dtype),
            numbers(18, 20, dtype=dtype),
            numbers(18, dtype=dtype),
        )
        z = wide(x) @ wide(w).t() + wide(b)
        before = self.calls()
        check(F.linear(x.cuda(), w.cuda(), b.cuda()), z, 20)
        fused = _core._linear_activation
        check(fused(x.cuda(), w.cuda(), b.cuda(), "tanh"), wg.tanh(z), 20)
        check(fused(x.cuda(), w.cuda(), None, "relu"), F.relu(z - wide(b)), 20)
        c = numbers(9, 18, dtype=dtype)
        check(wg.addmm(c.cuda(), x.cuda(), w.t().cuda()), wide(c) + z - wide(b), 20)
        assert self.calls() == before + 4

    @pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16], ids=str)
    def test_batches(self, dtype: wg.dtype) -> None:
        def of(*shape: int) -> wg.Tensor:
            return numbers(*shape, dtype=dtype).cuda()

        for a, b, calls in (
            (of(3, 5, 8), of(3, 8, 6), 1),
            (of(5, 8), of(3, 8, 6), 1),
            (of(2, 1, 5, 8), of(1, 3, 8, 6), 2),
            (of(2, 5, 3, 8).transpose(1, 2), of(2, 6, 3, 8).permute(0, 2, 3, 1), 2),
        ):
            before = self.calls()
            check(*product(a, b), 8)
            assert self.calls() == before + calls

    def test_what_it_does_not_take_is_multiplied_here(self) -> None:
        a, b = numbers(9, 40).cuda()[:, ::2], numbers(20, 7).cuda()
        before = self.calls()
        check(a @ b, wide(a) @ wide(b), 20)
        n = numbers(3, 4, dtype=wg.int64).cuda()
        check(n.t() @ n, wide(n).t() @ wide(n), 4)
        assert self.calls() == before

    def test_tf32(self) -> None:
        a, b = numbers(9, 20), numbers(20, 7)
        exact, wanted = product(a, b)
        wg.backends.cuda.matmul.allow_tf32 = True
        rounded = a.cuda() @ b.cuda()
        assert not same(rounded, exact)
        check(rounded, wanted, 20, 2**-10)

    def test_without_it(self) -> None:
        for where in ("0", "/nowhere/at/all"):
            _core.cuda.set_cublas(where)
            assert _core.cuda.cublas() == ""
            check(*product(numbers(5, 6), numbers(6, 7)), 6)
            assert _core.cuda.cublas_calls() == 0
