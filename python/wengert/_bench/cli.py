"""``wengert-bench``: this machine's figures, beside its limits and the libraries it has."""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import compare, picture, report
from .harness import WENGERT
from .peers import NAMES

if TYPE_CHECKING:
    from collections.abc import Sequence

# What one looks at first, of all cases; --only picks from all.
CHOSEN = (
    "scalar/recorded/add",
    "scalar/unrecorded/add",
    "scalar/chain/forward and backward",
    "overhead/",
    "elementwise/add/16M",
    "elementwise/exp/1M",
    "elementwise/tanh/1M",
    "elementwise/gelu/1M",
    "elementwise/addcmul/16M",
    "reduce/sum/16M",
    "reduce/sum, last axis/16M",
    "rows/softmax/",
    "rows/cross entropy",
    "gemm/64x64 by 64x64",
    "gemm/256x256 by 256x256",
    "gemm/1024x1024 by 1024x1024",
    "layer/",
    "mlp/",
    "optim/adam/",
)
EPILOG = """\
Ratios are of a library's best time to wengert's: above 1, wengert is faster. "of peak" is the share
of what the machine can do with so many operations and bytes: of its multiply-adds on registers
alone, or of its copying of 16 M float32 past the caches, both measured in the same run. What is in
a cache moves faster than that. Figures of a busy machine are worth little."""


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the options; exits with 2 where they cannot be used."""
    p = argparse.ArgumentParser(
        prog="wengert-bench", description=__doc__, epilog=EPILOG, allow_abbrev=False
    )
    p.add_argument("--threads", type=int, nargs="+", default=[1], metavar="N",
                   help="each in a process of its own; default: 1")  # fmt: skip
    p.add_argument("--only", nargs="+", default=[], metavar="NAME",
                   help="only cases whose name contains one of these")  # fmt: skip
    p.add_argument("--quick", action="store_true", help="a smoke run: seconds, and noise")
    p.add_argument("--list", action="store_true", help="print the names of all cases and stop")
    p.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    p.add_argument("--picture", type=Path, metavar="FILE",
                   help="draw them under the machine's limits (needs matplotlib): "
                   + ", ".join(picture.FORMATS))  # fmt: skip
    options = p.parse_args(argv)
    if min(options.threads) < 1:
        p.error(f"--threads: expected positive numbers, got {options.threads}")
    if options.picture and importlib.util.find_spec("matplotlib") is None:
        p.error("--picture: matplotlib is not installed: pip install 'wengert[plot]'")
    if options.picture and options.picture.suffix.lower() not in picture.FORMATS:
        p.error(f"--picture: expected a name in {', '.join(picture.FORMATS)}: {options.picture}")
    for path in (options.json, options.picture):
        if path and not path.parent.is_dir():
            p.error(f"no such folder: {path.parent}")
    return options


def of_peak(case: dict[str, Any], seconds: float, peak: dict[str, float]) -> str:
    """Return the share of what the machine's peaks allow, and which of the two is the limit."""
    computing, moving = case["flops"] / peak["flops"], case["nbytes"] / peak["bytes"]
    if not computing and not moving:
        return ""
    limit = "FLOP/s" if computing > moving else "copy"
    return f"{max(computing, moving) / seconds:.0%} {limit}"


def ratios(case: dict[str, Any]) -> dict[str, float]:
    """Return the ratio of each peer's best minimum to wengert's."""
    best: dict[str, float] = {}
    for row in case["rows"]:
        peer = row["name"].split()[0]
        best[peer] = min(row["ratio_min"], best.get(peer, row["ratio_min"]))
    return best


def run_text(run: dict[str, Any]) -> str:
    """Return the table of a run."""
    peers = [n for n in NAMES if n in run["versions"] and n != WENGERT]
    rows = []
    for case in run["cases"]:
        what, _, size = case["name"].rpartition("/")
        if "refused" in case:
            rows.append([what, size, "refused", "", "", *("" for _ in peers)])
            continue
        ours, found = case["rows"][0], ratios(case)
        times = [report.duration(ours["min_s"]), report.duration(ours["median_s"])]
        cells = [f"{found[n]:.2f}" if n in found else "" for n in peers]
        rows.append([what, size, *times, of_peak(case, ours["min_s"], run["peak"]), *cells])
    peak = run["peak"]
    title = (
        f"{run['threads']} thread(s), {run['isa']}: multiply-adds {peak['flops'] / 1e9:.1f} "
        f"GFLOP/s, copy {peak['bytes'] / 1e9:.1f} GB/s; "
        + ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    )
    head = ["", "size", "min", "median", "of peak", *(f"{n} x" for n in peers)]
    return f"{title}\n\n{report.table(head, rows)}"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the job.

    Parameters
    ----------
    argv
        The options; by default those of the command line.

    Returns
    -------
    int
        The exit code: 0; 1 if a case was refused, because candidates disagree or one failed; 2 if
        an option cannot be used.
    """
    options = parse(argv)
    asked = ["--threads", *map(str, options.threads), "--peak", "--brief"]
    asked += ["--quick"] if options.quick else ["--budget", "1", "--rounds", "5"]
    only = [] if options.list else options.only or CHOSEN
    inner = compare.parse([*asked, *(["--only", *only] if only else [])])
    cases = compare.find_cases(inner)
    if options.list:
        print("\n".join(c.name for c in cases))
        return 0
    if not cases:
        print(f"wengert-bench: no case is called like {', '.join(only)}", file=sys.stderr)
        return 2
    results = report.header()
    with tempfile.TemporaryDirectory() as folder:
        results["runs"] = [compare.run_threads(inner, n, Path(folder)) for n in options.threads]
    machine = results["machine"]
    print(f"{machine['cpu']}, {machine['cores']} cores, load {machine['load']:.1f}; "
          f"Python {results['python']}; {results['date']}")  # fmt: skip
    for run in results["runs"]:
        print(f"\n{run_text(run)}")
    refused = [c for run in results["runs"] for c in run["cases"] if "refused" in c]
    for case in refused:
        print(f"refused: {case['name']}: {case['refused']}", file=sys.stderr)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.picture:
        picture.draw(options.picture, results)
    return 1 if refused else 0


if __name__ == "__main__":
    sys.exit(main())
