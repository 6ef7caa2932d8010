"""Files of save and load, pickles and copies: what comes back, and what is refused."""

from __future__ import annotations

import contextlib
import copy
import io
import os
import pickle
import random
import zipfile
from collections import OrderedDict, defaultdict
from pathlib import Path
from typing import Any

import pytest

import wengert as wg
from oracle import needs_torch, torch

DTYPES = (
    "bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64",
)  # fmt: skip


def written(obj: Any, m: Any = wg) -> io.BytesIO:
    file = io.BytesIO()
    m.save(obj, file)
    file.seek(0)
    return file


def back(obj: Any, **options: Any) -> Any:
    return wg.load(written(obj), **options)


def tree(m: Any) -> dict[str, Any]:
    """Something of everything that may be in a file."""
    grid = m.arange(6.0).view(2, 3)
    net = m.nn.Sequential(m.nn.Linear(2, 3), m.nn.ReLU(), m.nn.Linear(3, 1))
    optimizer = m.optim.Adam(net.parameters())
    net(m.ones(1, 2)).sum().backward()
    optimizer.step()
    return {
        "grid": grid, "transposed": grid.t(), "row": grid[1], "weights": net.state_dict(),
        "optimizer": optimizer.state_dict(),
        "dtypes": [m.ones(2, dtype=getattr(m, d)) for d in DTYPES],
        "parameter": m.nn.Parameter(m.ones(2)), "leaf": m.ones(2, requires_grad=True),
        "result": m.ones(2, requires_grad=True) * 2, "none": m.zeros(0, 3), "single": m.tensor(3.0),
        "size": grid.shape, "dtype": m.float64, "device": m.device("cpu"),
        "plain": [3, 2.5, "hé", b"\x00\xff", None, True, (1, (2,)), {1, 2}, 10**30],
        "more": [OrderedDict(a=1), bytearray(b"ab"), 1 + 2j, {}, [], (), "", float("inf")],
    }  # fmt: skip


def shown(value: Any) -> Any:
    if hasattr(value, "requires_grad") and hasattr(value, "stride"):
        about = str(value.dtype).rpartition(".")[2], tuple(value.shape), value.stride()
        return type(value).__name__, about, value.requires_grad, value.detach().float().tolist()
    if isinstance(value, dict):
        return type(value).__name__, {k: shown(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value).__name__, [shown(v) for v in value]
    return repr(value).replace("torch.", "wengert.")


def test_what_is_saved_comes_back() -> None:
    made = tree(wg)
    assert shown(back(made)) == shown(made)
    assert shown(back(made, weights_only=False)) == shown(made)


@needs_torch
def test_pytorch_reads_our_files() -> None:
    made = tree(wg)
    read = torch.load(written(made))
    assert shown(read) == shown(made)
    assert read["weights"]._metadata == made["weights"]._metadata


@needs_torch
def test_we_read_pytorch_s_files() -> None:
    made = tree(torch)
    for options in ({}, {"weights_only": False}):
        assert shown(wg.load(written(made, torch), **options)) == shown(made)


def test_frozen_sets() -> None:
    for protocol in (2, 4):
        file = io.BytesIO()
        wg.save(frozenset([3]), file, pickle_protocol=protocol)
        file.seek(0)
        assert wg.load(file) == frozenset([3])


def test_memory_is_written_once_and_shared_again() -> None:
    whole = wg.arange(1000.0)
    file = written([whole, whole[2:], whole.view(10, 100)])
    assert len(file.getvalue()) < 6000
    a, b, c = wg.load(file)
    a[2] = -1
    assert b[0].item() == c[0, 2].item() == -1


def test_attributes_stay() -> None:
    t, p = wg.ones(2), wg.nn.Parameter(wg.ones(2))
    t.note, p.note = "mine", [1]  # type: ignore[attr-defined]
    for copied in (back([t, p]), pickle.loads(pickle.dumps([t, p])), [copy.copy(t), copy.copy(p)]):
        assert [c.note for c in copied] == ["mine", [1]]


def test_paths_and_open_files(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    wg.save({"a": wg.ones(2)}, path)
    assert wg.load(str(path))["a"].tolist() == [1, 1]
    first = path.read_bytes()
    with path.open("wb") as file:
        wg.save({"a": wg.ones(2)}, file)
    with path.open("rb") as file:
        assert wg.load(file, map_location="cpu")["a"].tolist() == [1, 1]
    assert wg.load(path, map_location=lambda storage, _: storage)["a"].shape == (2,)
    wg.save({"a": wg.ones(2)}, path)
    assert path.read_bytes() == first  # the same object makes the same file
    with pytest.raises(FileNotFoundError):
        wg.load(tmp_path / "none.pt")
    if not wg.cuda.is_available():
        with pytest.raises(RuntimeError, match="not available"):
            wg.load(path, map_location="cuda")


def test_a_failed_save_leaves_the_file(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    wg.save(3, path)
    with pytest.raises((TypeError, AttributeError, pickle.PicklingError)):
        wg.save(lambda: 3, path)
    assert wg.load(path) == 3


# --- classes -----------------------------------------------------------------------------------


def network() -> Any:
    return wg.nn.Sequential(wg.nn.Linear(2, 3), wg.nn.ReLU(), wg.nn.Linear(3, 1))


def test_a_module_is_refused_unless_its_classes_are_named() -> None:
    net = network()
    with pytest.raises(pickle.UnpicklingError, match=r"Sequential.*safe_globals.*weights_only=F"):
        back(net)
    names = wg.nn.modules
    classes = [names.container.Sequential, names.linear.Linear, names.activation.ReLU]
    with wg.serialization.safe_globals(classes):
        assert len(wg.serialization.get_safe_globals()) == 3
        read = back(net)
    assert wg.serialization.get_safe_globals() == []
    x = wg.ones(1, 2)
    assert wg.equal(read(x), net(x))
    assert wg.equal(back(net, weights_only=False)(x), net(x))
    wg.serialization.add_safe_globals(classes)
    back(net)
    wg.serialization.clear_safe_globals()
    with pytest.raises(pickle.UnpicklingError):
        back(net)


class Runs:
    """Runs a command when it is unpickled."""

    def __init__(self, command: Any, *args: Any) -> None:
        self.made = command, args

    def __reduce__(self) -> Any:
        return self.made


class Changes:
    """Changes what it gets when it is unpickled."""

    def __init__(self, target: Any, state: Any) -> None:
        self.made = target, (), state

    def __reduce__(self) -> Any:
        return self.made


@pytest.mark.parametrize(
    "evil",
    [
        Runs(os.system, "touch ran"),
        [{"a": Runs(eval, "open('ran', 'w')")}],
        Runs(exec, "open('ran', 'w')"),
        Runs(getattr, wg.float32, "itemsize"),
        Runs(__import__, "antigravity"),
        Runs(wg.Generator),
        Runs(defaultdict, list),
        Runs(wg.load, "ran"),
        Runs(Path, "ran"),
        Runs(bytearray, 2**50),
        Runs(type, "A", (), {}),
        Changes(set, {"a": 1}),
    ],
)
def test_nothing_in_a_file_runs(evil: Any, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for protocol in (2, 4):
        file = io.BytesIO()
        wg.save(evil, file, pickle_protocol=protocol)
        file.seek(0)
        with pytest.raises(pickle.UnpicklingError):
            wg.load(file)
    assert list(tmp_path.iterdir()) == []


def archive(text: bytes, **entries: bytes) -> io.BytesIO:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as z:
        z.writestr("a/data.pkl", text)
        for name, content in entries.items():
            z.writestr(f"a/{name.replace('__', '/')}", content)
    file.seek(0)
    return file


_STORAGE = (
    b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpuK\x04tQ"
)


@pytest.mark.parametrize(
    "file",
    [
        io.BytesIO(b""),
        io.BytesIO(b"no archive"),
        io.BytesIO(pickle.dumps(3)),
        archive(b""),
        archive(b"N"),
        archive(b"."),
        archive(b"tR."),
        archive(b"}("),
        archive(b"(lK\x01Q."),
        archive(_STORAGE + b"."),
        archive(_STORAGE + b".", data__0=b"1234"),
        archive(b"ctorch._utils\n_rebuild_tensor_v2\n(" + _STORAGE + b"K\x00K\x05tK\x01ttR.",
                data__0=b"1234567812345678"),
        archive(b"ctorch\nTensor\n)R."),
        archive(b"ctorch\nTensor\n}b."),
        archive(b"cbuiltins\nset\n(lR}X\x01\x00\x00\x00aK\x01sb."),
        archive(b"cposix\nsystem\nX\x02\x00\x00\x00ls\x85R."),
    ],
)  # fmt: skip
def test_damaged_files_are_refused(file: io.BytesIO) -> None:
    file.seek(0)
    with pytest.raises((pickle.UnpicklingError, RuntimeError)):
        wg.load(file)


def test_compressed_entries_are_refused() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr("a/data.pkl", b"N." + b" " * 10**6)
    with pytest.raises(pickle.UnpicklingError, match="compressed"):
        wg.load(file)


def test_files_with_random_damage_load_or_are_refused() -> None:
    whole = written(tree(wg)).getvalue()
    draw = random.Random(0)
    for _ in range(400):
        damaged = bytearray(whole)
        for _ in range(draw.choice([1, 2, 5])):
            damaged[draw.randrange(len(damaged))] = draw.randrange(256)
        if draw.random() < 0.2:
            del damaged[draw.randrange(len(damaged)) :]
        with contextlib.suppress(pickle.UnpicklingError, RuntimeError):
            wg.load(io.BytesIO(damaged))


# --- copies ------------------------------------------------------------------------------------


@needs_torch
@pytest.mark.parametrize(
    "copier", [copy.copy, copy.deepcopy, lambda t: pickle.loads(pickle.dumps(t))]
)
@pytest.mark.parametrize(
    "make",
    [
        lambda m: m.ones(2, requires_grad=True),
        lambda m: m.ones(2, requires_grad=True) * 2,
        lambda m: m.nn.Parameter(m.ones(2)),
        lambda m: [m.arange(3)[1:], m.ones(2, 3)],
        lambda m: m.float32,
        lambda m: m.zeros(2, 3).shape,
        lambda m: m.device("cpu"),
    ],
)
def test_copies_as_in_pytorch(copier: Any, make: Any) -> None:
    results = []
    for m in (wg, torch):
        try:
            results.append(shown(copier(make(m))))
        except RuntimeError:
            results.append("refused")
    assert results[0] == results[1]


def test_deep_copies_share_as_the_originals_did() -> None:
    whole = wg.arange(6.0)
    a, b, c = copy.deepcopy([whole, whole[2:4], whole.view(2, 3).t()])
    a[2] = 7
    assert b[0].item() == c[2, 0].item() == 7
    assert c.stride() == (1, 3)
    assert whole[2].item() == 2


def test_a_copy_looks_at_the_same_memory() -> None:
    t = wg.ones(2, requires_grad=True)
    copied = copy.copy(t)
    assert copied is not t
    assert copied.data_ptr() == t.data_ptr()
    assert (copied.requires_grad, copied.is_leaf, copied.grad) == (True, True, None)


def test_a_deep_copy_keeps_gradients() -> None:
    t = wg.ones(2, requires_grad=True)
    (t * 3).sum().backward()
    copied = copy.deepcopy(t)
    assert copied.grad.tolist() == [3, 3]
    assert copied.grad is not t.grad


def test_generators_go_on_where_they_were() -> None:
    g = wg.Generator().manual_seed(3)
    wg.rand(5, generator=g)
    for copied in (copy.deepcopy(g), pickle.loads(pickle.dumps(g))):
        ours = g.clone_state()
        assert wg.rand(3, generator=copied).tolist() == wg.rand(3, generator=ours).tolist()
