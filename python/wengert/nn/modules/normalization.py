"""What PyTorch keeps in ``nn/modules/normalization.py``."""

from wengert.nn import (
    GroupNorm,
    LayerNorm,
    RMSNorm,
)

__all__ = [
    "GroupNorm",
    "LayerNorm",
    "RMSNorm",
]
