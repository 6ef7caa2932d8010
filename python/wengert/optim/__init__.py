"""Optimizers: the step that is kept apart from backpropagation.

Each step is one call into C++ over all parameters of a group, states included. The rarer ones, and
schedules of learning rates, are loaded when they are first named.
"""

from __future__ import annotations

from .adam import Adam, AdamW
from .optimizer import Optimizer
from .simple import SGD, Adagrad, RMSprop

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from . import lr_scheduler as lr_scheduler
    from .adadelta import Adadelta as Adadelta
    from .lbfgs import LBFGS as LBFGS
    from .spsa import SPSA as SPSA

_LATER = {"Adadelta": "adadelta", "LBFGS": "lbfgs", "SPSA": "spsa", "lr_scheduler": "lr_scheduler"}

__all__ = ["SGD", "Adagrad", "Adam", "AdamW", "Optimizer", "RMSprop"]
__all__ += _LATER


def __getattr__(name: str) -> object:
    if name not in _LATER:
        raise AttributeError(f"module 'wengert.optim' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"{__name__}.{_LATER[name]}")
    return module if name == _LATER[name] else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LATER})
