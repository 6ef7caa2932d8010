"""The graph in blocks: variables as circles, functions as rounded blocks, the cost as a square."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wengert import _core

from . import show

if TYPE_CHECKING:
    from wengert._core import Tensor
    from wengert.nn import Module

    from .lines import Line
    from .tapes import Tape

_MOST_VARIABLES = 40  # lines up to which results are drawn too
_MOST_NUMBERS = 3  # of a tensor
_LONGEST = 34  # characters of a text in a block
_INK, _PALE = "#30343b", "#8a919c"
_LEAF, _RESULT, _BLOCK, _COST = "#dbe9f6", "#ffffff", "#f6ead2", "#f4d7d7"
_FRAMES = ("#f7f8fa", "#eef1f5")  # modules inside modules, in turn


class Drawing(str):
    """SVG as text; notebooks show the picture."""

    __slots__ = ()

    def _repr_svg_(self) -> str:
        return str(self)

    def save(self, path: str | Path) -> None:
        """Write the SVG to a file."""
        Path(path).write_text(self, encoding="utf-8")


def draw(
    tape: Tape, shapes: bool, values: bool, adjoints: bool, modules: bool, variables: bool | None
) -> Drawing:
    """Lay out the graph of a tape and return the picture."""
    graphviz = _graphviz()
    if variables is None:
        variables = len(tape) <= _MOST_VARIABLES
    source = _Source(tape, shapes, values, adjoints, variables).text(modules)
    try:
        svg = graphviz.Source(source, engine="dot").pipe(format="svg", encoding="utf-8")
    except graphviz.ExecutableNotFound as error:
        raise RuntimeError(
            "draw: the program dot was not found; expected Graphviz to be installed, with "
            "'apt-get install graphviz', 'brew install graphviz' or from graphviz.org"
        ) from error
    return Drawing(svg[svg.index("<svg") :])


def _graphviz() -> Any:
    try:
        import graphviz
    except ImportError as error:
        raise ImportError(
            "draw: the Python package graphviz is needed, with the program dot; "
            "expected 'pip install graphviz'"
        ) from error
    return graphviz


class _Source:
    """The picture in Graphviz's language."""

    def __init__(
        self, tape: Tape, shapes: bool, values: bool, adjoints: bool, variables: bool
    ) -> None:
        self._tape = tape
        self._shapes, self._values, self._adjoints = shapes, values, adjoints
        self._variables = variables
        self._lines = tape.lines
        # Parameters of a module, drawn beside the first block that reads them.
        self._beside: dict[int, int] = {}
        self._right: set[int] = set()  # every other one
        for line in self._lines:
            for source in tape._trace.sources(line._entry):
                if source in tape._start_modules and not line._about["result"]:
                    if source not in self._beside and len(self._beside) % 2 == 0:
                        self._right.add(source)
                    self._beside.setdefault(source, line._entry)
        self._noted: set[int] = set()  # inputs whose shape stands somewhere
        last = self._lines[-1] if self._lines else None
        self._cost = last._entry if last is not None and last.shape.numel() == 1 else None

    def text(self, modules: bool) -> str:
        """Return the whole."""
        out = [
            "digraph {",
            'graph [rankdir=TB, ranksep=0.32, nodesep=0.22, bgcolor=white, fontname="Helvetica", '
            f'fontsize=10, fontcolor="{_PALE}", pencolor="#c9ced6", style="rounded,filled"]',
            f'node [fontname="Helvetica", fontsize=11, color="{_INK}", fontcolor="{_INK}", '
            "penwidth=0.9]",
            f'edge [color="{_PALE}", arrowsize=0.6, penwidth=0.9, fontname="Helvetica", '
            f'fontsize=9, fontcolor="{_PALE}"]',
        ]
        inside: dict[tuple[Module, ...], list[str]] = {}
        for line in [*self._tape.inputs, *self._lines]:
            path = self._tape._modules(line._entry) if modules else ()
            inside.setdefault(path, []).extend(self._nodes(line, path))
        out += self._frames(inside)
        for line in self._lines:
            out += self._edges(line)
        return "\n".join([*out, "}"])

    def _frames(self, inside: dict[tuple[Module, ...], list[str]]) -> list[str]:
        """Nest the nodes of modules in frames."""
        names = self._tape._owners
        out: list[str] = []

        def nest(path: tuple[Module, ...], depth: int) -> None:
            out.extend(inside.get(path, []))
            children = dict.fromkeys(
                p[: depth + 1] for p in inside if len(p) > depth and p[:depth] == path
            )
            for child in children:
                name = names.name(child[-1])
                kind = type(child[-1]).__name__
                out.append(f'subgraph "cluster_{depth}_{id(child[-1])}" {{')
                out.append(f"label={_quoted(f'{name}: {kind}')}; labeljust=l; margin=10")
                out.append(f'fillcolor="{_FRAMES[depth % 2]}"')
                nest(child, depth + 1)
                out.append("}")

        nest((), 0)
        return out

    def _nodes(self, line: Line, path: tuple[Module, ...]) -> list[str]:
        entry = line._entry
        if line.index is None:
            name = line.name
            if path and name.startswith(f"{self._tape._owners.name(path[-1])}."):
                name = name.rpartition(".")[2]
            return [_circle(f"v{entry}", name, _LEAF)]
        out = []
        if not line._about["result"]:
            out.append(self._block(line))
            beside = "; ".join(f"v{p}" for p, at in self._beside.items() if at == entry)
            if beside:
                out.append(f"{{rank=same; {beside}; f{entry}}}")
        if self._variables and entry != self._cost:
            out.append(_circle(f"v{entry}", line.name, _RESULT))
        return out

    def _block(self, line: Line) -> str:
        name, first = line.operation, line._entry
        constants = [
            line._operand(kind, what)
            for kind, what in line._operands
            if kind != "entry" and what is not None
        ]
        constants += [f"{p:.6g}" for p in line.parameters]
        said = f"{name}({', '.join(constants)})" if constants else name
        notes = [] if self._variables and first != self._cost else self._notes(line)
        shape = 'shape=box, style="rounded,filled", margin="0.12,0.06", height=0.28'
        color = _BLOCK
        if first == self._cost:
            shape = 'shape=box, style="filled", margin="0.14,0.12"'
            color = _COST
        tip = f"{line}  {show.where(line)}"
        return (
            f'f{first} [label=<{_label(said, notes)}>, {shape}, fillcolor="{color}", '
            f"tooltip={_quoted(tip)}]"
        )

    def _notes(self, line: Line) -> list[str]:
        notes = []
        if self._shapes and line.shape:
            notes.append(" x ".join(map(str, line.shape)))
        if self._values:
            notes.append(f"= {_brief(line.value)}")
        if self._adjoints:
            notes.append(f"∂ {_brief(line.adjoint)}")
        return notes

    def _edges(self, line: Line) -> list[str]:
        """Connect a block; what is known of a variable stands where its edge begins or ends."""
        which = line._about["result"]
        block = f"f{line._entry - (which or 0)}"
        out = []
        if not which:
            for kind, source in line._operands:
                if kind != "entry":
                    continue
                # What flows from block to block is drawn straight; parameters come from the side.
                begins = source not in self._tape._places
                look = "weight=6"
                if self._beside.get(source) == line._entry:
                    look = "weight=1"
                if begins and source not in self._noted:
                    self._noted.add(source)
                    look += _edge_label(self._notes(self._tape._line(source)))
                if source in self._right and self._beside[source] == line._entry:
                    out.append(f"{block} -> {self._end(source)} [{look}, dir=back]")
                else:
                    out.append(f"{self._end(source)} -> {block} [{look}]")
        if self._variables and line._entry != self._cost:
            label = _edge_label(self._notes(line))
            out.append(f"{block} -> v{line._entry} [weight=6{label}]")
        return out

    def _end(self, entry: int) -> str:
        """Return the node that stands for an entry where it is read."""
        if self._variables or entry not in self._tape._places:
            return f"v{entry}"
        about = self._tape._trace.describe(entry)
        return f"f{entry - (about['result'] or 0)}"


def _brief(t: Tensor | None) -> str:
    """Show up to four numbers, or how long the vector is."""
    if t is None or t.numel() == 0:
        return "-"
    if t.numel() > _MOST_NUMBERS:
        return f"|{t.to(_core.float64).square().sum().sqrt().item():.4g}|"
    numbers = ", ".join(f"{v:.4g}" for v in t.reshape(-1).tolist())
    return numbers if t.numel() == 1 else f"[{numbers}]"


def _circle(node: str, name: str, color: str) -> str:
    """Return a circle with a name in it; an ellipse around a long one."""
    wide = max(0.3, 0.085 * len(name) + 0.14)
    shape = "circle" if wide <= 0.5 else "ellipse"
    size = f"fixedsize=true, width={wide:.2f}, height={min(wide, 0.36):.2f}"
    look = f'shape={shape}, style=filled, fillcolor="{color}"'
    return f"{node} [label={_quoted(name)}, {look}, {size}]"


def _edge_label(notes: list[str]) -> str:
    if not notes:
        return ""
    text = '<br align="left"/>'.join("&#160;" + _escaped(note) for note in notes)
    return f', label=<<font point-size="8">{text}<br align="left"/></font>>'


def _label(said: str, notes: list[str]) -> str:
    small = [f'<br/><font point-size="8" color="{_PALE}">{_escaped(n)}</font>' for n in notes]
    return _escaped(said) + "".join(small)


def _escaped(text: str) -> str:
    text = text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
