"""The tape, to be read: what was recorded, line by line, with values, derivatives and adjoints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

from . import _core
from ._core import Tensor
from .nn import Module

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

__all__ = ["Line", "Tape", "tape"]

_MOST_LINES = 200  # above which a table is shortened
_EDGE = 20  # lines shown at either end of a shortened table
_MOST_ELEMENTS = 4  # of a tensor, in a table
_LARGEST_JACOBIAN = 16  # that a table shows


class Line:
    """One recorded operation, or what operations start from.

    An operation with several results is a line for each.
    It reads the tape when asked: adjoints are there once a backward has run.
    """

    __slots__ = ("_about", "_entry", "_tape")

    def __init__(self, tape: Tape, entry: int) -> None:
        self._tape = tape
        self._entry = entry
        self._about = tape._trace.describe(entry)

    @property
    def name(self) -> str:
        """Its letter, or the variable's name of what lines start from."""
        return self._tape._names[self._entry]

    @property
    def index(self) -> int | None:
        """Its place among the lines; None of what lines start from."""
        return self._tape._places.get(self._entry)

    @property
    def operation(self) -> str:
        """The operation's name; 'input' of what lines start from."""
        return self._about["operation"] if self.index is not None else "input"

    @property
    def inputs(self) -> tuple[str, ...]:
        """Names of the operands; numbers, or shapes, of constants; _ of forgotten constants."""
        return tuple(self._operand(*operand) for operand in self._operands)

    @property
    def parameters(self) -> tuple[float, ...]:
        """Numbers that belong to the operation, such as an exponent."""
        return tuple(self._about["parameters"])

    @property
    def shape(self) -> _core.Size:
        """The shape of the result."""
        return self._about["shape"]

    @property
    def dtype(self) -> _core.dtype:
        """The dtype of the result."""
        return self._about["dtype"]

    @property
    def file(self) -> str | None:
        """The file of the Python line that called the operation, outside of wengert."""
        return self._about["source"][0] if self._about["source"] else None

    @property
    def line(self) -> int | None:
        """The number of that line in its file."""
        return self._about["source"][1] if self._about["source"] else None

    @property
    def function(self) -> str | None:
        """The function that the line is in."""
        return self._about["source"][2] if self._about["source"] else None

    @property
    def value(self) -> Tensor | None:
        """The result; None if nothing has kept it, or it was changed in place since."""
        return self._tape._trace.value(self._entry)

    @property
    def local_derivatives(self) -> tuple[Tensor | None, ...]:
        """The derivative of the result by each operand, as the operation's own rule gives it.

        Of an elementwise operation, a tensor of the result's shape; else the Jacobian, of the
        result's shape followed by the operand's. None for constants, where what the rule needs
        was changed in place, and for Jacobians of more than 4,096 elements of a result of several.
        """
        derivative = self._tape._trace.local_derivative
        return tuple(derivative(self._entry, i) for i in range(len(self._operands)))

    @property
    def adjoint(self) -> Tensor | None:
        """The derivative by this line of what backward was called on, from the last backward."""
        return self._tape._trace.adjoint(self._entry)

    @property
    def uses(self) -> int:
        """How many later lines read it."""
        return self._tape._uses.get(self._entry, 0)

    @property
    def times_computed(self) -> int:
        """How often backward has completed its adjoint."""
        return self._tape._trace.times_computed(self._entry)

    @property
    def times_used(self) -> int:
        """How many gradients of operands backward has made from its adjoint."""
        return self._tape._trace.times_used(self._entry)

    @property
    def _operands(self) -> list[tuple[str, Any]]:
        return self._about["operands"] if self.index is not None else []

    def _operand(self, kind: str, what: Any) -> str:
        if kind == "entry":
            return self._tape._names[what]
        if kind == "number":
            return f"{what:.6g}"
        return "_" if kind == "unknown" else str(tuple(what))

    def __str__(self) -> str:
        if self.index is None:
            return self.name
        arguments = [*self.inputs, *(f"{p:.6g}" for p in self.parameters)]
        result = self._about["result"]
        which = "" if result is None else f"[{result}]"
        return f"{self.name} = {self.operation}({', '.join(arguments)}){which}"

    def __repr__(self) -> str:
        return f"<Line {self}>"


class Tape:
    """The lines that were recorded, in order: a sequence of `Line`, printed as a table.

    ``tape[k]`` is line k, ``tape["c"]`` the line, or the input, of that name, and ``tape[y]`` the
    one whose result is the tensor y. While it lives it keeps the graph, and what operations
    saved, alive.
    """

    def __init__(
        self, result: Tensor | None = None, names: Mapping[str, Tensor] | None = None
    ) -> None:
        self._given = dict(names or {})
        self._read = -1  # how many entries of the trace have been named
        self._names: dict[int, str] = {}
        self._places: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._entries: list[int] = []
        self._starts: list[int] = []
        self._start_names: dict[int, str] = {}
        if result is None:
            self._trace = _core.Trace()
        else:
            known = _variables(sys._getframe(2))
            self._trace = _core.Trace.of(result, [*self._given.values(), *known.values()])
            self._name_starts(known)

    def __enter__(self) -> Tape:
        """List what this thread records from now on.

        Raises
        ------
        RuntimeError
            If the tape is of a result already, or entered already.
        """
        if len(self):
            raise RuntimeError("tape: it lists something already; expected a new wg.tape()")
        self._trace.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._trace.stop()
        known = _variables(sys._getframe(1))
        self._trace.learn([*self._given.values(), *known.values()])
        self._name_starts(known)

    @property
    def lines(self) -> list[Line]:
        """The lines, in the order recorded."""
        self._update()
        return [Line(self, entry) for entry in self._entries]

    @property
    def inputs(self) -> list[Line]:
        """What the lines start from: leaves, and results recorded earlier."""
        self._update()
        return [Line(self, entry) for entry in self._starts]

    def __len__(self) -> int:
        self._update()
        return len(self._entries)

    def __iter__(self) -> Iterator[Line]:
        return iter(self.lines)

    @overload
    def __getitem__(self, at: int | str | Tensor) -> Line: ...
    @overload
    def __getitem__(self, at: slice) -> list[Line]: ...
    def __getitem__(self, at: int | str | Tensor | slice) -> Line | list[Line]:
        """Return the line at a place, of a name or of a result.

        Raises
        ------
        IndexError, KeyError
            If there is none.
        """
        self._update()
        if isinstance(at, slice):
            return [Line(self, entry) for entry in self._entries[at]]
        if isinstance(at, str):
            for entry, name in self._names.items():
                if name == at:
                    return Line(self, entry)
            raise KeyError(f"tape: no line or input is called {at!r}")
        if isinstance(at, Tensor):
            if (entry := self._trace.find(at)) < 0:
                raise KeyError("tape: the tensor is not the result of a line, nor an input")
            return Line(self, entry)
        return Line(self, self._entries[at])

    def __repr__(self) -> str:
        return f"<Tape of {len(self)} lines>"

    def __str__(self) -> str:
        return self.table()

    def table(self, most: int | None = _MOST_LINES) -> str:
        """Return the lines as text, one a row; the middle is left out where there are too many.

        Parameters
        ----------
        most
            How many lines are not too many; None shows all.
        """
        self._update()
        shown = list(self._entries)
        cut = most is not None and len(shown) > most
        if cut:
            shown = shown[:_EDGE] + shown[-_EDGE:]
        rows = [_row(Line(self, entry)) for entry in [*self._starts, *shown]]
        if all(row[1] == "()" for row in rows):  # of numbers alone
            rows = [[row[0], *row[2:]] for row in rows]
            head = ["line", "value", "local derivatives", "adjoint", "computed", "used", "where"]
        else:
            head = ["line", "shape", "value", "local derivatives", "adjoint", "computed", "used",
                    "where"]  # fmt: skip
        text = _aligned([head, *rows])
        if cut:
            at = 1 + len(self._starts) + _EDGE
            text.insert(at, f"... ({len(self._entries) - 2 * _EDGE} lines)")
        entries = [*self._starts, *self._entries]
        computed = sum(map(self._trace.times_computed, entries))
        if computed:
            used = sum(map(self._trace.times_used, entries))
            text.append(f"adjoints: {computed} computed, used {used} times")
        return "\n".join(text)

    def _name_starts(self, known: Mapping[str, Tensor]) -> None:
        """Take over the names of variables that hold what lines start from."""
        others = {name: t for name, t in known.items() if name not in self._given}
        for name, t in [*self._given.items(), *others.items()]:
            entry = self._trace.find(t)
            if entry >= 0:
                self._start_names.setdefault(entry, name)
        self._read = -1

    def _update(self) -> None:
        """Number and name what has been recorded since the last time."""
        if len(self._trace) == self._read:
            return
        self._read = len(self._trace)
        self._entries, self._starts = self._trace.lines(), self._trace.starts()
        self._places = {entry: k for k, entry in enumerate(self._entries)}
        self._names = {}
        taken = set()
        for k, entry in enumerate(self._starts):
            name = self._start_names.get(entry, f"x{k}")
            while name in taken:
                name += "'"
            taken.add(name)
            self._names[entry] = name
        letters = (name for name in _letters() if name not in taken)
        self._names.update(zip(self._entries, letters, strict=False))
        self._uses = {}
        for entry in self._entries:
            for source in set(self._trace.sources(entry)):
                self._uses[source] = self._uses.get(source, 0) + 1


def tape(result: Tensor | None = None, *, names: Mapping[str, Tensor] | None = None) -> Tape:
    """Return the lines that led to a result, or list those recorded in a ``with`` block.

    ``t = wg.tape(loss)`` lists, in order, every operation that ``loss`` depends on and that was
    recorded: its operands, shape and Python line. ``with wg.tape() as t:`` lists all that the
    thread records inside. After ``loss.backward()`` each line also has its adjoint, the derivative
    of the loss by it; ``print(t)`` shows all as a table. Lines are called a, b, c, ...; what they
    start from has the name of the variable that holds it where ``tape`` is called.

    Called on a result, values are those that operations saved, that variables of the caller hold,
    or that follow from them by elementwise operations; others are not known (``-`` in the table).
    In a ``with`` block all values are kept.

    Parameters
    ----------
    result
        A tensor that was computed from tensors that require grad.
    names
        Names for tensors that lines start from, such as ``dict(model.named_parameters())``.

    Raises
    ------
    RuntimeError
        If nothing was recorded of the result.

    References
    ----------
    R. E. Wengert, A simple automatic derivative evaluation program, Communications of the ACM
    7(8), 1964.

    Examples
    --------
    >>> x = wg.tensor(0.7, requires_grad=True)
    >>> y = (x * x).exp()
    >>> t = wg.tape(y)
    >>> y.backward()
    >>> [str(line) for line in t]
    ['a = mul(x, x)', 'b = exp(a)']
    >>> t["a"].adjoint
    tensor(1.6323)
    """
    if result is not None and not isinstance(result, Tensor):
        raise TypeError(f"tape: expected a Tensor, got {type(result).__name__}")
    return Tape(result, names)


def _variables(frame: FrameType) -> dict[str, Tensor]:
    """Tensors by the names of variables that hold them, and modules' parameters by theirs."""
    found: dict[str, Tensor] = {}
    scope = frame.f_locals
    held = [(k, v) for k, v in scope.items() if isinstance(v, (Tensor, Module)) and k[:1] != "_"]
    for name, value in held:
        if isinstance(value, Tensor):
            found[name] = value
    for name, value in held:
        if isinstance(value, Module):
            found.update({f"{name}.{n}": p for n, p in value.named_parameters()})
    if sys.version_info < (3, 13) and frame.f_code.co_flags & 1:
        # A snapshot that the frame would hold on to, and the graph with it.
        for name, _ in held:
            del scope[name]
    return found


def _letters() -> Iterator[str]:
    """Yield a, b, ..., z, aa, ab, ..."""
    k = 0
    while True:
        name, rest = "", k
        while rest >= 0:
            name = chr(ord("a") + rest % 26) + name
            rest = rest // 26 - 1
        yield name
        k += 1


def _short(t: Tensor | None) -> str:
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
        shown.append(f"d{line.name}/d{operand.name} = {_short(d)}")
    return ", ".join(shown)


def _row(line: Line) -> list[str]:
    where = f"{line.file.rpartition('/')[2]}:{line.line}" if line.file else ""
    computed = line.times_computed
    return [
        str(line),
        str(tuple(line.shape)),
        _short(line.value),
        _derivatives(line),
        _short(line.adjoint),
        str(computed) if computed else "-",
        str(line.times_used) if computed and line.index is not None else "-",
        where,
    ]


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
