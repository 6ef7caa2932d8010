"""What the planner makes of a captured program: the same bits, with less work and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
import wengert.nn.functional as F  # noqa: N812
from wengert import nn, optim

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@pytest.fixture(params=[1, 2], autouse=True)
def threads(request: pytest.FixtureRequest) -> Iterator[None]:
    """One thread, and two."""
    before = wg.get_num_threads()
    wg.set_num_threads(request.param)
    yield
    wg.set_num_threads(before)


def bits(result: Any) -> list[bytes]:
    tensors = [result] if isinstance(result, wg.Tensor) else list(result)
    tensors = [t.detach().clone() for t in tensors]
    return [(t.float() if t.dtype == wg.bfloat16 else t).numpy().tobytes() for t in tensors]


def replayed(fn: Callable[..., Any], *arguments: list[wg.Tensor], **options: Any) -> Any:
    """Compare replays with plain runs, and return the plan; each argument has several values."""
    captured = wg.capture(fn, **options)
    for given in zip(*arguments, strict=True):
        assert bits(captured(*given)) == bits(fn(*given))
    assert captured.captures == 1
    ((entry,),) = captured._entries.values()
    return entry.program


def tiles(program: Any) -> list[int]:
    return [count for kind, _, count in program.plan["groups"] if kind == "tiles"]


def values(*shape: int, dtype: wg.dtype = wg.float32) -> list[wg.Tensor]:
    return [wg.randn(*shape).to(dtype) for _ in range(3)]


# --- tile by tile --------------------------------------------------------------------------------


def gelu(x: wg.Tensor) -> wg.Tensor:
    return 0.5 * x * (1 + (0.79788456 * (x + 0.044715 * x**3)).tanh())


@pytest.mark.parametrize("count", [4096, 5000, 65536, 100_003])
@pytest.mark.parametrize("dtype", [wg.float32, wg.float64, wg.bfloat16, wg.float16])
def test_chains(count: int, dtype: wg.dtype) -> None:
    """Elementwise chains are one group, whose intermediates never come to memory."""
    program = replayed(gelu, values(count, dtype=dtype))
    assert tiles(program) == [program.plan["after"]["launches"]]
    assert program.plan["after"]["arena_bytes"] == 0
    assert program.plan["after"]["bytes"] < program.plan["before"]["bytes"] / 3


@pytest.mark.parametrize(
    "shape", [(64, 100), (1000, 7), (3, 5000), (4096, 1), (1, 4096), (16, 16, 33)]
)
def test_broadcasts(shape: tuple[int, ...]) -> None:
    """Rows, columns and numbers that repeat."""
    row, column = values(*shape[-1:]), values(*shape[:-1], 1)

    def step(x: wg.Tensor, row: wg.Tensor, column: wg.Tensor, one: wg.Tensor) -> wg.Tensor:
        return ((x + row) * column - one).relu() * (x > column) + 2

    program = replayed(step, values(*shape), row, column, values(1))
    assert max(shape) == 5000 or tiles(program) == [program.plan["after"]["launches"]]


@pytest.mark.parametrize("shape", [(2048, 64), (100, 512), (17, 1000), (5000, 3), (3, 20_000)])
def test_reductions_of_rows(shape: tuple[int, int]) -> None:
    """A softmax written out, and a norm of rows."""

    def softmax(x: wg.Tensor) -> wg.Tensor:
        e = (x - x.amax(1, keepdim=True)).exp()
        return e / e.sum(1, keepdim=True)

    def norm(x: wg.Tensor) -> wg.Tensor:
        centred = x - x.mean(1, keepdim=True)
        return centred / ((centred * centred).mean(1, keepdim=True) + 1e-5).sqrt()

    whole = 64 <= shape[1] <= 4096
    assert tiles(replayed(softmax, values(*shape))) == ([5] if whole else [2]) or not whole
    program = replayed(norm, values(*shape))
    assert not whole or len(tiles(program)) == 1


def test_what_must_wait() -> None:
    """Views that overlap, in-place changes, transposes, parts, and writes into what is read."""

    def shifted(x: wg.Tensor) -> wg.Tensor:
        y = x * 2
        return y[1:] + y[:-1] * 3

    def in_place(x: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        y = x.clone()
        before = y * 2
        y.add_(1).mul_(before)
        return y, before.sub_(y)

    def transposed(x: wg.Tensor) -> wg.Tensor:
        y = (x + 1).view(100, 100)
        return (y * y.t()).exp() + y

    def parts(x: wg.Tensor) -> wg.Tensor:
        y = wg.empty(20_000)
        y[:10_000] = x.sin()
        y[10_000:] = x.cos()
        return y * y + 1

    for fn in (shifted, in_place, transposed, parts):
        replayed(fn, values(10_000))


def test_a_parameter_changed_in_the_midst() -> None:
    """What is there for good is read before and after it is changed, in that order."""
    state = wg.zeros(8192)

    def step(x: wg.Tensor) -> wg.Tensor:
        before = state * 2
        state.add_(x)
        return before + state.sin() * x

    captured, x = wg.capture(step), wg.randn(8192)
    for _ in range(3):
        kept = state.clone()
        result = captured(x)
        after = state.clone()
        state.copy_(kept)
        assert bits(step(x)) == bits(result)
        assert bits(state) == bits(after)


def test_checks_come_before_changes() -> None:
    """What a check refuses is not half done, as in a plain run."""
    state, w = wg.zeros(8192), wg.randn(4, 8192)

    def step(x: wg.Tensor, index: wg.Tensor) -> wg.Tensor:
        y = x * 2 + 1
        chosen = w.index_select(0, index)
        state.add_(y)
        return chosen * y

    captured, x = wg.capture(step), wg.randn(8192)
    for _ in range(2):
        captured(x, wg.tensor([1]))
    before = state.clone()
    with pytest.raises(IndexError):
        captured(x, wg.tensor([4]))
    assert bits(state) == bits(before)


# --- steps that are not taken --------------------------------------------------------------------


def test_constants_copies_and_activations() -> None:
    """Work on constants is done once, copies stand for their source, activations join products."""
    w, b = wg.randn(48, 32), wg.randn(32)

    def step(x: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        h = wg.relu(F.linear(x, w.t(), b))
        ramp = wg.arange(32, dtype=wg.float32).mul(0.5).exp()
        return h.clone() * ramp.neg(), wg.tanh(x @ w)

    plan = replayed(step, values(64, 48)).plan
    assert plan["folded"] >= 3
    assert plan["copies"] == 1
    assert plan["joined"] == 2


def test_what_else_needs_the_product() -> None:
    """A product that is used besides, handed out, or changed, keeps its own launch."""
    w = wg.randn(48, 32)

    def used(x: wg.Tensor) -> wg.Tensor:
        y = x @ w
        return y.relu() + y

    def handed_out(x: wg.Tensor) -> tuple[wg.Tensor, wg.Tensor]:
        y = x @ w
        return y, y.relu()

    def changed(x: wg.Tensor) -> wg.Tensor:
        y = x @ w
        z = y.relu()
        y.mul_(2)
        return z + y

    def copied(x: wg.Tensor) -> wg.Tensor:
        y = x @ w
        z = y.clone()
        y.mul_(2)
        return z + y

    for fn in (used, handed_out, changed, copied):
        plan = replayed(fn, values(64, 48)).plan
        assert plan["joined"] == plan["copies"] == 0


def test_independent_products_by_several_threads() -> None:
    """Gradients of a layer's input and weight know nothing of each other."""
    model = nn.Sequential(nn.Linear(64, 64), nn.Tanh(), nn.Linear(64, 64), nn.Tanh())

    def step(x: wg.Tensor) -> wg.Tensor:
        model.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        return loss

    captured = wg.capture(step)
    xs = values(64, 64)
    for x in xs:
        loss = bits(captured(x))
        grads = bits([p.grad for p in model.parameters()])
        assert loss == bits(step(x))
        assert grads == bits([p.grad for p in model.parameters()])
    ((entry,),) = captured._entries.values()
    assert any(kind == "together" for kind, _, _ in entry.program.plan["groups"])


# --- memory --------------------------------------------------------------------------------------


def deep(dropout: float = 0.0) -> tuple[Callable[..., wg.Tensor], nn.Module]:
    wg.manual_seed(0)
    layers: list[nn.Module] = []
    for _ in range(64):
        layers += [nn.Linear(32, 32), nn.ReLU()]
        if dropout:
            layers.append(nn.Dropout(dropout))
    model = nn.Sequential(*layers)
    optimizer = optim.Adam(model.parameters(), lr=1e-3)

    def step(x: wg.Tensor) -> wg.Tensor:
        optimizer.zero_grad()
        loss = model(x).square().mean()
        loss.backward()
        optimizer.step()
        return loss

    return step, model


@pytest.mark.parametrize("dropout", [0.0, 0.1])
def test_memory_limit(dropout: float) -> None:
    """64 layers train in a quarter of the activations' memory, with the same bits."""
    x = wg.randn(128, 32)
    activations = 64 * 128 * 32 * 4
    traces = []
    for limit in (None, activations // 4):
        step, model = deep(dropout)
        if limit:
            step = wg.capture(step, memory_limit=limit)
        traces.append([bits(step(x)) for _ in range(6)] + [bits(model.parameters())])
        if limit:
            ((entry,),) = step._entries.values()
            plan = entry.program.plan
            assert plan["after"]["arena_bytes"] <= limit < plan["before"]["arena_bytes"]
            assert plan["again"] > 0
            assert plan["cost"] <= 1.35
            assert "taken again to save memory" in step.explain()
    assert traces[0] == traces[1]


def test_memory_limits_of_all_sizes() -> None:
    """From what is enough down to what cannot be; the less memory, the more work."""
    x = wg.randn(128, 32)
    step, model = deep()
    captured = wg.capture(step)
    for _ in range(3):
        captured(x)
    ((entry,),) = captured._entries.values()
    before = entry.program.plan["after"]["arena_bytes"]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    costs = []
    for share in (1.0, 0.6, 0.3, 0.2, 0.12):
        limited = wg.capture(step, memory_limit=int(before * share))
        model.load_state_dict(state)
        for _ in range(3):
            limited(x)
        ((entry,),) = limited._entries.values()
        costs.append(entry.program.plan["cost"])
    assert costs == sorted(costs)
    assert costs[0] == 1
    with pytest.raises(wg.CaptureError, match=r"memory_limit=100 bytes; a single launch needs"):
        for _ in range(2):
            wg.capture(step, memory_limit=100)(x)
    with pytest.raises(ValueError, match="memory_limit must not be negative"):
        wg.capture(step, memory_limit=-1)


def test_a_limit_that_cannot_be_falls_back() -> None:
    """With fallback, the function runs as usual, with a warning."""
    captured = wg.capture(lambda x: x.exp().sum(), memory_limit=10, fallback=True)
    with pytest.warns(UserWarning, match="memory_limit=10"):
        captured(wg.ones(1000))
    assert captured(wg.ones(1000)).item() == pytest.approx(2718.28, abs=0.1)


# --- what is told --------------------------------------------------------------------------------


def test_profiled_replays() -> None:
    """Who observes launches sees each of a group, and the bits stay the same."""
    captured = wg.capture(gelu)
    x = wg.randn(8192)
    plain = bits(captured(x))
    assert bits(captured(x)) == plain
    with wg._core.LaunchCounter() as counter:
        assert bits(captured(x)) == plain
    assert sum(counter.counts.values()) == 9  # and the copy that `bits` makes
    assert counter.counts["tanh"] == 1
    assert bits(captured(x)) == plain


def test_explain_and_timeline() -> None:
    """Times of launches, taken without changing anything; a picture where matplotlib is."""
    step, model = deep()
    captured, x = wg.capture(step), wg.randn(16, 32)
    for _ in range(3):
        captured(x)
    before = bits(model.parameters())
    text = captured.explain(x)
    assert "us by launches" in text
    assert "recorded:" in text
    assert bits(model.parameters()) == before
    matplotlib = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    assert matplotlib
    figure = captured.timeline(x)
    assert len(figure.axes) == 2
    assert bits(model.parameters()) == before
