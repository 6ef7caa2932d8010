"""Every row of the operation table against PyTorch, with arguments that hypothesis makes.

``WENGERT_EXAMPLES`` is the number of calls of each row.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import ROWS
from test_ops import forms, oracle

torch = pytest.importorskip("torch", reason="PyTorch, the reference, is not installed")
hypothesis = pytest.importorskip("hypothesis", reason="hypothesis, which makes calls, is missing")

from strategies import FLOATING, INTEGERS, Call, calls  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

    from op_table import Row

LACKING = NotImplementedError  # of wengert, for a dtype; PyTorch may look at shapes first
EXAMPLES = int(os.environ.get("WENGERT_EXAMPLES", "20"))
each_row = pytest.mark.parametrize("row", ROWS.values(), ids=list(ROWS))
several = hypothesis.settings(
    max_examples=EXAMPLES,
    derandomize=True,
    deadline=None,
    database=None,
    print_blob=False,
    report_multiple_bugs=False,
    phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
    suppress_health_check=list(hypothesis.HealthCheck),
)


def made(row: Row, *dtypes: str) -> Callable[[Callable[[Call], None]], None]:
    """Runs a check over the calls made for a row."""
    how = calls(row, dtypes) if dtypes else calls(row)
    return lambda check: several(hypothesis.given(how)(check))()


def listed(call: Call, dtypes: tuple[str, ...]) -> bool:
    """Whether an operand is of a listed dtype: int64 stands for all integers."""
    wide = dict.fromkeys(INTEGERS, "int64") | {"float16": "float32", "bfloat16": "float32"}
    return any({o.dtype, wide.get(o.dtype)} & {*dtypes} for o in call.operands())


# --- running -----------------------------------------------------------------------------------


def outcome(fn: Callable[..., Any], call: Call, library: Any) -> Any:
    """The results, or the error."""
    args, kwargs = call.of(library)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            result = fn(*args, **kwargs)
        except Exception as error:
            return error
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def lacking(error: Exception) -> bool:
    """Whether PyTorch has merely no kernel for a dtype: wengert may have one."""
    text = str(error)
    return isinstance(error, (NotImplementedError, RuntimeError)) and (
        "not implemented for" in text
        or "not yet implemented" in text
        or "Unsupported dtype" in text
        or "Use .reshape(...) instead" in text  # of its own intermediate results
    )


def finite(call: Call) -> bool:
    return all(np.isfinite(o.values).all() for o in call.operands())


def distinct(call: Call) -> bool:
    """Whether no tensor has two equal elements."""
    return all(np.unique(o.seen()).size == o.seen().size for o in call.operands())


def narrow(call: Call) -> bool:
    return any(o.dtype in ("float16", "bfloat16") for o in call.operands())


def singular(call: Call) -> bool:
    """Whether a triangle has a zero on its diagonal, or no diagonal."""
    factor = call.operands()[-1].seen()
    return factor.ndim < 2 or not np.diagonal(factor, axis1=-2, axis2=-1).all() or not finite(call)


# Calls of which nothing is compared, and why.
EXCEPTIONS: dict[str, tuple[Callable[[Call], bool], str]] = {
    **dict.fromkeys(
        ("sort", "argsort", "topk", "kthvalue", "median", "nanmedian", "mode"),
        (
            lambda call: not distinct(call) or "sorted" in call.kwargs,
            "which of equal elements comes first is not specified",
        ),
    ),
    **dict.fromkeys(
        ("searchsorted", "bucketize"),
        (lambda call: not finite(call), "there is no order to search in with NaN"),
    ),
    **{
        name: (lambda call: not finite(call), "PyTorch decomposes matrices that are not finite")
        for name, row in ROWS.items()
        if row.name.startswith(("linalg_", "pinv", "inv", "det", "slogdet", "logdet", "cholesky"))
    },
    **dict.fromkeys(
        ("sub", "subtract", "rsub"),
        (
            lambda call: (
                any(o.dtype == "bool" for o in call.operands())
                or any(a is True for a in call.args[1:])
            ),
            "wengert subtracts bools from numbers",
        ),
    ),
    **dict.fromkeys(
        ("clamp", "clip", "clamp_min", "clamp_max"),
        (
            lambda call: any(o.dtype == "uint8" for o in call.operands()),
            "PyTorch wraps a negative bound around",
        ),
    ),
    **{
        name: (
            lambda call: not finite(call),
            "what meets in a sum of infinities depends on the algorithm, and on padding by zeros",
        )
        for name in ROWS
        if name.startswith("conv")
    },
    "batch_norm": (
        lambda call: any(0 in o.seen().shape for o in call.operands()),
        "PyTorch takes batches of nothing",
    ),
    "instance_norm": (
        lambda call: (
            "running_mean" in call.kwargs or any(0 in o.seen().shape for o in call.operands())
        ),
        "PyTorch refuses to write running statistics into memory seen more than once; the same",
    ),
    "var_mean": (lambda call: not finite(call), "PyTorch's running mean of infinities is NaN"),
    **dict.fromkeys(
        ("std", "std_mean"),
        (
            lambda call: not finite(call) or not distinct(call),
            "the same; and the deviation of equal numbers is 0 but for rounding, whose derivative "
            "is anything",
        ),
    ),
    **dict.fromkeys(
        ("softsign", "gradient"),
        (
            lambda call: any(o.dtype not in FLOATING for o in call.operands()),
            "PyTorch's integers overflow before they are divided",
        ),
    ),
    "addbmm": (
        lambda call: any(o.values.size == 0 for o in call.operands()),
        "PyTorch checks the dtypes of matrices one by one, and so not of none",
    ),
    "einsum": (
        lambda call: any(o.dtype not in FLOATING for o in call.operands()),
        "PyTorch sums small integers in int64 where an operand is broadcast",
    ),
    "chain_matmul": (
        lambda call: len(call.args[0]) < 2,
        "it is compared with multi_dot, which refuses a single matrix",
    ),
    "ldexp": (
        lambda call: any(np.abs(o.values).max(initial=0) > 2**31 for o in call.operands()[1:]),
        "PyTorch's powers of 2 with such exponents are off",
    ),
    **dict.fromkeys(
        ("cummax", "cummin"),
        (
            lambda call: call.operands()[0].values.size == 0,
            "PyTorch does not look at the dimension",
        ),
    ),
    "celu": (
        lambda call: not np.isfinite([*call.args[1:], *call.kwargs.values()]).all(),
        "PyTorch's derivative is NaN everywhere where alpha is not finite",
    ),
    "cdist": (lambda call: not finite(call), "PyTorch counts a difference from NaN as NaN"),
    "cholesky_solve": (singular, "what division by zero gives depends on the order of sums"),
    **dict.fromkeys(
        ("huber_loss", "binary_cross_entropy_with_logits"),
        (
            lambda call: len({o.dtype for o in call.operands()}) > 1,
            "PyTorch's result has the dtype of one operand, of other losses that of both",
        ),
    ),
    "polygamma": (lambda call: not finite(call), "PyTorch's limit at infinity is NaN"),
    "nextafter": (narrow, "wengert computes in float32, whose neighbours are nearer"),
    "addmv": (
        lambda call: call.operands()[0].values.ndim == 0,
        "PyTorch looks into a number for its first dimension",
    ),
    "hardtanh": (
        lambda call: len(call.args) > 1 or call.kwargs,
        "PyTorch's bounds may be NaN, and all results with them, but not the wrong way round",
    ),
    "_linear_activation": (
        lambda call: any(o.dtype not in FLOATING for o in call.operands()),
        "only the modules call it, with floating point weights",
    ),
}


def dtype_name(t: Any) -> str:
    return str(t.dtype).rpartition(".")[2]


def array(t: Any) -> Any:
    t = t.detach()
    return (t.float() if dtype_name(t) in ("float16", "bfloat16") else t).numpy()


# --- comparing ---------------------------------------------------------------------------------


def spacing(x: Any, dtype: str) -> Any:
    """The distance of neighbouring numbers of a dtype at x."""
    eps, least, _ = FLOATING[dtype]
    with np.errstate(all="ignore"):
        exponent = np.floor(np.log2(np.maximum(np.abs(x), 2.0**least)))
        return np.ldexp(eps, np.maximum(exponent, least).astype("int64"))


def assert_near(row: Row, got: Any, want: Any, exact: Any = None) -> None:
    """Equal dtypes and shapes; values within the row's tolerance.

    An elementwise result may be ``row.ulp`` and half a unit off the exact one (computed by PyTorch
    in float64) and, where there is none, a unit more off PyTorch's own. Other results may be off by
    ``row.rtol`` eps, relative to the largest element: sums of terms that cancel are as accurate as
    their terms. PyTorch rounds intermediate results of 16-bit dtypes, wengert does not.
    """
    assert dtype_name(got) == dtype_name(want)
    assert tuple(got.shape) == tuple(want.shape)
    if row.compare == "shape":
        return
    g, w, dtype = array(got), array(want), dtype_name(got)
    if dtype not in FLOATING:
        np.testing.assert_array_equal(g, w)
        return
    g, w = g.astype("float64"), w.astype("float64")
    target = w if exact is None else array(exact).astype("float64")
    finite = np.isfinite(g) & np.isfinite(w)
    np.testing.assert_array_equal(g[~finite], w[~finite])
    if not finite.any():
        return
    g, w, target = g[finite], w[finite], target[finite]
    if row.elementwise:
        slack = row.ulp + (0.51 if exact is not None and dtype != "float64" else 2.0)
        off = np.abs(g - target) / spacing(target, dtype)
    else:
        slack = 2 * row.rtol
        scale = np.maximum(np.abs(w), np.minimum(np.max(np.abs(w)), 1e3)) + 1
        off = np.abs(g - target) / (FLOATING[dtype][0] * scale)
    worst = np.argmax(off)
    assert off[worst] <= slack, f"{off[worst]} units off: {g[worst]!r}, expected {target[worst]!r}"


@each_row
def test_results_and_errors(row: Row) -> None:
    fn, reference = forms(row.name)[-1], oracle(row)

    skipped = EXCEPTIONS.get(row.name, (lambda call: False, ""))[0]

    @made(row)
    def check(call: Call) -> None:
        if skipped(call):
            return
        want = outcome(reference, call, torch)
        got = outcome(fn, call, wg)
        if isinstance(want, Exception):
            # parameters that PyTorch lacks, and numbers where it wants tensors
            more = isinstance(want, TypeError) and (call.added or "must be Tensor" in str(want))
            if lacking(want) or more or listed(call, row.extends) or isinstance(got, LACKING):
                return
            assert isinstance(got, Exception), f"PyTorch: {type(want).__name__}: {want}"
            assert isinstance(got, (type(want), *type(want).__bases__)), (
                f"PyTorch: {type(want).__name__}: {want}; wengert: {type(got).__name__}: {got}"
            )
            return
        if isinstance(got, Exception):
            if listed(call, row.refuses):
                return
            raise got
        assert len(got) == len(want)
        dtypes = {o.dtype for o in call.operands()}
        exact: Any = (None,) * len(want)
        if row.elementwise and dtypes <= {"float32", "float16", "bfloat16"} and len(dtypes) == 1:
            same = all(not isinstance(a, (int, float)) for a in call.args)
            if same and want[0].dtype.is_floating_point:
                args, _ = call.of(torch)
                exact = (reference(*(a.double() for a in args)),)
        for g, w, e in zip(got, want, exact, strict=True):
            assert_near(row, g, w, e)


# Of derivatives: relative errors that mpmath shows to be PyTorch's.
# And what both are off by where the numbers to be normalized are nearly equal.
PYTORCH_IS_OFF_BY = {
    "polygamma": 1e-9,
    **dict.fromkeys(("layer_norm", "rms_norm", "group_norm", "batch_norm", "instance_norm"), 1e-9),
}


@pytest.mark.parametrize(
    "row",
    [r for r in ROWS.values() if r.differentiable and r.compare == "values"],
    ids=lambda r: r.name,
)
def test_gradients(row: Row) -> None:
    fn, reference = forms(row.name)[-1], oracle(row)

    skipped = EXCEPTIONS.get(row.name, (lambda call: False, ""))[0]

    def pulled(run: Callable[..., Any], call: Call, library: Any) -> Any:
        leaves: list[Any] = []

        def leaf(t: Any) -> Any:
            if t.dtype.is_floating_point:
                leaves.append(t.detach().requires_grad_())
                return leaves[-1]
            return t

        args, kwargs = call.of(library, leaf)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result = run(*args, **kwargs)
                results = tuple(result) if isinstance(result, (tuple, list)) else (result,)
                outputs = [t for t in results if t.requires_grad]
                weights = [
                    library.from_numpy(np.linspace(-1, 2, y.numel()).reshape(tuple(y.shape))).to(
                        y.dtype
                    )
                    for y in outputs
                ]
                return library.autograd.grad(outputs, leaves, weights, materialize_grads=True)
            except Exception as error:
                return error

    @made(row, "float64")
    def check(call: Call) -> None:
        if not call.ordinary or skipped(call):
            return
        want, got = pulled(reference, call, torch), pulled(fn, call, wg)
        if isinstance(want, Exception) or isinstance(got, Exception):
            return
        for g, w in zip(got, want, strict=True):
            assert tuple(g.shape) == tuple(w.shape)
            assert dtype_name(g) == dtype_name(w)
            a, b = array(g), array(w)
            bound = max(
                2.0**-52 * 4 * max(row.rtol, 4 * row.ulp), PYTORCH_IS_OFF_BY.get(row.name, 0)
            )
            np.testing.assert_allclose(
                a,
                b,
                rtol=bound,
                atol=bound * (1 + np.max(np.abs(b), initial=0, where=np.isfinite(b))),
            )
