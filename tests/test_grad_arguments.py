"""All arguments of `autograd.grad` and `backward`, rules for leaves, nodes: as in PyTorch."""

from __future__ import annotations

import itertools
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

if TYPE_CHECKING:
    from collections.abc import Callable


def leaf(library: Any, *values: float) -> Any:
    return library.tensor(values, dtype=library.float64, requires_grad=True)


def plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return tuple(plain(v) for v in value)
    if hasattr(value, "detach"):
        return np.round(value.detach().numpy(), 9).tolist(), value.requires_grad
    return value


def outcome(call: Callable[[Any], Any], library: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return plain(call(library))
        except Exception as error:
            return type(error), str(error)


def refused(result: Any) -> bool:
    return isinstance(result, tuple) and len(result) == 2 and isinstance(result[0], type)


def assert_same(call: Callable[[Any], Any], what: Any = None) -> None:
    ours, theirs = outcome(call, wg), outcome(call, torch)
    if refused(ours) and re.search(r"got \d+ tensors and \d+ gradients", ours[1]):
        return  # PyTorch leaves out what is too many on either side
    if refused(theirs):
        assert refused(ours), (what, ours, theirs)
        assert issubclass(ours[0], theirs[0]) or issubclass(theirs[0], ours[0]), (
            what,
            ours,
            theirs,
        )
    else:
        assert ours == theirs, what


def graph(library: Any) -> dict[str, Any]:
    x, y, z = leaf(library, 1.0, 2.0), leaf(library, 3.0, -1.0), leaf(library, 5.0, 5.0)
    h = x * y
    return {
        "x": x, "y": y, "z": z, "h": h, "s": (h * x).sum(), "v": h * h, "c": library.ones(2),
        "n": x.detach() * 2, "w": x[0], "i": library.tensor([1, 2]),
    }  # fmt: skip


OUTPUTS = [
    "s",
    "v",
    "x",
    "c",
    "n",
    ("s",),
    ["s", "v"],
    ("s", "s"),
    ("v", "h"),
    (),
    "w",
    "i",
    "none",
]
INPUTS = ["x", "z", "c", "h", ("x", "y"), ["x", "z"], ("x", "x"), (), "n", ("h", "x"), "w", "none"]
WEIGHTS = {
    "none": lambda m: None,
    "right": lambda m: m.tensor([1.0, -2.0], dtype=m.float64),
    "number": lambda m: m.tensor(3.0, dtype=m.float64),
    "float32": lambda m: m.tensor([1.0, -2.0]),
    "wrong shape": lambda m: m.ones(3, dtype=m.float64),
    "two": lambda m: (m.tensor(2.0, dtype=m.float64), m.tensor([1.0, -2.0], dtype=m.float64)),
    "one none": lambda m: [None, m.tensor([1.0, -2.0], dtype=m.float64)],
    "no tensor": lambda m: 3.0,
}


def looked_up(g: dict[str, Any], names: Any) -> Any:
    if isinstance(names, str):
        return None if names == "none" else g[names]
    return type(names)(g[n] for n in names)


@needs_torch
@pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
def test_grad(outputs: Any) -> None:
    flags = list(itertools.product((None, True, False), (False, True), (False, True)))
    for inputs, weights in itertools.product(INPUTS, WEIGHTS):
        some = flags if weights in ("none", "two") else flags[:2]
        for allow_unused, create_graph, materialize in some:

            def call(m: Any) -> Any:
                g = graph(m)
                return m.autograd.grad(
                    looked_up(g, outputs),
                    looked_up(g, inputs),  # noqa: B023
                    WEIGHTS[weights](m),  # noqa: B023
                    allow_unused=allow_unused,  # noqa: B023
                    create_graph=create_graph,  # noqa: B023
                    materialize_grads=materialize,  # noqa: B023
                )

            assert_same(call, (outputs, inputs, weights, allow_unused, create_graph, materialize))


@needs_torch
@pytest.mark.parametrize("outputs", OUTPUTS, ids=str)
def test_backward(outputs: Any) -> None:
    for inputs, weights, create_graph in itertools.product([None, *INPUTS], WEIGHTS, (False, True)):

        def call(m: Any) -> Any:
            g = graph(m)
            g["h"].retain_grad()
            m.autograd.backward(
                looked_up(g, outputs),
                WEIGHTS[weights](m),  # noqa: B023
                create_graph=create_graph,  # noqa: B023
                inputs=None if inputs is None else looked_up(g, inputs),  # noqa: B023
            )
            return [g[n].grad for n in ("x", "y", "z", "h")]

        assert_same(call, (outputs, inputs, weights, create_graph))


@needs_torch
def test_batches_of_gradients() -> None:
    def weights(m: Any, *shape: int) -> Any:
        return m.arange(float(np.prod(shape)), dtype=m.float64).reshape(shape) - 2

    cases: list[Callable[[Any, dict[str, Any]], Any]] = [
        lambda m, g: (g["v"], g["x"], weights(m, 3, 2), {}),
        lambda m, g: (g["v"], (g["x"], g["y"]), weights(m, 3, 2), {}),
        lambda m, g: ((g["v"], g["s"]), (g["x"], g["y"]), (weights(m, 3, 2), weights(m, 3)), {}),
        lambda m, g: (g["v"], g["z"], weights(m, 3, 2), {"allow_unused": True}),
        lambda m, g: (g["v"], g["z"], weights(m, 3, 2), {}),
        lambda m, g: (g["v"], g["x"], weights(m, 1, 2), {"create_graph": True}),
        lambda m, g: (g["v"], g["x"], weights(m, 3, 3), {}),
        lambda m, g: (g["v"], g["x"], weights(m, 2), {}),
        lambda m, g: (g["s"], g["x"], weights(m, 4), {}),
        lambda m, g: (g["c"], g["x"], weights(m, 2, 2), {}),
    ]
    for i, case in enumerate(cases):

        def call(m: Any) -> Any:
            outputs, inputs, w, how = case(m, graph(m))  # noqa: B023
            return m.autograd.grad(outputs, inputs, w, is_grads_batched=True, **how)

        assert_same(call, i)


@needs_torch
def test_is_freed_after_one_batch() -> None:
    for m in (wg, torch):
        g = graph(m)
        w = m.ones(3, 2, dtype=m.float64)
        m.autograd.grad(g["v"], g["x"], w, is_grads_batched=True)
        with pytest.raises(RuntimeError, match="second time"):
            m.autograd.grad(g["v"], g["x"], w[0])


# Programs about leaves: what is refused, with the words that name the reason.
LEAVES: dict[str, tuple[str, str]] = {
    "changed": ("x.add_(1)", "a leaf Variable that requires grad"),
    "changed under no_grad": ("with m.no_grad(): x.add_(1)", ""),
    "view changed": ("x[0].mul_(2)", "a view of a leaf Variable that requires grad"),
    "part assigned": ("x[0] = 1", "a leaf Variable|a view of a leaf"),
    "detached part assigned": ("x.detach()[0] = 1", ""),
    "detached view": ("x[0].detach_()", "[Cc]an't detach views in-place"),
    "data": ("x.data.add_(1)", ""),
    "flag of a result": ("h.requires_grad = False", "only change requires_grad flags of leaf"),
    "flag of a result, set": ("h.requires_grad_(True)", ""),
    "flag of integers": ("i.requires_grad_()", "floating point"),
    "integers with a flag": ("m.tensor([1], requires_grad=True)", "floating point"),
    "gradient of a result": ("h.sum().backward(); r = h.grad", ""),
    "gradient of another shape": ("x.grad = m.ones(3, dtype=m.float64)", "size"),
    "gradient of another dtype": ("x.grad = m.ones(2, dtype=m.float32)", "type"),
    "gradient of its own": ("x.grad = x", "its(elf| own)"),
    "gradient that is none": ("x.grad = 3", "Tensor"),
    "gradient": ("x.grad = m.ones(2, dtype=m.float64); h.sum().backward(); r = x.grad", ""),
    "twice": ("v.sum().backward(); v.sum().backward()", "a second time"),
    "twice, retained": (
        "v.sum().backward(retain_graph=True); v.sum().backward(); r = x.grad", "",
    ),
    "twice, nothing saved": ("a = (x + 1).sum(); a.backward(); a.backward(); r = x.grad", ""),
    "no history": ("c.sum().backward()", "does not require grad"),
    "not a number": ("v.backward()", "only for scalar outputs"),
    "wrong weights": ("v.backward(m.ones(3))", "[Mm]ismatch in shape"),
    "retained gradient of a constant": ("c.retain_grad()", "requires_grad=False|require"),
    "retained gradient of a leaf": ("x.retain_grad()", ""),
    "hook of a constant": ("c.register_hook(print)", "doesn't require gradient"),
    "saved and changed, seen": (
        "q = x * 1; w = q * q; q.add_(1); w.sum().backward()", "modified by an inplace operation",
    ),
    "result changed": ("e = x.exp(); e.add_(1); e.sum().backward()", "modified by an inplace"),
    "result changed unrecorded": (
        "e = x.exp()\nwith m.no_grad(): e.mul_(2)\ne.sum().backward()", "modified by an inplace",
    ),
    "detached result changed": (
        "e = x.exp(); e.detach().mul_(2); e.sum().backward()", "modified by an inplace",
    ),
    "numpy": ("x.numpy()", "requires grad"),
    "copy": ("import copy; copy.deepcopy(h)", "graph leaves|leaf|created explicitly"),
    "bool": ("bool(x)", "ambiguous"),
    "set_data": ("x.data = m.ones(3, dtype=m.float64); r = x", ""),
}  # fmt: skip


@needs_torch
@pytest.mark.parametrize("name", LEAVES)
def test_rules_of_leaves(name: str) -> None:
    program, message = LEAVES[name]
    found: list[Any] = []
    for m in (wg, torch):
        space = {"m": m, **graph(m)}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                exec(program, space)
                found.append(plain(space.get("r")))
            except Exception as error:
                found.append(type(error))
                seen = message and re.search(message, str(error))
                assert seen, f"{m.__name__}: {error}"  # noqa: PT017
    assert found[0] == found[1]
    assert isinstance(found[0], type) == bool(message)


# --- nodes -------------------------------------------------------------------------------------


def nodes(m: Any) -> list[Any]:
    class Double(m.autograd.Function):  # type: ignore[misc]
        @staticmethod
        def forward(ctx: Any, t: Any) -> Any:
            return t * 2

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return g * 2

    x, c = leaf(m, 1.0, 2.0), m.ones(2, dtype=m.float64)
    h = x * c
    y = Double.apply(h.exp()) + x
    node = y.grad_fn
    found: list[Any] = [x.grad_fn, c.grad_fn, node.name(), type(node.next_functions).__name__]
    (double, slot), (accumulate, _) = node.next_functions
    found += [double.name(), slot, accumulate.name().split("::")[-1], accumulate.next_functions]
    ((exp, _),) = double.next_functions
    ((mul, _),) = exp.next_functions
    found += [
        exp.name(),
        mul.name(),
        [n and n.name().split("::")[-1] for n, _ in mul.next_functions],
    ]
    found += [node == y.grad_fn, node != mul, hash(node) == hash(y.grad_fn), len({node, y.grad_fn})]
    found.append(mul == h.grad_fn)
    node.metadata["key"] = 3
    found += [y.grad_fn.metadata, mul.metadata]
    node.register_prehook(lambda grads: (grads[0] * 10,))
    mul.register_hook(lambda before, after: (before[0] * 10, *before[1:]))
    y.sum().backward()
    found.append(plain(x.grad))
    return found


@needs_torch
def test_nodes() -> None:
    assert nodes(wg) == nodes(torch)
