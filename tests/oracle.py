"""PyTorch, which results are compared with where it is installed."""

from __future__ import annotations

import pytest

try:
    import torch
    import torch.utils.data
except ImportError:
    torch = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch, the reference, is not installed")

__all__ = ["needs_torch", "torch"]
