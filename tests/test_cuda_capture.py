"""Captured programs on a CUDA device: graphs, what they read anew, and what they must not keep."""

from __future__ import annotations

import pytest

import wengert as wg
from wengert.nn import functional as F  # noqa: N812

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip("no CUDA device", allow_module_level=True)


def close(a, b):
    """Whether two tensors, or lists of them, are alike."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(close, a, b))
    return wg.allclose(a.cpu(), b.cpu(), rtol=1e-4, atol=1e-5)


def trainer(device, captured, *, dropout=0.0, optimizer=wg.optim.Adam, **options):
    """A step and its optimizer, as eager or captured code."""
    wg.manual_seed(0)
    net = wg.nn.Sequential(
        wg.nn.Linear(8, 16), wg.nn.ReLU(), wg.nn.Dropout(dropout), wg.nn.Linear(16, 4)
    ).to(device)
    opt = optimizer(net.parameters(), **({"lr": 1e-2} | options))

    def step(x, y):
        opt.zero_grad()
        loss = F.cross_entropy(net(x), y)
        loss.backward()
        opt.step()
        return loss.detach()

    return (wg.capture(step) if captured else step), opt, net


def data(device, n=64):
    g = wg.Generator().manual_seed(3)
    x, y = wg.randn(n, 8, generator=g), wg.randint(0, 4, (n,), generator=g)
    return x.to(device), y.to(device)


def graphs(captured, *args):
    """How many graphs and nodes the program for these arguments has."""
    text = captured.explain(*args)
    line = next(line for line in text.splitlines() if "CUDA graphs" in line)
    count, nodes = line.replace(" yet", "").split("graphs:")[1].split(", of")
    return int(count), int(nodes.split()[0])


def losses(device, captured, steps=8, change=None, **options):
    step, opt, net = trainer(device, captured, **options)
    x, y = data(device)
    out = []
    for i in range(steps):
        if change:
            change(i, opt)
        at = slice(i * 8 % 64, i * 8 % 64 + 8)
        out.append(step(x[at], y[at]))
    return [v.item() for v in out], net, step


def faster(i, opt):
    if i == 5:
        for group in opt.param_groups:
            group["lr"] *= 5


@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize(
    ("optimizer", "options"),
    [
        (wg.optim.SGD, {"momentum": 0.9}),
        (wg.optim.Adam, {}),
        (wg.optim.AdamW, {"amsgrad": True}),
        (wg.optim.RMSprop, {}),
    ],
)
def test_training_is_what_it_is_on_the_cpu(optimizer, options, dropout):
    kwargs = {"optimizer": optimizer, "dropout": dropout, "change": faster, **options}
    want, net, _ = losses("cpu", False, **kwargs)
    got, replayed, _ = losses("cuda", True, **kwargs)
    eager, _, _ = losses("cuda", False, **kwargs)
    assert got == pytest.approx(want, rel=1e-4)
    assert got == eager  # bit for bit
    for a, b in zip(net.parameters(), replayed.parameters(), strict=True):
        assert close(b, a)


def test_a_step_is_one_graph_and_nothing_runs_on_the_processor():
    before = wg._core.cuda.host_launches()
    _, _, step = losses("cuda", True)
    x, y = data("cuda", 8)
    count, nodes = graphs(step, x, y)
    assert count == 1
    assert nodes >= 8
    assert wg._core.cuda.host_launches() == before


def test_results_that_are_kept_stay_as_they_are():
    @wg.capture
    def f(x):
        return (x * 2).relu(), x.sum()

    kept = []
    for i in range(6):
        kept.append(f(wg.full((5,), float(i + 1), device="cuda")))
    for i, (a, b) in enumerate(kept):
        assert a.tolist() == [2.0 * (i + 1)] * 5
        assert b.item() == 5.0 * (i + 1)
        assert a.device == wg.device("cuda:0")


def test_an_argument_changed_in_place_is_changed_wherever_it_is():
    @wg.capture
    def f(x):
        x.mul_(2).add_(1)
        return x.sum()

    tensors = [wg.full((3,), float(i), device="cuda") for i in range(5)]
    for t in tensors:
        f(t)
    assert [t.tolist() for t in tensors] == [[2.0 * i + 1] * 3 for i in range(5)]


def test_numbers_in_the_processors_memory_are_read_at_each_replay():
    scale = wg.tensor(1.0)

    @wg.capture
    def f(x):
        return (x * scale).tanh() + x

    x = wg.ones(4, device="cuda")
    for value in (1.0, 2.0, 3.0, 4.0):
        scale.fill_(value)
        assert close(f(x).cpu(), (wg.ones(4) * value).tanh() + 1)


def test_numbers_in_the_processors_memory_that_are_elsewhere_at_each_replay():
    @wg.capture
    def f(x, given, held):
        made = held * 2
        return made, (x * given).tanh() + x * made

    x = wg.ones(4, device="cuda")
    kept = []  # so that no memory is used again
    for value in (1.0, 2.0, 3.0, 4.0, 5.0):
        given, held = wg.tensor(value), wg.tensor(value)
        made, y = f(x, given, held)
        kept += [given, held, made]
        assert made.item() == 2 * value
        assert close(y, (wg.ones(4) * value).tanh() + 2 * value)


def test_random_numbers_go_on_from_replay_to_replay():
    @wg.capture
    def f(x):
        return F.dropout(x, 0.5) + wg.rand_like(x)

    x = wg.ones(100, device="cuda")
    wg.manual_seed(5)
    got = [f(x).cpu() for _ in range(4)]
    wg.manual_seed(5)
    for a in got:
        want = F.dropout(x, 0.5) + wg.rand_like(x)
        assert a.equal(want.cpu())
    assert not got[2].equal(got[3])


def test_gradients_that_are_added_up():
    w = wg.ones(3, device="cuda", requires_grad=True)

    @wg.capture
    def f(x):
        (w * x).sum().backward()

    w.grad = wg.zeros(3, device="cuda")
    for i in range(1, 6):
        f(wg.full((3,), float(i), device="cuda"))
    assert w.grad.tolist() == [15.0] * 3
    w.grad = wg.zeros(3, device="cuda")  # other memory than the graph knows
    f(wg.full((3,), 2.0, device="cuda"))
    assert w.grad.tolist() == [2.0] * 3


def test_batches_from_the_processors_memory():
    net = wg.nn.Linear(4, 2).to("cuda")

    @wg.capture
    def f(x):
        return net(x.to("cuda")).sum().detach()

    for i in range(4):
        x = wg.full((3, 4), float(i))
        assert close(f(x).cpu(), net(x.cuda()).sum().detach().cpu())


def test_many_steps_in_one_call():
    for shuffle in (False, True):
        out = []
        for device in ("cpu", "cuda"):
            step, _, net = trainer(device, True)
            x, y = data(device)
            wg.manual_seed(1)
            got = step.run(data=(x, y), batch_size=8, epochs=2, shuffle=shuffle)
            assert got.device.type == device
            out.append((got.cpu(), [p.detach().cpu() for p in net.parameters()]))
        assert close(out[1][0], out[0][0])
        assert close(out[1][1], out[0][1])


def test_wrong_classes_are_told_and_harm_nothing():
    step, _, _ = trainer("cuda", True)
    x, y = data("cuda", 8)
    for _ in range(3):
        step(x, y)
    wrong = y.clone()
    wrong[3] = 7
    with pytest.raises(IndexError, match="target 7 at position 3 is out of bounds"):
        step(x, wrong)
        wg.cuda.synchronize()
    assert step(x, y).isfinite().item()


def test_what_cannot_be_done_on_a_device_says_so(tmp_path):
    step, _, _ = trainer("cuda", True)
    x, y = data("cuda", 8)
    for _ in range(3):
        step(x, y)
    with pytest.raises(NotImplementedError, match="CUDA device cannot be saved"):
        step.save(tmp_path / "step.wgp", x, y)


def test_two_streams_replay_in_order():
    @wg.capture
    def f(x):
        return (x + 1) * 2

    x = wg.ones(1000, device="cuda")
    f(x), f(x), f(x)
    side = wg.cuda.Stream()
    side.wait_stream(wg.cuda.current_stream())
    with wg.cuda.stream(side):
        a = f(x)
    wg.cuda.current_stream().wait_stream(side)
    assert a.sum().item() == 4000.0


def test_replays_on_streams_that_do_not_wait_for_one_another():
    """They share the graph's memory, so the program orders them."""

    @wg.capture
    def f(x, scale):
        return (x * scale).tanh() @ x

    streams = [wg.cuda.Stream(), wg.cuda.Stream()]
    xs = [wg.randn(40, 40, device="cuda") for _ in range(12)]
    wg.cuda.synchronize()
    made = []
    for i, x in enumerate(xs):
        with wg.cuda.stream(streams[i % 2]):
            made.append(f(x, wg.tensor(0.1 * i)))
    wg.cuda.synchronize()
    for i, (x, y) in enumerate(zip(xs, made, strict=True)):
        assert close(y, (x * (0.1 * i)).tanh() @ x)
