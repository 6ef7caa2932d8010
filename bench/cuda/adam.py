"""Bandwidth of Adam's step on a CUDA device, beside a copy's and beside PyTorch's fused step.

    python bench/cuda/adam.py [--elements 100_000_000]

A row an arrangement: one tensor or 500, parameters and states of various dtypes, clipping. "bytes"
are what has to be moved: gradient, parameter and states read, the last two written. "of copy" is
the rate beside that of a copy within the device's memory. Times are those of the least of some
rounds, taken by events; the last table tells what a step of little tensors takes on the host.
"""

from __future__ import annotations

import argparse
import time
from typing import TYPE_CHECKING, Any

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable

BYTES = {wg.float32: 4, wg.float64: 8, wg.bfloat16: 2, "8bit": 1 + 4 / 256}


def least(m: Any, call: Callable[[], Any], rounds: int = 20) -> float:
    """Return the least time of a call on the device, in seconds."""
    times = []
    for k in range(rounds + 3):
        start, end = (m.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        end.record()
        m.cuda.synchronize()
        if k >= 3:
            times.append(start.elapsed_time(end) / 1e3)
    return min(times)


def made(m: Any, elements: int, tensors: int, dtype: str) -> list[Any]:
    """Return parameters with gradients."""
    sizes = [elements // tensors] * tensors
    params = []
    for n in sizes:
        p = m.ones(n, dtype=getattr(m, dtype), device="cuda").requires_grad_()
        p.grad = m.ones(n, dtype=getattr(m, dtype), device="cuda")
        params.append(p)
    return params


def copy_rate(elements: int) -> float:
    """Return the bytes read and written in a second by a copy within the device."""
    x = wg.ones(elements, device="cuda")
    y = wg.empty(elements, device="cuda")
    return 8 * elements / least(wg, lambda: y.copy_(x))


def report(name: str, seconds: float, moved: float, copy: float) -> None:
    """Print a row."""
    rate = moved / seconds
    print(f"{name:44} {seconds * 1e3:8.3f} ms {rate / 1e9:8.0f} GB/s {rate / copy:7.1%}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--elements", type=int, default=100_000_000)
    n = parser.parse_args().elements
    if not wg.cuda.is_available():
        print("no CUDA device: nothing is measured")
        return
    copy = copy_rate(n)
    print(f"{wg.cuda.get_device_name()}, {n} elements; a copy moves {copy / 1e9:.0f} GB/s")
    rows: list[tuple[str, int, Any, bool]] = [
        ("float32", 1, None, False),
        ("float32", 500, None, False),
        ("float32", 1, None, True),
        ("float32", 1, wg.bfloat16, False),
        ("float32", 1, "8bit", False),
        ("bfloat16", 1, wg.float32, False),
        ("bfloat16", 1, None, False),
        ("bfloat16", 1, "8bit", False),
        ("float64", 1, None, False),
    ]
    for dtype, tensors, kept, clips in rows:
        opt = wg.optim.Adam(made(wg, n, tensors, dtype), state_dtype=kept)
        size, state = BYTES[getattr(wg, dtype)], BYTES[kept or getattr(wg, dtype)]
        moved = n * (3 * size + 4 * state + (size if clips else 0))
        given: dict[str, Any] = {"max_norm": 1.0} if clips else {}
        seconds = least(wg, lambda o=opt, g=given: o.step(**g))
        name = f"{tensors} x {dtype}, states {kept or 'as they'}{', clipped' if clips else ''}"
        report(name, seconds, moved, copy)
        del opt
        wg.cuda.empty_cache()
    compare(n, copy)


def compare(n: int, copy: float) -> None:
    """Print PyTorch's rows, if it has CUDA, and what little steps take."""
    try:
        import torch
    except ImportError:
        torch = None
    libraries = {"wengert": wg}
    if torch is None or not torch.cuda.is_available():
        print("PyTorch is not installed, or has no CUDA: no comparison")
    else:
        libraries["torch"] = torch
        for dtype, tensors in (("float32", 1), ("float32", 500), ("bfloat16", 1)):
            opt = torch.optim.Adam(made(torch, n, tensors, dtype), fused=True)
            moved = n * 7 * (4 if dtype == "float32" else 2)
            seconds = least(torch, opt.step)
            report(f"{tensors} x {dtype}, PyTorch's fused", seconds, moved, copy)
            del opt
            torch.cuda.empty_cache()
    for name, m in libraries.items():
        for tensors in (10, 150, 500):
            given = {"fused": True} if m is not wg else {}
            opt = m.optim.Adam(made(m, 64 * tensors, tensors, "float32"), **given)
            on_device = least(m, opt.step)
            start = time.perf_counter()
            for _ in range(200):
                opt.step()
            on_host = (time.perf_counter() - start) / 200
            m.cuda.synchronize()
            print(
                f"{name}: {tensors} tensors of 64: {on_host * 1e6:.1f} us on the host, "
                f"{on_device * 1e6:.1f} us on the device"
            )


if __name__ == "__main__":
    main()
