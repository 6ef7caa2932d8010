"""Changes in place that a derivative cannot survive: who recorded, who changed, where."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import wengert as wg

if TYPE_CHECKING:
    from collections.abc import Callable

HERE = r"[^\s]*test_changed_in_place\.py"


def line_of(fn: Callable[..., Any], marker: str) -> int:
    """Return the number of the line of a function that has a comment with the marker."""
    lines = Path(fn.__code__.co_filename).read_text(encoding="utf-8").splitlines()
    start = fn.__code__.co_firstlineno - 1
    return next(i + 1 for i, text in enumerate(lines) if i >= start and text.endswith(marker))


CHANGES: dict[str, tuple[str, Callable[[wg.Tensor], Any]]] = {
    "add_": ("add_", lambda y: y.add_(1)),
    "mul_": ("mul_", lambda y: y.mul_(2)),
    "zero_": ("zero_", lambda y: y.zero_()),
    "fill_": ("fill_", lambda y: y.fill_(3)),
    "copy_": ("copy_", lambda y: y.copy_(wg.ones(3))),
    "setitem": ("index_put_", lambda y: y.__setitem__(0, 1.0)),
    "index tensor": ("index_put_", lambda y: y.__setitem__(wg.tensor([0]), 1.0)),
    "a row without a form of its own": ("cumsum_", lambda y: y.cumsum_(0)),
    "normal_": ("normal_", lambda y: y.normal_()),
    "out": ("out=", lambda y: wg.add(wg.ones(3), 1, out=y)),
    "through a view": ("add_", lambda y: y[:2].add_(1)),
    "increment_version": ("increment_version()", wg.autograd.graph.increment_version),
}


@pytest.mark.parametrize(("name", "change"), CHANGES.values(), ids=CHANGES)
def test_both_sides_are_named(name: str, change: Callable[[wg.Tensor], Any]) -> None:
    x = wg.ones(3, requires_grad=True)
    y = wg.ones(3)
    z = x * y  # recorded
    with wg.no_grad():
        change(y)
    recorded = line_of(test_both_sides_are_named, "# recorded")
    with pytest.raises(RuntimeError) as info:
        z.sum().backward()
    text = str(info.value)
    assert re.search(rf"\(mul was recorded at {HERE}:{recorded} in ", text), text
    changed = CHANGES_LINES.get(name) or change.__code__.co_firstlineno
    assert re.search(rf"last changed by {re.escape(name)} at {HERE}:{changed} in ", text), text
    assert "is at version 1; expected version 0" in text


CHANGES_LINES = {"increment_version()": line_of(test_both_sides_are_named, "change(y)")}


def test_an_output_that_was_changed() -> None:
    x = wg.ones(3, requires_grad=True)
    y = x.exp()  # recorded
    y.add_(1)  # changed
    recorded = line_of(test_an_output_that_was_changed, "# recorded")
    changed = line_of(test_an_output_that_was_changed, "# changed")
    with pytest.raises(RuntimeError, match="needed for the gradient, float32 of shape") as info:
        y.sum().backward()
    assert re.search(rf"last changed by add_ at {HERE}:{changed} in test_", str(info.value))
    assert re.search(rf"exp was recorded at {HERE}:{recorded} in test_", str(info.value))


def test_the_optimizer_is_named() -> None:
    w = wg.ones(2, requires_grad=True)
    optimizer = wg.optim.SGD([w], lr=0.1)
    loss = (w * w).sum()
    loss.backward(retain_graph=True)
    optimizer.step()  # changed
    changed = line_of(test_the_optimizer_is_named, "# changed")
    with pytest.raises(RuntimeError, match=rf"by optimizer step at {HERE}:{changed} in test_"):
        loss.backward()


def test_a_function_names_its_class() -> None:
    class Twice(wg.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: wg.Tensor, y: wg.Tensor) -> wg.Tensor:
            ctx.save_for_backward(y)
            return x * y

        @staticmethod
        def backward(ctx: Any, g: wg.Tensor) -> Any:
            return g * ctx.saved_tensors[0], None

    y = wg.ones(2)
    z = Twice.apply(wg.ones(2, requires_grad=True), y)
    y.mul_(3)
    with pytest.raises(RuntimeError, match=r"^TwiceBackward: .* last changed by mul_ at "):
        z.sum().backward()


def test_a_leaf() -> None:
    w = wg.ones(3, requires_grad=True)  # made
    made = line_of(test_a_leaf, "# made")
    with pytest.raises(RuntimeError) as info:
        w.add_(1)  # changed
    changed = line_of(test_a_leaf, "# changed")
    text = str(info.value)
    assert text.startswith("add_: a leaf Variable that requires grad is being used in an in-place")
    assert re.search(rf"operation at {HERE}:{changed} in test_a_leaf", text), text
    assert re.search(
        rf"float32 of shape \(3,\), was made to require grad at {HERE}:{made} in", text
    )
    assert w.tolist() == [1, 1, 1]
    assert w._version == 0


def test_a_parameter() -> None:
    layer = wg.nn.Linear(2, 2)  # made
    made = line_of(test_a_parameter, "# made")
    with pytest.raises(RuntimeError, match=rf"made to require grad at {HERE}:{made} in test_"):
        layer.weight.zero_()


def test_a_view_of_a_leaf() -> None:
    w = wg.ones(3, requires_grad=True)  # made
    v = w[1:]  # taken
    with pytest.raises(RuntimeError) as info:
        v.mul_(2)  # changed
    text = str(info.value)
    at = {m: line_of(test_a_view_of_a_leaf, f"# {m}") for m in ("made", "taken", "changed")}
    assert text.startswith("mul_: a view of a leaf Variable that requires grad is being used in")
    assert re.search(rf"operation at {HERE}:{at['changed']} in test_a_view", text), text
    assert re.search(rf"was made to require grad at {HERE}:{at['made']} in test_a_view", text), text
    assert re.search(rf"the view was taken by index at {HERE}:{at['taken']} in test_", text), text
    assert w.tolist() == [1, 1, 1]


def test_shapes_in_place() -> None:
    with pytest.raises(RuntimeError, match=rf"^t_: a leaf .* at {HERE}:\d+ in .* was made to"):
        wg.ones(2, 3, requires_grad=True).t_()


def test_a_change_that_nobody_noted() -> None:
    x, y = wg.ones(3, requires_grad=True), wg.ones(3)
    z = x * y
    y.numpy()[0] = 5  # memory that NumPy changes has no versions
    z.sum().backward()
    assert x.grad.tolist() == [5, 1, 1]
