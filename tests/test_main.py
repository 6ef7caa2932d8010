"""The main job: `python -m wengert`."""

from __future__ import annotations

import hashlib
import re
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import _digits, _train
from wengert.__main__ import main
from wengert._digits.progress import Progress
from wengert._train import OPTIMIZERS, Settings, run

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist.npz"


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def weights_of(model: wg.nn.Module) -> list[bytes]:
    return [p.detach().numpy().tobytes() for p in model.parameters()]


def quiet(**settings: Any) -> _train.Result:
    return run(Settings(**settings), lambda _: None)


def fails(capsys: pytest.CaptureFixture[str], *argv: str, code: int = 2) -> str:
    """Run the job; it must end with this code and one line on stderr, which is returned."""
    assert main(argv) == code
    err = capsys.readouterr().err
    assert err.startswith("wengert: ")
    assert err.endswith("\n")
    assert err.count("\n") == 1
    return err


def here() -> list[str]:
    return sorted(path.name for path in Path().iterdir())


def python(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv], capture_output=True, text=True, timeout=300, check=False
    )


# --- what it learns ------------------------------------------------------------------------------


def test_as_a_command() -> None:
    done = python("-m", "wengert", "--no-plot")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("data: UCI digits, 1,437 training and 360 test images of 8x8")
    assert lines[1] == "model: 64-512-10 with ReLU, 38,410 parameters"
    for line, how in zip(lines[-3:], ("as usual", "replayed"), strict=False):
        pattern = rf"time per step, {how}: median [\d.]+ us, minimum [\d.]+ us .*"
        assert re.fullmatch(pattern, line)
    last = re.fullmatch(r"test accuracy: (\d+\.\d\d) %", lines[-1])
    assert last is not None
    assert float(last[1]) >= 97
    assert here() == []


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer_learns(optimizer: str, seed: int) -> None:
    assert quiet(optimizer=optimizer, seed=seed).accuracy >= 97


def test_mnist() -> None:
    if not MNIST.is_file():
        pytest.skip("no file shared/data/mnist.npz beside the repository")
    assert quiet(data=str(MNIST)).accuracy >= 98


def test_the_same_seed_gives_the_same_bits() -> None:
    a, b, other = (quiet(epochs=3, seed=seed) for seed in (5, 5, 6))
    assert a.accuracy == b.accuracy
    assert weights_of(a.model) == weights_of(b.model)
    assert weights_of(a.model) != weights_of(other.model)


def test_replays_give_the_bits_of_plain_steps() -> None:
    a, b = (quiet(epochs=3, capture=capture) for capture in (False, True))
    assert a.history.losses == b.history.losses
    assert weights_of(a.model) == weights_of(b.model)
    assert len(a.history.plain) == 3 * 45
    assert a.history.replayed == []


def test_threads_do_not_change_the_bits() -> None:
    threads = wg.get_num_threads()
    one, two = (quiet(epochs=2, batch_size=512, hidden=(512, 256), threads=n) for n in (1, 2))
    assert weights_of(one.model) == weights_of(two.model)
    assert wg.get_num_threads() == threads


def test_every_step_is_measured() -> None:
    history = quiet(epochs=3, hidden=(8,)).history
    assert len(history.losses) == 3 * 45
    assert 20 <= len(history.plain) < len(history.replayed) < 3 * 45
    assert np.allclose(history.epoch_losses, np.reshape(history.losses, (3, 45)).mean(1))


def test_hidden_sizes_are_read_in_both_spellings(capsys: pytest.CaptureFixture[str]) -> None:
    for sizes in (["16,12"], ["16", "12"]):
        assert main(["--no-plot", "--epochs", "1", "--hidden", *sizes]) == 0
        assert "model: 64-16-12-10 with ReLU" in capsys.readouterr().out


# --- the digits of the package -------------------------------------------------------------------


def test_digits_are_what_their_provenance_says() -> None:
    folder = Path(_digits.__file__).parent
    text = (folder / "PROVENANCE.md").read_text()
    assert hashlib.sha256((folder / "digits.npz").read_bytes()).hexdigest() in text
    images, labels = _digits.load()
    assert images.shape == (1797, 8, 8)
    assert (images.min(), images.max()) == (0, 16)
    counts = " | ".join(str(n) for n in np.bincount(labels))
    assert f"| count | {counts} |" in text


def test_digits_are_those_of_scikit_learn() -> None:
    datasets = pytest.importorskip("sklearn.datasets", reason="scikit-learn is not installed")
    images, labels = _digits.load()
    theirs = datasets.load_digits()
    assert (images == theirs.images).all()
    assert (labels == theirs.target).all()


def test_no_test_image_is_trained_on() -> None:
    data = _digits.split()
    images, _ = _digits.load()
    both = np.concatenate([data.x_train, data.x_test])
    assert sorted(x.tobytes() for x in both) == sorted(x.tobytes() for x in images)
    assert len(data.x_test) == 360


def test_import_brings_none_of_it() -> None:
    names = "('numpy', 'matplotlib', 'tqdm', 'wengert._digits', 'wengert._train')"
    done = python("-c", f"import sys, wengert; print([n for n in {names} if n in sys.modules])")
    assert done.stdout == "[]\n"


# --- options -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        (["--lr", "-1"], "--lr: expected a positive number: '-1'"),
        (["--lr", "0"], "positive"),
        (["--lr", "nan"], "positive"),
        (["--lr", "inf"], "positive"),
        (["--lr", "fast"], "positive"),
        (["--epochs", "0"], "--epochs: expected an integer from 1"),
        (["--epochs", "2.5"], "integer"),
        (["--batch-size", "0"], "--batch-size"),
        (["--hidden", "0"], "--hidden"),
        (["--hidden", "16,x"], "--hidden"),
        (["--hidden", ","], "--hidden"),
        (["--threads", "0"], "--threads"),
        (["--seed", "-1"], "--seed"),
        (["--seed", str(2**63)], "--seed"),
        (["--optimizer", "sdg"], "--optimizer: invalid choice: 'sdg'"),
        (["--device", "cuda"], "'cuda' is not available"),
        (["--device", "gpu\n0"], "device"),
        (["--plot", "digits.txt"], "--plot: expected a name in .png, .svg, .pdf"),
        (["--plot", "nowhere/a.png"], "nowhere/a.png: cannot be written"),
        (["--plot", "a.png", "--no-plot"], "not allowed with"),
        (["--epoch", "3"], "unrecognized"),
        (["digits"], "unrecognized"),
    ],
)
def test_a_bad_option_is_refused(
    argv: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if argv == ["--device", "cuda"] and wg.cuda.is_available():
        pytest.skip("here is a CUDA device")
    assert told in fails(capsys, *argv)
    assert here() == []


def test_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "--optimizer" in capsys.readouterr().out


def test_a_loss_that_explodes_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    argv = ("--no-plot", "--optimizer", "sgd", "--lr", "1e30")
    assert "try a lower --lr" in fails(capsys, *argv, code=1)


# --- while it goes on ----------------------------------------------------------------------------


class InTerminal:
    """A bar as tqdm has it."""

    def __init__(self, **options: Any) -> None:
        self.total, self.done, self.open, self.told = options["total"], 0, True, ""

    def update(self) -> None:
        self.done += 1

    def set_postfix_str(self, text: str, *, refresh: bool) -> None:
        self.told = text

    def close(self) -> None:
        self.open = False


def test_progress_is_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    bars: list[InTerminal] = []

    def tqdm(**options: Any) -> InTerminal:
        bars.append(InTerminal(**options))
        return bars[0]

    monkeypatch.setitem(sys.modules, "tqdm", SimpleNamespace(tqdm=tqdm))
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told: list[str] = []
    run(Settings(epochs=2, hidden=(4,)), told.append)
    assert (bars[0].done, bars[0].total, bars[0].open) == (90, 90, False)
    assert bars[0].told.startswith("epoch 2/2, loss ")
    assert not any(line.startswith("epoch ") for line in told)


@pytest.mark.parametrize("epochs", [1, 7, 25])
def test_progress_is_about_ten_lines_elsewhere(
    epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tqdm", None)  # as if it were not installed
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    told: list[str] = []
    run(Settings(epochs=epochs, hidden=(4,)), told.append)
    lines = [line for line in told if line.startswith("epoch ")]
    assert lines[-1].startswith(f"epoch {epochs}/{epochs}  loss ")
    assert len(lines) == min(epochs, 9)


def test_ctrl_c(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(Progress, "epoch", interrupt)
        err = fails(capsys, "--no-plot", code=130)
    assert err == "wengert: interrupted after 45 steps\n"
    monkeypatch.setattr(_digits, "load", interrupt)
    assert fails(capsys, "--no-plot", code=130) == "wengert: interrupted\n"


def test_ctrl_c_from_outside() -> None:
    # A shell may have told its background jobs to ignore the signal.
    start = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    start += "from wengert.__main__ import main; sys.exit(main())"
    argv = [sys.executable, "-c", start, "--no-plot", "--epochs", "1000000"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        while not job.stdout.readline().startswith("training: "):
            assert job.poll() is None
        job.send_signal(signal.SIGINT)
        _, err = job.communicate(timeout=60)
    assert job.returncode == 130
    assert re.fullmatch(r"wengert: interrupted( after [\d,]+ steps)?\n", err)


def test_a_reader_that_leaves_is_no_error() -> None:
    argv = [sys.executable, "-m", "wengert", "--no-plot", "--epochs", "5000", "--hidden", "1"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        assert job.stdout is not None
        assert job.stderr is not None
        job.stdout.readline()
        job.stdout.close()
        assert job.stderr.read() == ""
    assert job.returncode == 1
