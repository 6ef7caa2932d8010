"""Many steps in one call: batches of a DataLoader, the state that plain steps leave, progress."""

from __future__ import annotations

import itertools
import threading

import pytest

import wengert as wg
from training_steps import bits, descent, mlp
from wengert import optim
from wengert.utils.data import DataLoader, TensorDataset


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("drop_last", [False, True])
def test_an_epoch_in_one_call(shuffle: bool, drop_last: bool) -> None:
    """The batches are a DataLoader's, the results those of its loop."""
    wg.manual_seed(1)
    x, y = wg.randn(50, 16), wg.randint(0, 4, (50,))
    rows = []
    for whole in (False, True):
        wg.manual_seed(0)
        step, params, _ = mlp(schedule=lambda o: optim.lr_scheduler.ExponentialLR(o, 0.9))
        if whole:
            losses = wg.capture(step).run(
                (x, y), batch_size=8, shuffle=shuffle, epochs=3, seed=7, drop_last=drop_last
            )
        else:
            generator = wg.Generator().manual_seed(7)
            loader = DataLoader(
                TensorDataset(x, y), 8, shuffle=shuffle, generator=generator, drop_last=drop_last
            )
            losses = wg.stack([step(a, b).detach() for _ in range(3) for a, b in loader])
        rows.append((losses.shape, bits([losses]), bits(params)))
    assert rows[0] == rows[1]


def stop(done: int) -> None:
    if done > 20:
        raise KeyboardInterrupt


def test_progress_and_interrupts() -> None:
    """Progress is told every so many steps; what it raises ends the run between steps."""
    weight = wg.zeros(1)
    captured = wg.capture(lambda x: weight.add_(x.sum()).clone())
    told: list[int] = []
    x = wg.ones(100)
    sums = captured.run(x, batch_size=1, progress=told.append, every=10)
    assert sums.flatten().tolist() == [float(k) for k in range(1, 101)]
    assert told == list(range(10, 101, 10))

    with pytest.raises(KeyboardInterrupt):
        captured.run(x, batch_size=1, progress=stop, every=10)
    assert 120 < weight.item() < 200


def test_progress_of_steps_that_run_as_usual() -> None:
    """It is told of these too, across epochs, and Ctrl-C ends the run."""
    weight, told = wg.zeros(1), list[int]()

    def looks(x: wg.Tensor) -> wg.Tensor:
        return weight.add_(x.sum().item()).clone()

    captured = wg.capture(looks, fallback=True)
    with pytest.warns(UserWarning, match="runs as usual"):
        captured.run(wg.ones(25), epochs=2, progress=told.append, every=10)
    assert told == [10, 20, 30, 40, 50]

    with pytest.raises(KeyboardInterrupt):
        captured.run(wg.ones(35), progress=stop, every=10)
    assert weight.item() == 80.0


def test_wrong_data() -> None:
    """Data of different lengths, and sizes that are none."""
    captured = wg.capture(lambda x, y: (x * y).sum())
    with pytest.raises(ValueError, match="same length"):
        captured.run((wg.ones(3), wg.ones(4)))
    with pytest.raises(ValueError, match="batch_size"):
        captured.run((wg.ones(3), wg.ones(3)), batch_size=0)
    assert captured.run((wg.ones(0), wg.ones(0))) is None


@pytest.mark.parametrize("zero", ["none first", "zero first", "none last", "zero last", "never"])
@pytest.mark.parametrize("shuffle", [False, True])
def test_the_state_afterwards(zero: str, shuffle: bool) -> None:
    """Parameters, gradients and results are those of single steps, however gradients are kept."""
    wg.manual_seed(1)
    x, y = wg.randn(80, 16), wg.randint(0, 4, (80,))
    rows = []
    for whole in (False, True):
        wg.manual_seed(0)
        step, params, _ = mlp(zero=zero)
        captured = wg.capture(step)
        for _ in range(3):
            captured(x[:8], y[:8])
        held = [p.grad for p in params]
        kept = bits(held)
        if whole:
            losses = captured.run((x, y), 8, shuffle=shuffle, epochs=2, seed=5)
            again = captured.run((x, y), 8)
        else:
            generator = wg.Generator().manual_seed(5)
            loader = DataLoader(TensorDataset(x, y), 8, shuffle=shuffle, generator=generator)
            losses = wg.stack([captured(a, b) for _ in range(2) for a, b in loader])
            again = wg.stack([captured(x[i : i + 8], y[i : i + 8]) for i in range(0, 80, 8)])
        if zero == "none first":  # who held them still has them: each step made others
            assert bits(held) == kept
        rows.append((bits([losses, again]), bits(params), bits(p.grad for p in params)))
    assert rows[0] == rows[1]


def test_gradients_that_progress_keeps() -> None:
    """What a callback holds is not written again by later steps."""
    wg.manual_seed(0)
    x, y = wg.randn(60, 16), wg.randint(0, 4, (60,))
    step, params, _ = mlp()
    captured = wg.capture(step)
    kept: list[tuple[wg.Tensor, bytes]] = []

    def keep(_: int) -> None:
        grad = params[0].grad
        assert grad is not None
        kept.append((grad, grad.numpy().tobytes()))

    captured.run((x, y), 1, progress=keep, every=7)
    assert len(kept) == 8
    assert len({row for _, row in kept}) == 8
    assert all(grad.numpy().tobytes() == row for grad, row in kept)


def test_versions_after_a_run() -> None:
    """What a derivative needs, and a run changes, cannot be used by it."""
    weight = wg.ones(3, requires_grad=True)
    captured = wg.capture(descent(weight, optim.SGD([weight], lr=0.1)))
    product = (weight * weight).sum()
    captured.run(wg.ones(10, 3), 1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        product.backward()


def test_arrays_that_share_memory() -> None:
    """The same data twice, which batches in order see and gathered ones do not."""
    x = wg.arange(12.0)

    def change(a: wg.Tensor, b: wg.Tensor) -> wg.Tensor:
        a.mul_(2)
        return (a + b).sum()

    captured = wg.capture(change)
    for shuffle in (False, True, False):
        given = x.clone()
        sums = captured.run((given, given), 3, shuffle=shuffle, seed=1)
        plain = wg.stack([change(a, b) for a, b in _pairs(x.clone(), shuffle)])
        assert sorted(sums.tolist()) == sorted(plain.tolist())


def _pairs(x: wg.Tensor, shuffle: bool) -> list[tuple[wg.Tensor, wg.Tensor]]:
    """The arguments of single steps, as a run makes them."""
    order = wg.randperm(12, generator=wg.Generator().manual_seed(1)) if shuffle else wg.arange(12)
    rows = [order[i : i + 3] for i in range(0, 12, 3)]
    return [(x.index_select(0, r), x.index_select(0, r)) for r in rows]


def test_two_threads_take_turns() -> None:
    """Runs of one program from two threads are refused or leave a state that steps give."""
    weight = wg.zeros(1)
    captured = wg.capture(lambda x: weight.add_(x.sum()).clone())
    for _ in range(3):
        captured(wg.ones(1))
    sums: list[wg.Tensor] = []
    refused: list[str] = []

    def work() -> None:
        try:
            sums.append(captured.run(wg.ones(20000), 1))
        except wg.CaptureError as e:
            refused.append(str(e))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all("another thread is replaying" in text for text in refused)
    assert len(sums) + len(refused) == 2
    for each in sums:
        rows = each.flatten().tolist()
        assert all(b > a for a, b in itertools.pairwise(rows))
