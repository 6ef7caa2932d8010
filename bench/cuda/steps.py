"""Training steps on a GPU, side by side: wengert beside PyTorch in all its forms, and JAX.

The models are those of wengert-bench, written once against the names that wengert and PyTorch
share, and start from the same weights everywhere; losses after the warm-up must agree before
anything is timed. Candidates take turns, and what is told is the least and the median of all
rounds, and PyTorch's eager time over each.

    python bench/cuda/steps.py                       # all, on the GPU
    python bench/cuda/steps.py --only mlp --out results.json
    python bench/cuda/steps.py --device cpu --quick  # that the script works, where there is no GPU
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

import wengert as wg
from wengert._bench.cases_cnn import LENET
from wengert._bench.cases_mlp import Network
from wengert._bench.cases_train import character_transformer

if TYPE_CHECKING:
    from collections.abc import Callable

    from wengert._bench.training import Training

WARM_UP = 4  # steps before losses are compared


@dataclass
class Model:
    """What is trained: made of a module of PyTorch's names, and what a batch looks like."""

    name: str
    make: Callable[[Any], Any]  # (wg or torch) -> module
    inputs: tuple[tuple[int, ...], str]  # shape, and "normal" or the number of classes
    targets: tuple[tuple[int, ...], int]
    bfloat16: bool = False
    tolerance: float = 2e-3
    jax: Training | None = None  # the same step in JAX's terms

    def batch(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        shape, kind = self.inputs
        if kind == "normal":
            x = rng.standard_normal(shape).astype(np.float32)
        else:
            x = rng.integers(0, int(kind), shape)
        return x, rng.integers(0, self.targets[1], self.targets[0])


def mlp(*sizes: int, batch: int) -> Model:
    network = Network(sizes, batch)
    return Model(
        f"mlp/{network.name} b{batch}", network.model, ((batch, sizes[0]), "normal"),
        ((batch,), sizes[-1]), jax=network.training(),
    )  # fmt: skip


def transformer(name: str, batch: int, block: int, words: int, *, layers: int, heads: int,
                width: int, **options: Any) -> Model:  # fmt: skip
    """A decoder over characters or words, as GPT-2 has it."""
    make = partial(character_transformer, layers=layers, heads=heads, width=width, block=block,
                   words=words)  # fmt: skip
    size = (batch, block)
    return Model(f"transformer/{name}", make, (size, str(words)), (size, words), **options)


def models(quick: bool) -> list[Model]:
    if quick:
        return [
            mlp(8, 16, 16, 4, batch=8),
            transformer("tiny", 2, 8, 17, layers=1, heads=2, width=16),
        ]
    return [
        mlp(8, 64, 64, 4, batch=32),
        mlp(784, 256, 256, 10, batch=128),
        mlp(*[4096] * 5, 1000, batch=4096),
        Model("lenet b128", LENET.model, ((128, 1, 28, 28), "normal"), ((128,), 10)),
        transformer("chars 4x128", 16, 128, 65, layers=4, heads=4, width=128),
        transformer("124M bf16", 8, 1024, 50304, layers=12, heads=12, width=768, bfloat16=True,
                    tolerance=5e-2),
    ]  # fmt: skip


@dataclass
class Candidate:
    name: str
    step: Callable[[], Any]  # one training step; its loss
    wait: Callable[[], None]
    times: list[float] = field(default_factory=list)  # seconds a step


def weights_of(model: Model) -> dict[str, np.ndarray]:
    wg.manual_seed(0)
    return {k: v.numpy().copy() for k, v in model.make(wg).state_dict().items()}


def started(t: Any, model: Model, weights: dict[str, np.ndarray], device: str) -> Any:
    module = model.make(t)
    module.load_state_dict({k: t.from_numpy(v.copy()) for k, v in weights.items()})
    return module.to(device)


def loss_of(t: Any, model: Model, module: Any, device: str) -> Callable[[Any, Any], Any]:
    def loss(x: Any, y: Any) -> Any:
        if model.bfloat16:
            with t.autocast(device, dtype=t.bfloat16):
                out = module(x)
                return t.nn.functional.cross_entropy(out.flatten(0, -2), y.flatten())
        out = module(x)
        return t.nn.functional.cross_entropy(out.flatten(0, -2), y.flatten())

    return loss


def eager(t: Any, model: Model, weights: Any, device: str, **adam: Any) -> tuple[Any, Any, Any]:
    """The step, its module and its optimizer."""
    module = started(t, model, weights, device)
    optimizer = t.optim.Adam(module.parameters(), lr=1e-3, **adam)
    x, y = (t.from_numpy(a).to(device) for a in model.batch(1))
    loss = loss_of(t, model, module, device)

    def step(x: Any = x, y: Any = y) -> Any:
        optimizer.zero_grad(set_to_none=True)
        out = loss(x, y)
        out.backward()
        optimizer.step()
        return out.detach()

    return step, (x, y), optimizer


def of_wengert(model: Model, weights: Any, device: str) -> list[Candidate]:
    def wait() -> None:
        if device == "cuda":
            wg.cuda.synchronize()

    step, _, _ = eager(wg, model, weights, device)
    captured, batch, _ = eager(wg, model, weights, device)
    replayed = wg.capture(captured)
    return [
        Candidate("wengert eager", step, wait),
        Candidate("wengert capture", lambda: replayed(*batch), wait),
    ]


def graphed(torch: Any, step: Any, warm: int = 3) -> Callable[[], Any]:
    """PyTorch's own recipe for a whole step as a CUDA graph."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(warm):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        out = step()

    def replay() -> Any:
        graph.replay()
        return out

    return replay


def of_torch(model: Model, weights: Any, device: str, compiled: bool) -> list[Candidate]:
    import torch

    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def wait() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    out = [Candidate("torch eager", eager(torch, model, weights, device)[0], wait)]
    if device == "cuda":
        out.append(
            Candidate("torch fused", eager(torch, model, weights, device, fused=True)[0], wait)
        )
        step = eager(torch, model, weights, device, fused=True, capturable=True)[0]
        # Its three steps before the graph are part of what the losses are compared after.
        out.append(Candidate("torch graph", graphed(torch, step), wait))
    if compiled:
        step = eager(torch, model, weights, device, fused=device == "cuda")[0]
        out.append(Candidate("torch compile", torch.compile(step), wait))
    return out


def of_jax(training: Training, model: Model, weights: Any) -> list[Candidate]:
    """A jitted step, its products in full float32."""
    import jax
    from jax import numpy as jnp

    jax.config.update("jax_default_matmul_precision", "highest")
    own = [jnp.asarray(w) for w in weights.values()]
    zeros = ([jnp.zeros_like(w) for w in own] for _ in range(2))
    batch = [jnp.asarray(a) for a in model.batch(1)]
    update = jax.jit(training.step_in(jax), donate_argnums=0)
    state: list[Any] = [(own, *zeros, jnp.zeros(()))]

    def step() -> Any:
        state[0], loss = update(state[0], batch)
        return loss

    return [Candidate("jax jit", step, lambda: jax.block_until_ready(state[0]))]


def agree(candidates: list[Candidate], model: Model) -> dict[str, float]:
    """Losses after the warm-up, which are those of the first candidate."""
    losses = {}
    for c in candidates:
        done = 3 if c.name == "torch graph" else 0
        for _ in range(WARM_UP - done):
            out = c.step()
        c.wait()
        losses[c.name] = float(out)
    first = losses[candidates[0].name]
    for name, loss in losses.items():
        if not math.isclose(loss, first, rel_tol=model.tolerance, abs_tol=model.tolerance):
            raise SystemExit(f"{model.name}: {name} has loss {loss}, {candidates[0].name} {first}")
    return losses


def measure(candidates: list[Candidate], rounds: int, seconds: float) -> None:
    counts = {}
    for c in candidates:
        start = time.perf_counter()
        for _ in range(3):
            c.step()
        c.wait()
        each = (time.perf_counter() - start) / 3
        counts[c.name] = max(3, min(2000, int(seconds / each)))
    for _ in range(rounds):
        for c in candidates:
            c.wait()
            start = time.perf_counter()
            for _ in range(counts[c.name]):
                c.step()
            c.wait()
            c.times.append((time.perf_counter() - start) / counts[c.name])


def machine(device: str) -> dict[str, Any]:
    out: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "python": platform.python_version()}
    if device == "cuda":
        p = wg.cuda.get_device_properties()
        out |= {"gpu": p.name, "driver": wg._core.cuda.driver_version()}
    for name in ("torch", "jax"):
        if importlib.util.find_spec(name):
            out[name] = __import__(name).__version__
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--only", nargs="*", default=[], help="parts of models' names")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.15, help="of a candidate in each round")
    parser.add_argument("--quick", action="store_true", help="tiny models")
    parser.add_argument("--no-compile", action="store_true", help="without torch.compile")
    parser.add_argument("--out", help="a JSON file for the figures")
    args = parser.parse_args()
    if args.device == "cuda" and not wg.cuda.is_available():
        print(f"no GPU, nothing measured: {wg._core.cuda.why_none()}")
        return 0
    have = {name: importlib.util.find_spec(name) is not None for name in ("torch", "jax")}
    if have["torch"] and args.device == "cuda":
        import torch

        have["torch"] = torch.cuda.is_available()
    results = []
    print(f"{'model':40} {'candidate':16} {'min us':>10} {'median us':>10} {'torch eager /':>13}")
    for model in models(args.quick):
        if args.only and not any(part in model.name for part in args.only):
            continue
        weights = weights_of(model)
        candidates = of_wengert(model, weights, args.device)
        if have["torch"]:
            compiled = not args.no_compile and not args.quick
            candidates += of_torch(model, weights, args.device, compiled)
        if have["jax"] and model.jax and args.device == "cuda":
            candidates += of_jax(model.jax, model, weights)
        losses = agree(candidates, model)
        measure(candidates, args.rounds, args.seconds)
        base = next((min(c.times) for c in candidates if c.name == "torch eager"), None)
        for c in candidates:
            least, middle = min(c.times) * 1e6, statistics.median(c.times) * 1e6
            ratio = f"{base / min(c.times):13.2f}" if base else f"{'':13}"
            print(f"{model.name:40} {c.name:16} {least:10.1f} {middle:10.1f} {ratio}")
            row = {"model": model.name, "candidate": c.name, "min_us": least, "median_us": middle}
            results.append(row | {"loss": losses[c.name]})
    if args.out:
        with open(args.out, "w") as f:  # noqa: PTH123
            json.dump({"machine": machine(args.device), "steps": results}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
