"""Training steps as cases: one source for the libraries with PyTorch's names, one for JAX.

All candidates start from the same weights and see the same batch; they must agree after a few
steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from .harness import WENGERT, Candidate, Case

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .peers import Peers

STEPS = 3  # before comparing
SCAN = 100  # steps a call, where JAX compiles the loop too
LR, BETA1, BETA2, EPS = 1e-3, 0.9, 0.999, 1e-8
MODELS, MODEL_STEPS = 64, 10  # together, and steps of theirs a call
JIT, SCANNED, COMPILED, MLX = "jax jit", "jax jit, scan", "torch compile", "mlx compile"
MAPPED = "jax jit, scan of vmap"
CAPTURED, RUN, TOGETHER = "wengert captured", "wengert captured, run", "wengert ensemble"
VARIANTS: dict[str, dict[str, bool]] = {
    "torch": {},
    "torch foreach": {"foreach": True},
    "torch fused": {"fused": True},
    COMPILED: {"fused": True},
}


@dataclass(frozen=True)
class Training:
    """What is trained, and how.

    Parameters
    ----------
    name
        Of the case.
    model
        Makes the module, of a library with PyTorch's names.
    data
        Makes the arrays of a batch.
    loss
        Of such a library, the module and the batch.
    jax_loss
        Of JAX or MLX as JAX, the parameters in the module's order and the batch.
    weight_decay
        AdamW's; Adam where it is 0.
    max_norm
        To which the gradients are clipped; 0: they are not.
    scan
        Whether JAX also compiles a loop of steps.
    models
        Whether steps of `MODELS` models are also taken together; the figures are of one.
    in_mlx
        Whether `as_jax` has all that `jax_loss` needs.
    case
        Of `Case`: its tolerances and what is counted.
    """

    name: str
    model: Callable[[Any], Any]
    data: Callable[[Any], Sequence[Any]]
    loss: Callable[..., Any]
    jax_loss: Callable[..., Any]
    weight_decay: float = 0.0
    max_norm: float = 0.0
    scan: bool = False
    models: bool = False
    in_mlx: bool = True

    def case(self, **options: Any) -> Case:
        """Return the case."""
        parts = ["zero_grad", "forward", "loss", "backward", "Adam"]
        parts[4:] = (["clipping"] if self.max_norm else []) + [self.rule]
        counted = "one step: " + ", ".join(parts)
        return Case(self.name, counted, self.build, **{"rtol": 1e-3, "atol": 1e-5, **options})

    @property
    def rule(self) -> str:
        """The optimizer's name."""
        return "AdamW" if self.weight_decay else "Adam"

    def weights(self, p: Peers) -> list[Any]:
        """Return the arrays that all begin with, drawn by wengert."""
        p.wg.manual_seed(0)
        return [w.detach().numpy().copy() for w in self.model(p.wg).parameters()]

    def build(self, p: Peers) -> list[Candidate]:
        """Return a candidate a library and variant."""
        labels = [WENGERT, CAPTURED, RUN] if self.scan else [WENGERT, CAPTURED]
        if self.models:
            labels.append(TOGETHER)
        if p.torch:
            labels += [k for k in VARIANTS if k != COMPILED or p.compile]
        if p.jax:
            labels += [JIT, SCANNED] if self.scan else [JIT]
            labels += [MAPPED] if self.models else []
        if p.mlx and self.in_mlx:
            labels.append(MLX)
        weights = self.weights(p)
        return [self.candidate(p, label, weights) for label in labels]

    def candidate(self, p: Peers, label: str, weights: list[Any]) -> Candidate:
        """Return the one of a name."""
        if label in (JIT, SCANNED, MAPPED):
            return self.jax(p, label, weights)
        if label == MLX:
            return self.mlx(p, weights)
        return self.eager(p, label, VARIANTS.get(label, {}), weights)

    def started(self, p: Peers, peer: str, weights: list[Any]) -> Any:
        """Return a module of a library with these weights."""
        library = p.wg if peer == WENGERT else p.torch
        model = self.model(library)
        with library.no_grad():
            for param, value in zip(model.parameters(), weights, strict=True):
                param.copy_(p.array(peer, value))
        return model

    def eager(
        self, p: Peers, label: str, options: dict[str, bool], weights: list[Any]
    ) -> Candidate:
        """Return the candidate of a library with PyTorch's names."""
        peer = label.split()[0]
        library = p.wg if peer == WENGERT else p.torch
        call, per = "step()", None
        model = self.started(p, peer, weights)
        batch = [p.array(peer, a) for a in self.data(p.rng(1))]
        params = list(model.parameters())
        more = {"weight_decay": self.weight_decay} if self.weight_decay else {}
        optimizer = getattr(library.optim, self.rule)(params, lr=LR, **more, **options)
        clip = library.nn.utils.clip_grad_norm_

        def loss_of(*batch: Any) -> Any:
            return self.loss(library, model, *batch)

        if label == COMPILED:
            loss_of = library.compile(loss_of)

        def step(*given: Any) -> Any:
            optimizer.zero_grad()
            loss = loss_of(*(given or batch))
            loss.backward()
            if self.max_norm:
                clip(params, self.max_norm)
            optimizer.step()
            return loss

        names: dict[str, Any] = {"step": step}
        if label in (CAPTURED, RUN, TOGETHER):
            names["step"] = captured = library.capture(step)
            names["batch"], call = batch, "step(*batch)"
        if label == RUN:  # the same batch each step, as JAX's loop has it
            names["many"] = [library.cat([b] * SCAN) for b in batch]
            names["size"], per = len(batch[0]), SCAN
            call = "step.run(many, size)"
        if label == TOGETHER:  # all of them alike
            for _ in range(3):
                captured(*batch)

            def start() -> None:
                with library.no_grad():
                    for param, value in zip(params, weights, strict=True):
                        param.copy_(p.array(peer, value))

            models = captured.ensemble(MODELS, seeds=range(MODELS), reset=start)
            names |= {"models": models, "many": [library.cat([b] * MODEL_STEPS) for b in batch]}
            call, per = "models.run(many)", MODELS * MODEL_STEPS

        def check() -> Any:
            if label == TOGETHER:
                losses = models.run([library.cat([b] * STEPS) for b in batch])
                return [*losses[:, -1], *(models.stacked(w)[-1] for w in params)]
            if label == RUN:
                losses = captured.run([library.cat([b] * STEPS) for b in batch], len(batch[0]))
                return [*losses, *params]
            given = batch if label == CAPTURED else ()
            return [*(names["step"](*given) for _ in range(STEPS)), *params]

        return Candidate(label, call, names, check, per=per)

    def step_in(self, jax: Any) -> Callable[[Any, Any], Any]:
        """Return a step from weights, states and their count to the next, in JAX's terms."""
        jnp = jax.numpy

        def one(state: Any, batch: Any) -> Any:
            own, first, second, count = state
            loss, grads = jax.value_and_grad(lambda w: self.jax_loss(jax, w, *batch))(own)
            if self.max_norm:
                norm = jnp.sqrt(sum((g * g).sum() for g in grads))
                scale = jnp.minimum(1.0, self.max_norm / (norm + 1e-6))
                grads = [g * scale for g in grads]
            count = count + 1
            first = [BETA1 * m + (1 - BETA1) * g for m, g in zip(first, grads, strict=True)]
            second = [BETA2 * v + (1 - BETA2) * g * g for v, g in zip(second, grads, strict=True)]
            size = LR / (1 - BETA1**count)
            root = jnp.sqrt(1 - BETA2**count)
            keep = 1 - LR * self.weight_decay
            own = [
                w * keep - size * m / (jnp.sqrt(v) / root + EPS)
                for w, m, v in zip(own, first, second, strict=True)
            ]
            return (own, first, second, count), loss

        return one

    def mlx(self, p: Peers, weights: list[Any]) -> Candidate:
        """Return MLX's, compiled: a step a call."""
        mx = p.mlx
        batch = [p.array("mlx", a) for a in self.data(p.rng(1))]
        compiled = mx.compile(self.step_in(as_jax(mx)))

        def start() -> Any:
            own = [p.array("mlx", w) for w in weights]
            return (own, *([mx.zeros_like(w) for w in own] for _ in range(2)), mx.zeros(()))

        box = [start()]

        def step() -> None:
            box[0] = compiled(box[0], batch)[0]
            mx.eval(box[0])

        def check() -> Any:
            state, losses = start(), []
            for _ in range(STEPS):
                state, loss = compiled(state, batch)
                losses.append(loss)
            return [*losses, *state[0]]

        return Candidate(MLX, "step()", {"step": step}, check)

    def jax(self, p: Peers, label: str, weights: list[Any]) -> Candidate:
        """Return JAX's, compiled: a step a call, `SCAN` of them, or those of many models."""
        jax, jnp, scan, mapped = p.jax, p.jax.numpy, label != JIT, label == MAPPED
        batch = [p.array("jax", a) for a in self.data(p.rng(1))]

        one = self.step_in(jax)

        def start() -> Any:
            own = [p.array("jax", w) for w in weights]
            zeros = ([jnp.zeros_like(w) for w in own] for _ in range(2))
            return (own, *zeros, jnp.zeros((), jnp.float32))

        def many_of(state: Any) -> Any:
            if not mapped:
                return state
            return jax.tree.map(lambda x: jnp.stack([x] * MODELS), state)

        def many(state: Any, batch: Any) -> Any:
            length = MODEL_STEPS if mapped else SCAN
            return jax.lax.scan(lambda s, _: step_of(s, batch), state, length=length)

        step_of = jax.vmap(one, in_axes=(0, None)) if mapped else one
        compiled = jax.jit(many if scan else one, donate_argnums=0)
        box = [many_of(start())]

        def step() -> None:
            box[0] = compiled(box[0], batch)[0]

        def check() -> Any:
            single = jax.jit(step_of)
            state, losses = many_of(start()), []
            for _ in range(STEPS):
                state, loss = single(state, batch)
                losses.append(loss[-1] if mapped else loss)
            return [*losses, *(w[-1] if mapped else w for w in state[0])]

        return Candidate(
            label,
            "step()",
            {"step": step, "wait": lambda: jax.block_until_ready(box[0])},
            check,
            after="wait()",
            per=MODELS * MODEL_STEPS if mapped else SCAN if scan else None,
        )


def as_jax(mx: Any) -> Any:
    """Return MLX under the names that JAX has for what the losses here need."""
    nn = SimpleNamespace(
        relu=lambda x: mx.maximum(x, 0),
        softmax=lambda x: mx.softmax(x, -1),
        log_softmax=lambda x: x - mx.logsumexp(x, -1, keepdims=True),
        gelu=lambda x, approximate: x * (1 + mx.erf(x * 0.5**0.5)) / 2,  # noqa: ARG005
    )
    lax = SimpleNamespace(rsqrt=mx.rsqrt)
    return SimpleNamespace(numpy=mx, nn=nn, lax=lax, value_and_grad=mx.value_and_grad)


def jax_cross_entropy(jax: Any, logits: Any, targets: Any) -> Any:
    """Return the mean over rows, in JAX."""
    log_p = jax.nn.log_softmax(logits)
    return -jax.numpy.take_along_axis(log_p, targets[:, None], 1).mean()
