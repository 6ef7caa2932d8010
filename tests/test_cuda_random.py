"""Random numbers on a CUDA device: those of the processor, from the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from on_both import assert_alike
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip(f"no CUDA device: {_core.cuda.why_none()}", allow_module_level=True)

SIZES = (0, 1, 2, 3, 31, 33, 63, 64, 65, 127, 1000, 5001)


def drawn(fn: Callable[[str], Any], device: str, seed: int) -> Any:
    wg.manual_seed(seed)
    return fn(device)


def assert_same_numbers(fn: Callable[[str], Any], rtol: float = 0.0, seed: int = 3) -> None:
    want = drawn(fn, "cpu", seed)
    before = _core.cuda.host_launches()
    got = drawn(fn, "cuda", seed)
    assert _core.cuda.host_launches() == before
    assert_alike(got, want, rtol)
    assert_alike(drawn(fn, "cuda", seed), got.cpu())


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.float16, wg.bfloat16])
def test_rand(n: int, dtype: Any) -> None:
    assert_same_numbers(lambda d: wg.rand(n, dtype=dtype, device=d))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize(("dtype", "rtol"), [(wg.float32, 2e-6), (wg.float64, 1e-14)])
def test_randn(n: int, dtype: Any, rtol: float) -> None:
    assert_same_numbers(lambda d: wg.randn(n, dtype=dtype, device=d), rtol)


@pytest.mark.parametrize("bounds", [(0, 2), (-5, 7), (0, 2**40), (-(2**62), 2**62)])
@pytest.mark.parametrize("n", SIZES)
def test_randint(n: int, bounds: tuple[int, int]) -> None:
    assert_same_numbers(lambda d: wg.randint(*bounds, (n,), device=d))


FILLS: dict[str, Callable[[Any], Any]] = {
    "uniform": lambda t: t.uniform_(-2.5, 7.25),
    "normal": lambda t: t.normal_(1.5, 0.25),
    "log_normal": lambda t: t.log_normal_(0.1, 0.5),
    "exponential": lambda t: t.exponential_(2.5),
    "geometric": lambda t: t.geometric_(0.3),
    "cauchy": lambda t: t.cauchy_(0.5, 2.0),
    "bernoulli": lambda t: t.bernoulli_(0.3),
    "random": lambda t: t.random_(0, 100),
}
ROUNDED = {"normal", "log_normal", "exponential", "cauchy"}


@pytest.mark.parametrize("n", [1, 33, 65, 1001])
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
@pytest.mark.parametrize("name", FILLS)
def test_fills(name: str, dtype: Any, n: int) -> None:
    rtol = 0.0 if name not in ROUNDED else 1e-5 if dtype == wg.float32 else 1e-12
    assert_same_numbers(lambda d: FILLS[name](wg.zeros(n, dtype=dtype, device=d)), rtol)


def test_fills_of_what_is_not_aligned() -> None:
    def fill(device: str) -> Any:
        t = wg.zeros(200, device=device)
        t[3:].uniform_()
        return t

    assert_same_numbers(fill)


def test_draws_go_on() -> None:
    def three(device: str) -> Any:
        return wg.stack([wg.rand(100, device=device) for _ in range(3)])

    assert_same_numbers(three)
    t = three("cuda")
    assert not (t[0] == t[1]).any()


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.bfloat16])
@pytest.mark.parametrize("n", [1, 33, 1001])
def test_dropout(n: int, dtype: Any) -> None:
    x = np.linspace(-3, 3, n)

    def drop(device: str) -> Any:
        t = wg.tensor(x, device=device).to(dtype).requires_grad_()
        y = wg.nn.functional.dropout(t, 0.4)
        y.backward(wg.ones_like(y))
        return wg.cat([y, t.grad])

    assert_same_numbers(drop)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64])
def test_poisson(dtype: Any) -> None:
    rates = np.array([0.0, 0.5, 3.0, 9.99, 10.0, 55.5, 1e4, 1e13, np.inf] * 20)
    assert_same_numbers(lambda d: wg.poisson(wg.tensor(rates, device=d).to(dtype)))


@pytest.mark.parametrize("replacement", [True, False])
@pytest.mark.parametrize("categories", [1, 7, 300, 3000])
def test_multinomial(replacement: bool, categories: int) -> None:
    weights = np.random.default_rng(1).random((3, categories))
    weights[:, 2:3] = 0
    samples = max(1, categories // 2)
    assert_same_numbers(
        lambda d: wg.multinomial(wg.tensor(weights, device=d), samples, replacement)
    )


def test_permutation() -> None:
    wg.manual_seed(1)
    want = wg.randperm(1000)
    wg.manual_seed(1)
    assert_alike(wg.randperm(1000, device="cuda"), want)


@pytest.mark.parametrize("n", [0, 1, 2, 33, 1001])
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.int64, wg.int32])
def test_ranges(n: int, dtype: Any) -> None:
    before = _core.cuda.host_launches()
    even = wg.linspace(-3, 11.5, n, dtype=dtype, device="cuda")
    steps = wg.arange(3, 3 + 2 * n, 2, dtype=dtype, device="cuda")
    assert _core.cuda.host_launches() == before
    assert_alike(even, wg.linspace(-3, 11.5, n, dtype=dtype))
    assert_alike(steps, wg.arange(3, 3 + 2 * n, 2, dtype=dtype))
