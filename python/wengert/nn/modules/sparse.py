"""What PyTorch keeps in ``nn/modules/sparse.py``."""

from wengert.nn import (
    Embedding,
    EmbeddingBag,
)

__all__ = [
    "Embedding",
    "EmbeddingBag",
]
