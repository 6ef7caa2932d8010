"""The shape of the house: data flows one way, and no file grows out of hand."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from wengert import _core

ROOT = Path(__file__).resolve().parent.parent
CSRC = ROOT / "csrc"

# A folder includes itself and what stands here. Interop also sees the bindings' one public header.
MAY_INCLUDE = {
    "core": set(),
    "kernels": {"core"},
    "tape": {"kernels", "core"},
    "ops": {"tape", "kernels", "core"},
    "transforms": {"ops", "tape", "kernels", "core"},
    "program": {"ops", "tape", "kernels", "core"},
    "run": {"program", "ops", "kernels", "core"},
    "bindings": {"transforms", "ops", "program", "tape", "kernels", "core"},
    "interop": {"core"},
    "extension": {"ops", "tape", "kernels", "core"},  # what users' libraries include
}
PUBLIC_HEADERS = {"interop": {"bindings/capi.h"}}
LONGEST = 600


def sources() -> list[Path]:
    return sorted(p for p in CSRC.rglob("*") if p.suffix in {".h", ".cpp", ".cu", ".cuh"})


def violations(path: Path, text: str) -> list[str]:
    folder = path.relative_to(CSRC).parts[0]
    found = []
    for target in re.findall(r'^\s*#\s*include\s+"([^"]+)"', text, re.MULTILINE):
        other = target.split("/")[0]
        allowed = other == folder or other in MAY_INCLUDE[folder]
        if not allowed and target not in PUBLIC_HEADERS.get(folder, set()):
            found.append(f"{path.relative_to(ROOT)} includes {target}")
    return found


def test_includes_go_one_way() -> None:
    found = [v for p in sources() for v in violations(p, p.read_text())]
    assert found == []


@pytest.mark.parametrize(
    ("folder", "include"),
    [("core", "kernels/launch.h"), ("kernels", "tape/node.h"), ("tape", "ops/ops.h")],
)
def test_the_rule_sees_a_violation(folder: str, include: str) -> None:
    assert violations(CSRC / folder / "x.h", f'#include "{include}"\n')


def test_core_and_kernels_know_no_python() -> None:
    for path in sources():
        if path.relative_to(CSRC).parts[0] in {"bindings", "interop"}:
            continue
        assert not re.search(r"#\s*include\s+<(Python|pybind11|nanobind)", path.read_text()), path


def test_the_tape_names_no_operation() -> None:
    import wengert._core as core

    names = {row[0] for row in core.op_rows()} - {"to", "t", "add", "max", "min", "all", "any"}
    for path in (CSRC / "tape").iterdir():
        code = re.sub(r"//.*", "", path.read_text())
        called = set(re.findall(r"\bops::(\w+)", code)) | {
            n for n in names if re.search(rf'"{n}"', code)
        }
        assert not called, (path.name, called)


@pytest.mark.parametrize("folder", ["csrc", "python", "tests", "bench", "examples", "tools"])
def test_no_file_is_too_long(folder: str) -> None:
    suffixes = {".h", ".cpp", ".cu", ".cuh", ".py"}
    lengths = {
        str(p.relative_to(ROOT)): len(p.read_text().splitlines())
        for p in (ROOT / folder).rglob("*")
        if p.suffix in suffixes
    }
    assert {p: n for p, n in lengths.items() if n > LONGEST} == {}


def test_the_stub_of_cuda_names_what_is_there() -> None:
    """It is written by hand, unlike that of the operations."""
    stub = ast.parse((ROOT / "python/wengert/_core/cuda.pyi").read_text())
    named = {n.name for n in stub.body if isinstance(n, (ast.FunctionDef, ast.ClassDef))}
    assert named == {n for n in dir(_core.cuda) if not n.startswith("_")}
