"""A tensor as text, in PyTorch's layout: four decimals, 80 columns, long tensors shortened."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._core import Tensor

_LINE_WIDTH = 80
_THRESHOLD = 1000  # elements above which a tensor is shortened
_EDGE = 3  # entries shown at either end of a shortened dimension


def _shown(t: Tensor, shorten: bool) -> Any:
    """Nested lists of the elements to show, with ... for those left out."""
    if t.dim() == 0:
        return t.item()
    cut = shorten and len(t) > 2 * _EDGE
    ends = [t[:_EDGE], t[-_EDGE:]] if cut else [t]
    parts = [e.tolist() if t.dim() == 1 else [_shown(row, shorten) for row in e] for e in ends]
    return [*parts[0], ..., *parts[1]] if cut else parts[0]


def _leaves(shown: Any) -> Iterator[Any]:
    if not isinstance(shown, list):
        yield shown
        return
    for each in shown:
        if each is not ...:
            yield from _leaves(each)


def _float_form(values: list[float]) -> tuple[Callable[[float], str], int]:
    """Choose between 1., 1.0000 and 1.0000e+00 for all elements by their range; and the width."""
    telling = [v for v in values if math.isfinite(v) and v != 0]
    if not telling:
        return lambda v: f"{v:.0f}." if math.isfinite(v) else str(v), 1
    low, high = min(map(abs, telling)), max(map(abs, telling))

    def form(v: float) -> str:
        if high / low > 1000 or high > 1e8 or low < 1e-4:
            return f"{v:.4e}"
        if all(x.is_integer() for x in telling):
            return f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
        return f"{v:.4f}"

    return form, max(len(form(v)) for v in telling)


def _layout(shown: Any, one: Callable[[Any], str], width: int, indent: int, dim: int) -> str:
    if dim == 0:
        return one(shown)
    if dim > 1:
        rows = ["..." if r is ... else _layout(r, one, width, indent + 1, dim - 1) for r in shown]
        return "[" + ("," + "\n" * (dim - 1) + " " * (indent + 1)).join(rows) + "]"
    words = [" ..." if v is ... else one(v) for v in shown]
    per_line = max(1, (_LINE_WIDTH - indent) // (width + 2))
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def tensor_text(t: Tensor) -> str:
    """Return the text that ``repr`` shows."""
    from . import _core

    notes = []
    if t.numel() == 0:
        body = "[]"
        if t.dim() != 1:
            notes.append(f"size={tuple(t.shape)}")
    else:
        shown = _shown(t.detach(), t.numel() > _THRESHOLD)
        values = list(_leaves(shown))
        form: Callable[[Any], str] = str
        if t.dtype.is_floating_point:
            form, width = _float_form(values)
        else:
            width = max(len(str(v)) for v in values)
        body = _layout(shown, lambda v: form(v).rjust(width), width, len("tensor("), t.dim())
    usual = t.dtype in (_core.get_default_dtype(), _core.int64, _core.bool)
    if not usual or (t.numel() == 0 and t.dtype is not _core.get_default_dtype()):
        notes.append(f"dtype={t.dtype}")
    if t._grad_fn_name is not None:
        notes.append(f"grad_fn=<{t._grad_fn_name}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    text = "tensor(" + body
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if used + len(note) + 2 > _LINE_WIDTH:
            text, used = f"{text},\n       {note}", len("tensor(") + len(note)
        else:
            text, used = f"{text}, {note}", used + len(note) + 2
    return text + ")"
