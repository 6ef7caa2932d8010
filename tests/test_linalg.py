"""Linear algebra beyond its rows in the table: factors that are not unique, errors, derivatives
of functions of symmetric matrices, accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.testing import gradcheck, gradgradcheck

if TYPE_CHECKING:
    from collections.abc import Callable

linalg = wg.linalg


def draw(*shape: int, seed: int = 0) -> Any:
    return wg.tensor(np.random.default_rng(seed).normal(size=shape))


def turned(x: Any) -> Any:
    return x.transpose(-1, -2)


def symmetric(x: Any) -> Any:
    return x + turned(x)


def positive(x: Any) -> Any:
    return x @ turned(x) + wg.tensor(np.eye(x.shape[-1])).to(x.dtype)


def assert_close(a: Any, b: Any, tolerance: float = 1e-12) -> None:
    np.testing.assert_allclose(
        a.detach().numpy(), b.detach().numpy(), rtol=tolerance, atol=tolerance
    )


def assert_orthonormal(columns: Any) -> None:
    n = columns.shape[-1]
    want = np.broadcast_to(np.eye(n), (*columns.shape[:-2], n, n))
    np.testing.assert_allclose((turned(columns) @ columns).numpy(), want, atol=1e-12)


SHAPES = [(1, 1), (3, 3), (5, 3), (3, 5), (2, 4, 2), (2, 2, 4), (3, 0), (0, 3), (0, 2, 2), (40, 30)]


@pytest.mark.parametrize("shape", SHAPES)
def test_svd(shape: tuple[int, ...]) -> None:
    a = draw(*shape)
    for full in (True, False):
        u, s, vh = linalg.svd(a, full_matrices=full)
        k = s.shape[-1]
        assert_close((u[..., :k] * s.unsqueeze(-2)) @ vh[..., :k, :], a)
        assert_orthonormal(u)
        assert_orthonormal(turned(vh))
        assert (np.diff(s.numpy()) <= 0).all()
        assert u.shape[-1] == (shape[-2] if full else k)


def test_svd_of_deficient_and_extreme_matrices() -> None:
    for a in (wg.zeros(3, 2), wg.ones(4, 4), draw(5, 2) @ draw(2, 4, seed=1)):
        u, s, vh = linalg.svd(a.double())
        k = s.shape[-1]
        assert_close((u[..., :k] * s) @ vh[:k], a.double())
        assert_orthonormal(u)
        assert_orthonormal(turned(vh))
    for scale in (1e-300, 1e300):
        s = linalg.svdvals(draw(3, 3) * scale)
        assert_close(s / scale, linalg.svdvals(draw(3, 3)))


def test_small_singular_values_are_accurate() -> None:
    """Relative accuracy of one-sided Jacobi on columns of very different lengths."""
    q, _ = linalg.qr(draw(6, 4))
    scales = wg.tensor([1.0, 1e-8, 1e-16, 1e-24], dtype=wg.float64)
    assert_close(linalg.svdvals(q * scales) / scales, wg.ones(4).double(), 1e-14)


@pytest.mark.parametrize("shape", [(1, 1), (3, 3), (2, 4, 4), (0, 0), (0, 2, 2), (30, 30)])
def test_eigh(shape: tuple[int, ...]) -> None:
    a = symmetric(draw(*shape))
    w, v = linalg.eigh(a)
    assert_close((v * w.unsqueeze(-2)) @ turned(v), a)
    assert_orthonormal(v)
    assert (np.diff(w.numpy()) >= 0).all()
    assert_close(linalg.eigvalsh(a), w)


def test_one_triangle_is_read() -> None:
    a = symmetric(draw(3, 3))
    mask = wg.tensor(np.tril(np.ones((3, 3)))).bool()
    lower, upper = wg.where(mask, a, np.nan), wg.where(turned(mask), a, np.nan)
    assert_close(linalg.eigvalsh(lower), linalg.eigvalsh(a))
    assert_close(linalg.eigvalsh(upper, UPLO="U"), linalg.eigvalsh(a))
    p = positive(a)
    assert_close(linalg.cholesky(wg.where(mask, p, np.nan)), linalg.cholesky(p))
    assert_close(
        linalg.cholesky(wg.where(turned(mask), p, np.nan), upper=True), turned(linalg.cholesky(p))
    )


FUNCTIONS: dict[str, Callable[[Any], Any]] = {
    "eigenvalues": lambda x: linalg.eigh(symmetric(x))[0],
    "eigvalsh": lambda x: linalg.eigvalsh(symmetric(x)),
    "eigenvectors": lambda x: linalg.eigh(symmetric(x))[1].square(),
    "cholesky": lambda x: linalg.cholesky(positive(x)),
    "cholesky_upper": lambda x: linalg.cholesky(positive(x), upper=True),
    "cholesky_solve": lambda x: wg.cholesky_solve(x.sin(), linalg.cholesky(positive(x))),
    "u": lambda x: linalg.svd(x, full_matrices=False)[0].square(),
    "s": lambda x: linalg.svd(x, full_matrices=False)[1],
    "vh": lambda x: linalg.svd(x, full_matrices=False)[2].square(),
    "matrix_power": lambda x: linalg.matrix_power(x, -2),
}


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("shape", [(3, 3), (2, 2, 2)])
def test_derivatives(name: str, shape: tuple[int, ...]) -> None:
    x = draw(*shape, seed=3).requires_grad_()
    gradcheck(FUNCTIONS[name], [x])
    gradgradcheck(FUNCTIONS[name], [x], rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", ["u", "s", "vh"])
@pytest.mark.parametrize("shape", [(4, 2), (2, 4)])
def test_derivatives_of_svd(name: str, shape: tuple[int, ...]) -> None:
    x = draw(*shape).requires_grad_()
    gradcheck(FUNCTIONS[name], [x])
    gradgradcheck(FUNCTIONS[name], [x], rtol=1e-2, atol=1e-4)


@needs_torch
@pytest.mark.parametrize("name", ["cholesky", "eigvalsh"])
def test_gradients_by_the_matrix_equal_torch(name: str) -> None:
    a = positive(draw(3, 3))
    leaf, other = a.clone().requires_grad_(), torch.tensor(a.numpy(), requires_grad=True)
    getattr(linalg, name)(leaf).exp().sum().backward()
    getattr(torch.linalg, name)(other).exp().sum().backward()
    assert_close(leaf.grad, other.grad)


@needs_torch
@pytest.mark.parametrize(
    "matrix",
    [[[1.0, 2.0], [2.0, 4.0]], [[0.0, 0.0], [0.0, 3.0]], [[1.0, 0, 0], [0, 0, 0], [0, 0, 2]]],
)
def test_derivative_of_det_of_singular_matrices(matrix: list[list[float]]) -> None:
    x = wg.tensor(matrix, dtype=wg.float64, requires_grad=True)
    linalg.det(x).backward()
    gradcheck(lambda a: linalg.det(a), [x])


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: linalg.inv(wg.ones(2, 2)), "diagonal element 2 is zero"),
        (lambda: linalg.inv(wg.ones(3, 2, 2)), r"\(Batch element 0\): .*element 2 is zero"),
        (lambda: linalg.solve(wg.zeros(2, 2), wg.ones(2)), "singular"),
        (lambda: linalg.matrix_power(wg.zeros(2, 2), -1), "singular"),
        (lambda: linalg.cholesky(wg.tensor([[1.0, 2.0], [2.0, 1.0]])), "leading minor of order 2"),
        (lambda: linalg.eigh(wg.full((2, 2), np.nan)), "non-finite"),
        (lambda: linalg.svdvals(wg.full((2, 2), np.inf)), "non-finite"),
    ],
)
def test_matrices_without_a_result_raise(call: Callable[[], Any], match: str) -> None:
    with pytest.raises(linalg.LinAlgError, match=match):
        call()
    assert issubclass(linalg.LinAlgError, RuntimeError)


@pytest.mark.parametrize("dtype", ["int64", "bool", "float16", "bfloat16"])
@pytest.mark.parametrize("name", ["inv", "det", "cholesky", "qr", "svd", "eigh", "pinv"])
def test_other_dtypes_are_refused(name: str, dtype: str) -> None:
    with pytest.raises(RuntimeError, match=f"expected a float32 or float64 .*{dtype}"):
        getattr(linalg, name)(wg.ones(2, 2, dtype=getattr(wg, dtype)))


def test_matrix_power_of_zero_and_negative_exponents() -> None:
    a = draw(2, 3, 3)
    np.testing.assert_array_equal(wg.matrix_power(a, 0).numpy(), np.stack([np.eye(3)] * 2))
    assert_close(wg.matrix_power(a, -3), linalg.inv(a @ a @ a), 1e-9)
    assert wg.matrix_power(wg.tensor([[1, 1], [1, 0]]), 10).tolist() == [[89, 55], [55, 34]]


def test_matrix_rank() -> None:
    a = draw(5, 2) @ draw(2, 4, seed=1)
    assert linalg.matrix_rank(a).item() == 2
    assert linalg.matrix_rank(wg.tensor(np.diag([3.0, 2.0, 1.0])), rtol=0.5).item() == 2
    assert linalg.matrix_rank(wg.tensor(np.diag([3.0, 2.0, 1.0])), atol=2.5).item() == 1
    assert_close(linalg.pinv(a) @ a @ linalg.pinv(a), linalg.pinv(a))


def test_a_solution_is_as_good_as_numpys() -> None:
    a, b = draw(120, 120), draw(120, 5, seed=1)
    x = linalg.solve(a, b)
    theirs = np.linalg.solve(a.numpy(), b.numpy())
    ours, numpys = (np.abs(a.numpy() @ y - b.numpy()).max() for y in (x.numpy(), theirs))
    assert ours < 10 * numpys + 1e-13


def test_results_do_not_depend_on_threads() -> None:
    a = draw(9, 40, 40)
    before = wg.get_num_threads()
    results = []
    for n in (1, 2):
        wg.set_num_threads(n)
        results.append([t.numpy() for t in (linalg.inv(a), *linalg.svd(a), *linalg.qr(a))])
    wg.set_num_threads(before)
    for x, y in zip(*results, strict=True):
        np.testing.assert_array_equal(x, y)
