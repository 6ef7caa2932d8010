"""What PyTorch keeps in ``nn/modules/module.py``."""

from wengert.nn import (
    Module,
)

__all__ = [
    "Module",
]
