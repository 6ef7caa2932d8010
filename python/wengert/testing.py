"""Checks of derivatives against differences, and of how much work an operation does.

Names, defaults and messages are those of ``torch.autograd.gradcheck``.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _core
from ._core import Tensor
from ._creation import from_dlpack, from_numpy
from .autograd import grad

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Fn = Callable[..., Any]
    Args = Sequence[Any]

__all__ = [
    "GradcheckError",
    "count_launches",
    "gradcheck",
    "gradgradcheck",
    "numerical_gradient",
    "spoil",
]


class GradcheckError(RuntimeError):
    """A derivative is not what differences of the function say."""


def _as_tuple(x: Any) -> tuple[Any, ...]:
    return tuple(x) if isinstance(x, (tuple, list)) else (x,)


def _requires_grad(x: Any) -> bool:
    return isinstance(x, Tensor) and x.requires_grad


def _memory(x: Any) -> Array:
    """The numbers of a tensor or an array, in their own memory; of a device's memory a copy."""
    return x.detach().cpu().numpy() if isinstance(x, Tensor) else x


def _set(x: Any, memory: Array, at: tuple[int, ...], value: Any) -> None:
    """Change an element of an input, and of its numbers."""
    memory[at] = value
    if isinstance(x, Tensor) and x.is_cuda:  # behind the back of the tape, as above
        from_dlpack(x.detach())[at] = float(memory[at])


def _values(fn: Fn, inputs: Args) -> list[Array]:
    """Copies of the outputs that are tensors or arrays; they may share an input's memory."""
    outputs = [y for y in _as_tuple(fn(*inputs)) if isinstance(y, (Tensor, np.ndarray, np.generic))]
    return [np.array(_memory(y), np.float64).ravel() for y in outputs]


def _numerical_jacobians(
    fn: Fn, inputs: Args, wrt: Sequence[int], eps: float | None, method: str = "central"
) -> list[list[Array]]:
    """For each output, by each input in wrt, differences of shape (input size, output size).

    The elements of the inputs are changed in their own memory, one at a time, and put back.
    """
    center = _values(fn, inputs)
    found: list[list[Array]] = [[] for _ in center]
    for i in wrt:
        memory = _memory(inputs[i])
        relative = float(np.finfo(memory.dtype).eps) ** (1 / 3 if method == "central" else 1 / 2)
        jacobians = [np.zeros((memory.size, c.size)) for c in center]
        for row, (at, x) in enumerate(np.ndenumerate(memory)):
            step = relative * max(1.0, abs(float(x))) if eps is None else eps
            try:
                _set(inputs[i], memory, at, x + step)
                high, above = float(memory[at]), _values(fn, inputs)
                low, below = float(x), center
                if method == "central":
                    _set(inputs[i], memory, at, x - step)
                    low, below = float(memory[at]), _values(fn, inputs)
            finally:
                _set(inputs[i], memory, at, x)
            for j, a, b in zip(jacobians, above, below, strict=True):
                j[row] = (a - b) / (high - low)
        for of_output, j in zip(found, jacobians, strict=True):
            of_output.append(j)
    return found


def _analytical_jacobians(output: Tensor, inputs: Sequence[Tensor]) -> list[tuple[Array, Any]]:
    """By each input, the Jacobian, a backward for each column, and the gradient's dtype."""
    jacobians = [np.zeros((x.numel(), output.numel())) for x in inputs]
    dtypes = [x.dtype for x in inputs]
    for column, one_hot in enumerate(np.eye(output.numel())):
        cotangent = from_numpy(one_hot.reshape(tuple(output.shape))).to(output)
        grads = grad(output, inputs, cotangent, retain_graph=True, allow_unused=True)
        for i, g in enumerate(grads):
            if g is not None:
                jacobians[i][:, column] = g.detach().cpu().numpy().ravel()
                dtypes[i] = g.dtype
    return list(zip(jacobians, dtypes, strict=True))


def _positions_of_inputs(inputs: Sequence[Any]) -> list[int]:
    """Which inputs to differentiate by."""
    wrt = [i for i, x in enumerate(inputs) if _requires_grad(x)]
    if not wrt:
        raise ValueError("gradcheck expects at least one input tensor to require gradient")
    for i in wrt:
        x = inputs[i]
        if x.dtype is not _core.float64:
            message = f"Input #{i} requires gradient and is not a double precision floating point. "
            warnings.warn(message + "This check will likely fail.", stacklevel=4)
        if x.numel() and any(n > 1 and s == 0 for n, s in zip(x.shape, x.stride(), strict=True)):
            raise RuntimeError(
                f"The {i}th input has a dimension with stride 0. gradcheck only supports inputs "
                "that are non-overlapping; call .contiguous() on it first."
            )
    return wrt


def gradcheck(
    func: Fn,
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
    func, inputs
        A function that returns a tensor or a tuple of them, and what it takes: a tensor or a
        tuple, of any shapes. It is differentiated by those that require grad; use float64.
    eps, atol, rtol
        The step of the differences, in units of the inputs; the tolerances.
    raise_exception
        Whether to raise or to return False on a mismatch.
    nondet_tol, check_grad_dtypes
        How far two runs of the same backward may differ; whether gradients must have the dtypes
        of their inputs.

    Raises
    ------
    GradcheckError
        At a mismatch, with the indices of output and input and both Jacobians, each of shape
        (elements of the input, elements of the output).
    ValueError, RuntimeError
        If no input requires grad; if one overlaps itself in memory.

    References
    ----------
    Press, Teukolsky, Vetterling, Flannery, Numerical Recipes, 5.7: the error of a difference.
    """
    wrong = _mismatch(func, _as_tuple(inputs), eps, atol, rtol, nondet_tol, check_grad_dtypes)
    if wrong and raise_exception:
        raise GradcheckError(wrong)
    return not wrong


def _mismatch(
    func: Fn, inputs: Args, eps: float, atol: float, rtol: float, nondet_tol: float, dtypes: bool
) -> str:
    """What is wrong first, or an empty text."""
    wrt = _positions_of_inputs(inputs)
    outputs = _as_tuple(func(*inputs))
    tensors = [(k, y) for k, y in enumerate(outputs) if isinstance(y, Tensor)]
    numerical = _numerical_jacobians(func, inputs, wrt, eps)
    for (k, y), expected in zip(tensors, numerical, strict=True):
        if not y.requires_grad:  # as PyTorch: passed over beside outputs that do
            alone = not any(_requires_grad(other) for other in outputs)
            if alone and any(np.any(n != 0) for n in expected):
                return (
                    f"Numerical gradient for function expected to be zero: output {k} does not "
                    "require grad but depends on the inputs"
                )
            continue
        runs = [_analytical_jacobians(y, [inputs[i] for i in wrt]) for _ in range(2)]
        for i, n, (a, dtype), (b, _) in zip(wrt, expected, *runs, strict=True):
            if not np.allclose(a, n, rtol=rtol, atol=atol):
                return (
                    f"Jacobian mismatch for output {k} with respect to input {i},\n"
                    f"numerical:{n}\nanalytical:{a}\n"
                )
            if np.max(np.abs(a - b), initial=0) > nondet_tol:
                return (
                    "Backward is not reentrant, i.e., running backward with same input and "
                    "grad_output multiple times gives different values. The tolerance for "
                    f"nondeterminism was {nondet_tol}. Output {k}, input {i}."
                )
            if dtypes and dtype is not inputs[i].dtype:
                return f"Gradient of output {k} has dtype {dtype}, input {i} {inputs[i].dtype}"
    return ""


def gradgradcheck(func: Fn, inputs: Any, grad_outputs: Any = None, **settings: Any) -> bool:
    """Compare the derivatives of the gradient, by inputs and cotangents, with differences.

    As `gradcheck`, whose keywords, defaults and errors it has. ``grad_outputs`` holds a cotangent
    for each differentiable output, of its shape; by default random numbers in [-1, 1).
    """
    listed = _as_tuple(inputs)

    def outputs_of(args: Args) -> list[Tensor]:
        return [y for y in _as_tuple(func(*args)) if _requires_grad(y)]

    cotangents = _as_tuple(grad_outputs)
    if grad_outputs is None:
        rng = np.random.default_rng(0)
        cotangents = tuple(
            from_numpy(np.asarray(rng.uniform(-1, 1, tuple(y.shape)))).to(y).requires_grad_()
            for y in outputs_of(listed)
        )

    def gradients(*args: Any) -> tuple[Tensor, ...]:
        args, given = args[: len(listed)], args[len(listed) :]
        by = [x for x in args if _requires_grad(x)]
        found = grad(outputs_of(args), by, given, create_graph=True, allow_unused=True)
        return tuple(g for g in found if g is not None)

    return gradcheck(gradients, (*listed, *cotangents), **settings)


def numerical_gradient(
    fn: Fn, inputs: Any, eps: float | None = None, method: str = "central"
) -> tuple[Any, ...]:
    """Return a gradient for each input, without any derivative rule, of the sum of what fn returns.

    With h the step and e a unit vector, an element of it is::

        (f(x + h e) - f(x)) / h               forward: error O(h), n + 1 calls for n elements
        (f(x + h e) - f(x - h e)) / (2 h)     central: error O(h^2), 2 n + 1 calls
        Im f(x + i h e) / h                   complex: error O(h^2), n calls

    The differences lose digits to cancellation as h falls, and are best near the square and the
    cube root of the dtype's epsilon. The complex step subtracts nothing: h may be so small that
    only rounding is left.

    Parameters
    ----------
    fn, inputs
        A function that returns a tensor or an array, and the floating point tensor or array, or
        tuple of them, that it takes. For 'complex', which tensors cannot hold, fn is given
        complex NumPy arrays and must be analytic, made of arithmetic and functions that continue
        into the complex plane: no ``abs``, no conjugate, no tensor inside.
    eps
        The step, in units of the inputs. By default the roots above times max(1, abs(x)), and
        1e-100 for 'complex'.
    method
        'central', 'forward' or 'complex'.

    Returns
    -------
    tuple
        For each input a tensor or an array, as the input is, of its shape and dtype.

    Raises
    ------
    ValueError
        If the method is another.
    TypeError
        If an input is not of floating point, or fn does not compute with complex numbers.

    References
    ----------
    Squire, Trapp, Using complex variables to estimate derivatives of real functions, SIAM Review
    40(1), 1998; Press, Teukolsky, Vetterling, Flannery, Numerical Recipes, 5.7.
    """
    if method not in ("central", "forward", "complex"):
        raise ValueError(f"method must be 'central', 'forward' or 'complex', got {method!r}")
    listed = _as_tuple(inputs)
    for x in listed:
        if not isinstance(x, (Tensor, np.ndarray)) or _memory(x).dtype.kind != "f":
            got = x.dtype if isinstance(x, (Tensor, np.ndarray)) else type(x).__name__
            raise TypeError(f"numerical_gradient: expected floating point inputs, got {got}")
    if method == "complex":
        gradients = _complex_step(fn, listed, 1e-100 if eps is None else eps)
    else:
        (by_input,) = _numerical_jacobians(fn, listed, range(len(listed)), eps, method)
        gradients = [
            j.sum(1).reshape(tuple(x.shape)) for j, x in zip(by_input, listed, strict=True)
        ]
    return tuple(
        from_numpy(g).to(x) if isinstance(x, Tensor) else g.astype(x.dtype)
        for g, x in zip(gradients, listed, strict=True)
    )


def _complex_step(fn: Fn, inputs: Args, eps: float) -> list[Array]:
    """The imaginary part of the sum of fn's result, over eps, by each element of each input."""
    arrays = [_memory(x).astype(np.complex128) for x in inputs]
    gradients = [np.zeros(a.shape) for a in arrays]
    for array, gradient in zip(arrays, gradients, strict=True):
        for at, x in np.ndenumerate(array):
            array[at] = x + 1j * eps
            try:
                y = fn(*arrays)
            except TypeError as error:
                raise TypeError(
                    "numerical_gradient: method 'complex' calls fn with complex NumPy arrays, and "
                    f"fn failed on them: {error}"
                ) from error
            if isinstance(y, Tensor) or not np.iscomplexobj(y):
                got = y.dtype if isinstance(y, (Tensor, np.ndarray, np.generic)) else type(y)
                raise TypeError(
                    "numerical_gradient: method 'complex' needs a function that computes with "
                    f"complex numbers; it returned {got} for complex128"
                )
            array[at] = x
            gradient[at] = np.sum(y).imag / eps
    return gradients


def count_launches() -> _core.LaunchCounter:
    """Return a context manager whose ``counts`` has the kernel launches inside it, by name."""
    return _core.LaunchCounter()


def spoil(result: Tensor, factor: float = 2.0) -> Tensor:
    """Make the derivative of the operation that made a tensor wrong, by a factor; return it.

    For tests of what has to find a wrong derivative.

    Raises
    ------
    RuntimeError
        If nothing was recorded of the tensor.
    """
    _core.spoil(result, factor)
    return result
