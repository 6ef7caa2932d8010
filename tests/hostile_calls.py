"""Makes hostile calls of one part of the library after another, in a process of its own.

``test_hostile.py`` starts it with the number of the first call, how many there are to one that is
made, and the names of a part. Memory is
limited, so that an allocation without limit fails; a call that takes too long is killed by a
signal; and each call is written to standard output before it is made, so that a crash names it.
"""

from __future__ import annotations

import inspect
import itertools
import math
import resource
import signal
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

import wengert as wg
from op_table import ROWS
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

METHOD, FUNCTION, FUNCTIONAL, INTERNAL, LINALG = 1, 2, 4, 8, 16
CPU_SECONDS, WALL_SECONDS = 3, 60  # of one call; other work may keep this process waiting
MEMORY = 1 << 30  # what all calls together may hold at once, in bytes
LEAST, MOST = -(2**63), 2**63 - 1
SMALL = 4000  # results of no more elements are read


class Odd:
    """No argument of anything."""

    def __repr__(self) -> str:
        return "Odd()"


class BadIndex:
    """An integer that cannot say which."""

    def __index__(self) -> int:
        raise RuntimeError("no index")

    def __repr__(self) -> str:
        return "BadIndex()"


def numbers() -> list[Any]:
    return [
        *(-1, 0, 1, 7, 65, 2**31, 2**32 + 1, 2**62, MOST, LEAST, LEAST + 1, 2**64),
        *(0.5, -0.0, 1e-320, 1e300, math.nan, math.inf, -math.inf, True),
    ]


def sequences() -> list[Any]:
    return [
        *((), [], (0,), (0, 0), (1, 0), [-1], [5], (MOST,), [LEAST], (2**62, 4), (2**31,) * 3),
        *([0] * 70, (1,) * 65, (-1, -1), (2**64,), (None,), ("x",), (1.5,), (BadIndex(),)),
        *([Odd()], [[1, 2], [0]], ([0], [0]), ([2**62], [LEAST]), [()], [1] * 100_000),
    ]


def objects() -> list[Any]:
    return [
        *(None, "", "x", "sum", "\ud800", "ij,jk->ik", "i" * 300, b"x", {}, {1}, Odd(), BadIndex()),
        *(int, float, wg.float16, wg.bool, wg.int8, slice(None), ..., np.float32(2), 1j),
        *(np.zeros((2, 3)), np.array(MOST), np.array([], "int64"), lambda: 0),
    ]


def tensors() -> list[Any]:
    x = wg.arange(24, dtype=wg.float32)
    return [
        *(wg.tensor(v) for v in (2.0, 1, True, math.nan, MOST, LEAST)),
        *(wg.ones(s) for s in ((1,), (0,), (2, 3), (3, 5, 7), (1, 0, 2), (1,) * 8, (17, 33))),
        *(wg.ones(2, 3, dtype=getattr(wg, d)) for d in ("bool", "uint8", "int8", "int16", "int32")),
        *(wg.ones(3, dtype=getattr(wg, d)) for d in ("int64", "float16", "bfloat16", "float64")),
        *(x.reshape(4, 6).t(), x[::3], x.reshape(2, 3, 4)[:, 1:2].expand(2, 5, 4), x[5:5]),
        *(wg.tensor(v) for v in ([0, 1, -1], [7, 0, 1], [LEAST, MOST, 2**62], [1, 2, 2**31])),
        *(wg.tensor([[0, MOST], [1, LEAST]]), wg.tensor([math.nan, math.inf, -math.inf, 1e38])),
        wg.tensor([[math.nan, -math.inf], [0.0, 3e38]]),
        *(wg.ones(0).expand(s) for s in ((2**40, 0),)),
        wg.ones(0, 1).expand(0, 2**40),
        *(wg.ones(2, 3, requires_grad=True), wg.ones(2, 3, requires_grad=True).view(3, 2) * 1),
    ]


def lists_of_tensors() -> list[Any]:
    x = wg.ones(2, 3)
    return [
        *([x], [x, x], (x, None), [None], [x, 1], [x, wg.ones(3)], [wg.ones(()), x], [wg.ones(0)]),
        *([x, x.long()], [x.half(), x], [x] * 70, [wg.ones(0).expand(2**40, 0), wg.ones(1, 0)]),
        *([wg.tensor(0), wg.tensor([1])], [wg.tensor([True, False])], [wg.tensor([MOST])]),
    ]


@dataclass
class Base:
    """A call, and the positions of its arguments that are replaced."""

    name: str
    fn: Callable[..., Any]
    args: list[Any]
    kwargs: dict[str, Any] = field(default_factory=dict)
    optional: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fresh:
    """A tensor of its own for each call: many are changed in place."""

    array: Any


def marked(x: Any) -> Any:
    if isinstance(x, list) and x and isinstance(x[0], np.ndarray):
        return [Fresh(each) for each in x]
    return Fresh(x) if isinstance(x, np.ndarray) else x


def fresh(x: Any, leaves: list[Any] | None) -> Any:
    if isinstance(x, list) and x and isinstance(x[0], Fresh):
        return [fresh(each, leaves) for each in x]
    if not isinstance(x, Fresh):
        return x
    t = wg.tensor(x.array)
    if leaves is not None and t.dtype.is_floating_point:
        leaves.append(t.requires_grad_())
    return t


def variations(base: Base) -> Iterator[tuple[list[Any], dict[str, Any]]]:
    """Everything that is tried of one call, the first being the call itself."""
    args, kwargs = base.args, base.kwargs
    yield args, kwargs
    yield args[:-1], kwargs
    yield [*args, *args], kwargs
    yield [*args, None], kwargs
    # half of a surrogate pair: pybind11 itself aborts at such keywords
    half = ("\ud800",) if base.name.rstrip("_") in ROWS else ()
    for bad in (*half, "no_such", "input", "out", "dim"):
        for value in (None, 1, "x"):
            yield args, {**kwargs, bad: value}
    hostile = (*numbers(), *sequences(), *objects(), *tensors(), *lists_of_tensors())
    for value in hostile:
        for i in range(len(args)):
            yield [*args[:i], value, *args[i + 1 :]], kwargs
        for key in sorted({*kwargs, *base.optional}):
            yield args, {**kwargs, key: value}
    # pairs of one tensor and one number or list, and two numbers
    plain = [i for i, a in enumerate(args) if isinstance(a, (int, float, tuple, list))]
    for i, j in itertools.combinations(plain, 2):
        for a, b in itertools.product((-1, 0, 2**31, 2**62, MOST, LEAST, math.nan), repeat=2):
            yield [*args[:i], a, *args[i + 1 : j], b, *args[j + 1 :]], kwargs
    if args and isinstance(args[0], Fresh):
        for t in tensors():
            for i in plain:
                for value in (-1, 0, 1, MOST, LEAST, (0, 1), (-1,), 2**33):
                    yield [t, *args[1:i], value, *args[i + 1 :]], kwargs
            yield [t] * len(args), kwargs
            for key in base.optional:
                for value in (-1, 0, 1, MOST, LEAST, 2**33):
                    yield [t, *args[1:]], {**kwargs, key: value}


def bases_of_row(name: str) -> list[Base]:
    """A few samples of a row, each with the function and the in-place method."""
    row = ROWS[name]
    where, inplace = next((w, i) for n, _, w, i, _ in _core.op_rows() if n == name)
    dtype = row.dtypes[0] if row.dtypes[0] not in row.refuses else "int64"
    fn = getattr(_core, name) if where & ~METHOD else getattr(wg.Tensor, name)
    optional = {p[0] for params, *_ in _core.op_params(name) for p in params if p[3]}
    optional |= {"out"} if where & FUNCTION else set()
    seen: set[Any] = set()
    out = []
    for s in row.draw(dtype, small=True):
        kind = tuple(type(a) for a in s.args)
        if kind in seen and len(seen) < 3:
            continue
        seen.add(kind)
        if len(seen) > 4:
            break
        keywords = tuple(sorted(optional - set(s.kwargs)))
        named = {k: marked(v) for k, v in s.kwargs.items()}
        out.append(Base(name, fn, [marked(a) for a in s.args], named, keywords))
    if inplace and out and isinstance(out[0].args[0], Fresh):
        first = out[0]
        out.append(Base(name + "_", getattr(wg.Tensor, name + "_"), first.args, first.kwargs))
    return out


def functions() -> dict[str, list[list[Any]]]:
    """Calls of what is written in Python, or bound by hand: name and arguments."""
    x, v, m = np.linspace(-1, 1, 6, dtype="float32").reshape(2, 3), np.ones(3, "float32"), [2, 3]
    at, signs = np.array([0, 2]), np.array([1, -1])
    images, volumes = np.ones((2, 3, 4, 4), "float32"), np.ones((2, 3, 2, 2, 2), "float32")
    calls: dict[str, list[list[Any]]] = {
        "tensor": [[1.5], [[1, 2]]],
        "as_tensor": [[1.5], [x]],
        "asarray": [[[1, 2]]],
        "from_numpy": [[x]],
        "arange": [[3], [0, 3, 0.5]],
        "broadcast_shapes": [[(2, 1), (3,)], [2, 3]],
        "promote_types": [[wg.int8, wg.float16]],
        "result_type": [[x, 1]],
        "can_cast": [[wg.int8, wg.float16]],
        "unique": [[x]],
        "unique_consecutive": [[x]],
        "manual_seed": [[1]],
        "Generator.manual_seed": [[wg.Generator(), 1]],
        "Generator.set_state": [[wg.Generator(), wg.Generator().get_state()]],
        "Generator": [[], ["cpu"]],
        "set_rng_state": [[wg.get_rng_state()]],
        "set_num_threads": [[1]],
        "Size": [[m]],
        "finfo": [[wg.float32]],
        "iinfo": [[wg.int8]],
        "device": [["cpu"], ["cpu", 0]],
        "numel": [[x]],
        "is_nonzero": [[v[:1]]],
        "autograd.grad": [[x, x], [x, x, x, None, False, None, True]],
        "autograd.backward": [[x]],
        "autograd.forward_ad.make_dual": [[x, x]],
        "autograd.forward_ad.unpack_dual": [[x]],
        "func.hostile.grad": [[x, 0]],
        "func.hostile.vmap": [[x, 0, 0], [x, 1, 1]],
        "func.hostile.jvp": [[x, x]],
        "func.hostile.vjp": [[x, x]],
        "linalg.vector_norm": [[x, 2, 0]],
        "linalg.matrix_norm": [[x, "fro", (0, 1)]],
        "linalg.norm": [[x, 2, 0]],
        "Tensor.__getitem__": [[x, 0], [x, (0, slice(1, 2))], [x, at], [x, (slice(None), [0])]],
        "Tensor.__setitem__": [[x, 0, 1.0], [x, (slice(None), 1), v[:2]], [x, at[:1], 2]],
        "Tensor.to": [[x, wg.float16]],
        "Tensor.type": [[x, wg.float16]],
        "Tensor.item": [[v[:1]]],
        "Tensor.tolist": [[x]],
        "Tensor.backward": [[x, x]],
        "Tensor.requires_grad_": [[x, True]],
        "Tensor.register_hook": [[x, len]],
        "Tensor.size": [[x, 0]],
        "Tensor.stride": [[x, 0]],
        "Tensor.numpy": [[x]],
        "Tensor.new_tensor": [[x, [1, 2]]],
        "Tensor.__format__": [[v[:1], ".3f"]],
        "Tensor.__contains__": [[x, 1]],
        **{f"Tensor.__{op}__": [[x, 2], [x, v]] for op in (
            "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor",
            "lshift", "rshift", "eq", "lt", "radd", "rsub", "rpow", "rmatmul", "iadd", "imul",
            "ipow")},
        "nn.functional.normalize": [[x, 2.0, 1]],
        "nn.functional.cosine_similarity": [[x, x, 1]],
        "nn.functional.pairwise_distance": [[x, x, 2.0]],
        "nn.functional.one_hot": [[at, 4]],
        "nn.functional.bilinear": [[x, x, np.ones((2, 3, 3), "float32")]],
        "nn.functional.glu": [[images, -1]],
        "nn.functional.softmin": [[x, 1]],
        "nn.functional.gumbel_softmax": [[x, 1.0]],
        "nn.functional.dropout1d": [[x, 0.5]],
        "nn.functional.dropout2d": [[images, 0.5]],
        "nn.functional.dropout3d": [[volumes, 0.5]],
        "nn.functional.alpha_dropout": [[x, 0.5, True]],
        "nn.functional.feature_alpha_dropout": [[images, 0.5, True]],
        **{f"nn.functional.{name}": [[x, x]] for name in (
            "poisson_nll_loss", "hinge_embedding_loss", "soft_margin_loss",
            "multilabel_soft_margin_loss")},
        "nn.functional.gaussian_nll_loss": [[x, x, np.ones_like(x)]],
        "nn.functional.cosine_embedding_loss": [[x, x, signs]],
        "nn.functional.margin_ranking_loss": [[v, v, v]],
        "nn.functional.triplet_margin_loss": [[x, x, x]],
        "nn.functional.triplet_margin_with_distance_loss": [[x, x, x]],
        "nn.functional.multi_margin_loss": [[x, at]],
        "nn.functional.multilabel_margin_loss": [[x, np.zeros((2, 3), "int64")]],
        "nn.init.uniform_": [[x, 0.0, 1.0]],
        "nn.init.normal_": [[x, 0.0, 1.0]],
        "nn.init.trunc_normal_": [[x, 0.0, 1.0]],
        "nn.init.constant_": [[x, 1.0]],
        "nn.init.eye_": [[x]],
        "nn.init.dirac_": [[images]],
        "nn.init.xavier_uniform_": [[x]],
        "nn.init.kaiming_normal_": [[x]],
        "nn.init.orthogonal_": [[x]],
        "nn.init.sparse_": [[x, 0.5]],
        "nn.init.calculate_gain": [["relu"]],
        "nn.Linear": [[2, 3]],
        "nn.Embedding": [[2, 3]],
        "nn.LayerNorm": [[3], [m]],
        "nn.BatchNorm1d": [[3]],
        "nn.Bilinear": [[2, 3, 2]],
        "nn.Dropout": [[0.5]],
        "nn.Flatten": [[1]],
    }  # fmt: skip
    return {name: args for name, args in calls.items() if found(name) is not None}


TRANSFORMED: dict[str, Callable[..., Any]] = {
    "func.hostile.grad": lambda x, argnums: wg.func.grad(lambda a: a.sum(), argnums)(x),
    "func.hostile.vmap": lambda x, i, o: wg.func.vmap(lambda a: a.sin(), i, o)(x),
    "func.hostile.jvp": lambda x, t: wg.func.jvp(lambda a: a.sin(), (x,), (t,)),
    "func.hostile.vjp": lambda x, v: wg.func.vjp(lambda a: a.sin(), x)[1](v),
}


def found(name: str) -> Any:
    if name in TRANSFORMED:
        return TRANSFORMED[name]
    thing: Any = wg
    for part in name.split("."):
        thing = getattr(thing, part, None)
    return thing


def simple(x: Any) -> Any:
    text = repr(x) if not isinstance(x, (wg.Tensor, Fresh)) else ""
    if isinstance(x, wg.Tensor):
        text = f"<{str(x.dtype)[8:]} {tuple(x.shape)} {x.tolist() if 0 < x.numel() < 5 else ''}>"
    if isinstance(x, Fresh):
        text = f"<{x.array.dtype} {x.array.shape}>"
    if isinstance(x, (list, tuple)) and len(x) < 9:
        text = "[" + ", ".join(map(simple, x)) + "]"
    return text if len(text) < 120 else text[:100] + "..."


def describe(name: str, args: list[Any], kwargs: dict[str, Any]) -> str:
    parts = [*map(simple, args), *(f"{k}={simple(v)}" for k, v in kwargs.items())]
    text = f"{name}({', '.join(parts)})"
    return text.encode("utf-8", "backslashreplace").decode().replace("\n", " ")


def read(result: Any, inputs: list[Any]) -> None:
    """Reads what came out, and pulls a gradient back through it."""
    for t in result if isinstance(result, (tuple, list)) else (result,):
        if not isinstance(t, wg.Tensor) or t.numel() > SMALL:
            continue
        if t.numel():  # lists of nothing may be many
            t.tolist()
        if inputs and t.requires_grad and t.grad_fn is not None:
            wg.autograd.grad(t.sum(), inputs, allow_unused=True)


def attempt(base: Base, args: list[Any], kwargs: dict[str, Any], recorded: bool) -> None:
    """One call; what it raises is an Exception that says something, and no SystemError."""
    leaves: list[Any] | None = [] if recorded else None
    given = [fresh(a, leaves) for a in args]
    named = {k: fresh(v, leaves) for k, v in kwargs.items()}
    try:
        result = base.fn(*given, **named)
        read(result, leaves or [])
    except SystemError:
        raise
    except MemoryError:
        pass
    except Exception as refusal:
        if not str(refusal):
            raise


def bases(names: list[str]) -> Iterator[Base]:
    for name in names:
        if name in ROWS:
            yield from bases_of_row(name)
        else:
            fn = found(name)
            for args in functions()[name]:
                yield Base(name, fn, [marked(a) for a in args], {}, keywords_of(fn))


def keywords_of(fn: Any) -> tuple[str, ...]:
    try:
        parameters = inspect.signature(fn).parameters.values()
    except (ValueError, TypeError):
        return ()
    return tuple(p.name for p in parameters if p.default is not p.empty)


def main(first: int, every: int, names: list[str]) -> None:
    with open("/proc/self/statm") as statm:  # noqa: PTH123
        now = int(statm.read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    wg.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (now + MEMORY, now + MEMORY))
    sys.setrecursionlimit(400)
    number = -1
    for base in bases(names):
        for args, kwargs in variations(base):
            for recorded in (False, True):
                number += 1
                if number < first or number * 2654435761 % 2**32 % every:
                    continue
                print(number, describe(base.name, args, kwargs), "with grad" * recorded, flush=True)
                signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
                signal.setitimer(signal.ITIMER_REAL, WALL_SECONDS)
                attempt(base, args, kwargs, recorded)
    print("done", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
