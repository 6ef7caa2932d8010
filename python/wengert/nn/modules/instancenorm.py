"""What PyTorch keeps in ``nn/modules/instancenorm.py``."""

from wengert.nn import (
    InstanceNorm1d,
    InstanceNorm2d,
    InstanceNorm3d,
)

__all__ = [
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
]
