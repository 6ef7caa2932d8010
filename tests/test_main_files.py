"""What the main job writes: weights, which it also reads, and the picture."""

from __future__ import annotations

import os
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from test_main import fails, here, quiet, weights_of
from test_main_data import QUICK, a_set
from wengert.__main__ import main
from wengert._digits import RefusedError, files
from wengert._digits.progress import Progress


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# --- weights -------------------------------------------------------------------------------------

W = "w.safetensors"


@pytest.fixture
def safetensors() -> Any:
    """The library's NumPy side, or skip."""
    return pytest.importorskip("safetensors.numpy", reason="safetensors is not installed")


def test_weights_come_back(safetensors: Any, capsys: pytest.CaptureFixture[str]) -> None:
    saved = quiet(epochs=2, hidden=(24, 12), save=W)
    assert here() == [W]
    loaded = quiet(load=W)
    assert weights_of(loaded.model) == weights_of(saved.model)
    assert loaded.accuracy == saved.accuracy
    assert loaded.history.losses == []
    further = quiet(load=W, epochs=2, save=W)
    assert further.history.epoch_losses[0] < saved.history.epoch_losses[0]
    assert weights_of(quiet(load=W).model) == weights_of(further.model) != weights_of(saved.model)
    assert "hidden sizes 24-12, not 16" in fails(capsys, *QUICK, "--load", W)
    np.savez("set.npz", **a_set())
    assert "(24, 64)" in fails(capsys, "--no-plot", "--load", W, "--data", "set.npz")


def layers(**changed: Any) -> dict[str, Any]:
    arrays = {
        "0.weight": np.zeros((4, 64), np.float32),
        "0.bias": np.zeros(4, np.float32),
        "2.weight": np.zeros((10, 4), np.float32),
        "2.bias": np.zeros(10, np.float32),
    }
    renamed = {k.replace("_", "."): v for k, v in changed.items()}
    return {k[1:] if k[0] == "." else k: v for k, v in {**arrays, **renamed}.items()}


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "nothing": ({}, "not the weights of a perceptron: it is empty"),
    "one bias": ({"0.bias": np.zeros(10, np.float32)}, "not the weights of a perceptron: 0.bias"),
    "another name": (layers(_conv=np.zeros(1, np.float32)), "not the weights of a perceptron"),
    "rank": (layers(_0_weight=np.zeros(64, np.float32)), "layer 0: weight has the shape (64,)"),
    "bias": (layers(_0_bias=np.zeros(5, np.float32)), "bias (5,); expected (n, 64) and (n,)"),
    "chain": (layers(_2_weight=np.zeros((10, 5), np.float32)), "expected (n, 4) and (n,)"),
    "dtype": (layers(_2_bias=np.zeros(10)), "layer 2: expected finite numbers of float32"),
    "nan": (layers(_2_bias=np.full(10, np.nan, np.float32)), "expected finite numbers"),
    "classes": (
        layers(_2_weight=np.zeros((9, 4), np.float32), _2_bias=np.zeros(9, np.float32)),
        "the last layer has 9 outputs; expected 10",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_weights_are_refused(
    name: str, safetensors: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays, told = WRONG[name]
    safetensors.save_file(arrays, W)
    assert told in fails(capsys, "--no-plot", "--load", W)


def test_damaged_weights_are_refused(safetensors: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert "cannot be read: No such file" in fails(capsys, "--no-plot", "--load", W)
    assert "cannot be read: Is a directory" in fails(capsys, "--no-plot", "--load", ".")
    safetensors.save_file(layers(), W)
    content = Path(W).read_bytes()
    for stop in (0, 7, 8, 100, len(content) - 1):
        Path(W).write_bytes(content[:stop])
        assert "not a safetensors file, or a damaged one" in fails(capsys, "--load", W)
    for i in range(0, 400, 3):
        Path(W).write_bytes(content[:i] + bytes([content[i] ^ 0x41]) + content[i + 1 :])
        try:
            files.hidden_sizes(W, files.load_weights(W), 64)
        except RefusedError as error:
            assert str(error).startswith(f"{W}: ")  # noqa: PT017


def test_without_safetensors(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "safetensors", None)
    monkeypatch.delitem(sys.modules, "safetensors.numpy", raising=False)
    for option in ("--save", "--load"):
        assert "pip install wengert[save]" in fails(capsys, *QUICK, option, W)
    assert here() == []


@pytest.mark.parametrize("path", [".", "nowhere/w", "/dev/null", "set.npz/w", "x" * 300])
def test_where_weights_cannot_go(
    path: str, safetensors: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("set.npz").touch()
    assert "cannot be written: " in fails(capsys, *QUICK, "--save", path)
    assert here() == ["set.npz"]


def test_ctrl_c_keeps_the_weights_so_far(
    safetensors: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(Progress, "epoch", interrupt)
        err = fails(capsys, *QUICK, "--save", W, code=130)
    assert err == f"wengert: interrupted after 45 steps; the weights so far are in {W}\n"
    assert quiet(load=W).accuracy > 20
    before = Path(W).read_bytes()
    with monkeypatch.context() as m:
        m.setattr(Progress, "__enter__", interrupt)
        err = fails(capsys, *QUICK, "--save", W, code=130)
    assert err == f"wengert: interrupted after 0 steps; {W} is left as it was\n"
    monkeypatch.setattr(os, "fsync", interrupt)  # while the file is being written
    fails(capsys, *QUICK, "--save", W, code=130)
    assert Path(W).read_bytes() == before
    assert here() == [W]


def test_a_failing_disk_or_run_leaves_the_old_weights(
    safetensors: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    Path(W).write_text("old")
    fails(capsys, *QUICK, "--optimizer", "sgd", "--lr", "1e30", "--save", W, code=1)
    monkeypatch.setattr(os, "fsync", full)
    assert "No space left" in fails(capsys, *QUICK, "--save", W)
    assert Path(W).read_text() == "old"
    assert here() == [W]


# --- the picture ---------------------------------------------------------------------------------


def png_size(path: str) -> tuple[int, int]:
    content = Path(path).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(content) > 20_000
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def test_picture(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert main(["--epochs", "3"]) == 0
    assert "picture: wengert-digits.png\n" in capsys.readouterr().out
    assert here() == ["wengert-digits.png"]
    assert png_size("wengert-digits.png") == (1560, 648)


@pytest.mark.parametrize("shape", [(25,), (5, 5), (7,), (5, 5, 3)])
def test_picture_of_any_set(shape: tuple[int, ...]) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    x = {"x_train": np.zeros((40, *shape)), "x_test": np.zeros((20, *shape))}
    np.savez("set.npz", **a_set(**x))
    quiet(data="set.npz", epochs=1, plot="p.png", plot_must_work=True)
    assert png_size("p.png") == (1560, 648)


def test_picture_of_weights_that_were_only_tested(safetensors: Any) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    quiet(epochs=1, save=W)
    quiet(load=W, plot="p.png", plot_must_work=True)
    assert png_size("p.png") == (1560, 648)


def test_without_matplotlib(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["--epochs", "2"]) == 0
    out, err = capsys.readouterr()
    assert "no picture: matplotlib is not installed" in out
    assert err == ""
    assert here() == []


def test_a_default_picture_that_cannot_be_written_is_no_failure(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    Path("wengert-digits.png").mkdir()
    assert main(["--epochs", "2"]) == 0
    assert "no picture: wengert-digits.png: cannot be written" in capsys.readouterr().out
