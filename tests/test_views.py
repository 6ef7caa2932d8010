"""Views share memory and history; pieces of one tensor are one recorded operation."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch
from wengert.testing import count_launches, gradcheck, gradgradcheck

if TYPE_CHECKING:
    from collections.abc import Callable

VIEWS: dict[str, Callable[[Any], Any]] = {
    "select": lambda x: x.select(1, 2),
    "narrow": lambda x: x.narrow(0, 1, 2),
    "narrow by tensor": lambda x: (
        x.narrow(0, x.new_ones(()).long(), 2)
        if hasattr(x, "new_ones")
        else x.narrow(0, wg.tensor(1), 2)
    ),
    "split": lambda x: x.split(2)[1],
    "split sizes": lambda x: x.split([1, 3], 1)[1],
    "chunk": lambda x: x.chunk(2, 1)[0],
    "tensor_split": lambda x: x.tensor_split(3)[2],
    "tensor_split overlapping": lambda x: x.tensor_split((3, 1))[2],
    "unbind": lambda x: x.unbind(1)[3],
    "iteration": lambda x: list(x)[2],
    "diagonal": lambda x: x.diagonal(1),
    "unfold": lambda x: x.unfold(1, 2, 2),
    "movedim": lambda x: x.movedim(0, 1),
    "swapaxes": lambda x: x.swapaxes(0, 1),
    "unflatten": lambda x: x.unflatten(1, (2, 2)),
    "T": lambda x: x.T,
    "mT": lambda x: x.mT,
    "H": lambda x: x.H,
    "squeeze": lambda x: x.unsqueeze(0).squeeze((0, 1)),
    "view dtype": lambda x: x.view(x.dtype),
    "ravel": lambda x: x.ravel(),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_writing_to_a_view_writes_to_its_base(view: Callable[[Any], Any]) -> None:
    x = wg.arange(16).reshape(4, 4).float()
    v = view(x)
    assert v._base is not None
    want = v + 100
    v.add_(100)
    assert view(x).tolist() == want.tolist()
    assert int((x >= 100).long().sum()) == v.numel()


@needs_torch
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_strides_are_those_of_torch(view: Callable[[Any], Any]) -> None:
    ours, theirs = view(wg.ones(4, 4)), view(torch.ones(4, 4))
    assert tuple(ours.shape) == tuple(theirs.shape)
    assert ours.stride() == theirs.stride()
    assert ours.storage_offset() == theirs.storage_offset()


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_recorded_changes_of_views(view: Callable[[Any], Any]) -> None:
    def changed(x: Any) -> Any:
        y = x * 1
        view(y).mul_(x.sum())
        after = view(y)
        y.sin_()
        return after * 2

    assert gradcheck(changed, [wg.randn(4, 4, dtype=wg.float64, requires_grad=True)])


@pytest.mark.parametrize(
    "cut", [lambda x: x.unbind(), lambda x: x.split([1, 2, 3]), lambda x: x.chunk(3), list]
)
def test_gradients_of_some_pieces(cut: Callable[[Any], Any]) -> None:
    x = wg.randn(6, 3, dtype=wg.float64, requires_grad=True)

    def some(x: Any) -> Any:
        pieces = cut(x)
        return pieces[0].sin().sum() + (pieces[2] ** 3).sum()

    assert gradcheck(some, [x])
    assert gradgradcheck(some, [x])
    pieces = cut(x)
    (g,) = wg.autograd.grad(pieces[1].sum(), x)
    assert g.sum().item() == pieces[1].numel()
    # a piece as the input of the derivative, and the others as none
    (g,) = wg.autograd.grad(pieces[1].square().sum(), pieces[1])
    assert g.tolist() == (2 * pieces[1]).tolist()
    with pytest.raises(RuntimeError, match="not have been used"):
        wg.autograd.grad(pieces[1].sum(), pieces[0], retain_graph=True)


def test_pieces_outlive_each_other_and_the_whole() -> None:
    x = wg.ones(3, 2, requires_grad=True)
    piece = (x * 2).unbind()[1]
    piece.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0, 0], [2, 2], [0, 0]]


def launches(n: int) -> int:
    x = wg.ones(n, 4, requires_grad=True)
    total = sum((row.sin().sum() for row in x.unbind()), wg.zeros(()))
    with count_launches() as counter:
        total.backward()
    return sum(counter.counts.values())


def test_backward_of_pieces_is_linear() -> None:
    assert launches(400) <= 2 * launches(200) + 10
    x = wg.ones(1000, 64, requires_grad=True)
    begin = time.perf_counter()
    sum((row.sin().sum() for row in x), wg.zeros(())).backward()
    assert time.perf_counter() - begin < 2  # of order a millisecond; quadratic work takes longer
    assert x.grad is not None
    np.testing.assert_allclose(x.grad.numpy(), np.cos(np.ones((1000, 64))), rtol=1e-6)


def test_more_pieces_than_16_bits_count() -> None:
    x = wg.ones(70_000, requires_grad=True)
    joined = wg.stack(x.unbind()[::2])
    assert joined.shape == (35_000,)
    (g,) = wg.autograd.grad(joined.sum(), x)
    assert g.sum().item() == 35_000
    y = wg.cat([x[:1]] * 70_000)
    (g,) = wg.autograd.grad(y.sum(), x)
    assert g[0].item() == 70_000


# --- in place ------------------------------------------------------------------------------------


def test_a_recorded_result_takes_another_shape() -> None:
    x = wg.randn(2, 3, dtype=wg.float64, requires_grad=True)

    def through(x: Any) -> Any:
        y = x * 2
        y.t_().unsqueeze_(1)
        y = y * wg.arange(2).double()
        y.squeeze_().transpose_(0, 1)
        return y.sin()

    assert through(x).shape == (2, 3)
    assert gradcheck(through, [x])
    assert gradgradcheck(through, [x])


def test_views_from_before_a_change_of_shape() -> None:
    x = wg.ones(2, 3, requires_grad=True)
    y = x * 3
    before = y[0]
    y.t_()
    (before * wg.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[3.0, 6.0, 9.0], [0.0, 0.0, 0.0]]


def test_changes_of_shape_that_cannot_be_recorded() -> None:
    x = wg.ones(2, 3, requires_grad=True)
    y = x * 1
    with wg.no_grad(), pytest.raises(RuntimeError, match=r"^t_: "):
        y.t_()
    with pytest.raises(RuntimeError, match=r"^unsqueeze_: a view of a leaf"):
        x[0].unsqueeze_(0)
    with wg.no_grad():
        x.t_()
    (x * 2).sum().backward()
    assert x.grad is not None
    assert x.grad.shape == x.shape == (3, 2)


def test_changes_of_the_shape_of_views_are_recorded() -> None:
    x = wg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]], requires_grad=True)
    y = x * 1
    v = y[:, 1:]
    v.t_().unsqueeze_(0)
    y.mul_(wg.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    assert v.tolist() == [[[4.0, 25.0], [9.0, 36.0]]]
    (v * wg.tensor([[10.0, 100.0]])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [[0.0, 20.0, 30.0], [0.0, 500.0, 600.0]]


# --- bits, formats, sizes ------------------------------------------------------------------------


@needs_torch
def test_view_as_another_dtype() -> None:
    a = np.linspace(-3, 3, 24, dtype="float32").reshape(2, 3, 4)
    x, t = wg.from_numpy(a), torch.from_numpy(a)
    for ours, theirs in ((wg.int32, torch.int32), (wg.float64, torch.float64),
                         (wg.uint8, torch.uint8), (wg.int16, torch.int16)):  # fmt: skip
        got, want = x.view(ours), t.view(theirs)
        assert got.stride() == want.stride()
        np.testing.assert_array_equal(got.numpy(), want.numpy())
    x.view(wg.int32)[0, 0, 0] = 0
    assert a[0, 0, 0] == 0
    assert not x.requires_grad_().view(wg.int32).requires_grad


@needs_torch
def test_memory_formats() -> None:
    a = np.arange(120, dtype="float32").reshape(2, 3, 4, 5)
    x, t = wg.from_numpy(a), torch.from_numpy(a)
    for name in ("contiguous_format", "channels_last"):
        ours, theirs = getattr(wg, name), getattr(torch, name)
        assert repr(ours) == f"wengert.{name}"
        got, want = x.contiguous(memory_format=ours), t.contiguous(memory_format=theirs)
        assert got.stride() == want.stride()
        assert got.is_contiguous(memory_format=ours)
        assert got.is_contiguous() == want.is_contiguous()
        assert got.contiguous(memory_format=ours) is got
        np.testing.assert_array_equal(got.numpy(), want.numpy())
        assert x.clone(memory_format=ours).stride() == got.stride()
    assert x.clone(memory_format=wg.preserve_format).tolist() == a.tolist()
    assert not x[0].is_contiguous(memory_format=wg.channels_last)
    with pytest.raises(RuntimeError, match="channels_last needs"):
        x[0].contiguous(memory_format=wg.channels_last)


def test_sizes_by_name() -> None:
    x = wg.ones(2, 3)
    assert (x.size(dim=1), x.stride(dim=0), x.element_size(), x.itemsize, x.nbytes) == (
        3, 3, 4, 4, 24)  # fmt: skip
    assert (x.ndimension(), x.nelement(), x[1].storage_offset()) == (2, 6, 3)
    assert x.narrow(0, wg.tensor(1), 1).tolist() == [[1, 1, 1]]


@pytest.mark.parametrize(
    "shapes", [(), ((2, 1), (3,)), (2, (3, 1)), ((0,), (1,)), ((5, 1, 4), (1,), (3, 1))]
)
def test_broadcast_shapes(shapes: tuple[Any, ...]) -> None:
    got = wg.broadcast_shapes(*shapes)
    assert type(got) is wg.Size
    assert got == np.broadcast_shapes(*shapes)


def test_broadcast_shapes_that_do_not() -> None:
    with pytest.raises(RuntimeError, match=r"\(2,\), \(3,\) do not broadcast"):
        wg.broadcast_shapes((2,), (3,))
    with pytest.raises(RuntimeError):
        wg.broadcast_shapes((0,), (2,))
    with pytest.raises(ValueError, match="negative"):
        wg.broadcast_shapes((-1,))
    with pytest.raises(TypeError):
        wg.broadcast_shapes((2.5,))  # type: ignore[arg-type]


def test_without_arguments() -> None:
    assert wg.broadcast_tensors() == ()
    assert wg.atleast_3d() == ()
    assert wg.block_diag().shape == (1, 0)
    assert wg.ones(0, 3).unbind() == ()
    assert wg.repeat_interleave(wg.tensor([1, 0, 2])).tolist() == [0, 2, 2]
    assert wg.repeat_interleave(wg.tensor([1, 2]), output_size=3).tolist() == [0, 1, 1]


@needs_torch
def test_names_of_arguments() -> None:
    for m in (wg, torch):
        x = m.ones(4, 4)
        assert len(m.split(tensor=x, split_size_or_sections=2)) == 2
        assert len(x.split(split_size=[1, 3], dim=1)) == 2
        assert len(x.tensor_split(sections=2)) == 2
        assert len(x.tensor_split(indices=(1, 2))) == 3
        assert m.moveaxis(x, source=0, destination=1).shape == (4, 4)
        assert m.cat([x, x], axis=1).shape == (4, 8)
        assert m.roll(x, shifts=1, dims=0).shape == (4, 4)
        assert x.unfold(dimension=0, size=2, step=1).shape == (3, 4, 2)
