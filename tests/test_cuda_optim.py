"""Optimizers, clipping and loss scales on a CUDA device: what the CPU computes."""

from __future__ import annotations

import copy
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from wengert import _core, amp, nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)

CPU, CUDA = "cpu", "cuda"
SIZES: list[tuple[int, ...]] = [(1,), (0,), (3,), (31,), (33, 2), (255,), (256,), (257,), (5000,)]
TOLERANCE = {
    wg.float64: {"rtol": 1e-12, "atol": 1e-13},
    wg.float32: {"rtol": 2e-6, "atol": 1e-7},
    wg.bfloat16: {"rtol": 1e-2, "atol": 1e-2},
}


def close(a: wg.Tensor, b: wg.Tensor, dtype: Any = None) -> None:
    assert a.dtype == b.dtype
    wide = [t.detach().cpu().double().numpy() for t in (a, b)]
    np.testing.assert_allclose(*wide, **TOLERANCE[dtype or a.dtype])


def bits(t: wg.Tensor) -> bytes:
    t = t.detach().cpu().contiguous()
    return (t.view(wg.int16) if t.dtype == wg.bfloat16 else t).numpy().tobytes()


def numbers(seed: int, size: tuple[int, ...], dtype: Any) -> wg.Tensor:
    return wg.randn(size, generator=wg.Generator().manual_seed(seed)).to(dtype)


def parameters(device: str, dtype: Any, sizes: list[tuple[int, ...]]) -> list[wg.Tensor]:
    made = [numbers(i, size, dtype).to(device) for i, size in enumerate(sizes)]
    # Not aligned for vectors, and not dense.
    odd = numbers(101, (1031,), dtype).to(device)[1:]
    turned = numbers(102, (7, 41), dtype).to(device).t()
    return [p.detach().requires_grad_() for p in [*made, odd, turned]]


def give_gradients(params: list[wg.Tensor], step: int, scale: float = 1.0) -> None:
    for i, p in enumerate(params):
        if i == 2 and step == 1:
            p.grad = None  # counts no step
            continue
        g = numbers(1000 * step + i, tuple(p.shape), p.dtype) * scale
        if i == 6:  # not aligned
            g = wg.cat([g.reshape(-1)[:1], g.reshape(-1)])
            p.grad = g.to(p.device)[1:].reshape(p.shape)
        else:
            p.grad = g.to(p.device)


def both(
    make: Callable[[list[wg.Tensor]], Any],
    dtype: Any = wg.float32,
    steps: int = 3,
    sizes: list[tuple[int, ...]] = SIZES,
    **given: Any,
) -> list[tuple[list[wg.Tensor], Any]]:
    """Parameters and optimizer after some steps: of the CPU, of the device."""
    out = []
    for device in (CPU, CUDA):
        params = parameters(device, dtype, sizes)
        opt = make(params)
        for step in range(steps):
            give_gradients(params, step)
            opt.step(**given)
        out.append((params, opt))
    return out


def compare(out: list[tuple[list[wg.Tensor], Any]]) -> None:
    (host, host_opt), (there, there_opt) = out
    dtype = host[0].dtype
    for a, b in zip(host, there, strict=True):
        assert b.device.type == "cuda"
        close(a, b)
        states = host_opt.state[a], there_opt.state[b]
        assert list(states[0]) == list(states[1])
        for name, s in states[0].items():
            assert states[1][name].device.type == "cuda"
            if s.dtype != wg.uint8:
                close(s, states[1][name], wg.float32 if name == "step" else dtype)


OPTIMIZERS: dict[str, Callable[..., Any]] = {
    "sgd": lambda p, **k: optim.SGD(p, lr=0.1, **k),
    "sgd decay": lambda p, **k: optim.SGD(p, lr=0.1, weight_decay=0.1, maximize=True, **k),
    "momentum": lambda p, **k: optim.SGD(p, lr=0.1, momentum=0.9, dampening=0.3, **k),
    "nesterov": lambda p, **k: optim.SGD(p, lr=0.1, momentum=0.9, nesterov=True, **k),
    "rmsprop": lambda p, **k: optim.RMSprop(p, lr=0.01, weight_decay=0.1, **k),
    "rmsprop momentum": lambda p, **k: optim.RMSprop(p, lr=0.01, momentum=0.5, **k),
    "adam": lambda p, **k: optim.Adam(p, lr=0.01, weight_decay=0.1, **k),
    "amsgrad": lambda p, **k: optim.Adam(p, lr=0.01, amsgrad=True, maximize=True, **k),
    "adamw": lambda p, **k: optim.AdamW(p, lr=0.01, weight_decay=0.1, **k),
}
IN_FULL: dict[str, Callable[..., Any]] = {
    "centered": lambda p: optim.RMSprop(p, lr=0.01, momentum=0.5, centered=True),
    "adagrad": lambda p: optim.Adagrad(p, lr=0.1, lr_decay=0.1, initial_accumulator_value=0.1),
    "adadelta": lambda p: optim.Adadelta(p, lr=1.0, weight_decay=0.1),
}


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.bfloat16], ids=str)
@pytest.mark.parametrize("name", [*OPTIMIZERS, *IN_FULL])
def test_steps_are_the_cpus(name: str, dtype: Any) -> None:
    if name == "adadelta":
        if dtype == wg.float32:
            compare_adadelta()
        return
    if name == "centered" and dtype == wg.bfloat16:
        return
    before = wg._core.cuda.host_launches()
    out = both((OPTIMIZERS | IN_FULL)[name], dtype)
    assert wg._core.cuda.host_launches() == before
    compare(out)


def compare_adadelta() -> None:
    (host, _), (there, opt) = both(IN_FULL["adadelta"], sizes=[(33,)])
    for a, b in zip(host, there, strict=True):
        close(a, b)
        assert opt.state[b]["square_avg"].device.type == "cuda"


@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16], ids=str)
@pytest.mark.parametrize("kept", [wg.float32, wg.bfloat16, "8bit"], ids=str)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_narrow_states(name: str, kept: Any, dtype: Any) -> None:
    make = OPTIMIZERS[name]
    sizes = [(5000,), (17,), (4096,), (3, 4111)]
    out = both(lambda p: make(p, state_dtype=kept), dtype, sizes=sizes)
    (host, host_opt), (there, there_opt) = out
    for a, b in zip(host, there, strict=True):
        close(a, b)
        for key, s in host_opt.state[a].items():
            t = there_opt.state[b][key]
            assert s.dtype == t.dtype
            # Chance and rounding are the same: where the last bit of float32 differs, a code may.
            if s.dtype == wg.uint8:
                assert float((s != t.cpu()).float().mean()) < 0.01, key
            elif s.dtype == wg.bfloat16:
                assert float((s != t.cpu()).float().mean()) < 0.02, key
            else:
                close(s, t)


@pytest.mark.parametrize("kept", [None, "8bit"], ids=str)
def test_steps_are_the_same_again(kept: Any) -> None:
    sizes = [(5000,), (70_000,), (17,)]
    runs = [both(lambda p: optim.Adam(p, state_dtype=kept), sizes=sizes)[1] for _ in range(2)]
    for a, b in zip(runs[0][0], runs[1][0], strict=True):
        assert bits(a) == bits(b)


def test_many_tensors() -> None:
    """More than one launch holds, and both kinds of states."""
    sizes = [(1 + i % 7,) for i in range(600)] + [(4100,)] * 2
    make = lambda p: optim.Adam(p, lr=0.01, state_dtype="8bit")  # noqa: E731
    out = both(make, sizes=sizes, steps=2, max_norm=1.0)
    for a, b in zip(out[0][0], out[1][0], strict=True):
        close(a, b)
        assert float(out[1][1].state[b]["step"]) == (1.0 if b is out[1][0][2] else 2.0)
    close(out[0][1].grad_norm, out[1][1].grad_norm)
    listed = [wg.ones(1, device=CUDA) for _ in range(1400)]
    assert float(_core.norm_of_all(listed, 1.0)) == 1400.0
    _core.limit_all_(listed, 0.0, 0.5)
    assert float(_core.norm_of_all(listed, 1.0)) == 700.0


def test_large_tensors_count_their_steps_once() -> None:
    """Parameters of several chunks, whose blocks all read the count."""
    sizes = [(100_003,), (8192,), (8193,), (4096,)]
    for params, opt in both(lambda p: optim.Adam(p, lr=0.01), sizes=sizes, steps=4):
        steps = [float(opt.state[p]["step"]) for p in params]
        assert steps == [4.0, 4.0, 3.0, 4.0, 4.0, 4.0]


@pytest.mark.parametrize("norm_type", [1.0, 2.0, math.inf, 3.0])
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.bfloat16], ids=str)
def test_clipping(dtype: Any, norm_type: float) -> None:
    norms, grads = [], []
    for device in (CPU, CUDA):
        params = parameters(device, dtype, SIZES)
        give_gradients(params, 0)
        norms.append(nn.utils.clip_grad_norm_(params, 2.0, norm_type))
        nn.utils.clip_grad_value_(params, 0.01)
        grads.append([p.grad for p in params if p.grad is not None])
    assert norms[1].device.type == "cuda"
    close(*norms)
    for a, b in zip(*grads, strict=True):
        close(a, b)


def test_norms_of_what_is_not_finite() -> None:
    for value in (math.nan, math.inf):
        for order in (1.0, 2.0, math.inf):
            grads = [wg.ones(3000), wg.ones(7)]
            grads[0][2999] = value
            norms = [
                _core.norm_of_all([g.to(device) for g in grads], order) for device in (CPU, CUDA)
            ]
            assert bits(norms[0]) == bits(norms[1])
    there = [wg.full((2,), 1e30, device=CUDA), wg.zeros(5, device=CUDA)]
    assert float(_core.norm_of_all(there, 2.0)) == pytest.approx(2**0.5 * 1e30)
    assert float(_core.norm_of_all([wg.zeros(0, device=CUDA)], 2.0)) == 0.0


def test_a_small_norm_changes_nothing() -> None:
    g = numbers(1, (999,), wg.float32).to(CUDA)
    p = wg.zeros(999, device=CUDA, requires_grad=True)
    p.grad = g.clone()
    nn.utils.clip_grad_norm_([p], 1e6)
    assert p.grad is not None
    assert bits(p.grad) == bits(g)


@pytest.mark.parametrize("max_norm", [0.5, 1e6])
def test_steps_that_clip(max_norm: float) -> None:
    out = both(lambda p: optim.AdamW(p, lr=0.01), max_norm=max_norm)
    compare(out)
    close(out[0][1].grad_norm, out[1][1].grad_norm)


@pytest.mark.parametrize("dtype", [wg.float32, wg.float64], ids=str)
def test_loss_scales(dtype: Any) -> None:
    seen = []
    for device in (CPU, CUDA):
        params = parameters(device, dtype, [(5,), (300,)])
        opts = [optim.Adam(params[:2], lr=0.1), optim.Adadelta(params[2:])]
        scaler = amp.GradScaler(device, init_scale=4.0, growth_interval=2)
        scales = []
        for factor in (1.0, 2.0, math.inf, 1.0, 0.5, math.nan):
            for opt in opts:
                opt.zero_grad()
            loss = sum((p * p).sum() for p in params) * factor
            scaler.scale(loss).backward()
            scaler.unscale_(opts[0])
            for opt in opts:
                scaler.step(opt)
            scaler.update()
            scales.append(scaler.get_scale())
        seen.append((scales, params, float(opts[0].state[params[0]]["step"]), scaler.state_dict()))
        assert scaler._scale is not None
        assert scaler._scale.device.type == device
    assert seen[0][0] == seen[1][0]
    assert seen[0][2:] == seen[1][2:]
    for a, b in zip(seen[0][1], seen[1][1], strict=True):
        close(a, b)


def test_the_scaler_of_cuda_is_enabled() -> None:
    assert amp.GradScaler().is_enabled()
    other = wg.ones(2) * 3
    scaler = amp.GradScaler(init_scale=2.0)
    there, here = scaler.scale([wg.ones(2, device=CUDA), other])
    assert (there.device.type, here.device.type) == ("cuda", "cpu")
    assert here.tolist() == [6.0, 6.0]


@pytest.mark.parametrize("kept", [None, wg.bfloat16, "8bit"], ids=str)
@pytest.mark.parametrize("name", ["adam", "amsgrad", "momentum", "rmsprop momentum"])
def test_states_move(name: str, kept: Any) -> None:
    """From the CPU to the device and back: the steps that follow are the same."""
    sizes = [(5000,), (17,)]
    make = lambda p: OPTIMIZERS[name](p, state_dtype=kept)  # noqa: E731
    (host, host_opt), (there, there_opt) = both(make, sizes=sizes)
    for params, opt, other in ((host, host_opt, CUDA), (there, there_opt, CPU)):
        moved = [p.detach().to(other).requires_grad_() for p in params]
        loaded = make(moved)
        loaded.load_state_dict(opt.state_dict())
        for a, b in zip(params, moved, strict=True):
            for key, s in opt.state[a].items():
                t = loaded.state[b][key]
                assert t.device.type == other, key
                assert bits(t) == bits(s), key
        for each, o in ((params, opt), (moved, loaded)):
            give_gradients(each, 7)
            o.step()
        for a, b in zip(params, moved, strict=True):
            close(a, b)
            if "step" in opt.state[a]:
                assert float(opt.state[a]["step"]) == float(loaded.state[b]["step"])


def test_copies_go_on() -> None:
    params = parameters(CUDA, wg.float32, [(5000,)])
    opt = optim.Adam(params, lr=0.1)
    give_gradients(params, 0)
    opt.step()
    twin, twin_opt = copy.deepcopy((params, opt))
    for ps, o in ((params, opt), (twin, twin_opt)):
        give_gradients(ps, 3)
        o.step()
    for a, b in zip(params, twin, strict=True):
        assert bits(a) == bits(b)


def test_devices_in_one_optimizer() -> None:
    """Each device's parameters are stepped where they are, by a common norm."""
    params = parameters(CPU, wg.float32, SIZES)
    mixed = [
        (p.detach().to(CUDA) if i % 2 else p.detach().clone()).requires_grad_()
        for i, p in enumerate(params)
    ]
    norms = []
    for ps in (params, mixed):
        opt = optim.Adam(ps, lr=0.01)
        for step in range(2):
            give_gradients(ps, step)
            nn.utils.clip_grad_norm_(ps, 3.0)
            opt.step(max_norm=2.0)
        norms.append(opt.grad_norm)
    close(*norms)
    for i, (a, b) in enumerate(zip(params, mixed, strict=True)):
        assert b.device.type == ("cuda" if i % 2 else "cpu")
        close(a, b)
    scaler = amp.GradScaler(CUDA, init_scale=2.0)
    opt = optim.SGD(mixed, lr=0.1)
    opt.zero_grad()
    (scaler.scale(mixed[7].sum()) + scaler.scale(mixed[8].sum() * math.inf).to(CUDA)).backward()
    before = mixed[7].detach().clone()
    scaler.step(opt)
    scaler.update()
    assert scaler.get_scale() == 1.0
    assert bits(mixed[7]) == bits(before)


def test_lbfgs() -> None:
    ends = []
    for device in (CPU, CUDA):
        x = wg.tensor([-1.0, 2.0], dtype=wg.float64).to(device).requires_grad_()
        opt = optim.LBFGS([x], max_iter=8, line_search_fn="strong_wolfe")

        def closure(x: wg.Tensor = x, opt: Any = opt) -> wg.Tensor:
            opt.zero_grad()
            loss = (1 - x[0]) ** 2 + 10 * (x[1] - x[0] ** 2) ** 2
            loss.backward()
            return loss

        opt.step(closure)
        opt.step(closure)
        ends.append(x)
    np.testing.assert_allclose(ends[1].tolist(), ends[0].tolist(), rtol=1e-5, atol=1e-6)


def test_bytes_are_the_cpus() -> None:
    for n in (0, 1, 255, 256, 1000, 4097):
        x = numbers(n, (n,), wg.float32) ** 3
        if n > 300:
            x[256:300] = 0.0
            x[3] = math.inf
        for signs in (True, False):
            made = [
                _core.quantize_blocks((x if signs else x.abs()).to(d), signs) for d in (CPU, CUDA)
            ]
            for a, b in zip(*made, strict=True):
                assert bits(a) == bits(b)
            backs = [_core.dequantize_blocks(*each, signs) for each in made]
            assert bits(backs[0]) == bits(backs[1])


def test_vectors_of_parameters() -> None:
    params = parameters(CUDA, wg.float32, SIZES)
    v = nn.utils.parameters_to_vector(params)
    assert v.device.type == "cuda"
    nn.utils.vector_to_parameters(v * 2, params)
    assert bits(nn.utils.parameters_to_vector(params)) == bits(v * 2)
