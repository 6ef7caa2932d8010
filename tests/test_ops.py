"""Every row of the operation table through every check: values, dtypes, layouts, derivatives."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import DTYPES, FLOATS, ROWS, SPECIAL, Draw, Row, Sample
from oracle import needs_torch, torch
from wengert import _core
from wengert.testing import gradcheck, gradgradcheck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


EXPOSURE = {name: where for name, _, where, _, _ in _core.op_rows()}
INPLACE = {name for name, _, _, inplace, _ in _core.op_rows() if inplace}
EXACT = {"neg", "abs", "square", "relu", "add", "sub", "mul", "div", "maximum", "minimum"}
METHOD, FUNCTION, FUNCTIONAL, INTERNAL, LINALG = 1, 2, 4, 8, 16


def rows(keep: Callable[[Row], Any] = lambda row: True) -> Any:
    return pytest.mark.parametrize(
        "row", [r for r in ROWS.values() if keep(r)], ids=lambda r: r.name
    )


def rows_and_dtypes(dtypes: Sequence[str], keep: Callable[[Row], Any] = lambda row: True) -> Any:
    cases = [(r, d) for r in ROWS.values() if keep(r) for d in dtypes if d in r.dtypes]
    return pytest.mark.parametrize(("row", "dtype"), cases, ids=[f"{r.name}-{d}" for r, d in cases])


each_float = pytest.mark.parametrize("dtype", FLOATS)


# --- calling -----------------------------------------------------------------------------------


def forms(name: str) -> list[Callable[..., Any]]:
    """All ways to call an operation."""
    homes = {METHOD: wg.Tensor, FUNCTION: wg, FUNCTIONAL: wg.nn.functional, INTERNAL: _core}
    found = [getattr(home, name) for bit, home in homes.items() if EXPOSURE[name] & bit]
    if EXPOSURE[name] & LINALG:
        found.append(getattr(wg.linalg, name.removeprefix("linalg_")))
    return found


def oracle(row: Row) -> Callable[..., Any]:
    if row.torch is not None:
        return row.torch(torch)
    if EXPOSURE[row.name] & LINALG:
        return getattr(torch.linalg, row.name.removeprefix("linalg_"))
    home = torch if EXPOSURE[row.name] & FUNCTION or hasattr(torch, row.name) else None
    return getattr(home or torch.nn.functional, row.name)


def converted(sample: Sample, convert: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
    """The sample's arguments with arrays, also those in lists, turned into tensors."""

    def one(x: Any) -> Any:
        if isinstance(x, list) and x and isinstance(x[0], np.ndarray):
            return [convert(each) for each in x]
        return convert(x) if isinstance(x, np.ndarray) else x

    return [one(x) for x in sample.args], {k: one(v) for k, v in sample.kwargs.items()}


def to_wg(a: Any) -> Any:
    return wg.tensor(a)


def to_torch(a: Any) -> Any:
    return torch.from_numpy(np.array(a))


def apply(fn: Callable[..., Any], sample: Sample, convert: Callable[[Any], Any]) -> tuple[Any, ...]:
    args, kwargs = converted(sample, convert)
    result = fn(*args, **kwargs)
    return tuple(result) if isinstance(result, tuple) else (result,)


def array(t: Any) -> Any:
    return t.detach().numpy()


def dtype_name(t: Any) -> str:
    return str(t.dtype).rpartition(".")[2]


def wide(a: Any) -> Any:
    return a.astype("longdouble") if a.dtype.kind == "f" else a


# --- comparing ---------------------------------------------------------------------------------


def ulps(got: Any, exact: Any) -> float:
    """The largest distance in units in the last place of got's dtype; not finite must be equal."""
    with np.errstate(over="ignore"):
        rounded = exact.astype(got.dtype)
    finite = np.isfinite(rounded) & np.isfinite(got)
    np.testing.assert_array_equal(got[~finite], rounded[~finite])
    gap = np.abs(got[finite].astype(exact.dtype) - exact[finite])
    return float(np.max(gap / np.spacing(np.abs(rounded[finite])), initial=0))


def assert_close(row: Row, got: Any, want: Any, exact: Any = None) -> None:
    """Equal dtypes, shapes and, within the row's tolerance, values."""
    assert dtype_name(got) == dtype_name(want)
    assert tuple(got.shape) == tuple(want.shape)
    if row.compare == "shape":
        return
    g, w = array(got), array(want)
    if not got.dtype.is_floating_point:
        np.testing.assert_array_equal(g, w)
    elif row.elementwise:
        # PyTorch's own float64 functions, square root included, are not the nearest numbers
        slack = 1.0 if g.dtype == np.float64 and row.name not in EXACT else 0.01
        assert ulps(g, w if exact is None else array(exact)) <= row.ulp + slack
    else:
        eps = float(np.finfo(g.dtype).eps) * row.rtol
        np.testing.assert_allclose(g, w, rtol=eps, atol=eps)


def assert_same(a: Any, b: Any) -> None:
    assert dtype_name(a) == dtype_name(b)
    np.testing.assert_array_equal(array(a), array(b), strict=True)


# --- the table itself --------------------------------------------------------------------------


def test_every_operation_has_a_row_and_every_row_an_operation() -> None:
    assert set(EXPOSURE) == set(ROWS)


def test_rows_name_their_inplace_forms() -> None:
    assert {r.name for r in ROWS.values() if r.inplace} == INPLACE


@pytest.mark.parametrize("name", EXPOSURE)
def test_operation_is_where_its_row_says(name: str) -> None:
    assert forms(name)
    assert all(callable(f) for f in forms(name))
    assert (name in dir(wg)) >= bool(EXPOSURE[name] & FUNCTION)
    assert hasattr(wg.Tensor, name + "_") >= (name in INPLACE)


# --- forward -----------------------------------------------------------------------------------


@needs_torch
@rows_and_dtypes(DTYPES)
def test_forward(row: Row, dtype: str) -> None:
    for sample in row.draw(dtype):
        refuses: Any = (RuntimeError, TypeError) if dtype in row.refuses else None
        try:
            want = apply(oracle(row), sample, to_torch)
        except (RuntimeError, TypeError, IndexError, ValueError) as expected:
            if dtype in row.extends:
                continue
            refuses = refuses or (type(expected), *type(expected).__bases__)
        if refuses is not None:
            for fn in forms(row.name):
                with pytest.raises(refuses):
                    apply(fn, sample, to_wg)
            continue
        exact: tuple[Any, ...] = (None,) * len(want)
        if row.elementwise and want[0].dtype.is_floating_point:
            exact = apply(oracle(row), sample, lambda a: to_torch(a.astype("float64")))
        for fn in forms(row.name):
            if fn is getattr(wg.Tensor, row.name, None) and not isinstance(
                sample.args[0], np.ndarray
            ):
                continue
            got = apply(fn, sample, to_wg)
            assert len(got) == len(want)
            for g, w, e in zip(got, want, exact, strict=True):
                assert_close(row, g, w, e)


@needs_torch
@rows(lambda r: r.draw_wrong())
def test_wrong_arguments_are_refused(row: Row) -> None:
    for sample in row.draw_wrong():
        with pytest.raises((RuntimeError, TypeError, IndexError, ValueError)) as expected:
            apply(oracle(row), sample, to_torch)
        for fn in forms(row.name):
            with pytest.raises((expected.type, *expected.type.__bases__)):
                apply(fn, sample, to_wg)


@rows_and_dtypes(FLOATS, lambda r: r.reference)
def test_forward_against_numpy(row: Row, dtype: str) -> None:
    for sample in row.draw(dtype):
        (got,) = apply(forms(row.name)[0], sample, to_wg)
        assert row.reference is not None
        exact = row.reference(*(wide(a) if isinstance(a, np.ndarray) else a for a in sample.args))
        if np.asarray(exact).dtype == bool:
            np.testing.assert_array_equal(array(got), exact)
        else:
            assert ulps(array(got), np.asarray(exact, "longdouble")) <= row.ulp + 0.01


def relaid(a: Any, layout: str) -> Any:
    """The same values (or, expanded, repeated ones) with other strides."""
    if a.ndim == 0 or a.size == 0:
        return np.array(a)
    if layout == "transposed":
        return np.array(a.T, order="C").T
    if layout == "step":
        wide = np.zeros((*a.shape[:-1], a.shape[-1] * 3), a.dtype)
        wide[..., 1::3] = a
        return wide[..., 1::3]
    if layout == "offset":
        long = np.zeros(a.size + 1, a.dtype)
        long[1:] = a.ravel()
        return long[1:].reshape(a.shape)
    # expanded: the first slice, seen again and again without copying
    return np.lib.stride_tricks.as_strided(a, a.shape, (0, *a.strides[1:]))


@pytest.mark.parametrize("layout", ["transposed", "step", "offset", "expanded"])
@rows_and_dtypes(
    ("float32", "int64"),
    lambda r: r.compare == "values" and r.name not in ("copy_", "fill_", "zero_", "view"),
)
def test_layouts_do_not_matter(row: Row, dtype: str, layout: str) -> None:
    for sample in row.draw(dtype):

        def strided(a: Any) -> Any:
            return wg.from_numpy(relaid(a, layout))

        def dense(a: Any) -> Any:
            return wg.from_numpy(np.array(relaid(a, layout)))

        try:
            want = apply(forms(row.name)[0], sample, dense)
        except (RuntimeError, TypeError) as refusal:
            with pytest.raises(type(refusal)):
                apply(forms(row.name)[0], sample, strided)
            continue
        got = apply(forms(row.name)[0], sample, strided)
        for g, w in zip(got, want, strict=True):
            assert_close(row, g, w) if not row.elementwise else assert_same(g, w)


@rows_and_dtypes(DTYPES, lambda r: r.inplace)
def test_inplace_equals_out_of_place(row: Row, dtype: str) -> None:
    for sample in row.draw(dtype):
        args, _ = converted(sample, to_wg)
        if not isinstance(args[0], wg.Tensor):
            continue
        try:
            want = getattr(args[0], row.name)(*args[1:])
        except RuntimeError:
            with pytest.raises(RuntimeError):
                getattr(args[0], row.name + "_")(*args[1:])
            continue
        fits = want.shape == args[0].shape and (
            want.dtype is args[0].dtype
            or (
                (args[0].dtype.is_floating_point >= want.dtype.is_floating_point)
                and args[0].dtype is not wg.bool
            )
        )
        if not fits:
            with pytest.raises(RuntimeError):
                getattr(args[0], row.name + "_")(*args[1:])
            continue
        address, version = args[0].data_ptr(), args[0]._version
        result = getattr(args[0], row.name + "_")(*args[1:])
        assert result is args[0]
        assert (result.data_ptr(), result._version) == (address, version + 1)
        assert_same(result, want.to(result.dtype))


@rows(lambda r: r.inplace and r.elementwise)
def test_inplace_on_strided_memory_leaves_the_rest(row: Row) -> None:
    dtype = "int64" if "float64" in row.refuses else "float64"
    d = Draw(row, dtype)
    memory = to_wg(d(4, 6))
    others = [to_wg(d(4, 3, operand=1)) for _ in range(row.elementwise - 1)]
    before, want = memory.clone(), getattr(memory[:, ::2], row.name)(*others).to(memory.dtype)
    getattr(memory[:, ::2], row.name + "_")(*others)
    assert_same(memory[:, ::2], want)
    assert_same(memory[:, 1::2], before[:, 1::2])


@needs_torch
@each_float
@rows(lambda r: r.elementwise and "float64" not in r.refuses)
def test_special_values(row: Row, dtype: str) -> None:
    # PyTorch's float32 remainder by a subnormal number is NaN
    special = [v for v in SPECIAL if v != 1e-45 or row.name not in ("fmod", "remainder")]
    operands = np.array(list(itertools.product(special, repeat=row.elementwise)), dtype).T
    sample = Sample(tuple(np.repeat(a, 3) for a in operands))  # past one vector, into the tail
    (got,) = apply(forms(row.name)[0], sample, to_wg)
    (want,) = apply(oracle(row), sample, to_torch)
    (exact,) = apply(oracle(row), sample, lambda a: to_torch(a.astype("float64")))
    g, w, e = array(got), array(want), array(exact)
    if g.dtype == bool:
        np.testing.assert_array_equal(g, w)
        return
    np.testing.assert_array_equal(np.isnan(g), np.isnan(w))
    zero = w == 0
    np.testing.assert_array_equal(np.signbit(g[zero]), np.signbit(w[zero]))
    assert ulps(g, e) <= row.ulp + (1 if dtype == "float64" else 0.01)


@pytest.mark.parametrize("dtype", ["float32", "float64", "int64"])
@rows(lambda r: r.elementwise)
def test_large_equals_small(row: Row, dtype: str) -> None:
    """Threads, vectors and tails: every piece of a long operand gives the bits it gives alone."""
    if dtype in row.refuses or dtype not in row.dtypes:
        return
    d, n = Draw(row, dtype), 300_007
    operands = [d(n, operand=i) for i in range(row.elementwise)]
    whole = forms(row.name)[0](*map(to_wg, operands))
    for start, stop in ((0, 1), (5, 22), (131_060, 131_100), (n - 37, n)):
        piece = forms(row.name)[0](*(to_wg(a[start:stop]) for a in operands))
        assert_same(whole[start:stop], piece)


LARGE = [((300_007,), None), ((1001, 301), 0), ((1001, 301), 1), ((7, 150, 301), (0, 2)),
         ((3, 100_003), 1), ((100_003, 3), 0), ((64, 5, 64, 16), 1)]  # fmt: skip


@each_float
@pytest.mark.parametrize(("shape", "dim"), LARGE)
@pytest.mark.parametrize("name", ["sum", "mean", "amax", "amin"])
def test_large_reductions(name: str, shape: tuple[int, ...], dim: Any, dtype: str) -> None:
    x = Draw(ROWS[name], dtype)(*shape)
    got = array(getattr(to_wg(x), name)(dim))
    if name in ("amax", "amin"):
        np.testing.assert_array_equal(got, getattr(np, name)(x, axis=dim))
        return
    exact = getattr(np, name)(x.astype("longdouble"), axis=dim)
    scale = getattr(np, name)(np.abs(x).astype("longdouble"), axis=dim)
    assert float(np.max(np.abs(got - exact) / scale)) < 4 * np.finfo(dtype).eps


@pytest.mark.parametrize("name", ["argmax", "argmin", "max", "min"])
@pytest.mark.parametrize(
    "values", [[1, 1, 1], [0, 2, 2, 1, 0, 0], [np.nan, 1.0], [1.0, np.nan, np.nan, 5.0]]
)
def test_index_of_extremes_is_the_first(name: str, values: list[float]) -> None:
    x = np.tile(np.array(values, "float64"), 9)
    if name.startswith("arg"):
        assert to_wg(x).__getattribute__(name)().item() == getattr(np, name)(x)
        return
    best, at = getattr(to_wg(x), name)(0)
    assert at.item() == getattr(np, "arg" + name)(x)
    np.testing.assert_array_equal(array(best), x[at.item()])


@rows(lambda r: r.view)
def test_views_share_memory(row: Row) -> None:
    for sample in row.draw("float32"):
        args, kwargs = converted(sample, to_wg)
        result = forms(row.name)[0](*args, **kwargs)
        if args[0].numel() and result.numel():
            low, high = args[0].data_ptr(), args[0].data_ptr() + args[0].nbytes
            assert low <= result.data_ptr() < high


# --- derivatives -------------------------------------------------------------------------------


def leaves_of(
    sample: Sample, convert: Callable[[Any], Any]
) -> tuple[Any, list[Any], dict[str, Any]]:
    """The floating point tensors of a sample, made to require grad, and all its arguments."""
    leaves: list[Any] = []

    def leaf(a: Any) -> Any:
        t = convert(a)
        if t.dtype.is_floating_point:
            leaves.append(t.requires_grad_())
        return t

    args, kwargs = converted(sample, leaf)
    for name in sample.constants:
        leaves = [t for t in leaves if t is not kwargs[name]]
        kwargs[name] = kwargs[name].detach()
    return leaves, args, kwargs


def pulled(
    fn: Callable[..., Any], sample: Sample, convert: Callable[[Any], Any], **how: Any
) -> Any:
    """Gradients of the differentiable outputs, weighted by fixed numbers."""
    leaves, args, kwargs = leaves_of(sample, convert)
    result = fn(*args, **kwargs)
    outputs = [t for t in (result if isinstance(result, tuple) else (result,)) if t.requires_grad]
    weights = [
        convert(np.linspace(-1, 2, y.numel()).reshape(tuple(y.shape)).astype(dtype_name(y)))
        for y in outputs
    ]
    library = wg if convert is to_wg else torch
    return library.autograd.grad(outputs, leaves, weights, materialize_grads=True, **how)


differentiable = rows(lambda r: r.differentiable)


@needs_torch
@each_float
@differentiable
def test_gradients_equal_torch(row: Row, dtype: str) -> None:
    eps = float(np.finfo(dtype).eps) * max(row.rtol, 4 * row.ulp) * 4
    for sample in row.draw(dtype):
        for got, want in zip(
            pulled(forms(row.name)[-1], sample, to_wg),
            pulled(oracle(row), sample, to_torch),
            strict=True,
        ):
            assert dtype_name(got) == dtype_name(want)
            np.testing.assert_allclose(array(got), array(want), rtol=eps, atol=eps)


@each_float
@differentiable
def test_fused_backward_equals_its_rule(row: Row, dtype: str) -> None:
    """The kernel of a derivative gives what the recorded operations of create_graph give."""
    tolerance = 500 * float(np.finfo(dtype).eps)
    for sample in row.draw(dtype):
        fused = pulled(forms(row.name)[-1], sample, to_wg)
        recorded = pulled(forms(row.name)[-1], sample, to_wg, create_graph=True)
        for f, r in zip(fused, recorded, strict=True):
            assert dtype_name(f) == dtype_name(r)
            np.testing.assert_allclose(array(f), array(r), rtol=tolerance, atol=tolerance / 100)


@rows(lambda r: r.differentiable)
def test_gradients_through_results(row: Row) -> None:
    """Operands that are results of other operations get the gradients that leaves get."""
    for sample in row.draw("float64"):
        fn, leaves = as_function(row, sample)
        direct = wg.autograd.grad(first(fn(*leaves)).sum(), leaves, materialize_grads=True)
        through = wg.autograd.grad(
            first(fn(*(x * 1 for x in leaves))).sum(), leaves, materialize_grads=True
        )
        for a, b in zip(direct, through, strict=True):
            assert_same(a, b)


def first(result: Any) -> Any:
    return result[0] if isinstance(result, tuple) else result


def as_function(row: Row, sample: Sample) -> tuple[Callable[..., Any], list[Any]]:
    """The call as a function of its floating point tensors alone, and these."""
    leaves, args, kwargs = leaves_of(sample, to_wg)

    def fn(*given: Any) -> Any:
        replace = dict(zip(map(id, leaves), given, strict=True))

        def pick(x: Any) -> Any:
            return [pick(e) for e in x] if isinstance(x, list) else replace.get(id(x), x)

        result = forms(row.name)[-1](*map(pick, args), **{k: pick(v) for k, v in kwargs.items()})
        return tuple(result) if isinstance(result, tuple) else result

    return fn, leaves


def small(row: Row) -> list[Sample]:
    def size(sample: Sample) -> int:
        arrays = itertools.chain(*(a if isinstance(a, list) else [a] for a in sample.args))
        return sum(a.size for a in arrays if isinstance(a, np.ndarray))

    return [s for s in row.draw("float64", small=True) if size(s) <= 40]


@differentiable
def test_gradcheck(row: Row) -> None:
    for sample in small(row):
        gradcheck(*as_function(row, sample), check_grad_dtypes=True)


@rows(lambda r: r.differentiable)
def test_gradgradcheck(row: Row) -> None:
    for sample in small(row):
        gradgradcheck(*as_function(row, sample), check_grad_dtypes=True)


@rows(lambda r: r.third)
def test_third_derivative(row: Row) -> None:
    sample = next(s for s in small(row) if any(np.size(a) > 1 for a in s.args))
    fn, leaves = as_function(row, sample)

    def gradient(*xs: Any) -> Any:
        return wg.autograd.grad(fn(*xs).square().sum(), xs, create_graph=True)

    gradgradcheck(gradient, leaves, rtol=1e-2)


@each_float
@rows(lambda r: r.differentiable and r.elementwise == 2)
def test_gradients_of_mixed_dtypes(row: Row, dtype: str) -> None:
    """Each gradient has its operand's dtype, whatever the operation computed in."""
    other = {"float32": "float64", "float64": "float32"}[dtype]
    d = Draw(row, dtype)
    a = to_wg(d(2, 3)).requires_grad_()
    b = to_wg(d(3, operand=1).astype(other)).requires_grad_()
    forms(row.name)[0](a, b).sum().backward()
    assert (dtype_name(a.grad), dtype_name(b.grad)) == (dtype, other)
    assert (tuple(a.grad.shape), tuple(b.grad.shape)) == ((2, 3), (3,))


@needs_torch
@pytest.mark.parametrize(
    "name", ["amax", "amin", "maximum", "minimum", "abs", "relu", "max", "min"]
)
def test_gradients_at_kinks(name: str) -> None:
    x = np.array([[0.0, 0.0, 1.0], [2.0, 2.0, -0.0]])
    sample = Sample((x, np.zeros((2, 3))) if name.endswith("imum") else (x,))
    for got, want in zip(
        pulled(getattr(wg, name), sample, to_wg),
        pulled(getattr(torch, name), sample, to_torch),
        strict=True,
    ):
        np.testing.assert_array_equal(array(got), array(want))
