"""Modules: layers with their parameters.

What every multilayer perceptron needs is loaded with the package; the other layers are loaded, a
file at a time, when they are first named.
"""

from __future__ import annotations

from . import functional, init
from .activation import GELU, LogSoftmax, ReLU, Sigmoid, Softmax, Tanh
from .container import Sequential
from .linear import Flatten, Identity, Linear
from .loss import CrossEntropyLoss, MSELoss
from .module import Module
from .parameter import Parameter

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from . import modules as modules
    from . import parallel as parallel
    from . import utils as utils
    from .activation_rare import *  # noqa: F403
    from .batchnorm import BatchNorm1d as BatchNorm1d
    from .batchnorm import BatchNorm2d as BatchNorm2d
    from .batchnorm import BatchNorm3d as BatchNorm3d
    from .batchnorm import InstanceNorm1d as InstanceNorm1d
    from .batchnorm import InstanceNorm2d as InstanceNorm2d
    from .batchnorm import InstanceNorm3d as InstanceNorm3d
    from .bilinear import Bilinear as Bilinear
    from .bilinear import Unflatten as Unflatten
    from .conv import *  # noqa: F403
    from .dropout import *  # noqa: F403
    from .lists import ModuleDict as ModuleDict
    from .lists import ModuleList as ModuleList
    from .lists import ParameterDict as ParameterDict
    from .lists import ParameterList as ParameterList
    from .loss_rare import *  # noqa: F403
    from .multihead import MultiheadAttention as MultiheadAttention
    from .normalization import GroupNorm as GroupNorm
    from .normalization import LayerNorm as LayerNorm
    from .normalization import RMSNorm as RMSNorm
    from .padding import *  # noqa: F403
    from .pooling import *  # noqa: F403
    from .sparse import Embedding as Embedding
    from .sparse import EmbeddingBag as EmbeddingBag
    from .transformer import Transformer as Transformer
    from .transformer import TransformerDecoder as TransformerDecoder
    from .transformer import TransformerDecoderLayer as TransformerDecoderLayer
    from .transformer import TransformerEncoder as TransformerEncoder
    from .transformer import TransformerEncoderLayer as TransformerEncoderLayer

# The files that are loaded on demand, and what each holds.
_LATER = {
    "activation_rare": (
        "CELU", "ELU", "GLU", "Hardshrink", "Hardsigmoid", "Hardswish", "Hardtanh", "LeakyReLU",
        "LogSigmoid", "Mish", "PReLU", "ReLU6", "SELU", "SiLU", "Softmax2d", "Softmin", "Softplus",
        "Softshrink", "Softsign", "Tanhshrink", "Threshold",
    ),
    "batchnorm": (
        "BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "InstanceNorm1d", "InstanceNorm2d",
        "InstanceNorm3d",
    ),
    "bilinear": ("Bilinear", "Unflatten"),
    "conv": (
        "Conv1d", "Conv2d", "Conv3d", "ConvTranspose1d", "ConvTranspose2d", "ConvTranspose3d",
    ),
    "dropout": (
        "AlphaDropout", "Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "FeatureAlphaDropout",
    ),
    "lists": ("ModuleDict", "ModuleList", "ParameterDict", "ParameterList"),
    "loss_rare": (
        "BCELoss", "BCEWithLogitsLoss", "CosineEmbeddingLoss", "CosineSimilarity",
        "GaussianNLLLoss", "HingeEmbeddingLoss", "HuberLoss", "KLDivLoss", "L1Loss",
        "MarginRankingLoss", "MultiLabelMarginLoss", "MultiLabelSoftMarginLoss", "MultiMarginLoss",
        "NLLLoss", "PairwiseDistance", "PoissonNLLLoss", "SmoothL1Loss", "SoftMarginLoss",
        "TripletMarginLoss", "TripletMarginWithDistanceLoss",
    ),
    "modules": (),
    "multihead": ("MultiheadAttention",),
    "normalization": ("GroupNorm", "LayerNorm", "RMSNorm"),
    "padding": (
        "ChannelShuffle", "CircularPad1d", "CircularPad2d", "CircularPad3d", "ConstantPad1d",
        "ConstantPad2d", "ConstantPad3d", "PixelShuffle", "PixelUnshuffle", "ReflectionPad1d",
        "ReflectionPad2d", "ReflectionPad3d", "ReplicationPad1d", "ReplicationPad2d",
        "ReplicationPad3d", "ZeroPad1d", "ZeroPad2d", "ZeroPad3d",
    ),
    "parallel": (),
    "sparse": ("Embedding", "EmbeddingBag"),
    "transformer": (
        "Transformer", "TransformerDecoder", "TransformerDecoderLayer", "TransformerEncoder",
        "TransformerEncoderLayer",
    ),
    "pooling": (
        "AdaptiveAvgPool1d", "AdaptiveAvgPool2d", "AdaptiveAvgPool3d", "AdaptiveMaxPool1d",
        "AdaptiveMaxPool2d", "AdaptiveMaxPool3d", "AvgPool1d", "AvgPool2d", "AvgPool3d", "Fold",
        "MaxPool1d", "MaxPool2d", "MaxPool3d", "Unfold", "Upsample", "UpsamplingBilinear2d",
        "UpsamplingNearest2d",
    ),
    "utils": (),
}  # fmt: skip
_FILE_OF = {name: file for file, names in _LATER.items() for name in (names or (file,))}
_FILE_OF["DataParallel"] = "parallel"

__all__ = [
    "GELU",
    "CrossEntropyLoss",
    "Flatten",
    "Identity",
    "Linear",
    "LogSoftmax",
    "MSELoss",
    "Module",
    "Parameter",
    "ReLU",
    "Sequential",
    "Sigmoid",
    "Softmax",
    "Tanh",
    "functional",
    "init",
]
__all__ += _FILE_OF


def __getattr__(name: str) -> object:
    file = _FILE_OF.get(name)
    if file is None:
        raise AttributeError(f"module 'wengert.nn' has no attribute {name!r}")
    import importlib

    module = importlib.import_module(f"{__name__}.{file}")
    found = globals()[name] = module if name == file else getattr(module, name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *_FILE_OF})
