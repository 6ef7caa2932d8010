"""What Python programs do with tensors besides calling operations, against PyTorch.

Each row is an expression in ``m``, which stands for wengert and for torch in turn: values, types
and kinds of error must agree. What must hold without PyTorch to compare with is at the end.
"""

from __future__ import annotations

import collections
import copy
import inspect
import io
import math
import operator
import pickle
from typing import Any

import numpy as np
import pytest

import wengert as wg
from behaviour_rows import COMPARE, NUMBERS, NUMPY, OLD, SEQUENCE, TEXT
from oracle import needs_torch, torch

TOOLS = {
    "np": np, "copy": copy, "pickle": pickle, "math": math, "operator": operator, "io": io,
    "inspect": inspect, "OrderedDict": collections.OrderedDict,
}  # fmt: skip


def seen(value: Any) -> Any:
    """What is to be compared of a value: its type, and what it holds."""
    kind = type(value).__name__
    if hasattr(value, "requires_grad") and hasattr(value, "tolist"):
        holds = np.array(value.detach().tolist()).tolist()
        about = str(value.dtype).rpartition(".")[2], tuple(value.shape), value.requires_grad
        return kind, *about, str(holds)
    if isinstance(value, np.ndarray):
        return kind, str(value.dtype), value.shape, str(value.tolist())
    if isinstance(value, (tuple, list)):
        return kind, [seen(v) for v in value]
    if isinstance(value, dict):
        return kind, [(seen(k), seen(v)) for k, v in value.items()]
    if kind in ("dtype", "device"):
        return kind, str(value).rpartition(".")[2]
    if isinstance(value, type):
        return kind, value.__name__
    return kind, repr(value).replace("torch.", "wengert.")


def outcome(expression: str, m: Any) -> Any:
    """What an expression gives, or the kind of error that it raises."""
    try:
        return seen(eval(expression, {"m": m, **TOOLS}))
    except Exception as error:
        kind = next(k for k in type(error).__mro__ if k.__module__ == "builtins")
        return "error", kind.__name__


TABLES = [*TEXT, *NUMBERS, *COMPARE, *SEQUENCE, *NUMPY, *OLD]


@needs_torch
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("row", TABLES)
def test_as_in_pytorch(row: str) -> None:
    if "torch.cuda" in row and wg.cuda.is_available() != torch.cuda.is_available():
        pytest.skip("one of the two has a CUDA device")
    assert outcome(row, wg) == outcome(row, torch)


# --- where wengert takes what PyTorch refuses --------------------------------------------------


@pytest.mark.parametrize(
    ("row", "want"),
    [
        ("f'{m.nn.Parameter(m.tensor(1.0)):.2f}'", "1.00"),
        ("m.Size([2, np.int64(3)])[1].__class__.__name__", "int"),
        ("(np.array([1., 2.], 'float32') + m.tensor([1., 2.])).tolist()", [2, 4]),
        ("(np.array([1., 2.]) - m.tensor([1., 2.])).dtype.itemsize", 8),
        ("m.add(m.ones(2), np.ones(2)).tolist()", [2, 2]),
        ("m.ones(4).split(np.int64(2))[0].tolist()", [1, 1]),
        ("m.tensor([np.arange(2), [3, 4]]).tolist()", [[0, 1], [3, 4]]),
    ],
)
def test_more_than_pytorch_takes(row: str, want: Any) -> None:
    assert eval(row, {"m": wg, **TOOLS}) == want


def test_assigning_lists_and_arrays() -> None:
    t = wg.zeros(3)
    t[:2] = [1, 2]
    t[1:] = np.array([3, 4])
    assert t.tolist() == [1, 3, 4]


# --- what must hold by itself ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "want"),
    [
        ("'{:+.2f}'.format(m.tensor(1.5))", "+1.50"),
        ("'%.3f %d' % (m.tensor(2.5), m.tensor(7))", "2.500 7"),
        ("f'{m.tensor(0.123456):.4f}'", "0.1235"),
        ("[10, 11, 12][m.tensor(1)]", 11),
        ("list(range(m.tensor(1), m.tensor(4)))", [1, 2, 3]),
        ("sum(m.tensor([1, 2, 3])).item()", 6),
        ("max(m.tensor([1., 5, 2])).item()", 5),
        ("[x.item() for x in reversed(m.tensor([1, 2, 3]))]", [3, 2, 1]),
        ("2 in m.tensor([1, 2])", True),
        ("(1, 2) + m.zeros(3, 4).shape", (1, 2, 3, 4)),
        ("list(m.zeros(3, 4).shape[:-1]) + [7]", [3, 7]),
        ("m.zeros(3, 4).shape.numel()", 12),
        ("type((1,) + m.zeros(3).shape[:1] * 2).__name__", "Size"),
        ("np.array([m.tensor(1.0), m.tensor(2.0)]).tolist()", [1, 2]),
        ("(np.float64(2) * m.tensor([1., 2.])).dtype", wg.float32),
        ("type(np.exp(m.zeros(2))).__name__", "Tensor"),
        ("m.nn.Linear(np.int64(3), 64).weight.shape", (64, 3)),
        ("m.LongTensor([1.5]).tolist()", [1]),
        ("isinstance(m.ones(1), m.FloatTensor)", True),
        ("isinstance(m.ones(1), m.autograd.Variable)", True),
        ("m.ones(1).type()", "wengert.FloatTensor"),
        ("m.arange(6)[2:4].storage().tolist()", [0, 1, 2, 3, 4, 5]),
        ("m.arange(6)[2:4].untyped_storage().nbytes()", 48),
        ("m.ones(1).is_cuda", False),
        ("m.ones(1).get_device()", -1),
        ("complex(m.tensor(1.5))", 1.5 + 0j),
    ],
)
def test_by_itself(row: str, want: Any) -> None:
    assert eval(row, {"m": wg, **TOOLS}) == want


@pytest.mark.parametrize(
    "row",
    [
        "'{:.2f}'.format(m.ones(2))",
        "m.Size([2.5])",
        "m.Tensor(2.5)",
        "pow(m.tensor(2), 3, 5)",
        "~m.ones(1)",
        "m.ones(1).to(m.float32, m.float64)",
        "m.LongTensor(m.ones(1))",
        "m.ones(1).type(3)",
        "m.equal(m.ones(1), 1)",
    ],
)
def test_type_errors(row: str) -> None:
    assert outcome(row, wg) == ("error", "TypeError")


def test_storage_is_the_memory() -> None:
    t = wg.arange(6.0)
    storage = t[2:].storage()
    storage[0] = 7
    assert t[0].item() == 7
    assert storage == t.storage()
    assert t.untyped_storage() != wg.arange(6.0).untyped_storage()
    assert (len(storage), storage.dtype, len(storage.untyped())) == (6, wg.float32, 24)
    assert storage.fill_(2).tolist() == [2] * 6
    assert "[wengert.storage.TypedStorage(dtype=wengert.float32, device=cpu) of size 6]" in repr(
        storage
    )
    with pytest.raises(TypeError, match="slice"):
        storage[:2]


@pytest.mark.parametrize(
    ("size", "stride", "offset"),
    [((7,), (1,), 0), ((2,), (6,), 0), ((1,), (1,), 6), ((1,), (1,), -1), ((2**62, 4), (0, 1), 0)],
)
def test_views_of_bytes_stay_inside(size: Any, stride: Any, offset: int) -> None:
    memory = wg.arange(6)._storage_bytes()
    with pytest.raises(RuntimeError, match=r"outside|too many"):
        wg._core._view_of_bytes(memory, wg.int64, size, stride, offset)


def test_what_made_a_tensor() -> None:
    x = wg.ones(2, requires_grad=True)
    y = (x * 2).sum()
    assert x.grad_fn is None
    assert y.grad_fn.name() == "SumBackward0"
    assert repr(y).endswith("grad_fn=<SumBackward0>)")
    ((mul, slot),) = y.grad_fn.next_functions
    assert (mul.name(), slot) == ("MulBackward0", 0)
    assert mul.next_functions[0][0].name() == "AccumulateGrad"
    assert mul.next_functions[1] == (None, 0)
    assert y.grad_fn == y.grad_fn
    assert len({y.grad_fn, y.grad_fn, mul}) == 2


# --- text of tensors ---------------------------------------------------------------------------

PRINTED = [
    "m.arange(2000).view(2, 1000)",
    "m.linspace(-1, 1, 1200).view(3, 20, 20)",
    "m.tensor([1.5, float('nan'), float('-inf')])",
    "m.tensor([[1e-8, 1.0], [1e5, -3.0]])",
    "m.tensor([1, 20, -300], dtype=m.int32)",
    "m.tensor([0.1, 2.0], dtype=m.float64)",
    "m.tensor([1.5, 2.0], dtype=m.float16)",
    "m.tensor([1.5, 2.0], dtype=m.bfloat16)",
    "m.tensor([1.5], requires_grad=True)",
    "m.tensor([1.5], requires_grad=True) * 2",
    "m.ones(3, 20, requires_grad=True).exp()",
    "m.zeros(2, 0, dtype=m.int32)",
    "m.tensor(3.14159)",
    "m.tensor(7)",
    "m.tensor([True])",
    "m.tensor([1e9, 2e9])",
    "m.tensor([0.00005])",
    "m.tensor([123456.789, 0.1])",
    "m.tensor([-0.0, 0.0])",
]
OPTIONS: list[dict[str, Any]] = [
    {},
    {"precision": 2},
    {"threshold": 5, "edgeitems": 1},
    {"linewidth": 40},
    {"profile": "short"},
    {"profile": "full", "precision": 1},
    {"sci_mode": True},
    {"sci_mode": False},
]


@needs_torch
@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_print_options(options: dict[str, Any]) -> None:
    texts = []
    for m in (wg, torch):
        m.set_printoptions(**options)
        try:
            # the packages' names are of one length here, lest lines end elsewhere
            name = "dtype=wengert." if m is wg else "dtype=torch."
            texts.append(
                [
                    "".join(repr(eval(row, {"m": m})).replace(name, "dtype=").split())
                    if "dtype" in row
                    else repr(eval(row, {"m": m}))
                    for row in PRINTED
                ]
            )
        finally:
            m.set_printoptions(profile="default")
    assert texts[0] == texts[1]


def test_print_options_by_themselves() -> None:
    wg.set_printoptions(precision=2, threshold=3, edgeitems=1)
    try:
        assert repr(wg.tensor([1.25, 2, 3, 4.5])) == "tensor([1.25,  ..., 4.50])"
        wg.set_printoptions(sci_mode=True)
        assert repr(wg.tensor([1.25])) == "tensor([1.25e+00])"
    finally:
        wg.set_printoptions(profile="default")
    with pytest.raises(KeyError):
        wg.set_printoptions(profile="none")
