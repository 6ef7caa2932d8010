"""States of optimizers in bfloat16 and in bytes: how exact they are, and that training keeps up."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import wengert as wg
from wengert import _core, _digits

KINDS: list[tuple[str, dict[str, Any]]] = [
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.01, "amsgrad": True, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01, "maximize": True}),
    ("SGD", {"lr": 0.01, "momentum": 0.9}),
    ("SGD", {"lr": 0.01, "momentum": 0.9, "nesterov": True}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.5}),
]
each_kind = pytest.mark.parametrize(
    ("name", "settings"), KINDS, ids=[f"{n}-{'-'.join(list(s)[1:])}" for n, s in KINDS]
)
each_state = pytest.mark.parametrize("state_dtype", [wg.bfloat16, "8bit"], ids=["bf16", "8bit"])
# Around a vector, a block of states, and the least size that is kept in bytes.
SIZES = (0, 1, 15, 255, 256, 257, 4095, 4096, 4097, 4351, 4353)


def values(n: int, seed: int = 0) -> np.ndarray[Any, Any]:
    """Numbers of sizes that differ a thousandfold."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal(n) * 10 ** rng.uniform(-3, 0, n)).astype(np.float32)


def follow(optimizer: Any, params: list[Any], steps: range) -> list[Any]:
    for i in steps:
        for k, p in enumerate(params):
            p.grad = wg.tensor(values(p.numel(), 100 * i + k)).to(p.dtype)
        optimizer.step()
    return [p.detach().to(wg.float32).numpy().copy() for p in params]


def parameters(sizes: tuple[int, ...] = SIZES, dtype: Any = wg.float32) -> list[Any]:
    return [wg.tensor(values(n, n)).to(dtype).requires_grad_() for n in sizes]


@pytest.mark.parametrize("with_signs", [True, False])
@pytest.mark.parametrize("n", SIZES)
def test_bytes_there_and_back(n: int, with_signs: bool) -> None:
    x = values(n) if with_signs else values(n) ** 2
    codes, scales = _core.quantize_blocks(wg.tensor(x), with_signs)
    assert (codes.dtype, scales.dtype) == (wg.uint8, wg.float32)
    assert scales.shape == ((n + 255) // 256,)
    back = _core.dequantize_blocks(codes, scales, with_signs).numpy()
    peak = np.repeat(scales.numpy(), 256)[:n]
    np.testing.assert_array_equal(scales.numpy(), [np.abs(x[i : i + 256]).max() for i in
                                                   range(0, n, 256)])  # fmt: skip
    # Half a step: 1/32 of the value and of where steps become even; squares are never 0.
    even, part = (1.04 * 2**-8, 1 / 32) if with_signs else (2**-16, 1 / 15)
    assert np.all(np.abs(back - x) <= part * (np.abs(x) + even * peak))
    assert np.all(np.abs(back) <= peak * (1 + 2e-6))
    if with_signs:
        assert np.all((np.sign(back) == np.sign(x)) | (back == 0))
    else:
        assert np.all(back > 0)
    again = _core.dequantize_blocks(*_core.quantize_blocks(wg.tensor(back), with_signs), with_signs)
    np.testing.assert_allclose(again.numpy(), back, rtol=1e-5)


def test_bytes_of_nothing_and_of_what_is_not_finite() -> None:
    for with_signs in (True, False):
        for x in (wg.zeros(300), wg.full((300,), 1e-38)):
            codes, scales = _core.quantize_blocks(x, with_signs)
            assert scales.tolist() == [0, 0]
            assert _core.dequantize_blocks(codes, scales, with_signs).abs().sum().item() == 0
        x = wg.ones(600)
        x[300] = float("nan")  # spoils its block alone
        back = _core.dequantize_blocks(*_core.quantize_blocks(x, with_signs), with_signs)
        assert back.isnan().tolist() == [False] * 256 + [True] * 256 + [False] * 88


@each_kind
@each_state
def test_a_first_step_has_the_bits_of_float32(
    name: str, settings: dict[str, Any], state_dtype: Any
) -> None:
    results = []
    for kept in (None, state_dtype):
        params = parameters()
        optimizer = getattr(wg.optim, name)(params, **settings, state_dtype=kept)
        results.append(follow(optimizer, params, range(1)))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def as_float32(state: dict[str, Any], name: str, signs: bool) -> Any:
    t = state[name]
    if t.dtype == wg.uint8:
        t = _core.dequantize_blocks(t, state[name + "_scale"], signs)
    return t.to(wg.float32).numpy()


@each_state
def test_the_error_of_a_step(state_dtype: Any) -> None:
    params = parameters((5000,))
    exact = wg.optim.Adam(params)
    follow(exact, params, range(20))
    narrow_params = [p.detach().clone().requires_grad_() for p in params]
    narrow = wg.optim.Adam(narrow_params, state_dtype=state_dtype)
    narrow.load_state_dict(exact.state_dict())
    names = (("exp_avg", True, 2**-8), ("exp_avg_sq", False, 2**-16))
    theirs = exact.state[params[0]]
    before = params[0].detach().numpy().copy()
    sizes = [np.abs(as_float32(theirs, name, signs)).copy() for name, signs, _ in names]
    a, b = (follow(o, p, range(20, 21))[0] for o, p in ((exact, params), (narrow, narrow_params)))
    mine = narrow.state[narrow_params[0]]
    # Rounded to nearest when loaded, by half a step, and by less than one when stored.
    for (name, signs, even), old in zip(names, sizes, strict=True):
        x, y = as_float32(theirs, name, signs), as_float32(mine, name, signs)
        size = np.maximum(np.abs(x), old)
        if state_dtype == "8bit":
            peak = np.repeat(mine[name + "_scale"].numpy(), 256)[: len(x)]
            assert np.all(np.abs(x - y) <= 0.1 * (size + 2 * even * peak))
        else:
            assert np.all(np.abs(x - y) <= size * 2**-6)
    moved, off = np.abs(a - before), np.abs(a - b)
    limit = 0.1 if state_dtype == "8bit" else 0.01
    assert np.sqrt((off**2).mean()) < limit * np.sqrt((moved**2).mean())


@each_state
@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16], ids=["float32", "bfloat16"])
def test_a_mean_of_squares_does_not_stand_still(state_dtype: Any, dtype: Any) -> None:
    """Rounded to nearest it would be wrong by half: a step changes it by a thousandth."""
    p = wg.zeros(4096, dtype=dtype, requires_grad=True)
    optimizer = wg.optim.Adam([p], lr=0.0, state_dtype=state_dtype)
    rng = np.random.default_rng(0)
    size = 10 ** rng.uniform(-1, 0, 4096)
    expected = np.zeros(4096)
    for _ in range(2000):
        p.grad = wg.tensor((size * rng.standard_normal(4096)).astype(np.float32)).to(dtype)
        optimizer.step()
        expected = 0.999 * expected + 0.001 * p.grad.to(wg.float64).numpy() ** 2
    error = as_float32(optimizer.state[p], "exp_avg_sq", False) / expected - 1
    assert abs(error.mean()) < 0.01
    assert error.std() < (0.2 if state_dtype == "8bit" else 0.06)


@pytest.fixture(scope="module")
def digits() -> Any:
    data = _digits.split()
    return [
        wg.tensor(np.asarray(x, np.float32).reshape(len(x), -1) / 16)
        for x in (data.x_train, data.x_test)
    ] + [wg.tensor(y) for y in (data.y_train, data.y_test)]


def learn(digits: Any, name: str, settings: dict[str, Any], state_dtype: Any) -> tuple[float, ...]:
    """The last loss on what is learnt from, and the accuracy on the rest."""
    x, x_test, y, y_test = digits
    wg.manual_seed(0)
    nn = wg.nn
    layers = nn.Linear(64, 96), nn.ReLU(), nn.Linear(96, 64), nn.ReLU(), nn.Linear(64, 10)
    model = nn.Sequential(*layers)
    optimizer = getattr(wg.optim, name)(model.parameters(), **settings, state_dtype=state_dtype)
    rng = np.random.default_rng(0)
    for _ in range(12):
        for batch in np.array_split(rng.permutation(len(x)), len(x) // 48):
            at = wg.tensor(batch)
            loss = nn.functional.cross_entropy(model(x[at]), y[at])
            loss.backward()
            optimizer.step(zero_grad=True)
    with wg.no_grad():
        loss = nn.functional.cross_entropy(model(x), y)
        right = (model(x_test).argmax(1) == y_test).to(wg.float32).mean()
    return loss.item(), right.item()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("Adam", {"lr": 1e-3}),
        ("AdamW", {"lr": 2e-3, "weight_decay": 0.1}),
        ("SGD", {"lr": 0.05, "momentum": 0.9}),
        ("RMSprop", {"lr": 5e-4}),
    ],
    ids=["Adam", "AdamW", "SGD", "RMSprop"],
)
def test_training_ends_where_float32_ends(digits: Any, name: str, settings: Any) -> None:
    loss, right = learn(digits, name, settings, None)
    assert right > 0.94
    for state_dtype in (wg.bfloat16, "8bit"):
        other_loss, other_right = learn(digits, name, settings, state_dtype)
        assert abs(other_loss - loss) < 0.2 * loss
        assert abs(other_right - right) < 0.02


@each_kind
@each_state
def test_saved_and_loaded_states_go_on_with_the_same_bits(
    name: str, settings: dict[str, Any], state_dtype: Any
) -> None:
    params = parameters()
    optimizer = getattr(wg.optim, name)(params, **settings, state_dtype=state_dtype)
    follow(optimizer, params, range(3))
    others = [p.detach().clone().requires_grad_() for p in params]
    other = getattr(wg.optim, name)(others, lr=1.0, state_dtype=state_dtype)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    third = pickle.loads(pickle.dumps(other))
    thirds = third.param_groups[0]["params"]
    results = [
        follow(o, p, range(3, 6))
        for o, p in ((optimizer, params), (other, others), (third, thirds))
    ]
    for a, b, c in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@each_kind
@pytest.mark.parametrize("kept", [None, wg.bfloat16, "8bit"], ids=["none", "bf16", "8bit"])
@each_state
def test_states_of_one_kind_become_another(
    name: str, settings: dict[str, Any], kept: Any, state_dtype: Any
) -> None:
    params = parameters((5000, 10))
    optimizer = getattr(wg.optim, name)(params, **settings, state_dtype=kept)
    follow(optimizer, params, range(3))
    others = [p.detach().clone().requires_grad_() for p in params]
    other = getattr(wg.optim, name)(others, **settings, state_dtype=state_dtype)
    other.load_state_dict(optimizer.state_dict())
    assert other.state_dtype == state_dtype
    back = getattr(wg.optim, name)(params, **settings)
    back.load_state_dict(other.state_dict())
    small = wg.float32 if state_dtype == "8bit" else wg.bfloat16
    large = wg.uint8 if state_dtype == "8bit" else wg.bfloat16
    for key in optimizer.state[params[0]]:
        if key == "step" or key.endswith("_scale"):
            continue
        assert other.state[others[0]][key].dtype == large
        assert other.state[others[1]][key].dtype == small
        assert (key + "_scale" in other.state[others[0]]) == (state_dtype == "8bit")
        assert back.state[params[0]][key].dtype == wg.float32
        signs = key not in ("exp_avg_sq", "max_exp_avg_sq", "square_avg")
        x = as_float32(optimizer.state[params[0]], key, signs)
        y = as_float32(back.state[params[0]], key, signs)
        peak = np.abs(x).max()
        np.testing.assert_allclose(y, x, rtol=0.08, atol=peak * 2**-9)


@each_state
@pytest.mark.parametrize("dtype", [wg.float32, wg.bfloat16], ids=["float32", "bfloat16"])
def test_bits_do_not_depend_on_threads_or_grouping(state_dtype: Any, dtype: Any) -> None:
    sizes = (5, 70_001, 4096, 33_333, 0, 100_000)
    results, before = [], wg.get_num_threads()
    try:
        for threads, apart in ((1, False), (2, False), (3, True)):
            wg.set_num_threads(threads)
            params = parameters(sizes, dtype)
            groups = [{"params": [p]} for p in params] if apart else params
            optimizer = wg.optim.Adam(groups, state_dtype=state_dtype)
            found = follow(optimizer, params, range(4))
            found += [as_float32(optimizer.state[p], "exp_avg_sq", False) for p in params]
            results.append(found)
    finally:
        wg.set_num_threads(before)
    for a, b, c in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


def test_rounding_takes_no_number_from_the_generator() -> None:
    drawn = []
    for state_dtype in (None, "8bit"):
        wg.manual_seed(3)
        params = parameters((5000,))
        follow(wg.optim.Adam(params, state_dtype=state_dtype), params, range(2))
        drawn.append(wg.rand(4).tolist())
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("state_dtype", [None, wg.float32, wg.bfloat16, "8bit"])
def test_bfloat16_parameters(state_dtype: Any) -> None:
    """The step is that of float32, rounded once."""
    params = parameters((300, 5000), wg.bfloat16)
    wide = [p.detach().to(wg.float32).requires_grad_() for p in params]
    optimizer = wg.optim.AdamW(params, lr=0.1, state_dtype=state_dtype)
    exact = wg.optim.AdamW(wide, lr=0.1)
    for p, w in zip(params, wide, strict=True):
        p.grad = wg.tensor(values(p.numel())).to(wg.bfloat16)
        w.grad = p.grad.to(wg.float32)
    optimizer.step()
    exact.step()
    for p, w in zip(params, wide, strict=True):
        assert p.dtype == wg.bfloat16
        np.testing.assert_array_equal(
            p.detach().to(wg.float32).numpy(), w.detach().to(wg.bfloat16).to(wg.float32).numpy()
        )
    kept = optimizer.state[params[1]]["exp_avg"].dtype
    assert kept == {None: wg.bfloat16, "8bit": wg.uint8}.get(state_dtype, state_dtype)


def test_memory_of_states() -> None:
    p = wg.zeros(100_000, requires_grad=True)
    p.grad = wg.ones(100_000)
    taken = []
    for state_dtype in (None, wg.bfloat16, "8bit"):
        optimizer = wg.optim.Adam([p], state_dtype=state_dtype)
        optimizer.step()
        state = optimizer.state[p].values()
        taken.append(sum(t.numel() * t.element_size() for t in state if t.dim()) / 100_000)
    np.testing.assert_allclose(taken, [8, 4, 2 + 8 / 256], rtol=1e-3)


def test_parameters_that_are_not_dense() -> None:
    memory = wg.zeros(100, 200)
    strided = memory[:, ::2].t().requires_grad_()
    dense = wg.zeros(100, 100, requires_grad=True)
    for p in (strided, dense):
        optimizer = wg.optim.Adam([p], lr=0.1, state_dtype="8bit")
        for i in range(3):
            p.grad = wg.tensor(values(10_000, i)).view(100, 100)
            optimizer.step()
    np.testing.assert_array_equal(strided.detach().numpy(), dense.detach().numpy())


def test_a_nan_gradient_spoils_no_other_block() -> None:
    p = wg.zeros(5000, requires_grad=True)
    optimizer = wg.optim.Adam([p], state_dtype="8bit")
    p.grad = wg.ones(5000)
    p.grad[700] = float("nan")
    optimizer.step()
    p.grad = wg.ones(5000)
    optimizer.step()
    assert wg.isnan(p).nonzero().flatten().tolist() == list(range(512, 768))


@pytest.mark.parametrize("bad", ["4bit", "bfloat16", wg.float16, wg.int8, 8, wg.float64, object()])
def test_other_state_dtypes_are_refused(bad: Any) -> None:
    p = wg.ones(3, requires_grad=True)
    for make in (wg.optim.Adam, wg.optim.AdamW, wg.optim.SGD, wg.optim.RMSprop):
        with pytest.raises(ValueError, match="state_dtype"):
            make([p], state_dtype=bad)


def test_what_narrow_states_are_not_for() -> None:
    wide = wg.ones(3, dtype=wg.float64, requires_grad=True)
    narrow = wg.ones(3, requires_grad=True)
    with pytest.raises(ValueError, match="float64"):
        wg.optim.Adam([wide], state_dtype="8bit")
    optimizer = wg.optim.Adam([narrow], state_dtype="8bit")
    with pytest.raises(ValueError, match="float64"):
        optimizer.add_param_group({"params": [wide]})
    assert len(optimizer.param_groups) == 1
    with pytest.raises(ValueError, match="centered"):
        wg.optim.RMSprop([narrow], centered=True, state_dtype=wg.bfloat16)
    large = wg.ones(5000, requires_grad=True)
    other = wg.optim.RMSprop([large], state_dtype="8bit")
    other.param_groups[0]["centered"] = True
    large.grad = wg.ones(5000)
    with pytest.raises(ValueError, match="centered"):
        other.step()
    assert large.tolist() == [1] * 5000
    assert not other.state
    half = wg.ones(3, dtype=wg.float16, requires_grad=True)
    half.grad = wg.ones(3, dtype=wg.float16)
    third = wg.optim.SGD([half], momentum=0.9)
    with pytest.raises(NotImplementedError, match="float16"):
        third.step()
    assert not third.state


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"exp_avg_scale": None}, "without scales"),
        ({"exp_avg_scale": wg.ones(3)}, "scale"),
        ({"exp_avg_scale": wg.ones(20, dtype=wg.float64)}, "scale"),
        ({"exp_avg": wg.ones(5000)}, "with scales"),
        ({"exp_avg": wg.ones(4999), "exp_avg_scale": None}, "shape"),
        ({"exp_avg": wg.ones(5000, dtype=wg.int32), "exp_avg_scale": None}, "int32"),
    ],
)
def test_states_that_do_not_fit_change_nothing(change: dict[str, Any], match: str) -> None:
    p = parameters((5000,))
    optimizer = wg.optim.Adam(p, state_dtype="8bit")
    follow(optimizer, p, range(2))
    saved = optimizer.state_dict()
    bad = copy.deepcopy(saved)
    bad["state"][0].update(change)
    bad["param_groups"][0]["lr"] = 5.0
    with pytest.raises(ValueError, match=match):
        optimizer.load_state_dict(bad)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    other = [q.detach().clone().requires_grad_() for q in p]
    fresh = wg.optim.Adam(other, state_dtype="8bit")
    fresh.load_state_dict(saved)
    for a, b in zip(
        follow(optimizer, p, range(2, 4)), follow(fresh, other, range(2, 4)), strict=True
    ):
        np.testing.assert_array_equal(a, b)
