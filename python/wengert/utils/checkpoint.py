"""Checkpoints: activations are computed again in the backward instead of being kept.

Chen et al., Training Deep Nets with Sublinear Memory Cost (2016): a chain of n layers needs the
activations of some 2 sqrt(n) at a time, for one more forward.
"""

from __future__ import annotations

import weakref

from .. import _core, random
from .._core import Tensor
from ..autograd.function import Function
from ..autograd.grad_mode import enable_grad, no_grad
from ..autograd.graph import saved_tensors_hooks

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

__all__ = [
    "CheckpointError",
    "checkpoint",
    "checkpoint_sequential",
    "noop_context_fn",
    "set_checkpoint_debug_enabled",
    "set_checkpoint_early_stop",
]


class CheckpointError(RuntimeError):
    """What was computed again is not what the forward had saved."""


class _Block:
    """A ``with`` block that does nothing."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass


def noop_context_fn() -> tuple[Any, Any]:
    """Return two ``with`` blocks that do nothing."""
    return _Block(), _Block()


_early_stop: bool | None = None
_debug: bool | None = None


class set_checkpoint_early_stop:
    """A ``with`` block that says whether recomputation ends once it has what is needed."""

    def __init__(self, enable: bool) -> None:
        self.enable = enable

    def __enter__(self) -> None:
        global _early_stop
        self._before, _early_stop = _early_stop, self.enable

    def __exit__(self, *exc: object) -> None:
        global _early_stop
        _early_stop = self._before


class set_checkpoint_debug_enabled:
    """A ``with`` block in which ``debug`` of `checkpoint` is as said here."""

    def __init__(self, enabled: bool | None) -> None:
        self.enabled = enabled

    def __enter__(self) -> None:
        global _debug
        self._before, _debug = _debug, self.enabled

    def __exit__(self, *exc: object) -> None:
        global _debug
        _debug = self._before


def _metadata(x: Tensor) -> dict[str, Any]:
    return {"shape": x.shape, "dtype": x.dtype, "device": x.device}


_DETERMINISM_CHECKS: dict[str, Callable[[Tensor], Any]] = {
    "default": _metadata,
    "none": lambda x: None,  # noqa: ARG005
}


class _Args:
    """Arguments for a second call: what they are beside tensors, and which of those need grads."""

    def __init__(self, args: tuple[Any, ...]) -> None:
        self.others = [None if isinstance(a, Tensor) else a for a in args]
        self.places = [i for i, a in enumerate(args) if isinstance(a, Tensor)]
        self.tensors = [args[i] for i in self.places]
        self.require = [t.requires_grad for t in self.tensors]

    def release(self) -> list[Tensor]:
        """Hand the tensors over to who keeps them."""
        tensors, self.tensors = self.tensors, []
        return tensors

    def again(self, tensors: Sequence[Any]) -> list[Any]:
        """Return all arguments, tensors outside of the graph."""
        args = list(self.others)
        for i, t, require in zip(self.places, tensors, self.require, strict=True):
            args[i] = t.detach().requires_grad_(require)
        return args


class _StopError(Exception):
    """Everything that is needed has been computed again."""

    def __init__(self, frame: _Frame) -> None:
        self.frame = frame


class _Holder:
    """Stands in for a tensor that an operation saved."""

    __slots__ = ("__weakref__", "frame", "value")

    def __init__(self, frame: _Frame) -> None:
        self.frame = frame
        self.value: Tensor | None = None


class _Frame:
    """One call: how to run it again, and what its operations saved, in their order."""

    def __init__(
        self,
        run: Callable[..., None],
        args: tuple[Any, ...],
        metadata: Callable[[Tensor], Any],
        early_stop: bool,
        debug: bool,
    ) -> None:
        self.run, self.metadata, self.debug = run, metadata, debug
        self.early_stop = early_stop
        self.done = False
        self.args = _Args(args)
        self.inputs = _core.SavedInputs(self.args.release())
        self.holders: list[weakref.ref[_Holder]] = []
        self.metas: list[Any] = []
        self.stacks: list[str] = []

    def pack(self, x: Tensor) -> _Holder:
        holder = _Holder(self)
        self.holders.append(weakref.ref(holder))
        self.metas.append(self.metadata(x))
        if self.debug:
            self.stacks.append(_stack())
        return holder

    def unpack(self, holder: _Holder) -> Tensor:
        if holder.value is None:
            self.recompute()
        value, holder.value = holder.value, None
        if value is None:
            raise CheckpointError("checkpoint: a saved tensor was not computed again")
        return value

    def recompute(self) -> None:
        args = self.args.again(self.inputs.get())
        expected = len(self.holders)
        metas: list[Any] = []
        stacks: list[str] = []

        def pack(x: Tensor) -> Tensor:
            at = len(metas)
            metas.append(self.metadata(x))
            if self.debug:
                stacks.append(_stack())
            x = x.detach()
            if at < expected:
                holder = self.holders[at]()
                if holder is not None:
                    holder.value = x
                if at + 1 == expected and self.early_stop and self.done:
                    raise _StopError(self)
            elif self.done:
                raise CheckpointError(
                    "wengert.utils.checkpoint: trying to save more tensors during recomputation "
                    f"than during the original forward pass.{self.explained(stacks)}"
                )
            return x

        try:
            with enable_grad(), saved_tensors_hooks(pack, lambda x: x):
                self.run(*args)
        except _StopError as stop:
            if stop.frame is not self:
                raise
        if len(metas) != expected:
            raise CheckpointError(
                "wengert.utils.checkpoint: A different number of tensors was saved during the "
                "original forward and recomputation.\n"
                f"Number of tensors saved during forward: {expected}\n"
                f"Number of tensors saved during recomputation: {len(metas)}."
                f"{self.explained(stacks)}"
            )
        different = [
            f"tensor at position {i}:\nsaved metadata: {a}\nrecomputed metadata: {b}\n"
            for i, (a, b) in enumerate(zip(self.metas, metas, strict=True))
            if a != b
        ]
        if different:
            raise CheckpointError(
                "wengert.utils.checkpoint: Recomputed values for the following tensors have "
                f"different metadata than during the forward pass.\n{''.join(different)}"
                f"{self.explained(stacks)}"
            )

    def explained(self, stacks: list[str]) -> str:
        if not self.debug:
            return "\nPass debug=True to checkpoint to see where each tensor was saved."
        both = (("original forward", self.stacks), ("recomputation", stacks))
        return "".join(
            f"\n\nTensor {i} saved during the {when}:\n{stack}"
            for when, each in both
            for i, stack in enumerate(each)
        )


def _stack() -> str:
    import traceback

    return "".join(traceback.format_stack()[:-2])


def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    use_reentrant: bool = False,
    context_fn: Callable[[], tuple[Any, Any]] = noop_context_fn,
    determinism_check: str = "default",
    debug: bool = False,
    early_stop: bool = True,
    preserve_rng_state: bool = True,
    **kwargs: Any,
) -> Any:
    """Call a function without keeping what its operations save; a backward calls it again.

    Parameters
    ----------
    function, args, kwargs
        What to call. Tensors among args are kept, as an operation keeps its inputs.
    use_reentrant
        Whether to use a `Function` whose backward runs another one inside. It knows neither
        ``autograd.grad`` nor keywords, and needs an argument that requires grad.
    context_fn
        Returns two ``with`` blocks, for the forward and for the recomputation.
    determinism_check
        "default": shapes, dtypes and devices of what is saved must be those of the forward; "none".
    debug
        Whether an error shows where each tensor was saved, in both runs.
    early_stop
        Whether recomputation ends once it has what is needed.
    preserve_rng_state
        Whether the recomputation draws the same random numbers.

    Returns
    -------
    What the function returns.

    Raises
    ------
    CheckpointError
        In the backward: if the recomputation saves other tensors than the forward did.
    ValueError
        If an argument is unknown, or not for this use_reentrant.
    """
    debug = debug if _debug is None else _debug
    if use_reentrant:
        if kwargs:
            raise ValueError("Unexpected keyword arguments: " + ",".join(kwargs))
        if context_fn is not noop_context_fn or debug:
            raise ValueError(
                "Passing `context_fn` or `debug` is only supported when use_reentrant=False."
            )
        return _Reentrant.apply(function, preserve_rng_state, *args)
    if determinism_check not in _DETERMINISM_CHECKS:
        raise ValueError(
            f"determinism_check should be one of {list(_DETERMINISM_CHECKS)}, but got "
            f"{determinism_check}"
        )
    forward_context, recompute_context = context_fn()
    state = random.get_rng_state() if preserve_rng_state else None

    def run(*again: Any) -> None:
        with random.fork_rng(enabled=state is not None):
            if state is not None:
                random.set_rng_state(state)
            with recompute_context:
                function(*again, **kwargs)

    if not _core.records():
        return function(*args, **kwargs)
    stops = early_stop if _early_stop is None else _early_stop
    frame = _Frame(run, args, _DETERMINISM_CHECKS[determinism_check], stops, debug)
    with saved_tensors_hooks(frame.pack, frame.unpack), forward_context:
        result = function(*args, **kwargs)
    frame.done = True
    return result


class _Reentrant(Function):
    """The call as one operation, whose backward runs it again with a graph of its own."""

    @staticmethod
    def forward(ctx: Any, function: Any, preserve_rng_state: bool, *args: Any) -> Any:
        ctx.function = function
        ctx.state = random.get_rng_state() if preserve_rng_state else None
        ctx.args = _Args(args)
        ctx.save_for_backward(*ctx.args.release())
        with no_grad():
            return function(*args)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        if _core.walk_is_filtered():
            raise RuntimeError(
                "When use_reentrant=True, wengert.utils.checkpoint is incompatible with .grad() or "
                "passing an `inputs` parameter to .backward(). To resolve this error, you can "
                "either set use_reentrant=False, or call .backward() without passing the `inputs` "
                "argument."
            )
        args = ctx.args.again(ctx.saved_tensors)
        with random.fork_rng(enabled=ctx.state is not None), enable_grad():
            if ctx.state is not None:
                random.set_rng_state(ctx.state)
            result = ctx.function(*args)
        outputs = result if isinstance(result, (tuple, list)) else (result,)
        pairs = [
            (out, grad)
            for out, grad in zip(outputs, grads, strict=True)
            if isinstance(out, Tensor) and out.requires_grad
        ]
        if not pairs:
            raise RuntimeError(
                "none of output has requires_grad=True, this checkpoint() is not necessary"
            )
        _core.backward([o for o, _ in pairs], [g for _, g in pairs], False, False, [])
        return (None, None, *(a.grad if isinstance(a, Tensor) else None for a in args))


def checkpoint_sequential(
    functions: Any,
    segments: int,
    input: Tensor,
    use_reentrant: bool = False,
    preserve_rng_state: bool = True,
) -> Any:
    """Call functions one after another, with a checkpoint around every segment but the last.

    Parameters
    ----------
    functions
        A `nn.Sequential`, or a sequence of modules or functions.
    segments
        How many pieces to cut them into.
    input
        What the first is called with.
    use_reentrant, preserve_rng_state
        As in `checkpoint`.
    """
    each = list(functions)

    def piece(start: int, end: int) -> Callable[[Any], Any]:
        def run(x: Any) -> Any:
            for fn in each[start:end]:
                x = fn(x)
            return x

        return run

    size = len(each) // segments
    last = size * (segments - 1)
    for start in range(0, last, size) if size else ():
        input = checkpoint(
            piece(start, start + size),
            input,
            use_reentrant=use_reentrant,
            preserve_rng_state=preserve_rng_state,
        )
    return piece(last, len(each))(input)
