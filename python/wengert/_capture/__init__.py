"""Capture: a function run once as usual, then replayed from C++ as the launches that it made."""

from __future__ import annotations

from _thread import get_ident

from wengert import _core
from wengert._core import CaptureError, Tensor
from wengert.utils._pytree import tree_flatten

from .entries import Active, Entry, Fixed, active, host_call
from .runs import Runs

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .ensemble import Ensemble
    from .guards import Snapshot
    from .saved import SavedProgram

__all__ = [
    "CaptureError", "Captured", "SavedProgram", "capture", "compile", "host_call", "load_program",
]  # fmt: skip

_ATTEMPTS = 3  # calls that may change the function's Python objects before it is refused


class Captured(_core.Replays, Runs):
    """A function that is replayed from C++; made by `wengert.capture`.

    Attributes
    ----------
    captures
        How often the function was captured.
    """

    def __init__(
        self,
        fn: Callable[..., Any],
        fallback: bool = False,
        max_captures: int = 8,
        verify_every: int = 0,
        memory_limit: int = 0,
    ) -> None:
        if not callable(fn):
            raise TypeError(f"capture: expected a function, got {type(fn).__name__}")
        if max_captures < 1:
            raise ValueError(f"capture: max_captures must be at least 1, got {max_captures}")
        if verify_every < 0:
            raise ValueError(f"capture: verify_every must not be negative, got {verify_every}")
        if memory_limit < 0:
            raise ValueError(f"capture: memory_limit must not be negative, got {memory_limit}")
        self._fn = fn
        self._memory_limit = memory_limit
        self._verify_every = verify_every
        self._replays = 0
        self._fallback = fallback
        self._max_captures = max_captures
        self._entries: dict[Any, list[Entry]] = {}
        self._unsettled: dict[Any, int] = {}
        self._plain: set[Any] = set()  # keys of calls that run as usual
        self.captures = 0
        self.__wrapped__ = fn
        self.__doc__ = fn.__doc__
        self.__name__ = getattr(fn, "__name__", type(fn).__name__)

    def __get__(self, instance: Any, owner: Any = None) -> Any:
        """Bind to an instance, as functions do; each has programs of its own."""
        if instance is None:
            return self
        bound = Captured(
            self._fn.__get__(instance, owner), self._fallback, self._max_captures,
            self._verify_every, self._memory_limit,
        )  # fmt: skip
        vars(instance)[self.__name__] = bound
        return bound

    def _call(self, *args: Any, **kwargs: Any) -> Any:
        """Replay, or capture where no program fits; of what `Replays` could not do by itself."""
        if _core.capturing():
            return self._fn(*args, **kwargs)
        key, tensors = self._key(args, kwargs)
        for entry in self._entries.get(key, ()):
            if not entry.guards.hold():
                continue
            if self._verify_every and entry.program.fits(tensors):
                self._replays += 1
                if self._replays % self._verify_every == 0:
                    return self._verify(entry, key, tensors, args, kwargs)
            for fn, given in entry.before:
                fn(*given)
            results = entry.program(tensors)
            if type(results) is list:
                return entry.finish(results)
        return self._capture(key, tensors, args, kwargs)

    @staticmethod
    def _key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, list[Tensor]]:
        """What a program is looked up by, and the tensors among the arguments."""
        modes = _core.thread_modes()
        if not kwargs and all(type(a) is Tensor for a in args):
            return (len(args), modes), list(args)
        leaves, spec = tree_flatten((args, kwargs))
        tensors: list[Tensor] = []
        fixed: list[Any] = []
        for leaf in leaves:
            if isinstance(leaf, Tensor):
                tensors.append(leaf)
                fixed.append(type(leaf))
                continue
            try:
                hash(leaf)
            except TypeError:
                raise CaptureError(
                    f"capture: an argument of type {type(leaf).__name__} cannot be compared with "
                    "that of the next call; pass tensors and plain values"
                ) from None
            # 1, 1.0 and True are equal, 0.0 and -0.0 too
            fixed.append((type(leaf), repr(leaf) if isinstance(leaf, float) else leaf))
        return (spec, tuple(fixed), modes), tensors

    def _verify(
        self, entry: Entry, key: Any, tensors: list[Tensor], args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:  # fmt: skip
        """Replay, put everything back, run as usual, and compare the bits."""
        before = entry.program.save(tensors)
        replayed = entry.program(tensors)
        if isinstance(replayed, str):  # an optimizer's settings ask for another program
            return self._capture(key, tensors, args, kwargs)
        replayed = [r.clone() for r in replayed]
        after = entry.program.save(tensors)
        entry.program.restore(before, tensors)
        result = self._fn(*args, **kwargs)
        leaves = tree_flatten(result)[0]
        plain = [leaf for leaf, kept in zip(leaves, entry.whole, strict=False) if kept is None]
        plain += [container[key] for container, key in entry.places]
        wrong = entry.program.first_difference(replayed, after, plain, entry.program.save(tensors))
        if wrong:
            raise CaptureError(
                f"capture: {self.__name__}: a replay and a plain run differ in {wrong}. The plain "
                "run is the one whose changes stand"
            )
        return result

    # --- capturing ------------------------------------------------------------------------------

    def _capture(
        self, key: Any, tensors: list[Tensor], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        from .guards import RandomState, Snapshot, renewed

        if self._unsettled.get(key, 0) >= _ATTEMPTS or key in self._plain:
            return self._fn(*args, **kwargs)
        try:
            snapshot = Snapshot(self._fn)
            recorder = _core.Recorder(tensors, not self._fallback)
        except CaptureError as e:
            return self._eager(key, str(e), args, kwargs)
        random = RandomState(snapshot.sources)
        under_way = active[get_ident()] = Active(recorder)
        try:
            with recorder:
                result = self._fn(*args, **kwargs)
        finally:
            del active[get_ident()]
        drawn = random.drawn()
        if drawn:
            return self._refuse(
                key, result, f"{drawn} was drawn from, of which a replay would repeat the numbers; "
                "draw from wengert's generators, or pass the numbers as arguments"
            )  # fmt: skip
        changes = snapshot.guards.changes()
        if changes is None or not all(renewed(c, recorder) for c in changes):
            return self._settle(key, result, snapshot.guards.first_change())
        return self._keep(key, result, snapshot, under_way, changes)

    def _keep(
        self, key: Any, result: Any, snapshot: Snapshot, under_way: Active, changes: list[Any]
    ) -> Any:
        """Make the program of a capture that went well, and return the results."""
        for change in changes:
            snapshot.guards.skip(change.container, change.key)
        leaves, spec = tree_flatten(result)
        known = {id(t): t for t in snapshot.guards.tensors()}
        whole: list[Any] = []
        tensors: list[Tensor] = []
        for leaf in leaves:
            if isinstance(leaf, Tensor) and id(leaf) not in known:
                whole.append(None)
                tensors.append(leaf)
            else:
                whole.append(Fixed(leaf))
        tensors += [c.after for c in changes]
        try:
            program = under_way.recorder.finish(tensors, self._memory_limit)
        except CaptureError as e:  # of the limit
            return self._refuse(key, result, str(e))
        if program is None:
            return self._refuse(key, result, under_way.recorder.failure)
        entry = Entry(program, snapshot)
        steps = under_way.recorder.steps
        for at, fn, given in under_way.calls:
            where = entry.before if at == 0 else entry.after
            if 0 < at < steps:
                return self._refuse(
                    key, result, f"{getattr(fn, '__qualname__', fn)} is called in the midst of the "
                    "step; call it at its beginning or end"
                )  # fmt: skip
            where.append((fn, given))
        if entry.before and self._verify_every:
            return self._refuse(
                key, result, "verify_every cannot repeat what is called before the launches"
            )
        entry.whole = whole
        entry.places = [(c.container, c.key) for c in changes]
        if not (isinstance(result, Tensor) and whole == [None] and not changes):
            entry.spec = spec
        entries = self._entries.setdefault(key, [])
        entries.insert(0, entry)
        self.captures += 1
        count = sum(map(len, self._entries.values()))
        if count > self._max_captures:
            self._warn(
                f"capture: {self.__name__} was captured {count} times, more than max_captures="
                f"{self._max_captures}; its oldest program is dropped. Shapes or Python values "
                "that differ from call to call make new programs: pass values as tensors"
            )
            oldest = next(iter(self._entries))
            self._entries[oldest].pop()
            if not self._entries[oldest]:
                del self._entries[oldest]
        self._set_ready([] if self._verify_every else list(self._direct()))
        return result

    def _direct(self) -> Iterator[tuple[int, Any, Entry, Any]]:
        """List the programs for tensors alone that need no Python before them."""
        for key, entries in self._entries.items():
            for e in entries:
                if len(key) == 2 and not e.before:
                    yield *key, e, None if e.spec is None and not e.after else e.finish

    def _settle(self, key: Any, result: Any, label: str) -> Any:
        """Count a call that changed Python objects: the first may, as things are made then."""
        count = self._unsettled[key] = self._unsettled.get(key, 0) + 1
        if count < _ATTEMPTS:
            return result
        return self._refuse(
            key, result, f"{label} is changed by each call, which a replay would not do; keep it "
            "in a tensor that is changed in place, or change it outside"
        )  # fmt: skip

    def _eager(self, key: Any, reason: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if not self._fallback:
            raise
        self._plain.add(key)
        self._warn(f"{reason}. It runs as usual instead")
        return self._fn(*args, **kwargs)

    def _refuse(self, key: Any, result: Any, reason: str) -> Any:
        """Raise, or go on without a program."""
        if not self._fallback:
            self._unsettled.pop(key, None)
            raise CaptureError(f"capture: {self.__name__}: {reason}")
        self._plain.add(key)
        self._warn(f"capture: {self.__name__}: {reason}. It runs as usual instead")
        return result

    def _warn(self, message: str) -> None:
        import warnings

        warnings.warn(message, stacklevel=4)

    def explain(self, *args: Any, **kwargs: Any) -> str:
        """Tell what the captured programs do.

        For each: launches, memory moved and bytes of intermediates, as recorded and as replayed;
        what was left out; and the launches in order. With arguments of a call, only of the program
        that they are replayed by, and with the time that each launch takes, the least of some
        replays, whose changes are taken back.

        Raises
        ------
        CaptureError
            If nothing was captured for these arguments.
        """
        from .report import explain

        if args or kwargs:
            entry, tensors = self._found("explain", args, kwargs)
            return explain(self.__name__, entry.program, len(entry.guards), tensors)
        entries = [e for entries in self._entries.values() for e in entries]
        parts = [explain(self.__name__, e.program, len(e.guards), None) for e in entries]
        return "\n".join(parts) or f"{self.__name__}: not captured"

    def timeline(self, *args: Any, **kwargs: Any) -> Any:
        """Draw the program of a call with these arguments, with matplotlib.

        Above, the launches by the time that they take; below, where the intermediates stand in the
        arena meanwhile.

        Returns
        -------
        A ``matplotlib.figure.Figure``; ``figure.savefig(path)`` writes it.

        Raises
        ------
        CaptureError
            If nothing was captured for these arguments.
        ImportError
            Without matplotlib.
        """
        from .report import timeline

        entry, tensors = self._found("timeline", args, kwargs)
        return timeline(self.__name__, entry.program, tensors)

    def _found(
        self, what: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[Entry, list[Tensor]]:
        key, tensors = self._key(args, kwargs)
        for entry in self._entries.get(key, ()):
            if entry.program.fits(tensors):
                return entry, tensors
        raise CaptureError(f"{what}: {self.__name__} was not captured for these arguments")

    # --- files and many steps -------------------------------------------------------------------

    def save(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Write a program to a file, with the tensors that it keeps; `load_program` reads it.

        Parameters
        ----------
        path
            Of the file; one that is there is replaced.
        *args, **kwargs
            Arguments of a call that the program is for. Not needed where there is one program.

        Raises
        ------
        CaptureError
            If there is no such program, or it needs Python as it runs.
        """
        from .saved import save

        if args or kwargs:
            key, tensors = self._key(args, kwargs)
            found = [(key, e) for e in self._entries.get(key, ()) if e.program.fits(tensors)]
            found = [f for f in found if f[1].guards.hold()] or found
        else:
            found = [(key, e) for key, entries in self._entries.items() for e in entries]
            if len(found) > 1:
                raise CaptureError(
                    f"save: {self.__name__} has {len(found)} programs; pass arguments of a call to "
                    "say which is meant"
                )
        if not found:
            raise CaptureError(
                f"save: {self.__name__} has no program for "
                + ("such arguments" if args or kwargs else "any arguments")
                + "; call it as it is to be captured, until it is (the second call as a rule)"
            )
        save(path, self.__name__, self._fn, *found[0])

    def _ready(self, arguments: list[Tensor]) -> Entry | None:
        """Return a program whose steps need nothing of Python before them."""
        key, _ = self._key(tuple(arguments), {})
        for entry in self._entries.get(key, ()):
            plain = not entry.before and not entry.places
            whole = bool(entry.whole) and all(leaf is None for leaf in entry.whole)
            fits = plain and whole and entry.program.fits(arguments)
            if fits and entry.guards.hold():
                return entry
        return None

    def ensemble(
        self,
        n: int,
        *args: Any,
        seeds: Sequence[int] | None = None,
        reset: Callable[[], Any] | None = None,
        **settings: Any,
    ) -> Ensemble:
        """Make n models that take this step together, each as if it were alone.

        Each begins as what the step works on is now. With ``seeds`` it begins as that is after
        ``wg.manual_seed(seed)`` and a reset: as a model that is made and trained alone after it.

        Parameters
        ----------
        n
            How many models.
        args
            Of a call, where the step was captured with several shapes.
        seeds
            What each model's parameters, and its random numbers, are drawn from.
        reset
            Initializes the parameters in place; by default ``reset_parameters()`` of each module
            that the step holds, innermost first. Optimizer states are cleared as well.
        settings
            Of the step's optimizers, such as ``lr``, ``betas`` or ``weight_decay``: a value for all
            models, or a sequence of one for each.

        Returns
        -------
        Ensemble
            A callable of the step's arguments, of all models or each its own, with ``run``.

        Raises
        ------
        ValueError
            If n is not positive, or there are not as many seeds or values as models.
        TypeError
            If no optimizer of the step has such a setting.
        CaptureError
            If no program is captured yet, or the step does what models cannot do each for itself:
            call Python code, change an argument, replace tensors, keep gradients from call to call.
        """
        from .ensemble import made_of

        return made_of(self, n, args, seeds, reset, settings)


def capture(
    fn: Callable[..., Any] | None = None,
    *,
    fallback: bool = False,
    max_captures: int = 8,
    verify_every: int = 0,
    memory_limit: int = 0,
) -> Any:
    """Make a function that is run once as usual, and from then on replayed from C++.

    While the function runs, every kernel launch is also appended to a program: forward, backward,
    clipping, optimizer. A later call with tensors of the same shapes replays the program, with the
    same bits, without Python. What else the function's results depend on is compared before each
    replay (closures, globals, attributes, flags), and a difference captures anew. Learning rates
    and other settings of optimizers, step counts and random numbers are read anew each time.

    Parameters
    ----------
    fn
        Any function of tensors and plain values, or a bound method. Without it, a decorator.
    fallback
        Run the function as usual, with one warning, where it cannot be captured.
    max_captures
        Programs that are kept; the oldest go first.
    verify_every
        Run each so many-th call as usual beside the replay, and raise CaptureError at the first
        different bit, naming the line that writes it; 0: never.
    memory_limit
        Bytes that the intermediates of a replay may take; 0: as many as they do. What does not fit
        is computed again when it is needed, with the same bits. The first call runs as usual, and
        so in as much memory as it takes.

    Returns
    -------
    A callable of the same arguments; its ``run`` takes many steps in one call.

    Raises
    ------
    CaptureError
        On a call, if the function does what a replay would not: looks at numbers (``item()``,
        ``if tensor``), draws from Python's generators, changes Python objects each time. The
        message names the line.
    """
    if fn is None:
        return lambda f: Captured(f, fallback, max_captures, verify_every, memory_limit)
    return Captured(fn, fallback, max_captures, verify_every, memory_limit)


class Compiled(Captured):
    """A function or module that is replayed where that can be done; made by `wengert.compile`."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._fn, name)

    def _warn(self, message: str) -> None:
        pass


def compile(
    model: Callable[..., Any] | None = None,
    *,
    fullgraph: bool = False,
    dynamic: bool | None = None,  # noqa: ARG001
    backend: Any = None,  # noqa: ARG001
    mode: str | None = None,  # noqa: ARG001
    options: dict[str, Any] | None = None,  # noqa: ARG001
    disable: bool = False,
) -> Any:
    """Replay a module or a function from C++ where that can be done.

    This is `capture` under PyTorch's name: without warnings, calls that cannot be replayed run as
    usual, among them those whose results are still to be differentiated.

    Parameters
    ----------
    model
        A module or a function. Without it, a decorator.
    fullgraph
        Raise CaptureError where a call cannot be replayed.
    dynamic, backend, mode, options
        Accepted for PyTorch's sake.
    disable
        Return the model as it is.

    Returns
    -------
    A callable of the same arguments, which has the model's attributes.
    """
    if model is None:
        return lambda m: compile(m, fullgraph=fullgraph, disable=disable)
    return model if disable else Compiled(model, fallback=not fullgraph)


def load_program(path: Any) -> SavedProgram:
    """Read a program that was written with ``save``.

    It goes on from the state that it was saved in, with the same bits, without the Python code that
    it was captured from. Nothing in the file can run code; a damaged one is refused.

    Parameters
    ----------
    path
        Of the file.

    Returns
    -------
    A callable of the tensors that the function was given.

    Raises
    ------
    RuntimeError
        If the file cannot be read, is damaged, or asks for what this version does not have.
    """
    from .saved import SavedProgram

    return SavedProgram(path)


def __getattr__(name: str) -> Any:
    if name == "SavedProgram":
        from .saved import SavedProgram

        return SavedProgram
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
