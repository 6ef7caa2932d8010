"""Captured programs in files: they go on with the same bits, and damaged ones are refused."""

from __future__ import annotations

import json
import random
import struct
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import saved_programs as programs
import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from saved_programs import CASES, bits, captured
from wengert import nn, optim

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", CASES)
def test_goes_on_with_the_same_bits(name: str, tmp_path: Path) -> None:
    """From the state that it was saved in: results, weights, states, random numbers."""
    case = captured(name)
    case.step.save(tmp_path / "a.wgp", *case.batch(0))
    loaded = wg.load_program(tmp_path / "a.wgp")
    assert [bits(loaded(*case.batch(i))) for i in range(20)] == [
        bits(case.step(*case.batch(i))) for i in range(20)
    ]
    if case.module is not None:
        assert bits(loaded.state_dict()) == bits(dict(case.module.state_dict()))
        ours = [p.grad for p in loaded.parameters()]
        assert bits(ours) == bits([p.grad for p in case.module.parameters()])
    assert case.step.captures <= 2


@pytest.mark.parametrize("name", CASES)
def test_saved_again(name: str, tmp_path: Path) -> None:
    """A loaded program is saved as it is then, always as the same bytes."""
    case = captured(name)
    files = [tmp_path / f"{i}.wgp" for i in range(3)]
    case.step.save(files[0], *case.batch(0))
    first = wg.load_program(files[0])
    first(*case.batch(0))
    first.save(files[1])
    second = wg.load_program(files[1])
    second.save(files[2])
    assert files[1].read_bytes() == files[2].read_bytes()
    assert bits(second(*case.batch(1))) == bits(first(*case.batch(1)))
    assert bits(second.tensors) == bits(first.tensors)
    assert set(tmp_path.iterdir()) == set(files)  # no half-written ones


def test_many_steps(tmp_path: Path) -> None:
    """run() is that of the captured function, with its own batch size."""
    case = captured("dropout")
    case.step.save(tmp_path / "a.wgp")
    loaded = wg.load_program(tmp_path / "a.wgp")
    data = wg.randn(80, 16), wg.randint(0, 4, (80,))
    state = wg.get_rng_state()
    told: list[int] = []
    ours = loaded.run(data, shuffle=True, epochs=3, seed=5, progress=told.append, every=10)
    wg.set_rng_state(state)
    case.step.save(tmp_path / "b.wgp")
    loaded = wg.load_program(tmp_path / "b.wgp")
    again = loaded.run(data, batch_size=8, shuffle=True, epochs=3, seed=5)
    theirs = case.step.run(data, batch_size=8, shuffle=True, epochs=3, seed=5)
    assert bits(again) == bits(theirs)
    assert ours.shape == theirs.shape == (30,)
    assert told == [10, 20, 30]
    with pytest.raises(ValueError, match="drop_last"):
        loaded.run([t[:79] for t in data])
    with pytest.raises(ValueError, match="batches of 8"):
        loaded.run(data, batch_size=16)
    assert loaded.run([t[:79] for t in data], drop_last=True).shape == (9,)


def test_arguments(tmp_path: Path) -> None:
    """By order and by name; what was no tensor is in the file."""
    w = wg.randn(3)

    @wg.capture
    def fn(x: wg.Tensor, pair: tuple[wg.Tensor, float], *, bias: wg.Tensor) -> wg.Tensor:
        return x * w * pair[1] + pair[0] - bias

    x, y, b = wg.randn(2, 3), wg.randn(2, 3), wg.randn(3)
    for _ in range(2):
        expected = fn(x, (y, 2.0), bias=b)
    fn.save(tmp_path / "a.wgp")
    loaded = wg.load_program(str(tmp_path / "a.wgp"))
    assert loaded.arguments == [
        ("x", wg.float32, (2, 3)), ("pair.0", wg.float32, (2, 3)), ("bias", wg.float32, (3,)),
    ]  # fmt: skip
    assert bits(loaded(x, y, b)) == bits(expected)
    assert bits(loaded(x, bias=b, **{"pair.0": y})) == bits(expected)
    assert list(loaded.tensors) == ["w"]
    loaded.tensors["w"].zero_()
    assert bits(loaded(x, y, b)) == bits(y - b)
    for wrong in ((x, y), (x, y, 1.0), (x, y, b, b)):
        with pytest.raises(TypeError, match=r"expected tensors for x, pair\.0, bias"):
            loaded(*wrong)
    with pytest.raises(ValueError, match=r"expected x: float32 \(2, 3\)"):
        loaded(x[:1], y, b)


def test_settings(tmp_path: Path) -> None:
    """They are those of the moment of saving, and can be changed."""
    case = captured("sgd")
    opt = next(o for o, _ in next(iter(case.step._entries.values()))[0].kept.kept
               if isinstance(o, optim.Optimizer))  # fmt: skip
    opt.param_groups[0]["lr"] = 0.25
    case.step.save(tmp_path / "a.wgp")
    loaded = wg.load_program(tmp_path / "a.wgp")
    (settings,) = loaded.settings
    assert settings["lr"] == 0.25
    assert settings["nesterov"] is True
    assert {name: settings[name] for name in settings} == {
        "lr": 0.25, "weight_decay": 0, "maximize": False, "momentum": 0.9, "dampening": 0,
        "nesterov": True,
    }  # fmt: skip
    settings["lr"] = opt.param_groups[0]["lr"] = 0.01
    assert bits([loaded(*case.batch(i)) for i in range(3)]) == bits(
        [case.step(*case.batch(i)) for i in range(3)]
    )
    with pytest.raises(ValueError, match="other states"):
        settings["momentum"] = 0
    with pytest.raises(ValueError, match="no setting 'alpha'"):
        settings["alpha"] = 1
    adam = captured("adam")
    adam.step.save(tmp_path / "b.wgp")
    (settings,) = wg.load_program(tmp_path / "b.wgp").settings
    settings["betas"] = (0.5, 0.75)
    assert settings["betas"] == (0.5, 0.75)


def test_weights(tmp_path: Path) -> None:
    """Weights come and go by their names; tied ones stay one."""

    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(4, 4, bias=False)
            self.second = nn.Linear(4, 4, bias=False)
            self.second.weight = self.first.weight
            self.register_buffer("unused", wg.arange(3))

        def forward(self, x: wg.Tensor) -> wg.Tensor:
            return self.second(self.first(x).relu())

    model = Tied()
    case = programs.training(
        model, lambda p: optim.SGD(p, 0.1), lambda i: (wg.ones(2, 4), wg.ones(2, 4)), F.mse_loss
    )
    for i in range(3):
        case.step(*case.batch(i))
    case.step.save(tmp_path / "a.wgp")
    loaded = wg.load_program(tmp_path / "a.wgp")
    assert set(loaded.state_dict()) == {"first.weight", "second.weight", "unused"}
    assert loaded.tensors["first.weight"] is loaded.tensors["second.weight"]
    state = {k: wg.ones_like(v) for k, v in model.state_dict().items()}
    model.load_state_dict(state)
    loaded.load_state_dict(state)
    assert bits(loaded(*case.batch(0))) == bits(case.step(*case.batch(0)))
    with pytest.raises(KeyError, match=r"first\.weight"):
        loaded.load_state_dict({})


def test_seed(tmp_path: Path) -> None:
    """Generators of a loaded program are its own."""
    case = captured("generator")
    case.step.save(tmp_path / "a.wgp")
    loaded = wg.load_program(tmp_path / "a.wgp")
    state = wg.get_rng_state()
    loaded.seed(1)
    first = bits(loaded(*case.batch(0)))
    assert bits(loaded(*case.batch(0))) != first
    loaded.seed(1)
    assert bits(loaded(*case.batch(0))) == first
    assert bits(wg.get_rng_state()) == bits(state)


def test_checks_stay_checks(tmp_path: Path) -> None:
    """What a plain run raises, a loaded program raises."""
    case = captured("adam")
    case.step.save(tmp_path / "a.wgp")
    x, _ = case.batch(0)
    loaded = wg.load_program(tmp_path / "a.wgp")
    with pytest.raises(IndexError, match=r"cross_entropy: target 9 at position 0") as ours:
        loaded(x, wg.full((8,), 9))
    with pytest.raises(IndexError) as theirs:
        case.step(x, wg.full((8,), 9))
    assert str(ours.value) == str(theirs.value)

    @wg.capture
    def solve(a: wg.Tensor) -> wg.Tensor:
        return wg.linalg.inv(a)

    for _ in range(2):
        solve(wg.eye(3))
    solve.save(tmp_path / "b.wgp")
    with pytest.raises(wg.linalg.LinAlgError, match="singular"):
        wg.load_program(tmp_path / "b.wgp")(wg.zeros(3, 3))


# --- what cannot be saved -----------------------------------------------------------------------


def test_refusals(tmp_path: Path) -> None:
    """Each says why."""
    file = tmp_path / "a.wgp"

    @wg.capture
    def fn(x: wg.Tensor) -> Any:
        return x * factor

    factor = 2.0
    with pytest.raises(wg.CaptureError, match="no program for any arguments"):
        fn.save(file)
    for n in (2, 2, 3, 3):
        fn(wg.ones(n))
    with pytest.raises(wg.CaptureError, match="has 2 programs"):
        fn.save(file)
    with pytest.raises(wg.CaptureError, match="no program for such arguments"):
        fn.save(file, wg.ones(4))
    fn.save(file, wg.ones(3))
    assert wg.load_program(file)(wg.ones(3)).tolist() == [2, 2, 2]
    factor = 3.0
    with pytest.raises(wg.CaptureError, match="factor was changed"):
        fn.save(file, wg.ones(3))

    model = nn.Linear(2, 2)
    opt = optim.SGD(model.parameters(), 0.1)
    scheduler = optim.lr_scheduler.StepLR(opt, 2)

    @wg.capture
    def scheduled(x: wg.Tensor) -> wg.Tensor:
        opt.zero_grad()
        loss = model(x).sum()
        loss.backward()
        opt.step()
        scheduler.step()
        return loss

    for _ in range(3):
        scheduled(wg.ones(1, 2))
    with pytest.raises(wg.CaptureError, match=r"step.* is Python code"):
        scheduled.save(file)

    @wg.capture
    def odd(x: wg.Tensor) -> Any:
        return x + 1, frozenset({1})

    for _ in range(2):
        odd(wg.ones(1))
    with pytest.raises(wg.CaptureError, match="frozenset"):
        odd.save(file)
    with pytest.raises(RuntimeError, match="cannot write"):
        captured("adam").step.save(tmp_path / "none" / "a.wgp")
    assert [f.name for f in tmp_path.iterdir()] == ["a.wgp"]


def test_not_while_it_runs(tmp_path: Path) -> None:
    """Steps are not saved half done: of a thread that steps and one that saves, one waits."""
    case = captured("adam")
    case.step.save(tmp_path / "a.wgp")
    loaded = wg.load_program(tmp_path / "a.wgp")
    data = wg.randn(8000, 16), wg.randint(0, 4, (8000,))
    seen: list[str] = []

    def steps() -> None:
        try:
            loaded.run(data, epochs=3)
        except wg.CaptureError as e:
            seen.append(str(e))

    thread = threading.Thread(target=steps)
    thread.start()
    while thread.is_alive():
        try:
            loaded.save(tmp_path / "b.wgp")
            wg.load_program(tmp_path / "b.wgp")
        except wg.CaptureError as e:
            seen.append(str(e))
    thread.join()
    assert all("another thread" in reason for reason in seen)


# --- damaged files ------------------------------------------------------------------------------


def loads(path: Path, content: bytes) -> wg._capture.SavedProgram:
    path.write_bytes(content)
    return wg.load_program(path)


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    """Cut anywhere, or with any byte changed."""
    file = tmp_path / "a.wgp"
    captured("adam").step.save(file)
    content = file.read_bytes()
    rng = random.Random(0)
    for n in [*range(100), *rng.sample(range(len(content)), 200)]:
        with pytest.raises(RuntimeError, match="cannot be read"):
            loads(file, content[:n])
    for at in [*range(100), *rng.sample(range(len(content)), 300)]:
        changed = bytearray(content)
        changed[at] ^= 1 << rng.randrange(8)
        with pytest.raises(RuntimeError, match="cannot be read"):
            loads(file, bytes(changed))
    with pytest.raises(RuntimeError, match="instead of"):
        loads(file, content + b"\0")
    with pytest.raises(RuntimeError, match="cannot be read"):
        wg.load_program(tmp_path / "none")
    with pytest.raises(RuntimeError, match="it is no file"):
        wg.load_program(tmp_path)
    with pytest.raises(RuntimeError, match="format version 2"):
        loads(file, content[:8] + b"\2" + content[9:])
    assert programs.with_checksum(content) == content


@pytest.mark.parametrize(
    "name", ["adam", "dropout", "cnn", "language", "inference", "accumulating"]
)
def test_false_files_do_no_harm(name: str, tmp_path: Path) -> None:
    """Changed with a right checksum: refused, or run within their own memory."""
    case = captured(name)
    file = tmp_path / "a.wgp"
    case.step.save(file, *case.batch(0))
    content, end = programs.description_of(file)
    rng = random.Random(1)
    numbers = [0, 1, 2, 255, 2**31, 2**32 - 1, 2**46, 2**62, 2**63 - 1, 2**64 - 1]
    ran = 0
    for _ in range(400):
        changed = bytearray(content)
        at = rng.randrange(programs.HEADER.size, end - 8)
        if rng.random() < 0.5:
            changed[at] ^= 1 << rng.randrange(8)
        elif rng.random() < 0.5:
            struct.pack_into("<Q", changed, at, rng.choice(numbers))
        else:
            changed[at] = rng.randrange(256)
        try:
            loaded = loads(file, programs.with_checksum(changed))
            for i in range(2):
                loaded(*case.batch(i))
            ran += 1
        except (RuntimeError, ValueError, IndexError, TypeError):
            pass
    assert ran > 0


def test_false_data_does_no_harm(tmp_path: Path) -> None:
    """Indices that no operation has checked are looked at before they are gone by."""
    table = wg.arange(40.0).view(10, 4)
    index = wg.tensor([1, 2, 3])

    @wg.capture
    def fn(x: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        return table.index_select(0, index) * x, F.embedding(index, table) + x

    for _ in range(2):
        fn(wg.ones(4))
    file = tmp_path / "a.wgp"
    fn.save(file)
    content = file.read_bytes()
    at = content.index(struct.pack("<3q", 1, 2, 3))
    for bad in (10, -1, 2**40, -(2**62)):
        changed = bytearray(content)
        struct.pack_into("<q", changed, at, bad)
        loaded = loads(file, programs.with_checksum(changed))
        with pytest.raises((IndexError, RuntimeError), match="out of"):
            loaded(wg.ones(4))
    # Without the checks of the operations, those of the reader are left.
    text = b"\5\0\0\0index"
    assert text in content


def test_structure_is_checked(tmp_path: Path) -> None:
    """What Python makes of a file, too."""
    case = captured("inference")
    file = tmp_path / "a.wgp"
    case.step.save(file)
    content = file.read_bytes()
    begin = content.index(b'{"name"')
    length = struct.unpack_from("<I", content, begin - 4)[0]
    structure = json.loads(content[begin : begin + length])
    for results in (None, [], {"result": 99}, {"result": "a"}, {"tensor": "no"}, {"other": 1},
                    {"dict": [[1]]}, {"list": 3}):  # fmt: skip
        text = json.dumps({"name": structure["name"], "results": results}).ljust(length).encode()
        assert len(text) == length
        changed = content[:begin] + text + content[begin + length :]
        with pytest.raises(RuntimeError, match="structure of its results"):
            loads(file, programs.with_checksum(changed))


def test_checksum() -> None:
    """That of the tests is CRC-64/XZ, by its published check value."""
    file = bytes(32) + b"123456789"
    assert programs.with_checksum(file)[24:32] == np.uint64(0x995DC9BBDF1939FA).tobytes()
