"""What Python programs do with modules, optimizers, data and devices, against PyTorch.

The rows are as those of test_behaviours.py.
"""

from __future__ import annotations

import copy
import pickle
import sys
import warnings
from typing import Any

import pytest

import wengert as wg
from oracle import needs_torch, torch
from test_behaviours import outcome

DEVICES = [
    "m.cuda.is_available()",
    "m.cuda.device_count()",
    "m.cuda.is_initialized()",
    "m.cuda.manual_seed(1)",
    "m.cuda.manual_seed_all(1)",
    "m.cuda.empty_cache()",
    "m.cuda.memory_allocated()",
    "m.cuda.is_bf16_supported()",
    "m.accelerator.is_available()",
    "m.accelerator.current_accelerator()",
    "m.accelerator.device_count()",
    "m.backends.mps.is_available()",
    "m.backends.mps.is_built()",
    "m.backends.cudnn.is_available()",
    "m.device('cuda' if m.cuda.is_available() else 'cpu')",
    "m.device('cuda').type",
    "m.device('cuda:1').index",
    "m.device('cuda', 1)",
    "m.device('mps')",
    "m.device('nowhere')",
    "m.device('cuda:x')",
    "m.device(3.5)",
    "m.ones(2).to('cpu')",
    "m.ones(2).cpu()",
    "m.nn.Linear(2, 3).to('cpu').weight.shape",
    "m.nn.Linear(2, 3).to(m.device('cpu')).cpu().double().weight.dtype",
    "m.zeros(2, device='cpu')",
    "m.zeros(2, device=m.device('cpu'))",
    "m.tensor([1.0], device=m.device('cpu', 0)).device.type",
    "m.amp.autocast('cpu', enabled=False).__enter__() is not None",
    "m.autocast('cpu', enabled=False).__enter__() is not None",
    "m.amp.GradScaler(enabled=False).scale(m.tensor(2.0))",
    "m.amp.GradScaler(enabled=False).is_enabled()",
    "m.amp.GradScaler(enabled=False).get_scale()",
    "m.amp.GradScaler(enabled=False).state_dict()",
    "m.compiler.is_compiling()",
]

OPTIMIZERS = [
    "'fused' in inspect.signature(m.optim.AdamW).parameters",
    "list(inspect.signature(m.optim.SGD).parameters)[:6]",
    "list(inspect.signature(m.optim.Adadelta).parameters)",
    "list(inspect.signature(m.optim.LBFGS).parameters)",
    "m.optim.Adam([m.ones(2, requires_grad=True)]).param_groups[0]['lr']",
    "m.optim.Adam([m.ones(2, requires_grad=True) * 2])",
    "m.optim.Adam([])",
    "m.optim.Adam(m.ones(2))",
    "m.optim.Adam([3])",
    "m.optim.Adam([m.ones(2, requires_grad=True)], lr=-1)",
    "m.optim.SGD([m.ones(2, requires_grad=True)], nesterov=True)",
    "m.optim.LBFGS([m.ones(2, requires_grad=True)], lr=-1)",
    "m.optim.Adadelta([m.ones(2, requires_grad=True)], rho=2)",
    "m.optim.lr_scheduler.StepLR(3, 1)",
    "len(m.optim.SGD([{'params': [m.ones(2)]}, {'params': m.zeros(1)}]).param_groups)",
    "m.optim.SGD([{'params': [m.ones(2)], 'weight_decay': 0.5}]).param_groups[0]['weight_decay']",
    "issubclass(m.optim.Adam, m.optim.Optimizer)",
    "m.optim.SGD([m.ones(1)], 0.1).state_dict()['param_groups'][0]['params']",
    "m.optim.Adam([m.ones(1)]).state_dict()['state']",
    "m.optim.Adam([m.ones(1)]).load_state_dict({'state': {}, 'param_groups': []})",
    "m.optim.SGD(m.nn.Linear(2, 2).named_parameters(), 0.1).param_groups[0]['lr']",
]

MODULES = [
    "m.nn.Linear(2, 3, bias=None).bias",
    "m.nn.Linear(2, 3, bias=False)",
    "m.nn.Linear(2, 3)",
    "m.nn.Linear(np.int64(2), np.int64(3)).weight.shape",
    "m.nn.ReLU(True)",
    "m.nn.ReLU(inplace=True)(m.tensor([-1.0, 1.0]))",
    "m.nn.Sequential(OrderedDict(a=m.nn.ReLU(), b=m.nn.Tanh()))",
    "m.nn.Sequential(OrderedDict(a=m.nn.ReLU(), b=m.nn.Tanh())).a",
    "m.nn.Sequential(m.nn.ReLU(), m.nn.Tanh())[1]",
    "len(m.nn.Sequential(m.nn.ReLU(), m.nn.Tanh()))",
    "m.nn.ModuleDict(dict(a=m.nn.ReLU(), b=m.nn.Tanh())).b",
    "list(m.nn.ModuleDict(dict(a=m.nn.ReLU())).keys())",
    "'a' in m.nn.ModuleDict(dict(a=m.nn.ReLU()))",
    "len(m.nn.ModuleList([m.nn.ReLU(), m.nn.Tanh()]))",
    "[type(x).__name__ for x in m.nn.ModuleList([m.nn.ReLU(), m.nn.Tanh()])]",
    "len(list((lambda l: m.nn.Sequential(l, l))(m.nn.Linear(2, 2)).parameters()))",
    "len((lambda l: m.nn.Sequential(l, l))(m.nn.Linear(2, 2)).state_dict())",
    "len(list((lambda l: m.nn.Sequential(l, l))(m.nn.Linear(2, 2)).modules()))",
    "sum(p.numel() for p in m.nn.Linear(3, 4).parameters())",
    "[n for n, _ in m.nn.Sequential(m.nn.Linear(1, 1)).named_parameters()]",
    "type(m.nn.Linear(2, 2).weight).__name__",
    "isinstance(m.nn.Linear(2, 2).weight, m.nn.Parameter)",
    "isinstance(m.nn.Parameter(m.ones(1)) * 1, m.nn.Parameter)",
    "m.nn.Parameter(m.tensor([1]))",
    "m.nn.Parameter(m.tensor([1]), requires_grad=False)",
    "repr(m.nn.Parameter(m.ones(2)))",
    "type(m.nn.Parameter(m.ones(2)).data).__name__",
    "type(m.nn.Parameter(m.ones(2)).detach()).__name__",
    "m.nn.Linear(2, 2).requires_grad_(False).weight.requires_grad",
    "m.nn.Linear(2, 2).eval().training",
    "m.nn.Linear(2, 2).no_such_thing",
    "m.nn.Linear(2, 2)(m.ones(3))",
    "m.nn.Module().forward()",
    "list(m.nn.Linear(2, 2).state_dict())",
    "m.nn.Linear(2, 2).load_state_dict({})",
    "tuple(m.nn.Linear(2, 2).load_state_dict({}, strict=False))",
    "m.nn.modules.linear.Linear is m.nn.Linear",
    "m.nn.modules.module.Module is m.nn.Module",
    "m.nn.DataParallel(m.nn.ReLU())(m.tensor([-1.0, 2.0]))",
    "m.nn.DataParallel(m.nn.Linear(1, 1)).module",
    "copy.deepcopy(m.nn.Linear(2, 2)).weight.grad",
    "copy.deepcopy(m.nn.Sequential(m.nn.Linear(2, 2)))",
]

_X = "m.arange(144.).view(2, 8, 3, 3)"
PADDING = [
    *(
        f"m.nn.{kind}Pad{d}d({args})(m.arange({4**d * 2}.).view({'2, ' + '4, ' * d}))"
        for kind in ("Reflection", "Replication", "Zero", "Circular")
        for d in (1, 2, 3)
        for args in (1, str((1, 2) + (0, 1) * (d - 1)))
    ),
    "m.nn.ConstantPad2d((1, 0, 2, -1), 3.5)(m.ones(1, 2, 2))",
    "m.nn.ConstantPad1d(2, 3.5)",
    "m.nn.ZeroPad2d(1)",
    "m.nn.ReflectionPad2d((1, 2, 3, 4))",
    "m.nn.ReflectionPad1d(5)(m.ones(1, 3))",
    f"m.nn.PixelShuffle(2)({_X})",
    "m.nn.PixelShuffle(2)(m.arange(16.).view(4, 2, 2))",
    "m.nn.PixelUnshuffle(3)(m.arange(72.).view(2, 1, 6, 6))",
    f"m.nn.functional.pixel_unshuffle(m.nn.functional.pixel_shuffle({_X}, 2), 2)",
    f"m.nn.ChannelShuffle(4)({_X})",
    f"m.nn.PixelShuffle(3)({_X})",
    f"m.nn.PixelShuffle(0)({_X})",
    f"m.nn.PixelUnshuffle(2)({_X})",
    f"m.nn.ChannelShuffle(3)({_X})",
    "m.nn.PixelShuffle(2)(m.ones(4, 4))",
    "m.nn.PixelShuffle(2), m.nn.PixelUnshuffle(3), m.nn.ChannelShuffle(4)",
]

DATA = [
    "len(m.utils.data.RandomSampler(range(3), replacement=True, num_samples=int(1e10)))",
    "next(iter(m.utils.data.RandomSampler([0], replacement=True, num_samples=int(1e10))))",
    "next(iter(m.utils.data.BatchSampler(m.utils.data.RandomSampler([0], True, int(1e10)), 3, 0)))",
    "[b for b in m.utils.data.DataLoader(m.arange(5), batch_size=2)]",
    "[b for b in m.utils.data.DataLoader(m.arange(5), batch_size=2, drop_last=True)]",
    "len(m.utils.data.DataLoader(m.arange(5), batch_size=2))",
    "len(m.utils.data.DataLoader(m.arange(5), batch_size=2, drop_last=True))",
    "list(m.utils.data.DataLoader([1, 2, 3], batch_size=2))",
    "list(m.utils.data.DataLoader([1.5, 2.5]))",
    "list(m.utils.data.DataLoader([(1, 2.0), (3, 4.0)], batch_size=2))",
    "list(m.utils.data.DataLoader([{'a': 1, 'b': m.ones(2)}] * 2, batch_size=2))",
    "list(m.utils.data.DataLoader(['x', 'y'], batch_size=2))",
    "list(m.utils.data.DataLoader([np.ones(2), np.zeros(2)], batch_size=2))",
    "list(m.utils.data.DataLoader([np.float64(1), np.float64(2)], batch_size=2))",
    "list(m.utils.data.DataLoader([[1, 2], [3, 4]], batch_size=2))",
    "list(m.utils.data.DataLoader([m.ones(2, 3)]))[0].shape",
    "list(m.utils.data.DataLoader(m.arange(3), batch_size=None))",
    "list(m.utils.data.DataLoader([None]))",
    "list(m.utils.data.DataLoader(m.arange(3), num_workers=0))",
    "list(m.utils.data.DataLoader(m.utils.data.TensorDataset(m.arange(2), m.ones(2))))",
    "m.utils.data.TensorDataset(m.arange(3), m.ones(3))[1]",
    "[int(x) for x in m.utils.data.Subset(m.arange(5), [1, 3])]",
    "m.utils.data.default_collate([m.ones(1), m.zeros(1)])",
]

TABLES = {name: table for name, table in globals().items() if name.isupper()}
ROWS = [
    pytest.param(row, id=f"{name.lower()}: {row}")
    for name, table in TABLES.items()
    if isinstance(table, list)
    for row in table
]


@needs_torch
@pytest.mark.parametrize("row", ROWS)
@pytest.mark.filterwarnings("ignore")
def test_as_in_pytorch(row: str) -> None:
    asks = "m.cuda." in row or "m.accelerator." in row
    if asks and wg.cuda.is_available() != torch.cuda.is_available():
        pytest.skip("one of the two has a CUDA device")
    assert outcome(row, wg) == outcome(row, torch)


# --- programs ----------------------------------------------------------------------------------


def same(program: Any, *, rel: float = 1e-9) -> None:
    """A program of one argument, the package, must give the same numbers with either."""
    assert program(wg) == pytest.approx(program(torch), rel=rel, abs=rel)


def loss_of(m: Any, p: Any, q: Any) -> Any:
    return (p**4).sum() * 0.1 + (p * q).sum() ** 2 + ((1 - p) ** 2).sum()


def trained(m: Any, make: Any, schedule: Any = None, *, closure: bool = False) -> list[float]:
    """The parameters after twelve steps, and the rates on the way."""
    p = m.nn.Parameter(m.tensor([1.5, -0.7, 2.0], dtype=m.float64))
    q = m.nn.Parameter(m.tensor([[0.3]], dtype=m.float64))
    optimizer = make(m.optim, [p, q])
    scheduler = schedule and schedule(m.optim.lr_scheduler, optimizer)
    seen = []

    def evaluate() -> Any:
        optimizer.zero_grad()
        loss = loss_of(m, p, q)
        loss.backward()
        return loss

    for _ in range(12):
        loss = optimizer.step(evaluate) if closure else evaluate()
        if not closure:
            optimizer.step()
        if scheduler:
            on_plateau = type(scheduler).__name__ == "ReduceLROnPlateau"
            scheduler.step(float(loss)) if on_plateau else scheduler.step()
            group = optimizer.param_groups[0]
            seen += [group["lr"], scheduler.get_last_lr()[0], group["momentum"]]
    return [*p.tolist(), q.item(), *seen]


@needs_torch
@pytest.mark.parametrize(
    "make",
    [
        lambda o, p: o.LBFGS(p),
        lambda o, p: o.LBFGS(p, lr=0.1, max_iter=4, history_size=2),
        lambda o, p: o.LBFGS(p, line_search_fn="strong_wolfe", max_iter=3),
        lambda o, p: o.LBFGS(p, line_search_fn="strong_wolfe", lr=5.0, tolerance_grad=0),
    ],
)
def test_lbfgs(make: Any) -> None:
    same(lambda m: trained(m, make, closure=True), rel=1e-6)


@needs_torch
def test_adadelta() -> None:
    same(lambda m: trained(m, lambda o, p: o.Adadelta(p, lr=0.5, weight_decay=0.1)))
    same(lambda m: trained(m, lambda o, p: o.Adadelta(p, rho=0.5, maximize=True)))


@needs_torch
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "schedule",
    [
        lambda s, o: s.StepLR(o, 3, 0.5),
        lambda s, o: s.MultiStepLR(o, [2, 5, 5], 0.5),
        lambda s, o: s.ConstantLR(o, 0.5, 4),
        lambda s, o: s.LinearLR(o, 0.2, 0.9, 5),
        lambda s, o: s.ExponentialLR(o, 0.9),
        lambda s, o: s.PolynomialLR(o, 6, 2.0),
        lambda s, o: s.CosineAnnealingLR(o, 4, 0.001),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 3, 2, 0.001),
        lambda s, o: s.CosineAnnealingWarmRestarts(o, 3),
        lambda s, o: s.OneCycleLR(o, 0.05, total_steps=14),
        lambda s, o: s.OneCycleLR(
            o, 0.05, epochs=7, steps_per_epoch=2, three_phase=True, anneal_strategy="linear"
        ),
        lambda s, o: s.LambdaLR(o, lambda e: 0.9**e),
        lambda s, o: s.MultiplicativeLR(o, lambda e: 0.9),
        lambda s, o: s.ReduceLROnPlateau(o, patience=1, cooldown=1),
        lambda s, o: s.ReduceLROnPlateau(o, "max", patience=2, threshold_mode="abs"),
        lambda s, o: s.SequentialLR(o, [s.LinearLR(o, 0.1, 1, 4), s.CosineAnnealingLR(o, 6)], [4]),
    ],
)
def test_schedules(schedule: Any) -> None:
    same(lambda m: trained(m, lambda o, p: o.SGD(p, lr=0.01, momentum=0.9), schedule))


def test_a_schedule_goes_on_from_its_state() -> None:
    def make() -> Any:
        optimizer = wg.optim.SGD([wg.nn.Parameter(wg.ones(1))], lr=1.0)
        return optimizer, wg.optim.lr_scheduler.StepLR(optimizer, 2, 0.5)

    (first, schedule), (second, resumed) = make(), make()
    for _ in range(3):
        schedule.step()
    resumed.load_state_dict(schedule.state_dict())
    second.load_state_dict(first.state_dict())
    schedule.step()
    resumed.step()
    assert first.param_groups[0]["lr"] == second.param_groups[0]["lr"] == 0.25


@needs_torch
def test_rates_set_between_steps_and_groups_of_their_own() -> None:
    def program(m: Any) -> list[float]:
        p = m.nn.Parameter(m.tensor([1.0, 2.0], dtype=m.float64))
        q = m.nn.Parameter(m.tensor([3.0], dtype=m.float64))
        groups = [{"params": [p], "weight_decay": 0.1}, {"params": q, "lr": 0.5}]
        optimizer = m.optim.AdamW(groups, lr=0.1, weight_decay=0.0)
        for step in range(4):
            for group in optimizer.param_groups:
                group["lr"] = 0.1 / (step + 1)
            optimizer.zero_grad()
            ((p**2).sum() * q).sum().backward()
            optimizer.step()
        return [*p.tolist(), *q.tolist()]

    same(program)


@needs_torch
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_an_optimizer_of_someone_else() -> None:
    def program(m: Any) -> list[float]:
        class Signed(m.optim.Optimizer):  # type: ignore[misc, name-defined]
            def __init__(self, params: Any, lr: float = 0.1) -> None:
                super().__init__(params, {"lr": lr})

            @m.no_grad()
            def step(self, closure: Any = None) -> None:
                for group in self.param_groups:
                    for p in group["params"]:
                        state = self.state[p]
                        state["steps"] = state.get("steps", 0) + 1
                        mean = state.setdefault("mean", m.zeros_like(p))
                        mean.mul_(0.9).add_(p.grad, alpha=0.1)
                        p.add_(m.sign(mean), alpha=-group["lr"])

        p = m.nn.Parameter(m.tensor([1.0, -2.0], dtype=m.float64))
        optimizer = Signed([p])
        m.optim.lr_scheduler.StepLR(optimizer, 1).step()
        for _ in range(3):
            optimizer.zero_grad()
            (p**2).sum().backward()
            optimizer.step()
        again = Signed([p])
        again.load_state_dict(optimizer.state_dict())
        return [*p.tolist(), again.state[p]["steps"], again.param_groups[0]["lr"]]

    same(program)


def test_optimizers_are_copied_with_their_states() -> None:
    p = wg.nn.Parameter(wg.ones(2))
    optimizer = wg.optim.Adam([p], lr=0.1)
    (p**2).sum().backward()
    optimizer.step()
    for copier in (copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))):
        copied = copier(optimizer)
        (q,) = copied.param_groups[0]["params"]
        assert q is not p
        assert copied.state[q]["exp_avg"].tolist() == optimizer.state[p]["exp_avg"].tolist()
        p.grad, q.grad = wg.ones(2), wg.ones(2)
        optimizer.step()
        copied.step()
        assert q.tolist() == p.tolist()


# --- devices that are not there ----------------------------------------------------------------


def test_flags_can_be_set() -> None:
    cudnn = wg.backends.cudnn
    before = cudnn.deterministic
    cudnn.deterministic, cudnn.benchmark = True, False
    assert cudnn.deterministic
    with cudnn.flags(deterministic=False):
        assert not cudnn.deterministic
    assert cudnn.deterministic
    cudnn.deterministic = before
    matmul = wg.backends.cuda.matmul
    assert not matmul.allow_tf32
    matmul.allow_tf32 = True
    assert wg.get_float32_matmul_precision() == "high"
    matmul.allow_tf32 = False
    assert wg.get_float32_matmul_precision() == "highest"
    wg.backends.cudnn.allow_tf32 = True


@pytest.mark.parametrize(
    "use",
    [
        lambda: wg.ones(1).cuda(),
        lambda: wg.ones(1).to("cuda"),
        lambda: wg.ones(1, device="cuda"),
        lambda: wg.nn.Linear(1, 1).cuda(),
        lambda: wg.cuda.set_device(0),
        lambda: wg.cuda.synchronize(),
        lambda: wg.ones(1).to("mps"),
        lambda: wg.accelerator.synchronize(),
        lambda: wg.distributed.init_process_group("gloo"),
        lambda: wg.nn.parallel.DistributedDataParallel(wg.nn.Linear(1, 1)),
    ],
)
def test_what_is_not_there_is_refused(use: Any) -> None:
    if wg.cuda.is_available():
        pytest.skip("here is a CUDA device")
    with pytest.raises(RuntimeError, match=r"not available|single process|without CUDA"):
        use()


def test_names_that_are_only_imported() -> None:
    import wengert.backends.cudnn
    import wengert.distributed as dist
    import wengert.onnx
    from wengert.nn.parallel import DistributedDataParallel as Ddp

    assert not dist.is_available()
    assert not dist.is_initialized()
    assert issubclass(Ddp, wg.nn.Module)
    assert wengert.backends.cudnn is wg.backends.cudnn
    with pytest.raises(NotImplementedError, match="onnx"):
        wengert.onnx.export()


def test_a_scaler_passes_through() -> None:
    p = wg.nn.Parameter(wg.ones(1))
    optimizer = wg.optim.SGD([p], lr=0.5)
    for scaler in (wg.cuda.amp.GradScaler(), wg.amp.GradScaler("cuda", enabled=True)):
        optimizer.zero_grad()
        scaler.scale((p * 2).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    assert p.item() == -1


def test_autocast() -> None:
    with wg.amp.autocast("cuda", dtype=wg.float16), wg.cuda.amp.autocast():
        assert wg.ones(1).dtype is wg.float32
    with pytest.warns(UserWarning, match="float32 is not supported"):
        wg.autocast(device_type="cpu", dtype=wg.float32)

    @wg.autocast("cpu", enabled=False)
    def f() -> int:
        return 3

    assert f() == 3


def test_loading_all_of_this_is_left_to_those_who_ask() -> None:
    import subprocess

    lazy = "cuda amp backends serialization storage _legacy _unpickle _format optim.lr_scheduler"
    loaded = f"[n for n in '{lazy}'.split() if 'wengert.' + n in sys.modules]"
    code = f"import sys, wengert; print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.strip() == "[]"


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    for case in ROWS:
        (row,) = case.values
        ours, theirs = outcome(row, wg), outcome(row, torch)
        if ours != theirs:
            print(f"{row}\n    wg    {ours}\n    torch {theirs}")
