"""wengert: the fastest small autograd engine that a person can ``pip install``.

Names, arguments, defaults and errors follow PyTorch; ``import wengert as wg`` stands for
``import torch``. Operations are rows of a table in the C++ core; this package adds modules,
optimizers and what else a person needs around them.
"""

from __future__ import annotations

from . import _core, _tensor, autograd, linalg, nn, optim, random, utils
from ._core import (
    Generator,
    Size,
    Tensor,
    bfloat16,
    bool,  # noqa: A004
    can_cast,
    device,
    dtype,
    empty_cache,
    float16,
    float32,
    float64,
    get_default_dtype,
    get_num_threads,
    int8,
    int16,
    int32,
    int64,
    is_grad_enabled,
    is_inference_mode_enabled,
    memory_stats,
    promote_types,
    result_type,
    set_default_dtype,
    set_num_threads,
    uint8,
)
from ._creation import arange, as_tensor, asarray, from_dlpack, from_numpy, is_tensor, tensor
from ._search import unique, unique_consecutive
from ._shapes import (
    broadcast_shapes,
    channels_last,
    channels_last_3d,
    contiguous_format,
    memory_format,
    preserve_format,
)
from ._types import (
    e,
    finfo,
    iinfo,
    inf,
    is_complex,
    is_floating_point,
    is_nonzero,
    is_same_size,
    layout,
    nan,
    newaxis,
    numel,
    pi,
    strided,
)
from .autograd import enable_grad, inference_mode, no_grad, set_grad_enabled
from .random import (
    default_generator,
    get_rng_state,
    initial_seed,
    manual_seed,
    seed,
    set_rng_state,
)

float = float32
double = float64
half = float16
short = int16
int = int32
long = int64

__version__: str = _core.config()["version"]

# Every row of the table that is a function, such as wengert.exp.
globals().update({name: getattr(_core, name) for name in _core.functions})

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from typing import Any

__all__ = [
    *_core.functions,
    "Generator",
    "broadcast_shapes",
    "channels_last",
    "channels_last_3d",
    "Size",
    "Tensor",
    "allclose",
    "arange",
    "as_tensor",
    "asarray",
    "autograd",
    "bfloat16",
    "bool",
    "can_cast",
    "contiguous_format",
    "default_generator",
    "device",
    "double",
    "dtype",
    "e",
    "empty_cache",
    "enable_grad",
    "equal",
    "finfo",
    "float",
    "float16",
    "float32",
    "float64",
    "from_dlpack",
    "from_numpy",
    "get_default_device",
    "get_default_dtype",
    "get_num_threads",
    "get_rng_state",
    "half",
    "iinfo",
    "inf",
    "inference_mode",
    "initial_seed",
    "int",
    "int16",
    "int32",
    "int64",
    "int8",
    "is_complex",
    "is_floating_point",
    "is_grad_enabled",
    "is_inference_mode_enabled",
    "is_nonzero",
    "is_same_size",
    "is_tensor",
    "layout",
    "linalg",
    "long",
    "manual_seed",
    "memory_format",
    "memory_stats",
    "nan",
    "newaxis",
    "nn",
    "no_grad",
    "numel",
    "optim",
    "pi",
    "preserve_format",
    "promote_types",
    "random",
    "result_type",
    "seed",
    "set_default_device",
    "set_default_dtype",
    "set_grad_enabled",
    "set_num_threads",
    "set_rng_state",
    "short",
    "show_config",
    "strided",
    "tensor",
    "uint8",
    "unique",
    "unique_consecutive",
    "utils",
]

_tensor.attach(Tensor)
OutOfMemoryError = _core.OutOfMemoryError
get_default_device = _core.cuda.default_device


def set_default_device(device: Any) -> None:
    """Set where this thread makes tensors of which nothing else is said; None: the CPU.

    ``with wg.device("cuda"):`` sets it for a block.

    Raises
    ------
    RuntimeError
        If the device is not there.
    """
    _core.cuda.set_default_device("cpu" if device is None else device)


allclose = Tensor.allclose
equal = Tensor.equal


def _cuda_text(c: Any) -> str:
    """What is known of the CUDA back end, in one line."""
    if c is None:
        return "not built"
    if c["emulated"]:
        text = "an emulation on the processor, for tests"
    else:
        runtime, driver = c["runtime"], c["driver"]
        text = f"runtime {runtime // 1000}.{runtime % 1000 // 10}, "
        text += f"driver {driver // 1000}.{driver % 1000 // 10}" if driver else "no driver"
    text += f"; {c['devices']} device{'' if c['devices'] == 1 else 's'}"
    if c["why_none"]:
        text += f" ({c['why_none']})"
    return f"{text}; unverified: it has never run on a GPU"


def show_config() -> None:
    """Print version, compiler, instruction sets, threads and CUDA."""
    c = _core.config()
    cuda = _cuda_text(c["cuda"])
    precision = ("highest", "high", "medium")[_core.matmul_precision()]
    print(
        f"wengert {c['version']}\n  compiler: {c['compiler']}\n  instruction set: {c['isa']}"
        f"\n  products of bfloat16: {c['bfloat16']}\n  float32 matmul precision: {precision}"
        f"\n  threads: {c['threads']}\n  CUDA: {cuda}"
    )


# Loaded at first use: what a training loop does not need. Submodules, and names in others.
_SUBMODULES = (
    "accelerator", "amp", "backends", "compiler", "cuda", "distributed", "distributions", "func",
    "library", "onnx", "ops", "serialization", "storage", "testing", "version", "viz",
)  # fmt: skip
_LATER = {
    "CaptureError": "_capture",
    "capture": "_capture",
    "load_program": "_capture",
    "compile": "_capture",
    "Tape": "_tape",
    "TypedStorage": "storage",
    "UntypedStorage": "storage",
    "autocast": "amp",
    "get_autocast_dtype": "amp",
    "get_float32_matmul_precision": "_precision",
    "is_anomaly_check_nan_enabled": "autograd.anomaly_mode",
    "is_anomaly_enabled": "autograd.anomaly_mode",
    "is_autocast_enabled": "amp",
    "load": "serialization",
    "save": "serialization",
    "set_anomaly_enabled": "autograd.anomaly_mode",
    "set_float32_matmul_precision": "_precision",
    "set_printoptions": "_format",
    "tape": "_tape",
    "vmap": "func",
}


def __getattr__(name: str) -> object:
    import importlib

    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{name}")
    if name in _LATER:
        return getattr(importlib.import_module(f"{__name__}.{_LATER[name]}"), name)
    if name.endswith("Tensor"):
        from ._legacy import tensor_type

        found = globals()[name] = tensor_type(name)
        return found
    raise AttributeError(f"module 'wengert' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_SUBMODULES, *_LATER})
