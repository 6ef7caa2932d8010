"""What PyTorch keeps in ``nn/modules/linear.py``."""

from wengert.nn import (
    Bilinear,
    Identity,
    Linear,
)
from wengert.nn.multihead import NonDynamicallyQuantizableLinear as NonDynamicallyQuantizableLinear

__all__ = [
    "Bilinear",
    "Identity",
    "Linear",
]
