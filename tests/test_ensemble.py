"""Many models at once: each comes to the bits that it comes to alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable

N, STEPS, BATCH = 8, 50, 8
SEEDS = [3, 1, 4, 15, 9, 2, 6, 5]
RATES = [0.1 / 2**i for i in range(N)]


class Training(NamedTuple):
    """A step, and what it trains."""

    step: Callable[..., Any]
    model: nn.Module
    optimizer: optim.Optimizer


def classifier(model: nn.Module, optimizer: optim.Optimizer, clip: float = 0) -> Training:
    def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        if clip:
            nn.utils.clip_grad_norm_(model.parameters(), clip)
        optimizer.step()
        return loss

    return Training(step, model, optimizer)


def mlp(*layers: Callable[[], nn.Module]) -> nn.Module:
    return nn.Sequential(nn.Linear(6, 20), *(layer() for layer in layers), nn.Linear(20, 4))


def data(rows: int = STEPS * BATCH, *shape: int) -> tuple[wg.Tensor, wg.Tensor]:
    g = wg.Generator().manual_seed(1)
    return wg.randn(rows, *(shape or (6,)), generator=g), wg.randint(0, 4, (rows,), generator=g)


def bits(tensor: wg.Tensor) -> bytes:
    return tensor.detach().contiguous().numpy().tobytes()


def state(t: Training) -> list[bytes]:
    """Of parameters, buffers and optimizer states."""
    found = [bits(v) for v in t.model.state_dict().values()]
    for states in t.optimizer.state_dict()["state"].values():
        found += [bits(v) for v in states.values() if isinstance(v, wg.Tensor)]
    return found


def captured(make: Callable[[float], Training], *batch: wg.Tensor) -> tuple[Any, Training]:
    """A step that has taken a few batches, of a model that stands anywhere."""
    wg.manual_seed(99)
    t = make(0.5)
    step = wg.capture(t.step)
    for _ in range(3):
        step(*batch)
    return step, t


def alone(
    make: Callable[[float], Training], seed: int, lr: float, x: wg.Tensor, y: wg.Tensor
) -> tuple[list[bytes], bytes]:
    wg.manual_seed(seed)
    t = make(lr)
    losses = [t.step(x[k : k + BATCH], y[k : k + BATCH]) for k in range(0, len(x), BATCH)]
    return state(t), bits(wg.stack([loss.detach() for loss in losses]))


def check(make: Callable[[float], Training], x: wg.Tensor, y: wg.Tensor) -> None:
    """Models of seeds and rates of their own against plain runs."""
    step, t = captured(make, x[:BATCH], y[:BATCH])
    before, random = state(t), bits(wg.get_rng_state())
    models = step.ensemble(N, seeds=SEEDS, lr=RATES)
    losses = models.run((x, y))
    assert state(t) == before
    assert bits(wg.get_rng_state()) == random
    assert losses.shape == (len(x) // BATCH, N)
    for i in range(N):
        wanted, wanted_losses = alone(make, SEEDS[i], RATES[i], x, y)
        assert bits(losses[:, i]) == wanted_losses, f"model {i}"
        models.restore(i)
        assert state(t) == wanted, f"model {i}"


OPTIMIZERS: dict[str, Callable[[Any, float], optim.Optimizer]] = {
    "sgd": lambda p, lr: optim.SGD(p, lr),
    "momentum": lambda p, lr: optim.SGD(p, lr, momentum=0.9, nesterov=True, weight_decay=0.01),
    "adam": lambda p, lr: optim.Adam(p, lr),
    "amsgrad": lambda p, lr: optim.AdamW(p, lr, amsgrad=True),
    "rmsprop": lambda p, lr: optim.RMSprop(p, lr, momentum=0.5, centered=True),
    "adagrad": lambda p, lr: optim.Adagrad(p, lr, lr_decay=0.1, initial_accumulator_value=0.1),
    "bfloat16": lambda p, lr: optim.Adam(p, lr, state_dtype=wg.bfloat16),
}


@pytest.mark.parametrize("name", [k for k in OPTIMIZERS if k != "bfloat16"])
def test_optimizers(name: str) -> None:
    """Each rule, its states and step counts, with a rate of each model."""

    def make(lr: float) -> Training:
        model = mlp(nn.ReLU)
        return classifier(model, OPTIMIZERS[name](model.parameters(), lr))

    check(make, *data())


def test_narrow_states() -> None:
    """States kept in bfloat16: the parameters' bits."""

    def make(lr: float) -> Training:
        model = mlp(nn.ReLU)
        return classifier(model, optim.Adam(model.parameters(), lr, state_dtype=wg.bfloat16))

    x, y = data()
    step, t = captured(make, x[:BATCH], y[:BATCH])
    models = step.ensemble(N, seeds=SEEDS, lr=RATES)
    models.run((x, y))
    for i in range(N):
        wg.manual_seed(SEEDS[i])
        other = make(RATES[i])
        for k in range(0, len(x), BATCH):
            other.step(x[k : k + BATCH], y[k : k + BATCH])
        models.restore(i)
        for p, q in zip(t.model.parameters(), other.model.parameters(), strict=True):
            assert bits(p) == bits(q)


@pytest.mark.parametrize(
    "layers",
    [
        (nn.Tanh,),
        (nn.GELU, lambda: nn.LayerNorm(20)),
        (lambda: nn.BatchNorm1d(20), nn.ReLU),
        (nn.ReLU, lambda: nn.Dropout(0.3)),
        (lambda: nn.Linear(20, 20), nn.Sigmoid, nn.Dropout, lambda: nn.Softmax(-1)),
        (lambda: nn.RMSNorm(20), nn.SiLU),
    ],
)
def test_layers(layers: tuple[Callable[[], nn.Module], ...]) -> None:
    """Norms and their running statistics, random numbers, activations; clipped."""

    def make(lr: float) -> Training:
        model = mlp(*layers)
        return classifier(model, optim.AdamW(model.parameters(), lr), clip=0.5)

    check(make, *data())


def test_images() -> None:
    """Convolution, pooling, batch norm."""

    def make(lr: float) -> Training:
        model = nn.Sequential(
            *(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Flatten(), nn.Linear(64, 4)),
        )
        return classifier(model, optim.SGD(model.parameters(), lr, momentum=0.9))

    check(make, *data(12 * BATCH, 1, 8, 8))


def test_few_outputs() -> None:
    """One output, sizes below a vector, a regression."""

    def make(lr: float) -> Training:
        model = nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 1))
        optimizer = optim.Adam(model.parameters(), lr)

        def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
            optimizer.zero_grad()
            loss = F.mse_loss(model(x), y)
            loss.backward()
            optimizer.step()
            return loss

        return Training(step, model, optimizer)

    x = data(STEPS * BATCH, 2)[0]
    check(make, x, x.sum(1, keepdim=True))


@pytest.mark.parametrize("zero", ["zero first", "zero last", "none last"])
def test_gradients_between_steps(zero: str) -> None:
    """Gradients that are zeroed or forgotten, before or after."""

    def make(lr: float) -> Training:
        model = mlp(nn.ReLU)
        optimizer = optim.SGD(model.parameters(), lr)

        def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
            if "first" in zero:
                optimizer.zero_grad(set_to_none=False)
            loss = F.cross_entropy(model(x), y)
            loss.backward()
            optimizer.step()
            if "last" in zero:
                optimizer.zero_grad(set_to_none="none" in zero)
            return loss

        return Training(step, model, optimizer)

    check(make, *data())


def dropout(lr: float) -> Training:
    model = mlp(nn.ReLU, nn.Dropout)
    return classifier(model, optim.Adam(model.parameters(), lr))


def test_calls_and_runs() -> None:
    """Calls and runs are the same, and so are 1 and 2 threads, and groups of other sizes."""
    x, y = data()
    step, t = captured(dropout, x[:BATCH], y[:BATCH])
    results = []
    threads = wg.get_num_threads()
    try:
        for count, n in ((1, N), (2, N), (2, 3)):
            wg.set_num_threads(count)
            models = step.ensemble(n, seeds=SEEDS[:n], lr=RATES[:n])
            losses = models.run((x, y))[:, :3]
            results.append((bits(losses), bits(models.stacked(t.model[0].weight)[:3])))
    finally:
        wg.set_num_threads(threads)
    models = step.ensemble(N, seeds=SEEDS, lr=RATES)
    calls = [models(x[k : k + BATCH], y[k : k + BATCH]) for k in range(0, len(x), BATCH)]
    weight = models.stacked(t.model[0].weight)[:3]
    results.append((bits(wg.stack(calls)[:, :3]), bits(weight)))
    assert len(set(results)) == 1


def test_own_batches() -> None:
    """Data, and orders, of each model."""
    x, y = data()
    step, t = captured(dropout, x[:BATCH], y[:BATCH])
    xs = wg.stack([x * (i + 1) for i in range(N)])
    models = step.ensemble(N, seeds=SEEDS, lr=RATES)
    losses = models.run((xs, y), shuffle=True, epochs=2, seed=SEEDS)
    for i in range(N):
        wg.manual_seed(SEEDS[i])
        other = dropout(RATES[i])
        plain = wg.capture(other.step)
        wanted = plain.run((xs[i], y), BATCH, True, 2, SEEDS[i])
        assert bits(losses[:, i]) == bits(wanted)
        assert bits(models.stacked(t.model[0].weight)[i]) == bits(other.model[0].weight)

    models = step.ensemble(N, seeds=SEEDS, lr=RATES)
    found = models(xs[:, :BATCH], y[:BATCH])
    assert found.shape == (N,)
    for i in range(N):
        wg.manual_seed(SEEDS[i])
        other = dropout(RATES[i])
        assert bits(found[i]) == bits(other.step(xs[i, :BATCH], y[:BATCH]))


def test_copies() -> None:
    """Without seeds each begins as what is captured stands, and draws what it would draw."""
    x, y = data()
    step, t = captured(dropout, x[:BATCH], y[:BATCH])
    models = step.ensemble(2, lr=[0.5, 0.1])
    losses = models.run((x, y))
    wanted = step.run((x, y), BATCH)
    assert bits(losses[:, 0]) == bits(wanted)
    weight = models.stacked(t.model[0].weight)
    assert bits(weight[0]) == bits(t.model[0].weight)
    assert bits(weight[1]) != bits(weight[0])


def test_settings() -> None:
    """Settings change between calls, for all or for each; others are the optimizer's."""
    x, y = data()
    step, t = captured(dropout, x[:BATCH], y[:BATCH])
    models = step.ensemble(2, seeds=[0, 0], betas=[(0.9, 0.99), (0.5, 0.9)], lr=0.01)
    models.run((x, y))
    models.set_settings(betas=(0.8, 0.9), lr=wg.tensor([0.25, 0.125]))
    t.optimizer.param_groups[0]["weight_decay"] = 0.25
    models.run((x, y))
    for i, betas in enumerate([(0.9, 0.99), (0.5, 0.9)]):
        wg.manual_seed(0)
        model = mlp(nn.ReLU, nn.Dropout)
        optimizer = optim.Adam(model.parameters(), 0.01, betas=betas)
        other = wg.capture(classifier(model, optimizer).step)
        other.run((x, y), BATCH)
        optimizer.param_groups[0].update(betas=(0.8, 0.9), lr=(0.25, 0.125)[i], weight_decay=0.25)
        other.run((x, y), BATCH)
        assert bits(models.stacked(t.model[0].weight)[i]) == bits(model[0].weight)


def test_reset() -> None:
    """Parameters of no module, which a function initializes; a tree of results."""

    def fill(w: wg.Tensor) -> None:
        with wg.no_grad():
            w.normal_()

    def make() -> tuple[Callable[..., Any], wg.Tensor, wg.Tensor]:
        w, count = wg.zeros(6, requires_grad=True), wg.zeros(())
        optimizer = optim.SGD([w], 0.1)

        def step(x: wg.Tensor) -> dict[str, Any]:
            optimizer.zero_grad()
            y = x @ w
            loss = y.square().mean()
            loss.backward()
            optimizer.step()
            count.add_(1)
            return {"loss": loss, "y": y.detach(), "w": w}

        return step, w, count

    plain, w, count = make()
    step = wg.capture(plain)
    x = data()[0]
    for _ in range(3):
        step(x[:BATCH])
    models = step.ensemble(3, seeds=[5, 6, 7], reset=lambda: fill(w))
    found = [models(x[k : k + BATCH]) for k in range(0, 80, BATCH)][-1]
    assert found["y"].shape == (3, BATCH)
    assert models.stacked(count).tolist() == [13.0] * 3
    for i in range(3):
        plain, w2, _ = make()
        wg.manual_seed(5 + i)
        fill(w2)
        wanted = [plain(x[k : k + BATCH]) for k in range(0, 80, BATCH)][-1]
        for name in ("loss", "y", "w"):
            assert bits(found[name][i]) == bits(wanted[name])
    with pytest.raises(wg.CaptureError, match="parameters of no module"):
        step.ensemble(2, seeds=[0, 1])


def test_evaluation() -> None:
    """Stacked states are what functional_call takes under vmap."""
    x, y = data()
    step, t = captured(dropout, x[:BATCH], y[:BATCH])
    models = step.ensemble(3, seeds=[0, 1, 2])
    models.run((x, y))
    t.model.eval()
    states = models.state_dict(t.model)
    found = wg.vmap(lambda s: wg.func.functional_call(t.model, s, x))(states)
    for i in range(3):
        models.restore(i)
        assert wg.allclose(found[i], t.model(x), atol=1e-6)


def test_checks_stay_checks() -> None:
    """A class out of range, in one model's batch."""
    x, y = data(2 * BATCH)
    step, _ = captured(dropout, x[:BATCH], y[:BATCH])
    models = step.ensemble(2, seeds=[0, 1])
    ys = wg.stack([y, y])
    ys[1, -1] = 4
    with pytest.raises(IndexError, match="target 4 at position 7 is out of bounds"):
        models.run((x, ys))


def test_refusals() -> None:
    """What cannot be each model's own, and wrong arguments."""
    x, y = data()
    t = dropout(0.1)
    with pytest.raises(wg.CaptureError, match="call it first"):
        wg.capture(t.step).ensemble(2)
    step, t = captured(dropout, x[:BATCH], y[:BATCH])
    with pytest.raises(ValueError, match="at least 1 model, got 0"):
        step.ensemble(0)
    with pytest.raises(ValueError, match="3 seeds for 2 models"):
        step.ensemble(2, seeds=[0, 1, 2])
    with pytest.raises(ValueError, match="3 values of lr for 2 models"):
        step.ensemble(2, lr=[0.1, 0.2, 0.3])
    with pytest.raises(TypeError, match="no optimizer of the step has 'rate'"):
        step.ensemble(2, rate=0.1)
    with pytest.raises(ValueError, match="give seeds"):
        step.ensemble(2, reset=lambda: None)
    with pytest.raises(wg.CaptureError, match="other states"):
        step.ensemble(2, amsgrad=True)
    models = step.ensemble(2)
    for wrong in (
        (x[:7], y[:7]),
        (x[:BATCH].double(), y[:BATCH]),
        (x[:BATCH].expand(3, -1, -1), y[:BATCH]),
    ):
        with pytest.raises(ValueError, match="expected"):
            models(*wrong)
    with pytest.raises(wg.CaptureError, match="arguments or modes"):
        models(x[:BATCH])
    with pytest.raises(wg.CaptureError, match="cannot be captured"):
        wg.capture(models)(x[:BATCH], y[:BATCH])
    for bad in (
        {"batch_size": 5}, {"every": 0}, {"epochs": -1}, {"shuffle": True, "seed": [1, 2, 3]},
    ):  # fmt: skip
        with pytest.raises(ValueError, match="ensemble: "):
            models.run((x, y), **bad)
    with pytest.raises(ValueError, match="no whole batches"):
        models.run((x[:-1], y[:-1]))
    assert models.run((x[:-1], y[:-1]), drop_last=True).shape == (STEPS - 1, 2)
    with pytest.raises(ValueError, match="expected one number"):
        models.run((x, y[:-8]))
    with pytest.raises(IndexError, match="model 2 of 2"):
        models.restore(2)
    with pytest.raises(ValueError, match="does not use"):
        models.stacked(wg.zeros(3))


def test_steps_that_are_refused() -> None:
    """Python in the midst, changed arguments, gradients that pile up."""
    model = mlp(nn.ReLU)
    optimizer = optim.SGD(model.parameters(), 0.1)
    scheduler = optim.lr_scheduler.StepLR(optimizer, 3)
    x, y = data(BATCH)

    def scheduled(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        scheduler.step()
        return loss

    def changing(x: wg.Tensor) -> None:
        x.mul_(2)

    for fn, args, match in (
        (scheduled, (x, y), "calls Python code"),
        (changing, (x,), "changes an argument"),
    ):
        step = wg.capture(fn)
        for _ in range(3):
            step(*args)
        with pytest.raises(wg.CaptureError, match=match):
            step.ensemble(2)

    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(wg.ones(6))

        def forward(self, x: wg.Tensor) -> wg.Tensor:
            return x * self.scale

    own = classifier(nn.Sequential(Own(), nn.Linear(6, 4)), optimizer)
    step = wg.capture(own.step)
    for _ in range(3):
        step(x, y)
    with pytest.raises(wg.CaptureError, match="Own has parameters but no reset_parameters"):
        step.ensemble(2, seeds=[0, 1])


def test_explain() -> None:
    """Which launches serve all models at once."""
    x, y = data(BATCH)
    step, _ = captured(dropout, x, y)
    text = step.ensemble(5).explain()
    assert text.startswith("5 models of step: ")
    assert "widened" in text
    assert "optimizer_step float32 (224,), repeated" in text


def test_steps_left_out_are_not_counted() -> None:
    """A model whose gradients overflow leaves its step out, and only it."""
    x, y = data(BATCH)
    wrong = x.clone()
    wrong[0, 0] = float("inf")
    batches = [[x, x, x], [x, wrong, x]]  # of each model

    def make() -> tuple[Training, wg.amp.GradScaler]:
        wg.manual_seed(99)
        model = mlp(nn.ReLU)
        optimizer, scaler = optim.Adam(model.parameters(), lr=0.01), wg.amp.GradScaler("cpu")

        def step(x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
            optimizer.zero_grad()
            loss = F.cross_entropy(model(x), y)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            return loss

        return Training(step, model, optimizer), scaler

    def plain(rows: list[wg.Tensor]) -> tuple[list[bytes], float]:
        t, scaler = make()
        for row in [x, x, x, *rows]:
            t.step(row, y)
        return state(t), scaler.get_scale()

    t, scaler = make()
    step = wg.capture(t.step)
    for _ in range(3):
        step(x, y)
    models = step.ensemble(2)
    for rows in zip(*batches, strict=True):
        models(wg.stack(list(rows)), y)
    for i, rows in enumerate(batches):
        models.restore(i)
        assert (state(t), scaler.get_scale()) == plain(rows)
