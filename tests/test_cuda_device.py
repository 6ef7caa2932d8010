"""Where tensors are: devices together in one operation, moving, indexing across, and defaults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip(f"no CUDA device: {_core.cuda.why_none()}", allow_module_level=True)

F = wg.nn.functional
TOGETHER = "Expected all tensors to be on the same device, but found at least two devices"


def there(*size: int, **how: Any) -> wg.Tensor:
    return wg.randn(*size, device="cuda", **how)


# --- operations of several tensors ---------------------------------------------------------------
MIXED: dict[str, Callable[[Any, Any], Any]] = {
    "add": lambda x, y: x + y,
    "in place": lambda x, y: x.add_(y),
    "mul": wg.mul,
    "pow": wg.pow,
    "floor_divide": wg.floor_divide,
    "where": lambda x, y: wg.where(x > 0, x, y),
    "comparison": lambda x, y: x < y,
    "lerp": lambda x, y: wg.lerp(x, y, 0.5),
    "matmul": lambda x, y: x @ y,
    "mm": wg.mm,
    "linear": lambda x, y: F.linear(x, y),
    "addmm": lambda x, y: wg.addmm(x, x, y),
    "einsum": lambda x, y: wg.einsum("ij,jk->ik", x, y),
    "cat": lambda x, y: wg.cat([x, y]),
    "stack": lambda x, y: wg.stack([x, y]),
    "gather": lambda x, y: x.gather(0, y.argmax(0, keepdim=True)),
    "scatter": lambda x, y: x.scatter(0, x.argmax(0, keepdim=True), y),
    "scatter_": lambda x, y: x.scatter_(0, x.argmax(0, keepdim=True), y),
    "index_select": lambda x, y: x.index_select(0, y.argmax(0)),
    "index_add_": lambda x, y: x.index_add_(0, x.argmax(0), y),
    "masked_select": lambda x, y: x.masked_select(y > 0),
    "masked_fill_": lambda x, y: x.masked_fill_(y > 0, 1.0),
    "index_put_": lambda x, y: x.index_put_((x[0].argsort(),), y),
    "cross_entropy": lambda x, y: F.cross_entropy(x, y.argmax(1)),
    "mse_loss": lambda x, y: F.mse_loss(x, y),
    "embedding": lambda x, y: F.embedding(y.argmax(0), x),
    "layer_norm": lambda x, y: F.layer_norm(x, (3,), y[0]),
    "batch_norm": lambda x, y: F.batch_norm(x, y[0], y[0].square()),
    "conv1d": lambda x, y: F.conv1d(x.unsqueeze(0), y.unsqueeze(2)),
    "bmm": lambda x, y: wg.bmm(x.unsqueeze(0), y.unsqueeze(0)),
    "attention": lambda x, y: F.scaled_dot_product_attention(x, y, y),
    "searchsorted": lambda x, y: wg.searchsorted(x.sort().values, y),
    "solve": lambda x, y: wg.linalg.solve(x, y),
    "isin": wg.isin,
    "dot": lambda x, y: x[0].dot(y[0]),
    "cdist": wg.cdist,
    "clamp": lambda x, y: x.clamp(min=y),
    "equal": lambda x, y: x.equal(y),
    "out": lambda x, y: wg.exp(x, out=y),
}


@pytest.mark.parametrize("name", MIXED)
def test_devices_do_not_mix(name: str) -> None:
    """Nothing is written before it is refused."""
    for x, y in ((there(3, 3), wg.randn(3, 3)), (wg.randn(3, 3), there(3, 3))):
        before = x.clone(), y.clone()
        with pytest.raises(RuntimeError, match=TOGETHER):
            MIXED[name](x, y)
        assert x.equal(before[0])
        assert y.equal(before[1])


def test_the_words_name_devices_in_order() -> None:
    with pytest.raises(RuntimeError, match="devices, cuda:0 and cpu!"):
        there(2) + wg.randn(2)
    with pytest.raises(RuntimeError, match="devices, cpu and cuda:0!"):
        wg.randn(2) + there(2)


def test_numbers_in_the_processors_memory_join_in() -> None:
    x, two = there(2, 3), wg.tensor(2.0)
    for made in (x * two, two * x, x.mul(two), wg.where(x > 0, two, x), x.masked_fill(x > 9, two)):
        assert made.is_cuda
    assert (x * two).equal(x + x)
    assert (wg.tensor(1.0) + two).device.type == "cpu"
    x += two
    x[0] = two
    x[wg.tensor([1])] = two
    x[x > 100] = two
    assert x[:2].equal(wg.full((2, 3), 2.0, device="cuda"))
    x.fill_(two)
    with pytest.raises(RuntimeError, match=TOGETHER):
        two.add_(x)
    with pytest.raises(RuntimeError, match=TOGETHER):
        wg.randn(3) + wg.tensor(1.0, device="cuda")  # a number on the device is no such number


def test_a_number_gets_its_gradient_where_it_is() -> None:
    x, scale = there(3), wg.tensor(2.0, requires_grad=True)
    (x * scale).sum().backward()
    assert scale.grad is not None
    assert scale.grad.device.type == "cpu"
    assert abs(scale.grad.item() - x.sum().item()) < 1e-5


# --- moving --------------------------------------------------------------------------------------
@pytest.mark.parametrize("where", ["cuda", "cuda:0", wg.device("cuda"), wg.device("cuda", 0), 0])
def test_to(where: Any) -> None:
    x = wg.randn(2, 3)
    for y in (x.to(where), x.to(device=where), x.cuda(), x.to(where, wg.float32)):
        assert (y.device.type, y.device.index, y.is_cuda, y.is_cpu) == ("cuda", 0, True, False)
        assert y.get_device() == 0
        assert y.cpu().equal(x)
        assert y.to(where) is y
        assert y.to(where, copy=True) is not y
    assert x.to("cpu") is x
    there = x.to(where)
    for dtype in (wg.float32, wg.float64):
        before = wg.cuda.memory_stats()["allocation.all.allocated"]
        y = there.to(where, dtype, copy=True)  # one copy, whatever changes with it
        assert wg.cuda.memory_stats()["allocation.all.allocated"] == before + 1
        assert y.cpu().float().equal(x)
        wg.vmap(lambda row, dtype=dtype: row.to(where, dtype, copy=True).zero_())(there)
        assert there.cpu().equal(x)
    assert x.to(where, wg.float64).dtype is wg.float64
    assert x.to(y).is_cuda


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int64", "float16", "bfloat16"])
def test_every_dtype_and_layout_moves(dtype: str) -> None:
    x = (wg.randn(4, 6) * 3).to(getattr(wg, dtype))
    for view in (x, x.t(), x[:, ::2], x[1], x[:0], x[0, 0]):
        assert view.cuda().cpu().equal(view)
        assert view.cuda().cpu().stride() == view.contiguous().stride()


def test_unknown_devices_are_refused() -> None:
    x = wg.randn(2)
    with pytest.raises(RuntimeError, match="cuda:1"):
        x.to("cuda:1")
    with pytest.raises(RuntimeError):
        wg.zeros(2, device="cuda:7")
    with pytest.raises(RuntimeError):
        x.to("mps")
    with pytest.raises(RuntimeError, match="invalid device ordinal"):
        wg.cuda.set_device(3)


def test_gradients_go_back_to_where_leaves_are() -> None:
    x = wg.randn(3, requires_grad=True)
    w = there(3, requires_grad=True)
    y = ((x.cuda() * w).cpu() * x).sum()
    y.backward()
    assert x.grad is not None
    assert w.grad is not None
    assert (x.grad.device.type, w.grad.device.type) == ("cpu", "cuda")
    other = wg.randn(3)
    other.copy_(w.detach())
    assert x.grad.allclose(2 * x.detach() * other)
    with pytest.raises(RuntimeError):
        x.grad = w.grad
    with pytest.raises(RuntimeError):
        w.sum().backward(wg.tensor([1.0, 2.0]))


@pytest.mark.parametrize("shape", [(2, 3), (3,), (1, 3), ()])
def test_copy_across(shape: tuple[int, ...]) -> None:
    for dtype in (wg.float32, wg.float64, wg.int64):
        source = (wg.randn(shape) * 9).to(dtype)
        for to, given in ((there(2, 3), source), (wg.zeros(2, 3), source.cuda())):
            to.copy_(given)
            assert to.cpu().equal(source.float().expand(2, 3))
            strided = to.new_zeros(2, 6)
            strided[:, ::2].copy_(given, non_blocking=True)
            assert strided[:, ::2].equal(to)
            assert strided[:, 1::2].eq(0).all()
    x = there(2, requires_grad=True)
    y = wg.zeros(2)
    y.copy_(x)
    y.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 1.0]


def test_views_share_device_memory() -> None:
    x = wg.zeros(3, 4, device="cuda")
    x[1:, 2:].fill_(5)
    x.t()[0] += 1
    x.view(-1)[0] = 7
    want = wg.zeros(3, 4)
    want[1:, 2:].fill_(5)
    want.t()[0] += 1
    want.view(-1)[0] = 7
    assert x.cpu().equal(want)


# --- indexing ------------------------------------------------------------------------------------
def test_indices_in_the_processors_memory() -> None:
    here = wg.arange(24.0).reshape(4, 6)
    x, rows, mask = here.cuda(), wg.tensor([2, 0]), here % 5 == 0
    assert x[rows].cpu().equal(here[rows])
    assert x[rows, [1, 3]].cpu().equal(here[rows, [1, 3]])
    assert x[mask].cpu().equal(here[mask])
    assert x[:, mask[0]].cpu().equal(here[:, mask[0]])
    assert x[rows.cuda()].cpu().equal(here[rows])
    assert x[None, rows, ::2].cpu().equal(here[None, rows, ::2])
    assert x[True].shape == (1, 4, 6)
    assert x[wg.tensor(1)].equal(x[1])
    assert x[wg.tensor(1, device="cuda")].equal(x[1])
    for t in (x, here):
        t[rows] = 1.5
        t[mask] = 2.5
        t[rows, 0] = wg.tensor([3.5, 4.5], device=t.device)
        t.index_put_((rows,), wg.ones(6, device=t.device), accumulate=True)
        t[1] = wg.arange(6)  # a copy, wherever it comes from
        t[:, 1:3] = wg.zeros(2)
    assert x.cpu().equal(here)
    with pytest.raises(RuntimeError, match="same device"):
        x[rows] = wg.ones(6)
    with pytest.raises(IndexError, match="index 9 is out of bounds"):
        x[wg.tensor([0, 9])].tolist()
    with pytest.raises(RuntimeError, match="indices should be either on cpu or on the same device"):
        here[rows.cuda()]


def test_gradients_through_indices() -> None:
    here = wg.randn(5, 3, requires_grad=True)
    x = here.detach().cuda().requires_grad_()
    at = wg.tensor([4, 1, 1])
    for t in (here, x):
        t[at].square().sum().backward()
    assert x.grad is not None
    assert here.grad is not None
    assert x.grad.is_cuda
    assert x.grad.cpu().allclose(here.grad)


# --- defaults ------------------------------------------------------------------------------------
MAKERS: dict[str, Callable[..., wg.Tensor]] = {
    "zeros": lambda **k: wg.zeros(2, 3, **k),
    "ones": lambda **k: wg.ones(2, **k),
    "full": lambda **k: wg.full((2,), 3.0, **k),
    "empty": lambda **k: wg.empty(2, **k),
    "eye": lambda **k: wg.eye(3, **k),
    "arange": lambda **k: wg.arange(5, **k),
    "linspace": lambda **k: wg.linspace(0, 1, 5, **k),
    "logspace": lambda **k: wg.logspace(0, 1, 5, **k),
    "tril_indices": lambda **k: wg.tril_indices(3, 3, **k),
    "tensor": lambda **k: wg.tensor([1.0, 2.0], **k),
    "as_tensor": lambda **k: wg.as_tensor([1.0, 2.0], **k),
    "asarray": lambda **k: wg.asarray([1.0, 2.0], **k),
    "scalar_tensor": lambda **k: wg.scalar_tensor(2.0, **k),
    "rand": lambda **k: wg.rand(3, **k),
    "randn": lambda **k: wg.randn(3, **k),
    "randint": lambda **k: wg.randint(0, 9, (3,), **k),
    "randperm": lambda **k: wg.randperm(9, **k),
}


@pytest.mark.parametrize("name", MAKERS)
def test_makers(name: str) -> None:
    make = MAKERS[name]
    wg.manual_seed(1)
    want = make()
    assert want.device.type == "cpu"
    for how in ({"device": "cuda"}, {"device": wg.device("cuda:0")}, {"device": 0}):
        wg.manual_seed(1)
        made = make(**how)
        assert made.device == wg.device("cuda:0")
        assert name == "empty" or made.cpu().equal(want)
    with wg.device("cuda"):
        assert make().is_cuda
        assert not make(device="cpu").is_cuda
    assert not make().is_cuda


def test_likes_follow_their_tensor() -> None:
    x, here = there(2, 3), wg.randn(2, 3)
    for like in (wg.zeros_like, wg.ones_like, wg.empty_like, wg.rand_like, wg.randn_like):
        assert like(x).is_cuda
        assert not like(x, device="cpu").is_cuda
        assert like(here, device="cuda").is_cuda
        with wg.device("cuda"):
            assert not like(here).is_cuda
    assert wg.full_like(x, 2).is_cuda
    for name, args in {
        "new_zeros": ((2,),),
        "new_ones": ((2,),),
        "new_full": ((2,), 1.0),
        "new_empty": ((2,),),
        "new_tensor": ([1.0],),
    }.items():
        assert getattr(x, name)(*args).is_cuda
        assert not getattr(x, name)(*args, device="cpu").is_cuda
        assert getattr(here, name)(*args, device="cuda").is_cuda
    assert wg.tensor(x.detach()).is_cuda
    assert wg.as_tensor(x) is x


def test_operations_stay_where_their_tensors_are() -> None:
    """Whatever the default is."""
    here = wg.randn(4, 4)
    with wg.device("cuda"):
        for made in (
            here + 1,
            here @ here,
            here.sort().values,
            here.softmax(0),
            here[wg.tensor([1, 2], device="cpu")],
            here[here > 0],
            here.sum(),
            here.std(),
            wg.cat([here, here]),
            F.one_hot(wg.tensor([1], device="cpu")),
            F.linear(here, here),
            F.conv1d(here[None], here[..., None]),
            here.pow(2.5),
            here.cumsum(0),
            here.unique(),
            F.dropout(here, 0.5),
            wg.linalg.inv(here + 5 * wg.eye(4, device="cpu")),
            F.cross_entropy(here, wg.tensor([0, 1, 2, 3], device="cpu")),
            wg.vmap(lambda r: r * r.sum())(here),
        ):
            assert made.device.type == "cpu"
        x = wg.randn(3, device="cpu", requires_grad=True)
        x.sort().values.cumsum(0).prod().backward()
        assert x.grad is not None
        assert x.grad.device.type == "cpu"


def test_default_device() -> None:
    assert wg.get_default_device() == wg.device("cpu")
    wg.set_default_device("cuda")
    try:
        assert wg.get_default_device() == wg.device("cuda:0")
        model = wg.nn.Sequential(wg.nn.Linear(3, 4), wg.nn.BatchNorm1d(4), wg.nn.Linear(4, 2))
        assert all(p.is_cuda for p in model.parameters())
        assert all(b.is_cuda for b in model.buffers())
        assert model(wg.randn(5, 3)).is_cuda
        assert repr(wg.ones(1)) == "tensor([1.])"
        assert repr(wg.ones(1, device="cpu")) == "tensor([1.], device='cpu')"
        with wg.device("cpu"):
            assert not wg.ones(1).is_cuda
            with wg.device("cuda"):
                assert wg.ones(1).is_cuda
            assert not wg.ones(1).is_cuda
        data = wg.utils.data.TensorDataset(wg.arange(6.0), wg.arange(6))
        for x, y in wg.utils.data.DataLoader(data, batch_size=4, shuffle=True):
            assert x.is_cuda
            assert y.is_cuda
    finally:
        wg.set_default_device(None)
    assert not wg.ones(1).is_cuda
    with pytest.raises(RuntimeError):
        wg.set_default_device("mps")


def test_default_device_is_the_threads_own() -> None:
    import threading

    found: list[bool] = []
    with wg.device("cuda"):
        thread = threading.Thread(target=lambda: found.append(wg.ones(1).is_cuda))
        thread.start()
        thread.join()
    assert found == [False]


def test_random_numbers_are_the_processors() -> None:
    for draw in (
        lambda d: wg.rand(1000, device=d),
        lambda d: wg.randint(0, 99, (100,), device=d),
        lambda d: wg.randperm(50, device=d),
        lambda d: wg.full((50,), 0.3, device=d).bernoulli(),
        lambda d: wg.ones(4, 5, device=d).multinomial(3),
        lambda d: wg.empty(100, device=d).exponential_(),
        lambda d: wg.poisson(wg.full((50,), 4.0, device=d)),
    ):
        wg.manual_seed(3)
        want = draw("cpu")
        wg.cuda.manual_seed(3)
        got = draw("cuda")
        assert got.is_cuda
        assert got.cpu().allclose(want, rtol=1e-6)
        assert wg.get_rng_state().equal(wg.cuda.get_rng_state())
    generator = wg.Generator(device="cuda").manual_seed(5)
    assert generator.device == wg.device("cuda:0")
    a = wg.rand(4, device="cuda", generator=generator)
    state = wg.cuda.get_rng_state()
    b = wg.rand(4, device="cuda", generator=wg.Generator().manual_seed(5))
    assert a.equal(b)
    first = wg.rand(3, device="cuda")
    wg.cuda.set_rng_state(state)
    assert wg.rand(3, device="cuda").equal(first)
    with wg.random.fork_rng(devices=[0]):
        inside = wg.rand(3, device="cuda")
    assert wg.rand(3, device="cuda").equal(inside)
