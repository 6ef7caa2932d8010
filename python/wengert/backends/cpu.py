"""The processor: which instructions are in use, and which may be."""

from __future__ import annotations

from wengert import _core

__all__ = ["get_cpu_capability", "get_split_float32", "set_split_float32"]


def get_cpu_capability() -> str:
    """Return the instruction set as PyTorch names it: ``"AVX512"``, ``"AVX2"``, ``"DEFAULT"``."""
    name = str(_core.config()["isa"])
    return name.upper() if name.startswith("avx") else "DEFAULT"


def set_split_float32(allowed: bool) -> None:
    """Allow products of float32 matrices to be sums of six products of bfloat16 ones.

    This is for processors with AMX, where it can be faster than float32's own instructions and is
    as exact; elsewhere it changes nothing. It is off at first, unless the environment says
    ``WENGERT_SPLIT_FLOAT32=1``: its speed is unverified, having been measured in a trial alone.

    Parameters
    ----------
    allowed
        Whether they may be.
    """
    _core.set_split_float32(allowed)


def get_split_float32() -> bool:
    """Return what `set_split_float32` has set."""
    return _core.split_float32()
