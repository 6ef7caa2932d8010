"""Products of bfloat16, and of float32 by bfloat16 parts: errors, special values, settings."""

from __future__ import annotations

import os
import subprocess
import sys
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Array = np.ndarray[Any, Any]

torch = pytest.importorskip("torch")

UNIT = _core.config()["bfloat16"]
needs_pairs = pytest.mark.skipif(UNIT == "none", reason="no instructions for pairs of bfloat16")


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    threads, split = wg.get_num_threads(), wg.backends.cpu.get_split_float32()
    yield
    wg.set_num_threads(threads)
    wg.set_float32_matmul_precision("highest")
    wg.backends.cpu.set_split_float32(split)
    _core.force_float32_products(0)


def _cancelling(rng: np.random.Generator, m: int, k: int, n: int) -> tuple[Array, Array]:
    # halves whose products cancel but for a small rest
    half = rng.standard_normal((m, (k + 1) // 2))
    a = np.concatenate([half, -half], 1)[:, :k]
    right = rng.standard_normal(((k + 1) // 2, n))
    rest = right + 1e-3 * rng.standard_normal(right.shape)
    return a, np.concatenate([right, rest])[:k]


def _scaled(rng: np.random.Generator, m: int, k: int, n: int) -> tuple[Array, Array]:
    return (
        rng.standard_normal((m, k)) * 10.0 ** rng.uniform(-6, 6, (m, k)),
        rng.standard_normal((k, n)) * 10.0 ** rng.uniform(-6, 6, (k, n)),
    )


FAMILIES: dict[str, Callable[[np.random.Generator, int, int, int], tuple[Array, Array]]] = {
    "normal": lambda rng, m, k, n: (rng.standard_normal((m, k)), rng.standard_normal((k, n))),
    "uniform": lambda rng, m, k, n: (rng.random((m, k)), rng.random((k, n))),
    "badly scaled": _scaled,
    "cancelling": _cancelling,
}
SHAPES = [(32, 784, 128), (256, 1024, 1024), (768, 128, 384), (61, 257, 35)]


def _errors(found: Array, a: Array, b: Array) -> tuple[float, float]:
    """Maximum and root mean square of |error| / (|A| |B|)."""
    exact = a.astype(np.float64) @ b.astype(np.float64)
    size = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64)
    error = np.abs(found - exact) / size
    return float(error.max()), float(np.sqrt((error**2).mean()))


@needs_pairs
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_six_products_are_as_exact_as_float32(family: str, shape: tuple[int, int, int]) -> None:
    a, b = (x.astype(np.float32) for x in FAMILIES[family](np.random.default_rng(0), *shape))
    theirs = [_errors(torch.from_numpy(a).mm(torch.from_numpy(b)).numpy(), a, b)]
    theirs.append(_errors(a @ b, a, b))
    _core.force_float32_products(6)
    ours = _errors((wg.from_numpy(a) @ wg.from_numpy(b)).numpy(), a, b)
    for q in range(2):
        assert ours[q] <= 1.25 * max(t[q] for t in theirs), (ours, theirs)


@needs_pairs
@pytest.mark.parametrize(("products", "bound"), [(3, 2.0**-15), (1, 2.0**-7)])
@pytest.mark.parametrize("family", FAMILIES)
def test_fewer_products_keep_their_bounds(family: str, products: int, bound: float) -> None:
    a, b = (x.astype(np.float32) for x in FAMILIES[family](np.random.default_rng(1), 77, 300, 50))
    _core.force_float32_products(products)
    worst, _ = _errors((wg.from_numpy(a) @ wg.from_numpy(b)).numpy(), a, b)
    assert bound / 4096 < worst < bound


@needs_pairs
@pytest.mark.parametrize("products", [1, 3, 6])
@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan, 3.4e38, -3.4e38])
def test_what_parts_cannot_hold_is_multiplied_in_float32(products: int, value: float) -> None:
    rng = np.random.default_rng(2)
    a, b = (rng.random(s).astype(np.float32) for s in ((40, 70), (70, 50)))
    a[3, 5] = value
    b[5, 7] = 0
    wanted = wg.from_numpy(a) @ wg.from_numpy(b)
    _core.force_float32_products(products)
    for threads in (1, 2):
        wg.set_num_threads(threads)
        assert wg.equal((wg.from_numpy(a) @ wg.from_numpy(b)).isnan(), wanted.isnan())
        found = wg.from_numpy(b.T.copy()) @ wg.from_numpy(a.T.copy())
        assert wg.equal(found.nan_to_num(), wanted.T.nan_to_num())


@needs_pairs
@pytest.mark.parametrize("products", [3, 6])
def test_tiny_numbers_are_multiplied_in_float32(products: int) -> None:
    rng = np.random.default_rng(3)
    a, b = (rng.random(s).astype(np.float32) + 0.5 for s in ((33, 64), (64, 40)))
    for scale in (1e-38, 1e-42, 1e-33):
        x = (a * np.float32(scale)).astype(np.float32)
        wanted = wg.from_numpy(x) @ wg.from_numpy(b)
        _core.force_float32_products(products)
        assert wg.equal(wg.from_numpy(x) @ wg.from_numpy(b), wanted)
        _core.force_float32_products(0)


@needs_pairs
@pytest.mark.parametrize("products", [1, 3, 6])
def test_addends_survive_what_is_multiplied_otherwise(products: int) -> None:
    rng = np.random.default_rng(4)
    start, a, b = (
        wg.from_numpy(rng.random(s).astype(np.float32)) for s in ((30, 20), (30, 40), (40, 20))
    )
    a[2, 3] = 3.4e38
    wanted = wg.addmm(start, a, b)
    _core.force_float32_products(products)
    assert wg.equal(wg.addmm(start, a, b), wanted)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
def test_same_bits_on_any_number_of_threads(dtype: str) -> None:
    rng = np.random.default_rng(5)
    for shape in ((300, 500, 200), (2, 3000, 900), (1500, 40, 2)):
        m, k, n = shape
        a, b = (
            wg.from_numpy(rng.standard_normal(s).astype(np.float32)).to(getattr(wg, dtype))
            for s in ((m, k), (k, n))
        )
        for products in (0, 1, 3, 6):
            _core.force_float32_products(products)
            wg.set_num_threads(1)
            alone = a @ b
            wg.set_num_threads(2)
            assert wg.equal(a @ b, alone), (shape, products)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_narrow_products_have_torch_s_results_and_gradients(dtype: str) -> None:
    rng = np.random.default_rng(6)
    eps = {"bfloat16": 2.0**-7, "float16": 2.0**-10}[dtype]

    def both(*shape: int) -> list[Any]:
        x = rng.standard_normal(shape).astype(np.float32)
        return [
            library.tensor(x).to(getattr(library, dtype)).requires_grad_()
            for library in (wg, torch)
        ]

    calls: list[tuple[Callable[..., Any], list[list[Any]]]] = [
        (lambda t, a, b: a @ b, [both(7, 33), both(33, 5)]),
        (lambda t, a, b: a @ b, [both(33), both(33)]),
        (lambda t, a, b: a @ b, [both(3, 7, 33), both(33)]),
        (lambda t, a, b: a.transpose(0, 1) @ b.T, [both(33, 7), both(5, 33)]),
        (lambda t, a, b: t.bmm(a, b), [both(4, 9, 31), both(4, 31, 6)]),
        (
            lambda t, x, w, b: t.nn.functional.linear(x, w, b),
            [both(2, 9, 31), both(6, 31), both(6)],
        ),
        (lambda t, c, a, b: t.addmm(c, a, b), [both(9, 6), both(9, 31), both(31, 6)]),
        (
            lambda t, c, a, b: t.addmm(c, a, b, beta=0.5, alpha=2),
            [both(6), both(9, 31), both(31, 6)],
        ),
        (lambda t, c, a, b: t.baddbmm(c, a, b), [both(2, 9, 6), both(2, 9, 31), both(2, 31, 6)]),
    ]
    for f, operands in calls:
        ours, theirs = (f(t, *(o[i] for o in operands)) for i, t in enumerate((wg, torch)))
        assert str(ours.dtype).split(".")[1] == dtype
        scale = theirs.abs().max().item() + 1
        np.testing.assert_allclose(
            ours.float().detach().numpy(), theirs.float().detach().numpy(), atol=eps * scale
        )
        ours.sum().backward()
        theirs.sum().backward()
        for a, b in operands:
            scale = b.grad.abs().max().item() + 1
            np.testing.assert_allclose(
                a.grad.float().numpy(), b.grad.float().numpy(), atol=2 * eps * scale
            )


def test_precision_has_torch_s_settings_and_errors() -> None:
    assert wg.get_float32_matmul_precision() == "highest"
    for name in ("high", "medium", "highest"):
        wg.set_float32_matmul_precision(name)
        assert wg.get_float32_matmul_precision() == name
    with pytest.warns(UserWarning, match="x is not one of 'highest', 'high', or 'medium'"):
        wg.set_float32_matmul_precision("x")
    assert wg.get_float32_matmul_precision() == "highest"
    for bad in (1, None):
        with pytest.raises(RuntimeError, match="expects a str, but got") as ours:
            wg.set_float32_matmul_precision(bad)  # type: ignore[arg-type]
        with pytest.raises(RuntimeError) as theirs:
            torch.set_float32_matmul_precision(bad)
        assert str(ours.value) == str(theirs.value)


def test_precision_changes_products_where_pairs_are_faster() -> None:
    rng = np.random.default_rng(7)
    a, b = (wg.from_numpy(rng.standard_normal((90, 90)).astype(np.float32)) for _ in range(2))
    exact = a.double() @ b.double()
    worst = {}
    for name in ("highest", "high", "medium"):
        wg.set_float32_matmul_precision(name)
        worst[name] = ((a @ b).double() - exact).abs().max().item()
    assert worst["highest"] < 1e-4
    assert (worst["high"] != worst["highest"]) == (UNIT == "avx512amx")
    assert (worst["medium"] > 1e-2) == (UNIT != "none")


def test_the_processor_s_settings() -> None:
    assert wg.backends.cpu.get_cpu_capability() in {"AVX512", "AVX2", "DEFAULT"}
    before = wg.backends.cpu.get_split_float32()
    for allowed in (True, False, before):
        wg.backends.cpu.set_split_float32(allowed)
        assert wg.backends.cpu.get_split_float32() is allowed
    with pytest.raises(ValueError, match="expected 0, 1, 3 or 6 products, got 2"):
        _core.force_float32_products(2)


def test_environment_chooses_units_and_products() -> None:
    program = (
        "import wengert as wg; c = wg._core.config(); "
        "print(c['isa'], c['bfloat16'], wg.backends.cpu.get_split_float32())"
    )

    def run(**variables: str) -> str:
        env = os.environ | variables
        command = [sys.executable, "-c", program]
        return subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout

    isa = _core.config()["isa"]
    assert run(WENGERT_ISA=isa).split() == [isa, "none", "False"]
    assert run(WENGERT_ISA=isa, WENGERT_SPLIT_FLOAT32="1").split()[2] == "True"
    if UNIT != "none":
        assert run(WENGERT_ISA="avx512bf16").split()[:2] == ["avx512", "avx512bf16"]


def test_medium_precision_leaves_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        wg.set_float32_matmul_precision("medium")
