"""The main job's data sets: good files are taken, damaged ones refused in one line."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from test_main import fails, python, quiet
from wengert import _digits
from wengert._digits import RefusedError

if TYPE_CHECKING:
    from collections.abc import Callable

QUICK = ("--no-plot", "--epochs", "2", "--hidden", "16")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def a_set(**changed: Any) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    arrays = {
        "x_train": rng.integers(0, 17, (40, 5, 5), dtype=np.uint8),
        "y_train": np.arange(40) % 10,
        "x_test": rng.integers(0, 17, (20, 5, 5), dtype=np.uint8),
        "y_test": np.arange(20) % 10,
    }
    return {k: v for k, v in {**arrays, **changed}.items() if v is not None}


def npz(**changed: Any) -> Callable[[Path], object]:
    return lambda path: np.savez_compressed(path, **a_set(**changed))


def npy(path: Path) -> None:
    with path.open("wb") as file:
        np.save(file, a_set()["x_train"])


def truncated(path: Path) -> None:
    np.savez(path, **a_set())
    path.write_bytes(path.read_bytes()[:-100])


def corrupted(path: Path) -> None:
    np.savez(path, **a_set())
    content = bytearray(path.read_bytes())
    content[200] ^= 255  # within the pixels: only the checksum tells
    path.write_bytes(content)


def not_an_array(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for key in _digits.KEYS:
            archive.writestr(key, "text")


FLOATS = a_set()["x_train"].astype(np.float32)
DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda _: None, "cannot be read: No such file"),
    "folder": (Path.mkdir, "cannot be read: Is a directory"),
    "empty file": (Path.touch, "not an .npz file"),
    "text": (lambda p: p.write_text("5,0,4\n"), "not an .npz file"),
    "npy": (npy, "not an .npz file"),
    "pickle": (lambda p: p.write_bytes(b"\x80\x04K\x01."), "not an .npz file"),
    "truncated": (truncated, "not an .npz file"),
    "corrupted": (corrupted, "damaged"),
    "member is no array": (not_an_array, "x_train: not an array"),
    "no keys": (lambda p: np.savez(p, a=np.zeros(3)), "has no x_train, y_train, x_test, y_test"),
    "no y_test": (npz(y_test=None), "has no y_test"),
    "objects": (npz(x_train=np.array([{}, []], object)), "Python objects"),
    "complex": (npz(x_train=FLOATS * 1j), "dtype complex64; expected real"),
    "text images": (npz(x_test=np.full((20, 5, 5), "a")), "dtype <U1; expected real"),
    "float labels": (npz(y_train=np.zeros(40)), "dtype float64; expected integers"),
    "scalar": (npz(x_train=np.float32(1)), "shape ()"),
    "flat images": (npz(x_train=np.zeros(40)), "shape (40,)"),
    "labels of rank 2": (npz(y_test=np.zeros((20, 1), int)), "(20, 1)"),
    "fewer labels": (npz(y_train=np.zeros(39, int)), "y_train (39,)"),
    "other test images": (npz(x_test=np.zeros((20, 4, 5))), "(5, 5), of x_test (4, 5)"),
    "no images": (npz(x_train=np.zeros((0, 5, 5)), y_train=np.zeros(0, int)), "x_train is empty"),
    "no test images": (npz(x_test=np.zeros((0, 5, 5)), y_test=np.zeros(0, int)), "x_test is empty"),
    "no pixels": (npz(x_train=np.zeros((40, 0))), "x_train is empty"),
    "label 10": (npz(y_test=np.arange(20) % 11), "labels from 0 to 10; expected 0 to 9"),
    "label -1": (npz(y_train=np.arange(40) % 10 - 1), "labels from -1 to 8"),
    "huge label": (npz(y_train=np.full(40, 2**64 - 1, np.uint64)), "18446744073709551615"),
    "nan": (npz(x_train=np.full_like(FLOATS, np.nan)), "x_train holds NaN"),
    "infinite": (npz(x_test=np.full((20, 5, 5), -np.inf)), "x_test holds NaN, infinite"),
    "too large for float32": (npz(x_test=np.full((20, 5, 5), 1e300)), "or too large"),
    "too large to scale": (npz(x_train=FLOATS * np.float32(1e37)), "too large"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_bad_set_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write, told = DAMAGED[name]
    path = tmp_path / "set.npz"
    write(path)
    err = fails(capsys, *QUICK, "--data", str(path))
    assert str(path) in err
    assert told in err


def test_a_bad_set_is_refused_by_the_command() -> None:
    Path("set.npz").write_text("no")
    done = python("-m", "wengert", "--data", "set.npz")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "wengert: set.npz: not an .npz file, or a damaged one\n"


@pytest.mark.parametrize("dtype", ["uint8", "int32", "float16", "float64", "bool"])
def test_a_good_set_of_any_real_dtype_is_taken(dtype: str) -> None:
    x = {k: a_set()[k].astype(dtype) for k in ("x_train", "x_test")}
    np.savez("set.npz", **a_set(**x, y_train=(np.arange(40) % 10).astype("uint8")))
    assert quiet(data="set.npz", epochs=1).history.losses


def test_images_without_contrast_are_taken() -> None:
    np.savez("set.npz", **a_set(x_train=np.ones((40, 5, 5)), x_test=np.ones((20, 5, 5))))
    assert quiet(data="set.npz", epochs=1).accuracy <= 20


def test_no_damage_gets_past_the_reader() -> None:
    np.savez("good.npz", **a_set())
    content = Path("good.npz").read_bytes()
    for i in range(0, len(content), 11):
        flipped = content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :]
        for bad in (flipped, content[:i]):
            Path("bad.npz").write_bytes(bad)
            try:
                data = _digits.read("bad.npz")
            except RefusedError as error:
                assert str(error).startswith("bad.npz: ")  # noqa: PT017
            else:
                assert data.x_train.shape == (40, 5, 5)
