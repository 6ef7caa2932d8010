"""Calls made by hypothesis from a row of the operation table.

An elementwise row gets operands of any shapes, layouts, dtypes and values. Any other row gives its
samples, which are then changed: sizes (equal ones alike, so that most calls stay legal), dtypes,
layouts, values, axes and other numbers, and parameters that the sample left alone, by the types of
the row's signature. Nothing here knows a row by name.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import mutually_broadcastable_shapes

from op_table import FLOATS, Row, Sample
from wengert import _core

if TYPE_CHECKING:
    from collections.abc import Callable

INTEGERS = {"uint8": 255, "int8": 127, "int16": 2**15 - 1, "int32": 2**31 - 1, "int64": 2**63 - 1}
# Of each floating point dtype: eps, the least exponent of a normal number, the largest number.
FLOATING = {
    "float16": (2.0**-10, -14, 65504.0),
    "bfloat16": (2.0**-7, -126, 3.3895314e38),
    "float32": (2.0**-23, -126, 3.4028235e38),
    "float64": (2.0**-52, -1022, 1.7976931348623157e308),
}
ALL_DTYPES = ("float64", "float32", "bool", *INTEGERS, "float16", "bfloat16")
LAYOUTS = ("dense", "transposed", "step", "offset", "expanded")
INT, FLOAT, BOOL, INTS, VAR_INTS, NUMBER, DTYPE = 3, 4, 5, 6, 7, 2, 8  # of ArgType


@dataclass(frozen=True, repr=False)
class Operand:
    """A tensor for either library to make: its values, dtype, and how it lies in memory."""

    values: Any
    dtype: str
    layout: str = "dense"

    def __repr__(self) -> str:
        how = "" if self.layout == "dense" else f", {self.layout}"
        text = str(self.values.tolist())
        return f"{self.dtype}[{text if len(text) < 300 else self.values.shape}{how}]"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def of(self, library: Any) -> Any:
        """The tensor."""
        a = self.values

        def dense(x: Any) -> Any:
            through = {"float16": "float32", "bfloat16": "float32"}.get(self.dtype, self.dtype)
            with np.errstate(all="ignore"):
                t = library.from_numpy(np.array(x, through, order="C"))
            return t.to(getattr(library, self.dtype))

        if a.ndim == 0 or self.layout == "dense":
            return dense(a)
        if self.layout == "transposed":
            return dense(a.T).permute(*reversed(range(a.ndim)))
        if self.layout == "step":
            wide = np.zeros((*a.shape[:-1], a.shape[-1] * 3 + 1), a.dtype)
            wide[..., 1::3] = a
            return dense(wide)[..., 1::3]
        if self.layout == "offset":
            return dense(np.append(a[:1].ravel()[:1], a.ravel()))[int(a.size > 0) :].view(a.shape)
        return dense(a[:1]).expand(a.shape)

    def seen(self) -> Any:
        """The values as the layout shows them."""
        repeats = self.layout == "expanded" and self.values.ndim and self.values.size
        return np.broadcast_to(self.values[:1], self.values.shape) if repeats else self.values


@dataclass(frozen=True)
class DTypeName:
    """A dtype for either library to look up."""

    name: str


@dataclass(frozen=True, repr=False)
class Call:
    """Arguments of one call.

    ``ordinary``: all values come from the row's domain; ``added``: parameters that the row's sample
    does not have.
    """

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    ordinary: bool
    added: tuple[str, ...] = ()

    def __repr__(self) -> str:
        parts = [*map(repr, self.args), *(f"{k}={v!r}" for k, v in self.kwargs.items())]
        return f"({', '.join(parts)})"

    def _repr_pretty_(self, printer: Any, cycle: bool) -> None:
        printer.text(repr(self))

    def of(self, library: Any, leaf: Callable[[Any], Any] = lambda t: t) -> Any:
        """The arguments for a library."""

        def one(x: Any) -> Any:
            if isinstance(x, Operand):
                return leaf(x.of(library))
            if isinstance(x, DTypeName):
                return getattr(library, x.name)
            return [one(e) for e in x] if isinstance(x, list) else x

        return [one(a) for a in self.args], {k: one(v) for k, v in self.kwargs.items()}

    def operands(self) -> list[Operand]:
        """All tensors among the arguments."""
        out: list[Operand] = []
        for a in (*self.args, *self.kwargs.values()):
            out += [e for e in (a if isinstance(a, (list, tuple)) else [a]) if type(e) is Operand]
        return out


# --- values ------------------------------------------------------------------------------------


def some(rng: Any, shape: tuple[int, ...], choices: Any) -> Any:
    return rng.choice(np.array(choices, object), shape).astype(np.array(choices).dtype)


def values(
    rng: Any, dtype: str, shape: tuple[int, ...], domain: tuple[float, float], kind: str
) -> Any:
    """An array that the dtype can hold: from the domain, wide, or with special values in between.

    The least integer is left out: PyTorch stops the process where it is divided by -1.
    """
    low, high = domain
    if dtype == "bool":
        return rng.integers(0, 2, shape).astype(bool)
    if dtype in INTEGERS:
        most = INTEGERS[dtype]
        least = 0 if dtype == "uint8" else -most
        first, last = max(math.ceil(low), least), min(max(math.floor(high), math.ceil(low)), most)
        x = rng.integers(first, max(first, last), shape, endpoint=True)
        if kind == "wide":
            x = rng.integers(least, most, shape, endpoint=True)
        if kind == "special":
            odd = some(rng, shape, (least, most, 0, 1, max(least, -1)))
            x = np.where(rng.random(shape) < 0.5, odd, x)
        return np.asarray(x)
    x = rng.uniform(low, high, shape)
    most = FLOATING[dtype][2]
    if kind == "wide":
        top = math.log10(most)
        x = rng.choice([-1.0, 1.0], shape) * 10 ** rng.uniform(-top - 5, top, shape)
    if kind in ("special", "extreme"):
        eps, exponent, _ = FLOATING[dtype]
        tiny = 2.0**exponent
        odd = [math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0]
        if kind == "extreme":
            odd = [*odd, most, -most, tiny, -tiny, tiny * eps, -tiny * eps, 0.5, 2.5, 100.0, -170.5]
        x = np.where(rng.random(shape) < 0.4, some(rng, shape, odd), x)
    return np.asarray(x)


# --- elementwise -------------------------------------------------------------------------------

layouts = st.sampled_from(LAYOUTS)
seeds = st.integers(0, 2**32 - 1)
rarely = st.sampled_from((False,) * 9 + (True,))
seldom = st.sampled_from((False,) * 3 + (True,))
scalars = st.sampled_from((2, -1, 0, 0.5, True, 3.5, 100, -2.5, math.nan))


@st.composite
def elementwise(draw: Any, row: Row, dtypes: tuple[str, ...]) -> Call:
    """Operands of broadcasting shapes, now and then of others."""
    n = row.elementwise
    eight = draw(rarely)
    shapes = draw(
        mutually_broadcastable_shapes(
            num_shapes=n,
            min_dims=6 if eight else 0,
            max_dims=8 if eight else 4,
            min_side=0,
            max_side=2 if eight else 5,
        )
    ).input_shapes
    if n > 1 and draw(rarely):
        shapes = tuple(tuple(draw(st.lists(st.integers(0, 3), max_size=3))) for _ in range(n))
    first = draw(st.sampled_from(dtypes))
    mixed = draw(seldom)
    kind = draw(st.sampled_from(("domain", "wide", "extreme")))
    rng = np.random.default_rng(draw(seeds))
    args: list[Any] = []
    for i, shape in enumerate(shapes):
        if i and draw(rarely):
            args.append(draw(scalars))
            continue
        dtype = draw(st.sampled_from(dtypes)) if mixed and i else first
        domain = row.domains[min(i, len(row.domains) - 1)]
        what = "special" if kind == "extreme" and dtype in INTEGERS else kind
        args.append(Operand(values(rng, dtype, shape, domain, what), dtype, draw(layouts)))
    return Call(tuple(args), {}, kind == "domain")


# --- all others --------------------------------------------------------------------------------


def base_samples(row: Row) -> tuple[str, list[Sample]]:
    """The row's samples, in a dtype that tells values from indices if there is one."""
    dtype = next((d for d in ("float64", *FLOATS, "int64", "bool") if d in row.dtypes), "float64")
    usual = next((d for d in (dtype, "int64") if d not in row.refuses), dtype)
    return usual, row.draw(usual) + row.draw_wrong()


def parameters(row: Row) -> dict[str, tuple[int, bool]]:
    """Type, and whether None may be given, of the parameters of a row that have a default."""
    return {
        p[0]: (p[1], p[2])
        for params, *_ in _core.op_params(row.name)
        for p in params
        if p[3] and p[1] in (INT, FLOAT, BOOL, INTS, NUMBER, DTYPE)
    }


axes = st.integers(-4, 4)
few_numbers = st.sampled_from((0.5, 2, 0, 1, -1, 3.0, -0.5, math.inf, math.nan))


def argument(kind: int, optional: bool) -> st.SearchStrategy[Any]:
    """Any value of a parameter's type."""
    dtypes = st.sampled_from(ALL_DTYPES).map(DTypeName)
    by_kind: dict[int, st.SearchStrategy[Any]] = {
        INT: axes,
        FLOAT: few_numbers,
        NUMBER: few_numbers,
        BOOL: st.booleans(),
        INTS: st.one_of(axes, st.lists(axes, max_size=3).map(tuple)),
        DTYPE: dtypes,
    }
    return st.one_of(by_kind[kind], st.none()) if optional else by_kind[kind]


@st.composite
def structured(draw: Any, row: Row, dtypes: tuple[str, ...]) -> Call:
    """A sample of the row, changed."""
    sampled, samples = base_samples(row)
    sample = samples[draw(st.integers(0, len(samples) - 1))]
    dtype = draw(st.sampled_from(dtypes))
    kind = draw(st.sampled_from(("domain", "domain", "special")))
    mixed = draw(rarely)
    resized = draw(seldom)
    rng = np.random.default_rng(draw(seeds))
    new_sizes: dict[int, int] = {}
    counter = [0]

    def size(n: int) -> int:
        if n not in new_sizes:
            new_sizes[n] = draw(st.integers(0, 5)) if draw(seldom) else n
        return new_sizes[n]

    def operand(a: Any) -> Operand:
        i, counter[0] = counter[0], counter[0] + 1
        shape = a.shape
        if resized and shape:
            shape = tuple(size(n) for n in shape)
            if draw(rarely):
                shape = (*shape[1:], draw(st.integers(0, 4)))
            if draw(rarely):
                shape = (draw(st.integers(0, 3)), *shape)
        layout = draw(layouts) if draw(seldom) else "dense"
        if a.dtype.name != sampled and a.dtype.kind != "f":  # indices and masks
            return Operand(np.resize(a, shape), a.dtype.name, layout)
        to = draw(st.sampled_from(dtypes)) if mixed and i else dtype
        domain = row.domains[min(i, len(row.domains) - 1)]
        # what the row draws may be more than its domain says: positive definite, distinct, sorted
        as_drawn = kind == "domain" and (shape == a.shape or a.size == 0) and draw(st.booleans())
        if as_drawn and to in FLOATING:
            return Operand(a.astype("float64"), to, layout)
        if as_drawn and to in INTEGERS:
            return Operand(np.clip(np.trunc(a), 0 if to == "uint8" else -100, 100), to, layout)
        return Operand(values(rng, to, shape, domain, kind), to, layout)

    def other(x: Any) -> Any:
        if isinstance(x, np.ndarray):
            return operand(x)
        if isinstance(x, list) and x and isinstance(x[0], np.ndarray):
            each = [operand(e) for e in x]
            return each[:-1] if draw(rarely) else each
        if isinstance(x, bool):
            return x != draw(rarely)
        if isinstance(x, int):
            return draw(st.integers(-4, 6)) if draw(seldom) and abs(x) < 100 else x
        if isinstance(x, float):
            return draw(few_numbers) if draw(seldom) else x
        if isinstance(x, (tuple, list)):
            out = [other(e) for e in x]
            if out and draw(rarely):
                out = out[1:] if draw(st.booleans()) else [*out, draw(axes)]
            return type(x)(out)
        return x

    args = tuple(other(a) for a in sample.args)
    kwargs = {k: other(v) for k, v in sample.kwargs.items()}
    added = []
    for name, (type_, optional) in parameters(row).items():
        if name not in kwargs and name != "requires_grad" and draw(rarely):
            kwargs[name] = draw(argument(type_, optional))
            added.append(name)
    return Call(args, kwargs, kind == "domain", tuple(added))


def calls(row: Row, dtypes: tuple[str, ...] = ALL_DTYPES) -> st.SearchStrategy[Call]:
    """The calls to compare for a row."""
    return elementwise(row, dtypes) if row.elementwise else structured(row, dtypes)
