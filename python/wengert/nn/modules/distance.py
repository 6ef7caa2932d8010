"""What PyTorch keeps in ``nn/modules/distance.py``."""

from wengert.nn import (
    CosineSimilarity,
    PairwiseDistance,
)

__all__ = [
    "CosineSimilarity",
    "PairwiseDistance",
]
