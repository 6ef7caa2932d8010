"""Hostile arguments of views and joins: PyTorch's error, at once, without taking memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
from oracle import assert_torch_refuses

if TYPE_CHECKING:
    from collections.abc import Callable

HUGE = 2**62
BAD: dict[str, tuple[Callable[[Any], Any], type[Exception], str]] = {
    # sizes whose product does not fit
    "expand": (lambda m: m.ones(1).expand(2**40, 2**40), RuntimeError, "too many elements"),
    "expand zero": (lambda m: m.ones(0).expand(HUGE, HUGE, 0), RuntimeError, "too many"),
    "reshape": (lambda m: m.ones(2).reshape(2**32, 2**32), RuntimeError, "^reshape: .*size 2"),
    "view": (lambda m: m.ones(2).view(HUGE, 4), RuntimeError, "^view: .*size 2"),
    "view of none": (lambda m: m.ones(0).view(HUGE, 4, 0), RuntimeError, "^view|too many"),
    "empty": (lambda m: m.empty(2**40, 2**40, 0), RuntimeError, "too many"),
    "repeat": (lambda m: m.ones(2, 3).repeat(HUGE, 2), RuntimeError, "^repeat: .*too many"),
    "repeat all": (lambda m: m.ones(1).repeat(2**40, 2**40), RuntimeError, "too many"),
    "tile": (lambda m: m.ones(2).tile(HUGE, HUGE), RuntimeError, "too many"),
    "repeat_interleave": (
        lambda m: m.ones(2, 3).repeat_interleave(HUGE, 0), RuntimeError, "too many"),
    "repeat_interleave by": (
        lambda m: m.ones(2).repeat_interleave(m.tensor([HUGE, HUGE])), RuntimeError, "too many"),
    "repeat_interleave one": (
        lambda m: m.ones(2).repeat_interleave(m.tensor([HUGE, 2])), RuntimeError, ""),
    "diag_embed": (lambda m: m.diag_embed(m.ones(2), HUGE), RuntimeError, "too many"),
    "diag_embed least": (lambda m: m.diag_embed(m.ones(2), -(2**63)), RuntimeError, "too many"),
    "combinations": (lambda m: m.combinations(m.ones(1000), 500), RuntimeError, "too many"),
    "pad": (lambda m: m.nn.functional.pad(m.ones(2, 3), (HUGE, HUGE)), RuntimeError, "^pad: "),
    "pad one": (lambda m: m.nn.functional.pad(m.ones(2, 3), (HUGE, 0)), RuntimeError, "too many"),
    "unflatten": (
        lambda m: m.ones(2, 3).unflatten(1, (2**40, 2**40, -1)), RuntimeError, "^unflatten: "),
    "tensor_split": (lambda m: m.ones(2).tensor_split(2**50), RuntimeError, "pieces"),
    "unfold": (lambda m: m.ones(2, 3).unfold(0, 1, HUGE), RuntimeError, "^unfold: "),
    # numbers that no int64 holds
    "int": (lambda m: m.ones(2).narrow(0, 2**70, 1), ValueError, "64 bits"),
    "ints": (lambda m: m.ones(2).view((2**70,)), TypeError, "64 bits"),
    "int of a list": (lambda m: m.ones(2).split([2**70]), TypeError, "64 bits"),
    # dimensions
    "movedim": (lambda m: m.ones(2, 3).movedim(2, 0), IndexError, r"^movedim: .*\[-2, 1\].*2"),
    "movedim twice": (lambda m: m.ones(2, 3).movedim((0, 0), (1, 0)), RuntimeError, "multiple"),
    "movedim lengths": (lambda m: m.ones(2, 3).movedim((0, 1), (1,)), RuntimeError, "^movedim: "),
    "swapaxes": (lambda m: m.ones(2, 3).swapaxes(0, 9), IndexError, "9"),
    "squeeze twice": (lambda m: m.ones(1, 3).squeeze((0, 0)), RuntimeError, "^squeeze: .*multiple"),
    "squeeze far": (lambda m: m.ones(1).squeeze(HUGE), IndexError, "^squeeze: "),
    "flatten": (lambda m: m.ones(2).flatten(-(2**63)), IndexError, "^flatten: "),
    "flip": (lambda m: m.ones(2, 3).flip(5), IndexError, "^flip: .*5"),
    "flip twice": (lambda m: m.ones(2, 3).flip(0, -2), RuntimeError, "^flip: .*multiple"),
    "fliplr": (lambda m: m.ones(3).fliplr(), RuntimeError, "^fliplr: "),
    "flipud": (lambda m: m.ones(()).flipud(), RuntimeError, "^flipud: "),
    "rot90 same": (lambda m: m.ones(2, 3).rot90(1, (0, 0)), RuntimeError, "^rot90: .*different"),
    "rot90 count": (lambda m: m.ones(2, 3).rot90(1, (0, 1, 1)), RuntimeError, "^rot90: "),
    "rot90 range": (lambda m: m.ones(2, 3).rot90(1, (0, 5)), IndexError, "^rot90: .*5"),
    "rot90 vector": (lambda m: m.ones(3).rot90(), RuntimeError, "^rot90: .*1"),
    "roll dim": (lambda m: m.ones(2, 3).roll(1, 5), IndexError, "^roll: .*5"),
    "roll lengths": (lambda m: m.ones(2, 3).roll((1, 2), 0), RuntimeError, "2.*1"),
    "roll flat": (lambda m: m.ones(2, 3).roll((1, 2)), RuntimeError, "2.*0"),
    "roll nothing": (lambda m: m.ones(2, 3).roll((), ()), RuntimeError, "^roll: .*required"),
    "roll number": (lambda m: m.ones(()).roll(1, 0), IndexError, "^roll: "),
    "diagonal same": (lambda m: m.ones(2, 3).diagonal(0, 0, -2), RuntimeError, "identical"),
    "diagonal vector": (lambda m: m.ones(3).diagonal(), IndexError, "^diagonal: "),
    "diagonal far": (lambda m: m.ones(2, 3).diagonal(dim1=2**40), IndexError, "^diagonal: "),
    "diag": (lambda m: m.diag(m.ones(2, 2, 2)), RuntimeError, "^diag: .*3D"),
    "diag number": (lambda m: m.diag(m.ones(())), RuntimeError, "^diag: .*0D"),
    "diag_embed number": (lambda m: m.diag_embed(m.ones(())), IndexError, "^diag_embed: "),
    "tril": (lambda m: m.ones(3).tril(), RuntimeError, "^tril: .*1"),
    "triu": (lambda m: m.ones(()).triu(), RuntimeError, "^triu: .*0"),
    "select": (lambda m: m.ones(2, 3).select(0, 2), IndexError, r"^select: .*2.*\(2, 3\)"),
    "select least": (lambda m: m.ones(2).select(0, -(2**63)), IndexError, "^select: "),
    "select number": (lambda m: m.ones(()).select(0, 0), IndexError, "^select: "),
    "unbind": (lambda m: m.ones(2, 3).unbind(7), IndexError, "^unbind: .*7"),
    "unbind number": (lambda m: m.ones(()).unbind(), IndexError, "^unbind: "),
    # lengths and counts
    "narrow end": (lambda m: m.ones(2).narrow(0, 1, 2**63 - 1), RuntimeError, "^narrow: .*exceeds"),
    "narrow start": (lambda m: m.ones(2).narrow(0, HUGE, HUGE), IndexError, "^narrow: .*start"),
    "narrow before": (lambda m: m.ones(2).narrow(0, -3, 1), IndexError, "^narrow: .*-3"),
    "narrow length": (lambda m: m.ones(2).narrow(0, 0, -1), RuntimeError, "^narrow: .*-1"),
    "split zero": (lambda m: m.ones(2).split(0), RuntimeError, "^split: .*size of 2"),
    "split negative": (lambda m: m.ones(2).split(-1), RuntimeError, "^split: .*-1"),
    "split number": (lambda m: m.ones(()).split(1), RuntimeError, "^split: "),
    "split sum": (lambda m: m.ones(2).split([1, 2]), RuntimeError, "exactly to 2"),
    "split minus": (lambda m: m.ones(2).split([3, -1]), RuntimeError, "split_with_sizes: "),
    "split nothing": (lambda m: m.ones(2).split([]), RuntimeError, "exactly to 2"),
    "split dim": (lambda m: m.split(m.ones(2), 2, dim=5), IndexError, "^split: .*5"),
    "chunk zero": (lambda m: m.ones(2).chunk(0), RuntimeError, "^chunk: .*0"),
    "chunk number": (lambda m: m.ones(()).chunk(2), RuntimeError, "^chunk: "),
    "tensor_split zero": (lambda m: m.ones(2).tensor_split(0), RuntimeError, "larger than 0"),
    "tensor_split number": (lambda m: m.ones(()).tensor_split(2), RuntimeError, "^tensor_split: "),
    "tensor_split float": (
        lambda m: m.ones(2).tensor_split(m.ones(1)), RuntimeError, "^tensor_split: .*float32"),
    "hsplit": (lambda m: m.ones(2, 3).hsplit(2), RuntimeError, "^hsplit: .*3.*2"),
    "hsplit zero": (lambda m: m.ones(2, 3).hsplit(0), RuntimeError, "^hsplit: .*0"),
    "vsplit": (lambda m: m.ones(3).vsplit(1), RuntimeError, "^vsplit: "),
    "dsplit": (lambda m: m.ones(2, 3).dsplit(1), RuntimeError, "^dsplit: "),
    "unfold size": (lambda m: m.ones(8).unfold(0, 9, 2), RuntimeError, "^unfold: .*8.*9"),
    "unfold step": (lambda m: m.ones(8).unfold(0, 3, 0), RuntimeError, "^unfold: .*0"),
    "unfold negative": (lambda m: m.ones(8).unfold(0, -1, 1), RuntimeError, "^unfold: .*-1"),
    "unfold dim": (lambda m: m.ones(8).unfold(1, 2, 1), IndexError, "^unfold: "),
    "repeat few": (lambda m: m.ones(2, 3).repeat(2), RuntimeError, "^repeat: .*smaller"),
    "repeat negative": (lambda m: m.ones(2, 3).repeat(2, -1), RuntimeError, "^repeat: .*-1"),
    "tile negative": (lambda m: m.ones(2, 3).tile(-1), RuntimeError, "^tile: .*-1"),
    "interleave negative": (lambda m: m.ones(2).repeat_interleave(-2), RuntimeError, "-2"),
    "interleave count": (
        lambda m: m.ones(2).repeat_interleave(m.tensor([1, 2, 3]), 0), RuntimeError, "3.*2"),
    "interleave one negative": (
        lambda m: m.ones(2).repeat_interleave(m.tensor([1, -2])), RuntimeError, "-2"),
    "interleave matrix": (
        lambda m: m.ones(2).repeat_interleave(m.tensor([[1, 2]])), RuntimeError, "0-dim or 1-dim"),
    "interleave float": (
        lambda m: m.ones(2).repeat_interleave(m.ones(2)), RuntimeError, "float32"),
    "interleave output": (
        lambda m: m.ones(2).repeat_interleave(m.tensor([1, 2]), output_size=4),
        RuntimeError, "4.*3"),
    "interleave output int": (
        lambda m: m.ones(2).repeat_interleave(2, output_size=3), RuntimeError, "4.*3"),
    "unflatten size": (lambda m: m.ones(2, 3).unflatten(1, (2, -1)), RuntimeError, "3"),
    "unflatten empty": (lambda m: m.ones(2, 3).unflatten(1, ()), RuntimeError, "non-empty"),
    "unflatten dim": (lambda m: m.ones(2, 3).unflatten(-3, (1,)), IndexError, "^unflatten: "),
    "sum_to_size": (lambda m: m.ones(2, 3).sum_to_size(4), RuntimeError, r"\(4,\).*\(2, 3\)"),
    "sum_to_size more": (lambda m: m.ones(3).sum_to_size(2, 3), RuntimeError, "^sum_to_size: "),
    "expand_as": (lambda m: m.ones(2).expand_as(m.ones(3)), RuntimeError, "^expand: "),
    "view dtype": (lambda m: m.ones(2, 3).view(m.float64), RuntimeError, "divisible"),
    "view dtype stride": (lambda m: m.ones(2, 2).t().view(m.float64), RuntimeError, "stride"),
    "view dtype number": (lambda m: m.ones(()).view(m.float64), RuntimeError, "0-dim"),
    # joins
    "hstack": (lambda m: m.hstack([m.ones(2), m.ones(3, 1)]), RuntimeError, "^cat: "),
    "hstack nothing": (lambda m: m.hstack([]), RuntimeError, "non-empty"),
    "vstack": (lambda m: m.vstack([m.ones(2), m.ones(3)]), RuntimeError, "^cat: "),
    "dstack nothing": (lambda m: m.dstack([]), RuntimeError, "non-empty"),
    "column_stack": (lambda m: m.column_stack([m.ones(2), m.ones(3)]), RuntimeError, "^cat: "),
    "block_diag": (lambda m: m.block_diag(m.ones(2, 2, 2)), RuntimeError, "^block_diag: .*3"),
    "broadcast_tensors": (
        lambda m: m.broadcast_tensors(m.ones(2), m.ones(3)), RuntimeError, "2.*3"),
    "meshgrid": (lambda m: m.meshgrid(m.ones(2, 2), indexing="ij"), RuntimeError, "^meshgrid: "),
    "meshgrid dtype": (
        lambda m: m.meshgrid(m.ones(2), m.ones(2).long(), indexing="ij"), RuntimeError, "dtype"),
    "meshgrid indexing": (lambda m: m.meshgrid(m.ones(2), indexing="zz"), RuntimeError, "zz"),
    "meshgrid nothing": (lambda m: m.meshgrid(), RuntimeError, "non-empty"),
    "cartesian_prod": (lambda m: m.cartesian_prod(m.ones(2, 2)), RuntimeError, "1D"),
    "combinations shape": (lambda m: m.combinations(m.ones(3, 3)), RuntimeError, "1D"),
    "combinations negative": (lambda m: m.combinations(m.ones(3), r=-1), RuntimeError, "-1"),
    # padding
    "pad odd": (lambda m: m.nn.functional.pad(m.ones(2), (1,)), RuntimeError, "divisible by 2"),
    "pad long": (lambda m: m.nn.functional.pad(m.ones(2), (1, 1, 1, 1)), RuntimeError, "^pad: .*4"),
    "pad away": (lambda m: m.nn.functional.pad(m.ones(3), (-4, 3)), RuntimeError, "^pad: .*-4"),
    "pad mode": (
        lambda m: m.nn.functional.pad(m.ones(2), (1, 1), "no"), NotImplementedError, "no"),
    "pad reflect": (
        lambda m: m.nn.functional.pad(m.ones(2, 3), (3, 0), "reflect"), RuntimeError, "less than"),
    "pad circular": (
        lambda m: m.nn.functional.pad(m.ones(2, 3), (4, 0), "circular"), RuntimeError, "wraps"),
    "pad vector": (
        lambda m: m.nn.functional.pad(m.ones(4), (1, 1), "reflect"), NotImplementedError, "1D"),
    "pad value": (
        lambda m: m.nn.functional.pad(m.ones(2, 3), (1, 1), "reflect", 2.0), RuntimeError, "value"),
    "pad replicate": (
        lambda m: m.nn.functional.pad(m.ones(2, 4), (-2, -2), "replicate"), RuntimeError, "small"),
    "pad of nothing": (
        lambda m: m.nn.functional.pad(m.ones(2, 0), (1, 1), "replicate"), RuntimeError, "small"),
    # in place
    "t_ of a leaf": (lambda m: m.ones(2, 3, requires_grad=True).t_(), RuntimeError, "^t_: .*leaf"),
    "t_": (lambda m: m.ones(2, 3, 4).t_(), RuntimeError, "3D"),
    "unsqueeze_": (lambda m: m.ones(2).unsqueeze_(3), IndexError, "3"),
    "H": (lambda m: m.ones(2, 3, 4).H, RuntimeError, "^H: .*3-D"),
    "mT": (lambda m: m.ones(3).mT, RuntimeError, "^mT: .*1-D"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "kind", "text"), BAD.values(), ids=BAD)
def test_bad_call(call: Callable[[Any], Any], kind: Any, text: str) -> None:
    with pytest.raises(kind, match=rf"(?s){text}") as ours:
        call(wg)
    assert_torch_refuses(call, ours.type)


def test_sums_of_sizes_do_not_wrap_around() -> None:
    """PyTorch adds these up modulo 2^64, and goes on."""
    with pytest.raises(RuntimeError, match="exactly to 2"):
        wg.ones(2).split([HUGE] * 4 + [2])
    with pytest.raises(RuntimeError, match="too many"):
        wg.cat([wg.ones(1).expand(HUGE)] * 4)


def test_extreme_but_valid_numbers() -> None:
    x = wg.arange(6).reshape(2, 3)
    assert x.roll(2**63 - 1, 1).tolist() == [[2, 0, 1], [5, 3, 4]]  # 2^63 - 1 is 1 more than 3 n
    assert x.roll(-(2**63), 1).tolist() == x.roll(1, 1).tolist()
    assert x.rot90(2**62).tolist() == x.tolist()
    assert x.tril(2**63 - 1).tolist() == x.triu(-(2**63)).tolist() == x.tolist()
    assert x.diagonal(2**63 - 1).shape == x.diagonal(-(2**63)).shape == (0,)
    assert [p.tolist() for p in x.split(2**63 - 1)] == [x.tolist()]
    assert len(x.chunk(2**62)) == 2
    assert [tuple(p.shape) for p in x.tensor_split([-10, 10, HUGE])] == [
        (0, 3),
        (2, 3),
        (0, 3),
        (0, 3),
    ]
    assert wg.ones(1).expand(HUGE).shape == (HUGE,)
    assert wg.zeros(0, 2).expand(0, 2).repeat(3, 2).shape == (0, 4)
