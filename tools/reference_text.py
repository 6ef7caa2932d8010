"""Docstrings as Markdown: NumPy's sections, code spans, and nothing that Markdown would misread."""

from __future__ import annotations

import re

SECTIONS = {
    "Parameters", "Returns", "Yields", "Raises", "Attributes", "Notes", "References", "Examples",
    "See Also", "Warns", "Other Parameters",
}  # fmt: skip
OF_ENTRIES = SECTIONS - {"Notes", "References", "Examples"}


def escaped(text: str) -> str:
    """Prose outside code spans: no emphasis, tags or links by accident."""
    text = re.sub(r"([*<>\[\]])", r"\\\1", text)
    return re.sub(r"(?<!\w)_|_(?!\w)", r"\\_", text)


def prose(text: str) -> str:
    """Paragraphs, with ``code`` and `name` as code spans."""
    parts = re.split(r"(``.+?``|`[^`]+`)", text, flags=re.DOTALL)
    return "".join(
        f"`{part.strip('`')}`" if i % 2 else escaped(part) for i, part in enumerate(parts)
    )


def paragraphs(lines: list[str]) -> str:
    """Text with indented blocks and examples as code."""
    out: list[str] = []
    code: list[str] = []
    text: list[str] = []

    def flush() -> None:
        if code:
            while code and not code[-1].strip():
                code.pop()
            indent = min(len(c) - len(c.lstrip()) for c in code if c.strip())
            language = "python" if code[0].startswith(">>>") else "text"
            out.append(f"```{language}\n" + "\n".join(c[indent:] for c in code) + "\n```")
            code.clear()
        if text:
            out.append(re.sub("::$", ":", prose("\n".join(text))))
            text.clear()

    previous_blank = True
    for line in lines:
        begins = line.startswith(">>>") or (line.startswith("    ") and previous_blank)
        goes_on = bool(code) and (line.startswith(("    ", "...", ">>>")) or not line.strip())
        goes_on = goes_on or (bool(code) and code[0].startswith(">>>") and bool(line.strip()))
        if begins or goes_on:
            if text:
                flush()
            code.append(line)
        else:
            if code or not line.strip():
                flush()
            if line.strip():
                text.append(line.rstrip())
        previous_blank = not line.strip()
    flush()
    return "\n\n".join(out)


def entries(lines: list[str]) -> str:
    """A section of names with indented descriptions, as a list."""
    out: list[tuple[str, list[str]]] = []
    for line in lines:
        if line and not line[0].isspace():
            out.append((line.strip(), []))
        elif out and line.strip():
            out[-1][1].append(line.strip())
    shown = []
    for head, about in out:
        name, colon, kind = head.partition(" : ")
        label = f"`{name}`" + (f" ({prose(kind)})" if colon else "")
        shown.append(f"- {label}" + (f": {prose(' '.join(about))}" if about else ""))
    return "\n".join(shown)


def markdown(doc: str) -> str:
    """A docstring in NumPy's style as Markdown."""
    lines = doc.split("\n")
    heads = [
        i
        for i in range(len(lines) - 1)
        if lines[i].strip() in SECTIONS and set(lines[i + 1].strip()) == {"-"}
    ]
    parts = [paragraphs(lines[: heads[0]] if heads else lines)]
    for i, head in enumerate(heads):
        name = lines[head].strip()
        body = lines[head + 2 : heads[i + 1] if i + 1 < len(heads) else None]
        shown = entries(body) if name in OF_ENTRIES else paragraphs(body)
        parts.append(f"**{name}**\n\n{shown}")
    return "\n\n".join(part for part in parts if part)
