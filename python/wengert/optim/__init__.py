"""Optimizers: the step that is kept apart from backpropagation.

Each step is one call into C++ over all parameters of a group, states included.
"""

from __future__ import annotations

from .adam import Adam, AdamW
from .optimizer import Optimizer
from .simple import SGD, Adagrad, RMSprop

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
