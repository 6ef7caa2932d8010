"""Counts machine instructions of small workloads, under Valgrind's Callgrind.

Unlike times, these are the same on a busy machine: they show when a call has become longer, before
a stopwatch can. One process runs each workload n times, then 2 n times, a few rounds, and lets
Callgrind write down its counters in between; the difference of two stretches is n workloads,
without what surrounds them. Kernels are those of AVX2: Valgrind knows no AVX-512.

    python bench/instructions.py             # prints the counts, beside those on file
    python bench/instructions.py --check     # and fails where one has grown by more than 5 %
    python bench/instructions.py --update    # puts the new counts on file

Counts depend on the compiler and on Python: the file keeps them by both.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from wengert._bench import cases_mlp, cases_overhead, cases_scalar, peers, report
from wengert._bench.harness import Loop

FILE = Path(__file__).parent / "results" / "instructions.json"
GROWTH = 1.05
# Workload: how often a stretch runs it. Its statement is wengert's in the case of that name.
WORKLOADS = {
    "scalar/recorded/add": 200,
    "scalar/recorded/mul": 200,
    "scalar/recorded/tanh": 200,
    "scalar/unrecorded/add": 200,
    "scalar/chain/forward and backward": 10,
    "overhead/nn.Linear(8, 8) recorded/batch 1": 100,
    "overhead/Adam step/6 small tensors": 50,
    "overhead/x[0]/1k": 200,
    "overhead/sum/1k": 200,
    "overhead/vmap of grad/4x3": 20,
    "mlp/training step/64-64-64-10 batch 32": 10,
}
WARM = 30  # runs before counting: caches of blocks, of types and of the interpreter's code
ROUNDS = 5  # of both stretches; the median counts
MARK = "getppid"  # called nowhere else: Callgrind writes its counters down at each call


def run_workloads() -> None:
    """Run everything, marking the stretches; this is what Valgrind watches."""
    alone = peers.ours(threads=1)
    cases = {c.name: c for m in (cases_scalar, cases_overhead, cases_mlp) for c in m.CASES}
    gc.collect()
    gc.disable()
    for name, n in WORKLOADS.items():
        candidate = cases[name].build(alone)[0]
        loop = Loop(candidate)
        loop.run(WARM)
        for _ in range(ROUNDS):
            os.getppid()
            loop.run(n)
            os.getppid()
            loop.run(2 * n)
        os.getppid()


def key() -> str:
    """Return what the counts depend on besides the source."""
    import wengert as wg

    compiler = " ".join(wg._core.config()["compiler"].split()[:2])
    python = f"Python {sys.version_info.major}.{sys.version_info.minor}"
    return f"{compiler}; {python}, {platform.python_compiler()}; {platform.machine()}"


def count() -> dict[str, float]:
    """Return the instructions of one run of each workload."""
    # What is in the environment and where things lie in memory would show in the counts.
    kept = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "VIRTUAL_ENV", "HOME")
    env = {k: v for k, v in os.environ.items() if k in kept}
    env |= {"PYTHONHASHSEED": "0", "WENGERT_ISA": "avx2", "OPENBLAS_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, __file__, "--run"]
        watch = ["valgrind", "--tool=callgrind", f"--dump-before={MARK}"]
        command = [*watch, f"--callgrind-out-file={folder}/out", *command]
        if shutil.which("setarch"):
            command = ["setarch", platform.machine(), "-R", *command]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"the workloads failed under Valgrind:\n{done.stderr}")
        parts = sorted(Path(folder).glob("out.*"), key=lambda p: int(p.suffix[1:]))
        totals = [_total(p) for p in parts]
    # A dump of what came before the workload, then two a round.
    each = 2 * ROUNDS + 1
    if len(totals) < each * len(WORKLOADS):
        raise RuntimeError(f"only {len(totals)} dumps:\n{done.stderr}")
    counts = {}
    for i, (name, n) in enumerate(WORKLOADS.items()):
        once, twice = totals[each * i + 1 : each * (i + 1) : 2], totals[each * i + 2 :: 2][:ROUNDS]
        counts[name] = statistics.median((b - a) / n for a, b in zip(once, twice, strict=True))
    return counts


def _total(path: Path) -> int:
    found = re.search(r"^totals: (\d+)", path.read_text(), re.MULTILINE)
    if not found:
        raise RuntimeError(f"{path.name} has no totals")
    return int(found.group(1))


def main() -> int:
    """Count and compare; 1 if --check finds growth."""
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--check", action="store_true")
    p.add_argument("--update", action="store_true")
    p.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = p.parse_args()
    if options.run:
        run_workloads()
        return 0
    if not shutil.which("valgrind"):
        print("valgrind is not installed", file=sys.stderr)
        return 2
    on_file: dict[str, Any] = json.loads(FILE.read_text()) if FILE.exists() else {}
    known, found = on_file.get(key(), {}), count()
    rows, grown = [], []
    for name, n in found.items():
        before = known.get(name)
        rows.append([name, f"{n:,.0f}", f"{before:,.0f}" if before else "",
                     f"{n / before - 1:+.1%}" if before else ""])  # fmt: skip
        if before and n > GROWTH * before:
            grown.append(name)
    print(report.table(["instructions", "now", "on file", "growth"], rows))
    if not known:
        print(f"no counts on file for {key()}: nothing to compare with; see --update")
    if options.update:
        on_file[key()] = {name: round(n) for name, n in found.items()}
        FILE.write_text(json.dumps(on_file, indent=1, sort_keys=True) + "\n")
    elif options.check and grown:
        print(f"more than {GROWTH - 1:.0%} above the file: {', '.join(grown)}", file=sys.stderr)
        print("Make them shorter, or say why not and run with --update.", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
