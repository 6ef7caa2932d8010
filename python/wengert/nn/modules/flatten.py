"""What PyTorch keeps in ``nn/modules/flatten.py``."""

from wengert.nn import (
    Flatten,
    Unflatten,
)

__all__ = [
    "Flatten",
    "Unflatten",
]
