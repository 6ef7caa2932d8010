"""The same call on the processor and on the device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

import wengert as wg
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable


def listed(result: Any) -> list[Any]:
    return list(result) if isinstance(result, (list, tuple)) else [result]


def assert_alike(got: Any, want: Any, rtol: float = 0.0) -> None:
    """Bit by bit, NaN as NaN; or, of floating point numbers, nearly."""
    assert got.device.type == "cuda"
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    g, w = got.detach().cpu(), want.detach()
    if w.dtype in (wg.float16, wg.bfloat16):
        g, w = g.float(), w.float()
    if rtol and w.dtype.is_floating_point:
        np.testing.assert_allclose(g.numpy(), w.numpy(), rtol=rtol, atol=rtol)
    else:
        np.testing.assert_array_equal(g.numpy(), w.numpy())


def on_both(
    fn: Callable[..., Any], *args: Any, rtol: float = 0.0, relaid: bool = False, host: int = 0
) -> list[Any]:
    """Results there, which are those of here; `host`: kernels that the device lacks."""

    def tensor(a: Any, device: str) -> Any:
        if not isinstance(a, np.ndarray):
            return a
        t = wg.tensor(a, device=device)
        if relaid and t.dim() > 1:
            t = t.transpose(0, -1).contiguous().transpose(0, -1)
        return t

    want = listed(fn(*(tensor(a, "cpu") for a in args)))
    there = [tensor(a, "cuda") for a in args]
    before = _core.cuda.host_launches()
    got = listed(fn(*there))
    assert _core.cuda.host_launches() - before == host
    again = listed(fn(*there))
    for g, w, second in zip(got, want, again, strict=True):
        assert_alike(g, w, rtol)
        assert_alike(second, g.cpu())
    return got
