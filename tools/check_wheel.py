"""Checks a built wheel: its size, and that it holds what it should and nothing else."""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

LIMIT = 4500 * 1000  # bytes: kernels for three instruction sets, headers, programs in files


def main() -> int:
    wheel = Path(sys.argv[1])
    size = wheel.stat().st_size
    with zipfile.ZipFile(wheel) as z:
        names = z.namelist()
        unpacked = sum(i.file_size for i in z.infolist())
    problems = []
    if size > LIMIT:
        problems.append(f"{size} bytes; at most {LIMIT} expected")
    for part in (
        "libwengert", "_core", "_interop", "py.typed", "_core/__init__.pyi", "digits",
        "_bench/cli.py", "bin/wengert-run", "include/wengert/extension.h",
        "wengertConfig.cmake", "wengertTargets.cmake",
    ):  # fmt: skip
        if not any(part in n for n in names):
            problems.append(f"no {part} inside")
    for n in names:
        if not n.startswith(("wengert/", "wengert-")):
            problems.append(f"unexpected {n}")
    print(f"{wheel.name}: {size / 1e6:.2f} MB, unpacked {unpacked / 1e6:.2f} MB")
    print("\n".join(problems))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
