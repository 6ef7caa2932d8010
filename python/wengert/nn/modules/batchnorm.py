"""What PyTorch keeps in ``nn/modules/batchnorm.py``."""

from wengert.nn import (
    BatchNorm1d,
    BatchNorm2d,
    BatchNorm3d,
)

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
]
