"""Loss scaling: what PyTorch's scaler does, and the same bits when it is captured."""

from __future__ import annotations

import math
import pickle
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from test_capture import Training, bits, trace
from wengert import amp, nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable

INF, NAN = math.inf, math.nan


@pytest.mark.skipif(wg.cuda.is_available(), reason="there is a CUDA device")
def test_is_disabled_without_a_cuda_device() -> None:
    scaler = amp.GradScaler()
    loss = wg.ones(1)
    assert scaler.scale(loss) is loss
    assert not scaler.is_enabled()
    assert (scaler.get_scale(), scaler.state_dict()) == (1.0, {})
    assert amp.GradScaler("cpu").is_enabled()
    assert amp.GradScaler("cpu").get_scale() == 65536.0


def run_both(steps: Callable[[Any], Any]) -> None:
    """The same in PyTorch, number by number."""
    torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
    assert list(steps(wg)) == list(steps(torch))


@pytest.mark.parametrize("optimizer", ["SGD", "Adadelta"])
@pytest.mark.parametrize("unscale", [False, True])
def test_steps_of_pytorch(optimizer: str, unscale: bool) -> None:
    """Skipped steps, backing off and growth, for optimizers in C++ and in Python."""
    factors = [1.0, 2.0, INF, 1.0, 0.5, 1.0, 1.0, NAN, INF, 4.0, 1e38, 1.0]

    def steps(m: Any) -> Any:
        dtypes = (m.float32, m.float64)
        params = [m.nn.Parameter(m.tensor([1.0, -2.0, 0.25], dtype=d)) for d in dtypes]
        opts = [getattr(m.optim, optimizer)([p], lr=0.125) for p in params]
        scaler = m.amp.GradScaler("cpu", init_scale=4.0, growth_interval=3)
        yield scaler.get_scale()
        for k, factor in enumerate(factors):
            for opt in opts:
                opt.zero_grad()
            losses = [(p * (factor if k % 2 == i else 1.0)).sum() for i, p in enumerate(params)]
            for loss in scaler.scale(losses):
                loss.backward()
            if unscale:
                scaler.unscale_(opts[0])
                m.nn.utils.clip_grad_value_([params[0]], 0.75)
            for p, opt in zip(params, opts, strict=True):
                scaler.step(opt)
                yield repr(p.grad.tolist())
            scaler.update()
            yield scaler.get_scale()
            yield scaler.state_dict()
            if optimizer == "SGD":
                yield [p.tolist() for p in params]
        one = m.ones(1)
        yield scaler.scale((one, [one * 3]))[1][0].tolist()
        scaler.update(3.0)
        yield scaler.get_scale()
        scaler.update(m.tensor(5.0))
        yield scaler.get_scale()

    run_both(steps)


def test_misuse() -> None:
    """What PyTorch refuses, by the type of its error."""
    p = nn.Parameter(wg.ones(1))
    opt = optim.SGD([p], lr=0.5)
    for wrong in ({"growth_factor": 1.0}, {"backoff_factor": 1.0}):
        with pytest.raises(AssertionError, match="factor must be"):
            amp.GradScaler("cpu", **wrong)  # type: ignore[arg-type]
    scaler = amp.GradScaler("cpu")
    for call in (lambda: scaler.unscale_(opt), lambda: scaler.step(opt), scaler.update):
        with pytest.raises(AssertionError, match="_scale is None"):
            call()
    with pytest.raises(ValueError, match="iterable of Tensors"):
        scaler.scale(1.0)
    scaler.scale((p * 2).sum()).backward()
    with pytest.raises(AssertionError, match="prior to update"):
        scaler.update()
    with pytest.raises(RuntimeError, match="Closure"):
        scaler.step(opt, closure=lambda: None)
    scaler.unscale_(opt)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(opt)
    with pytest.raises(AssertionError, match="pickled"):
        pickle.dumps(scaler)
    scaler.step(opt)
    assert p.item() == 0.0
    for again in (scaler.step, scaler.unscale_):
        with pytest.raises(RuntimeError, match="step"):
            again(opt)
    scaler.update()
    opt.zero_grad()
    with pytest.raises(AssertionError, match="No inf checks"):
        scaler.step(opt)
    half = nn.Parameter(wg.ones(1, dtype=wg.float16))
    half.grad = wg.ones(1, dtype=wg.float16)
    with pytest.raises(ValueError, match="FP16"):
        scaler.unscale_(optim.SGD([half], lr=0.5))
    with pytest.raises(RuntimeError, match="empty"):
        scaler.load_state_dict({})
    with pytest.raises(AssertionError, match="new_scale"):
        scaler.update(wg.ones(2))


def test_states_go_from_scaler_to_scaler() -> None:
    p = nn.Parameter(wg.ones(1))
    opt = optim.SGD([p], lr=0.5)
    one = amp.GradScaler("cpu", init_scale=8.0, growth_factor=4.0, growth_interval=2)
    for _ in range(3):
        one.scale(p.sum()).backward()
        one.step(opt)
        one.update()
    assert one.state_dict() == {
        "scale": 32.0, "growth_factor": 4.0, "backoff_factor": 0.5, "growth_interval": 2,
        "_growth_tracker": 1,
    }  # fmt: skip
    other = amp.GradScaler("cpu")
    other.load_state_dict(one.state_dict())
    assert other.state_dict() == one.state_dict()
    other.scale(p.sum())
    assert pickle.loads(pickle.dumps(other)).state_dict() == one.state_dict()
    other.load_state_dict({**one.state_dict(), "scale": 2.0, "_growth_tracker": 0})
    assert (other.get_scale(), other.state_dict()["_growth_tracker"]) == (2.0, 0)


def test_the_first_step_may_be_skipped() -> None:
    """It makes no states, and is not counted."""
    p = nn.Parameter(wg.ones(3))
    opt = optim.Adam([p])
    scaler = amp.GradScaler("cpu", init_scale=2.0)
    scaler.scale((p * INF).sum()).backward()
    scaler.step(opt)
    scaler.update()
    assert p.tolist() == [1.0] * 3
    assert opt.state_dict()["state"] == {}
    assert scaler.get_scale() == 1.0


# --- captured ------------------------------------------------------------------------------------


def training(
    optimizer: Callable[[Any], optim.Optimizer],
    dtype: wg.dtype | None,
    clip: str = "",
    scalers: list[amp.GradScaler] | None = None,
) -> Training:
    """A model with a scaler whose scale grows and backs off, as some batches overflow."""
    model = nn.Sequential(nn.Linear(8, 300), nn.Tanh(), nn.Linear(300, 3))
    params = list(model.parameters())
    opt = optimizer(params)
    scaler = amp.GradScaler("cpu", init_scale=2.0**10, growth_interval=3)
    if scalers is not None:
        scalers.append(scaler)
    xs, ys = wg.randn(10, 6, 8), wg.randint(0, 3, (10, 6))
    factors = wg.ones(10)
    factors[3], factors[4], factors[8] = INF, NAN, 3e38

    def step(x: wg.Tensor, y: wg.Tensor, factor: wg.Tensor) -> tuple[wg.Tensor, ...]:
        opt.zero_grad()
        with wg.autocast("cpu", dtype=dtype or wg.bfloat16, enabled=dtype is not None):
            loss = F.cross_entropy(model(x), y) * factor
        scaler.scale(loss).backward()
        if clip == "apart":
            scaler.unscale_(opt)
            nn.utils.clip_grad_norm_(params, 0.5)
        scaler.step(opt, **({"max_norm": 0.5} if clip == "fused" else {}))
        scaler.update()
        assert scaler._scale is not None
        return loss, scaler._scale * 1

    return Training(step, params, lambda i: (xs[i % 10], ys[i % 10], factors[i % 10]))


@pytest.mark.parametrize("dtype", [None, wg.bfloat16, wg.float16])
@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: optim.SGD(p, 0.1, momentum=0.9, dampening=0.5),
        lambda p: optim.Adam([{"params": p[:2]}, {"params": p[2:], "lr": 1e-3}], 1e-2),
        lambda p: optim.AdamW(p, 1e-2, state_dtype="8bit"),
        lambda p: optim.RMSprop(p, 1e-2),
    ],
)
def test_captured_training(
    optimizer: Callable[[Any], optim.Optimizer], dtype: wg.dtype | None
) -> None:
    """The bits of plain training, with steps that are skipped between."""
    for clip in ("", "apart", "fused"):
        plain = trace(lambda: training(optimizer, dtype, clip), False, 25)  # noqa: B023
        assert trace(lambda: training(optimizer, dtype, clip), True, 25) == plain  # noqa: B023
    scales = {scale for _, scale in plain[0]}
    assert len(scales) > 3


def test_a_captured_scaler_is_that_of_python() -> None:
    """What it holds is read and written by replays: states, loaded states, new scales."""
    rows = []
    for captured in (False, True):
        wg.manual_seed(0)
        scalers: list[amp.GradScaler] = []
        made = training(lambda p: optim.Adam(p, 1e-2), wg.float16, scalers=scalers)
        step = wg.capture(made.step) if captured else made.step
        row = []
        for i in range(24):
            row.append(bits(step(*made.batch(i))))
            row.append(scalers[0].state_dict())
            if i == 6:
                scalers[0].load_state_dict({**scalers[0].state_dict(), "scale": 64.0})
            elif i == 12:
                scalers[0].update(16.0)
            elif i == 18:
                scalers[0].set_growth_factor(4.0)
        rows.append((row, bits(made.params)))
        if captured:
            assert step.captures <= 4
    assert rows[0] == rows[1]


def test_two_optimizers_captured() -> None:
    """One that overflows is skipped, and the other is not; the scale backs off."""

    def make() -> Training:
        a, b = nn.Linear(4, 2), nn.Linear(4, 2)
        opts = optim.Adam(a.parameters(), 1e-2), optim.SGD(b.parameters(), 0.1)
        scaler = amp.GradScaler("cpu", init_scale=8.0)
        xs = wg.randn(6, 3, 4)
        factors = wg.ones(6)
        factors[2] = INF

        def step(x: wg.Tensor, factor: wg.Tensor) -> tuple[wg.Tensor, ...]:
            for opt in opts:
                opt.zero_grad()
            scaler.scale([(a(x) * factor).square().mean() + b(x).square().mean()])[0].backward()
            for opt in opts:
                scaler.step(opt)
            scaler.update()
            assert scaler._scale is not None
            return a.weight.detach().clone(), b.weight.detach().clone(), scaler._scale.clone()

        params = [*a.parameters(), *b.parameters()]
        return Training(step, params, lambda i: (xs[i % 6], factors[i % 6]))

    plain = trace(make, False, 12)
    assert plain == trace(make, True, 12)
    (before, after) = plain[0][1], plain[0][2]
    assert before[0] == after[0]
    assert before[1] != after[1]
    assert before[2] != after[2]


def test_what_cannot_be_skipped_is_refused() -> None:
    """Steps of optimizers in Python: whether to take them is for the host to see."""
    p = nn.Parameter(wg.ones(2))
    opt = optim.Adadelta([p])
    scaler = amp.GradScaler("cpu")

    def step(x: wg.Tensor) -> None:
        scaler.scale((p * x).sum()).backward()
        scaler.step(opt)
        scaler.update()

    captured = wg.capture(step)
    with pytest.raises(wg.CaptureError, match="looked at the numbers"):
        for _ in range(3):
            captured(wg.ones(2))
