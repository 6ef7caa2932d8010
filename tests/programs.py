"""Random programs for two libraries: written a line at a time, each line run in both.

Hypothesis draws steps: an entry of `STEPS` and some small numbers. A step looks at the tensors
there are, by their shapes in the reference, and writes a line of Python, in which ``m`` is the
library. Smaller numbers make simpler lines and 0 is the newest tensor, so that what fails shrinks
to something that can be read, and the program is its own report.

A line may be refused, by both libraries or by none, but for two things. A gradient for which
PyTorch needs a value that has been changed in place may be one that wengert can do without: it is
then compared with that of the same program in PyTorch while that keeps copies of what it saved. And
some changes in place that PyTorch does not support (`LIMITS`) end a program, as wengert does.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable

Shape = tuple[int, ...]
LARGEST = 200  # elements of a tensor that more is computed from


# What PyTorch says of changes in place that it cannot record, or do.
LIMITS = (
    "This view is the output of a function that returns multiple views",
    "some elements of the input tensor and the written-to tensor refer to a single memory location",
    "A view was created in no_grad mode and its base or another view of its base",
    "the output of a function that returns multiple views and its base or another view",
    "A view was created in no_grad mode and is being modified inplace",
    "Can't detach views in-place",
    "Trying to use a saved tensor that has been detached in-place",
    "the derivative for '_cdist_backward' is not implemented",
)


# What wengert refuses, and PyTorch does not: a part of an expanded tensor, and results that are
# views of something that nobody sees.
OUR_LIMITS = (
    "more than one element of the written-to tensor refers to a single memory location",
    "can't detach views in-place",
)


class Ended(Exception):  # noqa: N818
    """The libraries have parted where they may."""


@dataclass
class Draws:
    """The numbers of one step, taken one after the other; further ones are 0."""

    numbers: tuple[int, ...]
    taken: int = 0

    def below(self, n: int) -> int:
        """A number from 0 to n - 1."""
        i, self.taken = self.taken, self.taken + 1
        return (self.numbers[i] if i < len(self.numbers) else 0) % n

    def of(self, choices: Any) -> Any:
        return choices[self.below(len(choices))]


def broadcast(a: Shape, b: Shape) -> Shape | None:
    try:
        return np.broadcast_shapes(a, b)
    except ValueError:
        return None


@dataclass
class Program:
    """What has been written so far, and the variables of both libraries."""

    ours: Any
    theirs: Any
    lines: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    leaves: list[str] = field(default_factory=list)
    spaces: list[dict[str, Any]] = field(default_factory=list)
    copied: bool = False  # PyTorch's graph is of the second run, and can only be read there

    def __post_init__(self) -> None:
        self.spaces = [{"m": self.ours}, {"m": self.theirs}]

    def __str__(self) -> str:
        return "\n    ".join(["", *self.lines])

    # --- looking ---------------------------------------------------------------------------------

    def shape(self, name: str) -> Shape:
        return tuple(self.spaces[1][name].shape)

    def usable(self) -> list[str]:
        """The tensors, newest first; never none."""
        return [n for n in reversed(self.names) if math.prod(self.shape(n)) <= LARGEST]

    def apart(self, u: str, v: str) -> bool:
        """Whether two tensors share no memory, or are the same: PyTorch misses some overlaps."""
        a, b = self.spaces[1][u], self.spaces[1][v]
        return a is b or a.untyped_storage().data_ptr() != b.untyped_storage().data_ptr()

    def family(self, name: str) -> list[Any]:
        """The tensor and, if it is a view, what of."""
        t = self.spaces[1][name]
        return [t, t._base] if t._is_view() else [t]

    def pick(self, d: Draws, fits: Callable[[Shape], bool] = lambda shape: True) -> Any:
        found = [n for n in self.usable() if fits(self.shape(n))]
        return d.of(found) if found else None

    # --- writing ---------------------------------------------------------------------------------

    def fresh(self) -> str:
        return f"v{len(self.names)}"

    def run(self, line: str, made: tuple[str, ...] = ()) -> tuple[Any, Any]:
        """Run a line in both libraries; both errors, or None and None."""
        self.lines.append(line)
        code = compile(line, "<program>", "exec")
        errors: list[Any] = []
        for space in self.spaces:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    exec(code, space)
                errors.append(None)
            except Exception as error:
                errors.append(error)
        ours, theirs = errors
        if theirs is not None and ours is None:
            if any(limit in str(theirs) for limit in LIMITS):
                raise Ended
            changed = self.spaces[0].get(re.split(r"\W", line)[0])
            if "leaf Variable" in str(theirs) and changed is not None and not changed.is_leaf:
                raise Ended  # a view whose base came to require grad: PyTorch is not up to date
            if "modified by an inplace" in str(theirs):
                theirs = self.with_copies(line)
        if theirs is None and any(limit in str(ours) for limit in OUR_LIMITS):
            raise Ended
        if theirs is not None:
            self.lines[-1] += f"  # {type(theirs).__name__}: {str(theirs).splitlines()[0][:60]}"
        assert (ours is None) == (theirs is None), f"{self}\nPyTorch: {theirs!r}\nwengert: {ours!r}"
        if theirs is not None:
            assert isinstance(ours, (type(theirs), *type(theirs).__bases__)), (
                f"{self}\nPyTorch: {theirs!r}\nwengert: {ours!r}"
            )
            for space in self.spaces:
                for name in made:
                    space.pop(name, None)
            return ours, theirs
        for name in made:
            self.names.append(name)
            a, b = (space[name] for space in self.spaces)
            assert tuple(a.shape) == tuple(b.shape), f"{self}\n{name}: {a.shape}, {b.shape}"
            if tuple(a.stride()) != tuple(b.stride()) and b.numel() > 1:
                # PyTorch's results lie in memory as operands do; what is a view depends on it.
                if b._is_view():
                    raise Ended
                self.run(f"{name} = {name}.clone().contiguous()")
        return None, None

    def with_copies(self, line: str) -> Exception | None:
        """Run the whole program again in PyTorch, which keeps what is changed in place."""
        if "backward" in line:
            raise Ended
        space: dict[str, Any] = {"m": self.theirs}
        with (
            warnings.catch_warnings(),
            self.theirs.autograd.graph.allow_mutation_on_saved_tensors(),
        ):
            warnings.simplefilter("ignore")
            for each in self.lines:
                try:
                    exec(each, space)
                except Exception as error:
                    if each is line:
                        return error
        self.spaces[1] = space
        self.copied = True
        return None

    def let(self, expression: str, count: int = 1, before: str = "") -> None:
        """Write ``v7 = expression``, or several names for several results."""
        made = tuple(f"v{len(self.names) + i}" for i in range(count))
        comma = "," if count > 1 or expression.endswith("*") else ""
        self.run(f"{before}{', '.join(made)}{comma} = {expression}", made)

    # --- comparing -------------------------------------------------------------------------------

    def same(self, a: Any, b: Any, what: str) -> None:
        if a is None and b is not None and not b.any():  # what was overwritten as a whole
            return
        if b is None and a is not None and not a.any():  # a slope that is constant piece by piece
            return
        assert (a is None) == (b is None), f"{self}\n{what}: wengert {a}, PyTorch {b}"
        if a is None:
            return
        x, y = a.detach().numpy(), b.detach().clone().numpy()
        assert x.shape == y.shape, f"{self}\n{what}: shapes {x.shape}, {y.shape}"
        assert str(a.dtype)[8:] == str(b.dtype)[6:], f"{self}\n{what}: {a.dtype}, {b.dtype}"
        finite = np.isfinite(y)
        scale = 1 + np.max(np.abs(y), initial=0, where=finite)
        if "grad" in what:  # PyTorch's of amin is NaN where its result was overwritten
            x, y = x[finite], y[finite]
        if not np.allclose(x, y, rtol=1e-8, atol=1e-10 * scale, equal_nan=True):
            raise AssertionError(f"{self}\n{what}:\nwengert\n{x}\nPyTorch\n{y}")

    def compare_variables(self) -> None:
        """All values, and what the tape says of them."""
        for name in self.names:
            a, b = (space[name] for space in self.spaces)
            self.same(a, b, name)
            for flag in ("requires_grad", "is_leaf"):
                try:
                    expected = getattr(b, flag)
                except RuntimeError as error:
                    assert any(limit in str(error) for limit in LIMITS)  # noqa: PT017
                    raise Ended from None
                assert getattr(a, flag) == expected, f"{self}\n{name}.{flag}: not {expected}"

    def overwrites(self) -> bool:
        """Whether something is overwritten as a whole: no gradient, where PyTorch's is 0."""
        words = ("fill_(", "zero_(", "copy_(", "] = ", "scatter_(")
        return any(word in line for line in self.lines for word in words)

    def wanting(self) -> list[str]:
        """The leaves that want gradients; a constant that was changed is none any more."""
        found = [(n, self.spaces[1][n]) for n in self.leaves]
        return [n for n, t in found if t.is_leaf and t.requires_grad]


# --- steps ---------------------------------------------------------------------------------------

STEPS: dict[str, Callable[[Program, Draws], None]] = {}


def step(fn: Callable[[Program, Draws], None]) -> Callable[[Program, Draws], None]:
    STEPS[fn.__name__] = fn
    return fn


UNARY = [
    "{} * 2", "{}.sin()", "{}.tanh()", "-{}", "{} + 1", "{}.sigmoid()", "{}.square()", "{}.abs()",
    "{}.relu()", "({} * 0.5).exp()", "({}.square() + 1).sqrt()", "({}.square() + 0.5).log()",
    "1 / ({}.square() + 1)", "{}.clamp(-0.7, 0.9)", "{}.clone()", "{}.cos()", "{} ** 3",
    "{}.atan()", "m.nn.functional.softplus({})", "m.nn.functional.gelu({})", "{}.erf()",
    "{}.sign() * 3", "{}.tril() if {}.dim() > 1 else {}.expm1()",
]  # fmt: skip


@step
def unary(p: Program, d: Draws) -> None:
    v = p.pick(d)
    template = d.of(UNARY)
    p.let(template.replace("{}", str(v)))


BINARY = [
    "{a} * {b}", "{a} + {b}", "{a} - {b}", "{a} / ({b}.square() + 1)", "m.maximum({a}, {b})",
    "m.addcmul({a}, {b}, {b}, value=0.5)", "m.lerp({a}, {b}, 0.3)", "{a}.atan2({b}.square() + 1)",
    "m.where({b} > 0, {a}, {b})", "m.hypot({a}, {b} + 4)", "m.add({a}, {b}, alpha=2)",
    "({a}.square() + 1) ** {b}.tanh()",
]  # fmt: skip


@step
def binary(p: Program, d: Draws) -> None:
    a = p.pick(d)
    b = p.pick(d, lambda shape: broadcast(shape, p.shape(str(a))) is not None)
    p.let(d.of(BINARY).format(a=a, b=b))


@step
def product(p: Program, d: Draws) -> None:
    a = p.pick(d, lambda shape: 1 <= len(shape) <= 3)
    if a is None:
        return
    n = p.shape(a)[-1]
    b = p.pick(d, lambda shape: 0 < len(shape) < 4 and shape[max(len(shape) - 2, 0)] == n)
    if b is not None and (len(p.shape(a)) < 3 or len(p.shape(b)) < 3):
        p.let(f"{a} @ {b}")
    elif len(p.shape(a)) > 1:
        p.let(f"{a} @ {a}.mT")
    else:
        p.let(f"m.outer({a}, {a})")


def axis(p: Program, v: str, d: Draws) -> int:
    n = len(p.shape(v))
    return d.below(n) - (n if d.below(3) == 2 else 0)


REDUCE = [
    "sum({i})", "mean({i})", "sum({i}, keepdim=True)", "amax({i})", "logsumexp({i})", "cumsum({i})",
    "softmax({i})", "prod({i})", "log_softmax({i})", "var({i}, correction=0)", "sum()", "mean()",
    "cumprod({i})", "amin({i}, keepdim=True)", "flip({i})", "roll(1, {i})", "max()",
    "square().sum({i}).add(1).sqrt()", "prod()",
]  # fmt: skip


@step
def reduction(p: Program, d: Draws) -> None:
    v = p.pick(d, lambda shape: len(shape) > 0 and 0 not in shape)
    if v is not None:
        how = d.of(REDUCE)
        p.let(f"{v}.{how.format(i=axis(p, v, d))}")


def part(p: Program, v: str, d: Draws) -> str:
    """An index of a part of a tensor, without brackets."""
    shape = p.shape(v)
    n = shape[0] if shape else 1
    choices = ["...", "None"]
    if shape and n:
        choices = [
            f"{d.below(n)}", "...", f"{d.below(n)}:", f"::{1 + d.below(3)}", f"-{1 + d.below(n)}",
            f":{d.below(n + 1)}", "None", f"..., {d.below(shape[-1]) if shape[-1] else ':'}",
            f"..., ::{1 + d.below(2)}",
        ]  # fmt: skip
        if len(shape) > 1 and shape[1]:
            choices += [f":, {d.below(shape[1])}", f"{d.below(n)}, {d.below(shape[1])}:"]
    return str(d.of(choices))


@step
def slicing(p: Program, d: Draws) -> None:
    v = p.pick(d)
    p.let(f"{v}[{part(p, str(v), d)}]")


@step
def view(p: Program, d: Draws) -> None:
    v = str(p.pick(d))
    shape = p.shape(v)
    choices = [
        f"{v}.reshape(-1)", f"{v}.unsqueeze({d.below(len(shape) + 1)})", f"{v}.view_as({v})",
        f"{v}.expand(2, {', '.join(['-1'] * len(shape))})" if shape else f"{v}.expand(2)",
        f"{v}.view(-1)", f"{v}.squeeze()", f"{v}.flatten()", f"{v}.detach()",
    ]  # fmt: skip
    if shape:
        i = d.below(len(shape))
        choices[:0] = [f"{v}.transpose(0, {i})", f"{v}.movedim({i}, 0)"]
        if shape[i]:
            size = 1 + d.below(shape[i])
            choices += [
                f"{v}.narrow({i}, {d.below(shape[i] - size + 1)}, {size})",
                f"{v}.unfold({i}, {size}, 1)",
                f"{v}.select({i}, {d.below(shape[i])})",
            ]
        if 1 in shape:
            wide = [3 if s == 1 else -1 for s in shape]
            choices += [f"{v}.expand({', '.join(map(str, wide))})"]
    if len(shape) > 1:
        choices += [
            f"{v}.diagonal()", f"{v}.mT", f"{v}.flatten(0, 1)",
            f"{v}.permute({', '.join(str(i) for i in reversed(range(len(shape))))})",
            f"{v}.diagonal({d.below(3) - 1})", f"{v}.reshape({', '.join(map(str, shape[::-1]))})",
        ]  # fmt: skip
    p.let(d.of(choices))


@step
def several(p: Program, d: Draws) -> None:
    v = p.pick(d, lambda shape: len(shape) > 0 and 0 not in shape)
    if v is None:
        return
    i = d.below(len(p.shape(v)))
    n = p.shape(v)[i]
    how = d.below(4)
    if how == 0 and n < 5:
        p.let(f"{v}.unbind({i})" + (" " if n > 1 else ""), n) if n > 1 else p.let(
            f"{v}.unbind({i})[0]"
        )
    elif how == 1:
        count = -(-n // 2)
        p.let(f"{v}.split(2, {i})", count) if count > 1 else p.let(f"{v}.split(2, {i})[0]")
    elif how == 2 and n > 1:
        p.let(f"{v}.chunk(2, {i})", 2)
    elif n > 1:
        p.let(f"{v}.tensor_split([1], {i})", 2)


@step
def join(p: Program, d: Draws) -> None:
    a = p.pick(d, lambda shape: len(shape) > 0)
    if a is None:
        return
    b = p.pick(d, lambda shape: shape == p.shape(str(a)))
    i = d.below(len(p.shape(a)))
    how = d.of(["cat", "stack"])
    p.let(f"m.{how}([{a}, {b}], {i})")


def mask(p: Program, v: str, d: Draws) -> str:
    """A constant mask of the shape of a tensor."""
    n = math.prod(p.shape(v))
    bits = d.below(7) + 1
    flags = [bool((bits >> (i % 3)) & 1) for i in range(n)]
    return f"m.tensor({flags}, dtype=m.bool).view({p.shape(v)})"


@step
def gathering(p: Program, d: Draws) -> None:
    v = p.pick(d, lambda shape: len(shape) > 0 and 0 not in shape)
    if v is None:
        return
    n = p.shape(v)[0]
    ids = [d.below(n), d.below(n), n - 1]
    index = f"m.tensor({ids})"
    choices = [
        f"{v}[{ids}]", f"{v}.index_select(0, {index})", f"{v}[{mask(p, v, d)}]",
        f"{v}.masked_fill({mask(p, v, d)}, 0.5)", f"{v}.index_add(0, {index}, {v}[{ids}] * 2)",
        f"{v}.index_fill(0, {index}, 0.25)",
        f"m.where({mask(p, v, d)}, {v}, {v}.detach() * 3)", f"{v}.masked_select({mask(p, v, d)})",
    ]  # fmt: skip
    if len(p.shape(v)) == 1:
        choices += [
            f"{v}.gather(0, {index})", f"{v}.scatter_add(0, {index}, {v}[{ids}])",
            f"{v}.scatter(0, m.tensor([{ids[0]}]), 2.0)", f"{v}.take({index})",
        ]  # fmt: skip
    p.let(d.of(choices))


IN_PLACE = [
    "{v}.mul_(2)", "{v}.add_(1)", "{v}.sin_()", "{v}.relu_()", "{v}.zero_()", "{v}.fill_(0.5)",
    "{v}.tanh_()", "{v}.neg_()", "{v}.clamp_(-0.5, 0.5)", "{v}.exp_()", "{v} *= 0.5",
    "{v}.sigmoid_()", "{v}.masked_fill_({mask}, 0.25)", "{v}.square_()", "{v}.abs_()",
    "{v}.detach_()", "{v}.unsqueeze_(0)", "{v}.squeeze_()", "{v}.erf_()",
    "{v}.transpose_(0, -1) if {v}.dim() else {v}.atan_()",
    "{v}.t_() if {v}.dim() < 3 else {v}",
    "m.nn.functional.relu({v}, inplace=True)",
    "{v}.cumsum_(0) if {v}.dim() else {v}.cos_()", "{v}.pow_(2)",
]  # fmt: skip


@step
def changed(p: Program, d: Draws) -> None:
    v = p.pick(d)
    line = d.of(IN_PLACE)
    p.run(
        line.replace("{v}", str(v)).replace("{mask}", mask(p, str(v), d) if "mask" in line else "")
    )


CHANGED_BY = [
    "{v}.add_({u})", "{v}.mul_({u})", "{v}.copy_({u})", "{v}.sub_({u}, alpha=2)",
    "{v}.div_({u}.square() + 1)", "{v} += {u}", "{v}.addcmul_({u}, {u}, value=0.5)",
    "{v}.lerp_({u}.expand_as({v}), 0.25)", "m.mul({v}, {u}, out={v})",
    "{v}.masked_scatter_({mask}, {u}.clone().expand_as({v}))",
]  # fmt: skip


@step
def changed_by(p: Program, d: Draws) -> None:
    v = str(p.pick(d))
    u = p.pick(d, lambda shape: broadcast(shape, p.shape(v)) == p.shape(v))
    if not p.apart(u, v):
        u = v
    line = d.of(CHANGED_BY)
    p.run(line.format(v=v, u=u, mask=mask(p, v, d) if "mask" in line else ""))


@step
def assigned(p: Program, d: Draws) -> None:
    v = str(p.pick(d))
    place = part(p, v, d)
    shape = tuple(p.spaces[1][v].detach()[eval(f"np.index_exp[{place}]", {"np": np})].shape)
    u = p.pick(d, lambda other: broadcast(other, shape) == shape)
    kind = d.below(5)
    if kind == 0 or u is None or not p.apart(u, v):
        p.run(f"{v}[{place}] = 0.5")
    elif kind == 1:
        p.run(f"{v}[{place}] = {u}")
    elif kind == 2:
        p.run(f"{v}[{place}] *= {u}")
    elif kind == 3:
        p.run(f"{v}[{place}] += {u}")
    else:
        p.run(f"{v}[{mask(p, v, d)}] = 0.75")


@step
def changed_at(p: Program, d: Draws) -> None:
    v = p.pick(d, lambda shape: len(shape) > 0 and 0 not in shape)
    if v is None:
        return
    n = p.shape(v)[0]
    i = d.below(n)
    u = p.pick(d, lambda shape: shape == p.shape(str(v))[1:])
    if u is None or not p.apart(u, v):
        p.run(f"{v}.index_fill_(0, m.tensor([{i}]), 0.5)")
    else:
        how = d.of(["index_add_", "index_copy_"])
        p.run(f"{v}.{how}(0, m.tensor([{i}]), {u}.unsqueeze(0))")


@step
def unrecorded(p: Program, d: Draws) -> None:
    v = str(p.pick(d))
    how = d.below(3)
    if how == 0:
        p.let(f"{v} * 2", before="with m.no_grad(): ")
    elif how == 1:
        p.run(f"with m.no_grad(): {v}.mul_(2)")
    else:
        p.let(f"{v}.detach() * 2 + {v}")


@step
def watched(p: Program, d: Draws) -> None:
    v = p.pick(d)
    # PyTorch crashes where a view's history is out of date; and there a gradient of a view that
    # was changed reaches its base, while wengert knows how the view was computed.
    t = p.spaces[1][v]
    if len(p.family(v)) > 1 or any(p.family(n)[-1] is t for n in p.names if n != v):
        return
    line = d.of(["{v}.register_hook(lambda g: g * 2)", "{v}.retain_grad()", "{v}.requires_grad_()"])
    p.run(line.format(v=v))


@step
def helped(p: Program, d: Draws) -> None:
    """Layers and losses, of which each is several operations or one of many inputs."""
    v = p.pick(d, lambda shape: len(shape) > 0 and 0 not in shape)
    if v is None:
        return
    f, n = "m.nn.functional", p.shape(v)[-1]
    w = p.pick(d, lambda shape: len(shape) == 2 and shape[1] == n) or f"{v}.reshape(-1, {n})"
    u = p.pick(d, lambda shape: shape == p.shape(str(v)))
    p.let(
        d.of(
            [
                f"{f}.linear({v}, {w})",
                f"{f}.mse_loss({v}, {u})",
                f"{f}.normalize({v}, dim=-1, eps=0.5)",
                f"{f}.smooth_l1_loss({v}, {u})",
                f"{f}.cross_entropy(({v} + 1).reshape(-1, {n}), {v}.reshape(-1, {n}).argmax(1))",
                f"m.einsum('...i,...i->...', {v}, {u})",
                f"{f}.silu({v})",
                f"{f}.pad({v}, (1, 1))",
                f"m.tensordot({v}, {u}, dims=1) if {v}.dim() < 2 else {v}",
                f"{v}.norm() + 1",
                f"{v}.repeat(2, *[1] * {v}.dim())",
                f"m.cdist({w}, {w} + 3) * 1",  # PyTorch does not notice a change of what it needs
                f"m.addmm({v}.sum(), {w}, {w}.t())",
            ]
        )
    )


# Steps, those that are met more often several times.
WEIGHTS = {"unary": 3, "binary": 4, "view": 4, "slicing": 3, "changed": 3, "changed_by": 3,
           "assigned": 3}  # fmt: skip
CHOICES = [name for name in STEPS for _ in range(WEIGHTS.get(name, 1))]

numbers = st.lists(st.integers(0, 30), min_size=0, max_size=6).map(tuple)
steps = st.lists(st.tuples(st.sampled_from(CHOICES), numbers), min_size=3, max_size=30)
LEAF_SHAPES: list[Shape] = [(2, 3), (3,), (), (2, 2), (3, 2), (1, 3), (2, 1, 3), (4,), (0, 3)]
leaf_lists = st.lists(
    st.tuples(st.sampled_from(LEAF_SHAPES), st.booleans()), min_size=1, max_size=3
)


def values(seed: int, shape: Shape) -> list[float]:
    """Numbers that stay apart from 0 and from each other."""
    n = math.prod(shape)
    return [round(float(x), 3) for x in 1.3 * np.sin(np.arange(n) * 2.1 + seed * 0.7 + 0.4)]


def start(ours: Any, theirs: Any, leaves: list[tuple[Shape, bool]]) -> Program:
    p = Program(ours, theirs)
    for i, (shape, constant) in enumerate(leaves):
        name = p.fresh()
        wants = "" if constant and i else ", requires_grad=True"
        p.run(
            f"{name} = m.tensor({values(i, shape)}, dtype=m.float64).view({shape}).detach()"
            + (".requires_grad_()" if wants else ""),
            (name,),
        )
        p.leaves.append(name)
    return p
