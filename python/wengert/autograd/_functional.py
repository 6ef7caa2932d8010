"""What the functions of `functional` share: checks of their arguments, and gradients."""

from __future__ import annotations

from .. import _core
from . import grad

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._core import Tensor

    Tensors = tuple[Tensor, ...]
    Function = Callable[..., Any]


_OUTPUTS = "outputs of the user-provided function"
STRICT = "This is not allowed in strict mode"

# --- arguments ---------------------------------------------------------------------------------


def listed(given: Any, what: str, name: str) -> tuple[bool, Tensors]:
    """Whether a tuple was given, and the tensors as a tuple."""
    is_tuple = isinstance(given, tuple)
    tensors = given if is_tuple else (given,)
    for i, t in enumerate(tensors):
        if not isinstance(t, _core.Tensor):
            which = f"value at index {i}" if is_tuple else f"given {what}"
            raise TypeError(
                f"The {what} given to {name} must be either a Tensor or a tuple of Tensors but the "
                f"{which} has type {type(t)}."
            )
    return is_tuple, tensors


def fresh(tensors: Tensors, create_graph: bool, requires_grad: bool = True) -> Tensors:
    """New tensors of the same values: the function may have captured those that were given."""
    return tuple(
        t.view_as(t)
        if create_graph and t.requires_grad
        else t.detach().requires_grad_(requires_grad)
        for t in tensors
    )


def checked_vector(
    v: Any, like: Tensors, like_is_tuple: bool, name: str, create_graph: bool
) -> Tensors | None:
    """The vector to multiply with, checked; None stands for 1."""
    if v is None:
        return None
    vector = fresh(listed(v, "v", name)[1], create_graph, requires_grad=False)
    if len(vector) != len(like):
        raise RuntimeError(
            f"v is a tuple of invalid length: should be {len(like)} but got {len(vector)}."
            if like_is_tuple
            else "The given v should contain a single Tensor."
        )
    for i, (t, other) in enumerate(zip(vector, like, strict=True)):
        if t.shape != other.shape:
            where = f"Entry {i} in " if like_is_tuple else ""
            raise RuntimeError(
                f"{where}v has invalid size: should be {other.shape} but got {t.shape}."
            )
    return vector


def single_element(tensors: Tensors) -> bool:
    return len(tensors) == 1 and tensors[0].numel() == 1


def needs_vector(v: Any, inputs: Tensors) -> None:
    if v is None and not single_element(inputs):
        raise RuntimeError(
            "The vector v can only be None if the input to the user-provided function is a single "
            "Tensor with a single element."
        )


def called(
    func: Function, inputs: Tensors, name: str, strict: bool, scalar: bool = False
) -> tuple[bool, Tensors]:
    """What the function returns, checked."""
    is_tuple, outputs = listed(func(*inputs), _OUTPUTS, name)
    if strict:
        for i, out in enumerate(outputs):
            if not out.requires_grad:
                raise RuntimeError(
                    f"Output {i} of the user-provided function does not require gradients. The "
                    "outputs must be computed in a differentiable manner from the input when "
                    "running in strict mode."
                )
    if scalar and is_tuple:
        raise RuntimeError(f"The function given to {name} should return a single Tensor")
    if scalar and outputs[0].numel() != 1:
        raise RuntimeError(
            f"The Tensor returned by the function given to {name} should contain a single element"
        )
    return is_tuple, outputs


def check_dependence(gradients: Sequence[Tensor | None], independent: str) -> None:
    """In strict mode, each gradient must exist and depend on the inputs."""
    for i, g in enumerate(gradients):
        if g is None:
            raise RuntimeError(
                f"The output of the user-provided function is independent of input {i}. {STRICT}."
            )
        if not g.requires_grad:
            raise RuntimeError(independent.format(i))


JACOBIAN_IS_CONSTANT = (
    "While computing the hessian, found that the jacobian of the user-provided function with "
    f"respect to input {{}} is independent of the input. {STRICT}. You should ensure that your "
    "function is twice differentiable and that the jacobian depends on the inputs (this would be "
    "violated by a linear function for example)."
)
GRADIENT_IS_CONSTANT = (
    "The gradient with respect to input {} is independent of the inputs of the user-provided "
    f"function. {STRICT}."
)
OF_INPUT = f"The {{}} of the user-provided function is independent of input {{}}. {STRICT}"


# --- gradients ---------------------------------------------------------------------------------


def pull(
    outputs: Sequence[Tensor | None],
    inputs: Tensors,
    weights: Sequence[Tensor] | None = None,
    create_graph: bool = False,
    retain_graph: bool | None = None,
    batched: bool = False,
) -> tuple[Tensor | None, ...]:
    """Gradients by the inputs of those outputs that have any; None where there is no way."""
    used = [i for i, out in enumerate(outputs) if out is not None and out.requires_grad]
    if not used:
        return (None,) * len(inputs)
    return grad(
        [outputs[i] for i in used],  # type: ignore[misc]
        inputs,
        None if weights is None else [weights[i] for i in used],
        retain_graph,
        create_graph,
        allow_unused=True,
        is_grads_batched=batched,
    )


def filled(
    gradients: tuple[Tensor | None, ...],
    like: Tensors,
    strict: bool,
    create_graph: bool,
    missing: str,
    what: str,
) -> Tensors:
    """Zeros where there is no gradient, which in strict mode is an error."""
    filled = []
    for i, (g, t) in enumerate(zip(gradients, like, strict=True)):
        if g is None and strict:
            raise RuntimeError(missing.format(i))
        if strict and create_graph and g is not None and not g.requires_grad:
            raise RuntimeError(f"{OF_INPUT.format(what, i)} when create_graph=True.")
        filled.append(_core.zeros_like(t) if g is None else g)
    return tuple(filled)


def returned(tensors: Any, create_graph: bool) -> Any:
    """Without their history, unless that was asked for."""
    if isinstance(tensors, _core.Tensor):
        return tensors if create_graph else tensors.detach()
    return tuple(returned(t, create_graph) for t in tensors)


def unlisted(tensors: Tensors, is_tuple: bool) -> Any:
    return tensors if is_tuple else tensors[0]


def unlisted_matrix(
    rows: Sequence[Sequence[Tensor]], outputs_are_tuple: bool, inputs_are_tuple: bool
) -> Any:
    found = tuple(tuple(row) if inputs_are_tuple else row[0] for row in rows)
    return found if outputs_are_tuple else found[0]


def pullback(outputs: Tensors, inputs: Tensors) -> tuple[Tensors, tuple[Tensor | None, ...]]:
    """Zeros like the outputs, and the gradients by the inputs as a function of them.

    That function is linear: its transpose is the derivative of the outputs, and its gradient is
    therefore what pushes a vector forward.
    """
    weights = tuple(_core.zeros_like(out).requires_grad_() for out in outputs)
    return weights, pull(outputs, inputs, weights, create_graph=True)
