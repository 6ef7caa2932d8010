"""What training steps hold in memory: the peak of a process that has only one library.

Each library trains each network of the families of training steps for some steps in a process of
its own. "Peak" is the process's largest resident set, "steps" how much larger that is than the one
right after the import.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cases_cnn, cases_mlp, cases_train, peers
from .harness import WENGERT
from .report import table

if TYPE_CHECKING:
    from .training import Training

STEPS = 5
TRAININGS: list[Training] = [
    *(n.training() for n in cases_mlp.NETWORKS),
    cases_cnn.LENET,
    cases_train.TRANSFORMER,
    cases_train.ACTOR_CRITICS[-1],
]
LABELS = (WENGERT, "torch", "torch fused", "jax jit")


def _peak_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def run_child(options: argparse.Namespace) -> None:
    """Train one network with one library in this process, and print the peaks."""
    label = LABELS[options.label]
    p = peers.alone(label.split()[0], options.threads)
    imported = _peak_bytes()
    with np.load(options.weights) as stored:
        weights = [stored[name] for name in stored.files]
    training = TRAININGS[options.case]
    candidate = training.candidate(p, label, weights)
    del weights
    for _ in range(STEPS):
        candidate.names["step"]()
    candidate.names.get("wait", int)()
    print(json.dumps({"imported": imported, "peak": _peak_bytes()}))


def measure(threads: int) -> list[dict[str, Any]]:
    """Return the peaks in bytes, case by case."""
    cases = []
    p = peers.ours(threads)
    with tempfile.TemporaryDirectory() as folder:
        for i, training in enumerate(TRAININGS):
            weights = Path(folder) / f"{i}.npz"
            np.savez(weights, *training.weights(p))
            rows = []
            for number, label in enumerate(LABELS):
                if peers.missing(label.split()[0]) is not None:
                    continue
                command = [sys.executable, "-m", "wengert._bench.cases_memory"]
                command += [str(i), str(number), str(weights), str(threads)]
                env = peers.environment(threads, "native")
                done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE)
                rows.append({"name": label, **json.loads(done.stdout)})
            cases.append({"name": training.name, "rows": rows})
    return cases


def text(cases: list[dict[str, Any]]) -> str:
    """Return the figures as a table."""
    lines = []
    for case in cases:
        rows = case["rows"]
        own = {"peak": rows[0]["peak"], "steps": rows[0]["peak"] - rows[0]["imported"]}
        lines.append([case["name"], "", "", "", ""])
        for row in rows:
            steps = row["peak"] - row["imported"]
            cells = [f"{row['peak'] / 2**20:.1f}", f"{row['peak'] / own['peak']:.2f}"]
            cells += [f"{steps / 2**20:.1f}", f"{steps / max(own['steps'], 1):.2f}"]
            lines.append([f"  {row['name']}", *cells])
    head = [f"after {STEPS} steps", "peak MiB", "ratio", "steps MiB", "ratio"]
    return (
        f"memory  (largest resident set; steps: less that after the import)\n{table(head, lines)}\n"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name in ("case", "label", "weights", "threads"):
        parser.add_argument(name, type=str if name == "weights" else int)
    run_child(parser.parse_args())
