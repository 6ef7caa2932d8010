"""Export to ONNX, which wengert does not offer; the name is here for programs that import it."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

__all__ = ["export", "is_in_onnx_export"]


def is_in_onnx_export() -> bool:
    """Whether an export is under way: never."""
    return False


def export(*args: Any, **kwargs: Any) -> Any:
    """Refuse to export.

    Raises
    ------
    NotImplementedError
        Always.
    """
    raise NotImplementedError("onnx.export: wengert does not export to ONNX")
