"""Where and when figures were taken, and how they are shown."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    found = {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    model = found.get("model name", platform.machine())
    if "cpu family" in found:
        model += f" (family {found['cpu family']}, model {found.get('model', '?')})"
    return model


def _commit() -> str:
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def header() -> dict[str, Any]:
    """Return date, machine and commit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {
            "cpu": _processor(),
            "cores": cores,
            "system": f"{platform.system()} {platform.machine()}",
            "load": os.getloadavg()[0],
        },
        "python": platform.python_version(),
    }


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it."""
    scale, unit = next((u for u in UNITS if seconds >= u[0]), UNITS[-1])
    return f"{seconds / scale:.4g} {unit}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows with aligned columns, the first to the left and the others to the right."""
    width = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    lines = []
    for row in [head, *rows]:
        cells = [c.rjust(w) for c, w in zip(row, width, strict=True)]
        cells[0] = row[0].ljust(width[0])
        lines.append("  ".join(cells).rstrip())
    lines.insert(1, "  ".join("-" * w for w in width))
    return "\n".join(lines)


def case_text(case: dict[str, Any], threads: int) -> str:
    """Return a case as a small table."""
    title = f"{case['name']}  (counted: {case['counted']}; threads: {threads})"
    if "refused" in case:
        return f"{title}\n  REFUSED, not timed: {case['refused']}\n"
    rate = next((k for k in ("gflops", "gbytes") if k in case["rows"][0]), None)
    head = ["", "min", "median", "ratio min", "ratio median", "cores"]
    head += [{"gflops": "GFLOP/s", "gbytes": "GB/s"}[rate]] if rate else []
    rows = []
    for r in case["rows"]:
        row = [f"  {r['name']}", duration(r["min_s"]), duration(r["median_s"])]
        row += [f"{r['ratio_min']:.2f}", f"{r['ratio_median']:.2f}", f"{r['cores']:.2f}"]
        row += [f"{r[rate]:.1f}"] if rate else []
        rows.append(row)
    return f"{title}\n{table(head, rows)}\n"


def not_ahead(runs: Sequence[dict[str, Any]], margin: float = 1.1) -> str:
    """Return the cases in which a peer is level or ahead, by minimum or median."""
    rows = []
    for run in runs:
        for case in run["cases"]:
            for r in case.get("rows", [])[1:]:
                if min(r["ratio_min"], r["ratio_median"]) < margin:
                    ratios = [f"{r['ratio_min']:.2f}", f"{r['ratio_median']:.2f}"]
                    rows.append([case["name"], str(run["threads"]), r["name"], *ratios])
    if not rows:
        return "wengert is clearly ahead everywhere"
    head = ["not clearly ahead in", "threads", "of", "ratio min", "ratio median"]
    return table(head, rows)


def overloaded(runs: Sequence[dict[str, Any]]) -> str:
    """Return the candidates that kept more cores busy than the run's number of threads."""
    rows = []
    for run in runs:
        for case in run["cases"]:
            for r in case.get("rows", []):
                if r["cores"] > run["threads"] + 0.2:
                    rows.append([case["name"], str(run["threads"]), r["name"], f"{r['cores']:.2f}"])
    return (
        table(["used more cores than threads", "threads", "candidate", "cores"], rows)
        if rows
        else ""
    )
