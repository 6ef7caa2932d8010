"""Docstrings of all that is public, and the pages of the reference that are made of them."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest

import wengert as wg
from wengert import _core

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import make_reference  # noqa: E402
import reference_pages as pages  # noqa: E402
import reference_text  # noqa: E402

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ROWS = {name: doc for name, _, _, _, doc in _core.op_rows()}


def says_something(doc: str) -> bool:
    """Whether there is a sentence: some words, or a formula, and a full stop."""
    words = doc.split()
    return len(words) >= 3 and bool(re.search(r"[.:]($|\s)", doc.replace("``", "")))


def public_objects() -> list[tuple[str, Any]]:
    found = []
    for page in pages.PAGES:
        for home, names in page.names():
            for name in names:
                value = getattr(pages.resolve(home), name)
                found.append((f"{home}.{name}", value))
                if isinstance(value, type) and value.__module__ != "builtins":
                    hidden = pages.table_methods() if value is wg.Tensor else pages.REPEATED
                    found += [
                        (f"{home}.{name}.{member}", getattr(each, "__func__", each))
                        for member, each in make_reference.members(value, hidden)
                    ]
    return found


def test_every_row_has_a_docstring() -> None:
    assert [name for name, doc in ROWS.items() if not says_something(doc)] == []


def test_every_public_name_has_a_docstring() -> None:
    mute = [
        name
        for name, value in public_objects()
        if not says_something(make_reference.docstring(value))
    ]
    assert mute == []


@pytest.mark.parametrize(
    "home",
    ["wg", "wg.autograd", "wg.linalg", "wg.nn", "wg.nn.functional", "wg.nn.init", "wg.nn.utils",
     "wg.optim", "wg.distributions", "wg.random", "wg.testing", "wg.utils.data", "wg.library",
     "wg.ops", "wg.utils.cpp_extension"],
)  # fmt: skip
def test_every_public_name_is_on_a_page(home: str) -> None:
    listed = {id(value) for _, value in public_objects()}
    module = pages.resolve(home)
    assert [n for n in pages.public(home) if id(getattr(module, n)) not in listed] == []


def test_every_family_has_a_page() -> None:
    files = {page.file for page in pages.PAGES}
    assert {_core.op_family(name) for name in ROWS} <= files


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(#[^)\s]*)?\)", text):
        if "://" in target:
            continue
        there = (page.parent / target).resolve() if target else page
        assert there.exists(), target
        if anchor and there.suffix == ".md":
            headings = re.findall(r"^#+ (.*)$", there.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in make_reference.anchors(headings), (target, anchor)


def test_a_docstring_becomes_markdown() -> None:
    doc = """Give x * y_i for x in [0, 1).

By the rule::

    z = x * y

Parameters
----------
x : Tensor
    As ``given``,
    twice.
y
    The `other` one.

Examples
--------
>>> f(1, 2)
2
"""
    assert reference_text.markdown(doc) == (
        "Give x \\* y_i for x in \\[0, 1).\n\nBy the rule:\n\n```text\nz = x * y\n```\n\n"
        "**Parameters**\n\n- `x` (Tensor): As `given`, twice.\n- `y`: The `other` one.\n\n"
        "**Examples**\n\n```python\n>>> f(1, 2)\n2\n```"
    )
