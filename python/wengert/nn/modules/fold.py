"""What PyTorch keeps in ``nn/modules/fold.py``."""

from wengert.nn import (
    Fold,
    Unfold,
)

__all__ = [
    "Fold",
    "Unfold",
]
