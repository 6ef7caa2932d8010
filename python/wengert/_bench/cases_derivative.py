"""Derivatives: what a gradient costs beside its function, second derivatives, Jacobians.

The cheap-gradient principle says that a function and its gradient cost a small multiple of the
function, whatever the number of inputs (Griewank and Walther, *Evaluating Derivatives*, 2008,
chapter 4). Each case of ``gradient`` has the function alone, unrecorded, and both together.
"""

from __future__ import annotations

import itertools
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from .harness import WENGERT, Candidate, Case
from .training import CAPTURED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .peers import Peers

    Array = np.ndarray[Any, Any]

CHAIN = 1000
STEPS, WIDTH, BATCH = 20, 64, 16  # of the chain of LSTM cells


# --- functions of both libraries ---------------------------------------------------------------


def worked_example(m: Any, x1: Any, x2: Any) -> Any:
    """f = ln(x1) + x1 x2 - sin(x2), of Baydin et al., *Automatic Differentiation in Machine
    Learning: a Survey*, JMLR 18 (2018), table 2."""
    return m.log(x1) + x1 * x2 - m.sin(x2)


def chain(m: Any, x: Any, factor: Any) -> Any:
    """A thousand operations on one number."""
    for _ in range(CHAIN // 2):
        x = m.sin(x * factor)
    return x


def scalar_net(m: Any, *weights: Any) -> Any:
    """A network 2-8-7-1 written in numbers, of 173 operations, as a first lesson has it."""
    given = iter(weights)
    values = [next(given), next(given)]
    for width in (8, 7, 1):
        sums = []
        for _ in range(width):
            products = [v * next(given) for v in values]
            total = products[0]
            for product in products[1:]:
                total = total + product
            sums.append(m.tanh(total + next(given)) if width > 1 else total + next(given))
        values = sums
    return values[0]


def mlp(m: Any, x: Any, *weights: Any) -> Any:
    """784-128-64-10, a batch of 64, and the mean of squares."""
    last = len(weights) - 2
    for i in range(0, len(weights), 2):
        x = m.nn.functional.linear(x, weights[i], weights[i + 1])
        x = m.tanh(x) if i < last else x
    return (x * x).mean()


def lstm(m: Any, x: Any, w: Any, u: Any, b: Any) -> Any:
    """Twenty LSTM cells, one after the other."""
    h = c = m.zeros(BATCH, WIDTH)
    for t in range(STEPS):
        gates = m.nn.functional.linear(x[t], w, b) + m.nn.functional.linear(h, u)
        i, f, g, o = gates.chunk(4, 1)
        c = m.sigmoid(f) * c + m.sigmoid(i) * m.tanh(g)
        h = m.sigmoid(o) * m.tanh(c)
    return h.sum()


def dense(rng: np.random.Generator, sizes: Sequence[int]) -> list[Array]:
    """Weights and biases of a network."""
    made = []
    for inputs, outputs in itertools.pairwise(sizes):
        made.append(rng.standard_normal((outputs, inputs)) / inputs**0.5)
        made.append(np.zeros(outputs))
    return [a.astype(np.float32) for a in made]


def example_inputs(rng: np.random.Generator) -> list[Array]:
    del rng
    return [np.float32(2.0).reshape(()), np.float32(5.0).reshape(())]


def chain_inputs(rng: np.random.Generator) -> list[Array]:
    del rng
    return [np.full((1,), v, np.float32) for v in (0.5, 1.2)]


def scalar_net_inputs(rng: np.random.Generator) -> list[Array]:
    count = 2 + 8 * 3 + 7 * 9 + 8
    return [a.reshape(1) for a in rng.standard_normal(count).astype(np.float32) / 2]


def mlp_inputs(rng: np.random.Generator) -> list[Array]:
    x = rng.standard_normal((64, 784)).astype(np.float32)
    return [x, *dense(rng, (784, 128, 64, 10))]


def lstm_inputs(rng: np.random.Generator) -> list[Array]:
    shapes = [(STEPS, BATCH, WIDTH), (4 * WIDTH, WIDTH), (4 * WIDTH, WIDTH), (4 * WIDTH,)]
    return [(rng.standard_normal(s) / WIDTH**0.5).astype(np.float32) for s in shapes]


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., list[Array]], int]] = {
    "worked example": (worked_example, example_inputs, 0),
    "chain of 1000": (chain, chain_inputs, 0),
    "scalar net 2-8-7-1": (scalar_net, scalar_net_inputs, 0),
    "MLP 784-128-64-10 batch 64": (mlp, mlp_inputs, 1),
    "LSTM 20 cells of 64 batch 16": (lstm, lstm_inputs, 1),
}
IN_JAX = (worked_example, chain, scalar_net)  # with jax.numpy's names


def _gradient_case(name: str) -> Case:
    function, inputs, constants = FUNCTIONS[name]

    def build(p: Peers) -> list[Candidate]:
        found = []
        for peer in (WENGERT, "torch"):
            if not p.has(peer):
                continue
            m = p.wg if peer == WENGERT else p.torch
            arrays = inputs(p.rng())
            args = [p.array(peer, a, i >= constants) for i, a in enumerate(arrays)]
            leaves = args[constants:]

            def value(m: Any = m, args: Any = args) -> Any:
                with m.no_grad():
                    return function(m, *args)

            def both(m: Any = m, args: Any = args, leaves: Any = leaves) -> Any:
                return m.autograd.grad(function(m, *args), leaves)

            def check(value: Any = value, both: Any = both) -> list[Any]:
                return [value(), *both()]

            found.append(Candidate(peer, "value()", {"value": value}, check))
            found.append(Candidate(f"{peer} gradient", "both()", {"both": both}, check))
            if peer == WENGERT:
                captured = m.capture(both)
                for _ in range(2):
                    captured()
                names = {"both": captured}
                found.append(Candidate(f"{CAPTURED} gradient", "both()", names, check))
        if p.jax and function in IN_JAX:
            found.append(_jax_gradient(p, function, inputs(p.rng())))
        return found

    return Case(
        f"derivative/gradient/{name}",
        "one evaluation: the function, and with its gradient",
        build,
        rtol=1e-3,
        atol=1e-5,
    )


def _jax_gradient(p: Peers, function: Callable[..., Any], arrays: list[Array]) -> Candidate:
    jax = p.jax
    given = [jax.numpy.asarray(a) for a in arrays]
    f = jax.jit(
        jax.value_and_grad(
            lambda *given: function(jax.numpy, *given).sum(), tuple(range(len(given)))
        )
    )
    names = {"f": f, "given": given, "wait": jax.block_until_ready}

    def check() -> list[Any]:
        value, gradients = f(*given)
        return [value.reshape(function(jax.numpy, *given).shape), *gradients]

    return Candidate("jax jit gradient", "wait(f(*given))", names, check)


# --- second derivatives: a physics-informed network --------------------------------------------


def _pinn_data(p: Peers) -> tuple[list[Array], Array, Array]:
    rng = p.rng()
    weights = dense(rng, (2, 32, 32, 32, 1))
    x = rng.uniform(-1, 1, (256, 1)).astype(np.float32)
    t = rng.uniform(0, 1, (256, 1)).astype(np.float32)
    return weights, x, t


def _eager_pinn(p: Peers, label: str) -> Candidate:
    peer = label.split()[0]
    m = p.wg if peer == WENGERT else p.torch
    weights, x0, t0 = _pinn_data(p)
    nn = m.nn
    layers: list[Any] = []
    for inputs, outputs in itertools.pairwise((2, 32, 32, 32, 1)):
        layers += [nn.Linear(inputs, outputs), nn.Tanh()]
    model = nn.Sequential(*layers[:-1])
    with m.no_grad():
        for param, value in zip(model.parameters(), weights, strict=True):
            param.copy_(p.array(peer, value))
    x, t = p.array(peer, x0, True), p.array(peer, t0, True)
    optimizer = m.optim.Adam(model.parameters(), lr=1e-4)
    grad = m.autograd.grad

    def residual() -> Any:
        u = model(m.cat([x, t], 1))
        u_x, u_t = grad(u.sum(), [x, t], create_graph=True)
        (u_xx,) = grad(u_x.sum(), [x], create_graph=True)
        return (u_t + u * u_x - 0.01 * u_xx).square().mean()

    def step() -> None:
        optimizer.zero_grad()
        residual().backward()
        optimizer.step()

    return Candidate(
        label,
        "step()",
        {"step": m.capture(step) if label == CAPTURED else step},
        lambda: [residual(), *grad(residual(), list(model.parameters()))],
    )


def _jax_pinn(p: Peers) -> Candidate:
    jax, jnp = p.jax, p.jax.numpy
    weights, x0, t0 = _pinn_data(p)
    params = [jnp.asarray(w) for w in weights]

    def u(params: Any, x: Any, t: Any) -> Any:
        h = jnp.stack([x, t])
        for i in range(0, len(params), 2):
            h = params[i] @ h + params[i + 1]
            h = jnp.tanh(h) if i < len(params) - 2 else h
        return h[0]

    def loss(params: Any, x: Any, t: Any) -> Any:
        def one(x: Any, t: Any) -> Any:
            u_x = jax.grad(u, 1)
            return (
                jax.grad(u, 2)(params, x, t)
                + u(params, x, t) * u_x(params, x, t)
                - 0.01 * jax.grad(u_x, 1)(params, x, t)
            )

        return (jax.vmap(one)(x, t) ** 2).mean()

    def step(params: Any, m: Any, v: Any, n: Any, x: Any, t: Any) -> Any:
        g = jax.grad(loss)(params, x, t)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        a, b = 1 - 0.9**n, 1 - 0.999**n
        new = [
            w - 1e-4 * (i / a) / (jnp.sqrt(j / b) + 1e-8)
            for w, i, j in zip(params, m, v, strict=True)
        ]
        return new, m, v, n + 1

    x, t = jnp.asarray(x0[:, 0]), jnp.asarray(t0[:, 0])
    zeros = [jnp.zeros_like(w) for w in params]
    state = {"s": (params, zeros, zeros, jnp.float32(1))}
    jitted = jax.jit(step)

    def run() -> None:
        state["s"] = jax.block_until_ready(jitted(*state["s"], x, t))

    def check() -> list[Any]:
        return [loss(params, x, t), *jax.grad(loss)(params, x, t)]

    return Candidate("jax jit", "run()", {"run": run}, check)


def _build_pinn(p: Peers) -> list[Candidate]:
    labels = [WENGERT, CAPTURED, *(["torch"] if p.torch else [])]
    found = [_eager_pinn(p, label) for label in labels]
    return [*found, _jax_pinn(p)] if p.jax else found


# --- what it costs that every node knows its line ----------------------------------------------


def _places_case(sizes: tuple[int, ...], batch: int) -> Case:
    def build(p: Peers) -> list[Candidate]:
        nn, rng = p.wg.nn, p.rng()
        layers: list[Any] = []
        for inputs, outputs in itertools.pairwise(sizes):
            layers += [nn.Linear(inputs, outputs), nn.Tanh()]
        model = nn.Sequential(*layers[:-1])
        x = p.array(WENGERT, rng.standard_normal((batch, sizes[0])).astype(np.float32))
        y = p.array(WENGERT, rng.standard_normal((batch, sizes[-1])).astype(np.float32))
        optimizer = p.wg.optim.Adam(model.parameters(), lr=0.0)

        def step() -> Any:
            optimizer.zero_grad()
            loss = nn.functional.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        def steps(on: bool) -> Any:
            p.wg._core._note_places(on)
            try:
                for _ in range(10):
                    loss = step()
            finally:
                p.wg._core._note_places(True)
            return loss

        names = {"steps": steps}
        return [
            Candidate(WENGERT, "steps(True)", names, lambda: [steps(True)]),
            Candidate("wengert without lines", "steps(False)", names, lambda: [steps(False)]),
        ]

    network = "-".join(map(str, sizes))
    return Case(
        f"derivative/lines kept/{network} batch {batch}", "one training step", build, per=10
    )


# --- Jacobians ---------------------------------------------------------------------------------


def _build_jacobian(how: str) -> Callable[[Peers], list[Candidate]]:
    def build(p: Peers) -> list[Candidate]:
        arrays = [np.random.default_rng(1).standard_normal(64).astype(np.float32)]
        arrays += dense(p.rng(), (64, 64, 64))
        found = []
        for peer in (WENGERT, "torch"):
            if not p.has(peer):
                continue
            m = p.wg if peer == WENGERT else p.torch
            x, w1, b1, w2, b2 = (p.array(peer, a) for a in arrays)

            def f(x: Any, m: Any = m, w: Any = (w1, b1, w2, b2)) -> Any:
                linear = m.nn.functional.linear
                return linear(m.tanh(linear(x, w[0], w[1])), w[2], w[3])

            jacobian = getattr(m.func, how)(f)
            names = {"jacobian": jacobian, "x": x}
            found.append(Candidate(peer, "jacobian(x)", names, partial(jacobian, x)))
        if p.jax:
            jax, jnp = p.jax, p.jax.numpy
            x, w1, b1, w2, b2 = (jnp.asarray(a) for a in arrays)
            j = jax.jit(getattr(jax, how)(lambda x: w2 @ jnp.tanh(w1 @ x + b1) + b2))
            names = {"j": j, "x": x, "wait": jax.block_until_ready}
            found.append(Candidate("jax jit", "wait(j(x))", names, lambda: [j(x)]))
        return found

    return build


def _jacobian_case(how: str) -> Case:
    return Case(
        f"derivative/{how}/MLP 64-64-64",
        "one Jacobian, 64 x 64",
        _build_jacobian(how),
        rtol=1e-3,
        atol=1e-5,
    )


CASES: list[Case] = [
    *(_gradient_case(name) for name in FUNCTIONS),
    Case(
        "derivative/PINN/2-32-32-32-1 batch 256",
        "one step: second derivatives, loss, backward, Adam",
        _build_pinn,
        rtol=2e-2,
        atol=1e-4,
    ),
    _places_case((2, 32, 32, 1), 256),
    _places_case((784, 128, 64, 10), 64),
    _jacobian_case("jacrev"),
    _jacobian_case("jacfwd"),
]
