"""einsum over random equations, and what its rows in the table leave out."""

from __future__ import annotations

import string
from dataclasses import dataclass

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.testing import gradcheck, gradgradcheck

LETTERS = string.ascii_letters


@dataclass
class Problem:
    equation: str
    shapes: list[tuple[int, ...]]

    def draw(self, rng: np.random.Generator) -> list[np.ndarray]:
        return [rng.uniform(-1, 1, shape) for shape in self.shapes]


def random_problem(seed: int) -> Problem:
    """Draw an equation: repeated letters, broadcast sizes, ellipses and empty dimensions occur."""
    rng = np.random.default_rng(seed)
    letters = rng.choice(list(LETTERS), size=5, replace=False)
    sizes = {c: int(rng.integers(1, 4)) for c in letters}
    if seed % 11 == 0:
        sizes[letters[0]] = 0
    batch = tuple(int(n) for n in rng.integers(1, 3, int(rng.integers(0, 3))))
    ellipses = seed % 3 == 0
    terms, shapes, used = [], [], []
    for _ in range(int(rng.integers(1, 5))):
        term = [str(c) for c in rng.choice(letters, size=int(rng.integers(0, 4)))]
        used += term
        # a size of 1 stands for any, but not beside the same letter
        shape = [1 if rng.random() < 0.1 and term.count(c) == 1 else sizes[c] for c in term]
        if ellipses:
            at = int(rng.integers(0, len(term) + 1))
            tail = batch[int(rng.integers(0, len(batch) + 1)) :]
            term.insert(at, "...")
            shape[at:at] = tail
        terms.append("".join(term))
        shapes.append(tuple(shape))
    equation = ",".join(terms)
    if seed % 4:
        letters_out = sorted(set(used))
        rng.shuffle(letters_out)
        output = letters_out[: int(rng.integers(0, len(letters_out) + 1))]
        if ellipses:
            output.insert(int(rng.integers(0, len(output) + 1)), "...")
        equation += "->" + "".join(output)
    return Problem(equation, shapes)


@needs_torch
@pytest.mark.parametrize("seed", range(150))
def test_random_equations_equal_torch(seed: int) -> None:
    problem = random_problem(seed)
    arrays = problem.draw(np.random.default_rng(seed))
    ours = [wg.tensor(a).requires_grad_() for a in arrays]
    theirs = [torch.from_numpy(a).requires_grad_() for a in arrays]
    got, want = wg.einsum(problem.equation, *ours), torch.einsum(problem.equation, *theirs)
    assert tuple(got.shape) == tuple(want.shape), problem
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-12, atol=1e-12)
    weight = np.random.default_rng(seed + 1).uniform(-1, 1, tuple(want.shape))
    (got * wg.tensor(weight)).sum().backward()
    (want * torch.from_numpy(weight)).sum().backward()
    for a, b in zip(ours, theirs, strict=True):
        assert a.grad is not None
        np.testing.assert_allclose(a.grad.numpy(), b.grad.numpy(), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(0, 60, 5))
def test_derivatives_of_random_equations(seed: int) -> None:
    problem = random_problem(seed)
    leaves = [wg.tensor(a).requires_grad_() for a in problem.draw(np.random.default_rng(seed))]
    gradcheck(lambda *xs: wg.einsum(problem.equation, *xs), leaves)
    gradgradcheck(lambda *xs: wg.einsum(problem.equation, *xs), leaves)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(33, 70), (70, 41)]),
        ("bhid,bhjd->bhij", [(2, 3, 17, 8), (2, 3, 19, 8)]),
        ("ijkl,kjm->lim", [(3, 4, 5, 6), (5, 4, 7)]),
        ("abc,cd,def->abef", [(2, 3, 4), (4, 5), (5, 2, 3)]),
        ("ab,cd,bd->ac", [(6, 7), (8, 9), (7, 9)]),
    ],
)
def test_large_equations_equal_numpy(equation: str, shapes: list[tuple[int, ...]]) -> None:
    arrays = Problem(equation, shapes).draw(np.random.default_rng(0))
    # the same through other strides
    turned = [np.array(a.T, order="C").T for a in arrays]
    for operands in (arrays, turned):
        got = wg.einsum(equation, [wg.from_numpy(a) for a in operands])
        np.testing.assert_allclose(
            got.numpy(), np.einsum(equation, *arrays), rtol=1e-12, atol=1e-12
        )


def test_a_matrix_product_is_one_launch() -> None:
    a, b = wg.randn(2, 3, 4), wg.randn(2, 5, 4)
    with wg.testing.count_launches() as counted:
        wg.einsum("bik,bjk->bij", a, b)
    assert counted.counts == {"gemm": 1}


def test_alone_it_is_a_view() -> None:
    x = wg.arange(6.0).reshape(2, 3)
    for equation in ("ij->ji", "ij->ij", "..."):
        y = wg.einsum(equation, x)
        assert y is not x
        assert y.data_ptr() == x.data_ptr()
    assert wg.einsum("ii->i", x[:, :2]).data_ptr() == x.data_ptr()


def test_many_operands() -> None:
    ms = [wg.eye(2) if hasattr(wg, "eye") else wg.tensor([[1.0, 0.0], [0.0, 1.0]])] * 50
    terms = ",".join(LETTERS[i] + LETTERS[i + 1] for i in range(50))
    got = wg.einsum(f"{terms}->{LETTERS[0]}{LETTERS[50]}", *ms)
    np.testing.assert_array_equal(got.numpy(), np.eye(2))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float16", "bfloat16"])
def test_narrow_dtypes(dtype: str) -> None:
    a = wg.tensor([[1, 2], [3, 4]]).to(getattr(wg, dtype))
    got = wg.einsum("ij,jk->ik", a, a)
    assert got.dtype is a.dtype
    np.testing.assert_array_equal(got.float().numpy(), [[7, 10], [15, 22]])


def test_dtypes_must_agree() -> None:
    with pytest.raises(RuntimeError, match=r"einsum: .*float32 and float64"):
        wg.einsum("i,i", wg.ones(2), wg.ones(2, dtype=wg.float64))
    assert wg.einsum("i,j->ij", wg.ones(2), wg.ones(2, dtype=wg.int64)).dtype is wg.float32
