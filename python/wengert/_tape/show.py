"""Tapes as text and as HTML."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from wengert._core import Tensor

    from .lines import Line
    from .tapes import Tape

MOST_LINES = 200  # above which a table is shortened
EDGE = 20  # lines shown at either end of a shortened table
_MOST_ELEMENTS = 4  # of a tensor, in a table
_LARGEST_JACOBIAN = 16  # that a table shows


def short(t: Tensor | None) -> str:
    """Show a tensor in few words."""
    if t is None:
        return "-"
    if t.dim() == 0:
        return _number(t.item())
    flat = t.reshape(-1)
    if t.numel() <= _MOST_ELEMENTS:
        return "[" + ", ".join(map(_number, flat.tolist())) + "]"
    first, last = flat[: _MOST_ELEMENTS - 2].tolist(), flat[-1:].tolist()
    return "[" + ", ".join([*map(_number, first), "...", *map(_number, last)]) + "]"


def _number(v: Any) -> str:
    return f"{v:.6g}" if isinstance(v, float) else str(v)


def _derivatives(line: Line) -> str:
    """Show local derivatives; of large Jacobians, only that there is a rule."""
    from .lines import Line

    shown = []
    for i, (kind, what) in enumerate(line._operands):
        if kind != "entry":
            continue
        tape = line._tape
        operand = Line(tape, what)
        size = line.shape.numel() * operand.shape.numel()
        if not line._about["elementwise"] and size > _LARGEST_JACOBIAN:
            return f"by the rule of {line.operation}"
        d = tape._trace.local_derivative(line._entry, i)
        shown.append(f"d{line.name}/d{operand.name} = {short(d)}")
    return ", ".join(shown)


def where(line: Line) -> str:
    """Show the Python line."""
    return f"{line.file.rpartition('/')[2]}:{line.line}" if line.file else ""


def row(line: Line) -> list[str]:
    """Show a line in the columns of HEAD."""
    computed = line.times_computed
    return [
        str(line),
        str(tuple(line.shape)),
        short(line.value),
        _derivatives(line),
        short(line.adjoint),
        str(computed) if computed else "-",
        str(line.times_used) if computed and line.index is not None else "-",
        where(line),
    ]


def aligned(rows: list[list[str]]) -> list[str]:
    """Return rows as text, their columns padded."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


HEAD = ["line", "shape", "value", "local derivatives", "adjoint", "computed", "used", "where"]


def grid(tape: Tape, lines: Sequence[Line], most: int | None) -> tuple[list[list[str]], int, int]:
    """Return rows under a head, without a column that says nothing; and where how many are cut."""
    shown, left_out = list(lines), 0
    if most is not None and len(shown) > most:
        left_out = len(shown) - 2 * EDGE
        shown = shown[:EDGE] + shown[-EDGE:]
    listed = {line._entry for line in lines}
    starts = [s for s in tape.inputs if len(lines) == len(tape) or _is_read(tape, s, listed)]
    rows = [row(line) for line in [*starts, *shown]]
    modules = [line.module or "" for line in [*starts, *shown]]
    head = HEAD
    if any(modules):
        head = [*HEAD, "module"]
        rows = [[*cells, module] for cells, module in zip(rows, modules, strict=True)]
    if all(cells[1] == "()" for cells in rows):  # of numbers alone
        head = [head[0], *head[2:]]
        rows = [[cells[0], *cells[2:]] for cells in rows]
    return [head, *rows], 1 + len(starts) + EDGE, left_out


def _is_read(tape: Tape, start: Line, by: set[int]) -> bool:
    return any(start._entry in tape._trace.sources(entry) for entry in by)


def summary(tape: Tape, lines: Sequence[Line]) -> str:
    """Return how many adjoints were computed, and how often used; nothing before a backward."""
    entries = [line._entry for line in lines]
    computed = sum(map(tape._trace.times_computed, entries))
    used = sum(map(tape._trace.times_used, entries))
    return f"adjoints: {computed} computed, used {used} times" if computed else ""


def table(tape: Tape, lines: Sequence[Line], most: int | None) -> str:
    """Return lines as text, one a row."""
    rows, at, left_out = grid(tape, lines, most)
    text = aligned(rows)
    if left_out:
        text.insert(at, f"... ({left_out} lines)")
    if len(lines) == len(tape) and (said := summary(tape, [*tape.inputs, *lines])):
        text.append(said)
    return "\n".join(text)


_CELL = "padding:2px 10px;text-align:left;white-space:nowrap;font-family:monospace"


def html(tape: Tape, lines: Sequence[Line], most: int | None) -> str:
    """Return lines as a table for a notebook."""
    from html import escape

    rows, at, left_out = grid(tape, lines, most)
    out = ["<table style='border-collapse:collapse'>"]
    for k, cells in enumerate(rows):
        if left_out and k == at:
            text = f"&#8943; {left_out} lines &#8943;"
            out.append(f"<tr><td style='{_CELL}' colspan={len(cells)}>{text}</td></tr>")
        tag = "td" if k else "th"
        line = "border-bottom:1px solid" if k == 0 else ""
        body = "".join(f"<{tag} style='{_CELL};{line}'>{escape(c)}</{tag}>" for c in cells)
        out.append(f"<tr>{body}</tr>")
    out.append("</table>")
    if len(lines) == len(tape) and (said := summary(tape, [*tape.inputs, *lines])):
        out.append(f"<p style='font-family:monospace'>{said}</p>")
    return "".join(out)


def plain_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return cells as an HTML table."""
    from html import escape

    def cells(tag: str, row: Sequence[str]) -> str:
        return "".join(f"<{tag} style='{_CELL}'>{escape(c)}</{tag}>" for c in row)

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f"<table style='border-collapse:collapse'><tr>{cells('th', head)}</tr>{body}</table>"
