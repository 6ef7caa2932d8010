"""PyTorch, which results are compared with where it is installed.

WENGERT_WITHOUT_TORCH=1 leaves it out where it is: under sanitizers its import takes longer than all
the tests.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

try:
    if os.environ.get("WENGERT_WITHOUT_TORCH") == "1":
        raise ImportError("left out")
    import torch
    import torch.utils.data
except ImportError:
    torch = None  # type: ignore[assignment]

needs_torch = pytest.mark.skipif(torch is None, reason="PyTorch, the reference, is not installed")

__all__ = ["assert_torch_refuses", "needs_torch", "torch"]


def assert_torch_refuses(call: Callable[[Any], Any], ours: type[BaseException]) -> None:
    """PyTorch, where it is installed, raises for the call an error of our type, or a subtype."""
    if torch is None:
        return
    with warnings.catch_warnings(), pytest.raises(Exception) as theirs:
        warnings.simplefilter("ignore")
        call(torch)
    assert issubclass(theirs.type, ours), f"PyTorch: {theirs.type.__name__}: {theirs.value}"
