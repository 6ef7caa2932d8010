"""Speed of matrix products on a CUDA device, in GFLOP/s.

A row for each shape and dtype: the own kernels as they are chosen (and each tile with ``--tiles``),
cuBLASLt called by wengert, and PyTorch, each where it is there. A time is the least of several
rounds; a round is as many products as take some milliseconds, between two events. Results are
compared with a product in float64 before anything is timed.

    python bench/cuda/gemm.py [--dtype float32 tf32 bfloat16] [--shape 4096x4096x4096] [--json F]
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import wengert as wg
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable

TILES = ("large", "medium", "small", "thin")
DTYPES = ("float32", "tf32", "bfloat16", "float16", "float64")
# m x n x k: square; networks' layers at several batches; decoding; gradients of weights.
SHAPES = (
    "256x256x256",
    "512x512x512",
    "1024x1024x1024",
    "2048x2048x2048",
    "4096x4096x4096",
    "8192x8192x8192",
    "64x512x784",
    "512x2048x512",
    "8192x768x768",
    "8192x3072x768",
    "8192x768x3072",
    "1x4096x4096",
    "8x4096x4096",
    "4096x1x4096",
    "128x128x65536",
    "768x768x16384",
    "1000x1000x1000",
    "1023x1023x1023",
)
TOLERANCE = {"float32": 1e-5, "tf32": 5e-3, "bfloat16": 2e-2, "float16": 5e-3, "float64": 1e-12}
ROUNDS, ROUND_MS = 7, 20.0


def milliseconds(module: Any, call: Callable[[], object]) -> float:
    """Return the least time of a call, by the events of wengert or of PyTorch."""

    def timed(count: int) -> float:
        begin = module.cuda.Event(enable_timing=True)
        end = module.cuda.Event(enable_timing=True)
        begin.record()
        for _ in range(count):
            call()
        end.record()
        end.synchronize()
        return float(begin.elapsed_time(end)) / count

    timed(3)
    count = max(1, min(1000, int(ROUND_MS / max(timed(3), 1e-3))))
    return min(timed(count) for _ in range(ROUNDS))


def ways(tiles: bool) -> dict[str, tuple[str, str]]:
    """Return what is timed of wengert: name to (forced kernel, cuBLASLt's place)."""
    found = {"own": ("", "0")}
    if tiles:
        found |= {tile: (tile, "0") for tile in TILES}
    _core.cuda.set_cublas("1")
    if _core.cuda.cublas():
        found["cublasLt"] = ("library", _core.cuda.cublas())
    return found


def torch_of_cuda() -> Any:
    """Return PyTorch if it is there and sees a device."""
    if importlib.util.find_spec("torch") is None:
        return None
    import torch

    return torch if torch.cuda.is_available() else None


def rows(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Time every shape and dtype, and print each row as it is there."""
    torch = torch_of_cuda()
    timed = ways(options.tiles)
    columns = [*timed, *(["torch"] if torch else [])]
    print(f"{'m x n x k':>20} {'dtype':>9} " + " ".join(f"{c:>10}" for c in columns))
    out = []
    for dtype in options.dtype:
        precision = "high" if dtype == "tf32" else "highest"
        kept = "float32" if dtype == "tf32" else dtype
        wg.set_float32_matmul_precision(precision)
        if torch:
            torch.set_float32_matmul_precision(precision)
        for shape in options.shape:
            m, n, k = (int(x) for x in shape.split("x"))
            wide_a = wg.rand(m, k, dtype=wg.float64, device="cuda") - 0.5
            wide_b = wg.rand(k, n, dtype=wg.float64, device="cuda") - 0.5
            a, b = wide_a.to(getattr(wg, kept)), wide_b.to(getattr(wg, kept))
            _core.cuda.set_cublas("0")
            _core.cuda.force_gemm("")
            wanted = a.to(wg.float64) @ b.to(wg.float64)
            scale = float(wanted.abs().max().item())
            row: dict[str, Any] = {"shape": shape, "dtype": dtype}
            for name, (forced, library) in timed.items():
                if _core.cuda.cublas() != library.removeprefix("0"):
                    _core.cuda.set_cublas(library)
                _core.cuda.force_gemm(forced)
                error = float((wg.matmul(a, b).to(wg.float64) - wanted).abs().max().item()) / scale
                if error > TOLERANCE[dtype]:
                    sys.exit(f"{name}: {shape} {dtype}: wrong by {error}")
                row[name] = 2e-6 * m * n * k / milliseconds(wg, lambda a=a, b=b: wg.matmul(a, b))
            if torch:
                x = torch.rand(m, k, device="cuda", dtype=getattr(torch, kept)) - 0.5
                y = torch.rand(k, n, device="cuda", dtype=getattr(torch, kept)) - 0.5
                row["torch"] = 2e-6 * m * n * k / milliseconds(torch, lambda x=x, y=y: x @ y)
            print(f"{shape:>20} {dtype:>9} " + " ".join(f"{row[c]:10.0f}" for c in columns))
            out.append(row)
    return out


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n", maxsplit=1)[0])
    parser.add_argument("--dtype", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--shape", nargs="+", default=list(SHAPES), metavar="MxNxK")
    parser.add_argument("--tiles", action="store_true", help="each tile by itself too")
    parser.add_argument("--json", help="a file that the table goes to")
    options = parser.parse_args()
    if not wg.cuda.is_available():
        print(f"nothing to time: {_core.cuda.why_none()}")
        return 0
    if _core.cuda.emulated():
        print("nothing to time: this build runs CUDA's kernels on the processor, for tests")
        return 0
    table = {
        "device": wg.cuda.get_device_name(),
        "unit": "GFLOP/s",
        "cublasLt": _core.cuda.cublas(),
        "rows": rows(options),
    }
    if options.json:
        Path(options.json).write_text(json.dumps(table, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
