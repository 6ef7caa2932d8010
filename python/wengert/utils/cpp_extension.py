"""Building libraries of operations: `wengert.ops.load_library` loads them.

With CMake, ``find_package(wengert CONFIG)`` finds what is needed through
`wengert.utils.cmake_prefix_path`, and ``wengert_add_extension(name source.cpp)`` makes a library.
Other build systems ask here. `load` builds and loads one in a call.
"""

from __future__ import annotations

import os
from pathlib import Path

from .. import _core

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["compile_flags", "include_paths", "library_paths", "link_flags", "load"]

# Where the compiled parts are, be the Python ones elsewhere.
_PACKAGE = Path(_core.__file__).absolute().parent
cmake_prefix_path = str(_PACKAGE / "share" / "cmake")


def include_paths() -> list[str]:
    """Return the folders in which the compiler finds ``wengert/extension.h``."""
    return [str(_PACKAGE / "include")]


def library_paths() -> list[str]:
    """Return the folders in which the linker finds ``libwengert.so``."""
    return [str(_PACKAGE)]


def compile_flags(arch: str = "native") -> list[str]:
    """Return the flags that a source of operations is compiled with, for a processor (``-march``).

    ``x86-64-v2`` gives a library for every x86-64 processor that wengert runs on; ``native``, for
    this one. Products and sums are not contracted, as in wengert's own loops, so that a formula has
    the same bits wherever it is inlined.
    """
    return [
        "-std=c++20", "-O3", "-fPIC", f"-march={arch}", "-fvisibility=hidden",
        "-fvisibility-inlines-hidden", "-ffp-contract=off", "-fno-math-errno",
        "-fno-trapping-math", "-fwrapv", "-Wno-psabi", *(f"-I{p}" for p in include_paths()),
    ]  # fmt: skip


def link_flags() -> list[str]:
    """Return the flags that a library of operations is linked with."""
    return ["-shared", *(f"-L{p}" for p in library_paths()), "-lwengert"]


def load(
    name: str,
    sources: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    extra_cflags: Sequence[str] = (),
    extra_ldflags: Sequence[str] = (),
    build_directory: str | os.PathLike[str] | None = None,
    verbose: bool = False,
) -> None:
    """Compile sources into a library of operations, where it is older than they are, and load it.

    The compiler is ``$CXX``, else ``c++``. The library is ``name.so`` in `build_directory`, else in
    ``~/.cache/wengert_extensions/name``.

    Raises
    ------
    RuntimeError
        If the compiler finds an error, with what it says; and as `wengert.ops.load_library`.
    """
    import subprocess

    from .. import ops

    several = [sources] if isinstance(sources, (str, os.PathLike)) else sources
    files = [Path(s).resolve() for s in several]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = Path(build_directory or cache / "wengert_extensions" / name)
    folder.mkdir(parents=True, exist_ok=True)
    library = folder / f"{name}.so"
    flags = [*compile_flags(), *extra_cflags]
    # The package itself is newer after an upgrade, and then so are its headers.
    newest = max(p.stat().st_mtime for p in [*files, _PACKAGE / "libwengert.so"])
    if not library.exists() or library.stat().st_mtime < newest:
        made = library.with_suffix(f".{os.getpid()}.so")
        command = [os.environ.get("CXX") or "c++", *flags, *map(str, files), *link_flags()]
        command += [*extra_ldflags, "-o", str(made)]
        if verbose:
            print(" ".join(command))
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Error building extension '{name}':\n{done.stdout}{done.stderr}")
        made.replace(library)
    ops.load_library(library)
