"""Where and when figures were taken, and how they are shown."""

from __future__ import annotations

import datetime
import os
import platform
import statistics
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


def _commit(source: Path | None) -> str:
    if source is None:  # installed: the version says it
        return ""
    command = ["git", "-C", str(source), "describe", "--always", "--dirty"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()


def header(source: Path | None = None) -> dict[str, Any]:
    """Return date, machine and, where there is a checkout, its commit."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(source),
        "machine": {
            "cpu": _processor(),
            "cores": cores,
            "system": f"{platform.system()} {platform.machine()}",
            "load": os.getloadavg()[0],
        },
        "python": platform.python_version(),
    }


def described(results: dict[str, Any], run: dict[str, Any]) -> str:
    """Return a paragraph on where and when a run was taken, and how quiet the machine was."""
    machine = results["machine"]
    libraries = ", ".join(f"{k} {v}" for k, v in run["versions"].items())
    shares = [r["cores"] for c in run["cases"] for r in c.get("rows", []) if r["min_s"] > 1e-4]
    busy = sum(s < 0.95 for s in shares) / max(1, len(shares))
    return (
        f"{results['date']}, commit {results['commit']}; {machine['cpu']}, {machine['cores']} "
        f"cores, {machine['system']}; Python {results['python']}, {libraries}; "
        f"{run['threads']} thread(s). Load when it began: {machine['load']:.1f}; "
        f"{busy:.0%} of the figures got less than 95 % of a core: the more, the noisier.\n\n"
        "Ratios are of the fastest peer's minimum to wengert's: above 1, wengert is faster. "
        "In brackets wengert's own time."
    )


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
    streams = case["flops"] < 4 * case["nbytes"]
    rates = ("gbytes", "gflops") if streams else ("gflops", "gbytes")
    rate = next((k for k in rates if k in case["rows"][0]), None)
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
            for r in filter(_is_peer, case.get("rows", [])[1:]):
                if min(r["ratio_min"], r["ratio_median"]) < margin:
                    ratios = [f"{r['ratio_min']:.2f}", f"{r['ratio_median']:.2f}"]
                    rows.append([case["name"], str(run["threads"]), r["name"], *ratios])
    if not rows:
        return "wengert is clearly ahead everywhere"
    head = ["not clearly ahead in", "threads", "of", "ratio min", "ratio median"]
    return table(head, rows)


def _is_peer(row: dict[str, Any]) -> bool:
    return not row["name"].startswith("wengert ")  # a variant of ours


def _best(case: dict[str, Any]) -> tuple[float, str]:
    """Return the ratio of the fastest peer's minimum to wengert's, and its name."""
    best = min(filter(_is_peer, case["rows"][1:]), key=lambda r: r["min_s"])
    return best["ratio_min"], best["name"]


def _markdown(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _mean(ratios: Sequence[float]) -> str:
    return f"{statistics.geometric_mean(ratios):.2f}" if ratios else ""


def ratio_tables(run: dict[str, Any]) -> str:
    """Return a run's ratios to the fastest peer: a summary, what is below 1, a table a family."""
    timed = [c for c in run["cases"] if any(_is_peer(r) for r in c.get("rows", [])[1:])]
    families: dict[str, dict[str, dict[str, dict[str, Any]]]] = {}
    for case in timed:
        family, _, rest = case["name"].partition("/")
        what, _, size = rest.rpartition("/") if "/" in rest else (rest, "", "")
        families.setdefault(family, {}).setdefault(what, {})[size] = case
    summary, tables = [], []
    for family, operations in families.items():
        cases = [c for by_size in operations.values() for c in by_size.values()]
        ratios = [_best(c)[0] for c in cases]
        torch = [r["ratio_min"] for c in cases for r in c["rows"] if r["name"] == "torch"]
        below = sum(r < 1 for r in ratios)
        summary.append([family, str(len(cases)), _mean(ratios), _mean(torch), str(below)])
        sizes = list(dict.fromkeys(size for by_size in operations.values() for size in by_size))
        rows = [[what, *(_cell(by_size.get(s)) for s in sizes)] for what, by_size in
                operations.items()]  # fmt: skip
        tables.append(f"## {family}\n\n{_markdown([family, *sizes], rows)}")
    slow = sorted((c for c in timed if _best(c)[0] < 1), key=lambda c: _best(c)[0])
    rows = [
        [c["name"], f"{_best(c)[0]:.2f}", _best(c)[1], duration(c["rows"][0]["min_s"]),
         duration(min(r["min_s"] for r in c["rows"][1:] if _is_peer(r)))]
        for c in slow
    ]  # fmt: skip
    head = ["family", "cases", "mean ratio to the fastest peer", "to PyTorch", "below 1"]
    parts = [_markdown(head, summary), "## Below 1: the fastest peer is faster"]
    parts.append(_markdown(["case", "ratio", "fastest peer", "wengert", "peer"], rows))
    return "\n\n".join([*parts, *tables])


def _cell(case: dict[str, Any] | None) -> str:
    if case is None:
        return ""
    ratio, peer = _best(case)
    ours = duration(case["rows"][0]["min_s"])
    return f"{'**' if ratio < 1 else ''}{ratio:.2f}{'**' if ratio < 1 else ''} {peer} ({ours})"


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
