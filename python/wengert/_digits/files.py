"""Files that are whole or not there, and weights in them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import CLASSES, RefusedError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from wengert import nn

    Weights = dict[str, NDArray[Any]]


def check_target(path: str) -> None:
    """See that a file can be put there.

    Raises
    ------
    RefusedError
        If there is something else than a file, or no folder to write in.
    """
    target = Path(path).resolve()
    try:
        if target.exists() and not target.is_file():
            raise RefusedError(f"{path}: cannot be written: there is something else than a file")
        if not target.parent.is_dir():
            raise RefusedError(f"{path}: cannot be written: there is no folder {target.parent}")
        if not os.access(target.parent, os.W_OK):
            raise RefusedError(f"{path}: cannot be written: no permission")
    except OSError as error:
        raise RefusedError(f"{path}: cannot be written: {error.strerror}") from None


def write(path: str, content: bytes) -> None:
    """Put a file there in one go: a reader, or a crash, meets the old one or the new one.

    Raises
    ------
    RefusedError
        If it cannot be written; what was there is left.
    """
    check_target(path)
    target = Path(path).resolve()
    beside = target.with_name(f".{target.name[:200]}.{os.getpid()}")
    try:
        with beside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(target)
    except OSError as error:
        raise RefusedError(f"{path}: cannot be written: {error.strerror}") from None
    finally:
        beside.unlink(missing_ok=True)


def need_safetensors() -> None:
    """See that weights can be written and read.

    Raises
    ------
    RefusedError
        If safetensors is not installed.
    """
    try:
        import safetensors.numpy  # noqa: F401
    except ImportError:
        raise RefusedError(
            "--save and --load need safetensors: pip install wengert[save]"
        ) from None


def save_weights(path: str, model: nn.Module) -> None:
    """Write the parameters of a model."""
    from safetensors.numpy import save

    arrays = {name: value.cpu().numpy() for name, value in model.state_dict().items()}
    write(path, save(arrays, {"made_by": "wengert"}))


def load_weights(path: str) -> Weights:
    """Read weights.

    Raises
    ------
    RefusedError
        If the file cannot be read or is damaged.
    """
    from safetensors.numpy import load

    try:
        weights: Weights = load(Path(path).read_bytes())
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception:  # whatever else goes wrong is the fault of the file
        raise RefusedError(f"{path}: not a safetensors file, or a damaged one") from None
    return weights


def hidden_sizes(path: str, weights: Weights, inputs: int) -> tuple[int, ...]:
    """Check that weights are those of a perceptron for these inputs; return its hidden sizes.

    Raises
    ------
    RefusedError
        If they are not.
    """
    import numpy as np

    layers = range(0, 2 * (len(weights) // 2), 2)  # a ReLU stands between two of them
    if not layers or set(weights) != {f"{i}.{kind}" for i in layers for kind in ("weight", "bias")}:
        raise RefusedError(f"{path}: not the weights of a perceptron: {_some(weights)}")
    sizes = [inputs]
    for i in layers:
        weight, bias = weights[f"{i}.weight"], weights[f"{i}.bias"]
        if weight.ndim != 2 or weight.shape[1] != sizes[-1] or bias.shape != weight.shape[:1]:
            raise RefusedError(
                f"{path}: layer {i}: weight has the shape {weight.shape}, bias {bias.shape}; "
                f"expected (n, {sizes[-1]}) and (n,)"
            )
        for value in (weight, bias):
            if value.dtype != np.float32 or value.size == 0 or not np.isfinite(value).all():
                raise RefusedError(f"{path}: layer {i}: expected finite numbers of float32")
        sizes.append(len(weight))
    if sizes[-1] != CLASSES:
        raise RefusedError(f"{path}: the last layer has {sizes[-1]} outputs; expected {CLASSES}")
    return tuple(sizes[1:-1])


def _some(weights: Weights) -> str:
    names = sorted(weights)
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "") if names else "it is empty"
