"""Autocast on the CPU: which dtype comes out, gradients, nesting, and training to full accuracy."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812

torch = pytest.importorskip("torch")

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"
DTYPES = ("bfloat16", "float16")

# What stands for a: (4, 4) float32, h: 16 bits, i: (4,) int64, w: (3, 4, 4), x: (1, 1, 4, 4).
EXPRESSIONS = [
    "a @ a", "a @ h", "a @ a[0]", "a[0] @ a[0]", "m.matmul(a, a)", "a.mm(a)", "m.bmm(w, w)",
    "m.addmm(a, a, a)", "m.addmm(a, a, a, beta=0.5, alpha=2)", "m.baddbmm(w, w, w)",
    "m.addbmm(a, w, w)", "m.einsum('ij,jk->ik', a, a)", "m.tensordot(a, a, 1)", "m.inner(a, a)",
    "m.matrix_power(a, 2)", "m.linalg.vecdot(a, a)", "m.chain_matmul(a, a)",
    "F.linear(a, a)", "F.linear(a, a, a[0])", "F.linear(h, a, a[0])", "m.nn.Linear(4, 2)(a)",
    "F.conv2d(x, x)", "F.conv_transpose2d(x, x)", "F.scaled_dot_product_attention(x, x, x)",
    "m.nn.Sequential(m.nn.Linear(4, 8), m.nn.ReLU(), m.nn.Linear(8, 2))(a)",
    "m.mv(a, a[0])", "m.outer(a[0], a[0])", "m.dot(a[0], a[0])", "F.bilinear(a, a, w)",
    "F.mse_loss(h, h)", "F.l1_loss(h, a)", "F.smooth_l1_loss(h, h)", "F.huber_loss(h, h)",
    "F.cross_entropy(h, i)", "F.nll_loss(h, i)", "F.kl_div(h, h)",
    "F.binary_cross_entropy(h.sigmoid(), h.sigmoid())",
    "F.binary_cross_entropy_with_logits(h, h)", "h.prod()", "h.trace()", "m.cdist(h, h)",
    "h + a", "h + h", "h.softmax(1)", "h.sum()", "m.cat([a, h])", "a.exp()",
    "F.layer_norm(h, (4,))", "F.relu(a @ a)", "a.double() @ a.double()",
]  # fmt: skip


def _dtype(m: Any, dtype: str, expression: str) -> str:
    a = m.tensor(np.random.default_rng(0).random((4, 4), np.float32))
    scope = {
        "m": m, "F": m.nn.functional, "a": a, "h": a.to(getattr(m, dtype)), "w": m.stack([a] * 4),
        "x": a[None, None], "i": m.tensor([0, 1, 2, 3]),
    }  # fmt: skip
    with m.autocast("cpu", dtype=getattr(m, dtype)):
        return str(eval(expression, scope).dtype).split(".")[1]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_dtypes_are_torch_s(dtype: str, expression: str) -> None:
    if expression == "F.bilinear(a, a, w)":
        expression = "F.bilinear(a, a, w[:3])"
    try:
        theirs = _dtype(torch, dtype, expression)
    except RuntimeError:
        pytest.skip("not so in PyTorch")
    assert _dtype(wg, dtype, expression) == theirs


def test_gradients_reach_float32_parameters() -> None:
    rng = np.random.default_rng(1)
    x, w, b = (rng.standard_normal(s).astype(np.float32) for s in ((9, 33), (5, 33), (5,)))
    grads = []
    for m in (wg, torch):
        parameters = [m.tensor(v).requires_grad_() for v in (x, w, b)]
        with m.autocast("cpu", dtype=m.bfloat16):
            y = m.nn.functional.linear(*parameters)
            loss = m.nn.functional.mse_loss(y, m.zeros(9, 5))
        loss.backward()
        assert all(p.grad.dtype == m.float32 for p in parameters)
        grads.append([p.grad.numpy() for p in parameters])
    for ours, theirs in zip(*grads, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=2**-7 * np.abs(theirs).max())


def test_blocks_nest_and_belong_to_a_thread() -> None:
    a = wg.ones(2, 2)

    def product() -> wg.dtype:
        return (a @ a).dtype

    seen = []
    with wg.autocast("cpu"):
        assert wg.is_autocast_enabled("cpu")
        assert product() is wg.bfloat16
        with wg.autocast("cpu", dtype=wg.float16):
            assert product() is wg.float16
            assert wg.get_autocast_dtype("cpu") is wg.float16
            with wg.autocast("cpu", enabled=False):
                assert product() is wg.float32
        assert product() is wg.bfloat16
        other = threading.Thread(target=lambda: seen.append(product()))
        other.start()
        other.join()
    assert seen == [wg.float32]
    assert product() is wg.float32
    assert not wg.is_autocast_enabled("cpu")
    assert wg.get_autocast_dtype("cpu") is wg.bfloat16

    with pytest.raises(ZeroDivisionError), wg.autocast("cpu"):
        raise ZeroDivisionError
    with wg.autocast("cpu"), pytest.raises(RuntimeError, match="inner sizes differ"):
        wg.ones(2, 3) @ wg.ones(2, 3)
    assert product() is wg.float32

    @wg.autocast("cpu", dtype=wg.bfloat16)
    def decorated(times: int) -> wg.dtype:
        return product() if times == 0 else decorated(times - 1)

    assert decorated(3) is wg.bfloat16
    assert product() is wg.float32
    assert wg.amp.is_autocast_available("cpu")
    assert wg.amp.is_autocast_available("cuda")  # whether there is such a device or not
    assert not wg.amp.is_autocast_available("mps")
    with wg.amp.autocast("cuda"):
        assert product() is wg.float32


def _accuracy(dtype: wg.dtype | None) -> float:
    with np.load(MNIST) as data:
        train, test = (
            (
                wg.from_numpy(data[f"x_{part}"].reshape(-1, 784).astype(np.float32) / 255),
                wg.from_numpy(data[f"y_{part}"].astype(np.int64)),
            )
            for part in ("train", "test")
        )
    wg.manual_seed(0)
    net = wg.nn.Sequential(wg.nn.Linear(784, 128), wg.nn.ReLU(), wg.nn.Linear(128, 10))
    optimizer = wg.optim.Adam(net.parameters(), lr=2e-3)
    for _ in range(2):
        order = wg.randperm(len(train[1]))
        for k in range(0, len(order), 100):
            rows = order[k : k + 100]
            with wg.autocast("cpu", dtype=dtype, enabled=dtype is not None):
                loss = F.cross_entropy(net(train[0][rows]), train[1][rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    assert net[0].weight.dtype is wg.float32
    with wg.no_grad(), wg.autocast("cpu", dtype=dtype, enabled=dtype is not None):
        return (net(test[0]).argmax(1) == test[1]).float().mean().item()


@pytest.mark.skipif(
    not MNIST.is_file(), reason="no file shared/data/mnist.npz beside the repository"
)
def test_training_reaches_the_accuracy_of_float32() -> None:
    full, half = _accuracy(None), _accuracy(wg.bfloat16)
    assert full > 0.96
    assert half > full - 0.005
