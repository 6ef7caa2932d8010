"""PyTorch, which results are compared with where it is installed.

WENGERT_WITHOUT_TORCH=1 leaves it out where it is: under sanitizers its import takes longer than all
the tests.
"""

from __future__ import annotations

import os

import pytest

try:
    if os.environ.get("WENGERT_WITHOUT_TORCH") == "1":
        raise ImportError("left out")
    import torch
    import torch.utils.data
except ImportError:
    torch = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch, the reference, is not installed")

__all__ = ["needs_torch", "torch"]
