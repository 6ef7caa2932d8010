"""Hostile arguments of every operation: no crash, no hang, no memory without limit, no SystemError.

The calls are made by ``hostile_calls.py`` in processes of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import wengert as wg
from op_table import ROWS

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="limits of memory and time are set as on Linux"
)

HERE = Path(__file__).resolve().parent
# One call in so many is made, of some two million; all of them if WENGERT_EXAMPLES asks for many.
EVERY = 1 if int(os.environ.get("WENGERT_EXAMPLES", "0")) >= 1000 else 16
FAILURES = 20  # found in one part before it is given up


def parts() -> dict[str, list[str]]:
    from hostile_calls import functions

    names, size = sorted(ROWS), 40
    out = {f"{group[0]}..{group[-1]}": group
           for group in (names[i : i + size] for i in range(0, len(names), size))}  # fmt: skip
    return {**out, "Python": list(functions())}


def run(names: list[str]) -> tuple[list[str], int]:
    """What went wrong, each with its call, and the number of calls made."""
    paths = [str(HERE), str(Path(wg.__file__).absolute().parents[1])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    failures: list[str] = []
    first = 0
    while len(failures) < FAILURES:
        child = subprocess.run(
            [sys.executable, str(HERE / "hostile_calls.py"), str(first), str(EVERY), *names],
            env=env, capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        lines = child.stdout.split("\n")
        last = next((line for line in reversed(lines) if line), "0 (before any call)")
        if last == "done":
            break
        how = signal.Signals(-child.returncode).name if child.returncode < 0 else "error"
        why = child.stderr.strip().split("\n")
        failures.append(f"{how}: {last}: {why[-1] if how == 'error' else ''}")
        first = int(last.split()[0]) + 1
    return failures, first


@pytest.mark.parametrize("part", parts())
def test_hostile_calls(part: str) -> None:
    failures, _ = run(parts()[part])
    assert failures == []
