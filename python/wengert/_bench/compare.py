"""The comparison at full length: ``python bench/peers/run.py``; ``--help`` tells the options.

Each number of threads is measured in a process of its own, with the libraries' threads set before
they are imported, so that no two pools are ever sized differently in one process.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import json
import math
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import peers, report
from .harness import Settings, run_case

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .harness import Case

FAMILIES = (
    "scalar", "overhead", "rows", "gemm", "layer", "mlp", "cnn", "transformer", "train",
    "ensemble", "optim", "anomaly", "derivative", "first",
)  # fmt: skip
# Those of rows over several sizes, that end in tables of ratios.
SWEEP = ("elementwise", "reduce", "scan", "sort", "index", "join", "product", "loss", "random")
IMPORTS, MEMORY = "import", "memory"
_FLAGS = ("sweep", "compile", "peak", "brief")  # passed on to the process that measures


def parse(argv: Sequence[str] | None = None) -> argparse.Namespace:
    """Return the options."""
    p = argparse.ArgumentParser(description="wengert beside NumPy, PyTorch, JAX and MLX.")
    p.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="each in a process")
    p.add_argument("--only", nargs="+", default=[], metavar="NAME",
                   help="only cases whose name contains one of these")  # fmt: skip
    p.add_argument("--family", nargs="+", default=[], choices=(*FAMILIES, *SWEEP, IMPORTS, MEMORY))
    p.add_argument("--size", nargs="+", default=[], help="only cases of these: 1k, 1M, 16M, ...")
    p.add_argument(
        "--sweep",
        action="store_true",
        help="only the families that end in tables of ratios, quickly",
    )
    p.add_argument("--table", type=Path, help="write the ratios there, as Markdown")
    p.add_argument("--out", type=Path, help="write all figures there, as JSON")
    p.add_argument("--wait", choices=peers.WAITS, default="native",
                   help="whether idle threads of OpenMP and OpenBLAS spin as by default, and are "
                   "waited for, or sleep at once")  # fmt: skip
    p.add_argument("--budget", type=float, default=3.0, help="seconds a case, at least")
    p.add_argument("--rounds", type=int, default=10, help="rounds a case, at least")
    p.add_argument("--limit", type=float, default=math.inf,
                   help="seconds after which cases still to come are left out")  # fmt: skip
    p.add_argument("--quick", action="store_true", help="a smoke run: 0.2 seconds, 3 rounds")
    p.add_argument("--list", action="store_true", help="print the names of the cases and stop")
    p.add_argument("--compile", action="store_true",
                   help="also torch.compile in training steps: up to a minute a case")  # fmt: skip
    p.add_argument("--peak", action="store_true", help="also measure what the machine can do")
    p.add_argument("--brief", action="store_true", help="name the cases, without their tables")
    p.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = p.parse_args(argv)
    if options.quick:
        options.budget, options.rounds = 0.2, 3
    if options.sweep:
        options.family = options.family or list(SWEEP)
        options.budget, options.rounds = 0.1, 3
    return options


def wanted(name: str, options: argparse.Namespace) -> bool:
    """Return whether a case was asked for."""
    family, _, rest = name.partition("/")
    return (
        (not options.only or any(part in name for part in options.only))
        and (not options.family or family in options.family)
        and (not options.size or rest.rpartition("/")[2] in options.size)
    )


def find_cases(options: argparse.Namespace) -> list[Case]:
    """Return the cases asked for, of all families."""
    modules = [
        importlib.import_module(f"wengert._bench.cases_{family}") for family in (*FAMILIES, *SWEEP)
    ]
    return [case for m in modules for case in m.CASES if wanted(case.name, options)]


def run_child(options: argparse.Namespace) -> None:
    """Measure with one number of threads, in this process."""
    threads = options.threads[0]
    libraries = peers.load(threads)
    libraries.compile = options.compile
    settings = Settings(budget=options.budget, min_rounds=options.rounds, settle=threads > 1)
    if options.sweep:
        settings = replace(settings, stretch=0.002, warm=0.0002)
    # Before and after: a busy moment must not pass for the machine's limit.
    peaks = [libraries.wg._core.measure_peak()] if options.peak else []
    results = []
    end = time.monotonic() + options.limit
    for case in find_cases(options):
        result = run_case(case, libraries, settings)
        text = result["name"] if options.brief else report.case_text(result, threads)
        print(text, file=sys.stderr if options.brief else sys.stdout, flush=True)
        results.append(result)
        gc.collect()
        if time.monotonic() > end:
            print(f"{options.limit:g} seconds are over; cases after {case.name} are left out")
            break
    found = {n: peers.version(n) for n in peers.NAMES if libraries.has(n)}
    run = {
        "threads": threads,
        "isa": libraries.wg._core.config()["isa"],
        "wait": options.wait,
        "placed": libraries.placed,
        "versions": found,
        "environment": peers.settings(),
        "pools": peers.pools(),
        "cases": results,
    }
    if peaks:
        peaks.append(libraries.wg._core.measure_peak())
        run["peak"] = {"flops": max(p[0] for p in peaks), "bytes": max(p[1] for p in peaks)}
    options.child.write_text(json.dumps(run))


def run_threads(options: argparse.Namespace, threads: int, folder: Path) -> dict[str, Any]:
    """Measure with one number of threads, in a fresh process."""
    out = folder / f"{threads}.json"
    command = [sys.executable, "-m", "wengert._bench.compare", "--threads", str(threads)]
    command += ["--wait", options.wait, "--budget", str(options.budget)]
    command += ["--rounds", str(options.rounds), "--child", str(out)]
    command += ["--limit", str(options.limit)]
    for name in ("only", "family", "size"):
        given = getattr(options, name)
        command += [f"--{name}", *given] if given else []
    command += [f"--{name}" for name in _FLAGS if getattr(options, name)]
    subprocess.run(command, env=peers.environment(threads, options.wait), check=True)
    result: dict[str, Any] = json.loads(out.read_text())
    return result


def main(source: Path | None = None) -> int:
    """Run what was asked for; 1 if a case was refused. `source`: whose commit is recorded."""
    options = parse()
    if options.child:
        run_child(options)
        return 0
    if options.list:
        print("\n".join([*(c.name for c in find_cases(options)), IMPORTS, MEMORY]))
        return 0
    results = report.header(source)
    runs: list[dict[str, Any]] = []
    if find_cases(options):
        with tempfile.TemporaryDirectory() as folder:
            runs = [run_threads(options, n, Path(folder)) for n in options.threads]
    results["runs"] = runs
    if wanted(IMPORTS, options):
        imports = importlib.import_module("wengert._bench.cases_import")
        results["import"] = imports.measure(rounds=5 if options.quick else 20)
        print(imports.text(results["import"]), flush=True)
    if wanted(MEMORY, options) and Path("/proc/self/status").exists():
        memory = importlib.import_module("wengert._bench.cases_memory")
        results["memory"] = memory.measure(options.threads[0])
        print(memory.text(results["memory"]), flush=True)
    tables = [f"{report.described(results, r)}\n\n{report.ratio_tables(r)}\n" for r in runs]
    shown = tables if options.sweep else [report.not_ahead(runs) if runs else ""]
    for summary in (*shown, report.overloaded(runs)):
        if summary:
            print(f"{summary}\n")
    if options.table:
        options.table.parent.mkdir(parents=True, exist_ok=True)
        title = "# wengert beside NumPy, PyTorch and JAX, family by family"
        options.table.write_text("\n\n".join([title, *tables]))
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(results, indent=1) + "\n")
        print(f"written: {options.out}")
    refused = [c["name"] for run in runs for c in run["cases"] if "refused" in c]
    if refused:
        print(f"refused: {', '.join(refused)}", file=sys.stderr)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
