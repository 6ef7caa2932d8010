"""Matrix products called from C++, beside the BLAS libraries of this machine.

    python bench/gemm_peers.py build/release/bench/native/gemm_peers \
        --library MKL=/path/libmkl_rt.so.3 --library BLIS=/path/libblis.so.4 --out gemm.json

OpenBLAS is the one in NumPy's wheel, unless another is given under that name. Each number of
threads is a process of its own, bound to so many processors, with the libraries' threads set by
their environment. Ends with the ratio of the best library's time to wengert's, shape by shape,
and their geometric mean.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from wengert._bench import peers, report


def openblas() -> Path | None:
    """Return the library in NumPy's wheel, if it is one."""
    beside = Path(np.__file__).parent.with_name("numpy.libs")
    return next(iter(beside.glob("libscipy_openblas*")), None)


def measure(options: argparse.Namespace, libraries: list[str], threads: int) -> list[Any]:
    """Return the shapes' figures with one number of threads."""
    # A library's idle threads must not spin on the processor that another's works on.
    wait = "passive" if threads > 1 else "native"
    env = peers.environment(threads, wait) | {"BLIS_NUM_THREADS": str(threads)}
    env |= {
        "OMP_PROC_BIND": "true",
        "MKL_THREADING_LAYER": "INTEL" if threads > 1 else "SEQUENTIAL",
    }
    command = [options.program, "--threads", str(threads), "--seconds", str(options.seconds)]
    command += ["--float64"] if options.float64 else []
    # The first processor serves the system's interrupts: one thread goes elsewhere.
    chosen = set(sorted(os.sched_getaffinity(0))[-threads:])
    done = subprocess.run(
        [*command, *libraries],
        env=env,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: os.sched_setaffinity(0, chosen),
    )
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def table(shapes: list[Any]) -> str:
    """Return a line a shape: GFLOP/s of each, and the best library's time over ours."""
    names = [row["name"] for row in shapes[0]["rows"]]
    lines, logs = [], []
    for s in shapes:
        rows = s["rows"]
        flops = 2e-9 * s["m"] * s["n"] * s["k"]
        ratios = [min(r[key] for r in rows[1:]) / rows[0][key] for key in ("min_s", "median_s")]
        logs.append([math.log(r) for r in ratios])
        size = f"{s['m']}x{s['k']} by {s['k']}x{s['n']} {s['form']}"
        speeds = [f"{flops / r['min_s']:.1f}" for r in rows]
        lines.append([size, *speeds, *(f"{r:.2f}" for r in ratios)])
    means = [math.exp(sum(column) / len(logs)) for column in zip(*logs, strict=True)]
    lines.append(["geometric mean", *("" for _ in names), *(f"{m:.3f}" for m in means)])
    return report.table(["GFLOP/s", *names, "ratio min", "ratio median"], lines)


def main() -> int:
    """Measure and print."""
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    p.add_argument("program", help="the built bench/native/gemm_peers")
    p.add_argument("--library", action="append", default=[], metavar="NAME=PATH")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    p.add_argument("--seconds", type=float, default=0.5, help="a shape")
    p.add_argument("--float64", action="store_true")
    p.add_argument("--out", type=Path, help="write all figures there, as JSON")
    options = p.parse_args()
    libraries = list(options.library)
    found = openblas()
    if found and not any(given.startswith("OpenBLAS=") for given in libraries):
        libraries.append(f"OpenBLAS={found}")
    if not libraries:
        p.error("no library to compare with")
    results = report.header()
    results["libraries"] = [Path(given.partition("=")[2]).name for given in libraries]
    results["runs"] = []
    for threads in options.threads:
        shapes = measure(options, libraries, threads)
        results["runs"].append({"threads": threads, "float64": options.float64, "cases": shapes})
        print(f"{threads} thread(s), {'float64' if options.float64 else 'float32'}")
        print(table(shapes), flush=True)
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
