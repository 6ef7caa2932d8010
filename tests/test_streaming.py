"""Results written past the caches have the same bits as others, on every instruction set."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from test_isa import ISAS

# Prints a name and a digest for each result. Runs begin to stream at 4,096 and at 280,000 bytes.
PROGRAM = """
import hashlib
import sys
import wengert as wg

F = wg.nn.functional
wg.set_num_threads(int(sys.argv[1]))


def show(name, t):
    t = t.detach().contiguous()
    if t.dtype == wg.bfloat16:
        t = t.view(wg.int16)
    print(name, hashlib.sha256(t.numpy().tobytes()).hexdigest())


def numbers(*shape):
    n = 1
    for s in shape:
        n *= s
    return (wg.arange(n).float() * 0.37).sin().reshape(shape)


for n in (1, 1023, 1024, 1025, 4096, 69_999, 70_000, 140_001):
    long = numbers(n + 2)
    for offset in (0, 1):
        where = f"{n} from {offset}"
        x, y = long[offset : offset + n], long.flip(0)[:n]
        for dtype in (wg.float32, wg.float64, wg.bfloat16, wg.float16, wg.int32, wg.int8):
            a, b = (x * 90).to(dtype), (y * 90).to(dtype)
            show(f"add {dtype} {where}", a + b)
            show(f"cast {dtype} {where}", a.double())
            show(f"compare {dtype} {where}", a > b)
            show(f"row {dtype} {where}", a + b[:1])
        show(f"exp {where}", x.exp())
        show(f"where {where}", wg.where(x > y, x, y))
        show(f"clone {where}", x.clone())
        show(f"strided {where}", long[::2] * 3)
        # Results that do not begin at a line.
        for op in ("exp", "neg"):
            out = wg.zeros(n + 2)
            getattr(wg, op)(x, out=out[offset : offset + n])
            show(f"{op} into {where}", out)
        out = wg.zeros(n + 2)
        out[offset : offset + n].copy_(x)
        out[offset : offset + n].add_(y).mul_(x)
        show(f"in place {where}", out)
        out[offset : offset + n].fill_(2.5)
        show(f"fill {where}", out)
        out[offset : offset + n].zero_()
        show(f"zero {where}", out)
        wg.manual_seed(3)
        show(f"uniform {where}", wg.rand(n))
        show(f"normal {where}", out[offset : offset + n].normal_())
        show(f"dropout {where}", F.dropout(x, 0.3))
    a = numbers(n).requires_grad_()
    (a.tanh() * a).backward(wg.ones(n))
    show(f"gradient {n}", a.grad)
for rows, columns in ((3, 400), (33, 31), (64, 64), (65, 130), (300, 200), (257, 512), (7000, 9)):
    for dtype in (wg.float32, wg.float64, wg.bfloat16, wg.int8, wg.int64):
        where = f"{rows} x {columns} {dtype}"
        a, b = (numbers(rows, columns) * 90).to(dtype), (numbers(columns, rows) * 80).to(dtype)
        turned = b.T.contiguous()
        if dtype != wg.bfloat16:
            assert (turned.numpy() == b.numpy().T).all()
        show(f"turned copy {where}", turned)
        show(f"turned {where}", a + b.T)
        assert wg.equal(a + b.T, a + turned)
        show(f"turned twice {where}", (a.T * 2 + b) > b.flip(0))
        show(f"turned and spread {where}", wg.where(a > b.T, b.T, a[0]))
        c = numbers(5, rows, columns).to(dtype)
        show(f"first last {where}", c.permute(2, 0, 1) + 1)
        show(f"middle first {where}", c.permute(1, 0, 2) * a[:, None])
        show(f"blocks {where}", c + b.T)
        show(f"outer first {where}", c.permute(1, 2, 0).contiguous() - c.permute(1, 2, 0))
        d = a.clone()
        d.add_(b.T)
        show(f"turned in place {where}", d)
        d[:, 1:].copy_(b.T[:, 1:])
        show(f"part of rows {where}", d)
"""


def results(isa: str, threads: int, stream_bytes: int) -> list[str]:
    env = os.environ | {"WENGERT_ISA": isa, "WENGERT_STREAM_BYTES": str(stream_bytes)}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(threads)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if f"'{isa}' is not available" in done.stderr:
        pytest.skip(f"this machine has no {isa}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("isa", ISAS)
def test_streamed_results_have_the_same_bits(isa: str) -> None:
    ordinary = results(isa, 1, 1 << 60)
    assert len(ordinary) > 800
    assert results(isa, 1, 4096) == ordinary
    assert results(isa, 2, 280_000) == ordinary
