"""Convolutions on the device: results and gradients against the processor's."""

from __future__ import annotations

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

from wengert._core.cuda import host_launches  # noqa: E402

FORWARD = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
TRANSPOSED = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def tolerance(dtype):
    """Of results that are sums of a few hundred products."""
    return {wg.float64: 1e-11, wg.float32: 2e-4, wg.bfloat16: 6e-2, wg.float16: 8e-3}[dtype]


def numbers(shape, seed, dtype):
    """Numbers of the processor's."""
    return wg.tensor(np.random.default_rng(seed).standard_normal(shape)).to(dtype)


def run(function, operands, device, options):
    """The result and the gradients by all operands, of one cotangent."""
    leaves = [t.to(device).requires_grad_(True) for t in operands]
    before = host_launches()
    y = function(*leaves, **options)
    g = numbers(tuple(y.shape), 7, y.dtype).to(device)
    gradients = wg.autograd.grad(y, leaves[:2], g, retain_graph=True)
    assert host_launches() == before
    return [y, *gradients, *(wg.autograd.grad(y, leaves[2:], g) if leaves[2:] else ())]


def compare(function, shapes, dtype=wg.float64, **options):
    """On the device as on the processor, on the device alone, the same twice."""
    operands = [numbers(s, i, dtype) for i, s in enumerate(shapes)]
    there = run(function, operands, "cuda", options)
    again = run(function, operands, "cuda", options)
    here = run(function, operands, "cpu", options)
    for a, b, c in zip(there, again, here, strict=True):
        assert a.dtype == c.dtype
        assert a.shape == c.shape
        x, y, z = (t.to(device="cpu", dtype=wg.float64).detach().numpy() for t in (a, b, c))
        assert np.array_equal(x, y)
        scale = max(1.0, float(np.abs(z).max(initial=0)))
        np.testing.assert_allclose(x, z, rtol=0, atol=tolerance(dtype) * scale)


CASES = [
    # axes, x, w, options
    (1, (2, 3, 17), (4, 3, 3), {"padding": 1}),
    (1, (1, 5, 40), (7, 5, 4), {"stride": 3, "padding": 2, "dilation": 2}),
    (2, (2, 3, 9, 11), (6, 3, 3, 3), {"padding": 1}),
    (2, (1, 8, 8, 8), (70, 8, 1, 1), {}),
    (2, (2, 5, 7, 6), (9, 5, 2, 3), {"stride": (2, 1), "padding": (1, 2), "dilation": (1, 2)}),
    (2, (3, 6, 8, 9), (12, 2, 3, 3), {"groups": 3, "stride": 2, "padding": 1}),
    (2, (2, 6, 10, 9), (6, 1, 3, 3), {"groups": 6, "padding": 1}),
    (2, (2, 4, 9, 9), (8, 1, 5, 3), {"groups": 4, "stride": 2, "padding": 2}),
    (2, (1, 3, 12, 12), (20, 3, 4, 4), {"stride": 4}),
    (2, (1, 2, 5, 5), (3, 2, 3, 3), {"padding": 4, "dilation": 3}),
    (2, (1, 2, 9, 9), (5, 2, 2, 2), {"stride": 3, "dilation": 2}),
    (3, (1, 2, 5, 6, 4), (5, 2, 3, 2, 3), {"stride": (1, 2, 1), "padding": 1}),
    (2, (1, 33, 6, 6), (33, 33, 3, 3), {"padding": 1}),
]


@pytest.mark.parametrize(("axes", "x", "w", "options"), CASES)
@pytest.mark.parametrize("bias", [False, True])
def test_convolution(axes, x, w, options, bias):
    """All options; sizes that fill no tile."""
    compare(FORWARD[axes], [x, w, (w[0],)][: 2 + bias], **options)


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16, wg.float16])
@pytest.mark.parametrize("case", [2, 3, 5, 6, 12])
def test_dtypes(case, dtype):
    """The other floating dtypes."""
    axes, x, w, options = CASES[case]
    compare(FORWARD[axes], [x, w, (w[0],)], dtype, **options)


@pytest.mark.parametrize(
    ("axes", "x", "w", "options"),
    [
        (1, (2, 4, 6), (4, 3, 4), {"stride": 2, "padding": 1}),
        (2, (1, 5, 4, 5), (5, 6, 3, 3), {"stride": 2, "padding": 1, "output_padding": 1}),
        (2, (2, 6, 3, 4), (6, 2, 3, 2), {"groups": 3, "stride": (3, 1), "dilation": (1, 2)}),
        (2, (1, 3, 3, 3), (3, 2, 4, 4), {"stride": 4}),
        (3, (1, 2, 3, 2, 3), (2, 5, 2, 3, 2), {"stride": 2}),
    ],
)
def test_transposed(axes, x, w, options):
    """Transposed convolutions, with places that no tap reaches."""
    bias = w[1] * options.get("groups", 1)
    compare(TRANSPOSED[axes], [x, w, (bias,)], **options)


@pytest.mark.parametrize(
    ("x", "w", "dtype"),
    [
        ((1, 3, 24, 24), (130, 3, 3, 3), wg.float32),
        ((4, 72, 10, 10), (136, 72, 1, 1), wg.float32),
        ((1, 40, 12, 12), (24, 40, 3, 3), wg.float32),
        ((2, 3, 70, 70), (2, 3, 3, 3), wg.float32),
    ],
)
def test_tiles(x, w, dtype):
    """Sizes for each of the tiles, and for sums over places in several parts."""
    compare(F.conv2d, [x, w, (w[0],)], dtype, padding=1)


def test_large_tile():
    """As many places and channels as the largest tile is used for."""
    x, w = numbers((1, 2, 170, 160), 0, wg.float32), numbers((66, 2, 2, 2), 1, wg.float32)
    y = F.conv2d(x.to("cuda"), w.to("cuda")).to("cpu")
    np.testing.assert_allclose(y.numpy(), F.conv2d(x, w).numpy(), rtol=0, atol=1e-4)


def test_empty():
    """No samples, or no channels of input: zeros and bias."""
    b = numbers((4,), 0, wg.float32).to("cuda")
    y = F.conv2d(wg.zeros(0, 3, 5, 5, device="cuda"), wg.zeros(4, 3, 3, 3, device="cuda"), b)
    assert tuple(y.shape) == (0, 4, 3, 3)


def test_not_finite():
    """What is not finite reaches the places whose windows hold it, and none other."""
    x = numbers((1, 2, 9, 9), 0, wg.float32)
    x[0, 1, 4, 4] = float("nan")
    x[0, 0, 0, 0] = float("inf")
    w = numbers((40, 2, 3, 3), 1, wg.float32)
    here = F.conv2d(x, w, padding=1).numpy()
    there = F.conv2d(x.to("cuda"), w.to("cuda"), padding=1).to("cpu").numpy()
    np.testing.assert_allclose(there, here, rtol=0, atol=1e-4)


def test_second_derivative():
    """Gradients of gradients are convolutions again."""
    results = []
    for device in ("cpu", "cuda"):
        x = numbers((1, 3, 6, 6), 0, wg.float64).to(device).requires_grad_(True)
        w = numbers((4, 3, 3, 3), 1, wg.float64).to(device).requires_grad_(True)
        y = F.conv2d(x, w, stride=2, padding=1)
        gx, gw = wg.autograd.grad((y * y).sum(), [x, w], create_graph=True)
        results.append(wg.autograd.grad((gx * gx).sum() + (gw * gw).sum(), [x, w]))
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(b.to("cpu").numpy(), a.numpy(), rtol=1e-9)
