"""A character transformer trained by wengert and by PyTorch: same weights, same batches.

    python bench/loss_curves.py --text tinyshakespeare.txt --steps 500 --picture curves.png

The network and the step are those of the case "train/character transformer" (AdamW). Rounding sets
the two apart, and training magnifies it: what must agree are the first steps closely and the curves
as a whole.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from wengert._bench import peers, report
from wengert._bench.cases_train import BATCH, BLOCK, CHARACTERS, TRANSFORMER
from wengert._bench.harness import WENGERT


def batches(text: str, steps: int) -> list[tuple[Any, Any]]:
    """Return so many batches of characters and of those that follow them."""
    known = sorted(set(text))
    if len(known) > CHARACTERS:
        raise ValueError(f"expected a text of up to {CHARACTERS} different characters")
    numbers = {c: i for i, c in enumerate(known)}
    data = np.fromiter((numbers[c] for c in text), np.int64, len(text))
    rng = np.random.default_rng(0)
    starts = rng.integers(0, len(data) - BLOCK - 1, (steps, BATCH))
    rows = starts[:, :, None] + np.arange(BLOCK + 1)
    return [(data[r[:, :-1]], data[r[:, 1:]]) for r in rows]


def train(p: peers.Peers, peer: str, weights: list[Any], data: Any) -> tuple[list[float], float]:
    """Return the loss of each step, and the seconds they took."""
    library = p.wg if peer == WENGERT else p.torch
    model = TRANSFORMER.started(p, peer, weights)
    optimizer = library.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    losses = []
    start = time.perf_counter()
    for tokens, targets in data:
        optimizer.zero_grad()
        loss = TRANSFORMER.loss(library, model, p.array(peer, tokens), p.array(peer, targets))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses, time.perf_counter() - start


def main() -> int:
    """Train with both; print, and write what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write the losses there, as JSON")
    parser.add_argument("--picture", type=Path, help="draw them there")
    options = parser.parse_args()
    p = peers.load(options.threads)
    data = batches(options.text.read_text(), options.steps)
    weights = TRANSFORMER.weights(p)
    curves = {}
    for peer in (WENGERT, "torch"):
        if p.has(peer):
            curves[peer], seconds = train(p, peer, weights, data)
            print(f"{peer}: {options.steps} steps in {seconds:.1f} s")
    names = list(curves)
    marks = [i for i in (0, 1, 2, 4, 9, 19, 49) if i < options.steps]
    marks += range(99, options.steps, 100)
    lines = [[str(i + 1), *(f"{curves[n][i]:.6f}" for n in names)] for i in marks]
    # The mean of the last tenth: single batches differ more than the curves.
    tail = max(1, options.steps // 10)
    lines.append(["mean at the end", *(f"{np.mean(curves[n][-tail:]):.4f}" for n in names)])
    print(report.table(["step", *names], lines))
    if len(names) == 2:
        apart = np.abs(np.subtract(*curves.values()))
        print(
            f"largest difference: {apart.max():.2g}; in the first 10 steps {apart[:10].max():.2g}"
        )
    if options.out:
        results = report.header()
        results["losses"] = curves
        options.out.write_text(json.dumps(results, indent=1) + "\n")
    if options.picture:
        from matplotlib.figure import Figure

        figure = Figure(figsize=(7, 4), layout="constrained")
        axes = figure.subplots()
        for name, style in zip(names, ("-", "--"), strict=False):
            axes.plot(curves[name], style, label=name, linewidth=1)
        axes.set(xlabel="step", ylabel="cross-entropy of a character, in nats")
        axes.legend()
        figure.savefig(options.picture)
    return 0


if __name__ == "__main__":
    sys.exit(main())
