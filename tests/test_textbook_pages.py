"""The pages of docs/textbook: each block of Python on them runs, in order, page by page."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest

import wengert as wg

PAGES = sorted((Path(__file__).resolve().parent.parent / "docs" / "textbook").glob("*.md"))
FENCE = re.compile(r"^```(?P<info>[^\n`]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(page: Path) -> list[tuple[str, str, int]]:
    """What each block says it is, its code, and the number of its first line."""
    text = page.read_text(encoding="utf-8")
    return [
        (m["info"], m["code"], text[: m.start("code")].count("\n") + 1)
        for m in FENCE.finditer(text)
    ]


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.stem)
def test_page_runs(
    page: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)  # pages may save pictures
    monkeypatch.setenv("MPLBACKEND", "Agg")
    before = wg.get_default_dtype()
    names: dict[str, Any] = {"__name__": page.stem}
    for info, code, first in blocks(page):
        language, _, needs = info.partition(" ")
        known = language == "python" and needs in ("", "torch", "matplotlib")
        assert known, f"{page.name}:{first}: a block of {info!r}"
        if needs and importlib.util.find_spec(needs) is None:
            continue
        # So many empty lines that an error, and a tape, name the line of the page.
        exec(compile("\n" * (first - 1) + code, str(page), "exec"), names)
    assert wg.get_default_dtype() is before
    if page.stem == "worked-example":
        check_printed_table(page, capsys.readouterr().out)


def check_printed_table(page: Path, printed: str) -> None:
    """The page shows what its first block prints."""
    rows = printed[: printed.index("times\n") + 6].splitlines()
    assert "\n".join("    " + row for row in rows) in page.read_text(encoding="utf-8"), printed


def test_every_page_is_listed() -> None:
    index = next(p for p in PAGES if p.name == "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", index)) == {p.name for p in PAGES} - {"README.md"}
