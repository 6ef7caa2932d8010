"""Whole derivatives of functions: Jacobians, Hessians, and their products with vectors."""

from __future__ import annotations

from .. import _core
from . import enable_grad, set_grad_enabled
from ._functional import (
    GRADIENT_IS_CONSTANT,
    JACOBIAN_IS_CONSTANT,
    OF_INPUT,
    STRICT,
    called,
    check_dependence,
    checked_vector,
    filled,
    fresh,
    listed,
    needs_vector,
    pull,
    pullback,
    returned,
    single_element,
    unlisted,
    unlisted_matrix,
)

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from .._core import Tensor

    Tensors = tuple[Tensor, ...]
    Function = Callable[..., Any]

__all__ = ["hessian", "hvp", "jacobian", "jvp", "vhp", "vjp"]


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
        inputs_are_tuple, inputs = listed(inputs, "inputs", "vjp")
        inputs = fresh(inputs, create_graph)
        outputs_are_tuple, outputs = called(func, inputs, "vjp", strict)
        vector = checked_vector(v, outputs, outputs_are_tuple, "vjp", create_graph)
        if vector is None and not single_element(outputs):
            raise RuntimeError(
                "The vector v can only be None if the user-provided function returns a single "
                "Tensor with a single element."
            )
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = filled(
            pull(outputs, inputs, vector, create_graph),
            inputs, strict, create_graph, f"{OF_INPUT.format('output', '{}')}.", "jacobian",
        )  # fmt: skip
    return (
        unlisted(returned(outputs, create_graph), outputs_are_tuple),
        unlisted(returned(product, create_graph), inputs_are_tuple),
    )


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
        inputs_are_tuple, inputs = listed(inputs, "inputs", "jvp")
        inputs = fresh(inputs, create_graph)
        vector = checked_vector(v, inputs, inputs_are_tuple, "jvp", create_graph)
        needs_vector(v, inputs)
        outputs_are_tuple, outputs = called(func, inputs, "jvp", strict)
        weights, gradients = pullback(outputs, inputs)
        if strict:
            check_dependence(gradients, GRADIENT_IS_CONSTANT)
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = filled(
            pull(gradients, weights, vector, create_graph),
            outputs,
            strict,
            create_graph,
            "The gradient with respect to the input is independent of entry {} in the grad_outputs "
            "when using the double backward trick to compute forward mode gradients. "
            f"{STRICT}.",
            "jacobian",
        )
    return (
        unlisted(returned(outputs, create_graph), outputs_are_tuple),
        unlisted(returned(product, create_graph), outputs_are_tuple),
    )


def _first_order(
    func: Function, inputs: Any, v: Any, create_graph: bool, strict: bool, name: str
) -> tuple[bool, Tensors, Any, Tensor, Any]:
    """What products with a Hessian begin with: inputs, the vector, the number, its gradient."""
    inputs_are_tuple, inputs = listed(inputs, "inputs", name)
    inputs = fresh(inputs, create_graph)
    vector = checked_vector(v, inputs, inputs_are_tuple, name, create_graph)
    needs_vector(v, inputs)
    _, outputs = called(func, inputs, name, strict, scalar=True)
    gradients = pull(outputs, inputs, create_graph=True)
    if strict:
        check_dependence(gradients, JACOBIAN_IS_CONSTANT)
    return inputs_are_tuple, inputs, vector, outputs[0], gradients


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
        inputs_are_tuple, inputs, vector, output, gradients = _first_order(
            func, inputs, v, create_graph, strict, "vhp"
        )
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = filled(
            pull(gradients, inputs, vector, create_graph),
            inputs, strict, create_graph, f"{OF_INPUT.format('jacobian', '{}')}.", "hessian",
        )  # fmt: skip
    return (
        returned(output, create_graph),
        unlisted(returned(product, create_graph), inputs_are_tuple),
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
        inputs_are_tuple, inputs, vector, output, gradients = _first_order(
            func, inputs, v, create_graph, strict, "hvp"
        )
        weights = tuple(_core.zeros_like(t).requires_grad_() for t in inputs)
        twice = pull(gradients, inputs, weights, create_graph=True)
    with set_grad_enabled(create_graph or _core.is_grad_enabled()):
        product = filled(
            pull(twice, weights, vector, create_graph),
            inputs,
            strict,
            create_graph,
            "The hessian of the user-provided function is independent of entry {} in the "
            f"grad_jacobian. {STRICT} as it prevents from using the double backward trick to "
            "replace forward mode AD.",
            "hessian",
        )
    return (
        returned(output, create_graph),
        unlisted(returned(product, create_graph), inputs_are_tuple),
    )


# --- matrices ----------------------------------------------------------------------------------


def _unit_vectors(tensors: Tensors) -> list[Tensor]:
    """The unit vectors of the space of all elements, as one batch for each tensor."""
    total = sum(t.numel() for t in tensors)
    batches, before = [], 0
    for t in tensors:
        batch = t.new_zeros(total, t.numel())
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
        return [t.new_zeros(0, *t.shape) for t in inputs]
    pulled = pull(known, inputs, units, create_graph, True, batched=True)
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
        inputs_are_tuple, inputs = listed(inputs, "inputs", "jacobian")
        inputs = fresh(inputs, False)
        outputs_are_tuple, outputs = called(func, inputs, "jacobian", False)
        weights, gradients = pullback(outputs, inputs)
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
    return unlisted_matrix(rows, outputs_are_tuple, inputs_are_tuple)


def _row_by_row(
    i: int, out: Tensor, inputs: Tensors, create_graph: bool, strict: bool
) -> list[Tensor]:
    """The Jacobian of one output by each input, a walk for each element."""
    rows: list[list[Tensor]] = [[] for _ in inputs]
    flat = out.reshape(-1)
    for element in range(out.numel()):
        pulled = pull((flat[element],), inputs, None, create_graph, True)
        for j, (g, t) in enumerate(zip(pulled, inputs, strict=True)):
            if g is None and strict:
                raise RuntimeError(
                    f"Output {i} of the user-provided function is independent of input {j}. "
                    f"{STRICT}."
                )
            if strict and create_graph and g is not None and not g.requires_grad:
                raise RuntimeError(f"{OF_INPUT.format('jacobian', i)} when create_graph=True.")
            rows[j].append(_core.zeros_like(t) if g is None else g)
    return [
        _core.stack(row).reshape(*out.shape, *t.shape) if row else t.new_zeros(*out.shape, *t.shape)
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
        inputs_are_tuple, inputs = listed(inputs, "inputs", "jacobian")
        inputs = fresh(inputs, create_graph)
        outputs_are_tuple, outputs = called(func, inputs, "jacobian", strict)
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
    return unlisted_matrix(returned(rows, create_graph), outputs_are_tuple, inputs_are_tuple)


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
    inputs_are_tuple, inputs = listed(inputs, "inputs", "hessian")
    if outer_jacobian_strategy not in ("forward-mode", "reverse-mode"):
        raise AssertionError('Expected strategy to be either "forward-mode" or "reverse-mode".')

    def number(*given: Tensor) -> Tensor:
        return called(func, given, "hessian", strict, scalar=True)[1][0].squeeze()

    def gradient(*given: Tensor) -> Tensors:
        found = jacobian(number, given, create_graph=True)
        if strict:
            check_dependence(found, JACOBIAN_IS_CONSTANT)
        return found

    found = jacobian(gradient, inputs, create_graph, strict, vectorize, outer_jacobian_strategy)
    return found if inputs_are_tuple else found[0][0]
