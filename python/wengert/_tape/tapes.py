"""The tape: its lines in order, and how it is made."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, overload

from wengert import _core
from wengert._core import Tensor

from . import show
from .lines import Line, Lines
from .modules import Calls, Owners
from .scope import letters, tensors, variables, with_closure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from wengert.nn import Module

    from .audit import Audit
    from .check import Check
    from .draw import Drawing
    from .profile import Profile
    from .scope import Scope


class Tape:
    """The lines that were recorded, in order: a sequence of `Line`, printed as a table.

    ``tape[k]`` is line k, ``tape["c"]`` the line, or the input, of that name, and ``tape[y]`` the
    one whose result is the tensor y. While it lives it keeps the graph, and what operations
    saved, alive.
    """

    def __init__(self, names: Mapping[str, Tensor] | None = None) -> None:
        self._given = dict(names or {})
        self._read = -1  # how many entries of the trace have been named
        self._names: dict[int, str] = {}
        self._places: dict[int, int] = {}
        self._uses: dict[int, int] = {}
        self._entries: list[int] = []
        self._starts: list[int] = []
        self._start_names: dict[int, str] = {}
        self._start_modules: dict[int, Module] = {}
        self._trace = _core.Trace()
        self._owners = Owners({})
        self._calls: Calls | None = None
        self._make: Callable[[], Any] | None = None  # computes the result anew
        self._scope: Scope = ({}, {})
        self._result: Tensor | None = None

    @classmethod
    def _of(cls, result: Tensor, names: Mapping[str, Tensor] | None, scope: Scope) -> Tape:
        """Return the lines behind a result."""
        made = cls(names)
        known = tensors(scope)
        made._trace = _core.Trace.of(result, [*made._given.values(), *known.values()])
        made._result = result
        made._scope = scope
        made._name_starts(known)
        return made

    @classmethod
    def _run(
        cls,
        make: Callable[[], Any],
        names: Mapping[str, Tensor] | None,
        scope: Scope,
        gauge: _core.Gauge | None = None,
    ) -> Tape:
        """Return the lines of a function, read by an instrument there and back if there is one."""
        made = cls(names)
        made._make, made._scope = make, scope
        made._calls = Calls(made._trace)
        made._trace.start(gauge)
        try:
            with made._calls:
                result = make()
            _check_result(result)
            made._result = result
            if gauge is not None:
                made._trace.walk(result)
        finally:
            made._trace.stop()
        made._learn()
        return made

    def _again(self, purpose: str, gauge: _core.Gauge) -> Tape:
        """Return the lines of the same function, run once more with an instrument.

        Random numbers are those of the state at hand, which is left as it was.
        """
        if self._make is None:
            raise RuntimeError(
                f"{purpose}: the tape has seen lines, but cannot have them computed again; "
                "expected a tape of a function, such as wg.tape(lambda: loss_of(model, x))"
            )
        from wengert.random import get_rng_state, set_rng_state

        state = get_rng_state()
        try:
            return Tape._run(self._make, self._given, self._scope, gauge)
        finally:
            set_rng_state(state)

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
        self._calls = Calls(self._trace)
        self._calls.__enter__()
        return self

    def __exit__(self, *exc: Any) -> None:
        self._trace.stop()
        if self._calls is not None:
            self._calls.__exit__(None, None, None)
        self._scope = variables(sys._getframe(1))
        self._learn()

    def _learn(self) -> None:
        """Take over values and names that variables hold, when recording is over."""
        known = tensors(self._scope)
        self._trace.learn([*self._given.values(), *known.values()])
        self._name_starts(known)

    @property
    def result(self) -> Tensor | None:
        """What the lines lead to: the tensor given, or the function's result."""
        return self._result

    def backward(self) -> Tape:
        """Have the adjoints of all lines by the result computed; gradients of leaves stay.

        Of a result of several elements, the adjoints are those of their sum. Returns the tape.

        Raises
        ------
        RuntimeError
            If the tape has no result, being of a ``with`` block, or its graph has been freed.
        """
        if self._result is None:
            raise RuntimeError("tape: a with block has no result; call backward on a tensor of it")
        self._trace.walk(self._result)
        return self

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

    def _repr_html_(self) -> str:
        return show.html(self, self.lines, show.MOST_LINES)

    def table(self, most: int | None = show.MOST_LINES) -> str:
        """Return the lines as text, one a row; the middle is left out where there are too many.

        Parameters
        ----------
        most
            How many lines are not too many; None shows all.
        """
        return show.table(self, self.lines, most)

    def to_dict(self, values: bool = False) -> dict[str, Any]:
        """Return inputs and lines as JSON knows them; values and adjoints when asked."""
        return {
            "inputs": [line.to_dict(values) for line in self.inputs],
            "lines": [line.to_dict(values) for line in self],
        }

    def filter(self, *, module: Module | str | None = None, operation: str | None = None) -> Lines:
        """Return the lines of a module, of an operation, or of both.

        Parameters
        ----------
        module
            A module, or its name such as ``"model.0"``; lines of modules inside it are its own.
        operation
            The operation's name.
        """

        def belongs(line: Line) -> bool:
            if operation is not None and line.operation != operation:
                return False
            if module is None:
                return True
            modules = self._modules(line._entry)
            if isinstance(module, str):
                return any(self._owners.name(m) == module for m in modules)
            return any(m is module for m in modules)

        return Lines(self, filter(belongs, self))

    def of(self, module: Module | str) -> Lines:
        """Return the lines of a module, and of the modules inside it."""
        return self.filter(module=module)

    def profile(self, n: int = 10) -> Profile:
        """Measure time, bytes and floating point operations of each line, there and back.

        The function is run n times, and the medians are kept. Also measured is the whole, without
        any instrument, so that what is spent outside of kernels is known.

        Raises
        ------
        RuntimeError
            If the tape is not of a function, or that records other lines each time.
        """
        from .profile import profile

        return profile(self, n)

    def check(self, *, rtol: float = 1e-5, samples: int = 2, raise_exception: bool = True) -> Check:
        """Compare each line's rule with differences of the line itself, in float64.

        The function is run once more, with a second run of all its numbers in float64 beside it.
        Then each line alone is computed again with its operands moved a little, in a random
        direction, and the change of its results, along random cotangents, is compared with what
        the rule makes of these. Elements at a kink, such as relu at 0, are left out.

        Parameters
        ----------
        rtol
            How far the two may be apart.
        samples
            How many directions are tried.
        raise_exception
            Whether to raise at a wrong rule, or to return what was found.

        Raises
        ------
        wengert.testing.GradcheckError
            With the operation and the Python line of each line whose rule is wrong.
        RuntimeError
            If the tape is not of a function.
        """
        from .check import check

        return check(self, rtol, samples, raise_exception)

    def audit(self) -> Audit:
        """Measure the rounding error of each line, there and back.

        The function is run once more, and every number is also computed in float64 from the same
        inputs, constants and random numbers, as they are. Each line's value and adjoint are
        compared with those, in units in the last place (ULP) of the line's dtype.

        Raises
        ------
        RuntimeError
            If the tape is not of a function.
        """
        from .audit import audit

        return audit(self)

    def draw(
        self,
        *,
        shapes: bool = True,
        values: bool = False,
        adjoints: bool = False,
        modules: bool = True,
        variables: bool | None = None,
    ) -> Drawing:
        """Draw the graph in blocks: variables as circles, functions as rounded blocks, the cost.

        Returns SVG as text that notebooks show, with a method ``save(path)``.

        Parameters
        ----------
        shapes, values, adjoints
            What to write beside the names.
        modules
            Whether to put a frame around the lines of each module.
        variables
            Whether results between functions are drawn too; by default up to 40 lines.

        Raises
        ------
        ImportError
            If the Python package graphviz is not installed.
        RuntimeError
            If the program dot, of Graphviz, is not.
        """
        from .draw import draw

        return draw(self, shapes, values, adjoints, modules, variables)

    def _name_starts(self, known: Mapping[str, Tensor]) -> None:
        """Take over the names of variables that hold what lines start from."""
        others = {name: t for name, t in known.items() if name not in self._given}
        for name, t in [*self._given.items(), *others.items()]:
            entry = self._trace.find(t)
            if entry >= 0:
                self._start_names.setdefault(entry, name)
        self._owners = Owners(self._scope[1])
        if self._calls is not None:
            self._owners.learn(self._calls.of_entries())
        self._start_modules = {}
        for name, (p, module) in self._owners.parameters().items():
            if (entry := self._trace.find(p)) >= 0:
                self._start_names.setdefault(entry, name)
                self._start_modules.setdefault(entry, module)
        self._read = -1

    def _line(self, entry: int) -> Line:
        return Line(self, entry)

    def _modules(self, entry: int) -> tuple[Module, ...]:
        """Return the modules that an entry belongs to, outermost first."""
        if (holder := self._start_modules.get(entry)) is not None:
            return self._owners.path(holder)
        if entry not in self._places:
            return ()
        sources = self._trace.sources(entry)
        read = [self._start_modules[s] for s in sources if s in self._start_modules]
        return self._owners.of(entry, read)

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
        free = (name for name in letters() if name not in taken)
        self._names.update(zip(self._entries, free, strict=False))
        self._uses = {}
        for entry in self._entries:
            for source in set(self._trace.sources(entry)):
                self._uses[source] = self._uses.get(source, 0) + 1


def tape(
    target: Tensor | Callable[..., Any] | None = None,
    *args: Any,
    names: Mapping[str, Tensor] | None = None,
) -> Tape:
    """Return the lines that led to a result, or of a function, or list those of a ``with`` block.

    ``t = wg.tape(loss)`` lists, in order, every operation that ``loss`` depends on and that was
    recorded: its operands, shape and Python line. ``t = wg.tape(fn, *args)`` calls the function and
    lists what it records; such a tape can have it computed again, to `Tape.check` derivatives,
    `Tape.audit` rounding errors and `Tape.profile` time. ``with wg.tape() as t:`` lists all that
    the thread records inside. After ``loss.backward()``, or `Tape.backward`, each line also has its
    adjoint, the derivative of the loss by it; ``print(t)`` shows all as a table. Lines are called
    a, b, c, ...; what they start from has the name of the variable that holds it where ``tape`` is
    called.

    Called on a result, values are those that operations saved, that variables of the caller hold,
    or that follow from them by elementwise operations; others are not known (``-`` in the table).
    Otherwise all values are kept, and lines know the module that recorded them.

    Parameters
    ----------
    target
        A tensor that was computed from tensors that require grad, or a function that returns one.
    args
        What to call the function with.
    names
        Names for tensors that lines start from, such as ``dict(model.named_parameters())``.

    Raises
    ------
    RuntimeError
        If nothing was recorded of the result.
    TypeError
        If the target is something else, or the function returns something else.

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
    if target is None and not args:
        return Tape(names)
    scope = variables(sys._getframe(1))
    if isinstance(target, Tensor) and not args:
        return Tape._of(target, names, scope)
    if isinstance(target, Tensor) or not callable(target):
        what = "a Tensor and arguments" if args else type(target).__name__
        raise TypeError(f"tape: expected a Tensor, or a function and its arguments, got {what}")
    return Tape._run(lambda: target(*args), names, with_closure(scope, target, args))


def _check_result(result: object) -> None:
    if not isinstance(result, Tensor):
        what = type(result).__name__
        raise TypeError(f"tape: expected a function that returns a Tensor, got {what}")
    if not result.requires_grad or result.is_leaf:
        raise RuntimeError(
            f"tape: nothing was recorded of the function's result, of shape {tuple(result.shape)}; "
            "expected the result of operations on tensors that require grad"
        )
