"""Bad calls: the type of the error is PyTorch's, and its text says what was seen."""

from __future__ import annotations

import inspect
import re
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg
from oracle import assert_torch_refuses

if TYPE_CHECKING:
    from collections.abc import Callable

# A call of a library, the type it raises, and what the text must hold.
BAD: list[tuple[Callable[[Any], Any], type[Exception], str]] = [
    # shapes
    (lambda m: m.ones(2, 3) + m.ones(4), RuntimeError, r"^add: .*\(2, 3\).*\(4,?\)"),
    (
        lambda m: m.ones(2, 3).mul_(m.ones(5, 2, 3)),
        RuntimeError,
        r"^mul_?: .*\(2, 3\).*\(5, 2, 3\)",
    ),
    (lambda m: m.ones(2).add_(m.ones(3, 2)), RuntimeError, r"^add_?: .*\(2,?\).*\(3, 2\)"),
    (lambda m: m.ones(2, 3) @ m.ones(4, 5), RuntimeError, r"^matmul: .*\(2, 3\).*\(4, 5\)"),
    (lambda m: m.ones(3) @ m.ones(4), RuntimeError, r"^matmul: .*\(3,?\).*\(4,?\)"),
    (lambda m: m.ones(()) @ m.ones(4), RuntimeError, r"^matmul: .*0D.*1D"),
    (lambda m: m.mm(m.ones(3), m.ones(3, 2)), RuntimeError, r"^mm: .*\(3,?\).*\(3, 2\)"),
    (
        lambda m: m.nn.functional.linear(m.ones(2, 3), m.ones(4, 5)),
        RuntimeError,
        r"^linear: .*\(2, 3\).*\(4, 5\)",
    ),
    (
        lambda m: m.nn.functional.linear(m.ones(2, 3), m.ones(4, 3), m.ones(3)),
        RuntimeError,
        r"^linear: .*\(3,?\).*\(4, 3\)",
    ),
    (lambda m: m.ones(2, 3).view(5), RuntimeError, r"^view: .*\(5,?\).*6"),
    (lambda m: m.ones(2, 3).t().view(6), RuntimeError, r"^view: .*\(6,?\).*\(3, 2\).*reshape"),
    (lambda m: m.ones(2, 3).reshape(-1, -1), RuntimeError, r"^reshape: .*\(-1, -1\)"),
    (lambda m: m.ones(2, 3).reshape(4, -1), RuntimeError, r"^reshape: .*\(4, -1\).*6"),
    (lambda m: m.ones(0).reshape(0, -1), RuntimeError, r"^reshape: .*ambiguous"),
    (lambda m: m.ones(2, 3).reshape(-2, 3), RuntimeError, r"^reshape: .*-2"),
    (lambda m: m.ones(2, 3).expand(2, 4), RuntimeError, r"^expand: .*\(2, 4\).*\(2, 3\)"),
    (lambda m: m.ones(2, 3).expand(3), RuntimeError, r"^expand: .*\b1\b.*\b2\b"),
    (lambda m: m.ones(2, 3).permute(0), RuntimeError, r"^permute: .*2 vs 1"),
    (lambda m: m.ones(2, 3).permute(0, 0), RuntimeError, r"^permute: .*\(0, 0\)"),
    (lambda m: m.ones(2, 3, 4).t(), RuntimeError, r"^t: .*3D"),
    (lambda m: m.ones(4).narrow(0, 2, 3), RuntimeError, r"^narrow: .*\(2\).*\(3\).*\(4\)"),
    (lambda m: m.cat([m.ones(2, 3), m.ones(3, 2)]), RuntimeError, r"^cat: .*\(2, 3\).*\(3, 2\)"),
    (lambda m: m.cat([m.ones(2, 3), m.ones(3)]), RuntimeError, r"^cat: .*\(2, 3\).*\(3,?\)"),
    (lambda m: m.cat([m.ones(()), m.ones(())]), RuntimeError, "^cat: .*zero-dimensional"),
    (lambda m: m.stack([m.ones(2), m.ones(3)]), RuntimeError, r"^stack: .*\(2,?\).*\(3,?\)"),
    (lambda m: m.stack([]), RuntimeError, "non-empty"),
    (
        lambda m: m.ones(2, 3).copy_(m.ones(4)),
        RuntimeError,
        r"^copy_: .*\(2, 3\).*\(4,?\)|\(4,?\).*\(2, 3\)",
    ),
    (
        lambda m: m.nn.functional.mse_loss(m.ones(2, 3), m.ones(2, 4)),
        RuntimeError,
        r"\(2, 3\).*\(2, 4\)",
    ),
    (
        lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.zeros(3, dtype=m.int64)),
        ValueError,
        r"^cross_entropy: .*\(3,?\).*\(2, 3\)",
    ),
    (lambda m: m.zeros(-1), RuntimeError, "-1"),
    # dimensions and indices
    (lambda m: m.ones(2, 3).sum(2), IndexError, r"^sum: .*\[-2, 1\].*2"),
    (lambda m: m.ones(2, 3).sum((0, 0)), RuntimeError, "^sum: .*0.*multiple"),
    (lambda m: m.ones(2, 3).transpose(0, 5), IndexError, r"^transpose: .*\[-2, 1\].*5"),
    (lambda m: m.ones(2).unsqueeze(3), IndexError, r"^unsqueeze: .*\[-2, 1\].*3"),
    (lambda m: m.ones(2).squeeze(1), IndexError, "^squeeze: .*1"),
    (lambda m: m.ones(2, 3).softmax(2), IndexError, "^softmax: .*2"),
    (lambda m: m.ones(2, 3).flatten(1, 0), RuntimeError, "^flatten: .*1.*0"),
    (lambda m: m.ones(2, 3).size(2), IndexError, "2"),
    (lambda m: m.zeros(0).amax(), RuntimeError, r"^amax: .*\(0,?\)"),
    (lambda m: m.zeros(2, 0).amax(1), IndexError, r"^amax: .*\(2, 0\)"),
    (lambda m: m.zeros(0).argmax(), IndexError, "^argmax"),
    (lambda m: m.ones(2, 3)[2], IndexError, "2 is out of bounds.* size 2"),
    (lambda m: m.ones(2, 3)[0, 0, 0], IndexError, "dimension 2"),
    (lambda m: m.ones(2, 3)[::-1], ValueError, "greater than zero"),
    (lambda m: m.ones(3)[[0, 5]], IndexError, "5 is out of bounds.* size 3"),
    (lambda m: m.ones(2, 3).__setitem__(0, m.ones(2)), RuntimeError, r"\(2,?\).*\(3,?\)"),
    (lambda m: m.ones(3).index_select(0, m.ones(2)), RuntimeError, "^index_select: .*float32"),
    (lambda m: m.ones(3).index_select(0, m.tensor([3])), IndexError, "^index_select: .*3.*size 3"),
    (
        lambda m: m.nn.functional.cross_entropy(m.ones(2, 3), m.tensor([0, 3])),
        IndexError,
        "^cross_entropy: .*3",
    ),
    # dtypes
    (lambda m: -m.ones(2, dtype=m.bool), RuntimeError, "^neg: .*bool"),
    (lambda m: m.ones(2, dtype=m.bool) - m.ones(2, dtype=m.bool), RuntimeError, "^sub: .*bool"),
    (lambda m: m.ones(2, dtype=m.int64).mean(), RuntimeError, "^mean: .*(int64|Long)"),
    (
        lambda m: m.ones(2, 2) @ m.ones(2, 2, dtype=m.float64),
        RuntimeError,
        "^matmul: .*float32.*float64",
    ),
    (lambda m: m.ones(2, dtype=m.int64).add_(1.5), RuntimeError, "^add_: .*float32.*int64"),
    (lambda m: m.ones(2, dtype=m.int64).exp_(), RuntimeError, "^exp_: .*float32.*int64"),
    (lambda m: m.tensor([1, 2]) ** -1, RuntimeError, "^pow: .*negative"),
    (lambda m: m.where(m.ones(2), m.ones(2), m.zeros(2)), RuntimeError, "^where: .*bool.*float32"),
    (lambda m: m.rand(2, dtype=m.int64), RuntimeError, "int64"),
    (lambda m: m.ones(2, dtype=m.int64).normal_(), RuntimeError, "^normal_: .*int64"),
    (lambda m: m.ones(2, dtype=m.int64).requires_grad_(), RuntimeError, "floating"),
    # arguments
    (lambda m: m.exp(), TypeError, r"^exp\(\).*input"),
    (lambda m: m.exp([1, 2]), TypeError, r"^exp\(\).*'input' must be Tensor, not list"),
    (lambda m: m.ones(2).sum(dim="a"), TypeError, r"^sum\(\).*'dim'.*str"),
    (lambda m: m.ones(2).sum(0, 1, 2, 3), TypeError, r"^sum\(\) takes .*keepdim.*4|5"),
    (lambda m: m.ones(2).sum(size=3), TypeError, r"^sum\(\).*unexpected.*'size'"),
    (lambda m: m.ones(2).sum(0, dim=0), TypeError, r"^sum\(\).*'dim'"),
    (lambda m: m.ones(2.5), TypeError, r"^ones\(\).*float"),
    (lambda m: m.cat(m.ones(2)), TypeError, r"^cat\(\).*Tensor"),
    (lambda m: m.ones(2, dtype="float32"), TypeError, r"^ones\(\).*dtype.*str"),
    (lambda m: m.ones(2) + "a", TypeError, ""),
    (lambda m: m.ones(2) + None, TypeError, ""),
    (lambda m: m.ones(2) + [1, 2], TypeError, ""),
    (lambda m: m.ones(2) @ 2, TypeError, ""),
    (lambda m: m.nn.functional.gelu(m.ones(2), approximate="no"), RuntimeError, "^gelu: .*'no'"),
    (
        lambda m: m.nn.functional.mse_loss(m.ones(2), m.ones(2), reduction="no"),
        ValueError,
        "^mse_loss: .*no",
    ),
    (lambda m: m.tensor([[1], [2, 3]]), ValueError, "^tensor: .*dim 1"),
    (lambda m: m.tensor([1, [2]]), TypeError, "list"),
    (lambda m: m.tensor("a"), TypeError, "str"),
    (lambda m: m.tensor([object()]), RuntimeError, "object"),
    (lambda m: m.arange(0, 5, -1), RuntimeError, "^arange: .*0.*5.*-1"),
    (lambda m: m.arange(0, 5, 0), RuntimeError, "^arange: .*nonzero"),
    (lambda m: m.randint(3, 3, (2,)), RuntimeError, "^randint: .*3.*3"),
    (lambda m: m.randperm(-1), RuntimeError, "^randperm: .*-1"),
    (lambda m: m.ones(2).uniform_(3, 1), RuntimeError, "^uniform_: .*3.*1"),
    (lambda m: m.ones(2).normal_(0, -1), RuntimeError, "^normal_: .*-1"),
    (lambda m: m.ones(2).uniform_(float("nan"), 1), RuntimeError, "^uniform_: .*nan"),
    (lambda m: m.ones(2).uniform_(0, float("inf")), RuntimeError, "^uniform_: .*inf"),
    (lambda m: m.ones(2).uniform_(-3e38, 3e38), RuntimeError, "^uniform_: .*3e"),
    (lambda m: m.ones(2).normal_(0, float("nan")), RuntimeError, "^normal_: .*nan"),
    (lambda m: m.ones(2).exponential_(0), RuntimeError, "^exponential_: .*0"),
    (lambda m: m.ones(2).cauchy_(0, -1), RuntimeError, "^cauchy_: .*-1"),
    (lambda m: m.ones(2).log_normal_(0, 0), RuntimeError, "^log_normal_: .*0"),
    (lambda m: m.ones(2).geometric_(1), RuntimeError, "^geometric_: .*1"),
    (lambda m: m.ones(2).geometric_(float("nan")), RuntimeError, "^geometric_: .*nan"),
    (lambda m: m.ones(2).random_(5, 2), RuntimeError, "^random_: .*5.*2"),
    (lambda m: m.ones(2, dtype=m.uint8).random_(0, 300), RuntimeError, "^random_: .*299.*uint8"),
    (lambda m: m.ones(2).bernoulli_(1.5), RuntimeError, r"^bernoulli_: .*1\.5"),
    (lambda m: m.bernoulli(m.ones(2) * 2), RuntimeError, "^bernoulli: "),
    (lambda m: m.bernoulli(m.tensor([float("nan")])), RuntimeError, "^bernoulli: "),
    (lambda m: m.bernoulli(m.tensor([1])), RuntimeError, "^bernoulli: .*int64"),
    (lambda m: m.ones(2).bernoulli_(m.ones(3, 2)), RuntimeError, "^expand: .*1.*2"),
    (lambda m: m.normal(m.ones(2), -m.ones(2)), RuntimeError, "^normal: .*std"),
    (lambda m: m.normal(m.ones(2), m.ones(3)), RuntimeError, r"^normal: .*\(2,?\).*\(3,?\)"),
    (lambda m: m.normal(0.0, -1.0, (2,)), RuntimeError, "^normal: .*-1"),
    (lambda m: m.normal(0.0, 1.0), TypeError, r"^normal\(\)"),
    (lambda m: m.poisson(-m.ones(2)), RuntimeError, "^poisson: .*rate"),
    (lambda m: m.poisson(m.tensor([1])), RuntimeError, "^poisson: .*int64"),
    (lambda m: m.multinomial(m.ones(3), 5), RuntimeError, "^multinomial: .*5.*3"),
    (lambda m: m.multinomial(m.ones(3), 0), RuntimeError, "^multinomial: .*0"),
    (lambda m: m.multinomial(m.zeros(3), 1), RuntimeError, "^multinomial: .*sum"),
    (lambda m: m.multinomial(m.tensor([1.0, -1.0]), 1), RuntimeError, "^multinomial: .*-1"),
    (lambda m: m.multinomial(m.tensor([float("nan")]), 1, True), RuntimeError, "nan"),
    (lambda m: m.multinomial(m.tensor([float("inf")]), 1), RuntimeError, "inf"),
    (lambda m: m.multinomial(m.tensor([1, 2]), 1), RuntimeError, "^multinomial: .*int64"),
    (lambda m: m.multinomial(m.ones(2, 2, 2), 1), RuntimeError, r"^multinomial: .*\(2, 2, 2\)"),
    (lambda m: m.multinomial(m.ones(0), 1, True), RuntimeError, r"^multinomial: .*\(0,?\)"),
    (lambda m: m.randint(300, (2,), dtype=m.uint8), RuntimeError, "^randint: .*299.*uint8"),
    (lambda m: m.randint(0, 2**64, (2,)), ValueError, "[Oo]verflow|too (big|large)"),
    (lambda m: m.randint(0, 2.5, (2,)), TypeError, r"^randint\(\)"),
    (lambda m: m.randint(3, (-1,)), RuntimeError, "-1"),
    (lambda m: m.randint(3, (2,), requires_grad=True), RuntimeError, "floating"),
    (lambda m: m.randperm(300, dtype=m.uint8), RuntimeError, "^randperm: .*300.*uint8"),
    (lambda m: m.randperm(1, dtype=m.bool), NotImplementedError, "bool"),
    (lambda m: m.rand(2, generator=3), TypeError, r"^rand\(\).*'generator'.*int"),
    (lambda m: m.nn.functional.dropout(m.ones(2), 1.5), ValueError, r"^dropout: .*1\.5"),
    (lambda m: m.nn.functional.dropout(m.tensor([1])), RuntimeError, "^dropout: .*int64"),
    (
        lambda m: m.nn.functional.dropout(m.ones(2, requires_grad=True), inplace=True),
        RuntimeError,
        "leaf",
    ),
    (lambda m: m.Generator("nowhere"), RuntimeError, "nowhere"),
    (lambda m: m.Generator().manual_seed(2**64), ValueError, "64|Overflow"),
    (lambda m: m.Generator().manual_seed("a"), RuntimeError, "str"),
    (lambda m: m.manual_seed(-(2**63) - 1), ValueError, "64|Overflow"),
    (lambda m: m.Generator().set_state("a"), TypeError, "str"),
    (lambda m: m.Generator().set_state(m.zeros(3)), TypeError, "float32|Byte"),
    (lambda m: m.set_rng_state(m.zeros(3, dtype=m.uint8)), RuntimeError, "3"),
    (lambda m: m.eye(-1), RuntimeError, "^eye: .*-1|-1"),
    (lambda m: m.eye(2, -1), RuntimeError, "^eye: .*-1|-1"),
    (lambda m: m.linspace(0, 1, -1), RuntimeError, "^linspace: .*-1"),
    (lambda m: m.linspace(0, 1), TypeError, r"^linspace\(\).*steps"),
    (lambda m: m.linspace(0, 1, 2.5), TypeError, r"^linspace\(\).*steps.*float"),
    (lambda m: m.linspace(0, 1, 3, dtype=m.bool), NotImplementedError, "^linspace: .*bool"),
    (lambda m: m.logspace(0, 1, -1), RuntimeError, "^logspace: .*-1"),
    (lambda m: m.tril_indices(-1, 3), RuntimeError, "^tril_indices: .*-1"),
    (lambda m: m.triu_indices(2, 2, dtype=m.float32), NotImplementedError, "float32"),
    (lambda m: m.tril_indices(10**18, 10**18), RuntimeError, "^tril_indices: "),
    (lambda m: m.vander(m.ones(2, 2)), RuntimeError, r"^vander: .*\(2, 2\)"),
    (lambda m: m.vander(m.ones(2), -1), RuntimeError, "^vander: .*-1"),
    (lambda m: m.asarray([1], copy=False), ValueError, "alias"),
    (lambda m: m.finfo(m.int64), TypeError, "int64"),
    (lambda m: m.iinfo(m.float32), TypeError, "float32"),
    (lambda m: m.iinfo(m.bool), TypeError, "bool"),
    (lambda m: m.numel(3), TypeError, "int"),
    (lambda m: m.zeros(2, layout=3), TypeError, "layout"),
    (lambda m: m.promote_types(m.int8, 3), TypeError, "int"),
    (lambda m: m.ones(2, device="nowhere"), RuntimeError, "nowhere"),
    # conversions
    (lambda m: m.ones(2).item(), RuntimeError, r"2 elements.*\(2,?\)"),
    (lambda m: bool(m.ones(2)), RuntimeError, r"ambiguous.*\(2,?\)"),
    (lambda m: bool(m.ones(0)), RuntimeError, "no values"),
    (lambda m: float(m.ones(2)), ValueError, "2"),
    (lambda m: int(m.ones(2)), ValueError, "2"),
    (lambda m: [1, 2][m.ones(1)], TypeError, "float32"),
    (lambda m: int(m.tensor(float("nan"))), ValueError, "NaN"),
    (lambda m: len(m.ones(())), TypeError, "0-d"),
    (lambda m: list(m.ones(())), TypeError, "0-d"),
    (lambda m: m.ones(2, requires_grad=True).numpy(), RuntimeError, "detach"),
    (lambda m: m.from_numpy([1]), TypeError, "list"),
    (lambda m: m.set_default_dtype(m.int64), TypeError, "int64|floating"),
    (lambda m: m.set_num_threads(0), RuntimeError, "positive"),
    # modules, optimizers, data
    (lambda m: m.nn.Linear(2, 3)(m.ones(4, 5)), RuntimeError, r"^linear: .*\(4, 5\).*\(3, 2\)"),
    (lambda m: m.nn.Module()(m.ones(1)), NotImplementedError, "forward"),
    (lambda m: m.nn.Linear(2, 3).__setattr__("weight", m.ones(3, 2)), TypeError, "'weight'"),
    (lambda m: m.nn.Linear(2, 3).load_state_dict({}), RuntimeError, "Missing.*weight"),
    (lambda m: m.nn.init.xavier_uniform_(m.ones(3)), ValueError, "2 dimensions"),
    (lambda m: m.nn.init.calculate_gain("no"), ValueError, "no"),
    (lambda m: m.optim.SGD([]), ValueError, "empty"),
    (lambda m: m.optim.SGD(m.ones(2, requires_grad=True)), TypeError, "iterable"),
    (lambda m: m.optim.SGD([3]), TypeError, "int"),
    (lambda m: m.optim.SGD([m.ones(2, requires_grad=True) * 2]), ValueError, "non-leaf"),
    (
        lambda m: m.optim.SGD([m.ones(2, requires_grad=True)], lr=-1),
        ValueError,
        "learning rate: -1",
    ),
    (lambda m: m.optim.SGD([m.ones(2, requires_grad=True)], nesterov=True), ValueError, "Nesterov"),
    (
        lambda m: m.optim.Adam([m.ones(2, requires_grad=True)], betas=(1.0, 0.9)),
        ValueError,
        "beta.*index 0: 1.0",
    ),
    (lambda m: m.utils.data.DataLoader([1], batch_size=0), ValueError, "batch_size.*0"),
    (lambda m: m.utils.data.DataLoader([1], num_workers=-1), ValueError, "num_workers"),
]


def source(call: Any) -> str:
    lines, _ = inspect.getsourcelines(call)
    return re.split(r", \(?[A-Z]\w*Error", lines[0].strip().removeprefix("(lambda m: "))[0]


@pytest.mark.parametrize(("call", "kind", "text"), BAD, ids=[source(c) for c, _, _ in BAD])
def test_bad_call(call: Callable[[Any], Any], kind: Any, text: str) -> None:
    with warnings.catch_warnings(), pytest.raises(kind, match=rf"(?s){text}") as ours:
        warnings.filterwarnings("ignore", "Using a target size")
        call(wg)
    assert_torch_refuses(call, ours.type)


@pytest.mark.skipif(wg.cuda.is_available(), reason="here is a CUDA device")
def test_without_a_device_memory_is_not_pinned() -> None:
    for call in (lambda: wg.zeros(2, pin_memory=True), lambda: wg.ones(2).pin_memory()):
        with pytest.raises(RuntimeError, match="CUDA"):
            call()
    assert not wg.ones(2).is_pinned()


def test_a_failed_inplace_operation_changes_nothing() -> None:
    x = wg.ones(2)
    version = x._version
    for bad in (
        lambda: x.add_(wg.ones(3, 2)),
        lambda: x.copy_(wg.ones(3)),
        lambda: x.normal_(0, -1),
        lambda: x.__setitem__(0, wg.ones(2)),
    ):
        with pytest.raises(RuntimeError):
            bad()
    assert x.tolist() == [1, 1]
    assert x._version == version


def test_unknown_names() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        wg.nothing  # noqa: B018
    with pytest.raises(AttributeError, match="nothing"):
        wg.ones(1).nothing  # noqa: B018
