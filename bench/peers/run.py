"""Runs the whole comparison from a checkout: ``--help`` tells the options."""

import sys
from pathlib import Path

from wengert._bench.compare import main

if __name__ == "__main__":
    sys.exit(main(source=Path(__file__).parent))
