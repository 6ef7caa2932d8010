"""Whole derivatives of functions: Jacobians, Hessians, and their products with vectors."""

from __future__ import annotations

from .. import _core
from . import enable_grad, grad, set_grad_enabled

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._core import Tensor

    Tensors = tuple[Tensor, ...]
    Function = Callable[..., Any]

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]

_STRICT = "This is not allowed in strict mode"
_OUTPUTS = "outputs of the user-provided function"


# --- arguments ---------------------------------------------------------------------------------


def _listed(given: Any, what: str, name: str) -> tuple[bool, Tensors]:
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


def _fresh(tensors: Tensors, create_graph: bool, requires_grad: bool = True) -> Tensors:
    """New tensors of the same values: the function may have captured those that were given."""
    return tuple(
        t.view_as(t)
        if create_graph and t.requires_grad
        else t.detach().requires_grad_(requires_grad)
        for t in tensors
    )


def _vector(
    v: Any, like: Tensors, like_is_tuple: bool, name: str, create_graph: bool
) -> Tensors | None:
    """The vector to multiply with, checked; None stands for 1."""
    if v is None:
        return None
    vector = _fresh(_listed(v, "v", name)[1], create_graph, requires_grad=False)
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


def _single_element(tensors: Tensors) -> bool:
    return len(tensors) == 1 and tensors[0].numel() == 1


def _needs_vector(v: Any, inputs: Tensors) -> None:
    if v is None and not _single_element(inputs):
        raise RuntimeError(
            "The vector v can only be None if the input to the user-provided function is a single "
            "Tensor with a single element."
        )


def _outputs(
    func: Function, inputs: Tensors, name: str, strict: bool, scalar: bool = False
) -> tuple[bool, Tensors]:
    """What the function returns, checked."""
    is_tuple, outputs = _listed(func(*inputs), _OUTPUTS, name)
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


def _check_dependence(gradients: Sequence[Tensor | None], independent: str) -> None:
    """In strict mode, each gradient must exist and depend on the inputs."""
    for i, g in enumerate(gradients):
        if g is None:
            raise RuntimeError(
                f"The output of the user-provided function is independent of input {i}. {_STRICT}."
            )
        if not g.requires_grad:
            raise RuntimeError(independent.format(i))


_JACOBIAN_IS_CONSTANT = (
    "While computing the hessian, found that the jacobian of the user-provided function with "
    f"respect to input {{}} is independent of the input. {_STRICT}. You should ensure that your "
    "function is twice differentiable and that the jacobian depends on the inputs (this would be "
    "violated by a linear function for example)."
)
_GRADIENT_IS_CONSTANT = (
    "The gradient with respect to input {} is independent of the inputs of the user-provided "
    f"function. {_STRICT}."
)
_OF_INPUT = f"The {{}} of the user-provided function is independent of input {{}}. {_STRICT}"


# --- gradients ---------------------------------------------------------------------------------


def _pulled(
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


def _filled(
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
            raise RuntimeError(f"{_OF_INPUT.format(what, i)} when create_graph=True.")
        filled.append(_core.zeros_like(t) if g is None else g)
    return tuple(filled)


def _returned(tensors: Any, create_graph: bool) -> Any:
    """Without their history, unless that was asked for."""
    if isinstance(tensors, _core.Tensor):
        return tensors if create_graph else tensors.detach()
    return tuple(_returned(t, create_graph) for t in tensors)


def _unlisted(tensors: Tensors, is_tuple: bool) -> Any:
    return tensors if is_tuple else tensors[0]


def _unlisted_matrix(
    rows: Sequence[Sequence[Tensor]], outputs_are_tuple: bool, inputs_are_tuple: bool
) -> Any:
    found = tuple(tuple(row) if inputs_are_tuple else row[0] for row in rows)
    return found if outputs_are_tuple else found[0]


# --- products with vectors ---------------------------------------------------------------------


def vjp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Return what a function returns, and the product of a vector and its Jacobian.

    Parameters
    ----------
    func
        Takes tensors and returns a tensor or a tuple of them.
    inputs
        A tensor or a tuple of them.
    v
        Of the shapes of the outputs; may be left out if the output is one number.
    create_graph
        Whether the results can be differentiated.
    strict
        Whether it is an error, instead of zeros, if an output does not depend on the inputs.

    Raises
    ------
    RuntimeError
        If v does not fit.
    TypeError
        If something else than tensors is given or returned.
    """
    with enable_grad():
        inputs_are_tuple, inputs = _listed(inputs, "inputs", "vjp")
        inputs = _fresh(inputs, create_graph)
        outputs_are_tuple, outputs = _outputs(func, inputs, "vjp", strict)
        vector = _vector(v, outputs, outputs_are_tuple, "vjp", create_graph)
        if vector is None and not _single_element(outputs):
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element."
            )
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = _filled(
            _pulled(outputs, inputs, vector, create_graph),
            inputs, strict, create_graph, f"{_OF_INPUT.format('output', '{}')}.", "jacobian",
        )  # fmt: skip
    return (
        _unlisted(_returned(outputs, create_graph), outputs_are_tuple),
        _unlisted(_returned(product, create_graph), inputs_are_tuple),
    )


def _pullback(outputs: Tensors, inputs: Tensors) -> tuple[Tensors, tuple[Tensor | None, ...]]:
    """Zeros like the outputs, and the gradients by the inputs as a function of them.

    That function is linear: its transpose is the derivative of the outputs, and its gradient is
    therefore what pushes a vector forward.
    """
    weights = tuple(_core.zeros_like(out).requires_grad_() for out in outputs)
    return weights, _pulled(outputs, inputs, weights, create_graph=True)


def jvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Return what a function returns, and the product of its Jacobian and a vector.

    It is the gradient of a gradient: that of `vjp`, which is linear in its vector.

    Parameters
    ----------
    func
        Takes tensors and returns a tensor or a tuple of them.
    inputs
        A tensor or a tuple of them.
    v
        Of the shapes of the inputs; may be left out if the input is one number.
    create_graph
        Whether the results can be differentiated.
    strict
        Whether it is an error, instead of zeros, if an output does not depend on the inputs.

    Raises
    ------
    RuntimeError
        If v does not fit.
    TypeError
        If something else than tensors is given or returned.
    """
    with enable_grad():
        inputs_are_tuple, inputs = _listed(inputs, "inputs", "jvp")
        inputs = _fresh(inputs, create_graph)
        vector = _vector(v, inputs, inputs_are_tuple, "jvp", create_graph)
        _needs_vector(v, inputs)
        outputs_are_tuple, outputs = _outputs(func, inputs, "jvp", strict)
        weights, gradients = _pullback(outputs, inputs)
        if strict:
            _check_dependence(gradients, _GRADIENT_IS_CONSTANT)
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = _filled(
            _pulled(gradients, weights, vector, create_graph),
            outputs,
            strict,
            create_graph,
            "The gradient with respect to the input is independent of entry {} in the grad_outputs "
            "when using the double backward trick to compute forward mode gradients. "
            f"{_STRICT}.",
            "jacobian",
        )
    return (
        _unlisted(_returned(outputs, create_graph), outputs_are_tuple),
        _unlisted(_returned(product, create_graph), outputs_are_tuple),
    )


def vhp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Return what a function returns, a number, and the product of a vector and its Hessian.

    Parameters
    ----------
    func
        Takes tensors and returns a tensor of one element.
    inputs
        A tensor or a tuple of them.
    v
        Of the shapes of the inputs; may be left out if the input is one number.
    create_graph
        Whether the results can be differentiated.
    strict
        Whether it is an error, instead of zeros, if a derivative does not depend on the inputs.

    Raises
    ------
    RuntimeError
        If v does not fit, or the function returns more than a number.
    TypeError
        If something else than tensors is given or returned.
    """
    with enable_grad():
        inputs_are_tuple, inputs = _listed(inputs, "inputs", "vhp")
        inputs = _fresh(inputs, create_graph)
        vector = _vector(v, inputs, inputs_are_tuple, "vhp", create_graph)
        _needs_vector(v, inputs)
        _, outputs = _outputs(func, inputs, "vhp", strict, scalar=True)
        gradients = _pulled(outputs, inputs, create_graph=True)
        if strict:
            _check_dependence(gradients, _JACOBIAN_IS_CONSTANT)
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = _filled(
            _pulled(gradients, inputs, vector, create_graph),
            inputs, strict, create_graph, f"{_OF_INPUT.format('jacobian', '{}')}.", "hessian",
        )  # fmt: skip
    return (
        _returned(outputs[0], create_graph),
        _unlisted(_returned(product, create_graph), inputs_are_tuple),
    )


def hvp(
    func: Function, inputs: Any, v: Any = None, create_graph: bool = False, strict: bool = False
) -> tuple[Any, Any]:
    """Return what a function returns, a number, and the product of its Hessian and a vector.

    It is `vhp`, since Hessians are symmetric, by way of one more gradient: where second
    derivatives are not continuous, it may differ. `vhp` is faster.

    Parameters
    ----------
    func
        Takes tensors and returns a tensor of one element.
    inputs
        A tensor or a tuple of them.
    v
        Of the shapes of the inputs; may be left out if the input is one number.
    create_graph
        Whether the results can be differentiated.
    strict
        Whether it is an error, instead of zeros, if a derivative does not depend on the inputs.

    Raises
    ------
    RuntimeError
        If v does not fit, or the function returns more than a number.
    TypeError
        If something else than tensors is given or returned.
    """
    with enable_grad():
        inputs_are_tuple, inputs = _listed(inputs, "inputs", "hvp")
        inputs = _fresh(inputs, create_graph)
        vector = _vector(v, inputs, inputs_are_tuple, "hvp", create_graph)
        _needs_vector(v, inputs)
        _, outputs = _outputs(func, inputs, "hvp", strict, scalar=True)
        gradients = _pulled(outputs, inputs, create_graph=True)
        if strict:
            _check_dependence(gradients, _JACOBIAN_IS_CONSTANT)
        weights = tuple(_core.zeros_like(t).requires_grad_() for t in inputs)
        twice = _pulled(gradients, inputs, weights, create_graph=True)
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = _filled(
            _pulled(twice, weights, vector, create_graph),
            inputs,
            strict,
            create_graph,
            "The hessian of the user-provided function is independent of entry {} in the "
            f"grad_jacobian. {_STRICT} as it prevents from using the double backward trick to "
            "replace forward mode AD.",
            "hessian",
        )
    return (
        _returned(outputs[0], create_graph),
        _unlisted(_returned(product, create_graph), inputs_are_tuple),
    )


# --- matrices ----------------------------------------------------------------------------------


def _unit_vectors(tensors: Tensors) -> list[Tensor]:
    """The unit vectors of the space of all elements, as one batch for each tensor."""
    total = sum(t.numel() for t in tensors)
    batches, before = [], 0
    for t in tensors:
        batch = _core.zeros(total, t.numel(), dtype=t.dtype)
        batch.diagonal(-before).fill_(1)
        batches.append(batch.reshape(total, *t.shape))
        before += t.numel()
    return batches


def _by_unit_vectors(
    outputs: Sequence[Tensor | None], inputs: Tensors, create_graph: bool
) -> list[Tensor]:
    """For each input the gradients of all elements of the outputs, in one batch.

    An output that is None, or has no history, has gradients of zero.
    """
    known: Tensors = tuple(out for out in outputs if out is not None)
    units = _unit_vectors(known)
    total = sum(t.numel() for t in known)
    if total == 0:
        return [_core.zeros(0, *t.shape, dtype=t.dtype) for t in inputs]
    pulled = _pulled(known, inputs, units, create_graph, True, batched=True)
    return [
        _core.zeros_like(t).expand(total, *t.shape) if g is None else g
        for g, t in zip(pulled, inputs, strict=True)
    ]


def _forward_jacobian(func: Function, inputs: Any, strict: bool, vectorize: bool) -> Any:
    """The Jacobian by columns: each unit vector of the inputs, pushed forward."""
    if strict:
        raise RuntimeError(
            'autograd.functional.jacobian: `strict=True` and `strategy="forward-mode"` are not '
            "supported together (yet). Please either set `strict=False` or "
            '`strategy="reverse-mode"`.'
        )
    if not vectorize:
        raise NotImplementedError(
            "Computing Jacobian using forward-AD or forward-over-reverse Hessian is only "
            "implemented for `vectorize=True`."
        )
    with enable_grad():
        inputs_are_tuple, inputs = _listed(inputs, "inputs", "jacobian")
        inputs = _fresh(inputs, False)
        outputs_are_tuple, outputs = _outputs(func, inputs, "jacobian", False)
        weights, gradients = _pullback(outputs, inputs)
        # A gradient that does not exist is zero whatever the weights, and stays so.
        known = [
            _core.zeros_like(t) if g is None else g for g, t in zip(gradients, inputs, strict=True)
        ]
    columns = _by_unit_vectors(known, weights, False)
    rows = []
    for column, out in zip(columns, outputs, strict=True):
        parts = column.split([t.numel() for t in inputs])
        rows.append(
            [
                part.movedim(0, -1).reshape(*out.shape, *t.shape).detach()
                for part, t in zip(parts, inputs, strict=True)
            ]
        )
    return _unlisted_matrix(rows, outputs_are_tuple, inputs_are_tuple)


def _row_by_row(
    i: int, out: Tensor, inputs: Tensors, create_graph: bool, strict: bool
) -> list[Tensor]:
    """The Jacobian of one output by each input, a walk for each element."""
    rows: list[list[Tensor]] = [[] for _ in inputs]
    flat = out.reshape(-1)
    for element in range(out.numel()):
        pulled = _pulled((flat[element],), inputs, None, create_graph, True)
        for j, (g, t) in enumerate(zip(pulled, inputs, strict=True)):
            if g is None and strict:
                raise RuntimeError(
                    f"Output {i} of the user-provided function is independent of input {j}. "
                    f"{_STRICT}."
                )
            if strict and create_graph and g is not None and not g.requires_grad:
                raise RuntimeError(f"{_OF_INPUT.format('jacobian', i)} when create_graph=True.")
            rows[j].append(_core.zeros_like(t) if g is None else g)
    return [
        _core.stack(row).reshape(*out.shape, *t.shape)
        if row
        else _core.zeros(*out.shape, *t.shape, dtype=t.dtype)
        for row, t in zip(rows, inputs, strict=True)
    ]


def jacobian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    strategy: str = "reverse-mode",
) -> Any:
    """Return the derivatives of all elements of a function's outputs by all elements of its inputs.

    Parameters
    ----------
    func
        Takes tensors and returns a tensor or a tuple of them.
    inputs
        A tensor or a tuple of them.
    create_graph
        Whether the result can be differentiated.
    strict
        Whether it is an error, instead of zeros, if an output does not depend on an input.
    vectorize
        Whether to pull all elements back in one batch.
    strategy
        ``"reverse-mode"``: a gradient for each element of the outputs. ``"forward-mode"``: one for
        each element of the inputs; it needs ``vectorize``.

    Returns
    -------
    Tensor or tuple
        Of shape ``output.shape + input.shape``; where there are several outputs, a tuple by
        output, and where there are several inputs, a tuple by input.

    Raises
    ------
    RuntimeError
        If something is independent of the inputs, with ``strict``.
    TypeError
        If something else than tensors is given or returned.
    NotImplementedError
        If arguments do not go together.
    AssertionError
        If there is no such strategy.
    """
    if strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError(
            'Expected strategy to be either "forward-mode" or "reverse-mode". Hint: If your '
            'function has more outputs than inputs, "forward-mode" tends to be more performant. '
            'Otherwise, prefer to use "reverse-mode".'
        )
    if strategy == "forward-mode":
        if create_graph:
            raise NotImplementedError(
                "autograd.functional.jacobian: `create_graph=True` and "
                '`strategy="forward-mode"` are not supported together (yet). Please either set '
                '`create_graph=False` or `strategy="reverse-mode"`.'
            )
        return _forward_jacobian(func, inputs, strict, vectorize)
    with enable_grad():
        inputs_are_tuple, inputs = _listed(inputs, "inputs", "jacobian")
        inputs = _fresh(inputs, create_graph)
        outputs_are_tuple, outputs = _outputs(func, inputs, "jacobian", strict)
        if not vectorize:
            rows = [
                _row_by_row(i, out, inputs, create_graph, strict) for i, out in enumerate(outputs)
            ]
        elif strict:
            raise RuntimeError(
                "autograd.functional.jacobian: `strict=True` and `vectorized=True` are not "
                "supported together. Please either set `strict=False` or `vectorize=False`."
            )
        else:
            sizes = [out.numel() for out in outputs]
            columns = [
                [
                    part.reshape(*out.shape, *t.shape)
                    for part, out in zip(batch.split(sizes), outputs, strict=True)
                ]
                for batch, t in zip(
                    _by_unit_vectors(outputs, inputs, create_graph), inputs, strict=True
                )
            ]
            rows = [[column[i] for column in columns] for i in range(len(outputs))]
    return _unlisted_matrix(_returned(rows, create_graph), outputs_are_tuple, inputs_are_tuple)


def hessian(
    func: Function,
    inputs: Any,
    create_graph: bool = False,
    strict: bool = False,
    vectorize: bool = False,
    outer_jacobian_strategy: str = "reverse-mode",
) -> Any:
    """Return the second derivatives of a function whose output is one number.

    Parameters
    ----------
    func
        Takes tensors and returns a tensor of one element.
    inputs
        A tensor or a tuple of them.
    create_graph
        Whether the result can be differentiated.
    strict
        Whether it is an error, instead of zeros, if a derivative does not depend on the inputs.
    vectorize
        As in `jacobian`, for the second derivative.
    outer_jacobian_strategy
        The strategy of `jacobian`, for the second derivative.

    Returns
    -------
    Tensor or tuple
        For a tensor, of its shape twice; for a tuple, a tuple of tuples.

    Raises
    ------
    RuntimeError
        If the function returns more than a number, or, with ``strict``, something is independent
        of the inputs.
    TypeError
        If something else than tensors is given or returned.
    AssertionError
        If there is no such strategy.
    """
    inputs_are_tuple, inputs = _listed(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def number(*given: Tensor) -> Tensor:
        return _outputs(func, given, "hessian", strict, scalar=True)[1][0].squeeze()

    def gradient(*given: Tensor) -> Tensors:
        found = jacobian(number, given, create_graph=True)
        if strict:
            _check_dependence(found, _JACOBIAN_IS_CONSTANT)
        return found

    found = jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if inputs_are_tuple else found[0][0]
