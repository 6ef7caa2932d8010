"""A line of a tape: what was recorded, with its value, local derivatives and adjoint."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import show

if TYPE_CHECKING:
    from collections.abc import Iterable

    from wengert import _core
    from wengert._core import Tensor

    from .tapes import Tape


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
    def module(self) -> str | None:
        """The name of the module whose forward it was recorded in, if that is known."""
        modules = self._tape._modules(self._entry)
        return self._tape._owners.name(modules[-1]) if modules else None

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

    def to_dict(self, values: bool = False) -> dict[str, Any]:
        """Return what is known of it, as JSON knows it; values and adjoints when asked."""
        names = ("name", "index", "operation", "file", "line", "function", "module", "uses")
        out: dict[str, Any] = {name: getattr(self, name) for name in names}
        out["inputs"] = list(self.inputs)
        out["parameters"] = list(self.parameters)
        out["shape"] = list(self.shape)
        out["dtype"] = str(self.dtype)
        if values:
            for name in ("value", "adjoint"):
                t = getattr(self, name)
                out[name] = None if t is None else t.tolist()
        return out


class Lines(list[Line]):
    """Some lines of a tape, printed as a table."""

    def __init__(self, tape: Tape, lines: Iterable[Line]) -> None:
        super().__init__(lines)
        self._tape = tape

    def __str__(self) -> str:
        return show.table(self._tape, self, show.MOST_LINES)

    def _repr_html_(self) -> str:
        return show.html(self._tape, self, show.MOST_LINES)
