"""Settings of the processor, and of libraries that PyTorch computes with: none is in use."""

from __future__ import annotations

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from . import cpu as cpu
    from . import cuda as cuda
    from . import cudnn as cudnn
    from . import mkl as mkl
    from . import mkldnn as mkldnn
    from . import mps as mps
    from . import openmp as openmp

__all__ = ["cpu", "cuda", "cudnn", "mkl", "mkldnn", "mps", "openmp"]


def __getattr__(name: str) -> object:
    if name in __all__:
        import importlib

        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module 'wengert.backends' has no attribute {name!r}")
