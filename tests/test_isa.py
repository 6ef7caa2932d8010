"""Every instruction set that the machine has gives right results; an unknown one is refused."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

# What this architecture's build has kernels for.
ISAS = ["v2", "avx2", "avx512"] if platform.machine() in {"x86_64", "AMD64"} else ["neon"]

PROGRAM = """
import numpy as np
import wengert as wg

rng = np.random.default_rng(0)
isa = wg._core.config()["isa"]
for n in (1, 3, 8, 17, 64, 1000):
    x = rng.standard_normal(n).astype(np.float32)
    t = wg.from_numpy(x)
    x64 = x.astype(np.float64)
    for name in ("exp", "tanh", "sin"):
        f = getattr(np, name)
        np.testing.assert_allclose(getattr(t, name)().numpy(), f(x64), rtol=4e-7, atol=1e-7)
    np.testing.assert_allclose(t.sum().item(), x64.sum(), rtol=1e-5, atol=1e-4)
    assert t.argmax().item() == x.argmax()
    assert (t > 0).tolist() == (x > 0).tolist()
for m, k, n in ((1, 1, 1), (5, 7, 3), (33, 65, 17), (64, 300, 50)):
    a, b = rng.standard_normal((m, k)), rng.standard_normal((k, n))
    np.testing.assert_allclose((wg.from_numpy(a) @ wg.from_numpy(b)).numpy(), a @ b, atol=1e-10)
wg.manual_seed(0)
w = wg.randn(20, 5, requires_grad=True)
loss = wg.nn.functional.cross_entropy(wg.randn(64, 20) @ w, wg.randint(5, (64,)))
loss.backward()
x = wg.randn(3, 5).double().requires_grad_()
assert wg.testing.gradcheck(lambda v: v.tanh().softmax(-1), x)
print(isa)
"""


def run(isa: str) -> subprocess.CompletedProcess[str]:
    env = os.environ | {"WENGERT_ISA": isa}
    command = [sys.executable, "-W", "error", "-c", PROGRAM]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("isa", ISAS)
def test_forced_instruction_set(isa: str) -> None:
    done = run(isa)
    if f"'{isa}' is not available" in done.stderr:
        pytest.skip(f"this machine has no {isa}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == isa


def test_unknown_instruction_set_is_refused_with_the_choices() -> None:
    done = run("avx1024")
    assert done.returncode != 0
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ValueError: WENGERT_ISA: 'avx1024' is not available; expected one of")
