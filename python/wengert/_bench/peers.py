"""The libraries that are compared, those installed, with their threads pinned."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    Array = NDArray[np.float32] | NDArray[np.int64]

NAMES = (WENGERT, "numpy", "torch", "jax", "mlx")
PACKAGES = {
    WENGERT: ("wengert",),
    "numpy": ("numpy",),
    "torch": ("torch",),
    "jax": ("jax", "jaxlib"),
    "mlx": ("mlx",),
}
MODULES = {"mlx": "mlx.core"}  # what is imported, where that is not the package
WAITS = ("native", "passive")
# Variables by which an environment steers the libraries.
_STEERING = (
    *("OPENBLAS_", "GOTO_", "OMP_", "GOMP_", "KMP_", "MKL_", "NVPL_", "BLIS_", "NPY_", "ATEN_"),
    *("TORCH_", "DNNL_", "ONEDNN_", "XLA_", "JAX_", "TF_", "MLX_", "WENGERT_", "MALLOC_", "GLIBC_"),
)


def missing(name: str) -> str | None:
    """Return the package of a library that is not installed, or None."""
    return next((p for p in PACKAGES[name] if importlib.util.find_spec(p) is None), None)


def version(name: str) -> str:
    """Return the installed version of a library."""
    if name == WENGERT:
        return str(importlib.import_module(WENGERT).__version__)
    return importlib.metadata.version(name)


def environment(threads: int, wait: str) -> dict[str, str]:
    """Return the environment of a process whose libraries use so many threads.

    What the caller's environment tells the libraries to do otherwise is left out, so that each
    picks its best code for this machine. With ``wait="passive"`` idle threads of OpenMP and
    OpenBLAS sleep at once; with ``"native"`` they spin as long as they do by default.
    """
    env = {k: v for k, v in os.environ.items() if not k.startswith(_STEERING)}
    n = str(threads)
    for name in ("OMP", "MKL", "OPENBLAS", "WENGERT"):
        env[f"{name}_NUM_THREADS"] = n
    env["MKL_DYNAMIC"] = env["OMP_DYNAMIC"] = "FALSE"
    env["NPROC"] = n  # the size of XLA's pool
    env["JAX_PLATFORMS"] = "cpu"
    env["XLA_FLAGS"] = f"--xla_cpu_multi_thread_eigen={'true' if threads > 1 else 'false'}"
    if wait == "passive":
        env["OMP_WAIT_POLICY"] = "passive"
        env["KMP_BLOCKTIME"] = "0"
        env["OPENBLAS_THREAD_TIMEOUT"] = "16"  # 2^16 cycles
    return env


def settings() -> dict[str, str]:
    """Return what this process's environment tells the libraries."""
    return {k: v for k, v in sorted(os.environ.items()) if k.startswith((*_STEERING, "NPROC"))}


def pools() -> list[dict[str, Any]]:
    """Return the thread pools in use and the instruction sets they picked, if that can be told."""
    if importlib.util.find_spec("threadpoolctl") is None:
        return []
    found = importlib.import_module("threadpoolctl").threadpool_info()
    return [{k: v for k, v in pool.items() if k != "filepath"} for pool in found]


@dataclass
class Peers:
    """The imported libraries; None where one is not installed or not wanted."""

    threads: int
    wg: Any
    np: Any
    torch: Any = None
    jax: Any = None
    mlx: Any = None
    placed: bool = False  # whether each thread has a processor of its own
    compile: bool = False  # whether torch.compile takes part, which needs a C++ compiler and time
    _names: dict[str, dict[str, Any]] = field(default_factory=dict)

    def has(self, name: str) -> bool:
        return name in self._names

    def names(self, peer: str) -> dict[str, Any]:
        """Return what expressions of a library may refer to."""
        return self._names[peer]

    def rng(self, seed: int = 0) -> np.random.Generator:
        generator: np.random.Generator = self.np.random.default_rng(seed)
        return generator

    def array(
        self, peer: str, values: Array, requires_grad: bool = False, dtype: str | None = None
    ) -> Any:
        """Return a library's own copy of values, of the same dtype or of that of a name."""
        if peer in (WENGERT, "torch"):
            library = self.wg if peer == WENGERT else self.torch
            copy = library.tensor(values)
            copy = copy if dtype is None else copy.to(getattr(library, dtype))
            return copy.requires_grad_() if requires_grad else copy
        if peer == "jax":
            return self.jax.numpy.array(values, dtype)
        if peer == "mlx":
            copy = self.mlx.array(values)
            return copy if dtype is None else copy.astype(getattr(self.mlx, dtype))
        return values.copy() if dtype is None else values.astype(dtype)


def ours(threads: int) -> Peers:
    """Import wengert and NumPy alone, and set wengert's threads."""
    import wengert as wg

    wg.set_num_threads(threads)
    p = Peers(threads, wg, np)
    p._names[WENGERT] = {"wg": wg, "T": wg, "F": wg.nn.functional, "grad": wg.autograd.grad}
    p._names["numpy"] = {"np": np, "rng": np.random.default_rng(0)}
    return p


def alone(name: str, threads: int) -> Peers:
    """Import one library and NumPy, and set its threads."""
    if name == WENGERT:
        return ours(threads)
    p = Peers(threads, None, np)
    if name == "torch":
        _load_torch(p)
    else:
        setattr(p, name, importlib.import_module(MODULES.get(name, name)))
    return p


def _load_torch(p: Peers) -> None:
    p.torch = importlib.import_module("torch")
    p.torch.set_num_threads(p.threads)
    functional = importlib.import_module("torch.nn.functional")
    grad = p.torch.autograd.grad
    p._names["torch"] = {"torch": p.torch, "T": p.torch, "F": functional, "grad": grad}


def load(threads: int) -> Peers:
    """Import what is installed and set its threads."""
    p = ours(threads)
    if missing("torch") is None:
        _load_torch(p)
    placed = _place_workers(p)
    if missing("jax") is None:
        p.jax = importlib.import_module("jax")
        p._names["jax"] = {"jax": p.jax, "jnp": p.jax.numpy}
        p.jax.numpy.ones((512, 512)).sum().block_until_ready()  # starts its threads, free to roam
    if missing("mlx") is None:
        p.mlx = importlib.import_module(MODULES["mlx"])
        p._names["mlx"] = {"mx": p.mlx}
    if placed:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # this thread alone
        p.placed = True
    for name in NAMES:
        if not p.has(name):
            print(f"{name}: not installed, left out", file=sys.stderr)
    return p


def _place_workers(p: Peers) -> bool:
    """Give each worker of each pool a processor of its own, beside the calling thread's first.

    Some systems pack threads that seem idle on one processor for tens of milliseconds. That makes
    two threads that spin and wait for each other a thousand times slower, at random. JAX's threads
    are left where they are: the calling thread sleeps while they work.
    """
    tasks = Path("/proc/self/task")
    if p.threads < 2 or not tasks.exists() or len(os.sched_getaffinity(0)) < p.threads:
        return False
    processors = sorted(os.sched_getaffinity(0))
    known = {os.getpid()}
    starts: list[Callable[[], Any]] = []
    ones = p.np.ones((1024, 1024), p.np.float32)
    starts.append(lambda: ones @ ones)
    starts.append(lambda: p.wg.tensor(ones).exp())
    if p.torch:
        starts.append(lambda: p.torch.tensor(ones).exp().mm(p.torch.tensor(ones)))
    for start in starts:
        start()
        workers = sorted({int(t.name) for t in tasks.iterdir()} - known)
        for i, worker in enumerate(workers):
            os.sched_setaffinity(worker, {processors[1 + i % (p.threads - 1)]})
        known.update(workers)
    return True


def expressions(
    name: str,
    exprs: Mapping[str, str],
    inputs: Callable[[np.random.Generator], Mapping[str, Array]],
    counted: str = "one operation",
    grad: tuple[str, ...] = (),
    like: str | None = None,
    dtypes: Mapping[str, str] | None = None,
    **case: Any,
) -> Case:
    """Return a case of one expression a library, over the same inputs.

    JAX's is compiled with `jax.jit` as a function of the inputs, and waited for each time; MLX's
    is evaluated each time.

    Parameters
    ----------
    name, counted, case
        Of `Case`.
    exprs
        The expressions by library.
    inputs
        Makes the arrays, float32 or int64, by name.
    grad
        Which inputs require grad, where a library asks for that.
    like
        An expression of wengert's, of whose result's shape one more input, `g`, is.
    dtypes
        Of inputs, by name, where not the arrays' own.
    """
    dtypes = dtypes or {}

    def build(p: Peers) -> list[Candidate]:
        arrays = dict(inputs(p.rng()))
        if like:
            scope = {k: p.array(WENGERT, v, False, dtypes.get(k)) for k, v in arrays.items()}
            shape = eval(like, {**p.names(WENGERT), **scope}).shape
            arrays["g"] = p.rng(1).standard_normal(shape, np.float32)
        candidates = []
        for label, expr in exprs.items():
            peer = label.split()[0]
            if not p.has(peer):
                continue
            values = {k: p.array(peer, v, k in grad, dtypes.get(k)) for k, v in arrays.items()}
            scope = {**p.names(peer), **values}
            stmt = expr
            if peer == "mlx":
                scope["wait"] = p.mlx.eval
                stmt = f"wait({expr})"
            if peer == "jax":
                function = eval(f"lambda {', '.join(values)}: ({expr})", p.names(peer))
                scope = {**values, "f": p.jax.jit(function), "wait": p.jax.block_until_ready}
                stmt = expr = f"wait(f({', '.join(values)}))"
            candidates.append(Candidate(label, stmt, scope, _evaluator(expr, scope)))
        return candidates

    return Case(name, counted, build, **case)


def _evaluator(expr: str, scope: dict[str, Any]) -> Callable[[], Any]:
    return lambda: eval(expr, dict(scope))


def everywhere(expr: str, *peers: str) -> dict[str, str]:
    """Return the same expression for each of some libraries, by default wengert and torch."""
    return dict.fromkeys(peers or (WENGERT, "torch"), expr)
