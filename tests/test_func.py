"""wg.func beside torch.func: the same programs, nested in every order; what is refused, and how."""

from __future__ import annotations

from collections import namedtuple
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import func, nn
from wengert.utils import _pytree

if TYPE_CHECKING:
    from collections.abc import Callable

X = np.random.default_rng(0).standard_normal((5, 4)).astype("float32")
W = np.random.default_rng(1).standard_normal((3, 4)).astype("float32")
B = np.random.default_rng(2).standard_normal(3).astype("float32")
LABELS = np.array([0, 1, 2, 3, 0])
Pair = namedtuple("Pair", ["left", "right"])


def leaves(tree: Any) -> list[Any]:
    return [t for t in _pytree.tree_leaves(tree) if hasattr(t, "detach")]


def assert_equal_trees(got: Any, want: Any) -> None:
    ours, theirs = leaves(got), leaves(want)
    assert len(ours) == len(theirs) > 0
    for g, w in zip(ours, theirs, strict=True):
        assert tuple(g.shape) == tuple(w.shape)
        assert g.requires_grad == w.requires_grad
        np.testing.assert_allclose(g.detach().numpy(), w.detach().numpy(), rtol=2e-4, atol=2e-6)


# Programs of both libraries: the module, its transforms, and tensors.
def mlp(m: Any, w: Any, b: Any, a: Any) -> Any:
    return m.tanh(m.nn.functional.linear(a, w, b)).pow(2).sum()


def curve(a: Any) -> Any:
    return (a.sin() * a.sum()).sum()


def bend(a: Any) -> Any:
    return a.sin() * a.sum()


PROGRAMS: dict[str, Callable[..., Any]] = {
    "grad": lambda m, f, x, w, b: f.grad(curve)(x),
    "grad of grad": lambda m, f, x, w, b: f.grad(f.grad(lambda a: a.sin()))(x[0, 0]),
    "third derivative": lambda m, f, x, w, b: f.grad(f.grad(f.grad(lambda a: a.sin() * a)))(
        x[0, 0]
    ),
    "grad and value": lambda m, f, x, w, b: f.grad_and_value(curve)(x),
    "several arguments": lambda m, f, x, w, b: f.grad(
        lambda w, b, a: mlp(m, w, b, a), argnums=(0, -1)
    )(w, b, x),
    "aux": lambda m, f, x, w, b: f.grad(lambda a: (curve(a), {"y": a * 2}), has_aux=True)(x),
    "grad of a tree": lambda m, f, x, w, b: f.grad(lambda p: mlp(m, p["w"], p["b"][0], x))(
        {"w": w, "b": [b]}
    ),
    "grad of a named tuple": lambda m, f, x, w, b: f.grad(lambda p: curve(p.left) * p.right.sum())(
        Pair(x, b)
    ),
    "vmap": lambda m, f, x, w, b: f.vmap(curve)(x),
    "vmap of a product": lambda m, f, x, w, b: f.vmap(lambda a: w @ a)(x),
    "vmap of a product with shared vectors": lambda m, f, x, w, b: f.vmap(
        lambda a: a @ x.T, in_dims=0
    )(w),
    "vmap of an outer product": lambda m, f, x, w, b: f.vmap(m.outer)(x, x.sin()),
    "vmap of einsum": lambda m, f, x, w, b: f.vmap(lambda a: m.einsum("i,ji->j", a, w))(x),
    "vmap of dimensions": lambda m, f, x, w, b: f.vmap(lambda a: a[1:3] * 2, in_dims=1, out_dims=1)(
        x
    ),
    "vmap of negative dimensions": lambda m, f, x, w, b: f.vmap(
        lambda a: a.outer(a), in_dims=-1, out_dims=-1
    )(x),
    "vmap of trees": lambda m, f, x, w, b: f.vmap(
        lambda p, q: {"s": p["a"] * q, "t": (p["b"] + q, q)}, in_dims=({"a": 0, "b": None}, None)
    )({"a": x, "b": x[0]}, w[0]),
    "vmap of several out_dims": lambda m, f, x, w, b: f.vmap(
        lambda a: (a.outer(a), a * 2), out_dims=(2, 1)
    )(x),
    "vmap in chunks": lambda m, f, x, w, b: f.vmap(curve, chunk_size=2)(x),
    "vmap with keywords": lambda m, f, x, w, b: f.vmap(lambda a, scale: a * scale)(x, scale=x[0]),
    "nested vmap": lambda m, f, x, w, b: f.vmap(f.vmap(lambda a: a * a.sin()))(x),
    "nested vmap of two": lambda m, f, x, w, b: f.vmap(
        lambda a: f.vmap(lambda c: (a * c).sum())(x)
    )(x),
    "vmap with conditions": lambda m, f, x, w, b: f.vmap(
        lambda a: m.where(a > 0, a, m.zeros_like(a)).cumsum(0)
    )(x),
    "vmap of integers and floats": lambda m, f, x, w, b: f.vmap(lambda a: a.argmax() + a.sum())(x),
    "vmap of indices": lambda m, f, x, w, b: f.vmap(lambda a, i: a[i])(x, m.tensor(LABELS)),
    "vmap of shared rows": lambda m, f, x, w, b: f.vmap(lambda i: x[i])(m.tensor(LABELS)),
    "vmap of a loss": lambda m, f, x, w, b: f.vmap(m.nn.functional.cross_entropy)(
        x, m.tensor(LABELS)
    ),
    "vmap of softmax": lambda m, f, x, w, b: f.vmap(lambda a: m.softmax(a, 0))(x),
    "vmap of a sort": lambda m, f, x, w, b: f.vmap(lambda a: a.sort(descending=True).values)(x),
    "vmap of joins": lambda m, f, x, w, b: f.vmap(
        lambda a: m.cat([a, w[0]]) + m.stack([a, a]).reshape(-1)
    )(x),
    "vmap of changes in place": lambda m, f, x, w, b: f.vmap(lambda a: a.clone().mul_(2).add_(a))(
        x
    ),
    "vmap over grad": lambda m, f, x, w, b: f.vmap(f.grad(curve))(x),
    "grad over vmap": lambda m, f, x, w, b: f.grad(lambda a: f.vmap(curve)(a).sum())(x),
    "gradients of each sample": lambda m, f, x, w, b: f.vmap(
        f.grad(lambda w, b, a: mlp(m, w, b, a), argnums=(0, 1)), in_dims=(None, None, 0)
    )(w, b, x),
    "loss gradients of each sample": lambda m, f, x, w, b: f.vmap(
        f.grad(m.nn.functional.cross_entropy)
    )(x, m.tensor(LABELS)),
    "vjp": lambda m, f, x, w, b: f.vjp(bend, x)[1](x),
    "vjp of trees": lambda m, f, x, w, b: f.vjp(
        lambda p, q: {"s": p * q, "t": (p.sum(), q)}, x, x.sin()
    )[1]({"s": x, "t": (x.sum(), x)}),
    "jvp": lambda m, f, x, w, b: f.jvp(bend, (x,), (x.cos(),)),
    "jvp of softmax": lambda m, f, x, w, b: f.jvp(
        lambda a, w: m.softmax(a @ w.T, -1), (x, w), (x.cos(), w.sin())
    ),
    "jvp of jvp": lambda m, f, x, w, b: f.jvp(
        lambda a: f.jvp(lambda c: (c * a).sin(), (a,), (a,))[1], (x,), (x,)
    ),
    "jvp with aux": lambda m, f, x, w, b: f.jvp(lambda a: (a * a, a), (x,), (x,), has_aux=True),
    "product of a Hessian and a vector": lambda m, f, x, w, b: f.jvp(
        f.grad(curve), (x,), (x.cos(),)
    ),
    "the same by reverse over forward": lambda m, f, x, w, b: f.grad(
        lambda a: f.jvp(curve, (a,), (x.cos(),))[1]
    )(x),
    "vmap over jvp": lambda m, f, x, w, b: f.vmap(lambda a, t: f.jvp(bend, (a,), (t,))[1])(
        x, x.cos()
    ),
    "jvp over vmap": lambda m, f, x, w, b: f.jvp(f.vmap(bend), (x,), (x.cos(),)),
    "jacrev": lambda m, f, x, w, b: f.jacrev(bend)(x[0]),
    "jacrev in chunks": lambda m, f, x, w, b: f.jacrev(bend, chunk_size=3)(x[0]),
    "jacfwd": lambda m, f, x, w, b: f.jacfwd(bend)(x[0]),
    "Jacobians of trees": lambda m, f, x, w, b: f.jacrev(
        lambda p, a: {"y": p["w"] @ a, "z": a * 2}, argnums=(0, 1)
    )({"w": w}, x[0]),
    "Jacobians of trees by columns": lambda m, f, x, w, b: f.jacfwd(
        lambda p, a: (p["w"] @ a, a * 2), argnums=(0, 1)
    )({"w": w}, x[0]),
    "hessian": lambda m, f, x, w, b: f.hessian(curve)(x[0]),
    "hessian by two arguments": lambda m, f, x, w, b: f.hessian(
        lambda a, c: (a.sin() * c * c).sum(), argnums=(0, 1)
    )(x[0], x[1]),
    "reverse over forward": lambda m, f, x, w, b: f.jacrev(f.jacfwd(curve))(x[0]),
    "forward over forward": lambda m, f, x, w, b: f.jacfwd(f.jacfwd(curve))(x[0]),
    "reverse over reverse": lambda m, f, x, w, b: f.jacrev(f.jacrev(curve))(x[0]),
    "vmap over hessian": lambda m, f, x, w, b: f.vmap(f.hessian(curve))(x),
    "vmap over jacrev": lambda m, f, x, w, b: f.vmap(f.jacrev(bend))(x),
    "vmap over jacfwd": lambda m, f, x, w, b: f.vmap(f.jacfwd(bend))(x),
    "jacrev over vmap": lambda m, f, x, w, b: f.jacrev(f.vmap(curve))(x),
    "linearize": lambda m, f, x, w, b: f.linearize(bend, x)[1](x.cos()),
    "closures that require grad": lambda m, f, x, w, b: (
        lambda c: f.grad(lambda a: (a * c[0]).sum())(x)
    )(b.requires_grad_()),
    "without recording": lambda m, f, x, w, b: f.grad(lambda a: curve(a) + a.detach().sum())(x),
}


@needs_torch
@pytest.mark.parametrize("name", PROGRAMS)
@pytest.mark.filterwarnings("ignore")
def test_as_torch(name: str) -> None:
    program = PROGRAMS[name]
    want = program(torch, torch.func, *(torch.tensor(a) for a in (X, W, B)))
    got = program(wg, func, *(wg.tensor(a) for a in (X, W, B)))
    assert_equal_trees(got, want)


def test_hessian_against_numbers() -> None:
    x = wg.tensor(X[0].astype("float64"))
    h = func.hessian(curve)(x)
    eps = 1e-5
    for i in range(4):
        step = wg.zeros(4, dtype=wg.float64)
        step[i] = eps
        column = (func.grad(curve)(x + step) - func.grad(curve)(x - step)) / (2 * eps)
        np.testing.assert_allclose(h[:, i].numpy(), column.numpy(), rtol=1e-6, atol=1e-8)


def test_gradients_of_each_sample_of_a_module_equal_a_loop() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 4))
    params = {k: v.detach() for k, v in model.named_parameters()}
    x, y = wg.tensor(X), wg.tensor(LABELS)

    def loss(params: Any, x: Any, y: Any) -> Any:
        out = func.functional_call(model, params, (x.unsqueeze(0),))
        return nn.functional.cross_entropy(out, y.unsqueeze(0))

    got = func.vmap(func.grad(loss), in_dims=(None, 0, 0))(params, x, y)
    for i in range(len(X)):
        model.zero_grad()
        nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1]).backward()
        for name, p in model.named_parameters():
            assert p.grad is not None
            np.testing.assert_allclose(got[name][i].numpy(), p.grad.numpy(), rtol=1e-5, atol=1e-6)


def test_ensembles_by_stacked_modules() -> None:
    models = [nn.Linear(4, 3) for _ in range(3)]
    params, buffers = func.stack_module_state(models)
    base = nn.Linear(4, 3)
    x = wg.tensor(X)
    got = func.vmap(lambda p, b, x: func.functional_call(base, (p, b), (x,)), in_dims=(0, 0, None))(
        params, buffers, x
    )
    want = wg.stack([m(x) for m in models])
    np.testing.assert_allclose(got.detach().numpy(), want.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_random_numbers_inside_vmap() -> None:
    x = wg.zeros(4, 3)
    with pytest.raises(RuntimeError, match="randomness error mode"):
        func.vmap(lambda a: a + wg.rand(3))(x)
    different = func.vmap(lambda a: a + wg.rand(3), randomness="different")(x)
    assert len({tuple(r) for r in different.tolist()}) == 4
    same = func.vmap(lambda a: a + wg.rand(3), randomness="same")(x)
    assert len({tuple(r) for r in same.tolist()}) == 1
    kept = func.vmap(lambda a: nn.functional.dropout(a + 1, 0.5), randomness="different")(x)
    assert len({tuple(r) for r in kept.tolist()}) > 1
    alike = func.vmap(lambda a: nn.functional.dropout(a + 1, 0.5), randomness="same")(x)
    assert len({tuple(r) for r in alike.tolist()}) == 1
    with pytest.raises(RuntimeError, match="not batched"):
        func.vmap(lambda a: wg.zeros(3).normal_() + a, randomness="different")(x)
    inner = func.vmap(
        lambda a: func.vmap(lambda c: c + wg.rand(()), randomness="same")(a), randomness="different"
    )(x)
    assert inner.shape == (4, 3)


def test_forward_ad() -> None:
    from wengert.autograd import forward_ad as fw

    x, t = wg.tensor(X), wg.tensor(np.cos(X))
    with fw.dual_level():
        d = fw.make_dual(x, t)
        assert d.shape == x.shape
        assert fw.unpack_dual(d).tangent is t
        out = d.sin() * 2
        value, tangent = fw.unpack_dual(out)
        np.testing.assert_allclose(tangent.numpy(), 2 * np.cos(X) * np.cos(X), rtol=1e-6)
        np.testing.assert_allclose(value.numpy(), 2 * np.sin(X), rtol=1e-6)
        assert fw.unpack_dual(x * 3).tangent is None
        assert float(out.sum()) == pytest.approx(float(value.sum()))
        with pytest.raises(RuntimeError, match="Nested"), fw.dual_level():
            pass
    assert fw.unpack_dual(out).tangent is None
    np.testing.assert_array_equal((out + 1).numpy(), (value + 1).numpy())
    with pytest.raises(RuntimeError, match="no level exists"):
        fw.make_dual(x, t)
    with fw.dual_level(), pytest.raises(RuntimeError, match="shape"):
        fw.make_dual(x, t[0])


def test_forward_mode_through_changes_in_place() -> None:
    x, t = wg.tensor(X), wg.tensor(np.cos(X))

    def changed(a: Any) -> Any:
        y = wg.zeros(5, 4)
        y[1:3] = a[1:3] * a[0]
        y[0] += a[4]
        y.mul_(a)
        y[:, 1].add_(a[:, 2])
        z = a.clone()
        z[2] = 7.0
        z.relu_()
        return y.sum(0) + z

    value, tangent = func.jvp(changed, (x,), (t,))
    plain, pull = func.vjp(changed, x)
    np.testing.assert_allclose(value.numpy(), plain.numpy(), rtol=1e-6)
    w = wg.tensor(np.sin(X * 3))
    left, right = float((w * tangent).sum()), float((pull(w) * t).sum())
    assert left == pytest.approx(right, rel=1e-5)


def test_functions_under_transforms() -> None:
    calls: list[str] = []

    class Cube(wg.autograd.Function):
        @staticmethod
        def forward(x: Any) -> Any:
            return x**3

        @staticmethod
        def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
            ctx.save_for_backward(inputs[0])
            ctx.save_for_forward(inputs[0])

        @staticmethod
        def backward(ctx: Any, grad: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 3 * x * x * grad

    class WithRules(Cube):
        @staticmethod
        def jvp(ctx: Any, tangent: Any) -> Any:
            calls.append("jvp")
            (x,) = ctx.saved_tensors
            return 3 * x * x * tangent

        @staticmethod
        def vmap(info: Any, in_dims: Any, x: Any) -> Any:
            calls.append(f"vmap {info.batch_size} {info.randomness} {in_dims}")
            return WithRules.apply(x), 0

    x = wg.tensor(X)
    for cls in (Cube, WithRules):
        _, t = func.jvp(cls.apply, (x,), (wg.ones(5, 4),))
        np.testing.assert_allclose(t.numpy(), 3 * X * X, rtol=1e-5)
        y = func.vmap(cls.apply)(x)
        np.testing.assert_allclose(y.numpy(), X**3, rtol=1e-5)
        g = func.vmap(func.grad(lambda a, cls=cls: cls.apply(a).sum()))(x)
        np.testing.assert_allclose(g.numpy(), 3 * X * X, rtol=1e-5)
        h = func.hessian(lambda a, cls=cls: cls.apply(a).sum())(x[0])
        np.testing.assert_allclose(h.numpy(), np.diag(6 * X[0]), rtol=1e-5, atol=1e-6)
    assert "jvp" in calls
    assert "vmap 5 error (0,)" in calls


def test_results_are_off_the_tape() -> None:
    x = wg.tensor(X)
    for made in (func.grad(curve)(x), func.jacrev(bend)(x[0]), func.hessian(curve)(x[0])):
        assert not made.requires_grad
    tracked = x.clone().requires_grad_()
    g = func.grad(curve)(tracked)
    assert g.requires_grad
    g.sum().backward()
    assert tracked.grad is not None
    with wg.no_grad():
        assert not func.grad(curve)(tracked).requires_grad


REFUSED: list[tuple[str, Callable[[Any], Any], type[Exception], str]] = [
    ("a value of several elements", lambda x: func.grad(bend)(x), RuntimeError, "scalar"),
    ("a value that is no tensor", lambda x: func.grad(lambda a: 3.0)(x), RuntimeError, "Tensor"),
    ("an argument that is not there", lambda x: func.grad(curve, 1)(x), RuntimeError, "argnum"),
    ("integers", lambda x: func.grad(curve)(x.long()), RuntimeError, "floating"),
    ("nothing to map", lambda x: func.vmap(curve, in_dims=None)(x), ValueError, "at least one"),
    ("too many in_dims", lambda x: func.vmap(curve, in_dims=(0, 0))(x), ValueError, "in_dims"),
    ("a dimension that is not there", lambda x: func.vmap(curve, 2)(x), ValueError, "in_dim=2"),
    ("sizes that differ", lambda x: func.vmap(wg.dot)(x, x[:2]), ValueError, "same size"),
    ("a number to map over", lambda x: func.vmap(wg.mul)(x, 2.0), ValueError, "non-Tensor"),
    ("outputs that are no tensors", lambda x: func.vmap(lambda a: 3)(x), ValueError, "Tensors"),
    ("a mapped output said not to be", lambda x: func.vmap(curve, out_dims=None)(x), ValueError,
     "out_dim"),
    ("a value read", lambda x: func.vmap(lambda a: a.sum().item() * a)(x), RuntimeError, "vmap"),
    ("a condition", lambda x: func.vmap(lambda a: a if a.sum() > 0 else -a)(x), RuntimeError,
     "where"),
    ("a shared tensor changed", lambda x: func.vmap(lambda a: wg.zeros(4).add_(a))(x), RuntimeError,
     "in-place"),
    ("results of several shapes", lambda x: func.vmap(lambda a: a[a > 0])(x), RuntimeError,
     "shape"),
    ("randomness", lambda x: func.vmap(curve, randomness="any")(x), RuntimeError, "randomness"),
    ("chunks of nothing", lambda x: func.vmap(curve, chunk_size=0)(x), ValueError, "chunk_size"),
    ("tangents of other shapes", lambda x: func.jvp(curve, (x,), (x[0],)), RuntimeError, "shape"),
    ("tangents in a list", lambda x: func.jvp(curve, (x,), [x]), RuntimeError, "tuple"),
    ("cotangents of other structure", lambda x: func.vjp(bend, x)[1]((x, x)), RuntimeError,
     "structure"),
    ("backward inside vmap", lambda x: func.vmap(lambda a: a.sum().backward())(x), RuntimeError,
     "vmap"),
]  # fmt: skip


@pytest.mark.parametrize(("what", "call", "error", "match"), REFUSED, ids=[r[0] for r in REFUSED])
def test_refused(what: str, call: Any, error: Any, match: str) -> None:
    del what
    x = wg.tensor(X)
    with pytest.raises(error, match=match):
        call(x)
    assert func.vmap(curve)(x).shape == (5,)  # nothing is left behind


def test_a_tensor_that_escapes() -> None:
    kept: list[Any] = []
    func.vmap(lambda a: kept.append(a * 2) or a)(wg.tensor(X))
    with pytest.raises(RuntimeError, match="vmap"):
        kept[0] + 1
    with pytest.raises(RuntimeError, match="vmap"):
        kept[0].tolist()
    assert "Tensor" in repr(type(kept[0]))
