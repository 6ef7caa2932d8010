"""The recorded graph: how saved tensors are kept, its nodes and edges, hooks on several tensors."""

from __future__ import annotations

import threading
import weakref
from collections import namedtuple

from .. import _core
from .._core import Node, Tensor

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any

__all__ = [
    "GradientEdge",
    "Node",
    "allow_mutation_on_saved_tensors",
    "disable_saved_tensors_hooks",
    "get_gradient_edge",
    "increment_version",
    "register_multi_grad_hook",
    "save_on_cpu",
    "saved_tensors_hooks",
]


class saved_tensors_hooks:
    """A ``with`` block in which what operations save goes through two functions.

    ``pack_hook(tensor)`` is called when an operation saves a tensor, and what it returns is kept in
    its place; ``unpack_hook`` gets that when a backward needs the tensor, and returns one of the
    same values, shape and dtype. Of nested blocks the innermost packs. Changes in place of what was
    packed are not noticed: that is the hooks' business. Exceptions travel to the caller of the
    operation or of the backward.

    Parameters
    ----------
    pack_hook, unpack_hook
        The functions. They are called without recording.

    Raises
    ------
    RuntimeError
        If hooks are disabled (`disable_saved_tensors_hooks`), or pack_hook changes its argument.
    """

    def __init__(
        self, pack_hook: Callable[[Tensor], Any], unpack_hook: Callable[[Any], Tensor]
    ) -> None:
        self.pack_hook = pack_hook
        self.unpack_hook = unpack_hook

    def __enter__(self) -> None:
        _core.push_saved_hooks(self.pack_hook, self.unpack_hook)

    def __exit__(self, *exc: object) -> None:
        _core.pop_saved_hooks()


class save_on_cpu(saved_tensors_hooks):
    """A ``with`` block in which what operations save waits in the processor's memory.

    Parameters
    ----------
    pin_memory
        Whether it waits in pinned memory, to and from which a CUDA device copies by itself.
    device_type
        Taken as PyTorch takes it.
    """

    def __init__(self, pin_memory: bool = False, device_type: str = "cuda") -> None:
        del device_type
        how: Any = {"device": "cpu", "pin_memory": pin_memory}

        def pack(tensor: Tensor) -> tuple[Any, Tensor]:
            if not (pin_memory and tensor.is_cuda):
                return tensor.device, tensor.cpu()
            return tensor.device, _core.empty(tensor.shape, **how, dtype=tensor.dtype).copy_(tensor)

        def unpack(packed: tuple[Any, Tensor]) -> Tensor:
            device, tensor = packed
            return tensor.to(device, non_blocking=pin_memory)

        super().__init__(pack, unpack)


class disable_saved_tensors_hooks:
    """A ``with`` block in which to set saved-tensor hooks raises RuntimeError.

    Parameters
    ----------
    error_message
        What the error says.
    """

    def __init__(self, error_message: str) -> None:
        self.message = error_message

    def __enter__(self) -> None:
        self._before = _core.disable_saved_hooks(self.message)

    def __exit__(self, *exc: object) -> None:
        _core.disable_saved_hooks(self._before)


GradientEdge = namedtuple("GradientEdge", ["node", "output_nr", "ownership_token"], defaults=[None])
GradientEdge.__doc__ = "A place in the graph where gradients arrive: an output of a node."
GradientEdge.node.__doc__ = "The node, which keeps the graph behind it."
GradientEdge.output_nr.__doc__ = "Which of its outputs."
GradientEdge.ownership_token.__doc__ = "Nothing: taken as PyTorch takes it."


def get_gradient_edge(tensor: Tensor) -> GradientEdge:
    """Return where a tensor's gradient goes; ``grad`` and ``backward`` take it in its place.

    Raises
    ------
    RuntimeError
        If the tensor does not require grad.
    """
    return GradientEdge(*_core.gradient_edge(tensor))


def increment_version(tensor: Tensor | Iterable[Tensor]) -> None:
    """Count a change in place that wengert could not see, of one tensor or several."""
    for t in (tensor,) if isinstance(tensor, Tensor) else tensor:
        if not t.is_inference():
            _core.increment_version(t)


class _MultiHandle:
    def __init__(self, handles: list[Any]) -> None:
        self.handles = handles

    def remove(self) -> None:
        """Take the hook away."""
        for handle in self.handles:
            handle.remove()

    def __enter__(self) -> _MultiHandle:
        return self

    def __exit__(self, *exc: object) -> None:
        self.remove()


def register_multi_grad_hook(
    tensors: Sequence[Tensor], fn: Callable[[Any], None], *, mode: str = "all"
) -> _MultiHandle:
    """Call a function in a backward with the gradients of several tensors.

    Parameters
    ----------
    tensors
        Tensors that require grad.
    fn
        With mode "all": called with a list of gradients, None for tensors that the backward does
        not reach, once all of them have arrived. With mode "any": called with the first.

    Raises
    ------
    ValueError
        If mode is neither.
    """
    if mode not in ("all", "any"):
        raise ValueError(f"Expects mode to be one of ('all', 'any') but got {mode}")
    lock = threading.Lock()
    if mode == "any":
        seen: set[int] = set()

        def first(grad: Tensor) -> None:
            walk = _core.walk_number()
            with lock:
                if walk in seen:
                    return
                seen.clear()  # walks are numbered once; an older one is over
                seen.add(walk)
            fn(grad)

        return _MultiHandle([t.register_hook(first) for t in tensors if t.requires_grad])

    handles: list[Any] = []  # which do not own the nodes, as these own the hooks
    arrived: dict[int, list[Any]] = {}  # by walk: gradients still to come, and all

    def hook_of(index: int) -> Callable[[Tensor], None]:
        def hook(grad: Tensor) -> None:
            walk = _core.walk_number()
            with lock:
                if walk not in arrived:
                    arrived[walk] = [sum(h.reached() for h in handles), [None] * len(handles)]
                state = arrived[walk]
                state[0] -= 1
                state[1][index] = grad
                if state[0] == 0:
                    del arrived[walk]
            if state[0] == 0:
                fn(state[1])

        return hook

    handles += [_core.add_tensor_hook(t, hook_of(i)) for i, t in enumerate(tensors)]
    return _MultiHandle(handles)


class _Kept:
    """A saved tensor under `allow_mutation_on_saved_tensors`: the original until it changes."""

    __slots__ = ("__weakref__", "context", "storage", "value")

    def __init__(self, context: _AllowMutation, value: Tensor, storage: int) -> None:
        self.context, self.value, self.storage = context, value, storage


class _AllowMutation:
    """What the context of `allow_mutation_on_saved_tensors` gives; ``clear`` forgets its graphs."""

    def __init__(self) -> None:
        self.by_storage: dict[int, list[weakref.ref[_Kept]]] = {}
        self.active = True

    def pack(self, tensor: Tensor) -> _Kept:
        storage = _core.storage_id(tensor)
        kept = _Kept(self, tensor.detach(), storage)
        waiting = self.by_storage.setdefault(storage, [])
        waiting[:] = [ref for ref in waiting if ref() is not None]
        waiting.append(weakref.ref(kept))
        return kept

    def before_change(self, tensor: Tensor) -> None:
        for ref in self.by_storage.pop(_core.storage_id(tensor), ()):
            kept = ref()
            # Memory may have been freed and used again since.
            if kept is not None and _core.storage_id(kept.value) == kept.storage:
                kept.value = kept.value.clone()

    def unpack(self, kept: _Kept) -> Tensor:
        if not self.active:
            raise AssertionError(
                "Trying to backward outside of the 'allow_mutation_on_saved_tensors' context in "
                "which the graph was originally recorded."
            )
        return kept.value

    def clear(self) -> None:
        """Forget what was saved."""
        self.by_storage.clear()


class allow_mutation_on_saved_tensors:
    """A ``with`` block in which what operations have saved may be changed in place.

    A saved tensor is copied right before the change. The backward must run inside the block. The
    optimizers' fused steps are not seen.
    """

    def __enter__(self) -> _AllowMutation:
        self._context = context = _AllowMutation()
        _core.push_saved_hooks(context.pack, context.unpack, context.before_change)
        return context

    def __exit__(self, *exc: object) -> None:
        _core.pop_saved_hooks()
        self._context.active = False
        self._context.clear()
