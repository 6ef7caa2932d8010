"""Every row of the operation table on a CUDA device, compared with the processor."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import wengert as wg
from op_table import ROWS, Row, Sample
from test_ops import as_function, forms, leaves_of, relaid
from wengert import _core
from wengert.testing import gradcheck

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

pytestmark = pytest.mark.cuda
if not wg.cuda.is_available():
    pytest.skip(f"no CUDA device: {_core.cuda.why_none()}", allow_module_level=True)

SAMPLES = 3  # of a row
# Rows of numbers beyond the float that no sample of the table shows.
NARROW = ("float16", "bfloat16", "int8", "uint8", "int16", "int32")
# What these give is unset memory, an address or a text.
UNSET = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}


# Goes from device to device: in test_cuda_device.
ALL = [r for r in ROWS.values() if r.name != "_to_device"]


def rows(keep: Callable[[Row], Any] = lambda row: True) -> Any:
    return pytest.mark.parametrize("row", [r for r in ALL if keep(r)], ids=lambda r: r.name)


def rows_and_dtypes(dtypes: Sequence[str]) -> Any:
    cases = [(r, d) for r in ALL for d in dtypes if d in r.dtypes]
    return pytest.mark.parametrize(("row", "dtype"), cases, ids=[f"{r.name}-{d}" for r, d in cases])


def here(a: Any) -> Any:
    return wg.tensor(a)


def there(a: Any) -> Any:
    return wg.tensor(a, device="cuda")


def with_tensors(sample: Sample, convert: Callable[[Any], Any]) -> tuple[list[Any], dict[str, Any]]:
    def one(x: Any) -> Any:
        if isinstance(x, list) and x and isinstance(x[0], np.ndarray):
            return [convert(each) for each in x]
        return convert(x) if isinstance(x, np.ndarray) else x

    return [one(x) for x in sample.args], {k: one(v) for k, v in sample.kwargs.items()}


def has_tensors(sample: Sample) -> bool:
    def arrays(x: Any) -> bool:
        return isinstance(x, np.ndarray) or (isinstance(x, list) and any(map(arrays, x)))

    return any(map(arrays, (*sample.args, *sample.kwargs.values())))


def settle() -> None:
    """Hear all that the device has still to tell, so that it is not told to the next test."""
    for _ in range(8):
        try:
            wg.cuda.synchronize()
        except (RuntimeError, IndexError, ValueError):
            continue
        break


def called(
    row: Row, sample: Sample, convert: Callable[[Any], Any], fn: Any = None
) -> tuple[tuple[Any, ...] | None, Any]:
    """The results, or the error."""
    args, kwargs = with_tensors(sample, convert)
    where = "cpu" if convert is here else "cuda"
    wg.manual_seed(7)
    try:
        if not has_tensors(sample):
            with wg.device(where):
                result = (fn or forms(row.name)[-1])(*args, **kwargs)
        else:
            result = (fn or forms(row.name)[-1])(*args, **kwargs)
        wg.cuda.synchronize()  # what is wrong with numbers is told when the host waits
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        settle()
        return None, error
    return (tuple(result) if isinstance(result, (tuple, list)) else (result,)), args


def tolerance(row: Row, dtype: wg.dtype) -> float:
    return float(wg.finfo(dtype).eps) * max(row.rtol, 4 * row.ulp, 4)


def assert_close(row: Row, got: Any, want: Any, scale: float = 1.0) -> None:
    if not isinstance(want, wg.Tensor):
        assert got == want
        return
    assert got.device.type == "cuda"
    assert (got.dtype, got.shape) == (want.dtype, want.shape)
    if row.name in UNSET:
        return
    g, w = got.detach().cpu(), want.detach()
    if not w.dtype.is_floating_point:
        np.testing.assert_array_equal(g.numpy(), w.numpy())
        return
    limit = tolerance(row, w.dtype) * scale
    np.testing.assert_allclose(g.double().numpy(), w.double().numpy(), rtol=limit, atol=limit)


def assert_alike(row: Row, sample: Sample) -> None:
    want, error = called(row, sample, here)
    got, about = called(row, sample, there)
    if want is None:
        assert got is None, "the processor refuses it"
        assert type(about) is type(error)
        return
    assert got is not None, about
    assert len(got) == len(want)
    for g, w in zip(got, want, strict=True):
        assert_close(row, g, w)


def spread(samples: list[Sample], most: int = SAMPLES) -> list[Sample]:
    """Some of them, from all of the list."""
    step = max(1, len(samples) // most)
    return samples[::step]


@rows_and_dtypes(("float32", "float64", "int64", "bool"))
def test_forward(row: Row, dtype: str) -> None:
    samples = row.draw(dtype)
    for sample in samples if dtype == "float64" else spread(samples):
        assert_alike(row, sample)


@pytest.mark.parametrize("dtype", NARROW)
@rows(lambda r: r.elementwise)
def test_narrow_dtypes(row: Row, dtype: str) -> None:
    kind = getattr(wg, dtype)
    like = "float32" if kind.is_floating_point else "int64"
    if like not in row.dtypes:
        return
    for sample in spread(row.draw(like), 2):
        cast = Sample(
            tuple(np.abs(a) if dtype == "uint8" else a for a in sample.args), sample.kwargs
        )
        want, _ = called(row, cast, lambda a: here(a).to(kind), forms(row.name)[0])
        got, error = called(row, cast, lambda a: here(a).to("cuda", kind), forms(row.name)[0])
        assert (got is None) == (want is None), error
        for g, w in zip(got or (), want or (), strict=True):
            assert_close(row, g, w)


@pytest.mark.parametrize("layout", ["transposed", "step", "offset", "expanded"])
@rows(lambda r: r.compare == "values" and "float32" in r.dtypes)
def test_layouts_do_not_matter(row: Row, layout: str) -> None:
    if row.name in ("copy_", "fill_", "zero_", "view", "view_as"):
        return

    def strided(a: Any) -> Any:
        """The same strides on the device."""
        t = wg.from_numpy(relaid(a, layout))
        memory = t._storage_bytes().to("cuda")
        return _core._view_of_bytes(memory, t.dtype, t.shape, t.stride(), t.storage_offset())

    for sample in filter(has_tensors, spread(row.draw("float32"), 2)):
        want, _ = called(row, sample, lambda a: here(np.array(relaid(a, layout))))
        got, error = called(row, sample, strided)
        assert (got is None) == (want is None), error
        for g, w in zip(got or (), want or (), strict=True):
            assert_close(row, g, w)


@rows(lambda r: r.inplace)
def test_in_place(row: Row) -> None:
    for dtype in ("float64", "int64"):
        for sample in spread(row.draw(dtype)) if dtype in row.dtypes else ():
            args, _ = with_tensors(sample, here)
            if not isinstance(args[0], wg.Tensor):
                continue
            moved, _ = with_tensors(sample, there)
            try:
                want = getattr(args[0], row.name + "_")(*args[1:])
            except (RuntimeError, TypeError, IndexError, ValueError) as error:
                with pytest.raises(type(error)):
                    getattr(moved[0], row.name + "_")(*moved[1:])
                    wg.cuda.synchronize()
                settle()
                continue
            address = moved[0].data_ptr()
            got = getattr(moved[0], row.name + "_")(*moved[1:])
            assert got is moved[0]
            assert got.data_ptr() == address
            assert_close(row, got, want)


@rows(lambda r: "float32" in r.dtypes)
def test_out(row: Row) -> None:
    """out= is written on the device, and refused elsewhere."""
    fn = getattr(wg, row.name, None)
    if fn is None or fn not in forms(row.name) or row.name in UNSET:
        return
    sample = row.draw("float32")[-1]
    want, _ = called(row, sample, there, fn)
    if want is None or not all(isinstance(w, wg.Tensor) for w in want):
        return
    args, kwargs = with_tensors(sample, there)
    try:
        single = fn(*args, **kwargs)
        many = isinstance(single, (tuple, list))
        outs = tuple(wg.empty_like(w) for w in want)
        with wg.device("cuda"):
            wg.manual_seed(7)
            fn(*args, **kwargs, out=outs if many else outs[0])
    except TypeError:  # no row: a function in Python
        return
    for o, w in zip(outs, want, strict=True):
        assert_close(row, o, w.cpu())
    wrong = tuple(wg.empty(w.shape, dtype=w.dtype, device="cpu") for w in want)
    with wg.device("cuda"), pytest.raises(RuntimeError, match="same device"):
        fn(*args, **kwargs, out=wrong if many else wrong[0])


def pulled(row: Row, sample: Sample, convert: Any) -> Any:
    wg.manual_seed(7)
    leaves, args, kwargs = leaves_of(sample, convert)
    result = forms(row.name)[-1](*args, **kwargs)
    outputs = [t for t in (result if isinstance(result, tuple) else (result,)) if t.requires_grad]
    weights = [
        wg.linspace(-1, 2, y.numel(), dtype=y.dtype, device=y.device).reshape(y.shape)
        for y in outputs
    ]
    return wg.autograd.grad(outputs, leaves, weights, materialize_grads=True)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@rows(lambda r: r.differentiable)
def test_gradients(row: Row, dtype: str) -> None:
    if dtype not in row.dtypes:
        return
    for sample in spread(row.draw(dtype), 3 if dtype == "float64" else 1):
        for g, w in zip(pulled(row, sample, there), pulled(row, sample, here), strict=True):
            assert_close(row, g, w, 16)


@rows(lambda r: r.differentiable)
def test_gradients_of_gradients(row: Row) -> None:
    """What create_graph records is on the device too."""

    def size(sample: Sample) -> int:
        arrays = itertools.chain(*(a if isinstance(a, list) else [a] for a in sample.args))
        return sum(a.size for a in arrays if isinstance(a, np.ndarray))

    samples = [s for s in row.draw("float64", small=True) if 0 < size(s) <= 40]
    for sample in samples[-1:]:
        found = []
        for convert in (there, here):
            wg.manual_seed(7)
            leaves, args, kwargs = leaves_of(sample, convert)
            result = forms(row.name)[-1](*args, **kwargs)
            y = result[0] if isinstance(result, tuple) else result
            if not y.requires_grad:
                return
            first = wg.autograd.grad(
                y.square().sum(), leaves, create_graph=True, materialize_grads=True
            )
            total = sum((g.square().sum() for g in first), wg.zeros((), device=y.device))
            if not total.requires_grad:
                return
            found.append(wg.autograd.grad(total, leaves, materialize_grads=True))
        for g, w in zip(*found, strict=True):
            assert_close(row, g, w, 256)


def test_gradcheck_on_the_device() -> None:
    row = ROWS["tanh"]
    fn, leaves = as_function(row, row.draw("float64")[-1])
    x = leaves[0].detach()[:2, :2, 0, 0, 0].to("cuda").requires_grad_()
    assert gradcheck(fn, (x,))


def test_no_elements_however_long() -> None:
    x = wg.zeros((2**32, 0), device="cuda").t()
    y = x + wg.zeros((0, 1), device="cuda")
    assert y.shape == (0, 2**32)
    assert y.to("cpu").numel() == 0
