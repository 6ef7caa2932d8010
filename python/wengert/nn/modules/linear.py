"""What PyTorch keeps in ``nn/modules/linear.py``."""

from wengert.nn import (
    Bilinear,
    Identity,
    Linear,
)

__all__ = [
    "Bilinear",
    "Identity",
    "Linear",
]
