"""Whether mps is there: no."""

from __future__ import annotations


def is_available() -> bool:
    """Whether it can be used: no."""
    return False


def is_built() -> bool:
    """Whether wengert was built with it: no."""
    return False
