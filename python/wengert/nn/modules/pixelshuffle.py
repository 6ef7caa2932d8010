"""What PyTorch keeps in ``nn/modules/pixelshuffle.py``."""

from wengert.nn import (
    PixelShuffle,
    PixelUnshuffle,
)

__all__ = [
    "PixelShuffle",
    "PixelUnshuffle",
]
