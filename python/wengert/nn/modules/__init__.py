"""The modules under the file names that PyTorch has for them, for what names them so.

``nn.modules.linear.Linear`` is ``nn.Linear``. The files are loaded when they are named.
"""

from __future__ import annotations

_FILES = (
    "activation",
    "batchnorm",
    "container",
    "conv",
    "distance",
    "dropout",
    "flatten",
    "fold",
    "instancenorm",
    "linear",
    "loss",
    "module",
    "normalization",
    "padding",
    "pixelshuffle",
    "pooling",
    "sparse",
    "transformer",
    "upsampling",
)


def __getattr__(name: str) -> object:
    import importlib

    if name in _FILES:
        return importlib.import_module(f"{__name__}.{name}")
    if name[0].isupper():
        return getattr(importlib.import_module("wengert.nn"), name)
    raise AttributeError(f"module 'wengert.nn.modules' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILES})
