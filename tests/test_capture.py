"""Captured training steps: the bits of the plain ones, over many steps, at 1 and 2 threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from training_steps import Training, bits, mlp
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def trace(make: Callable[[], Training], captured: bool, steps: int) -> tuple[Any, ...]:
    """The bits of every result, then of parameters and gradients."""
    wg.manual_seed(0)
    step, params, batch = make()
    run = wg.capture(step) if captured else step
    results = []
    for i in range(steps):
        result = run(*batch(i))
        results.append(bits(result if isinstance(result, tuple) else (result,)))
    if captured:
        assert run.captures <= 2
    return results, bits(params), bits(p.grad for p in params), wg.rand(1).item()


def check(make: Callable[[], Training], steps: int = 40) -> None:
    assert trace(make, True, steps) == trace(make, False, steps)


def check_inner(make: Callable[[Callable[..., Any]], Training], steps: int) -> None:
    """The same where a part of the step, which ``make`` is given a wrapper for, is captured."""
    rows = []
    for wrapper in (wg.capture, lambda fn: fn):
        wg.manual_seed(0)
        step, params, batch = make(wrapper)
        rows.append([bits(step(*batch(i))) for i in range(steps)] + [bits(params)])
    assert rows[0] == rows[1]


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: optim.SGD(p, 0.1),
        lambda p: optim.SGD(p, 0.1, momentum=0.9, nesterov=True, weight_decay=0.01),
        lambda p: optim.Adam(p, 1e-2),
        lambda p: optim.Adam(p, 1e-2, state_dtype=wg.bfloat16),
        lambda p: optim.AdamW(p, 1e-2, amsgrad=True),
        lambda p: optim.RMSprop(p, 1e-2, momentum=0.5, centered=True),
        lambda p: optim.Adagrad(p, 1e-2, lr_decay=0.1),
        lambda p: optim.Adadelta(p),
        lambda p: optim.Adam([{"params": p[:2]}, {"params": p[2:], "lr": 1e-3}], 1e-2),
    ],
)
def test_optimizers(optimizer: Callable[[Any], optim.Optimizer]) -> None:
    """Each rule, its states and step counts."""
    check(lambda: mlp(optimizer))


@pytest.mark.parametrize(
    "schedule",
    [
        lambda o: optim.lr_scheduler.CosineAnnealingLR(o, 30),
        lambda o: optim.lr_scheduler.StepLR(o, 7, 0.5),
        lambda o: optim.lr_scheduler.OneCycleLR(o, 0.1, total_steps=60),
        lambda o: optim.lr_scheduler.SequentialLR(
            o,
            [
                optim.lr_scheduler.LinearLR(o, 0.1, total_iters=5),
                optim.lr_scheduler.ExponentialLR(o, 0.9),
            ],
            [5],
        ),
    ],
)
def test_schedules(schedule: Callable[[optim.Optimizer], Any]) -> None:
    """A schedule inside the step, taken in Python at each replay."""
    check(lambda: mlp(schedule=schedule))


@pytest.mark.parametrize("zero", ["none first", "zero first", "none last", "zero last"])
def test_gradients_between_steps(zero: str) -> None:
    """Gradients that are forgotten or zeroed, before or after."""
    check(lambda: mlp(zero=zero))


def test_gradients_outside() -> None:
    """Zeroing outside of the step; gradients that somebody keeps; and accumulation."""

    def make(wrapper: Callable[..., Any]) -> Training:
        model = nn.Linear(4, 2)
        opt = optim.SGD(model.parameters(), 0.1)
        kept: list[wg.Tensor] = []

        def step(x: wg.Tensor) -> wg.Tensor:
            loss = model(x).square().mean()
            loss.backward()
            opt.step()
            return loss

        run = wrapper(step)

        def outer(x: wg.Tensor) -> tuple[wg.Tensor, ...]:
            loss = run(x)
            assert model.weight.grad is not None
            kept.append(model.weight.grad)
            if len(kept) % 3 == 0:
                opt.zero_grad()
            return loss, *kept[-3:]

        xs = wg.randn(20, 3, 4)
        return Training(outer, list(model.parameters()), lambda i: (xs[i],))

    check_inner(make, 20)


@pytest.mark.parametrize(
    "clip",
    [
        lambda p: nn.utils.clip_grad_norm_(p, 0.1),
        lambda p: nn.utils.clip_grad_norm_(p, 100.0, norm_type=3.0),
        lambda p: nn.utils.clip_grad_value_(p, 0.01),
    ],
)
def test_clipping(clip: Callable[[list[wg.Tensor]], Any]) -> None:
    """By a norm that no host looks at."""
    check(lambda: mlp(clip=clip))


def test_clipping_in_the_step() -> None:
    """The fused form, whose norm is an attribute that each replay renews."""

    def make(wrapper: Callable[..., Any]) -> Training:
        made = mlp(lambda p: optim.SGD(p, 0.1))
        opt = optim.SGD(made.params, 0.1)

        def step(x: wg.Tensor) -> wg.Tensor:
            loss = sum((p * p).sum() for p in made.params) + 0 * x.sum()
            loss.backward()
            opt.step(max_norm=0.5, zero_grad=True)
            return loss

        def outer(x: wg.Tensor, _: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
            loss = run(x)
            assert opt.grad_norm is not None
            return loss, opt.grad_norm

        run = wrapper(step)
        return Training(outer, made.params, made.batch)

    check_inner(make, 10)


@pytest.mark.parametrize(
    "layers",
    [
        (lambda: nn.Dropout(0.3),),
        (lambda: nn.BatchNorm1d(32), nn.GELU),
        (lambda: nn.LayerNorm(32), nn.SiLU, lambda: nn.Dropout(0.1)),
        (nn.Tanh, lambda: nn.RMSNorm(32)),
    ],
)
def test_layers(layers: tuple[Callable[[], nn.Module], ...]) -> None:
    """Random numbers and running statistics."""
    check(lambda: mlp(layers=layers))


@pytest.mark.parametrize("dtype", [wg.float64, wg.bfloat16])
def test_dtypes(dtype: wg.dtype) -> None:
    """Other dtypes of the model."""
    made = trace(lambda: mlp(dtype=wg.float64), True, 20)
    assert made == trace(lambda: mlp(dtype=wg.float64), False, 20)
    if dtype == wg.bfloat16:
        with wg.autocast("cpu", dtype=wg.bfloat16):
            check(mlp, 20)


def pinn() -> Training:
    """A differential equation: derivatives by the argument, inside the loss."""
    model = nn.Sequential(nn.Linear(1, 16), nn.Tanh(), nn.Linear(16, 1))
    opt = optim.Adam(model.parameters(), 1e-2)

    def step(x: wg.Tensor) -> wg.Tensor:
        opt.zero_grad()
        x = x.detach().requires_grad_()
        u = model(x)
        (du,) = wg.autograd.grad(u.sum(), x, create_graph=True)
        (d2u,) = wg.autograd.grad(du.sum(), x, create_graph=True)
        loss = (d2u + u).square().mean()
        loss.backward()
        opt.step()
        return loss

    xs = wg.rand(10, 20, 1)
    return Training(step, list(model.parameters()), lambda i: (xs[i % 10],))


def gan() -> Training:
    """Two models with optimizers of their own, and draws inside the step."""
    g, d = nn.Linear(4, 8), nn.Linear(8, 1)
    of_g, of_d = optim.Adam(g.parameters(), 1e-2), optim.Adam(d.parameters(), 1e-2)

    def step(x: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        z = wg.randn(16, 4)
        of_d.zero_grad()
        loss_d = F.softplus(-d(x)).mean() + F.softplus(d(g(z).detach())).mean()
        loss_d.backward()
        of_d.step()
        of_g.zero_grad()
        loss_g = F.softplus(-d(g(z))).mean()
        loss_g.backward()
        of_g.step()
        return loss_d, loss_g

    xs = wg.randn(10, 16, 8)
    return Training(step, [*g.parameters(), *d.parameters()], lambda i: (xs[i % 10],))


def actor_critic() -> Training:
    """A policy and a value with an average of the weights, on one tape."""
    body, policy, value = nn.Linear(4, 32), nn.Linear(32, 2), nn.Linear(32, 1)
    params = [*body.parameters(), *policy.parameters(), *value.parameters()]
    opt = optim.RMSprop(params, 1e-3)
    average = [p.detach().clone() for p in params]

    def step(s: wg.Tensor, a: wg.Tensor, ret: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        h = F.relu(body(s))
        v = value(h).squeeze(-1)
        log_p = F.log_softmax(policy(h), -1).gather(1, a.unsqueeze(1)).squeeze(1)
        loss = -(log_p * (ret - v).detach()).mean() + F.mse_loss(v, ret)
        opt.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(params, 0.5)
        opt.step()
        with wg.no_grad():
            for mean, p in zip(average, params, strict=True):
                mean.lerp_(p, 0.01)
        return loss.detach(), sum(m.abs().sum() for m in average)  # type: ignore[return-value]

    s, a, ret = wg.randn(10, 64, 4), wg.randint(0, 2, (10, 64)), wg.randn(10, 64)
    return Training(step, params, lambda i: (s[i % 10], a[i % 10], ret[i % 10]))


def language() -> Training:
    """Embedding, attention, and targets of which some are ignored."""
    emb, head = nn.Embedding(20, 16), nn.Linear(16, 20)
    layer = nn.TransformerEncoderLayer(16, 2, 32, batch_first=True, dropout=0.1)
    params = [*emb.parameters(), *layer.parameters(), *head.parameters()]
    opt = optim.AdamW(params, 1e-2)
    tokens = wg.randint(0, 20, (10, 4, 7))
    targets = wg.where(wg.rand(10, 4, 6) < 0.3, -100, tokens[:, :, 1:])

    def step(t: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        opt.zero_grad()
        logits = head(layer(emb(t[:, :-1])))
        loss = F.cross_entropy(logits.reshape(-1, 20), y.reshape(-1))
        loss.backward()
        opt.step()
        return loss

    return Training(step, params, lambda i: (tokens[i % 10], targets[i % 10]))


def images() -> Training:
    """Convolutions and pooling."""
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 8, 3, padding=1),
        nn.BatchNorm2d(8), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip
    opt = optim.SGD(model.parameters(), 0.05, momentum=0.9)
    xs, ys = wg.randn(4, 8, 1, 12, 12), wg.randint(0, 10, (4, 8))

    def step(x: wg.Tensor, y: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        opt.zero_grad()
        logits = model(x)
        loss = F.cross_entropy(logits, y)
        loss.backward()
        opt.step()
        return loss, (logits.argmax(1) == y).float().mean()

    return Training(step, list(model.parameters()), lambda i: (xs[i % 4], ys[i % 4]))


@pytest.fixture(params=[1, 2])
def _threads(request: pytest.FixtureRequest) -> Iterator[None]:
    before = wg.get_num_threads()
    wg.set_num_threads(request.param)
    yield
    wg.set_num_threads(before)


@pytest.mark.usefixtures("_threads")
@pytest.mark.parametrize("make", [pinn, gan, actor_critic, language, images])
def test_families(make: Callable[[], Training]) -> None:
    """What people train."""
    check(make, 30)


@pytest.mark.usefixtures("_threads")
def test_a_thousand_steps() -> None:
    """Nothing drifts."""
    check(mlp, 1000)


def test_results() -> None:
    """Trees of tensors and other things; tensors that were given or held come back themselves."""
    held = wg.ones(3)

    def step(x: dict[str, wg.Tensor], n: int) -> dict[str, Any]:
        y = x["a"] * n
        return {"y": [y, y[1:], y.reshape(3, 1)], "n": n, "held": held, "x": x["a"], "text": "t"}

    captured = wg.capture(step)
    kept = []
    for k in range(1, 5):
        x = wg.full((3,), float(k))
        result = captured({"a": x}, 2)
        kept.append(result["y"][0])
        assert [t.tolist() for t in result["y"]] == [[2.0 * k] * 3, [2.0 * k] * 2, [[2.0 * k]] * 3]
        assert result["y"][0].data_ptr() == result["y"][2].data_ptr()
        assert result["held"] is held
        assert result["x"].data_ptr() == x.data_ptr()
        assert (result["n"], result["text"]) == (2, "t")
    assert [t[0].item() for t in kept] == [2.0, 4.0, 6.0, 8.0]
    assert captured.captures == 1


def test_explain() -> None:
    """Launches, and an arena that is smaller than what lives in it in turn; no dead launches."""
    x = wg.randn(64, 64)

    def step(x: wg.Tensor) -> wg.Tensor:
        unused = x.exp().sum()
        del unused
        for _ in range(6):
            x = (x @ x).tanh()
        return x

    captured = wg.capture(step)
    assert captured.explain() == "step: not captured"
    assert bits([captured(x)]) == bits([captured(x)]) == bits([step(x)])
    ((entry,),) = captured._entries.values()
    plan = entry.program.plan
    assert plan["dropped"] == 2
    before, after = plan["before"], plan["after"]
    assert after["launches"] < before["launches"]
    assert after["bytes"] < before["bytes"]
    assert after["alive_bytes"] <= after["arena_bytes"] <= before["intermediate_bytes"] / 3
    assert "gemm float32 m=64 n=64 k=64" in captured.explain()
    assert " us " in captured.explain(x)
    with pytest.raises(wg.CaptureError, match="not captured for these"):
        captured.explain(x, x)


def test_random_numbers_are_those_of_the_generator() -> None:
    """Seeds set between replays count; a generator of one's own goes on where it stands."""
    own = wg.Generator()
    captured = wg.capture(lambda x: x + wg.rand(3) + wg.randn(3, generator=own))
    x = wg.zeros(3)
    first, second = captured(x), captured(x)
    assert first.tolist() != second.tolist()
    wg.manual_seed(0)
    own.manual_seed(0)
    third = captured(x)
    wg.manual_seed(0)
    own.manual_seed(0)
    assert third.tolist() == (wg.rand(3) + wg.randn(3, generator=own)).tolist()
    captured = wg.capture(lambda x: (wg.manual_seed(5), x + wg.rand(3))[1])
    assert captured(x).tolist() == captured(x).tolist()


def test_errors_in_a_replay() -> None:
    """What a plain run would raise, a replay raises."""
    table = wg.randn(5, 2)
    captured = wg.capture(lambda i: F.embedding(i, table).sum())
    captured(wg.tensor([0, 4]))
    captured(wg.tensor([1, 2]))
    with pytest.raises(IndexError, match="embedding"):
        captured(wg.tensor([1, 5]))
    assert captured(wg.tensor([1, 2])).item() == table[1:3].sum().item()
    captured = wg.capture(lambda a, b: a // b)
    a = wg.tensor([6, 7])
    captured(a, a), captured(a, a)
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        captured(a, wg.tensor([1, 0]))
    policy = wg.capture(lambda s, t: wg.distributions.Categorical(logits=s).log_prob(t))
    logits = wg.randn(3, 2)
    policy(logits, wg.tensor([0, 1, 1])), policy(logits, wg.tensor([1, 0, 1]))
    with pytest.raises(ValueError, match="within"):
        policy(logits, wg.tensor([0, 1, 2]))
    captured = wg.capture(wg.linalg.inv)
    captured(wg.eye(2)), captured(wg.eye(2))
    with pytest.raises(wg.linalg.LinAlgError, match="singular"):
        captured(wg.zeros(2, 2))


def test_methods_and_decorators() -> None:
    """As decorator, with options, and of methods, each instance with programs of its own."""

    class Counter:
        def __init__(self, by: float) -> None:
            self.by = by

        @wg.capture
        def step(self, x: wg.Tensor) -> wg.Tensor:
            return x + self.by

    a, b = Counter(1.0), Counter(2.0)
    x = wg.zeros(1)
    assert [a.step(x).item(), b.step(x).item(), a.step(x).item()] == [1.0, 2.0, 1.0]
    a.by = 5.0
    assert [a.step(x).item() for _ in range(3)] == [5.0] * 3
    assert (a.step.captures, b.step.captures) == (2, 1)

    @wg.capture(max_captures=2)
    def double(x: wg.Tensor) -> wg.Tensor:
        """Double it."""
        return x * 2

    assert double.__doc__ == "Double it."
    assert double(double(x + 1)).item() == 4.0
    with pytest.raises(TypeError, match="function"):
        wg.capture(3)


def test_captures_inside_captures() -> None:
    """A captured function that another calls becomes a part of that."""
    inner = wg.capture(lambda x: x * 2)
    outer = wg.capture(lambda x: inner(x) + 1)
    for k in range(3):
        assert outer(wg.full((2,), float(k))).tolist() == [2.0 * k + 1] * 2


def test_compile() -> None:
    """PyTorch's name: modules for inference, and plain runs where a graph is needed."""
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    compiled = wg.compile(model, mode="max-autotune")
    x = wg.randn(3, 4)
    with wg.no_grad():
        for _ in range(3):
            assert bits([compiled(x)]) == bits([model(x)])
        assert compiled.captures == 1
    compiled(x).sum().backward()
    assert model[0].weight.grad is not None
    assert len(list(compiled.parameters())) == 4
    compiled.eval()
    assert not model.training
    assert wg.compile(model, disable=True) is model


def test_two_threads() -> None:
    """One program at a time; who comes second is told."""
    weight = wg.randn(256, 256)
    captured = wg.capture(lambda x: (x @ weight @ weight @ weight).sum())
    x = wg.randn(256, 256)
    expected = captured(x).item()
    wrong: list[BaseException] = []

    def work() -> None:
        try:
            for _ in range(20):
                assert captured(x).item() == expected
        except BaseException as e:
            wrong.append(e)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(isinstance(e, wg.CaptureError) and "thread" in str(e) for e in wrong)
