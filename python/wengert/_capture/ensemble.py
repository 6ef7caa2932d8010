"""Many models at once: a captured step taken by n models, whose tensors are stacked."""

from __future__ import annotations

from wengert import _core
from wengert._core import CaptureError, Tensor
from wengert._creation import arange
from wengert.autograd import no_grad
from wengert.nn import Module
from wengert.optim.optimizer import FusedOptimizer, Optimizer
from wengert.utils._pytree import tree_unflatten

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from wengert._capture import Captured
    from wengert._capture.entries import Entry


class Ensemble:
    """Models that take a captured step together; made by `Captured.ensemble`.

    Each has parameters, buffers, optimizer states, random numbers and settings of its own, and
    comes to the bits that it would have come to alone.
    """

    def __init__(
        self, step: Captured, key: Any, entry: Entry, n: int, seeds: Sequence[int] | None,
        reset: Callable[[], Any] | None, settings: dict[str, Any],
    ) -> None:  # fmt: skip
        if n < 1:
            raise ValueError(f"ensemble: expected at least 1 model, got {n}")
        if entry.before or entry.after:
            calls = (getattr(fn, "__qualname__", fn) for fn, _ in entry.before + entry.after)
            raise CaptureError(
                f"ensemble: the step calls Python code, {', '.join(map(str, calls))}, which is not "
                "each model's; call it outside of the step, and set_settings() what it changes"
            )
        if entry.places:
            raise CaptureError("ensemble: the step replaces tensors that Python objects hold")
        self._step, self._key, self._entry, self._n = step, key, entry, n
        objects = entry.kept.objects()
        self._optimizers = [o for o in objects if isinstance(o, Optimizer)]
        modules = [o for o in objects if isinstance(o, Module)]
        own = [t for m in modules for t in _tensors(m)]
        self._core = _core.Ensemble(entry.program, n, own if seeds is not None else [])
        self._settings: list[dict[str, Any]] = [{} for _ in range(n)]
        if settings:
            self.set_settings(**settings)
        if seeds is not None:
            self._start(modules, own, list(seeds), reset)
        elif reset is not None:
            raise ValueError("ensemble: reset is for models with seeds of their own; give seeds")

    def __len__(self) -> int:
        """Return the number of models."""
        return self._n

    # --- what models begin with -----------------------------------------------------------------

    def _start(
        self, modules: list[Module], own: list[Tensor], seeds: list[int],
        reset: Callable[[], Any] | None,
    ) -> None:  # fmt: skip
        """Give each model what the captured objects are made anew as, from its seed."""
        if len(seeds) != self._n:
            raise ValueError(f"ensemble: {len(seeds)} seeds for {self._n} models")
        if reset is None:
            self._check_reset(modules, own)
        core = self._core
        kept = [(t, t.detach().clone()) for t in own if not core.stacks(t)]
        fixed = [(t, t._version) for t in self._entry.guards.tensors() if not core.stacks(t)]
        contents, random = core.save(), _core.default_generator.get_state()
        try:
            for i, seed in enumerate(seeds):
                _core.default_generator.manual_seed(seed)
                if reset is not None:
                    reset()
                else:
                    for module in _from_inside(modules):
                        _reset_of(module)()
                self._clear_states()
                core.load(i)
        finally:
            core.put_back(contents)
            _core.default_generator.set_state(random)
            with no_grad():
                for t, value in kept:
                    t.copy_(value)
        known = {id(t) for t, _ in kept}
        for t, version in fixed:
            if t._version != version and id(t) not in known:
                raise CaptureError(
                    f"ensemble: reset changes a tensor of shape {tuple(t.shape)} that the step "
                    "only reads and no module holds, so that models share it; make it a buffer"
                )

    def _check_reset(self, modules: list[Module], own: list[Tensor]) -> None:
        for module in modules:
            if _reset_of(module) is None and any(True for _ in module.parameters(recurse=False)):
                raise CaptureError(
                    f"ensemble: {type(module).__name__} has parameters but no reset_parameters(), "
                    "by which each model would get its own; give reset=, a function that does it"
                )
        known = {id(t) for t in own}
        for optimizer in self._optimizers:
            if not all(id(p) in known for g in optimizer.param_groups for p in g["params"]):
                raise CaptureError(
                    "ensemble: an optimizer has parameters of no module; give reset=, a function "
                    "that initializes them in place"
                )

    def _clear_states(self) -> None:
        """Put the optimizers where they stood before their first step."""
        with no_grad():
            for optimizer in self._optimizers:
                for group, states in _states(optimizer):
                    for name, t in states.items():
                        if self._core.stacks(t):
                            t.fill_(group.get("initial_accumulator_value", 0) * (name == "sum"))

    def set_settings(self, **settings: Any) -> None:
        """Change settings of the models' optimizers, from the next step on.

        Parameters
        ----------
        settings
            Of the optimizers' param groups, such as ``lr``, ``betas`` or ``weight_decay``: a value
            for all models, or a sequence of one for each. Others are read from the param groups of
            the captured optimizers whenever steps are taken.

        Raises
        ------
        TypeError
            If no optimizer of the step has such a setting.
        ValueError
            If there are not as many values as models.
        CaptureError
            If the step's Python code looks at it, or it asks for states that the step has not.
        """
        changed = [dict(s) for s in self._settings]
        for name, value in settings.items():
            for each, v in zip(changed, self._values(name, value), strict=True):
                each[name] = v
        self._core.set_settings(changed)
        self._settings = changed

    def _values(self, name: str, value: Any) -> list[Any]:
        groups = [
            g for o in self._optimizers if isinstance(o, FusedOptimizer) for g in o.param_groups
        ]
        present = [g[name] for g in groups if name in g and name != "params"]
        if not present:
            known = sorted({k for g in groups for k in g} - {"params"})
            raise TypeError(f"ensemble: no optimizer of the step has {name!r}; expected of {known}")
        if self._entry.kept.names(name):
            raise CaptureError(
                f"ensemble: the step's Python code names {name!r}; what it does with it is the "
                "same for all models"
            )
        if isinstance(value, Tensor):
            value = value.tolist()
        inner = value
        if isinstance(present[0], (tuple, list)) and isinstance(value, (tuple, list)) and value:
            inner = value[0]
        if not isinstance(inner, (tuple, list, range)):
            return [value] * self._n
        if len(value) != self._n:
            raise ValueError(f"ensemble: {len(value)} values of {name} for {self._n} models")
        return list(value)

    # --- steps ----------------------------------------------------------------------------------

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Take a step with every model; results have a first dimension of models.

        A tensor of the shape that the step was captured with is what all models are given; one
        with a first dimension of n more, each its own.

        Raises
        ------
        ValueError
            If tensors have other shapes.
        CaptureError
            If other arguments, or modes of the thread, are not as they were when captured.
        """
        key, tensors = self._step._key(args, kwargs)
        if key != self._key:
            raise CaptureError(
                "ensemble: arguments or modes of the thread are not those of the captured step"
            )
        each = self._each(tensors, 0)
        tensors = [t.detach().contiguous() for t in tensors]
        results = self._core.run(tensors, each, None, 1, 1, None)[1]
        return self._whole([r[0] for r in results])

    def _each(self, tensors: list[Tensor], first: int) -> list[bool]:
        """Which tensors are each model's own; of dimension `first` on they have the right sizes."""
        if _core.capturing():
            raise CaptureError("ensemble: its steps cannot be captured; take them outside")
        places = self._core.arguments
        if len(tensors) != len(places):
            raise ValueError(f"ensemble: expected {len(places)} tensors, got {len(tensors)}")
        out = []
        for t, (shape, dtype) in zip(tensors, places, strict=True):
            sizes = list(t.shape)
            own = len(sizes) == len(shape) + 1 and sizes[0] == self._n
            if own:
                sizes = sizes[1:]
            if len(sizes) != len(shape) or sizes[first:] != shape[first:] or t.dtype != dtype:
                wanted = ["rows"] * first + [str(s) for s in shape[first:]]
                raise ValueError(
                    f"ensemble: a tensor of shape {tuple(t.shape)} and {t.dtype}; expected "
                    f"({', '.join(wanted)}) and {dtype}, or that with {self._n} before it"
                )
            out.append(own)
        return out

    def _whole(self, tensors: list[Tensor]) -> Any:
        """Put results together as the step does."""
        entry = self._entry
        if entry.spec is None:
            return tensors[0]
        made = iter(tensors)
        leaves = [next(made) if leaf is None else self._fixed(leaf.value) for leaf in entry.whole]
        return tree_unflatten(leaves, entry.spec)

    def _fixed(self, value: Any) -> Any:
        return self.stacked(value) if isinstance(value, Tensor) else value

    def run(
        self,
        data: Tensor | Sequence[Tensor],
        batch_size: int | None = None,
        shuffle: bool = False,
        epochs: int = 1,
        seed: int | Sequence[int] | None = None,
        *,
        drop_last: bool = False,
        progress: Callable[[int], Any] | None = None,
        every: int = 100,
    ) -> Any:
        """Take a step with every model for each batch of the data.

        Batches are those of `Captured.run`.

        Parameters
        ----------
        data
            A tensor, or several, whose rows are the items; or with a first dimension of n before
            them, each model's own.
        batch_size
            Items a step: as many as the step was captured with.
        shuffle
            Whether each epoch has a new order.
        epochs
            How often to go through the data.
        seed
            What the order is drawn from: one for all models, or a sequence of one for each, which
            then has its own batches; the default generator, for all, if None.
        drop_last
            Whether to leave out a last batch of fewer items.
        progress
            Called with the number of steps done, each ``every`` steps.
        every
            Steps between calls of progress, and between looks for Ctrl-C.

        Returns
        -------
        The results of all steps: a tensor of shape (steps, n, ...) for each.

        Raises
        ------
        ValueError
            If shapes, lengths or the batch size do not fit, or rows are left over.
        """
        arrays = [data] if isinstance(data, Tensor) else list(data)
        each = self._each(arrays, 1)
        arrays = [a.detach().contiguous() for a in arrays]
        places = self._core.arguments
        if not arrays or any(not shape for shape, _ in places):
            raise ValueError("ensemble: run is for steps whose arguments are batches of rows")
        lengths = {a.size(1 if own else 0) for a, own in zip(arrays, each, strict=True)}
        sizes = {shape[0] for shape, _ in places}
        if len(lengths) > 1 or len(sizes) > 1:
            raise ValueError(
                f"ensemble: data of {sorted(lengths)} rows for batches of {sorted(sizes)}; "
                "expected one number"
            )
        (rows,), (size,) = lengths, sizes
        if batch_size not in (None, size):
            raise ValueError(
                f"ensemble: batch_size={batch_size}, but the step was captured with {size}"
            )
        if every < 1 or epochs < 0 or size < 1:
            raise ValueError(f"ensemble: every={every} and epochs={epochs}; expected at least 1, 0")
        if rows % size and not drop_last:
            raise ValueError(
                f"ensemble: {rows} rows make no whole batches of {size}; expected drop_last=True"
            )
        steps = rows // size * epochs
        if steps == 0:
            return None
        order = self._order(rows, rows // size * size, shuffle, epochs, seed)
        results = self._core.run(arrays, each, order, steps, every, progress)[1]
        return self._whole(results)

    def _order(
        self, rows: int, used: int, shuffle: bool, epochs: int, seed: int | Sequence[int] | None
    ) -> Tensor:
        """Return the rows that all epochs take, or those of each model."""

        def one(seed: int | None) -> Tensor:
            generator: dict[str, Any] = (
                {} if seed is None else {"generator": _core.Generator().manual_seed(seed)}
            )
            epoch = (
                _core.randperm(rows, **generator) if shuffle else arange(rows)
                for _ in range(epochs)
            )
            return _core.cat([order[:used] for order in epoch])

        if seed is None or isinstance(seed, int) or not shuffle:
            return one(seed if isinstance(seed, int) else None)
        seeds = list(seed)
        if len(seeds) != self._n:
            raise ValueError(f"ensemble: {len(seeds)} seeds for {self._n} models")
        return _core.stack([one(s) for s in seeds])

    # --- what models have come to -----------------------------------------------------------------

    def stacked(self, tensor: Tensor) -> Tensor:
        """Return all models' values of a tensor of the step, by reference.

        Parameters
        ----------
        tensor
            A parameter, a buffer, an optimizer state or another tensor that the step uses.

        Returns
        -------
        Tensor
            Of shape (n, ...); where the step only reads it, the same n times.

        Raises
        ------
        ValueError
            If the step does not use it.
        """
        return self._core.stacked(tensor)

    def state_dict(self, module: Module) -> dict[str, Tensor]:
        """Return copies of the stacked parameters and buffers of a module of the step, by name.

        They are what `wengert.func.stack_module_state` gives for n modules; with
        `wengert.func.functional_call` under `wengert.vmap` all models are evaluated at once.
        """
        with no_grad():
            return {
                name: (
                    self.stacked(t).clone() if self._core.uses(t) else _core.stack([t] * self._n)
                )
                for name, t in module.state_dict().items()
            }

    def restore(self, model: int) -> None:
        """Put a model's tensors, optimizer states among them, where the captured step has its own.

        Settings and generators stay as they are.

        Raises
        ------
        IndexError
            If there is no such model.
        """
        if not -self._n <= model < self._n:
            raise IndexError(f"ensemble: model {model} of {self._n}")
        self._core.store(model % self._n)

    def explain(self) -> str:
        """Return the launches, and whether they are widened by all models or repeated for each."""
        lines = self._core.lines
        return f"{self._n} models of {self._step.__name__}: {len(lines)} launches and checks\n" + (
            "\n".join(f"  {i:3} {line}" for i, line in enumerate(lines))
        )


def made_of(
    step: Captured, n: int, args: tuple[Any, ...], seeds: Sequence[int] | None,
    reset: Callable[[], Any] | None, settings: dict[str, Any],
) -> Ensemble:  # fmt: skip
    """Return an ensemble of the latest program that fits what stands there now."""
    wanted, tensors = step._key(args, {}) if args else (None, [])
    for key in reversed(step._entries):
        if wanted not in (None, key):
            continue
        for entry in step._entries[key]:
            if not entry.guards.hold() or (args and not entry.program.fits(tensors)):
                continue
            return Ensemble(step, key, entry, n, seeds, reset, settings)
    raise CaptureError(
        f"ensemble: {step.__name__} has no program for what stands there now; call it first, as it "
        "is captured at its second call"
    )


def _tensors(module: Module) -> Iterator[Tensor]:
    yield from module.parameters(recurse=False)
    yield from module.buffers(recurse=False)


def _reset_of(module: Module) -> Any:
    return getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)


def _from_inside(modules: list[Module]) -> Iterator[Module]:
    """Those that can be reset, in the order in which they initialize themselves when made."""
    seen: set[int] = set()

    def walk(module: Module) -> Iterator[Module]:
        if id(module) in seen:
            return
        seen.add(id(module))
        for child in module.children():
            yield from walk(child)
        if _reset_of(module) is not None:
            yield module

    for module in modules:
        yield from walk(module)


def _states(optimizer: Optimizer) -> Iterator[tuple[dict[str, Any], dict[str, Tensor]]]:
    """The tensors of states by name, a parameter at a time, with its group."""
    if not isinstance(optimizer, FusedOptimizer):
        for group in optimizer.param_groups:
            for p in group["params"]:
                yield group, {k: t for k, t in optimizer.state[p].items() if isinstance(t, Tensor)}
        return
    names = ["step", *optimizer.state_names, *(f"{name}_scale" for name in optimizer.state_names)]
    for group, core in zip(optimizer.param_groups, optimizer._groups, strict=True):
        for i in range(len(group["params"])):
            states = zip(names, core.state(i), strict=True)
            yield group, {name: t for name, t in states if t is not None}
