"""Writes the type stubs of the compiled core from the table of operations.

With --check, compares them with the files in the tree instead, and fails where they differ.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import Any

import wengert._core as core

ROOT = Path(__file__).resolve().parent.parent
METHOD, FUNCTION, FUNCTIONAL, INTERNAL, LINALG = 1, 2, 4, 8, 16
# In the order of ArgType (csrc/ops/op_table.h).
TYPES = [
    "Tensor", "_Value", "_Number", "int", "builtins.float", "builtins.bool", "int | Sequence[int]",
    "int | Sequence[int]", "_dtype", "_device | str | int", "str", "Sequence[int | Sequence[int]]",
    "Sequence[Tensor]", "Tensor | Sequence[Tensor]", "Sequence[Tensor | None]", "Generator",
    "Sequence[int]",
]  # fmt: skip
VARIADIC = (7, 13)
OPERATORS = {
    "add": ("add", True), "sub": ("sub", True), "mul": ("mul", True), "div": ("truediv", True),
    "matmul": ("matmul", False), "pow": ("pow", True), "floor_divide": ("floordiv", True),
    "remainder": ("mod", True), "bitwise_and": ("and", True), "bitwise_or": ("or", True),
    "bitwise_xor": ("xor", True), "bitwise_left_shift": ("lshift", True),
    "bitwise_right_shift": ("rshift", True),
}  # fmt: skip


def parameters(params: list[tuple[Any, ...]], *, method: bool, into: str = "") -> str:
    """The parameters as a stub has them; `into` is the type of the keyword out, if it is taken."""
    out = ["self"] if method else []
    star = False
    for name, kind, optional, has_default, keyword_only, default in params[1 if method else 0 :]:
        if keyword_only and not star and not any(p.startswith("*") for p in out):
            out.append("*")
        star = star or keyword_only
        hint = TYPES[kind] + (" | None" if optional else "")
        prefix = "*" if kind in VARIADIC else ""
        # the keyword `from` of Python cannot name a parameter in a stub
        shown = f"{name}_" if name == "from" else name
        value = f" = {default}".replace("'", '"') if has_default else ""
        out.append(f"{prefix}{shown}: {hint}{value}")
    if into:
        out += [] if any(p.startswith("*") for p in out) else ["*"]
        out.append(f"out: {into} | None = None")
    return ", ".join(out)


def definitions(
    name: str, base: str, *, method: bool, indent: str, takes_out: bool = False
) -> list[str]:
    overloads = core.op_params(base)
    lines = []
    # one tensor, and any number of them: the first that fits decides
    if len(overloads) > 1 and any(p[1] in VARIADIC for p in overloads[-1][0]):
        ignore = "  # type: ignore[overload-overlap]"
    else:
        ignore = ""
    for params, outputs, many in overloads:
        plain = "tuple[Tensor, ...]" if many else "Tensor"
        result = f"_{base}_result" if outputs else plain
        if len(overloads) > 1:
            lines.append(f"{indent}@overload")
        into = ("tuple[Tensor, ...]" if many else "Tensor") if takes_out else ""
        given = parameters(params, method=method, into=into)
        lines.append(f"{indent}def {name}({given}) -> {result}: ...{ignore}")
        ignore = ""
    return lines


def generate() -> dict[Path, str]:
    methods, functions, functional, linalg, results = [], [], [], [], []
    for name, signatures, where, inplace, _doc in core.op_rows():
        outputs = next((o for _, o in signatures if o), None)
        if outputs:
            fields = "".join(f"    {o}: Tensor\n" for o in outputs)
            results.append(f"class _{name}_result(NamedTuple):\n{fields}")
        if where & METHOD:
            methods += definitions(name, name, method=True, indent="    ")
            if inplace:
                methods += definitions(f"{name}_", name, method=True, indent="    ")
        if where & ~METHOD:
            takes_out = bool(where & (FUNCTION | LINALG))
            functions += definitions(name, name, method=False, indent="", takes_out=takes_out)
        if where & FUNCTIONAL:
            functional.append(f"from wengert._core import {name} as {name}")
        if where & LINALG:
            short = name.removeprefix("linalg_")
            linalg.append(f"from wengert._core import {name} as {short}")
    operators = []
    for op, in_place in OPERATORS.values():
        for prefix in ("", "r", "i") if in_place else ("", "r"):
            operators.append(f"    def __{prefix}{op}__(self, other: _Value) -> Tensor: ...")
    for op in ("lt", "le", "gt", "ge"):
        text = f"    def __{op}__(self, other: _Value) -> Tensor: ...  # type: ignore[misc]"
        operators.append(text)
    text = (ROOT / "tools" / "core.pyi.in").read_text()
    for mark, lines in {
        "OUTPUTS": results, "OPERATORS": operators, "METHODS": methods, "FUNCTIONS": functions,
    }.items():  # fmt: skip
        text = text.replace(f"@{mark}@", "\n".join(lines))
    text = text.replace("SupportsFloat\n", "SupportsFloat, overload\n", 1)
    core_stubs = ROOT / "python/wengert/_core"
    return {
        core_stubs / "__init__.pyi": text,
        core_stubs / "cuda.pyi": (ROOT / "tools" / "core_cuda.pyi.in").read_text(),
        core_stubs / "functional.pyi": submodule("nn.functional", functional),
        core_stubs / "linalg.pyi": submodule("linalg", linalg)
        + '\n__all__ += ["LinAlgError"]\n\nclass LinAlgError(RuntimeError): ...\n',
    }


def submodule(name: str, imports: list[str]) -> str:
    """The stub of a module that offers rows of the table under short names."""
    header = f'"""What wengert.{name} offers. Generated by tools/make_stubs.py."""\n'
    names = ", ".join(f'"{line.rpartition(" ")[2]}"' for line in imports)
    return "\n".join([header, *imports, "", f"__all__ = [{names}]", ""])


def formatted(text: str) -> str:
    """The text as ruff lays it out."""
    command = [sys.executable, "-m", "ruff", "format", "--stdin-filename", "stub.pyi", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, cwd=ROOT, check=True)
    return done.stdout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    stale = []
    for path, text in generate().items():
        text = formatted(text)
        if not check:
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            stale.append(str(path.relative_to(ROOT)))
    if stale:
        print("out of date, run python tools/make_stubs.py:", *stale)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
