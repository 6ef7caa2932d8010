"""Files of tensors, of what holds them and, where that is allowed, of whole objects.

The layout is PyTorch's: a zip archive with a pickle in which tensors are named by PyTorch's names,
and the memory behind them, each piece once, in entries of its own. So weights go both ways.
"""

from __future__ import annotations

import io
import pickle
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path
from typing import Any

from . import _core
from ._core import Tensor
from ._unpickle import Machine, StorageType, Trusting
from .nn.parameter import Parameter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import IO

    File = str | Path | IO[bytes]

__all__ = [
    "add_safe_globals",
    "clear_safe_globals",
    "get_safe_globals",
    "load",
    "safe_globals",
    "save",
]

# --- what load may make ------------------------------------------------------------------------

_allowed: list[Any] = []


def add_safe_globals(safe_globals: Iterable[Any]) -> None:
    """Let `load` make objects of more classes, and call functions, from now on.

    Parameters
    ----------
    safe_globals
        Classes and functions, or pairs of one and the full name that files have for it.
    """
    for each in safe_globals:
        if each not in _allowed:
            _allowed.append(each)


def get_safe_globals() -> list[Any]:
    """Return what was added."""
    return list(_allowed)


def clear_safe_globals() -> None:
    """Take back all that was added."""
    _allowed.clear()


class safe_globals:
    """Lets `load` make objects of more classes for the length of a ``with`` block."""

    def __init__(self, safe_globals: Iterable[Any]) -> None:
        self._more = list(safe_globals)

    def __enter__(self) -> None:
        self._before = get_safe_globals()
        add_safe_globals(self._more)

    def __exit__(self, *exc: object) -> None:
        _allowed[:] = self._before


# --- saving ------------------------------------------------------------------------------------


class _Name:
    """A global of the file, written without being imported."""

    def __init__(self, module: str, name: str) -> None:
        self.text = f"c{module}\n{name}\n".encode()

    def __call__(self) -> None:
        """Exist, for the pickler to take it for a function."""


_TENSOR = _Name("torch._utils", "_rebuild_tensor_v2")
_PARAMETER = _Name("torch._utils", "_rebuild_parameter")
_PARAMETER_WITH_STATE = _Name("torch._utils", "_rebuild_parameter_with_state")
_OF_TYPE = _Name("torch._tensor", "_rebuild_from_type_v2")
_TENSOR_TYPE = _Name("torch", "Tensor")
_SIZE = _Name("torch", "Size")
_DEVICE = _Name("torch", "device")
_DTYPES = {d: _Name("torch", str(d).rpartition(".")[2]) for d in StorageType.names}
_STORAGES = {d: _Name("torch", name) for d, name in StorageType.names.items()}


# Python's pickler in Python, which can be taught to write a name without importing it.
_PythonPickler: Any = pickle._Pickler


class _Memory:
    """What stands for a tensor's memory until its key is written."""

    def __init__(self, pid: tuple[Any, ...]) -> None:
        self.pid = pid


class _Pickler(_PythonPickler):  # type: ignore[misc]
    """Writes tensors in PyTorch's way, and notes their memory."""

    dispatch = dict(_PythonPickler.dispatch)  # noqa: RUF012

    def __init__(self, file: IO[bytes], protocol: int) -> None:
        super().__init__(file, protocol)
        self.memories: dict[int, tuple[str, Tensor]] = {}  # key and bytes, by address

    def persistent_id(self, obj: Any) -> Any:
        return obj.pid if isinstance(obj, _Memory) else None

    def reducer_override(self, obj: Any) -> Any:
        if isinstance(obj, Tensor):
            return self._tensor(obj)
        if isinstance(obj, _core.Size):
            return _SIZE, (tuple(obj),)
        if isinstance(obj, _core.device):
            return _DEVICE, (str(obj),)
        return NotImplemented

    def _save_name(self, name: _Name) -> None:
        self.write(name.text)
        self.memoize(name)

    def _save_dtype(self, dtype: Any) -> None:
        self.save(_DTYPES[dtype])

    dispatch[_Name] = _save_name
    dispatch[_core.dtype] = _save_dtype

    def _tensor(self, t: Tensor) -> tuple[Any, ...]:
        kind, state = type(t), t.__dict__
        hooks: OrderedDict[int, Any] = OrderedDict()
        if kind is Parameter:
            plain = t.detach()
            about = plain, t.requires_grad, hooks
            return (_PARAMETER_WITH_STATE, (*about, state)) if state else (_PARAMETER, about)
        memory = Tensor._storage_bytes(t.detach())
        at = memory.data_ptr()
        key, _ = self.memories.setdefault(at, (str(len(self.memories)), memory))
        count = memory.nbytes // t.itemsize
        held = _Memory(("storage", _STORAGES[t.dtype], key, str(t.device), count))
        layout = t.storage_offset(), tuple(t.shape), t.stride()
        args = held, *layout, t.requires_grad, hooks
        if kind is Tensor and not state:
            return _TENSOR, args
        named = _TENSOR_TYPE if kind is Tensor else kind
        return _OF_TYPE, (_TENSOR, named, args, state)


def save(
    obj: object,
    f: File,
    pickle_module: Any = None,
    pickle_protocol: int = 2,
    _use_new_zipfile_serialization: bool = True,
) -> None:
    """Write an object to a file: tensors, numbers, texts, and lists and dicts of them.

    Tensors that share memory still do when they are loaded. PyTorch reads the file too.

    Parameters
    ----------
    obj
        What to write. Objects of other classes can be written, but `load` refuses them unless
        told otherwise, so ``module.state_dict()`` is a better choice than a module.
    f
        A path, or a file open for writing bytes.
    pickle_module, _use_new_zipfile_serialization
        Taken as PyTorch takes them.
    pickle_protocol
        Of the pickle inside.

    Raises
    ------
    OSError
        If the file cannot be written.
    TypeError, pickle.PicklingError
        If something in the object cannot be pickled.
    """
    text = io.BytesIO()
    pickler = _Pickler(text, pickle_protocol)
    pickler.dump(obj)
    stem = Path(f).stem if isinstance(f, (str, Path)) else "archive"
    entries: list[tuple[str, Any]] = [("data.pkl", text.getvalue()), ("byteorder", sys.byteorder)]
    entries += [
        (f"data/{key}", memory.cpu().numpy().data if memory.nbytes else b"")
        for key, memory in pickler.memories.values()
    ]
    entries.append(("version", "3\n"))
    with zipfile.ZipFile(f, "w", zipfile.ZIP_STORED) as archive:
        for name, content in entries:
            # always the same date: the same object makes the same file
            info = zipfile.ZipInfo(f"{stem}/{name}")
            with archive.open(info, "w", force_zip64=len(content) >= 2**31) as entry:
                entry.write(content.encode() if isinstance(content, str) else content)


# --- loading -----------------------------------------------------------------------------------


class _Archive:
    """The entries of a file, none of which is larger than it says."""

    def __init__(self, file: File, map_location: Any = None) -> None:
        self.map_location = map_location
        try:
            self.zip = zipfile.ZipFile(file)
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError):
            raise pickle.UnpicklingError(
                "load: not a file of wengert.save or torch.save: no zip archive (PyTorch's format "
                "from before version 1.6 is not read)"
            ) from None
        self.infos = {i.filename: i for i in self.zip.infolist()}
        name = next((n for n in self.infos if n.endswith("/data.pkl")), None)
        if name is None:
            raise pickle.UnpicklingError("load: the archive holds no data.pkl")
        self.stem = name[: -len("data.pkl")]
        self.memories: dict[str, Tensor] = {}
        if self.stem + "byteorder" in self.infos:
            order = self.read("byteorder").decode(errors="replace")
            if order != sys.byteorder:
                raise RuntimeError(f"load: written in byte order {order!r}, not {sys.byteorder!r}")

    def _entry(self, name: str) -> zipfile.ZipInfo:
        info = self.infos.get(self.stem + name)
        if info is None:
            raise pickle.UnpicklingError(f"load: the archive holds no {name!r}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise pickle.UnpicklingError(f"load: {name!r} is compressed, or of a wrong size")
        return info

    def read(self, name: str) -> bytes:
        """Return an entry's bytes."""
        try:
            return self.zip.read(self._entry(name))
        except (zipfile.BadZipFile, NotImplementedError, ValueError, EOFError) as error:
            raise pickle.UnpicklingError(f"load: {name!r} is damaged: {error}") from None

    def memory(self, pid: Any) -> tuple[Tensor, _core.dtype]:
        """Return the bytes that a persistent id names, and the dtype that it has for them."""
        match pid:
            case ("storage", StorageType() as kind, str(key), str(location), int(count)):
                pass
            case _:
                raise pickle.UnpicklingError(f"load: unknown persistent id {pid!r:.100}")
        if key not in self.memories:
            content = self.read(f"data/{key}")
            held = _core.empty(len(content), dtype=_core.uint8, device="cpu")
            if content:
                held.numpy().data[:] = content
            self.memories[key] = self._placed(held, location)
        held = self.memories[key]
        if held.nbytes < count * kind.dtype.itemsize:
            raise pickle.UnpicklingError(
                f"load: data/{key} holds {held.nbytes} bytes, but {count} elements of "
                f"{kind.dtype} were to be in it"
            )
        return held, kind.dtype

    def _placed(self, held: Tensor, location: str) -> Tensor:
        """The memory where it is to be, given where it was."""
        wanted = self.map_location
        if callable(wanted):
            from .storage import UntypedStorage

            made = wanted(UntypedStorage(held), location)
            if made is not None:
                return made._elements
            wanted = None
        elif isinstance(wanted, dict):
            wanted = wanted.get(location)
        if wanted is None:
            cuda = location.startswith("cuda") and _core.cuda.is_available()
            wanted = "cuda" if cuda else "cpu"
        return held._to_device(wanted)


def load(
    f: File,
    map_location: _core.device | str | dict[str, str] | Callable[..., Any] | None = None,
    pickle_module: Any = None,
    *,
    weights_only: bool | None = True,
    mmap: bool | None = None,
) -> Any:
    """Read an object from a file of `save`, or of ``torch.save``.

    By default nothing in the file can run code: it is read by an interpreter of our own, which
    knows tensors, numbers, texts, lists, dicts and sets, and the classes that `safe_globals` names.

    Parameters
    ----------
    f
        A path, or a file open for reading bytes.
    map_location
        Where the tensors go: a device; a dict of devices by those where they were; or a function
        of an `UntypedStorage` in the processor's memory and the name of where it was, which
        returns one. By default where they were, or, if that is not there, the processor's memory.
    weights_only
        False lets Python's pickle make objects of any class, **and run any code that the file
        contains**: only for files whose origin you trust.
    pickle_module, mmap
        Taken as PyTorch takes them.

    Raises
    ------
    pickle.UnpicklingError
        If the file asks for a class that is not allowed, or is damaged.
    FileNotFoundError
        If there is no such file.
    RuntimeError
        If the device is not there, or a tensor reaches outside its memory.
    """
    if isinstance(map_location, (str, _core.device)):
        _core._check_device(map_location)
    if not isinstance(f, (str, Path)) and not (hasattr(f, "seekable") and f.seekable()):
        f = io.BytesIO(f.read())
    archive = _Archive(f, map_location)
    with archive.zip:
        text = archive.read("data.pkl")
        if weights_only is False:
            return Trusting(text, archive.memory).load()
        return Machine(archive.memory, _allowed).run(text)
