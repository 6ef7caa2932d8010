"""Training steps on a GPU, side by side: wengert beside PyTorch in all its forms, and JAX.

Every model is written once, against the names that wengert and PyTorch share, and starts from the
same weights everywhere; losses after the warm-up must agree before anything is timed. Candidates
take turns, and what is told is the least and the median of all rounds, and PyTorch's eager time
over each.

    python bench/cuda/steps.py                       # all, on the GPU
    python bench/cuda/steps.py --only mlp --out results.json
    python bench/cuda/steps.py --device cpu --quick  # that the script works, where there is no GPU
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import platform
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable

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

    def batch(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        shape, kind = self.inputs
        if kind == "normal":
            x = rng.standard_normal(shape).astype(np.float32)
        else:
            x = rng.integers(0, int(kind), shape)
        return x, rng.integers(0, self.targets[1], self.targets[0])


def mlp(width: int, depth: int, inputs: int, outputs: int) -> Callable[[Any], Any]:
    def make(t: Any) -> Any:
        layers: list[Any] = []
        sizes = [inputs] + [width] * depth
        for a, b in itertools.pairwise(sizes):
            layers += [t.nn.Linear(a, b), t.nn.ReLU()]
        return t.nn.Sequential(*layers, t.nn.Linear(sizes[-1], outputs))

    return make


def lenet(t: Any) -> Any:
    n = t.nn
    return n.Sequential(
        n.Conv2d(1, 6, 5, padding=2), n.ReLU(), n.MaxPool2d(2),
        n.Conv2d(6, 16, 5), n.ReLU(), n.MaxPool2d(2), n.Flatten(),
        n.Linear(400, 120), n.ReLU(), n.Linear(120, 84), n.ReLU(), n.Linear(84, 10),
    )  # fmt: skip


def transformer(
    layers: int, width: int, heads: int, words: int, length: int
) -> Callable[[Any], Any]:
    """A decoder over characters or words, as GPT-2 has it."""

    def make(t: Any) -> Any:
        f = t.nn.functional

        class Block(t.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.norm1, self.norm2 = t.nn.LayerNorm(width), t.nn.LayerNorm(width)
                self.qkv, self.out = t.nn.Linear(width, 3 * width), t.nn.Linear(width, width)
                self.up, self.down = t.nn.Linear(width, 4 * width), t.nn.Linear(4 * width, width)

            def forward(self, x: Any) -> Any:
                b, n, _ = x.shape
                parts = self.qkv(self.norm1(x)).reshape(b, n, 3, heads, width // heads)
                q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
                y = f.scaled_dot_product_attention(q, k, v, is_causal=True)
                x = x + self.out(y.transpose(1, 2).reshape(b, n, width))
                return x + self.down(f.gelu(self.up(self.norm2(x))))

        class Decoder(t.nn.Module):  # type: ignore[misc]
            def __init__(self) -> None:
                super().__init__()
                self.words, self.places = (
                    t.nn.Embedding(words, width),
                    t.nn.Embedding(length, width),
                )
                self.blocks = t.nn.Sequential(*[Block() for _ in range(layers)])
                self.norm, self.head = t.nn.LayerNorm(width), t.nn.Linear(width, words, bias=False)
                self.register_buffer("at", t.arange(length))

            def forward(self, x: Any) -> Any:
                y = self.words(x) + self.places(self.at)
                return self.head(self.norm(self.blocks(y)))

        return Decoder()

    return make


def models(quick: bool) -> list[Model]:
    if quick:
        return [
            Model("mlp/8-16-16-4 b8", mlp(16, 2, 8, 4), ((8, 8), "normal"), ((8,), 4)),
            Model("transformer/tiny", transformer(1, 16, 2, 17, 8), ((2, 8), "17"), ((2, 8), 17)),
        ]
    return [
        Model("mlp/8-64-64-4 b32", mlp(64, 2, 8, 4), ((32, 8), "normal"), ((32,), 4)),
        Model("mlp/784-256-256-10 b128", mlp(256, 2, 784, 10), ((128, 784), "normal"),
              ((128,), 10)),
        Model("mlp/4096x4 b4096", mlp(4096, 4, 4096, 1000), ((4096, 4096), "normal"),
              ((4096,), 1000)),
        Model("lenet b128", lenet, ((128, 1, 28, 28), "normal"), ((128,), 10)),
        Model("transformer/chars 4x128", transformer(4, 128, 4, 65, 128), ((16, 128), "65"),
              ((16, 128), 65)),
        Model("transformer/124M bf16", transformer(12, 768, 12, 50304, 1024), ((8, 1024), "50304"),
              ((8, 1024), 50304), bfloat16=True, tolerance=5e-2),
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


def of_jax(model: Model, weights: Any) -> list[Candidate]:
    """A jitted step of the multi-layer perceptrons."""
    import jax
    from jax import numpy as jnp

    names = sorted({k.rpartition(".")[0] for k in weights}, key=int)
    params = [
        (jnp.asarray(weights[f"{n}.weight"]), jnp.asarray(weights[f"{n}.bias"])) for n in names
    ]
    moments = jax.tree.map(jnp.zeros_like, (params, params))
    x, y = (jnp.asarray(a) for a in model.batch(1))

    def loss(params: Any) -> Any:
        h = x
        for i, (w, b) in enumerate(params):
            h = jnp.dot(h, w.T, precision="highest") + b
            h = jax.nn.relu(h) if i + 1 < len(params) else h
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(h), y[:, None], 1))

    @jax.jit
    def update(state: Any) -> Any:
        params, (m, v), k = state
        out, g = jax.value_and_grad(loss)(params)
        k = k + 1
        m = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, m, g)
        v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g * g, v, g)
        bias1, bias2 = 1 - 0.9**k, 1 - 0.999**k
        params = jax.tree.map(
            lambda p, m, v: p - 1e-3 / bias1 * m / (jnp.sqrt(v / bias2) + 1e-8), params, m, v
        )
        return (params, (m, v), k), out

    state: list[Any] = [(params, moments, jnp.zeros(()))]
    last: list[Any] = [None]

    def step() -> Any:
        state[0], last[0] = update(state[0])
        return last[0]

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
    print(f"{'model':28} {'candidate':16} {'min us':>10} {'median us':>10} {'torch eager /':>13}")
    for model in models(args.quick):
        if args.only and not any(part in model.name for part in args.only):
            continue
        weights = weights_of(model)
        candidates = of_wengert(model, weights, args.device)
        if have["torch"]:
            compiled = not args.no_compile and not args.quick
            candidates += of_torch(model, weights, args.device, compiled)
        if have["jax"] and model.name.startswith("mlp") and args.device == "cuda":
            candidates += of_jax(model, weights)
        losses = agree(candidates, model)
        measure(candidates, args.rounds, args.seconds)
        base = next((min(c.times) for c in candidates if c.name == "torch eager"), None)
        for c in candidates:
            least, middle = min(c.times) * 1e6, statistics.median(c.times) * 1e6
            ratio = f"{base / min(c.times):13.2f}" if base else f"{'':13}"
            print(f"{model.name:28} {c.name:16} {least:10.1f} {middle:10.1f} {ratio}")
            row = {"model": model.name, "candidate": c.name, "min_us": least, "median_us": middle}
            results.append(row | {"loss": losses[c.name]})
    if args.out:
        with open(args.out, "w") as f:  # noqa: PTH123
            json.dump({"machine": machine(args.device), "steps": results}, f, indent=1)
    return 0


if __name__ == "__main__":
    sys.exit(main())
