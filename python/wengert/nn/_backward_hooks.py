"""Functions that are called when gradients pass a module. Loaded with the first of them.

For full hooks, the arguments and the results of a call each pass through one node of the tape that
does nothing; what passes back through the two nodes is what the hooks see.
"""

from __future__ import annotations

from wengert import _core
from wengert._core import Tensor
from wengert.autograd.function import Function

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from ._hooks import CallHooks
    from .module import Module

    Hook = Callable[..., Any]
    Gradients = tuple[Tensor | None, ...]


class BackwardHookFunction(Function):
    """Passes tensors on."""

    @staticmethod
    def forward(ctx: Any, *tensors: Tensor) -> tuple[Tensor, ...]:
        """Return the tensors."""
        ctx.mark_non_differentiable(*[t for t in tensors if not t.requires_grad])
        return tensors

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor | None) -> Gradients:  # noqa: ARG004
        """Return the gradients."""
        return gradients


def _spread(values: Gradients, places: list[int], size: int) -> Gradients:
    """Gradients of tensors as gradients of all arguments, or of all results."""
    spread: list[Tensor | None] = [None] * size
    for place, value in zip(places, values, strict=True):
        spread[place] = value
    return tuple(spread)


class Watch:
    """The hooks around the backward of one call of a module."""

    def __init__(self, module: Module, before: list[Hook], full: list[Hook], old: list[Hook]):
        self.module = module
        self.before = before
        self.full = full
        self.old = old
        self.grad_outputs: Gradients | None = None
        self.sources: list[int] | None = None  # places of tensors among the arguments
        self.num_args = 0

    def _pass_on(
        self, values: tuple[Any, ...], attach: Callable[[Any], Any]
    ) -> tuple[Any, list[int] | None]:
        """Send the tensors through a node, if any requires grad, and hand the node to attach."""
        places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
        tensors = [values[i] for i in places]
        if not (_core.records() and any(t.requires_grad for t in tensors)):
            return values, None
        passed = BackwardHookFunction.apply(*tensors)
        attach(next(t.grad_fn for t in passed if t.grad_fn is not None))
        changed = list(values)
        for place, t in zip(places, passed, strict=True):
            changed[place] = t
        return tuple(changed) if type(values) is tuple else type(values)(*changed), places

    def inputs(self, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """Watch the gradients by the arguments."""
        if not (self.full or self.before):
            return args
        self.num_args = len(args)
        passed, self.sources = self._pass_on(
            args, lambda node: node.register_hook(self._after_backward)
        )
        return passed

    def outputs(self, args: tuple[Any, ...], result: Any) -> Any:
        """Watch the gradients by the results."""
        if self.full or self.before:
            if not isinstance(result, (Tensor, tuple)):
                _warn(
                    "For backward hooks to be called, module output should be a Tensor or a tuple "
                    f"of Tensors but received {type(result)}"
                )
            values = result if isinstance(result, tuple) else (result,)

            def attach(node: Any) -> None:
                places = [i for i, value in enumerate(values) if isinstance(value, Tensor)]
                node.register_hook(
                    lambda _, grads: self._before_backward(grads, places, len(values))
                )

            passed, _ = self._pass_on(values, attach)
            result = passed if isinstance(result, tuple) else passed[0]
        if self.old:
            self._attach_old(args, result)
        return result

    def _before_backward(self, grads: Gradients, places: list[int], size: int) -> Gradients:
        arrived = _spread(grads, places, size)
        for hook in self.before:
            changed = hook(self.module, arrived)
            if changed is None:
                continue
            if isinstance(changed, Tensor):
                changed = (changed,)
            if len(changed) != size:
                raise RuntimeError(
                    "Backward pre hook returned an invalid number of grad_output, got "
                    f"{len(changed)}, but expected {size}"
                )
            arrived = tuple(changed)
        self.grad_outputs = arrived
        if self.sources is None:
            _warn(
                "Full backward hook is firing when gradients are computed with respect to module "
                "outputs since no inputs require gradients."
            )
            for hook in self.full:
                changed = hook(self.module, (None,) * self.num_args, arrived)
                if changed is not None and not (
                    isinstance(changed, tuple) and all(c is None for c in changed)
                ):
                    raise RuntimeError(
                        "Backward hook for Modules where no input requires gradient should always "
                        "return None or None for all gradients."
                    )
            self.grad_outputs = None
        return tuple(arrived[place] for place in places)

    def _after_backward(self, grads: Gradients, _: Gradients) -> Gradients | None:
        # Where a gradient reaches the arguments past the results, as in a second derivative, there
        # is nothing to tell.
        if self.grad_outputs is None or self.sources is None:
            return None
        leaving = _spread(grads, self.sources, self.num_args)
        for hook in self.full:
            changed = hook(self.module, leaving, self.grad_outputs)
            if changed is None:
                continue
            if isinstance(changed, Tensor):
                changed = (changed,)
            if len(changed) != self.num_args:
                raise RuntimeError(
                    "Backward hook returned an invalid number of grad_input, got "
                    f"{len(changed)}, but expected {self.num_args}"
                )
            leaving = tuple(changed)
        self.grad_outputs = None
        return tuple(leaving[place] for place in self.sources)

    # --- hooks of the old kind: they watch the last node of the forward alone --------------------

    def _attach_old(self, args: tuple[Any, ...], result: Any) -> None:
        last = result
        while not isinstance(last, Tensor):
            if isinstance(last, dict):
                last = next(value for value in last.values() if isinstance(value, Tensor))
            else:
                last = last[0]
        node = last.grad_fn
        if node is None:
            return
        import weakref

        alive = weakref.ref(self.module)

        def called(hook: Hook) -> Hook:
            def with_module(grad_inputs: Any, grad_outputs: Any) -> Any:
                module = alive()
                if module is None:
                    raise RuntimeError("You are trying to call the hook of a dead Module!")
                return hook(module, grad_inputs, grad_outputs)

            return with_module

        for hook in self.old:
            node.register_hook(called(hook))
        shortcoming = _shortcoming(args, result, node)
        if shortcoming is not None:
            _warn(
                f"Using {shortcoming}. Please use register_full_backward_hook to get the "
                "documented behavior.",
                FutureWarning,
            )


def _shortcoming(args: tuple[Any, ...], result: Any, node: Any) -> str | None:
    """What a hook of the old kind will not see, if anything."""
    results = (result,) if isinstance(result, Tensor) else result
    gone = "is deprecated and will be removed in future versions. This hook will be missing some"
    if not isinstance(results, tuple) or not all(isinstance(r, Tensor) for r in results):
        return (
            "non-full backward hooks on a Module that does not return a single Tensor or a tuple "
            f"of Tensors {gone} of the grad_output"
        )
    if not all(isinstance(a, Tensor) for a in args):
        return (
            "non-full backward hooks on a Module that does not take as input a single Tensor or a "
            f"tuple of Tensors {gone} of the grad_input"
        )
    if len({r.grad_fn for r in results if r.grad_fn is not None}) > 1:
        return (
            "a non-full backward hook when outputs are generated by different autograd Nodes "
            f"{gone} grad_output"
        )
    if {a.grad_fn for a in args if a.grad_fn is not None} != {n for n, _ in node.next_functions}:
        return (
            "a non-full backward hook when the forward contains multiple autograd Nodes "
            f"{gone} grad_input"
        )
    return None


def _warn(text: str, category: type[Warning] = UserWarning) -> None:
    import warnings

    warnings.warn(text, category, stacklevel=5)


def watch_of(module: Module, hooks: tuple[CallHooks, ...]) -> Watch:
    """Return what is to be called around the backward of a call of a module."""
    before = [hook for h in hooks for hook in h.before_backward.values()]
    full = [hook for h in hooks if h.full for hook in h.after_backward.values()]
    old = [hook for h in hooks if h.full is False for hook in h.after_backward.values()]
    return Watch(module, before, full, old)
