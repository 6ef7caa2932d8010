"""Checks of derivatives against differences, and of how much work an operation does.

`gradcheck` compares every entry of the Jacobians that backpropagation gives with differences of
the function itself; `gradgradcheck` does so for the derivative of the gradient. Names, defaults
and messages are those of ``torch.autograd.gradcheck``.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from ._core import Tensor
from ._creation import from_numpy
from .autograd import grad

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]

__all__ = [
    "GradcheckError",
    "count_launches",
    "gradcheck",
    "gradgradcheck",
    "numerical_gradient",
]


class GradcheckError(RuntimeError):
    """A derivative is not what differences of the function say."""


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _is_differentiable(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _values(fn: Callable[..., Any], inputs: Sequence[Any], keep: Sequence[int]) -> list[Array]:
    """Copies of the outputs at the positions to keep: an output may share an input's memory."""
    outputs = _as_tuple(fn(*inputs))
    return [outputs[k].detach().numpy().astype(np.float64).ravel() for k in keep]


def _numerical_jacobians(
    fn: Callable[..., Any],
    inputs: Sequence[Any],
    wrt: Sequence[int],
    outputs: Sequence[int],
    eps: float,
    method: str = "central",
) -> list[list[Array]]:
    """For each output and each input in wrt, differences of shape (input size, output size).

    The elements of the inputs are changed in their own memory, one at a time, and put back.
    """
    if method not in ("central", "forward"):
        raise ValueError(f"method must be 'central' or 'forward', got {method!r}")
    center = _values(fn, inputs, outputs)
    columns: list[list[Array]] = [[] for _ in outputs]
    for i in wrt:
        memory = inputs[i].detach().numpy()
        jacobians = [np.zeros((memory.size, c.size)) for c in center]
        for row, at in enumerate(np.ndindex(memory.shape)):
            x = memory[at]
            try:
                memory[at] = x + eps
                high, above = float(memory[at]), _values(fn, inputs, outputs)
                low, below = float(x), center
                if method == "central":
                    memory[at] = x - eps
                    low, below = float(memory[at]), _values(fn, inputs, outputs)
            finally:
                memory[at] = x
            for j, a, b in zip(jacobians, above, below, strict=True):
                j[row] = (a - b) / (high - low)
        for column, j in zip(columns, jacobians, strict=True):
            column.append(j)
    return columns


def _analytical_jacobians(
    output: Tensor, inputs: Sequence[Tensor]
) -> tuple[list[Array], list[Any]]:
    """By each input, the Jacobian of shape (input size, output size), a backward per column."""
    jacobians = [np.zeros((x.numel(), output.numel())) for x in inputs]
    dtypes: list[Any] = [None] * len(inputs)
    for column in range(output.numel()):
        one_hot = np.zeros(output.numel())
        one_hot[column] = 1
        cotangent = from_numpy(one_hot.reshape(tuple(output.shape))).to(output.dtype)
        grads = grad(output, inputs, cotangent, retain_graph=True, allow_unused=True)
        for i, g in enumerate(grads):
            if g is not None:
                if tuple(g.shape) != tuple(inputs[i].shape):
                    raise GradcheckError(
                        f"Analytical gradient has incorrect size: {tuple(g.shape)} for input "
                        f"#{i} of size {tuple(inputs[i].shape)}"
                    )
                jacobians[i][:, column] = g.detach().numpy().ravel()
                dtypes[i] = g.dtype
    return jacobians, dtypes


def _check_inputs(inputs: Sequence[Any]) -> list[int]:
    """The positions of the inputs to differentiate by."""
    wrt = [i for i, x in enumerate(inputs) if _is_differentiable(x)]
    if not wrt:
        raise ValueError(
            "gradcheck expects at least one input tensor to require gradient, "
            "but none of the them have requires_grad=True."
        )
    for i in wrt:
        x = inputs[i]
        if x.dtype is not _core.float64:
            warnings.warn(
                f"Input #{i} requires gradient and is not a double precision floating point. This "
                "check will likely fail if all the inputs are not of double precision floating "
                "point. ",
                stacklevel=4,
            )
        if x.numel() and any(n > 1 and s == 0 for n, s in zip(x.shape, x.stride(), strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping to be able to compute the numerical gradients "
                "correctly. You should call .contiguous on the input before passing it to "
                "gradcheck."
            )
    return wrt


def _check(
    func: Callable[..., Any],
    inputs: Sequence[Any],
    eps: float,
    atol: float,
    rtol: float,
    nondet_tol: float,
    check_grad_dtypes: bool,
) -> None:
    wrt = _check_inputs(inputs)
    outputs = _as_tuple(func(*inputs))
    tensors = [k for k, y in enumerate(outputs) if isinstance(y, Tensor)]
    kept = [k for k in tensors if outputs[k].requires_grad]
    if not kept:
        for k, row in zip(
            tensors, _numerical_jacobians(func, inputs, wrt, tensors, eps), strict=True
        ):
            if any(np.any(j != 0) for j in row):
                raise GradcheckError(
                    f"Numerical gradient for function expected to be zero: output {k} does not "
                    "require grad but depends on the inputs"
                )
        return
    numerical = _numerical_jacobians(func, inputs, wrt, kept, eps)
    differentiated = [inputs[i] for i in wrt]
    for k, expected in zip(kept, numerical, strict=True):
        found, dtypes = _analytical_jacobians(outputs[k], differentiated)
        again, _ = _analytical_jacobians(outputs[k], differentiated)
        for i, a, b, n, dtype in zip(wrt, found, again, expected, dtypes, strict=True):
            if not np.allclose(a, n, rtol=rtol, atol=atol):
                raise GradcheckError(
                    f"Jacobian mismatch for output {k} with respect to input {i},\n"
                    f"numerical:{n}\nanalytical:{a}\n"
                )
            if a.size and np.max(np.abs(a - b)) > nondet_tol:
                raise GradcheckError(
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values, although analytical "
                    "gradient matches numerical gradient. The tolerance for nondeterminism was "
                    f"{nondet_tol}. Output {k}, input {i}."
                )
            if check_grad_dtypes and dtype not in (None, inputs[i].dtype):
                raise GradcheckError(
                    f"Gradient of output {k} has dtype {dtype}, input {i} has {inputs[i].dtype}"
                )


def gradcheck(
    func: Callable[..., Any],
    inputs: Any,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_grad_dtypes: bool = False,
) -> bool:
    """Compare the Jacobians of backpropagation with central differences.

    Passes where ``|analytical - numerical| <= atol + rtol |numerical|`` in every entry.

    Parameters
    ----------
    func
        Takes the inputs; returns a tensor or a tuple of them.
    inputs
        A tensor or a tuple. Those that require grad are differentiated by; they should be float64
        and may have any shape.
    eps
        The step of the differences, in units of the inputs.
    atol, rtol
        The absolute and the relative tolerance.
    raise_exception
        Whether to raise or to return False on a mismatch.
    nondet_tol
        How far two runs of the same backward may differ.
    check_grad_dtypes
        Whether gradients must have the dtype of their inputs.

    Returns
    -------
    bool
        Whether all checks passed.

    Raises
    ------
    GradcheckError
        At a mismatch, with the indices of output and input and both Jacobians, each of shape
        (elements of the input, elements of the output).
    ValueError
        If no input requires grad.
    RuntimeError
        If an input overlaps itself in memory.

    Notes
    -----
    The error of a central difference is of order eps^2 plus rounding over eps (Press, Teukolsky,
    Vetterling, Flannery, Numerical Recipes, 5.7).
    """
    try:
        _check(func, _as_tuple(inputs), eps, atol, rtol, nondet_tol, check_grad_dtypes)
    except GradcheckError:
        if raise_exception:
            raise
        return False
    return True


def gradgradcheck(
    func: Callable[..., Any],
    inputs: Any,
    grad_outputs: Any = None,
    *,
    eps: float = 1e-6,
    atol: float = 1e-5,
    rtol: float = 1e-3,
    raise_exception: bool = True,
    nondet_tol: float = 0.0,
    check_grad_dtypes: bool = False,
) -> bool:
    """Compare the derivatives of the gradient, by inputs and cotangents, with differences.

    Parameters
    ----------
    func, inputs, eps, atol, rtol, raise_exception, nondet_tol, check_grad_dtypes
        As in `gradcheck`.
    grad_outputs
        A cotangent for each differentiable output, of its shape; by default numbers in [-1, 1),
        the same in every call.

    Raises
    ------
    GradcheckError, ValueError, RuntimeError
        As `gradcheck`.
    """
    listed = _as_tuple(inputs)

    def outputs_of(args: Sequence[Any]) -> list[Tensor]:
        return [y for y in _as_tuple(func(*args)) if _is_differentiable(y)]

    if grad_outputs is None:
        rng = np.random.default_rng(0)
        cotangents = tuple(
            from_numpy(np.asarray(rng.uniform(-1, 1, tuple(y.shape)))).to(y.dtype).requires_grad_()
            for y in outputs_of(listed)
        )
    else:
        cotangents = _as_tuple(grad_outputs)

    def gradients(*args: Any) -> tuple[Tensor, ...]:
        args, given = args[: len(listed)], args[len(listed) :]
        by = [x for x in args if _is_differentiable(x)]
        found = grad(outputs_of(args), by, given, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(
        gradients, (*listed, *cotangents), eps=eps, atol=atol, rtol=rtol,
        raise_exception=raise_exception, nondet_tol=nondet_tol,
        check_grad_dtypes=check_grad_dtypes,
    )  # fmt: skip


def numerical_gradient(
    fn: Callable[..., Tensor], inputs: Any, eps: float = 1e-6, method: str = "central"
) -> tuple[Tensor, ...]:
    """Return differences of the sum of fn's elements by every element of the inputs.

    Parameters
    ----------
    fn
        Takes the inputs and returns a tensor.
    inputs
        A tensor or a tuple of floating point tensors that do not overlap themselves.
    eps
        The step, in units of the inputs.
    method
        'central', with an error of order eps^2, or 'forward', of order eps with half the calls.

    Returns
    -------
    tuple of Tensor
        One gradient an input, of its shape and dtype.

    Raises
    ------
    ValueError
        If the method is another.
    """
    listed = _as_tuple(inputs)
    (row,) = _numerical_jacobians(fn, listed, range(len(listed)), [0], eps, method)
    return tuple(
        from_numpy(j.sum(1).reshape(tuple(x.shape))).to(x.dtype)
        for j, x in zip(row, listed, strict=True)
    )


def count_launches() -> _core.LaunchCounter:
    """Return a context manager whose ``counts`` has the kernel launches inside it, by name."""
    return _core.LaunchCounter()
