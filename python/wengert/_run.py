"""The command wengert-run: the executable of that name, which needs no Python."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Become the executable."""
    path = os.path.join(os.path.dirname(__file__), "bin", "wengert-run")  # noqa: PTH118, PTH120
    os.execv(path, ["wengert-run", *sys.argv[1:]])
