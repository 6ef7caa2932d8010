"""Writes docs/reference from the table of operations and the docstrings of all public names.

With --check, compares the pages with the files in the tree instead, and fails where they differ.
"""

from __future__ import annotations

import argparse
import inspect
import itertools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import reference_pages as pages
from reference_text import markdown, prose

import wengert as wg
import wengert._core as core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "docs" / "reference"
sys.path.insert(0, str(ROOT / "tests"))
METHOD, FUNCTION, FUNCTIONAL, INTERNAL, LINALG = 1, 2, 4, 8, 16
# In the order of ArgType (csrc/ops/op_table.h).
TYPES = [
    "Tensor", "Tensor or number", "number", "int", "float", "bool", "int or ints", "int or ints",
    "dtype", "device", "str", "ints of each dimension", "Tensors", "Tensors", "Tensors or None",
    "Generator", "ints",
]  # fmt: skip
VARIADIC = (7, 13)


# --- operations ----------------------------------------------------------------------------------


def call(name: str, params: list[tuple[Any, ...]], result: str, out: str | None) -> str:
    """One way to call an operation, such as "wg.sum(input, dim=None) -> Tensor"."""
    shown = []
    star = False
    for param, kind, _optional, has_default, keyword_only, default in params:
        star = star or kind in VARIADIC
        if keyword_only and not star:
            shown.append("*")
            star = True
        shown.append(f"{'*' * (kind in VARIADIC)}{param}{f'={default}' if has_default else ''}")
    if out is not None:
        shown += [*([] if star else ["*"]), "out=None"]
    return f"{name}({', '.join(shown)}) -> {result}"


def calls(name: str, where: int, inplace: bool) -> list[str]:
    """All ways to call an operation."""
    found = []
    for params, outputs, many in core.op_params(name):
        result = f"({', '.join(outputs)})" if outputs else "tuple of Tensors" if many else "Tensor"
        for bit, home in ((FUNCTION, "wg."), (FUNCTIONAL, "wg.nn.functional.")):
            if where & bit:
                # a row that is both has one function
                out = result if where & (FUNCTION | LINALG) else None
                found.append(call(home + name, params, result, out))
        if where & LINALG:
            short = name.removeprefix("linalg_")
            found.append(call(f"wg.linalg.{short}", params, result, result))
        if where & METHOD:
            found.append(call(f"Tensor.{name}", params[1:], result, None))
            if inplace:
                found.append(call(f"Tensor.{name}_", params[1:], result, None))
    return sorted(found, key=lambda line: line.startswith("Tensor."))


def kinds(name: str) -> str:
    """What an operation's arguments are, over all its overloads."""
    seen: dict[str, list[str]] = {}
    for params, _, _ in core.op_params(name):
        for param, kind, optional, *_ in params:
            if param == "self":
                continue
            of = TYPES[kind] + (" or None" if optional and "None" not in TYPES[kind] else "")
            known = seen.setdefault(param, [])
            if of not in known:
                known.append(of)
    return "; ".join(f"`{param}` {' / '.join(of)}" for param, of in seen.items())


def takes_gradients(name: str, function: Callable[..., Any]) -> bool:
    """Whether a result of a float argument requires grad: asked of the samples of its test row."""
    import numpy as np

    from op_table import ROWS

    def convert(x: Any) -> Any:
        if isinstance(x, list):
            return [convert(each) for each in x]
        if isinstance(x, np.ndarray):
            # no leaf, so that it may be changed in place
            return wg.tensor(x, requires_grad=x.dtype.kind == "f").clone()
        return x

    row = ROWS[name]
    dtype = next(
        (d for d in ("float64", "float32") if d in row.dtypes and d not in row.refuses), "int64"
    )
    for sample in row.draw(dtype, small=True):
        result = function(
            *(convert(a) for a in sample.args),
            **{k: convert(v) for k, v in sample.kwargs.items()},
        )
        results = result if isinstance(result, (tuple, list)) else (result,)
        if any(isinstance(r, wg.Tensor) and r.requires_grad for r in results):
            return True
    return False


def operation(name: str, where: int, inplace: bool, doc: str) -> str:
    function = getattr(core, name) if where & ~METHOD else getattr(wg.Tensor, name)
    differentiable = "Differentiable." if takes_gradients(name, function) else "No derivative."
    title = f"linalg.{name.removeprefix('linalg_')}" if where & LINALG else name
    usage = "\n".join(calls(name, where, inplace))
    about = [f"## {title}", f"```python\n{usage}\n```", prose(doc)]
    if given := kinds(name):
        about.append(f"{given}. {differentiable}")
    else:
        about.append(differentiable)
    return "\n\n".join(about)


def operations() -> dict[str, list[tuple[str, str]]]:
    """The entries of each family, as (title, text)."""
    families: dict[str, list[tuple[str, str]]] = {}
    for name, _signatures, where, inplace, doc in core.op_rows():
        if where == INTERNAL or name.startswith("_"):
            continue
        text = operation(name, where, inplace, doc)
        title = text.split("\n", 1)[0].removeprefix("## ")
        families.setdefault(core.op_family(name), []).append((title, text))
    return families


# --- Python names --------------------------------------------------------------------------------


def default_text(value: Any) -> str:
    return str(getattr(value, "__name__", None) or repr(value))


def signature(obj: Any, *, drop_first: bool = False) -> str:
    """The parameters of a callable with defaults and without types, or nothing if unknown."""
    if isinstance(obj, type):  # not by inspect, whose choice depends on the version of Python
        makers = (vars(base).get(n) for base in obj.__mro__ for n in ("__init__", "__new__"))
        plain = (getattr(maker, "__func__", maker) for maker in makers)
        obj = next((maker for maker in plain if inspect.isfunction(maker)), None)
        drop_first = True
    if not inspect.isfunction(obj):
        # what pybind11 writes before the docstring; what else Python finds depends on its version
        name = re.escape(getattr(obj, "__name__", ""))
        written = re.match(rf"{name}(\(.*\)) -> ", getattr(obj, "__doc__", None) or "")
        given = written[1] if written else ""
        return re.sub(r": [^,)=]+?(?= =|[,)])", "", given).replace(" = ", "=")
    params = list(inspect.signature(obj).parameters.values())
    shown, star, after_slash = [], False, False
    for i, p in enumerate(params):
        if i == 0 and drop_first:
            continue
        if p.kind is p.POSITIONAL_ONLY:
            after_slash = True
        elif after_slash:
            shown.append("/")
            after_slash = False
        if p.kind is p.KEYWORD_ONLY and not star:
            shown.append("*")
        star = star or p.kind in (p.KEYWORD_ONLY, p.VAR_POSITIONAL)
        mark = {p.VAR_POSITIONAL: "*", p.VAR_KEYWORD: "**"}.get(p.kind, "")
        default = "" if p.default is p.empty else f"={default_text(p.default)}"
        shown.append(f"{mark}{p.name}{default}")
    if after_slash:
        shown.append("/")
    return f"({', '.join(shown)})"


def docstring(obj: Any) -> str:
    """The object's own docstring; of what C++ made, without the signature lines before it."""
    doc = inspect.cleandoc(getattr(obj, "__doc__", None) or "")
    lines = doc.split("\n")
    while lines and ("->" in lines[0] or not lines[0].strip()):
        lines.pop(0)
    return "\n".join(lines)


def is_routine(obj: Any) -> bool:
    return inspect.isroutine(obj) and not isinstance(obj, type)


def members(cls: type, hidden: Iterable[str] = ()) -> list[tuple[str, Any]]:
    """Public methods and attributes, by name: its own, and those of private bases."""

    def is_private(base: type) -> bool:
        return base.__name__[0] == "_" or base.__module__.rpartition(".")[2][:1] == "_"

    # what a public base has is told there
    bases = itertools.takewhile(lambda base: base is cls or is_private(base), cls.__mro__)
    found: dict[str, Any] = {}
    for base in reversed(list(bases)):
        for name, value in vars(base).items():
            plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            described = is_routine(plain) or inspect.isdatadescriptor(plain)
            if not name.startswith("_") and described and name not in hidden:
                found[name] = value
    return sorted(found.items())


def member(owner: str, name: str, value: Any) -> str:
    plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    parts = [f"### {owner}.{name}"]
    if is_routine(plain):
        given = signature(plain, drop_first=not isinstance(value, staticmethod))
        parts += [f"```python\n{owner}.{name}{given}\n```"] if given else []
    return "\n\n".join([*parts, markdown(docstring(plain))])


def entry(home: str, name: str, obj: Any, *, with_members: bool) -> str:
    title = f"{home}.{name}"
    if inspect.ismodule(obj):
        return f"## {title}\n\n{markdown(docstring(obj))}"
    usage = title
    if callable(obj):
        usage += signature(obj)
    parts = [f"## {title}", f"```python\n{usage}\n```", markdown(docstring(obj))]
    if isinstance(obj, type) and with_members:
        hidden = pages.table_methods() if obj is wg.Tensor else pages.REPEATED
        parts += [member(name, *found) for found in members(obj, hidden)]
    return "\n\n".join(part for part in parts if part)


def python_entries(page: pages.Page) -> list[tuple[str, str]]:
    out = []
    for home, names in page.names():
        module = pages.resolve(home)
        for name in names:
            text = entry(home, name, getattr(module, name), with_members=page.members)
            out.append((f"{home}.{name}", text))
    return out


# --- pages ---------------------------------------------------------------------------------------


def anchors(titles: list[str]) -> list[str]:
    """What GitHub calls these headings of a page."""
    made: list[str] = []
    for title in titles:
        plain = re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        times = sum(re.sub(r"-\d+$", "", other) == plain for other in made)
        made.append(f"{plain}-{times}" if times else plain)
    return made


def generate() -> dict[Path, str]:
    families = operations()
    out: dict[Path, str] = {}
    index = [pages.INDEX]
    for page in pages.PAGES:
        entries = [*families.pop(page.file, []), *python_entries(page)]
        if not entries:
            continue
        titles = [title for title, _ in entries]
        links = list(zip(titles, anchors(titles), strict=True))
        here = ", ".join(f"[{title}](#{at})" for title, at in links)
        body = "\n\n".join(text for _, text in entries)
        out[OUT / f"{page.file}.md"] = (
            f"# {page.title}\n\n{pages.NOTE}\n\n{page.about}\n\n{here}\n\n{body}\n"
        )
        there = ", ".join(f"[{title}]({page.file}.md#{at})" for title, at in links)
        index.append(f"## [{page.title}]({page.file}.md)\n\n{page.about}\n\n{there}")
    if families:
        sys.exit(f"tools/reference_pages.py has no page for the families {sorted(families)}")
    out[OUT / "README.md"] = "\n\n".join(index) + "\n"
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    check = parser.parse_args().check
    made = generate()
    there = set(OUT.glob("*.md"))
    stale = [p for p in sorted({*made, *there}) if p not in made or p not in there]
    stale += [p for p in sorted(there & set(made)) if p.read_text() != made[p]]
    if check:
        if stale:
            names = (str(p.relative_to(ROOT)) for p in stale)
            print("out of date, run python tools/make_reference.py:", *names)
        return 1 if stale else 0
    OUT.mkdir(exist_ok=True)
    for path in stale:
        if path in made:
            path.write_text(made[path])
        else:
            path.unlink()
    return 0


if __name__ == "__main__":
    sys.exit(main())
