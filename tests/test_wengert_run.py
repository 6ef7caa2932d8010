"""wengert-run: the steps of a saved program without Python, with the bits of Python's run."""

from __future__ import annotations

import json
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import extension_build
import wengert as wg
from saved_programs import bits, captured

COMMAND = Path(wg.__file__).resolve().parent / "bin" / "wengert-run"
if not COMMAND.exists():  # the package's Python files may be links into the sources
    COMMAND = Path(wg._core.__file__).resolve().parent / "bin" / "wengert-run"


def call(*args: Any, code: int = 0) -> str:
    done = subprocess.run([COMMAND, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stderr
    assert bool(done.stderr) == (code != 0)
    return done.stdout if code == 0 else done.stderr


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    content = path.read_bytes()
    (length,) = struct.unpack_from("<Q", content)
    header = json.loads(content[8 : 8 + length])
    dtypes = {"F32": "<f4", "I64": "<i8", "F64": "<f8"}
    out = {}
    for name, about in header.items():
        begin, end = about["data_offsets"]
        data = content[8 + length + begin : 8 + length + end]
        out[name] = np.frombuffer(data, dtypes[about["dtype"]]).reshape(about["shape"])
    assert 8 + length + max(a["data_offsets"][1] for a in header.values()) == len(content)
    assert length % 8 == 0
    return out


@pytest.fixture
def case(tmp_path: Path) -> Any:
    case = captured("dropout")
    case.step.save(tmp_path / "step.wgp")
    x, y = wg.randn(80, 16), wg.randint(0, 4, (80,))
    np.savez(tmp_path / "train.npz", y=y.numpy(), x=x.numpy())
    return case, (x, y)


def test_trains_as_python_does(case: Any, tmp_path: Path) -> None:
    """Weights, losses, and the program afterwards."""
    _, data = case
    loaded = wg.load_program(tmp_path / "step.wgp")
    loaded.settings[0]["lr"] = 0.003
    losses = loaded.run(data, shuffle=True, epochs=3, seed=7)
    loaded.save(tmp_path / "python.wgp")
    shown = call(
        tmp_path / "step.wgp", "--data", tmp_path / "train.npz", "--batch-size", 8, "--epochs", 3,
        "--shuffle", "--seed", 7, "--lr", 0.003, "--out", tmp_path / "weights.safetensors",
        "--results", tmp_path / "losses.npy", "--save", tmp_path / "later.wgp", "--print", 10,
    )  # fmt: skip
    ours = np.load(tmp_path / "losses.npy")
    assert ours.tobytes() == losses.numpy().tobytes()
    assert ours.shape == (30,)
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["step", "10"], ["step", "20"], ["step", "30"],
    ]  # fmt: skip
    weights = read_safetensors(tmp_path / "weights.safetensors")
    state = loaded.state_dict()
    assert weights.keys() == state.keys()
    assert all(weights[k].tobytes() == state[k].numpy().tobytes() for k in state)
    later = wg.load_program(tmp_path / "later.wgp")
    assert bits(later.tensors) == bits(loaded.tensors)
    batch = [t[:8] for t in data]
    assert bits(later(*batch)) == bits(loaded(*batch))


def test_reads_safetensors_of_others(case: Any, tmp_path: Path) -> None:
    """The library of that name reads what is written."""
    numpy = pytest.importorskip("safetensors.numpy")
    call(tmp_path / "step.wgp", "--out", tmp_path / "weights.safetensors")
    found = numpy.load_file(tmp_path / "weights.safetensors")
    state = case[0].module.state_dict()
    assert {k: v.tobytes() for k, v in found.items()} == {
        k: v.numpy().tobytes() for k, v in state.items()
    }


def test_infers(tmp_path: Path) -> None:
    """Several results, from a compressed file, arrays in order and with columns first."""
    case = captured("inference")
    case.step.save(tmp_path / "a.wgp")
    x = wg.randn(20, 16)
    (tmp_path / "x.bin").write_bytes(x.numpy().tobytes())
    np.savez_compressed(tmp_path / "x.npz", anything=np.asfortranarray(x.numpy()))
    np.save(tmp_path / "x.npy", x.numpy())
    loaded = wg.load_program(tmp_path / "a.wgp")
    expected = [loaded(x[i : i + 8]) for i in (0, 8)]
    for data in (("--data", "x.npz"), ("--raw", "x=x.bin"), ("--npy", "x=x.npy")):
        option, value = data
        name, _, file = value.rpartition("=")
        path = f"{name}={tmp_path / file}" if name else tmp_path / file
        call(
            tmp_path / "a.wgp", option, path, "--drop-last", "--threads", 2,
            "--results", tmp_path / "out.npz",
        )  # fmt: skip
        with np.load(tmp_path / "out.npz") as found:
            assert sorted(found) == ["result0", "result1", "result2"]
            for i, each in enumerate(expected):
                assert found["result0"][i].tobytes() == each["logits"].numpy().tobytes()
                assert found["result1"][i].tobytes() == each["both"][0].numpy().tobytes()


def test_random_seed(case: Any, tmp_path: Path) -> None:
    _, data = case
    loaded = wg.load_program(tmp_path / "step.wgp")
    loaded.seed(3)
    losses = loaded.run(data)
    call(
        tmp_path / "step.wgp", "--data", tmp_path / "train.npz", "--random-seed", 3,
        "--results", tmp_path / "losses.npy",
    )  # fmt: skip
    assert np.load(tmp_path / "losses.npy").tobytes() == losses.numpy().tobytes()


def test_shows_a_program(case: Any, tmp_path: Path) -> None:
    shown = call(tmp_path / "step.wgp")
    assert "x: float32 (8, 16)" in shown
    assert "lr=0.01" in shown
    assert call("--version").startswith(f"wengert-run {wg.__version__}")
    assert "usage:" in call("--help")
    by_python = [sys.executable, "-c", "from wengert._run import main; main()", "--version"]
    if (Path(wg.__file__).parent / "bin").exists():
        assert subprocess.check_output(by_python, text=True).startswith("wengert-run")


def test_wrong_use(case: Any, tmp_path: Path) -> None:
    """Exit code 2, and what is wrong."""
    program = tmp_path / "step.wgp"
    for args, message in [
        ([], "which program"),
        ([program, "--what"], "'--what' is no option"),
        ([program, "--epochs"], "--epochs needs a value"),
        ([program, "--epochs", "x"], "'x' is no number"),
        ([program, "--batch-size", "0"], "at least 1"),
        ([program, "--results", "a.txt"], ".npy or .npz"),
        ([program, "--raw", "x"], "expected NAME="),
        ([program, "--npy", f"z={tmp_path / 'a.npy'}"], ""),
    ]:
        code = 1 if message == "" else 2
        assert message in call(*args, code=code)


def test_bad_input(case: Any, tmp_path: Path) -> None:
    """Exit code 1, and what is wrong, of files and of what is in them."""
    program, npz = tmp_path / "step.wgp", tmp_path / "train.npz"

    def refused(*args: Any) -> str:
        return call(program, *args, code=1)

    assert "9 rows are no whole batches of 8" in refused("--data", saved(tmp_path, 9))
    assert "batches of 16 are not for it" in refused("--data", npz, "--batch-size", 16)
    assert "no optimizer in it has a setting 'speed'" in refused("--set", "speed=1")
    assert "other states" not in refused("--data", tmp_path / "none.npz")
    assert "expected rows of int64" in refused("--data", saved(tmp_path, 8, y="int32"))
    assert "expected rows of float32 and shape (16,)" in refused(
        "--data", saved(tmp_path, 8, width=15)
    )
    assert "no data for argument 'y'" in refused("--data", saved(tmp_path, 8, only_x=True))
    assert "target 7" in refused("--data", saved(tmp_path, 8, label=7))
    assert "1 arrays for 2 arguments" in refused("--data", lone(tmp_path))
    program.write_bytes(program.read_bytes()[:-1])
    assert "cannot be read" in refused("--data", npz)


def test_damaged_arrays(case: Any, tmp_path: Path) -> None:
    """Every byte of a directory, a header and a checksum counts."""
    for name, write in (("a.npz", np.savez), ("b.npz", np.savez_compressed)):
        file = tmp_path / name
        write(file, x=np.zeros((8, 16), np.float32), y=np.zeros(8, np.int64))
        content = file.read_bytes()
        call(tmp_path / "step.wgp", "--data", file)
        for at in (0, 20, 40, 90, 200, len(content) - 60, len(content) - 18):
            file.write_bytes(content[:at])
            assert "cannot read" in call(tmp_path / "step.wgp", "--data", file, code=1)
        for at in range(0, len(content), 23):
            changed = bytearray(content)
            changed[at] ^= 0x41
            file.write_bytes(changed)
            done = subprocess.run(
                [COMMAND, tmp_path / "step.wgp", "--data", file], capture_output=True, timeout=60
            )
            assert done.returncode in (0, 1), (at, done.returncode)


def saved(
    folder: Path, rows: int, *, y: str = "int64", width: int = 16, only_x: bool = False,
    label: int = 0,
) -> Path:  # fmt: skip
    arrays = {"x": np.zeros((rows, width), np.float32)}
    if not only_x:
        arrays["y"] = np.full(rows, label, y)
    np.savez(folder / "bad.npz", **arrays)
    return folder / "bad.npz"


def lone(folder: Path) -> Path:
    np.savez(folder / "lone.npz", z=np.zeros((8, 16), np.float32))
    return folder / "lone.npz"


def test_from_cpp(tmp_path: Path) -> None:
    """The page's C++ program gives the results that Python gives."""
    compiler = extension_build.compiler()
    page = Path(__file__).resolve().parent.parent / "docs" / "saved-programs.md"
    found = re.search(r"^```cpp\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert found
    (tmp_path / "program.cpp").write_text(found.group(1))
    tools = wg.utils.cpp_extension
    package = COMMAND.parent.parent
    done = subprocess.run(
        [compiler, *tools.compile_flags(), "-O0", tmp_path / "program.cpp", f"-L{package}",
         "-lwengert", f"-Wl,-rpath,{package}", "-o", tmp_path / "program"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    captured("adam").step.save(tmp_path / "step.wgp")
    loaded = wg.load_program(tmp_path / "step.wgp")
    loaded.settings[0]["lr"] = 1e-4
    given = [wg.zeros(shape, dtype=dtype) for _, dtype, shape in loaded.arguments]
    expected = [loaded(*given).item() for _ in range(3)]
    output = subprocess.check_output([tmp_path / "program", "step.wgp"], text=True, cwd=tmp_path)
    assert [float.fromhex(line) for line in output.splitlines()] == expected
    weights = read_safetensors(tmp_path / "weights.safetensors")
    assert weights["0.weight"].tobytes() == loaded.state_dict()["0.weight"].numpy().tobytes()
    failed = subprocess.run([tmp_path / "program", "none"], capture_output=True, check=False)
    assert failed.returncode == 1
