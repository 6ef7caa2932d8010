"""Threads: the same bits on any number of them, none at import, alive after a fork."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable


def draw(*shape: int, dtype: str = "float32", seed: int = 0) -> wg.Tensor:
    return wg.tensor(np.random.default_rng(seed).normal(size=shape).astype(dtype))


def gradients(fn: Callable[..., wg.Tensor], *leaves: wg.Tensor) -> list[wg.Tensor]:
    leaves = tuple(x.clone().requires_grad_() for x in leaves)
    y = fn(*leaves)
    return [y.detach(), *wg.autograd.grad(y.sum(), leaves)]


def train(layers: int = 2, steps: int = 20) -> list[wg.Tensor]:
    wg.manual_seed(5)
    parts: list[Any] = [wg.nn.Linear(32, 256), wg.nn.Tanh()]
    for _ in range(layers):
        parts += [wg.nn.Linear(256, 256), wg.nn.ReLU()]
    model = wg.nn.Sequential(*parts, wg.nn.Linear(256, 10))
    optimizer = wg.optim.AdamW(model.parameters(), lr=1e-3)
    x, y = wg.randn(300, 32), wg.randint(10, (300,))
    for _ in range(steps):
        optimizer.zero_grad()
        loss = wg.nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
    return [loss.detach(), *(p.detach() for p in model.parameters())]


BIG: dict[str, Callable[[], list[wg.Tensor]]] = {
    "map": lambda: gradients(
        lambda a, b: (a * b).tanh() / (b * b + 1), draw(300_001), draw(300_001, seed=1)
    ),
    "broadcast": lambda: gradients(lambda a, b: (a + b).exp(), draw(700, 501), draw(501, seed=1)),
    "transposed": lambda: [draw(700, 501).t() * draw(501, 700, seed=1)],
    "sum": lambda: [draw(1_000_003).sum(), draw(1003, 1001).sum(0), draw(1003, 1001).sum(1)],
    "sum64": lambda: [
        draw(1_000_003, dtype="float64").sum(),
        draw(3, 300_001, dtype="float64").mean(1),
    ],
    "extremes": lambda: [
        draw(1_000_003).max(),
        draw(1003, 1001).amin(0),
        draw(1003, 1001).argmax(1),
    ],
    "matmul": lambda: gradients(lambda a, b: a @ b, draw(301, 257), draw(257, 403, seed=1)),
    "matmul64": lambda: [draw(301, 257, dtype="float64") @ draw(257, 203, dtype="float64")],
    "batched": lambda: gradients(lambda a, b: a @ b, draw(16, 65, 33), draw(33, 70, seed=1)),
    "softmax": lambda: gradients(lambda x: x.softmax(1) * 2, draw(1001, 301)),
    "cross entropy": lambda: gradients(
        lambda x: wg.nn.functional.cross_entropy(x, wg.randint(50, (5001,))), draw(5001, 50)
    ),
    "rows": lambda: gradients(lambda x: x[wg.randint(1000, (50_000,))], draw(1000, 20)),
    "cast": lambda: [draw(500_001).double(), draw(500_001).long(), draw(500_001) > 0],
    "training": train,
}


@pytest.mark.parametrize("work", BIG.values(), ids=BIG)
def test_the_same_bits_on_any_number_of_threads(work: Callable[[], list[wg.Tensor]]) -> None:
    results = []
    for threads in (1, 2, 3):
        wg.set_num_threads(threads)
        wg.manual_seed(0)
        results.append(work())
    wg.set_num_threads(2)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_rows_do_not_depend_on_the_batch() -> None:
    wg.manual_seed(0)
    model = wg.nn.Sequential(wg.nn.Linear(33, 65), wg.nn.ReLU(), wg.nn.Linear(65, 7))
    x = draw(130, 33)
    with wg.no_grad():
        whole = model(x)
        for start, stop in ((0, 1), (3, 5), (17, 64), (100, 130)):
            np.testing.assert_array_equal(model(x[start:stop]).numpy(), whole[start:stop].numpy())


def test_the_number_of_threads_is_kept() -> None:
    for n in (1, 3, 2):
        wg.set_num_threads(n)
        assert wg.get_num_threads() == n
        assert wg._core.config()["threads"] == n


# --- processes ---------------------------------------------------------------------------------


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_import_is_light() -> None:
    code = """
import os, sys
import wengert as wg
assert "numpy" not in sys.modules, "import wengert imports NumPy"
assert sys.modules.get("torch") is None
tasks = "/proc/self/task"
assert not os.path.exists(tasks) or len(os.listdir(tasks)) == 1, "import wengert starts a thread"
x = wg.ones(3, requires_grad=True)
(x * x).sum().backward()
wg.optim.SGD([x]).step()
wg.nn.Linear(2, 2)(wg.ones(1, 2))
repr(x), x.tolist(), x[0], wg.cat([x, x])
assert "numpy" not in sys.modules, "a training step imports NumPy"
assert not wg._core.pool_started()
wg.ones(4_000_000).exp()
print(wg._core.pool_started())
"""
    assert run(code) == "True"


def test_everything_public_exists() -> None:
    assert (
        run("""
import wengert as wg
for home in (wg, wg.nn, wg.optim, wg.testing, wg.utils.data):
    for name in getattr(home, "__all__", []):
        getattr(home, name)
print(wg.__name__)
""")
        == "wengert"
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_after_threaded_work() -> None:
    wg.set_num_threads(2)
    want = draw(1_000_003).exp().sum().item()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            x = draw(1_000_003).requires_grad_()
            loss = x.exp().sum()
            loss.backward()
            code = 0 if loss.item() == want and len(train(1, 3)) > 1 else 2
        finally:
            os._exit(code)
    timer = threading.Timer(30, os.kill, (pid, 9))
    timer.start()
    _, status = os.waitpid(pid, 0)
    timer.cancel()
    assert os.waitstatus_to_exitcode(status) == 0
    assert draw(1_000_003).exp().sum().item() == want


# --- Python threads ----------------------------------------------------------------------------


def in_threads(n: int, work: Callable[[int], None]) -> None:
    failures: list[BaseException] = []

    def guarded(i: int) -> None:
        try:
            work(i)
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=guarded, args=(i,)) for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("size", [3, 200_000])
def test_backward_from_several_threads(size: int) -> None:
    x = draw(size, dtype="float64")
    want = 2 * x.numpy()

    def work(i: int) -> None:
        own = x.clone().requires_grad_()
        for _ in range(200 if size < 10 else 5):
            own.grad = None
            (own * own).sum().backward()
            np.testing.assert_array_equal(own.grad.numpy(), want)

    in_threads(4, work)


def test_threads_accumulate_into_one_leaf() -> None:
    shared = wg.zeros(3, dtype=wg.float64, requires_grad=True)

    def work(i: int) -> None:
        for _ in range(250):
            (shared * (i + 1)).sum().backward()

    in_threads(4, work)
    assert shared.grad.tolist() == [250 * (1 + 2 + 3 + 4)] * 3


def test_tensors_freed_by_another_thread() -> None:
    held: list[wg.Tensor] = []

    def work(i: int) -> None:
        y = wg.ones(100, requires_grad=True)
        for _ in range(1000):
            y = y * 1.5
        held.append(y)

    before = wg.memory_stats()["current_bytes"]
    in_threads(4, work)
    held.clear()
    assert wg.memory_stats()["current_bytes"] == before
