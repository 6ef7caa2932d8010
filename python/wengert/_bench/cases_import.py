"""What it takes to have a library at all: import time, memory after it, size on disk.

Processes take turns, one library each, with bare Python among them; the time is that of the whole
process less bare Python's. Memory is the process's peak resident set right after the import.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from . import peers
from .report import table

BARE = "bare python"
_PEAK = "print([l for l in open('/proc/self/status') if l.startswith('VmHWM')][0].split()[1])"


def _command(name: str, more: str = "") -> list[str]:
    statement = "pass" if name == BARE else f"import {peers.MODULES.get(name, name)}"
    return [sys.executable, "-c", f"{statement}\n{more}"]


def _seconds(name: str) -> float:
    start = time.perf_counter()
    subprocess.run(_command(name), check=True)
    return time.perf_counter() - start


def _peak_bytes(name: str) -> int:
    if not Path("/proc/self/status").exists():
        return 0
    done = subprocess.run(_command(name, _PEAK), check=True, capture_output=True, text=True)
    return int(done.stdout) * 1024


def _folders(package: str) -> list[Path]:
    """Return a package's folders, and the one of libraries that a wheel puts beside them."""
    spec = importlib.util.find_spec(package)
    folders = [Path(f) for f in (spec and spec.submodule_search_locations) or ()]
    beside = folders[0].with_name(f"{package}.libs")
    return [*folders, beside] if beside.is_dir() else folders


def _disk_bytes(name: str) -> int:
    """Return the size of all files of a library, without byte code."""
    files = (f for p in peers.PACKAGES[name] for folder in _folders(p) for f in folder.rglob("*"))
    return sum(f.stat().st_size for f in files if f.is_file() and f.suffix != ".pyc")


def measure(rounds: int) -> dict[str, Any]:
    """Return times in seconds and sizes in bytes, by library."""
    names = [n for n in peers.NAMES if peers.missing(n) is None]
    for name in peers.NAMES:
        if name not in names:
            print(f"{name}: not installed, left out", file=sys.stderr)
    everything = [BARE, *names]
    times: dict[str, list[float]] = {n: [] for n in everything}
    for name in everything:
        _seconds(name)  # byte code and file cache
    for _ in range(rounds):
        for name in everything:
            times[name].append(_seconds(name))
        everything.append(everything.pop(0))
    bare_min, bare_median = min(times[BARE]), statistics.median(times[BARE])
    result: dict[str, Any] = {
        "rounds": rounds,
        "bare_min_s": bare_min,
        "bare_median_s": bare_median,
    }
    bare_peak = _peak_bytes(BARE)
    result["bare_peak_bytes"] = bare_peak
    result["rows"] = [
        {
            "name": n,
            "version": peers.version(n),
            "min_s": min(times[n]) - bare_min,
            "median_s": statistics.median(times[n]) - bare_median,
            "peak_bytes": _peak_bytes(n),
            "disk_bytes": _disk_bytes(n),
        }
        for n in names
    ]
    return result


def text(result: dict[str, Any]) -> str:
    """Return the figures as a table."""
    ours = result["rows"][0]
    rows = []
    for r in result["rows"]:
        row = [f"  {r['name']} {r['version']}"]
        row += [f"{r['min_s'] * 1e3:.1f}", f"{r['median_s'] * 1e3:.1f}"]
        row += [f"{r['min_s'] / ours['min_s']:.1f}"]
        row += [f"{r['peak_bytes'] / 2**20:.1f}", f"{r['disk_bytes'] / 2**20:.1f}"]
        row += [f"{r['disk_bytes'] / ours['disk_bytes']:.0f}"]
        rows.append(row)
    head = ["", "min ms", "median ms", "ratio min", "peak MiB", "disk MiB", "ratio disk"]
    title = (
        f"import  (counted: one process less bare python's {result['bare_min_s'] * 1e3:.1f} ms; "
        f"peak: of the process, bare python {result['bare_peak_bytes'] / 2**20:.1f} MiB)"
    )
    return f"{title}\n{table(head, rows)}\n"
