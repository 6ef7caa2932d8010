"""Pictures of tapes, and of losses."""

from __future__ import annotations

import builtins
import re
import shutil
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np
import pytest

import wengert as wg
from wengert import nn

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def graphviz() -> Any:
    module = pytest.importorskip("graphviz", reason="the Python package graphviz is not installed")
    if shutil.which("dot") is None:
        pytest.skip("the program dot, of Graphviz, is not installed")
    return module


@pytest.fixture
def matplotlib() -> Any:
    module = pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    module.use("Agg")
    yield module
    module.pyplot.close("all")


def hide(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    """Let importing a package fail as it does where it is not installed."""
    plain = builtins.__import__

    def importing(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == hidden:
            raise ImportError(name)
        return plain(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", importing)


# --- tapes -------------------------------------------------------------------------------------


def texts(svg: str) -> list[str]:
    root = ElementTree.fromstring(svg)
    found = root.iter("{http://www.w3.org/2000/svg}text")
    return [(t.text or "").strip().strip("\xa0") for t in found]


def net() -> tuple[nn.Module, wg.Tape]:
    wg.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2))
    x = wg.randn(5, 3)
    return model, wg.tape(lambda: model(x).square().mean()).backward()


def test_drawing(graphviz: Any) -> None:
    _, t = net()
    svg = t.draw(values=True, adjoints=True)
    said = texts(svg)
    assert {"model: Sequential", "model.0: Linear", "model.2: Linear"} <= set(said)
    assert {"weight", "bias", "square", "mean", "5 x 4"} <= set(said)
    assert "∂ 1" in said
    assert "a" in said
    assert svg._repr_svg_().startswith("<svg")
    ellipses = svg.count("<ellipse")
    assert ellipses == len(t.inputs) + len(t) - 1
    plain = t.draw(shapes=False, modules=False, variables=False)
    assert plain.count("<ellipse") == len(t.inputs)
    assert "model: Sequential" not in texts(plain)
    assert "5 x 4" not in texts(plain)


def test_drawing_is_saved(graphviz: Any, tmp_path: Path) -> None:
    _, t = net()
    svg = t.draw()
    svg.save(tmp_path / "net.svg")
    assert (tmp_path / "net.svg").read_text(encoding="utf-8") == svg


def test_names_are_escaped(graphviz: Any) -> None:
    x = wg.ones(2).requires_grad_()
    t = wg.tape(lambda: (x * 2).sum(), names={'<a & "b\\">': x})
    assert '<a & "b\\">' in texts(t.draw(values=True))


def test_drawing_of_200_lines(graphviz: Any) -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up, self.down = nn.Linear(4, 8), nn.Linear(8, 4)

        def forward(self, x: wg.Tensor) -> wg.Tensor:
            return x + self.down(wg.relu(self.up(x)))

    model = nn.Sequential(*[Block() for _ in range(50)])
    x = wg.ones(3, 4)
    t = wg.tape(lambda: model(x).sum())
    assert len(t) == 201
    svg = t.draw()
    size = re.search(r'width="(\d+)pt" height="(\d+)pt"', svg)
    assert size is not None
    assert int(size[1]) < 500  # a strip to scroll along, not a diagonal
    assert texts(svg).count("linear") + texts(svg).count("linear((3, 4))") == 100


def test_several_results_and_shared_weights(graphviz: Any) -> None:
    w = wg.ones(2, 2).requires_grad_()

    def f() -> wg.Tensor:
        a, b = wg.unbind(w @ w)
        return (a * b).sum()

    for variables in (True, False):
        said = texts(wg.tape(f).draw(variables=variables))
        assert said.count("unbind") == 1
        assert said.count("w") == 1


def test_drawing_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    _, t = net()
    hide(monkeypatch, "graphviz")
    with pytest.raises(ImportError, match="pip install graphviz"):
        t.draw()


def test_drawing_without_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("graphviz", reason="the Python package graphviz is not installed")
    _, t = net()
    monkeypatch.setenv("PATH", "")
    with pytest.raises(RuntimeError, match=r"the program dot was not found.*apt-get install"):
        t.draw()


# --- losses ------------------------------------------------------------------------------------


def bowl() -> tuple[Any, list[wg.Tensor]]:
    w = wg.tensor([-1.8, 1.6], dtype=wg.float64, requires_grad=True)
    return lambda: 0.5 * (w[0] ** 2 + 25 * w[1] ** 2), [w]


def test_landscape_of_two_numbers(matplotlib: Any) -> None:
    loss, params = bowl()
    picture = wg.viz.landscape(loss, params, steps=21)
    assert picture.figure is picture.axes.figure
    assert picture.axes.get_xlim() == pytest.approx((-2.8, -0.8))
    assert picture.axes.get_xlabel() == "first parameter"
    assert params[0].tolist() == [-1.8, 1.6]
    _, axes = matplotlib.pyplot.subplots()
    extent = (-1.0, 1.0, -2.0, 2.0)
    picture = wg.viz.landscape(loss, params, steps=11, extent=extent, log=True, ax=axes)
    assert picture.axes is axes
    assert axes.get_ylim() == (-2, 2)


def test_landscape_of_a_network_leaves_it_as_it_was(matplotlib: Any) -> None:
    model, _ = net()
    before = [p.tolist() for p in model.parameters()]
    x = wg.randn(4, 3)

    def loss() -> wg.Tensor:
        return model(x).square().mean()

    picture = wg.viz.landscape(loss, model.parameters(), steps=5)
    assert picture.axes.get_xlabel() == "along the first direction"
    own = tuple([wg.ones(*p.shape) * k for p in model.parameters()] for k in (1.0, 2.0))
    wg.viz.landscape(loss, model.parameters(), steps=5, directions=own)
    assert [p.tolist() for p in model.parameters()] == before
    with pytest.raises(ValueError, match="directions of 12 elements"):
        wg.viz.landscape(loss, model.parameters(), directions=(own[0][:1], own[1][:1]))
    with pytest.raises(ValueError, match="at least one parameter"):
        wg.viz.landscape(loss, [])


def test_paths_are_the_optimizers_own() -> None:
    loss, params = bowl()
    found = wg.viz.paths(loss, params, n=5)
    assert [p.name for p in found] == ["SGD", "momentum", "RMSProp", "Adam"]
    assert params[0].tolist() == [-1.8, 1.6]
    w = wg.tensor([-1.8, 1.6], dtype=wg.float64, requires_grad=True)
    optimizer = wg.optim.Adam([w], lr=0.1)
    for k in range(5):
        np.testing.assert_allclose(found[3].points[k], w.detach().numpy(), rtol=1e-12)
        optimizer.zero_grad()
        y = 0.5 * (w[0] ** 2 + 25 * w[1] ** 2)
        assert found[3].losses[k] == pytest.approx(y.item())
        y.backward()
        optimizer.step()
    with pytest.raises(ValueError, match="at least one optimizer"):
        wg.viz.paths(loss, params, {})


def test_paths_leave_gradients_as_they_were() -> None:
    loss, params = bowl()
    params[0].grad = wg.ones(2, dtype=wg.float64)
    wg.viz.paths(loss, params, n=2)
    assert params[0].grad.tolist() == [1, 1]


def test_descent(matplotlib: Any) -> None:
    loss, params = bowl()
    picture = wg.viz.descent(loss, params, n=10, steps=11)
    legend = picture.axes.get_legend()
    assert [t.get_text().partition(":")[0] for t in legend.get_texts()] == [
        "SGD", "momentum", "RMSProp", "Adam"
    ]  # fmt: skip
    assert legend.get_title().get_text() == "loss after 10 steps"
    low, high = picture.axes.get_xlim()
    assert low < -1.8 < high


def test_descent_of_a_network(matplotlib: Any) -> None:
    model, _ = net()
    x = wg.randn(4, 3)
    only = {"Adam": lambda p: wg.optim.Adam(p, lr=0.05)}
    picture = wg.viz.descent(
        lambda: model(x).square().mean(), model.parameters(), only, n=8, steps=5
    )
    assert picture.axes.get_ylabel() == "along the second direction"
    # The plane holds the start at its origin.
    start = picture.axes.lines[-1].get_xydata()
    np.testing.assert_allclose(start, [[0, 0]], atol=1e-12)


def test_pictures_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    loss, params = bowl()
    viz = wg.viz
    hide(monkeypatch, "matplotlib")
    for draw in (viz.landscape, viz.descent):
        with pytest.raises(ImportError, match="pip install matplotlib"):
            draw(loss, params)
    assert viz.paths(loss, params, n=1)
