"""Backpropagation on request, and the switch that records operations or not."""

from __future__ import annotations

from .. import _core
from .grad_mode import enable_grad as enable_grad
from .grad_mode import inference_mode as inference_mode
from .grad_mode import no_grad as no_grad
from .grad_mode import set_grad_enabled as set_grad_enabled

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from .._core import Tensor

    Tensors = Tensor | Sequence[Tensor]


def _listed(tensors: Any) -> list[Any]:
    if tensors is None:
        return []
    if not isinstance(tensors, (tuple, list)):
        return [tensors]
    if hasattr(tensors, "output_nr"):  # a GradientEdge
        return [_core.at_edge(tensors[0], tensors[1])]
    return [_core.at_edge(t[0], t[1]) if isinstance(t, tuple) else t for t in tensors]


def backward(
    tensors: Tensors,
    grad_tensors: Tensors | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    inputs: Tensors | None = None,
) -> None:
    """Pull gradients of tensors back into the leaves that they were computed from.

    Raises
    ------
    RuntimeError
        If a tensor has no history, or a gradient is missing or of the wrong shape.
    """
    if inputs is not None and len(_listed(inputs)) == 0:
        raise RuntimeError("backward: `inputs` argument to `backward()` cannot be empty")
    if tensors is None:
        raise TypeError("backward: expected tensors, got None")
    retain = create_graph if retain_graph is None else retain_graph
    _core.backward(_listed(tensors), _listed(grad_tensors), retain, create_graph, _listed(inputs))


def grad(
    outputs: Tensors,
    inputs: Tensors,
    grad_outputs: Tensors | None = None,
    retain_graph: bool | None = None,
    create_graph: bool = False,
    allow_unused: bool | None = None,
    is_grads_batched: bool = False,
    materialize_grads: bool = False,
) -> tuple[Tensor, ...]:
    """Return the gradients of the sum of outputs, weighted by grad_outputs, by each input.

    Only what lies between outputs and inputs is walked; no leaf's ``grad`` changes.

    Parameters
    ----------
    outputs, inputs
        Tensors, or sequences of them.
    grad_outputs
        A gradient for each output; 1 for those of a single element where left out.
    retain_graph, create_graph
        As in `Tensor.backward`.
    allow_unused
        Whether an input that no output depends on gives None instead of an error.
    is_grads_batched
        Whether grad_outputs have one more dimension, the first, and each result gets it, too.
    materialize_grads
        Whether it gives zeros.

    Raises
    ------
    RuntimeError
        If an input is not reached and allow_unused is not set, or a tensor has no history.
    """
    if allow_unused is False and materialize_grads:
        raise ValueError("grad: expected allow_unused to be True or None with materialize_grads")
    if outputs is None or inputs is None:
        raise TypeError("grad: expected outputs and inputs, got None")
    if len(_listed(inputs)) == 0:
        raise RuntimeError("grad: `inputs` argument to `grad()` cannot be empty")
    retain = create_graph if retain_graph is None else retain_graph
    result = _core.grad(
        _listed(outputs), _listed(inputs), _listed(grad_outputs), retain, create_graph,
        bool(allow_unused), materialize_grads, is_grads_batched,
    )  # fmt: skip
    return tuple(result)


class _VariableType(type):
    def __instancecheck__(cls, instance: object) -> bool:
        return isinstance(instance, _core.Tensor)


class Variable(metaclass=_VariableType):
    """A tensor, by the name it had in PyTorch's early days.

    Parameters
    ----------
    data
        A tensor, which is taken without its history.
    requires_grad, volatile
        Whether operations on it are recorded; volatile is accepted and ignored.
    """

    def __new__(  # type: ignore[misc]
        cls, data: Tensor, requires_grad: bool = False, volatile: bool = False
    ) -> Tensor:
        """Return a tensor on the same memory."""
        del volatile
        made = data.detach()
        return made.requires_grad_() if requires_grad else made


# Loaded when first named.
_LATER = {
    "Function": "function",
    "anomaly_mode": "anomaly_mode",
    "detect_anomaly": "anomaly_mode",
    "forward_ad": "forward_ad",
    "function": "function",
    "functional": "functional",
    "graph": "graph",
    "is_anomaly_check_nan_enabled": "anomaly_mode",
    "is_anomaly_enabled": "anomaly_mode",
    "set_detect_anomaly": "anomaly_mode",
}


def __getattr__(name: str) -> Any:
    # They need NumPy, so they are loaded at first use.
    if name in ("gradcheck", "gradgradcheck"):
        from .. import testing

        return getattr(testing, name)
    home = _LATER.get(name)
    if home is not None:
        import importlib

        module = importlib.import_module(f"{__name__}.{home}")
        return module if name == home else getattr(module, name)
    raise AttributeError(f"module 'wengert.autograd' has no attribute {name!r}")
