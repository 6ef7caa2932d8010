"""Builds libraries of operations for tests, where there is what it takes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import wengert as wg

EXAMPLE = Path(__file__).resolve().parent.parent / "examples" / "custom_op"


def compiler() -> str:
    """The compiler, or the test is skipped: it must know C++20."""
    found = shutil.which(os.environ.get("CXX") or "c++")
    if found is None:
        pytest.skip("no C++ compiler")
    probe = subprocess.run(
        [found, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"],
        input="#include <concepts>\n#include <span>\n",
        capture_output=True,
        text=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip(f"{found} has no C++20")
    if not Path(wg.utils.cpp_extension.include_paths()[0]).is_dir():
        pytest.skip("wengert is installed without its headers")
    return found


def build_with_cmake(folder: Path) -> Path:
    """The example as its README builds it."""
    compiler()
    cmake = shutil.which("cmake", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    if cmake is None:
        pytest.skip("no cmake")
    prefix = f"-DCMAKE_PREFIX_PATH={wg.utils.cmake_prefix_path}"
    for command in (
        [cmake, "-S", str(EXAMPLE), "-B", str(folder), prefix, "-DCMAKE_CXX_FLAGS=-Wall -Wextra"],
        [cmake, "--build", str(folder)],
    ):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "warning:" not in done.stdout + done.stderr
    return folder / "myops.so"


HEAD = """
#include <wengert/extension.h>
using namespace wengert;
static Tensor twice(const Tensor& x) { return ops::add(x, x); }
static Tensor scaled(const Tensor& x, double by) {
  return ops::mul(x, number_like({false, 0, by}, &x));
}
static std::vector<Tensor> both(const Tensor& x) { return {twice(x), x}; }
"""


def build(folder: Path, body: str, name: str = "extra", flags: list[str] | None = None) -> Path:
    """A library whose `load` has the statements of `body`."""
    cxx = compiler()
    source, library = folder / f"{name}.cpp", folder / f"{name}.so"
    source.write_text(
        f'{HEAD}const Extension wengert_extension{{"{name}", [](Library& library) {{{body}}}}};'
    )
    tools = wg.utils.cpp_extension
    # few of these are run for long, and optimizing takes the time
    command = [cxx, *tools.compile_flags(), "-O0", *(flags or []), str(source)]
    command += [*tools.link_flags(), "-o", str(library)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library
