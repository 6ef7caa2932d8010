"""What programs do in Python, on a CUDA device: modules, files, transforms, mixed precision."""

from __future__ import annotations

import copy
import io
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from wengert import _core, nn
from wengert.autograd import functional
from wengert.testing import gradcheck, gradgradcheck
from wengert.utils.checkpoint import checkpoint, checkpoint_sequential

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip(f"no CUDA device: {_core.cuda.why_none()}", allow_module_level=True)

F = nn.functional


def there(*size: int, **how: Any) -> wg.Tensor:
    return wg.randn(*size, device="cuda", **how)


def assert_close(got: Any, want: Any, tolerance: float = 1e-4) -> None:
    assert got.is_cuda
    np.testing.assert_allclose(
        got.detach().cpu().numpy(), want.detach().numpy(), rtol=tolerance, atol=tolerance
    )


# --- tensors in Python ---------------------------------------------------------------------------
def test_text() -> None:
    assert repr(wg.ones(2, device="cuda")) == "tensor([1., 1.], device='cuda:0')"
    x = wg.ones(2, device="cuda", dtype=wg.int32, requires_grad=False)
    assert repr(x) == "tensor([1, 1], device='cuda:0', dtype=wengert.int32)"
    assert repr(wg.zeros(0, 2, device="cuda")).startswith("tensor([], device='cuda:0', size=(0, 2)")
    y = wg.ones(1, device="cuda", requires_grad=True)
    assert repr(y) == "tensor([1.], device='cuda:0', requires_grad=True)"
    assert repr(y * 2) == "tensor([2.], device='cuda:0', grad_fn=<MulBackward0>)"
    big = repr(wg.arange(20000, device="cuda").reshape(100, 200))
    assert "..." in big
    assert "19999" in big
    assert f"{wg.tensor(1.5, device='cuda'):.2f}" == "1.50"


def test_python_numbers() -> None:
    x = wg.tensor([[1, 2], [3, 4]], device="cuda")
    assert x.tolist() == [[1, 2], [3, 4]]
    assert x.t().tolist() == [[1, 3], [2, 4]]
    assert x[1, 0].item() == 3
    assert int(x[0, 1]) == 2
    assert float(x[0, 1]) == 2.0
    assert bool(x[0, 0])
    assert [10, 20, 30][x[0, 0]] == 20
    assert 3 in x
    assert [row.sum().item() for row in x] == [3, 7]
    assert len(x) == 2
    assert complex(x[0, 0].float()) == 1
    assert [*range(x[1, 1])] == [0, 1, 2, 3]
    assert x.equal(x.clone())
    assert x.allclose(x)
    with pytest.raises(RuntimeError):
        bool(x)


def test_numpy_is_refused() -> None:
    x = there(2)
    words = r"can't convert cuda:0 device type tensor to numpy. Use Tensor.cpu\(\) to copy the tens"
    with pytest.raises(TypeError, match=words):
        x.numpy()
    with pytest.raises(TypeError, match=words):
        np.asarray(x)
    assert x.numpy(force=True).shape == (2,)
    assert x.cpu().numpy().shape == (2,)


def test_dlpack() -> None:
    x = there(3, 4)
    assert x.__dlpack_device__() == (2, 0)
    y = wg.from_dlpack(x.t())
    assert y.is_cuda
    assert y.data_ptr() == x.data_ptr()
    assert y.equal(x.t())
    y[0, 0] = 9
    assert x[0, 0].item() == 9
    want = x.t().cpu()
    del x
    assert y.cpu().equal(want)  # its memory lives as long as it is shared


def test_numpy_scalars_and_arrays_go_over() -> None:
    a = np.arange(6.0).reshape(2, 3)
    for made in (wg.tensor(a, device="cuda"), wg.as_tensor(a, device="cuda"),
                 wg.from_numpy(a).cuda()):  # fmt: skip
        assert made.is_cuda
        assert made.dtype is wg.float64
        assert (made.cpu().numpy() == a).all()
    assert not wg.from_numpy(a).is_cuda
    with wg.device("cuda"):
        assert not wg.from_numpy(a).is_cuda
    assert (there(2).double() * np.float64(2)).is_cuda


def test_copies_of_tensors() -> None:
    x = there(2, 3, requires_grad=True)
    (x * x).sum().backward()
    for made in (copy.deepcopy(x), pickle.loads(pickle.dumps(x)), copy.copy(x)):
        assert made.is_cuda
        assert made.requires_grad
        assert made.equal(x)
    assert copy.deepcopy(x).grad.equal(x.grad)
    both = copy.deepcopy([x.detach(), x.detach()[0]])
    both[0][0, 0] = 5
    assert both[1][0].item() == 5
    b = pickle.loads(pickle.dumps(x.detach().bfloat16()))
    assert b.is_cuda
    assert b.dtype is wg.bfloat16


def test_types() -> None:
    x = there(2)
    assert x.type() == "wengert.cuda.FloatTensor"
    assert x.long().type() == "wengert.cuda.LongTensor"
    assert x.type(wg.float64).is_cuda
    assert not x.type("wengert.DoubleTensor").is_cuda
    assert x.cpu().type("torch.cuda.HalfTensor").is_cuda
    assert x.type(wg.FloatTensor).device.type == "cpu"
    assert isinstance(x, wg.cuda.FloatTensor)
    assert not isinstance(x, wg.FloatTensor)
    assert not isinstance(x.cpu(), wg.cuda.FloatTensor)
    assert wg.cuda.FloatTensor([1.0, 2.0]).tolist() == [1.0, 2.0]
    assert wg.cuda.LongTensor(2, 3).shape == (2, 3)
    assert wg.cuda.LongTensor(2, 3).is_cuda
    assert x.new(3).is_cuda
    assert x.type_as(x.double()).dtype is wg.float64
    assert x.type_as(x.cpu()).device.type == "cpu"


def test_storage() -> None:
    x = wg.arange(6, device="cuda")
    s = x[2:].untyped_storage()
    assert s.is_cuda
    assert s.device == wg.device("cuda:0")
    assert s.nbytes() == 48
    assert s.data_ptr() == x.data_ptr()
    assert x.storage()[3] == 3
    assert x.storage().tolist() == [0, 1, 2, 3, 4, 5]
    assert not s.cpu().is_cuda
    assert s.cpu().cuda().is_cuda
    x.data = wg.ones(2, device="cuda")
    assert x.tolist() == [1, 1]


# --- modules -------------------------------------------------------------------------------------
def net() -> nn.Sequential:
    wg.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.0), nn.Linear(8, 3)
    )


def test_modules_move() -> None:
    model = net()
    model(wg.randn(5, 6)).sum().backward()
    weights = list(model.parameters())
    assert model.cuda() is model
    assert [id(p) for p in model.parameters()] == [id(p) for p in weights]
    for p in model.parameters():
        assert (p.is_cuda, p.is_leaf, p.requires_grad) == (True, True, True)
        assert p.grad is not None
        assert p.grad.is_cuda
    assert all(b.is_cuda for b in model.buffers())
    assert model[1].num_batches_tracked.is_cuda
    model.to("cuda", wg.float64)
    assert model[0].weight.dtype is wg.float64
    assert model[1].num_batches_tracked.dtype is wg.int64
    assert model(there(5, 6, dtype=wg.float64)).is_cuda
    model.to(wg.randn(1))
    assert {(p.device.type, p.dtype) for p in model.parameters()} == {("cpu", wg.float32)}
    assert {p.device.type for p in nn.Linear(2, 2, device="cuda").parameters()} == {"cuda"}
    assert model.to(0)[0].weight.is_cuda
    assert not model.cpu()[0].weight.is_cuda
    assert model.to_empty(device="cuda")[0].weight.is_cuda
    with pytest.raises(TypeError):
        model.to("cuda", wg.int64)


MODULES: dict[str, tuple[Callable[[], nn.Module], Callable[[], tuple[wg.Tensor, ...]]]] = {
    "linear": (lambda: nn.Linear(4, 3), lambda: (wg.randn(2, 4),)),
    "conv2d": (lambda: nn.Conv2d(2, 3, 3, padding=1), lambda: (wg.randn(2, 2, 5, 5),)),
    "transposed": (lambda: nn.ConvTranspose2d(2, 3, 3, 2), lambda: (wg.randn(1, 2, 4, 4),)),
    "batch norm": (lambda: nn.BatchNorm2d(3), lambda: (wg.randn(4, 3, 2, 2),)),
    "layer norm": (lambda: nn.LayerNorm(6), lambda: (wg.randn(4, 6),)),
    "group norm": (lambda: nn.GroupNorm(2, 4), lambda: (wg.randn(2, 4, 3),)),
    "max pool": (lambda: nn.MaxPool2d(2), lambda: (wg.randn(1, 2, 6, 6),)),
    "avg pool": (lambda: nn.AdaptiveAvgPool2d((2, 3)), lambda: (wg.randn(1, 2, 5, 7),)),
    "padded pool": (lambda: nn.AvgPool2d(3, 2, 1), lambda: (wg.randn(1, 2, 6, 6),)),
    "upsample": (
        lambda: nn.Upsample(scale_factor=2.0, mode="bilinear"),
        lambda: (wg.randn(1, 2, 3, 3),),
    ),
    "cubic": (
        lambda: nn.Upsample(scale_factor=1.5, mode="bicubic"),
        lambda: (wg.randn(1, 2, 4, 4),),
    ),
    "unfold": (lambda: nn.Unfold(2), lambda: (wg.randn(1, 2, 4, 4),)),
    "fold": (lambda: nn.Fold((4, 4), 2), lambda: (wg.randn(1, 8, 9),)),
    "attention": (
        lambda: nn.MultiheadAttention(8, 2, dropout=0.0),
        lambda: (wg.randn(5, 2, 8), wg.randn(6, 2, 8), wg.randn(6, 2, 8)),
    ),
    "encoder": (
        lambda: nn.TransformerEncoderLayer(8, 2, 16, dropout=0.0),
        lambda: (wg.randn(5, 2, 8),),
    ),
    "bilinear": (lambda: nn.Bilinear(3, 4, 2), lambda: (wg.randn(5, 3), wg.randn(5, 4))),
    "prelu": (lambda: nn.PReLU(), lambda: (wg.randn(5),)),
    "softmax": (lambda: nn.Softmax(1), lambda: (wg.randn(2, 5),)),
    "padding": (lambda: nn.ReflectionPad2d(1), lambda: (wg.randn(1, 2, 4, 4),)),
    "similarity": (lambda: nn.CosineSimilarity(), lambda: (wg.randn(3, 5), wg.randn(3, 5))),
}


@pytest.mark.parametrize("name", MODULES)
def test_modules_compute_what_they_do_on_the_processor(name: str) -> None:
    make, inputs = MODULES[name]
    wg.manual_seed(1)
    model, args = make(), inputs()
    moved = copy.deepcopy(model).cuda()
    results = []
    for m, device in ((model, "cpu"), (moved, "cuda")):
        leaves = [a.detach().to(device).requires_grad_() for a in args]
        y = m(*leaves)
        y = y[0] if isinstance(y, tuple) else y
        (y * y).mean().backward()
        results.append([y, *(x.grad for x in leaves), *(p.grad for p in m.parameters())])
    for want, got in zip(*results, strict=True):
        assert_close(got, want)


def test_embedding_and_bags() -> None:
    at, starts = wg.tensor([1, 2, 4, 1]), wg.tensor([0, 3])
    for kind in (nn.Embedding(5, 3, padding_idx=1), nn.EmbeddingBag(5, 3, mode="mean"),
                 nn.EmbeddingBag(5, 3, mode="max")):  # fmt: skip
        args = (at,) if isinstance(kind, nn.Embedding) else (at, starts)
        want = kind(*args)
        want.square().sum().backward()
        gradient = kind.weight.grad
        kind.weight.grad = None
        kind.cuda()
        got = kind(*(a.cuda() for a in args))
        got.square().sum().backward()
        assert_close(got, want)
        assert_close(kind.weight.grad, gradient)


LOSSES: dict[str, Callable[[Any, Any], Any]] = {
    "mse": lambda x, t: F.mse_loss(x, x.sin()),
    "cross entropy": lambda x, t: F.cross_entropy(x, t),
    "smoothed": lambda x, t: F.cross_entropy(
        x, t, x[0].detach().exp(), ignore_index=1, label_smoothing=0.1
    ),
    "nll": lambda x, t: F.nll_loss(x.log_softmax(1), t),
    "bce": lambda x, t: F.binary_cross_entropy_with_logits(x, (x > 0).float()),
    "huber": lambda x, t: F.huber_loss(x, x.cos()),
    "kl": lambda x, t: F.kl_div(x.log_softmax(1), x.softmax(1), reduction="batchmean"),
    "margin": lambda x, t: F.multi_margin_loss(x, t),
    "labels": lambda x, t: F.multilabel_margin_loss(x, x.argsort(1)),
    "triplet": lambda x, t: F.triplet_margin_loss(x, x.sin(), x.cos()),
    "hinge": lambda x, t: F.hinge_embedding_loss(x, x.sign()),
}


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name: str) -> None:
    x, t = wg.randn(6, 4), wg.tensor([0, 3, 2, 1, 1, 0])
    results = []
    for device in ("cpu", "cuda"):
        leaf = x.detach().to(device).requires_grad_()
        y = LOSSES[name](leaf, t.to(device))
        y.backward()
        results.append((y, leaf.grad))
    for want, got in zip(*results, strict=True):
        assert_close(got, want)


def test_targets_out_of_range_are_told() -> None:
    with pytest.raises(IndexError, match="target 7"):
        F.cross_entropy(there(2, 3), wg.tensor([0, 7], device="cuda")).item()
    with pytest.raises((IndexError, RuntimeError)):
        F.embedding(wg.tensor([5], device="cuda"), there(3, 2)).tolist()


def test_a_program_of_pytorchs_kind_trains() -> None:
    torch = wg
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.manual_seed(0)
    x = torch.randn(64, 6)
    data = torch.utils.data.TensorDataset(x, (x[:, 0] > 0).long())
    loader = torch.utils.data.DataLoader(data, 16, shuffle=True, pin_memory=device == "cuda")
    model = net().to(device)
    losses = []
    for _ in range(8):
        for batch, target in loader:
            batch = batch.to(device, non_blocking=True)
            target = target.to(device, non_blocking=True)
            loss = F.cross_entropy(model(batch), target)
            for p in model.parameters():
                p.grad = None
            loss.backward()
            with torch.no_grad():
                for p in model.parameters():
                    p -= 0.1 * p.grad
            losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]


# --- files ---------------------------------------------------------------------------------------
def test_files() -> None:
    x = there(3, 4)
    kept = {"x": x, "row": x[1], "n": 3, "model": net().cuda().state_dict()}
    file = io.BytesIO()
    wg.save(kept, file)

    def loaded(where: Any = None) -> Any:
        file.seek(0)
        return wg.load(file, map_location=where)

    for where in (None, "cuda", wg.device("cuda:0"), {"cuda:0": "cuda:0"},
                  lambda s, _: s.cuda(), lambda *_: None):  # fmt: skip
        found = loaded(where)
        assert found["x"].is_cuda
        assert found["x"].equal(x)
        found["x"][1, 0] = 42
        assert found["row"][0].item() == 42
        assert all(v.is_cuda for v in found["model"].values())
    for where in ("cpu", wg.device("cpu"), {"cuda:0": "cpu"}, lambda s, _: s):
        found = loaded(where)
        assert not found["x"].is_cuda
        assert found["x"].equal(x.cpu())
    model = net()
    model.load_state_dict(kept["model"])
    assert not model[0].weight.is_cuda
    model.cuda().load_state_dict(loaded("cpu")["model"])
    assert model[0].weight.is_cuda
    here = io.BytesIO()
    wg.save(wg.ones(2), here)
    here.seek(0)
    assert wg.load(here, map_location="cuda").is_cuda


# --- derivatives ---------------------------------------------------------------------------------
def test_gradients() -> None:
    x = there(3, requires_grad=True, dtype=wg.float64)
    (first,) = wg.autograd.grad((x**3).sum(), x, create_graph=True)
    (second,) = wg.autograd.grad(first.sum(), x)
    assert_close(second, (6 * x).cpu(), 1e-12)
    y = x.exp()
    y.backward(wg.ones_like(y))
    assert_close(x.grad, y.cpu(), 1e-12)
    (batch,) = wg.autograd.grad(
        x.sin(), x, wg.eye(3, device="cuda", dtype=wg.float64), is_grads_batched=True
    )
    assert_close(batch, x.cos().diag().cpu(), 1e-12)
    assert gradcheck(lambda a: (a @ a.t()).tanh(), there(2, 3, dtype=wg.float64).requires_grad_())
    assert gradgradcheck(lambda a: a.sigmoid() * a, there(3, dtype=wg.float64).requires_grad_())


def f(x: wg.Tensor) -> wg.Tensor:
    return (x.sin() * x.cumsum(0)).exp().sum()


@pytest.mark.parametrize(
    "take",
    [
        functional.hessian,
        lambda f, x: functional.jacobian(lambda a: a.outer(a), x),
        lambda f, x: functional.jacobian(lambda a: a.outer(a), x, vectorize=True),
        lambda f, x: functional.jacobian(
            lambda a: a.square(), x, vectorize=True, strategy="forward-mode"
        ),
        lambda f, x: functional.hvp(f, x, x)[1],
        lambda f, x: functional.vjp(lambda a: a * a, x, x)[1],
        lambda f, x: functional.jvp(lambda a: a * a, x, x)[1],
        lambda f, x: wg.func.grad(f)(x),
        lambda f, x: wg.func.hessian(f)(x),
        lambda f, x: wg.func.jacfwd(lambda a: a.sort().values * a)(x),
        lambda f, x: wg.func.jacrev(lambda a: a.softmax(0))(x),
        lambda f, x: wg.func.jvp(f, (x,), (x,))[1],
        lambda f, x: wg.func.vjp(lambda a: a * a, x)[1](x)[0],
        lambda f, x: wg.vmap(f)(x.outer(x)),
        lambda f, x: wg.vmap(wg.func.grad(f))(x.outer(x)),
        lambda f, x: wg.vmap(lambda a: a[a.argmax()] + a.new_zeros(3).sum())(x.outer(x)),
        lambda f, x: wg.vmap(lambda a, b: a.masked_fill(b > 0, 0.0).cumsum(0))(
            x.outer(x), x.outer(x)
        ),
    ],
)
def test_transforms(take: Any) -> None:
    x = wg.randn(4, dtype=wg.float64)
    assert_close(take(f, x.cuda()), take(f, x), 1e-10)


def test_forward_mode() -> None:
    import wengert.autograd.forward_ad as fwad

    x = there(3)
    with fwad.dual_level():
        y = (fwad.make_dual(x, wg.ones_like(x)) * 3).sin()
        value, tangent = fwad.unpack_dual(y)
    assert_close(tangent, (3 * (3 * x).cos()).cpu())
    assert value.is_cuda


def test_functions_of_users() -> None:
    class Cube(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x * x * x

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            (x,) = ctx.saved_tensors
            assert g.is_cuda
            return 3 * x * x * g

    x = there(4, requires_grad=True)
    Cube.apply(x).sum().backward()
    assert_close(x.grad, (3 * x * x).cpu())


def test_hooks_and_saved_tensors() -> None:
    x = there(4, requires_grad=True)
    seen: list[bool] = []
    y = x.sin()
    y.register_hook(lambda g: seen.append(g.is_cuda))
    with wg.autograd.graph.saved_tensors_hooks(lambda t: t.cpu(), lambda t: t.cuda()):
        z = (y * y).sum()
    z.backward()
    assert seen == [True]
    want = x.grad
    for pin in (False, True):
        x.grad = None
        with wg.autograd.graph.save_on_cpu(pin_memory=pin):
            z = (x.sin() * x.sin()).sum()
        z.backward()
        assert x.grad is not None
        assert x.grad.allclose(want)


def test_checkpoints_draw_the_same_numbers() -> None:
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Tanh()).cuda()
    x = there(4, 8, requires_grad=True)
    found = []
    for run in (lambda: model(x), lambda: checkpoint(model, x, use_reentrant=False),
                lambda: checkpoint(model, x, use_reentrant=True),
                lambda: checkpoint_sequential(model, 2, x, use_reentrant=False)):  # fmt: skip
        x.grad = None
        wg.cuda.manual_seed(4)
        run().square().sum().backward()
        found.append(x.grad)
    for g in found[1:]:
        assert g.equal(found[0])


# --- looking at what happens ---------------------------------------------------------------------
def test_anomalies_are_found() -> None:
    x = wg.tensor([1.0, -1.0], device="cuda", requires_grad=True)
    with pytest.warns(UserWarning, match="Anomaly Detection has been enabled"):
        block = wg.autograd.detect_anomaly()
    with block:
        with pytest.raises(RuntimeError, match="nan"):
            x.sqrt().sum().backward()
        with pytest.raises(RuntimeError, match="nan"):
            (x / 0 * 0).sum()
        (x * 2).sum().backward()
    assert x.grad is not None


def test_tapes() -> None:
    w = there(3, 3, requires_grad=True)
    x = there(4, 3)
    at = wg.tensor([0, 3], device="cuda")

    def loss() -> wg.Tensor:
        return ((x @ w).sigmoid().cumsum(0) * x)[at].square().mean()

    y = loss()
    assert "sigmoid" in str(wg.tape(y))
    tape = wg.tape(loss)
    found = tape.check()
    assert "0 wrong, 0 unknown" in str(found)
    assert "own ULP" in str(tape.audit())
    y.backward()
    assert w.grad is not None


# --- mixed precision -----------------------------------------------------------------------------
def test_autocast() -> None:
    assert wg.get_autocast_dtype("cuda") is wg.float16
    assert wg.get_autocast_dtype("cpu") is wg.bfloat16
    a, b, here = there(4, 4), there(4, 4), wg.randn(4, 4)
    with wg.autocast("cuda"):
        assert wg.is_autocast_enabled("cuda")
        assert not wg.is_autocast_enabled("cpu")
        assert (a @ b).dtype is wg.float16
        assert (here @ here).dtype is wg.float32
        assert F.linear(a, b).dtype is wg.float16
        with wg.autocast("cpu"):
            assert (here @ here).dtype is wg.bfloat16
            assert (a @ b).dtype is wg.float16
        with wg.autocast("cuda", enabled=False):
            assert (a @ b).dtype is wg.float32
        assert F.mse_loss((a @ b), (a @ b)).dtype is wg.float32
    with wg.autocast("cuda", dtype=wg.bfloat16):
        assert (a @ b).dtype is wg.bfloat16
    with wg.autocast("cpu"):
        assert (a @ b).dtype is wg.float32
    with wg.cuda.amp.autocast():
        assert (a @ b).dtype is wg.float16
    assert (a @ b).dtype is wg.float32
    with pytest.warns(UserWarning, match="In CUDA autocast"), wg.autocast("cuda", dtype=wg.int8):
        assert (a @ b).dtype is wg.float32


def test_scaler() -> None:
    for scaler in (wg.amp.GradScaler("cuda", init_scale=8.0, growth_interval=1),
                   wg.cuda.amp.GradScaler(init_scale=8.0, growth_interval=1)):  # fmt: skip
        assert scaler.is_enabled()
        weight = wg.ones(3, device="cuda", requires_grad=True)
        scaled = scaler.scale(weight.sum())
        assert scaled.is_cuda
        scaled.backward()
        assert weight.grad is not None
        assert weight.grad.tolist() == [8.0] * 3
        assert scaler.get_scale() == 8.0
        assert scaler.scale(weight.cpu().sum()).device.type == "cpu"


# --- distributions -------------------------------------------------------------------------------
D = wg.distributions
DISTRIBUTIONS: dict[str, Callable[[Any], Any]] = {
    "Normal": lambda p: D.Normal(p, 2 * p),
    "Uniform": lambda p: D.Uniform(0.0, p),
    "Bernoulli": lambda p: D.Bernoulli(p / 4),
    "Categorical": lambda p: D.Categorical(p),
    "OneHotCategorical": lambda p: D.OneHotCategorical(p),
    "Exponential": lambda p: D.Exponential(p),
    "Gamma": lambda p: D.Gamma(p, 1.5),
    "Beta": lambda p: D.Beta(p, 2.0),
    "Laplace": lambda p: D.Laplace(0.0, p),
    "Poisson": lambda p: D.Poisson(p),
    "MultivariateNormal": lambda p: D.MultivariateNormal(p, p.diag()),
    "Independent": lambda p: D.Independent(D.Normal(p, p), 1),
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions(name: str) -> None:
    p = wg.tensor([0.5, 1.0, 2.0])
    here, moved = DISTRIBUTIONS[name](p), DISTRIBUTIONS[name](p.cuda())
    wg.manual_seed(2)
    want = here.sample((4,))
    wg.manual_seed(2)
    got = moved.sample((4,))
    assert_close(got, want)
    assert_close(moved.log_prob(got), here.log_prob(want))
    for about in ("mean", "variance", "entropy"):
        try:
            expected = getattr(here, about)
            expected = expected() if callable(expected) else expected
        except NotImplementedError:
            continue
        found = getattr(moved, about)
        assert_close(found() if callable(found) else found, expected)
    if here.has_enumerate_support:
        assert_close(moved.enumerate_support(), here.enumerate_support())
