"""Memory that training has once used stays in place: no step touches a fresh page again.

A fresh page costs some 250 ns a 4 KiB, more than most kernels spend on it.
"""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("resource")

STEPS = """
import gc, resource, sys
import wengert as wg
from wengert import nn

threads, batches = int(sys.argv[1]), [int(n) for n in sys.argv[2].split(",")]
wg.set_num_threads(threads)
model = nn.Sequential(nn.Linear(256, 512), nn.ReLU(), nn.Linear(512, 512), nn.GELU(),
                      nn.Dropout(0.1), nn.Linear(512, 10))
optimizer = wg.optim.Adam(model.parameters())
data = [(wg.randn(n, 256), wg.randint(0, 10, (n,))) for n in batches]

def epoch():
    for x, target in data:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

for _ in range(3):
    epoch()
gc.collect()
gc.disable()
counts = []
for _ in range(5):
    before = faults()
    epoch()
    counts.append(faults() - before)
print(*counts)
"""


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("batches", ["2048", "64,1000,64"])
def test_no_page_faults_after_warming_up(threads: int, batches: str) -> None:
    command = [sys.executable, "-c", STEPS, str(threads), batches]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    counts = [int(n) for n in done.stdout.split()]
    # The interpreter and the system now and then take a page of their own.
    assert sorted(counts)[2] == 0, counts
    assert sum(counts) <= 4, counts
