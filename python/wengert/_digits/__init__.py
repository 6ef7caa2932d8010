"""Handwritten digits: the set that comes with the package, and sets of the same form in files."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from wengert import _core
from wengert.utils.data import TensorDataset

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

CLASSES = 10
SPLIT_SEED = 0  # whatever the seed of a run, the same images are held out
KEYS = ("x_train", "y_train", "x_test", "y_test")


class RefusedError(Exception):
    """A file or a setting that cannot be used; the message is one line for the user."""

    code = 2  # to exit with


class Digits(NamedTuple):
    """Images and labels, split into a part to learn from and a part to be tested on."""

    name: str
    x_train: NDArray[Any]
    y_train: NDArray[np.int64]
    x_test: NDArray[Any]
    y_test: NDArray[np.int64]


def load() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return the 1,797 images of 8x8 pixels, 0 to 16, and their labels; see PROVENANCE.md."""
    from importlib.resources import files

    import numpy as np

    with (
        files(__name__).joinpath("digits.npz").open("rb") as file,
        np.load(file, allow_pickle=False) as archive,
    ):
        return archive["images"], archive["labels"].astype(np.int64)


def split() -> Digits:
    """Return the digits of the package in a fixed random order, 4/5 of them to learn from."""
    images, labels = load()
    _core.default_generator.manual_seed(SPLIT_SEED)
    order = _core.randperm(len(images), device="cpu").numpy()
    train, test = order[: len(images) * 4 // 5], order[len(images) * 4 // 5 :]
    return Digits("UCI digits", images[train], labels[train], images[test], labels[test])


def read(path: str) -> Digits:
    """Read a set such as MNIST from an ``.npz`` file with the arrays of `KEYS`.

    Raises
    ------
    RefusedError
        If there is no such file, it is damaged, or what it holds is not such a set.
    """
    arrays = _arrays(path)
    for part in ("train", "test"):
        _check_part(path, part, arrays[f"x_{part}"], arrays[f"y_{part}"])
    train, test = (arrays[f"x_{part}"].shape[1:] for part in ("train", "test"))
    if train != test:
        raise RefusedError(
            f"{path}: an item of x_train has the shape {train}, of x_test {test}; "
            "expected the same shape"
        )
    labels = {key: arrays[key].astype("int64") for key in ("y_train", "y_test")}
    return Digits(path, **{**arrays, **labels})


def _arrays(path: str) -> dict[str, NDArray[Any]]:
    import numpy as np

    try:
        with Path(path).open("rb") as file, np.load(file, allow_pickle=False) as archive:
            missing = [key for key in KEYS if key not in archive]
            if missing:
                raise RefusedError(f"{path}: has no {', '.join(missing)}; needs {', '.join(KEYS)}")
            return {key: _member(path, key, archive) for key in KEYS}
    except RefusedError:
        raise
    except OSError as error:
        raise RefusedError(f"{path}: cannot be read: {error.strerror or 'damaged'}") from None
    except Exception:  # whatever else goes wrong is the fault of the file
        raise RefusedError(f"{path}: not an .npz file, or a damaged one") from None


def _member(path: str, key: str, archive: Mapping[str, Any]) -> NDArray[Any]:
    try:
        value = archive[key]
    except Exception as error:  # as above
        objects = isinstance(error, ValueError) and "allow_pickle" in str(error)
        what = "holds Python objects, which are never loaded" if objects else "damaged"
        raise RefusedError(f"{path}: {key}: {what}") from None
    if not hasattr(value, "dtype"):
        raise RefusedError(f"{path}: {key}: not an array")
    array: NDArray[Any] = value
    return array


def _check_part(path: str, part: str, x: NDArray[Any], y: NDArray[Any]) -> None:
    import numpy as np

    if x.dtype.kind not in "buif":
        raise RefusedError(f"{path}: x_{part} has the dtype {x.dtype}; expected real numbers")
    if y.dtype.kind not in "ui":
        raise RefusedError(f"{path}: y_{part} has the dtype {y.dtype}; expected integers")
    if x.ndim < 2 or y.ndim != 1 or len(x) != len(y):
        raise RefusedError(
            f"{path}: x_{part} has the shape {x.shape}, y_{part} {y.shape}; expected (n, ...) "
            "with at least two dimensions, and (n,)"
        )
    if x.size == 0:
        raise RefusedError(f"{path}: x_{part} is empty")
    if y.min() < 0 or y.max() >= CLASSES:
        raise RefusedError(
            f"{path}: y_{part} has labels from {y.min()} to {y.max()}; expected 0 to {CLASSES - 1}"
        )
    with np.errstate(over="ignore"):
        if x.dtype.kind == "f" and not np.isfinite(x.astype(np.float32)).all():
            raise RefusedError(f"{path}: x_{part} holds NaN, infinite or too large numbers")


def prepare(data: Digits, device: _core.device) -> tuple[TensorDataset, TensorDataset]:
    """Flatten the images and shift and scale all pixels alike to mean 0, variance 1.

    Raises
    ------
    RefusedError
        If the numbers are too large for that.
    """
    x_train, x_test = (_float32(x) for x in (data.x_train, data.x_test))
    mean = x_train.mean().item()
    x_train.sub_(mean)
    std = math.sqrt(x_train.square().mean().item())
    if not math.isfinite(mean + std):
        raise RefusedError(f"{data.name}: the numbers of x_train are too large")
    x_train.div_(std or 1.0)
    x_test.sub_(mean).div_(std or 1.0)
    pairs = ((x_train, data.y_train), (x_test, data.y_test))
    train, test = (
        TensorDataset(x.to(device), _core.tensor_from_data(y, None).to(device)) for x, y in pairs
    )
    return train, test


def _float32(x: NDArray[Any]) -> _core.Tensor:
    out = _core.empty((len(x), x[0].size), device="cpu")
    out.numpy()[...] = x.reshape(len(x), -1)
    return out
