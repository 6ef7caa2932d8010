"""Operations that are Python functions with schemas: wengert.library, beside torch.library."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, List, Optional, Tuple, Union  # noqa: UP035

import numpy as np
import pytest

import wengert as wg
from oracle import needs_torch, torch

MODULES = [pytest.param(wg, id="wengert"), pytest.param(torch, id="torch", marks=needs_torch)]
both = pytest.mark.parametrize("m", MODULES)


def leaf(m: Any, *values: float) -> Any:
    return m.tensor(values, dtype=m.float64, requires_grad=True)


def define(m: Any, name: str, fn: Any, hints: dict[str, Any], mutates: Any = ()) -> Any:
    """An operation of a function that is annotated with a library's own types."""
    fn.__annotations__ = hints
    return m.library.custom_op(f"wgtest::{name}", mutates_args=mutates)(fn)


def sine(m: Any, name: str = "sine") -> Any:
    op = define(
        m, name, lambda x: m.from_numpy(np.sin(x.numpy())), {"x": m.Tensor, "return": m.Tensor}
    )

    def setup_context(ctx: Any, inputs: Any, output: Any) -> None:
        assert not output.requires_grad
        ctx.save_for_backward(*inputs)

    def backward(ctx: Any, g: Any) -> Any:
        (x,) = ctx.saved_tensors
        return g * x.cos()

    op.register_autograd(backward, setup_context=setup_context)
    return op


@both
def test_gradients(m: Any) -> None:
    op = sine(m)
    x = leaf(m, 0.3, 1.2)
    y = op(x)
    np.testing.assert_allclose(y.detach().numpy(), np.sin([0.3, 1.2]), rtol=1e-15)
    assert type(y.grad_fn).__name__ == "GeneratedBackwardFor_wgtest_sine_defaultBackward" or (
        y.grad_fn.name() == "GeneratedBackwardFor_wgtest_sine_defaultBackward"
    )
    assert m.autograd.gradcheck(op, (x,))
    assert m.autograd.gradgradcheck(op, (x,))
    for way in (m.ops.wgtest.sine, m.ops.wgtest.sine.default):
        assert way(x).tolist() == y.tolist()
    assert not op(x.detach()).requires_grad
    with m.no_grad():
        assert not op(x).requires_grad


@both
def test_no_formula(m: Any) -> None:
    op = define(m, "bare", lambda x: x + 1, {"x": m.Tensor, "return": m.Tensor})
    y = op(leaf(m, 1.0))
    assert y.requires_grad
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        y.sum().backward()


@both
def test_numbers_lists_and_keywords(m: Any) -> None:
    def fn(xs: Any, by: Any, n: Any = 2, *, shift: Any = 0.0) -> Any:
        return sum(xs) * by * n + shift

    hints = {"xs": Sequence[m.Tensor], "by": m.Tensor, "n": int, "shift": float, "return": m.Tensor}
    op = define(m, "weigh", fn, hints)
    seen: list[Any] = []

    def setup_context(ctx: Any, inputs: Any, keyword_only_inputs: Any, output: Any) -> None:
        xs, by, ctx.n = inputs
        seen.append((len(xs), ctx.n, keyword_only_inputs))
        ctx.save_for_backward(by, *xs)

    def backward(ctx: Any, g: Any) -> Any:
        by, *xs = ctx.saved_tensors
        return [g * by * ctx.n for _ in xs], g * sum(xs) * ctx.n, None

    op.register_autograd(backward, setup_context=setup_context)
    a, b, by = leaf(m, 1.0, 2.0), m.tensor([3.0, 4.0], dtype=m.float64), leaf(m, 5.0, 6.0)
    op([a, b], by, 3, shift=1.0).sum().backward()
    assert seen == [(2, 3, {"shift": 1.0})]
    assert a.grad.tolist() == [15.0, 18.0]
    assert by.grad.tolist() == [12.0, 18.0]
    assert m.autograd.gradcheck(lambda a, by: op([a, b], by, 3), (a, by))
    op.register_autograd(lambda ctx, g: ([g], g, None), setup_context=setup_context)
    with pytest.raises(RuntimeError, match="same structure as the inputs"):
        op([a, b], by, 3).sum().backward()


@both
def test_several_results(m: Any) -> None:
    hints = {"x": m.Tensor, "return": Tuple[m.Tensor, m.Tensor]}  # noqa: UP006
    two = define(m, "two", lambda x: (x * 2, x * 3), hints)
    two.register_autograd(lambda ctx, g, h: g * 2 + h * 3)
    x = leaf(m, 1.0, 2.0)
    a, b = two(x)
    (a + b * b).sum().backward()
    assert x.grad.tolist() == [2.0 + 18.0, 2.0 + 36.0]
    hints = {"x": m.Tensor, "return": List[m.Tensor]}  # noqa: UP006
    many = define(m, "many", lambda x: [x * 2, x * 3], hints)
    many.register_autograd(lambda ctx, gs: gs[0] * 2 + gs[1] * 3)
    x = leaf(m, 1.0)
    result = many(x)
    assert isinstance(result, list)
    result[1].sum().backward()  # the other's gradient is zeros
    assert x.grad.tolist() == [3.0]


@both
def test_changes_in_place(m: Any) -> None:
    op = define(m, "double_", _double, {"x": m.Tensor, "return": None}, {"x"})
    x = m.ones(2)
    assert op(x) is None
    assert x.tolist() == [2.0, 2.0]
    with pytest.raises(RuntimeError, match="Cannot register autograd formula for non-functional"):
        op.register_autograd(lambda ctx, g: g)


def _double(x: Any) -> None:
    x.mul_(2)


@both
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, op: op(), "is missing value for argument 'x'"),
        (
            lambda m, op: op(1),
            "value of type 'Tensor' for argument 'x' but instead found type 'int'",
        ),
        (lambda m, op: op(m.ones(1), "a"), "value of type 'int' for argument 'n'"),
        (lambda m, op: op(m.ones(1), 2, 3), "expected at most 2 argument"),
        (lambda m, op: op(m.ones(1), k=3), "(?i)unknown keyword argument 'k'|missing"),
        (lambda m, op: op(m.ones(1), 0), "may not alias any inputs"),
    ],
)
def test_errors_of_calls(m: Any, call: Any, message: str) -> None:
    hints = {"x": m.Tensor, "n": int, "return": m.Tensor}
    op = define(m, "power", lambda x, n=2: x.view(-1) if n == 0 else x**n, hints)
    with pytest.raises(RuntimeError, match=message):
        call(m, op)
    with pytest.raises(AttributeError, match="'_OpNamespace' 'wgtest' object has no attribute 'no"):
        m.ops.wgtest.nothing  # noqa: B018


@both
def test_wrong_numbers_of_gradients(m: Any) -> None:
    hints = {"x": m.Tensor, "n": int, "return": m.Tensor}
    op = define(m, "count", lambda x, n: x * n, hints)
    op.register_autograd(lambda ctx, g: g)
    with pytest.raises(
        RuntimeError, match=r"incorrect number of gradients \(expected [23], got [12]"
    ):
        op(leaf(m, 1.0), 2).sum().backward()


def prototypes(m: Any) -> list[tuple[dict[str, Any], dict[str, Any], Any]]:
    """Annotations, defaults and mutated arguments of functions of x, y and keyword-only k."""
    t = m.Tensor
    return [
        ({"x": t, "y": int, "k": float, "return": t}, {"y": 2, "k": 0.5}, ()),
        ({"x": Optional[t], "y": Sequence[t], "k": bool, "return": None}, {"k": True}, ()),  # noqa: UP045
        ({"x": List[t], "y": List[int], "k": str, "return": List[t]}, {"k": "a"}, {"x"}),  # noqa: UP006
        (
            {"x": t, "y": t | None, "k": int | None, "return": (t)},
            {"y": None, "k": None},
            "unknown",
        ),
        ({"x": t, "y": list[t | None], "k": Union[int, float, bool], "return": int}, {"k": 1}, ()),  # noqa: UP007
        ({"x": t, "y": m.dtype, "k": m.device, "return": tuple[t, t]}, {}, {"x"}),
    ]


@needs_torch
@pytest.mark.parametrize("i", range(6))
def test_schemas(i: int) -> None:
    texts = []
    for m in (wg, torch):
        hints, defaults, mutates = prototypes(m)[i]

        def fn(x: Any, y: Any, *, k: Any) -> Any: ...

        fn.__annotations__ = hints
        fn.__kwdefaults__ = {"k": defaults["k"]} if "k" in defaults else None
        fn.__defaults__ = (defaults["y"],) if "y" in defaults else None
        texts.append(m.library.infer_schema(fn, mutates_args=mutates, op_name="a::f"))
    assert texts[0] == texts[1]


def no_hint(x): ...  # type: ignore[no-untyped-def]
def no_result(x: int): ...  # type: ignore[no-untyped-def]
def run(*x: int) -> None: ...
def odd(x: dict) -> None: ...
def odd_result(x: int) -> dict: ...  # type: ignore[empty-body]
def odd_default(x: Sequence[int] = (1,)) -> None: ...


@both
@pytest.mark.parametrize(
    ("fn", "mutates", "message"),
    [
        (no_hint, (), "Parameter x must have a type annotation"),
        (no_result, (), "No return type annotation was provided"),
        (run, (), "positional-only args, varargs, or varkwargs"),
        (odd, (), "Parameter x has unsupported type"),
        (odd_result, (), "Return has unsupported type"),
        (odd_default, (), "unsupported default value type"),
        (no_result, ("y",), "were not found in the custom op's signature|No return"),
    ],
)
def test_wrong_prototypes(m: Any, fn: Any, mutates: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        m.library.infer_schema(fn, mutates_args=mutates)


@pytest.mark.parametrize(
    ("name", "schema", "error", "message"),
    [
        ("f", None, ValueError, "namespace::name"),
        ("a::b-c", None, ValueError, "namespace::name"),
        ("a::f", "(Tensor x", RuntimeError, "expected parameters in parentheses"),
        ("a::f", "(Tensor x)", RuntimeError, "expected -> and results"),
        ("a::f", "(Tenser x) -> Tensor", RuntimeError, "unknown type specifier 'Tenser'"),
        ("a::f", "(Tensor) -> Tensor", RuntimeError, "expected a type and a name"),
        ("a::f", "(Tensor x) -> dict", RuntimeError, "unknown type 'dict' of a result"),
        ("a::f", "(Tensor x, int x) -> Tensor", RuntimeError, "two parameters of one name"),
        ("a::f", "(Tensor x, int n=q) -> Tensor", RuntimeError, "'q' cannot be the default of n"),
    ],
)
def test_wrong_definitions(name: str, schema: str | None, error: type, message: str) -> None:
    def fn(x: wg.Tensor) -> wg.Tensor:
        return x.clone()

    with pytest.raises(error, match=message):
        wg.library.custom_op(name, mutates_args=(), schema=schema)(fn)


@both
def test_a_schema_that_is_given(m: Any) -> None:
    op = m.library.custom_op(
        "wgtest::given",
        mutates_args=(),
        schema="(Tensor x, int[] dims, str how='sum', *, bool keep=False) -> Tensor",
    )(lambda x, dims, how="sum", *, keep=False: getattr(x, how)(dims, keepdim=keep))
    x = m.ones(2, 3)
    assert op(x, [1]).tolist() == [3.0, 3.0]
    assert op(x, [0, 1], "amax", keep=True).tolist() == [[1.0]]


@both
def test_wrong_results(m: Any) -> None:
    op = define(m, "liar", lambda x: 1, {"x": m.Tensor, "return": m.Tensor})
    with pytest.raises(RuntimeError):
        op(m.ones(1))


@both
def test_registrations_by_name(m: Any) -> None:
    op = define(m, "later", lambda x: x + 0, {"x": m.Tensor, "return": m.Tensor})
    m.library.register_autograd("wgtest::later", lambda ctx, g: g * 7)
    x = leaf(m, 1.0)
    op(x).sum().backward()
    assert x.grad.item() == 7.0

    @m.library.register_fake("wgtest::later")
    def shape(x: Any) -> Any:
        return m.empty_like(x)

    @m.library.register_kernel("wgtest::later", "cpu")
    def other(x: Any) -> Any:
        return x + 1

    assert op(m.ones(1)).item() == 2.0
    with pytest.raises((ValueError, AttributeError), match="nowhere"):
        m.library.register_autograd("wgtest::nowhere", lambda ctx, g: g)


def test_the_tape_names_it() -> None:
    op = sine(wg, "traced")
    x = leaf(wg, 0.5, 1.5)
    tape = wg.tape(lambda: op(x).sum())
    assert "GeneratedBackwardFor_wgtest_traced" in str(tape)


def test_the_page_runs() -> None:
    import re
    from pathlib import Path

    page = Path(__file__).resolve().parent.parent / "docs" / "custom-operations.md"
    (block, *_) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    exec(compile(block, str(page), "exec"), {})
