"""Modules and functions of convolutional networks, against PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert import nn
from wengert.testing import gradcheck, gradgradcheck

# The module, then the shape of its input.
MODULES = {
    "Conv1d(2, 4, 3)": (2, 2, 7),
    "Conv1d(2, 4, 3, padding='same', padding_mode='circular')": (2, 2, 7),
    "Conv2d(2, 4, 3, 2, 1)": (2, 2, 7, 6),
    "Conv2d(2, 4, (3, 2), bias=False, groups=2, dilation=(1, 2))": (2, 7, 6),
    "Conv2d(2, 4, (3, 2), padding='same', padding_mode='reflect')": (2, 2, 7, 6),
    "Conv2d(2, 4, 3, padding=(1, 2), padding_mode='replicate')": (2, 2, 7, 6),
    "Conv2d(2, 4, 3, padding='valid', padding_mode='circular')": (2, 2, 7, 6),
    "Conv3d(2, 3, 2, padding=1)": (1, 2, 3, 4, 3),
    "ConvTranspose1d(2, 4, 3, 2)": (2, 2, 5),
    "ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2, dilation=2)": (2, 2, 5, 4),
    "ConvTranspose3d(2, 3, 2, bias=False)": (1, 2, 3, 2, 3),
    "MaxPool1d(2)": (2, 3, 7),
    "MaxPool2d(3, 2, 1, return_indices=True)": (2, 3, 7, 6),
    "MaxPool2d((2, 3), ceil_mode=True)": (3, 7, 7),
    "MaxPool3d(2, dilation=2, stride=1)": (1, 2, 4, 5, 4),
    "AvgPool1d(2, 1, 1)": (2, 3, 7),
    "AvgPool2d(2)": (2, 3, 7, 6),
    "AvgPool2d((3, 2), 2, 1, True, False)": (2, 3, 7, 6),
    "AvgPool2d(2, divisor_override=3)": (2, 3, 7, 6),
    "AvgPool3d(2, padding=1)": (1, 2, 4, 5, 4),
    "AdaptiveAvgPool1d(3)": (2, 3, 7),
    "AdaptiveAvgPool2d((None, 4))": (2, 3, 7, 6),
    "AdaptiveAvgPool2d(1)": (3, 7, 6),
    "AdaptiveAvgPool3d((1, 2, 3))": (1, 2, 4, 5, 4),
    "AdaptiveMaxPool1d(3, return_indices=True)": (2, 3, 7),
    "AdaptiveMaxPool2d((None, 4))": (2, 3, 7, 6),
    "AdaptiveMaxPool3d(2)": (1, 2, 4, 5, 4),
    "Upsample(scale_factor=2)": (2, 3, 4, 5),
    "Upsample(size=(3, 7), mode='bilinear')": (2, 3, 4, 5),
    "UpsamplingNearest2d(scale_factor=(2, 3))": (2, 3, 4, 5),
    "UpsamplingBilinear2d(size=6)": (2, 3, 4, 5),
    "Unfold(2, 2, 1, 1)": (2, 3, 5, 4),
    "Fold((4, 5), 2, stride=(2, 1))": (2, 12, 8),
}


def made(library: Any, text: str) -> Any:
    return eval("library.nn." + text, {"library": library})


def values(result: Any) -> list[Any]:
    each = result if isinstance(result, tuple) else (result,)
    return [t.detach().numpy() for t in each]


def plain(module: Any) -> dict[str, Any]:
    return {k: v for k, v in vars(module).items() if k[0] != "_" and k not in ("weight", "bias")}


@needs_torch
@pytest.mark.parametrize("text", MODULES)
def test_module_equals_torch(text: str) -> None:
    ours, theirs = made(wg, text), made(torch, text)
    assert repr(ours) == repr(theirs)
    assert plain(ours) == plain(theirs)
    assert {k: tuple(v.shape) for k, v in ours.state_dict().items()} == {
        k: tuple(v.shape) for k, v in theirs.state_dict().items()
    }
    rng = np.random.default_rng(0)
    state = {
        k: rng.standard_normal(v.shape).astype("float32") for k, v in ours.state_dict().items()
    }
    ours.load_state_dict({k: wg.tensor(v) for k, v in state.items()})
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in state.items()})
    x = rng.standard_normal(MODULES[text]).astype("float32")
    a, b = wg.tensor(x).requires_grad_(), torch.from_numpy(x).requires_grad_()
    ya, yb = ours(a), theirs(b)
    for got, want in zip(values(ya), values(yb), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    (ya[0] if isinstance(ya, tuple) else ya).square().sum().backward()
    (yb[0] if isinstance(yb, tuple) else yb).square().sum().backward()
    for got, want in [(a, b), *zip(ours.parameters(), theirs.parameters(), strict=True)]:
        np.testing.assert_allclose(got.grad.numpy(), want.grad.numpy(), rtol=1e-4, atol=1e-4)


@needs_torch
@pytest.mark.parametrize(
    "text",
    [
        "Conv2d(3, 4, 2, groups=2)",
        "Conv2d(4, 3, 2, groups=2)",
        "Conv2d(4, 4, 2, groups=0)",
        "Conv2d(4, 4, 2, padding='x')",
        "Conv2d(4, 4, 2, 2, padding='same')",
        "Conv2d(4, 4, 2, padding_mode='x')",
        "ConvTranspose2d(4, 4, 2, padding_mode='reflect')",
        "ConvTranspose2d(2, 3, 3, 2)(library.ones(1, 2, 4, 4), output_size=(20, 20))",
        "ConvTranspose2d(2, 3, 3, 2)(library.ones(1, 2, 4, 4), output_size=(10,))",
        "Conv2d(1, 1, 2)(library.ones(1, 2, 4, 4))",
        "Conv2d(1, 1, 2)(library.ones(4))",
        "MaxPool2d(0)(library.ones(1, 2, 4, 4))",
        "functional.interpolate(library.ones(1, 2, 4, 4))",
        "functional.interpolate(library.ones(1, 2, 4, 4), 3, 2)",
        "functional.interpolate(library.ones(1, 2, 4, 4), (3, 4, 5))",
        "functional.interpolate(library.ones(1, 2, 4, 4), 3, mode='linear')",
        "functional.interpolate(library.ones(1, 2, 4, 4), 3, mode='x')",
        "functional.interpolate(library.ones(1, 2, 4, 4), 3, align_corners=True)",
        "functional.interpolate(library.ones(1, 2, 4, 4), 0)",
        "functional.interpolate(library.ones(2, 2), 3)",
        "functional.unfold(library.ones(1, 2, 4, 4), 5)",
        "functional.unfold(library.ones(1, 2, 4, 4), 0)",
        "functional.unfold(library.ones(1, 2, 4, 4), (2, 2, 2))",
        "functional.fold(library.ones(1, 8, 8), (4, 4), 2)",
        "functional.fold(library.ones(1, 7, 9), (4, 4), 2)",
        "functional.adaptive_avg_pool2d(library.ones(1, 1, 4, 4), (1, 2, 3))",
        "functional.adaptive_avg_pool2d(library.ones(1, 1, 4, 4), -1)",
    ],
)
def test_errors_equal_torch(text: str) -> None:
    with pytest.raises(Exception) as expected:
        made(torch, text)
    with pytest.raises(expected.type):
        made(wg, text)


@needs_torch
@pytest.mark.parametrize("size", [(10, 9), (1, 3, 10, 10)])
def test_output_size_of_transposed(size: tuple[int, ...]) -> None:
    shapes = [
        tuple(library.nn.ConvTranspose2d(2, 3, 3, 2)(library.ones(1, 2, 4, 4), size).shape)
        for library in (wg, torch)
    ]
    assert shapes[0] == shapes[1]


@pytest.mark.parametrize("transposed", [False, True])
def test_initial_values_are_of_torch_distribution(transposed: bool) -> None:
    wg.manual_seed(0)
    m = (nn.ConvTranspose2d if transposed else nn.Conv2d)(24, 32, 5)
    fan_in = (32 if transposed else 24) * 25
    for p in m.parameters():
        assert p.abs().amax().item() <= 1 / math.sqrt(fan_in)
    assert m.weight.std().item() == pytest.approx(1 / math.sqrt(3 * fan_in), rel=0.02)


@needs_torch
@pytest.mark.parametrize(
    ("shape", "how"),
    [
        ((2, 3, 5), {"scale_factor": 1.7, "mode": "linear"}),
        ((2, 3, 5), {"scale_factor": 1.7, "mode": "linear", "recompute_scale_factor": True}),
        ((2, 3, 5), {"size": 1, "mode": "linear", "align_corners": True}),
        ((1, 2, 4, 5), {"size": (7, 2), "mode": "bicubic"}),
        ((1, 2, 4, 5), {"size": (7, 2), "mode": "bicubic", "align_corners": True}),
        ((1, 2, 4, 5), {"size": (7, 2), "mode": "nearest-exact"}),
        ((1, 2, 4, 5), {"size": (3, 9), "mode": "area"}),
        ((1, 2, 4, 5), {"scale_factor": 0.6}),
        ((1, 2, 3, 2, 3), {"size": (4, 3, 5), "mode": "trilinear"}),
    ],
)
def test_interpolate(shape: tuple[int, ...], how: dict[str, Any]) -> None:
    x = np.random.default_rng(0).standard_normal(shape)
    got = nn.functional.interpolate(wg.tensor(x), **how)
    want = torch.nn.functional.interpolate(torch.from_numpy(x), **how)
    np.testing.assert_allclose(got.numpy(), want.numpy(), rtol=1e-6, atol=1e-6)
    leaf = wg.tensor(x).requires_grad_()
    gradcheck(lambda t: nn.functional.interpolate(t, **how), [leaf])


def test_second_derivatives_of_blocks() -> None:
    x = wg.tensor(np.random.default_rng(0).standard_normal((1, 2, 3, 4))).requires_grad_()
    gradgradcheck(lambda t: nn.functional.unfold(t, 2, 1, 1).square(), [x])
    y = x.detach().reshape(1, 4, 6).requires_grad_()
    gradgradcheck(lambda t: nn.functional.fold(t, (3, 4), 2).square(), [y])


@pytest.mark.parametrize("shape", [(70, 3, 11, 13), (3, 5, 90, 70)])
@pytest.mark.parametrize("how", [{}, {"stride": 2, "padding": 2}, {"dilation": 2, "padding": 1}])
def test_same_bits_with_any_number_of_threads(shape: tuple[int, ...], how: Any) -> None:
    rng = np.random.default_rng(0)
    x = wg.tensor(rng.standard_normal(shape).astype("float32")).requires_grad_()
    w = wg.tensor(rng.standard_normal((8, shape[1], 3, 3)).astype("float32")).requires_grad_()
    before, results = wg.get_num_threads(), []
    try:
        for threads in (1, 2, 5):
            wg.set_num_threads(threads)
            y = nn.functional.conv2d(x, w, **how)
            pooled = nn.functional.max_pool2d(y, 2)
            results.append([y, pooled, *wg.autograd.grad(pooled.square().sum(), (x, w))])
    finally:
        wg.set_num_threads(before)
    for other in results[1:]:
        for a, b in zip(results[0], other, strict=True):
            np.testing.assert_array_equal(a.detach().numpy(), b.detach().numpy())


def test_a_sample_does_not_depend_on_the_batch() -> None:
    rng = np.random.default_rng(0)
    x = wg.tensor(rng.standard_normal((9, 4, 10, 10)).astype("float32"))
    w = wg.tensor(rng.standard_normal((6, 4, 3, 3)).astype("float32"))
    whole = nn.functional.conv2d(x, w, padding=1)
    for i in range(9):
        one = nn.functional.conv2d(x[i], w, padding=1)
        np.testing.assert_array_equal(whole[i].numpy(), one.numpy())


@needs_torch
def test_not_a_number_wins() -> None:
    x = np.array([[[1.0, np.nan, 3.0, np.nan, -np.inf, -np.inf, 2.0, 2.0]]], "float32")
    got = nn.functional.max_pool1d(wg.tensor(x), 2, return_indices=True)
    want = torch.nn.functional.max_pool1d(torch.from_numpy(x), 2, return_indices=True)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a.numpy(), b.numpy())


def test_arguments_beyond_reason() -> None:
    x, w = wg.ones(1, 1, 4), wg.ones(1, 1, 2)
    for how in (
        {"padding": 2**62},
        {"dilation": 2**62},
        {"stride": 2**62},
    ):
        with pytest.raises(RuntimeError):
            nn.functional.conv1d(x, w, **how)
        with pytest.raises(RuntimeError):
            nn.functional.max_pool1d(x, 2, **how)
    assert nn.functional.conv1d(x, w, stride=2**39).shape == (1, 1, 1)
    # taps that are far apart need no memory for what lies between
    y = nn.functional.conv1d(x, w, padding=2**38, dilation=2**39, stride=1)
    assert y.tolist() == [[[0.0] * 4]]


@pytest.mark.parametrize("name", ["conv2d", "conv_transpose2d"])
@pytest.mark.parametrize("single", [False, True])
def test_vmap_over_weights_is_one_call_of_groups(name: str, single: bool) -> None:
    rng = np.random.default_rng(0)
    fn = getattr(nn.functional, name)
    x = wg.tensor(rng.standard_normal((3, 4, 5, 6) if single else (3, 2, 4, 5, 6)))
    w, b = wg.tensor(rng.standard_normal((3, 4, 2, 3, 2))), wg.tensor(rng.standard_normal((3, 4)))

    def call(x: Any, w: Any, b: Any) -> Any:
        return fn(x, w, b, 2, 1, groups=2)

    want = [call(x[i], w[i], b[i]).numpy() for i in range(3)]
    got = wg.func.vmap(call)(x, w, b)
    np.testing.assert_allclose(got.numpy(), np.stack(want), rtol=1e-12, atol=1e-12)
    shared = wg.func.vmap(call, (None, 0, None))(x[0], w, b[0])
    want = [call(x[0], w[i], b[0]).numpy() for i in range(3)]
    np.testing.assert_allclose(shared.numpy(), np.stack(want), rtol=1e-12, atol=1e-12)


def test_gradients_of_samples() -> None:
    rng = np.random.default_rng(0)
    x = wg.tensor(rng.standard_normal((4, 2, 6, 6)))
    w = wg.tensor(rng.standard_normal((3, 2, 3, 3)))

    def loss(w: Any, x: Any) -> Any:
        return nn.functional.max_pool2d(nn.functional.conv2d(x, w).relu(), 2).square().sum()

    each = wg.func.vmap(wg.func.grad(loss), (None, 0))(w, x)
    for i in range(4):
        one = wg.func.grad(loss)(w, x[i])
        np.testing.assert_allclose(each[i].numpy(), one.numpy(), rtol=1e-12, atol=1e-12)
