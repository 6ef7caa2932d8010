"""Libraries of users' own operations in C++: built apart, loaded, and as good as ours."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import wengert as wg
from extension_build import EXAMPLE, build, build_with_cmake, compiler
from wengert import _core
from wengert.autograd import gradcheck, gradgradcheck


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_with_cmake(tmp_path_factory.mktemp("example") / "build")


@pytest.fixture(scope="module")
def myops(library: Path) -> Any:
    wg.ops.load_library(library)
    return wg.ops.myops


def points(*shape: int, dtype: wg.dtype = wg.float64) -> wg.Tensor:
    wg.manual_seed(1)
    return wg.randn(*shape, dtype=dtype).requires_grad_(dtype.is_floating_point)


def swish2(x: wg.Tensor, beta: float = 1.0) -> wg.Tensor:
    return x * wg.sigmoid(beta * x)


def leaky_sum(x: wg.Tensor, decay: float, *, reverse: bool = False) -> wg.Tensor:
    n = x.shape[-1]
    powers = wg.tensor(
        [[decay ** (t - s) if t >= s else 0.0 for s in range(n)] for t in range(n)],
        dtype=x.dtype,
    )
    return x @ (powers if reverse else powers.T)


# --- the example ---------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(), (5,), (3, 1000), (2, 0), (40000,)])
def test_elementwise_value_and_gradient(myops: Any, shape: tuple[int, ...]) -> None:
    x = points(*shape)
    ours, theirs = swish2(x, 1.5), myops.swish2(x, beta=1.5)
    assert wg.allclose(theirs, ours, rtol=1e-14, atol=1e-15)
    g = wg.randn_like(x)
    (a,) = wg.autograd.grad(ours, x, g)
    (b,) = wg.autograd.grad(theirs, x, g)
    assert wg.allclose(a, b, rtol=1e-13, atol=1e-14)


def test_elementwise_gradients_of_any_order(myops: Any) -> None:
    x = points(3, 4)
    assert gradcheck(lambda x: myops.swish2(x, 0.7), (x,))
    assert gradgradcheck(lambda x: myops.swish2(x, 0.7), (x,))
    y, z = myops.swish2(x, 0.7), swish2(x, 0.7)
    for _ in range(3):
        (y,) = wg.autograd.grad(y.sum(), x, create_graph=True)
        (z,) = wg.autograd.grad(z.sum(), x, create_graph=True)
        assert wg.allclose(y, z, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [wg.float16, wg.bfloat16, wg.float32, wg.int64, wg.bool])
def test_elementwise_dtypes(myops: Any, dtype: wg.dtype) -> None:
    x = wg.tensor([0, 1, 3]).to(dtype)
    y = myops.swish2(x)
    assert y.dtype == (dtype if dtype.is_floating_point else wg.float32)
    assert wg.allclose(y.double(), swish2(x.double()), rtol=2e-2)


def test_elementwise_layouts(myops: Any) -> None:
    x = points(4, 6).detach()
    for v in (x.t(), x[:, ::2], x[1:, 1:], x[:1].expand(4, 6)):
        assert wg.equal(myops.swish2(v), myops.swish2(v.contiguous()))
    into = wg.empty(6, 4, dtype=wg.float64)
    assert myops.swish2(x.t(), out=into) is into
    assert wg.equal(into, myops.swish2(x).t())
    changed = x.clone()
    assert myops.swish2_(changed, 2.0) is changed
    assert wg.equal(changed, myops.swish2(x, 2.0))
    w = points(3)
    y = w * 1
    myops.swish2_(y)
    (g,) = wg.autograd.grad(y.sum(), w)
    assert wg.allclose(g, wg.autograd.grad(swish2(w).sum(), w)[0])


@pytest.mark.parametrize("reverse", [False, True])
def test_kernel_value_and_gradients(myops: Any, reverse: bool) -> None:
    def ours(x: wg.Tensor) -> wg.Tensor:
        return leaky_sum(x, 0.8, reverse=reverse)

    def theirs(x: wg.Tensor) -> wg.Tensor:
        return myops.leaky_sum(x, 0.8, reverse=reverse)  # type: ignore[no-any-return]

    x = points(2, 3, 7)
    assert wg.allclose(theirs(x), ours(x), rtol=1e-13)
    g = wg.randn_like(x)
    (a,), (b,) = (wg.autograd.grad(f(x), x, g) for f in (ours, theirs))
    assert wg.allclose(a, b, rtol=1e-13)
    assert gradcheck(theirs, (x,))
    assert gradgradcheck(lambda x: theirs(x).square(), (x,))
    assert wg.equal(theirs(x.transpose(0, 1)), theirs(x).transpose(0, 1))
    assert theirs(x[:, :, :0]).shape == (2, 3, 0)
    assert theirs(x.half()).dtype == wg.float16


def test_results_do_not_depend_on_threads(myops: Any) -> None:
    x = wg.randn(64, 3000)
    before = wg.get_num_threads()
    try:
        results = []
        for n in (1, 2):
            wg.set_num_threads(n)
            results.append((myops.swish2(x), myops.leaky_sum(x, 0.9)))
    finally:
        wg.set_num_threads(before)
    assert all(map(wg.equal, *results))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda o: o.swish2(), TypeError, r"myops::swish2\(\) missing required argument 'x'"),
        (lambda o: o.swish2(1.0), TypeError, "'x' must be Tensor, not float"),
        (lambda o: o.swish2(wg.ones(2), "a"), TypeError, "'beta' must be float, not str"),
        (lambda o: o.swish2(wg.ones(2), gamma=1), TypeError, "unexpected keyword argument 'gamma'"),
        (lambda o: o.leaky_sum(wg.ones(2), 0.5, True), TypeError, "positional arguments"),
        (lambda o: o.leaky_sum(wg.arange(3), 0.5), RuntimeError, "not defined for int64"),
        (lambda o: o.leaky_sum(wg.tensor(1.0), 0.5), RuntimeError, "at least one dimension"),
        (lambda o: o.swish2_(wg.ones(2, requires_grad=True)), RuntimeError, "leaf"),
        (lambda o: o.swish2_(wg.arange(3)), RuntimeError, "float32"),
    ],
)
def test_errors_of_calls(myops: Any, call: Any, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        call(myops)


def test_the_tape_knows_it(myops: Any) -> None:
    x = points(3, 5, dtype=wg.float32)
    assert myops.swish2(x).grad_fn.name() == "Swish2Backward0"
    seen: list[Any] = []
    y = myops.swish2(x)
    y.register_hook(lambda g: seen.append(g.shape))
    y.sum().backward()
    assert seen == [(3, 5)]
    tape = wg.tape(lambda: myops.swish2(myops.leaky_sum(x, 0.9), 2.0).sum())
    assert "swish2(a, 2)" in str(tape)
    assert Path(__file__).name in str(tape)
    check = tape.check()
    assert "3 right, 0 wrong" in str(check)
    assert "leaky_sum" in str(tape.audit())
    with wg.testing.count_launches() as launches:
        myops.swish2(myops.leaky_sum(x, 0.9)).sum().backward()
    assert {"swish2", "swish2.grad0", "leaky_sum"} <= {*launches.counts}


def test_transforms_know_it(myops: Any) -> None:
    func = pytest.importorskip("wengert.func")
    if not hasattr(func, "vmap"):
        pytest.skip("no vmap")
    x = points(4, 5).detach()
    assert wg.allclose(func.vmap(myops.swish2)(x), myops.swish2(x))
    rows = func.vmap(lambda r: myops.leaky_sum(r, 0.5))(x)
    assert wg.allclose(rows, myops.leaky_sum(x, 0.5))


def test_docstrings_and_names(myops: Any) -> None:
    assert myops.swish2.__doc__.startswith("x sigmoid(beta x)")
    assert myops.swish2.__text_signature__ == "(x, beta=1.0)"
    assert {"swish2", "swish2_", "leaky_sum"} <= {*dir(myops)}
    with pytest.raises(AttributeError, match="'myops' object has no attribute 'swish3'"):
        _ = myops.swish3
    with pytest.raises(AttributeError, match="no attribute 'swish2'"):
        _ = wg.swish2  # type: ignore[attr-defined]


# --- loading -------------------------------------------------------------------------------------


def test_loading_twice_is_once(library: Path, myops: Any) -> None:
    before = myops.swish2
    wg.ops.load_library(library)
    assert wg.ops.myops.swish2 is before
    assert str(library.resolve()) in wg.ops.loaded_libraries


def test_a_name_is_given_once(library: Path, myops: Any, tmp_path: Path) -> None:
    other = build(tmp_path, 'library.add<&twice>("swish2(Tensor x)", "");', "myops")
    with pytest.raises(RuntimeError, match=r"adds myops::swish2, which .* has added already"):
        wg.ops.load_library(other)
    body = 'library.add<&twice>("a(Tensor x)", ""); library.add<&twice>("a(Tensor x)", "");'
    with pytest.raises(RuntimeError, match=r"adds same::a, which .* has added already"):
        wg.ops.load_library(build(tmp_path, body, "same"))
    assert not hasattr(wg.ops.same, "a")
    with pytest.raises(RuntimeError, match="there already"):
        wg.library.custom_op("myops::swish2", mutates_args=(), schema="(Tensor x) -> Tensor")(abs)


@pytest.fixture(scope="module")
def any_signature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A library that adds a function by a signature of the test's choice."""
    body = """
      const std::string function = std::getenv("ADDED_FUNCTION");
      library.add<&twice>("g(Tensor x)", "");
      if (function == "twice") library.add<&twice>(std::getenv("ADDED_SIGNATURE"), "");
      if (function == "scaled") library.add<&scaled>(std::getenv("ADDED_SIGNATURE"), "");
    """
    return build(tmp_path_factory.mktemp("any"), body, "bad")


@pytest.mark.parametrize(
    ("function", "signature", "message"),
    [
        ("twice", "f", "no parameters in parentheses"),
        ("twice", "f(Tensor x", "no parameters in parentheses"),
        ("twice", "", "no parameters in parentheses"),
        ("twice", ")(", "no parameters in parentheses"),
        ("twice", "f g(Tensor x)", "'bad::f g' cannot be an operation's name"),
        ("twice", "(Tensor x)", "'bad::' cannot be an operation's name"),
        ("twice", "f(x)", "'x' should be a type and a name"),
        ("twice", "f(Tenser x)", "unknown type 'Tenser'; the types are Tensor, Value"),
        ("twice", "f(? x)", "unknown type ''"),
        ("twice", "f(Tensor 1x)", "'1x' cannot be a parameter's name"),
        ("twice", "f(Tensor x) -> 3", "expected names of results"),
        ("twice", "f(Tensor x) y", "'y' after the parameters"),
        ("twice", "f(Tensor x, int n)", "it has 2 parameters, but its C.. function takes 1"),
        ("twice", "f(int x)", "parameter 1, x, is of another type"),
        ("scaled", "f(Tensor x, float? by)", "parameter 2, by, is of another type"),
        ("scaled", "f(Tensor x, float by=a)", "'a' cannot be the default of by"),
        ("scaled", "f(Tensor x, float x)", "two parameters are called x"),
        ("scaled", "f(Tensor x=None, float by)", "'None' cannot be the default of x"),
        ("scaled", "f(Tensor? x=None, float by)", "by without a default comes after"),
    ],
)
def test_bad_signatures(
    function: str,
    signature: str,
    message: str,
    any_signature: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ADDED_FUNCTION", function)
    monkeypatch.setenv("ADDED_SIGNATURE", signature)
    with pytest.raises(ValueError) as raised:
        wg.ops.load_library(any_signature)
    assert str(raised.value).startswith(f"signature 'bad::{signature.split('(')[0]}")
    assert re.search(message, str(raised.value))
    assert not hasattr(wg.ops.bad, "g")  # all or nothing


def test_results_and_optional_types(tmp_path: Path) -> None:
    body = """
      library.add<&twice>("twice(Tensor x) -> Tensor", "");
      library.add<&both>("both(Tensor x) -> doubled, same", "");
    """
    wg.ops.load_library(build(tmp_path, body, "kinds"))
    x = points(3)
    assert wg.equal(wg.ops.kinds.twice(x), x + x)
    found = wg.ops.kinds.both(x)
    assert wg.equal(found.doubled, x + x)
    assert wg.equal(found.same, x)


def test_another_wengert(tmp_path: Path) -> None:
    library = build(tmp_path, 'library.add<&twice>("f(Tensor x)", "");', "older")
    there = library.read_bytes()
    at = there.index(b"(headers ") + len(b"(headers ")
    library.write_bytes(there[:at] + b"000000000000" + there[at + 12 :])
    message = r"older.so was built for wengert .* \(headers 000000000000\), but this is wengert .*"
    with pytest.raises(RuntimeError, match=message):
        wg.ops.load_library(library)
    # and where a symbol is missing, which the loader finds first
    missing = there.replace(b"_ZN7wengert3ops3addE", b"_ZN7wengert3ops3odd_")
    assert missing != there
    other = tmp_path / "missing.so"
    at = missing.index(b"(headers ") + len(b"(headers ")
    other.write_bytes(missing[:at] + b"000000000000" + missing[at + 12 :])
    with pytest.raises(RuntimeError, match=r"headers 000000000000\), but this is"):
        wg.ops.load_library(other)
    other.write_bytes(missing)
    with pytest.raises(RuntimeError, match=r"could not load this library.*undefined symbol"):
        wg.ops.load_library(other)


def test_another_processor(tmp_path: Path) -> None:
    library = build(tmp_path, 'library.add<&twice>("f(Tensor x)", "");', "future")
    there = library.read_bytes()
    isa = _core.config()["isa"].encode() + b"\0"
    if there.count(isa) != 1:
        pytest.skip("the library's instruction set cannot be told from other text in it")
    library.write_bytes(there.replace(isa, b"x" * (len(isa) - 1) + b"\0"))
    with pytest.raises(RuntimeError, match=r"was built for processors with x+, which this one"):
        wg.ops.load_library(library)


def test_what_is_no_library(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="Could not load this library"):
        wg.ops.load_library(tmp_path / "none.so")
    text = tmp_path / "text.so"
    text.write_text("no library")
    with pytest.raises(RuntimeError, match=r"could not load this library: .*text\.so"):
        wg.ops.load_library(text)
    with pytest.raises(RuntimeError, match="does not define wengert_extension"):
        wg.ops.load_library(Path(wg.utils.cpp_extension.library_paths()[0]) / "libwengert.so")


def test_load_builds_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", compiler())
    source = tmp_path / "quick.cpp"
    text = (EXAMPLE / "myops.cpp").read_text()
    source.write_text(text.replace('"myops"', '"quick"'))
    load = wg.utils.cpp_extension.load
    load("quick", source, ["-O1"], build_directory=tmp_path)
    built = (tmp_path / "quick.so").stat().st_mtime_ns
    load("quick", [source], build_directory=tmp_path)
    assert (tmp_path / "quick.so").stat().st_mtime_ns == built
    assert wg.ops.quick.swish2(wg.ones(2)).shape == (2,)
    source.write_text("#include <wengert/extension.h>\nthis is no C++\n")
    with pytest.raises(RuntimeError, match=r"(?s)Error building extension 'quick'.*quick.cpp:2"):
        load("quick", [source], build_directory=tmp_path)


def test_headers_name_their_folder() -> None:
    root = Path(wg.utils.cpp_extension.include_paths()[0])
    if not root.is_dir():
        pytest.skip("wengert is installed without its headers")
    headers = sorted(root.rglob("*.h"))
    assert len(headers) > 30
    for header in headers:
        for line in header.read_text().splitlines():
            if line.startswith('#include "'):
                assert (root / line.split('"')[1]).is_file(), (header, line)


def test_the_example_script(library: Path) -> None:
    script = EXAMPLE / "use.py"
    done = subprocess.run(
        [sys.executable, str(script), str(library)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "0 wrong" in done.stdout
