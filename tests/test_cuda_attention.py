"""Attention on the device: results and gradients against the processor's."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

from wengert._core.cuda import host_launches  # noqa: E402

TOLERANCE = {wg.float64: 1e-12, wg.float32: 2e-5, wg.bfloat16: 3e-2, wg.float16: 4e-3}


def numbers(shape, seed, dtype):
    """Numbers of the processor's."""
    return wg.tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def run(operands, device, mask, options):
    """The result and the gradients by query, key and value, of one cotangent."""
    leaves = [t.to(device).requires_grad_(True) for t in operands]
    wg.manual_seed(5)
    m = mask.to(device) if mask is not None else None
    y = F.scaled_dot_product_attention(*leaves, attn_mask=m, **options)
    g = numbers(tuple(y.shape), 7, y.dtype).to(device)
    return [y, *wg.autograd.grad(y, leaves, g)]


def compare(q, k, v, dtype=wg.float64, mask=None, stays=True, **options):
    """On the device as on the processor, on the device alone, the same twice."""
    operands = [numbers(s, i, dtype) for i, s in enumerate((q, k, v))]
    before = host_launches()
    there = run(operands, "cuda", mask, options)
    again = run(operands, "cuda", mask, options)
    wg.cuda.synchronize()
    assert host_launches() == before or not stays
    here = run(operands, "cpu", mask, options)
    for a, b, c in zip(there, again, here, strict=True):
        assert a.dtype == c.dtype
        assert a.shape == c.shape
        x, y, z = (t.to(device="cpu", dtype=wg.float64).detach().numpy() for t in (a, b, c))
        assert np.array_equal(x, y, equal_nan=True)
        scale = max(1.0, float(np.nan_to_num(np.abs(z)).max(initial=0)))
        np.testing.assert_allclose(x, z, rtol=0, atol=TOLERANCE[dtype] * scale)


SHAPES = [
    # batch and heads, queries, keys, columns of queries and of values
    ((2, 2), 5, 7, 3, 4),
    ((1, 1), 1, 1, 1, 1),
    ((1, 1), 1, 10, 9, 9),  # one query, to keys whose rows begin anywhere
    ((1, 2), 70, 66, 8, 8),
    ((1, 1), 33, 130, 40, 20),
    ((1, 1), 64, 64, 64, 64),
    ((1, 1), 9, 12, 70, 100),
]
DTYPES = [wg.float64, wg.float32, wg.bfloat16, wg.float16]


@pytest.mark.parametrize(("leading", "n", "m", "e", "ev"), SHAPES)
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("dtype", DTYPES)
def test_attention(leading, n, m, e, ev, causal, dtype):
    """Shapes that fill no tile, of every dtype."""
    compare((*leading, n, e), (*leading, m, e), (*leading, m, ev), dtype, is_causal=causal)


@pytest.mark.parametrize("dtype", DTYPES)
def test_masks(dtype):
    """Masks of numbers and of bools, of all their shapes; queries that may attend to nothing."""
    q, k = (2, 2, 35, 8), (2, 2, 70, 8)
    rng = np.random.default_rng(3)
    added = wg.tensor(rng.standard_normal((35, 70))).to(dtype)
    kept = rng.random((2, 1, 1, 70)) < 0.5
    some = rng.random((2, 2, 35, 70)) < 0.1
    some[0, 1, 3] = some[1, 0, 34] = False
    some[1, 1] = False
    for mask in (added, wg.tensor(kept), wg.tensor(some)):
        compare(q, k, k, dtype, mask)


@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout(dtype):
    """The same weights are dropped as on the processor."""
    shapes = (2, 3, 37, 8), (2, 3, 41, 8), (2, 3, 41, 5)
    compare(*shapes, dtype, dropout_p=0.3)
    compare(*shapes, dtype, dropout_p=0.6, is_causal=True)


@pytest.mark.parametrize("dtype", DTYPES)
def test_shared_heads(dtype):
    """Several heads of the query to one of the keys'."""
    compare((1, 6, 10, 4), (1, 2, 67, 4), (1, 2, 67, 4), dtype, enable_gqa=True, scale=0.3)
    compare((2, 4, 70, 4), (2, 1, 9, 4), (2, 1, 9, 4), dtype, enable_gqa=True, dropout_p=0.2)


@pytest.mark.parametrize("dtype", [wg.float64, wg.float32, wg.bfloat16])
def test_many_columns(dtype):
    """More columns than a block has of sums."""
    compare((1, 1, 5, 150), (1, 1, 6, 150), (1, 1, 6, 270), dtype)


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16])
def test_layouts(dtype):
    """Heads side by side in memory, rows that begin anywhere, keys broadcast."""
    results = []
    for device in ("cpu", "cuda"):
        packed = numbers((2, 20, 3, 4, 9), 0, dtype).to(device).requires_grad_(True)
        q, k, v = (packed[:, :, i, :, 1:].transpose(1, 2) for i in range(3))
        y = F.scaled_dot_product_attention(q, k[:, :1].expand(2, 4, 20, 8), v)
        (gradient,) = wg.autograd.grad((y.float() ** 2).sum(), [packed])
        results.append([t.to("cpu").float().detach().numpy() for t in (y, gradient)])
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b, a, rtol=0, atol=40 * TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16])
def test_not_finite(dtype):
    """What is not finite stays in its rows."""
    results = []
    for device in ("cpu", "cuda"):
        q, k, v = (numbers((1, 1, 70, 8), i, dtype) for i in range(3))
        q[0, 0, 3, 2] = float("nan")
        q[0, 0, 67, 2] = float("inf")
        v[0, 0, 69, 1] = float("inf")
        y = F.scaled_dot_product_attention(*(t.to(device) for t in (q, k, v)), is_causal=True)
        results.append(y.to("cpu").float().numpy())
    np.testing.assert_allclose(results[1], results[0], rtol=0, atol=TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [wg.float64, wg.bfloat16])
def test_second_derivative(dtype):
    """Gradients of gradients go by recorded operations."""
    results = []
    for device in ("cpu", "cuda"):
        x = [numbers((1, 2, 6, 4), i, dtype).to(device).requires_grad_(True) for i in range(3)]
        y = F.scaled_dot_product_attention(*x, is_causal=True)
        first = wg.autograd.grad((y * y).sum(), x, create_graph=True)
        total = sum(((g * g).sum() for g in first[1:]), (first[0] * first[0]).sum())
        results.append(wg.autograd.grad(total, x))
    for a, b in zip(*results, strict=True):
        assert a.dtype == b.dtype
        x, y = (t.to(device="cpu", dtype=wg.float64).numpy() for t in (a, b))
        atol = 20 * TOLERANCE[dtype] * float(np.abs(x).max())
        np.testing.assert_allclose(y, x, rtol=0, atol=atol)
