"""Device memory, pinned memory, streams and events."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from types import MappingProxyType
from typing import Any

import pytest

import wengert as wg
from wengert import _core

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip(f"no CUDA device: {_core.cuda.why_none()}", allow_module_level=True)

cuda = wg.cuda
emulated = pytest.mark.skipif(not _core.cuda.emulated(), reason="needs the emulation's settings")


def run(code: str, **settings: str) -> str:
    """What a fresh process prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


# --- memory --------------------------------------------------------------------------------------
def test_what_is_allocated_is_counted() -> None:
    gc.collect()
    cuda.reset_peak_memory_stats()
    before = cuda.memory_allocated()
    x = wg.zeros(1 << 18, device="cuda")  # 1 MiB
    assert cuda.memory_allocated() - before == 1 << 20
    y = x[10:]
    assert cuda.memory_allocated() - before == 1 << 20
    z = x * 2
    assert cuda.memory_allocated() - before == 2 << 20
    assert cuda.memory_reserved() >= cuda.memory_allocated()
    del x, z
    assert cuda.memory_allocated() - before == 1 << 20
    assert cuda.max_memory_allocated() - before == 2 << 20
    del y
    assert cuda.memory_allocated() == before
    cuda.reset_peak_memory_stats()
    assert cuda.max_memory_allocated() == before
    assert cuda.max_memory_reserved() == cuda.memory_reserved()
    stats = cuda.memory_stats()
    assert stats["allocated_bytes.all.current"] == before
    assert stats["num_ooms"] >= 0
    assert "allocated_bytes.all.peak" in cuda.memory_summary()


def test_freed_memory_is_used_again() -> None:
    x = wg.zeros(1 << 20, device="cuda")
    at, reserved = x.data_ptr(), cuda.memory_reserved()
    del x
    y = wg.zeros(1 << 20, device="cuda")
    assert y.data_ptr() == at
    assert cuda.memory_reserved() == reserved
    del y
    gc.collect()
    cuda.empty_cache()
    assert cuda.memory_reserved() < reserved
    free, total = cuda.mem_get_info()
    assert 0 < free <= total == cuda.get_device_properties().total_memory


def test_a_training_step_leaves_no_memory() -> None:
    model = wg.nn.Linear(64, 64, device="cuda")
    sizes = []
    for _ in range(4):
        model.zero_grad()
        model(wg.randn(32, 64, device="cuda")).square().mean().backward()
        gc.collect()
        sizes.append(cuda.memory_allocated())
    assert sizes[1:] == [sizes[1]] * 3


OUT_OF_MEMORY = """
import wengert as wg
kept = wg.arange(1000.0, device="cuda")
graph = wg.randn(1000, device="cuda", requires_grad=True)
y = (graph * kept).sin()
for attempt in range(3):
    try:
        wg.zeros(1 << 28, device="cuda")
        raise SystemExit("got too much")
    except wg.OutOfMemoryError as e:
        assert isinstance(e, RuntimeError) and e.__class__ is wg.cuda.OutOfMemoryError
        assert "CUDA out of memory. Tried to allocate 1024 MiB" in str(e), e
    held = []
    try:
        while True:
            held.append(wg.zeros(1 << 20, device="cuda"))
    except wg.OutOfMemoryError:
        pass
    try:  # in place: nothing changes
        held[0].copy_(wg.ones(1 << 20, device="cuda"))
    except wg.OutOfMemoryError:
        assert held[0].sum().item() == 0
    assert len(held) > 4
    del held
y.sum().backward()
assert graph.grad.isfinite().all()
assert kept.sum().item() == 499500
assert wg.cuda.memory_stats()["num_ooms"] >= 6
assert wg.zeros(1 << 22, device="cuda").sum().item() == 0
print("usable")
"""


@emulated
def test_out_of_memory_leaves_everything_usable() -> None:
    assert run(OUT_OF_MEMORY, WENGERT_EMULATOR_MEMORY=str(64 << 20)) == "usable\n"


def test_memory_fraction() -> None:
    with pytest.raises(ValueError, match="0 <= fraction <= 1"):
        cuda.set_per_process_memory_fraction(1.5)
    gc.collect()
    cuda.empty_cache()
    total = cuda.get_device_properties().total_memory
    cuda.set_per_process_memory_fraction((cuda.memory_reserved() + (8 << 20)) / total)
    try:
        with pytest.raises(wg.OutOfMemoryError, match="may take"):
            wg.zeros(16 << 20, device="cuda")
        assert wg.ones(10, device="cuda").sum().item() == 10
        cuda.set_per_process_memory_fraction(0.0)
        with pytest.raises(wg.OutOfMemoryError, match="may take 0 MiB"):
            wg.zeros(16 << 20, device="cuda")
    finally:
        cuda.set_per_process_memory_fraction(1.0)
    assert wg.zeros(16 << 20, device="cuda").numel() == 16 << 20


def test_too_many_elements_are_refused() -> None:
    with pytest.raises(RuntimeError):
        wg.zeros(1 << 62, device="cuda")
    with pytest.raises(RuntimeError):
        wg.ones(3, device="cuda").expand(1 << 40, 3).contiguous()


# --- pinned memory -------------------------------------------------------------------------------
def test_pinned_memory() -> None:
    x = wg.randn(10, 20)
    p = x.pin_memory()
    assert p.is_pinned()
    assert not x.is_pinned()
    assert p.pin_memory() is p
    assert p.equal(x)
    assert p.numpy().sum() == x.numpy().sum()
    assert p.to("cuda", non_blocking=True).cpu().equal(x)
    assert x.t().pin_memory().equal(x.t())
    assert wg.zeros(3, pin_memory=True).is_pinned()
    assert wg.tensor([1.0], pin_memory=True).is_pinned()
    assert wg.empty(3, pin_memory=True, requires_grad=True).requires_grad
    with pytest.raises(RuntimeError, match="cannot pin"):
        wg.ones(2, device="cuda").pin_memory()


def test_copies_that_are_not_waited_for() -> None:
    """Pinned memory given back while a copy is under way is not handed out before it is done."""
    for i in range(20):
        there = wg.full((1000,), float(i)).pin_memory().to("cuda", non_blocking=True)
        wg.full((1000,), -1.0).pin_memory()  # would get the memory
        assert there.eq(i).all()
    there = wg.arange(1000.0, device="cuda")
    here = wg.empty(1000, pin_memory=True)
    here.copy_(there, non_blocking=True)
    cuda.current_stream().synchronize()
    assert here.equal(wg.arange(1000.0))
    pageable = wg.full((1000,), 3.0)
    there = pageable.to("cuda", non_blocking=True)
    pageable.fill_(4.0)  # not promised to stay, so it was waited for
    assert there.eq(3).all()
    assert there.to("cpu", non_blocking=True).eq(3).all()


@pytest.mark.parametrize("workers", [0, 2])
def test_loader_pins_batches(workers: int) -> None:
    data = wg.utils.data.TensorDataset(wg.arange(10.0), wg.arange(10))
    loader = wg.utils.data.DataLoader(data, batch_size=4, pin_memory=True, num_workers=workers)
    assert [(x.is_pinned(), y.is_pinned()) for x, y in loader] == [(True, True)] * 3
    assert [x.cuda(non_blocking=True).sum().item() for x, _ in loader] == [6.0, 22.0, 17.0]
    rows = [{"x": wg.ones(2), "n": 1, "name": "a"}] * 3
    (batch,) = wg.utils.data.DataLoader(rows, batch_size=3, pin_memory=True)
    assert batch["x"].is_pinned()
    assert batch["name"] == ["a"] * 3
    for kind in (MappingProxyType, lambda row: tuple(row.values())):
        loader = wg.utils.data.DataLoader(rows, None, pin_memory=True, collate_fn=kind)
        for row in loader:
            assert isinstance(row, (MappingProxyType, tuple))
            assert (row[0] if isinstance(row, tuple) else row["x"]).is_pinned()


# --- streams and events --------------------------------------------------------------------------
def test_streams() -> None:
    s, other = cuda.Stream(), cuda.Stream(priority=-1)
    assert cuda.current_stream() == cuda.default_stream() != s
    assert s.device == wg.device("cuda:0")
    assert s._as_parameter_.value == s.cuda_stream
    with cuda.stream(s):
        assert cuda.current_stream() == s
        with other:
            assert cuda.current_stream() == other
        x = wg.ones(100, device="cuda") * 3
    block = cuda.stream(s)
    with s, other, s, block, other, block:  # one within itself
        assert cuda.current_stream() == s
    assert cuda.current_stream() == cuda.default_stream()
    cuda.current_stream().wait_stream(s)
    assert (x + 1).eq(4).all()
    s.synchronize()
    assert s.query()
    with cuda.stream(None):
        assert cuda.current_stream() == cuda.default_stream()
    assert len({s, cuda.ExternalStream(s.cuda_stream), other}) == 2
    assert "cuda_stream" in repr(s)
    cuda.set_stream(s)
    try:
        assert cuda.current_stream() == s
    finally:
        cuda.set_stream(cuda.default_stream())


def test_a_stream_outlives_its_object() -> None:
    cuda.set_stream(cuda.Stream())
    gc.collect()
    try:
        assert wg.ones(3, device="cuda").sum().item() == 3
    finally:
        cuda.set_stream(cuda.default_stream())


def test_backward_runs_on_the_current_stream() -> None:
    x = wg.randn(50, device="cuda", requires_grad=True)
    s = cuda.Stream()
    s.wait_stream(cuda.current_stream())
    with cuda.stream(s):
        (x * x).sum().backward()
    cuda.current_stream().wait_stream(s)
    assert x.grad is not None
    assert x.grad.allclose(2 * x.detach())


def test_memory_that_another_stream_uses() -> None:
    """With record_stream it is not handed out again before that stream is done."""
    s = cuda.Stream()
    for i in range(8):
        x = wg.full((5000,), float(i), device="cuda")
        s.wait_stream(cuda.current_stream())
        with cuda.stream(s):
            y = x * 2
        x.record_stream(s)
        at = x.data_ptr()
        del x
        z = wg.full((5000,), -1.0, device="cuda")
        assert z.data_ptr() != at or s.query()
        cuda.current_stream().wait_stream(s)
        assert y.eq(2 * i).all()
        assert z.eq(-1).all()


def test_memory_of_streams_is_apart() -> None:
    s = cuda.Stream()
    x = wg.ones(3000, device="cuda")
    at = x.data_ptr()
    del x
    with cuda.stream(s):
        assert wg.ones(3000, device="cuda").data_ptr() != at


def test_events() -> None:
    first, last = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    assert first.query()
    first.record()
    x = wg.randn(300, 300, device="cuda")
    x = x @ x
    last.record()
    last.synchronize()
    assert first.query()
    assert last.query()
    assert first.elapsed_time(last) >= 0
    plain = cuda.current_stream().record_event()
    plain.wait(cuda.Stream())
    plain.wait()
    with pytest.raises(ValueError, match="enable_timing"):
        plain.elapsed_time(last)
    with pytest.raises(ValueError, match="recorded"):
        cuda.Event(enable_timing=True).elapsed_time(last)
    assert "recorded" in repr(plain)


def test_threads_have_streams_of_their_own() -> None:
    import threading

    results: list[Any] = []

    def work(i: int) -> None:
        with cuda.stream(cuda.Stream()):
            x = wg.full((1000,), float(i), device="cuda", requires_grad=True)
            for _ in range(5):
                (x.exp() - x).sum().backward()
            assert x.grad is not None
            results.append((i, x.grad.sum().item()))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert cuda.current_stream() == cuda.default_stream()
    from math import exp

    for i, total in results:
        assert total == pytest.approx(5000 * (exp(i) - 1), rel=1e-5)
    assert len(results) == 4


def test_blocking_launches() -> None:
    assert not cuda.is_launch_blocking()
    cuda.set_launch_blocking(True)
    try:
        assert cuda.is_launch_blocking()
        wg.ones(5, device="cuda").exp()
        assert cuda.current_stream().query()
    finally:
        cuda.set_launch_blocking(False)
    code = "import wengert as wg; x = wg.ones(9, device='cuda') * 2; "
    code += "print(wg.cuda.is_launch_blocking(), wg.cuda.current_stream().query(), x.sum().item())"
    assert run(code, CUDA_LAUNCH_BLOCKING="1") == "True True 18.0\n"


# --- the device ----------------------------------------------------------------------------------
def test_the_device() -> None:
    assert cuda.device_count() == 1
    assert cuda.current_device() == 0
    assert cuda.is_initialized()
    cuda.init()
    cuda.set_device(0)
    cuda.set_device("cuda:0")
    with cuda.device(0), cuda.device("cuda"), cuda.device_of(wg.ones(1)):
        cuda.synchronize()
    assert isinstance(cuda.get_device_name(), str)
    assert cuda.get_device_capability() >= (7, 0)
    assert cuda.get_device_properties().warp_size == 32
    assert cuda.is_bf16_supported() == (cuda.get_device_capability() >= (8, 0))
    assert cuda.get_arch_list() or _core.cuda.emulated()
    with pytest.raises(ValueError, match="cuda device"):
        cuda.get_device_name("cpu")


def test_the_accelerator() -> None:
    accelerator = wg.accelerator
    assert accelerator.is_available()
    assert accelerator.device_count() == 1
    assert str(accelerator.current_accelerator()) == "cuda"
    assert accelerator.current_device_index() == 0
    accelerator.set_device_index(0)
    accelerator.synchronize()
    assert accelerator.current_stream() == cuda.current_stream()
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        accelerator.synchronize(1)
    assert wg.backends.cuda.is_built()


def test_config_says_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    wg.show_config()
    text = capsys.readouterr().out
    assert "unverified: it has never run on a GPU" in text
    assert ("emulation" in text) == _core.cuda.emulated()


def test_a_forked_process_is_told() -> None:
    code = """
import os, warnings, wengert as wg
warnings.simplefilter("ignore")
x = wg.ones(3, device="cuda")
if os.fork() == 0:
    try:
        wg.ones(3, device="cuda")
    except RuntimeError as e:
        os._exit(17 if "forked" in str(e) else 1)
    os._exit(2)
print(os.waitstatus_to_exitcode(os.wait()[1]))
"""
    assert run(code) == "17\n"


@emulated
@pytest.mark.parametrize("order", ["reverse", "random:3"])
def test_order_does_not_matter(order: str) -> None:
    code = """
import wengert as wg
wg.manual_seed(0)
model = wg.nn.Sequential(wg.nn.Linear(8, 16), wg.nn.GELU(), wg.nn.LayerNorm(16),
                         wg.nn.Linear(16, 3)).cuda()
side = wg.cuda.Stream()
for _ in range(3):
    x = wg.randn(6, 8).pin_memory().to("cuda", non_blocking=True)
    side.wait_stream(wg.cuda.current_stream())
    with wg.cuda.stream(side):
        y = x.square().sum(1)
    x.record_stream(side)
    loss = wg.nn.functional.cross_entropy(model(x), wg.arange(6, device="cuda") % 3)
    wg.cuda.current_stream().wait_stream(side)
    (loss + y.mean() * 0).backward()
print(loss.item().hex(), [p.grad.double().sum().item().hex() for p in model.parameters()])
"""
    assert run(code, WENGERT_EMULATOR_ORDER=order) == run(code)


def test_memory_of_another_library_is_ready_and_not_given_back_too_early():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("PyTorch has no CUDA device here")
    for _ in range(5):
        theirs = torch.zeros(1 << 24, device="cuda")
        for _ in range(50):
            theirs += 1  # on a stream of its own, and not waited for
        ours = wg.from_dlpack(theirs)
        del theirs
        total = sum((ours for _ in range(50)), wg.zeros(1, device="cuda"))
        del ours
        torch.full((1 << 24,), -1.0, device="cuda")  # the memory of the first, if that is free
        assert total.min().item() == total.max().item() == 2500
