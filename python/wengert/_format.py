"""A tensor as text, in PyTorch's layout: four decimals, 80 columns, long tensors shortened."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ._core import Tensor


class _Options:
    """How tensors are shown."""

    def __init__(self) -> None:
        self.precision = 4
        self.threshold: float = 1000  # elements above which a tensor is shortened
        self.edgeitems = 3  # entries shown at either end of a shortened dimension
        self.linewidth = 80
        self.sci_mode: bool | None = None  # None: by the range of the elements


_PROFILES: dict[str, dict[str, Any]] = {
    "default": {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80},
    "short": {"precision": 2, "threshold": 1000, "edgeitems": 2, "linewidth": 80},
    "full": {"precision": 4, "threshold": math.inf, "edgeitems": 3, "linewidth": 80},
}
_options = _Options()


def set_printoptions(
    precision: int | None = None,
    threshold: float | None = None,
    edgeitems: int | None = None,
    linewidth: int | None = None,
    profile: str | None = None,
    sci_mode: bool | None = None,
) -> None:
    """Set how tensors are shown.

    Parameters
    ----------
    precision
        Digits behind the point.
    threshold
        Elements above which a tensor is shortened.
    edgeitems
        Entries shown at either end of a shortened dimension.
    linewidth
        Characters to a line.
    profile
        The four above at once: default, short or full. What else is given comes after.
    sci_mode
        Whether numbers are shown as 1.0000e+00; None decides it by their range.

    Raises
    ------
    KeyError
        If there is no such profile.
    """
    wanted = {} if profile is None else dict(_PROFILES[profile])
    given = {
        "precision": precision,
        "threshold": threshold,
        "edgeitems": edgeitems,
        "linewidth": linewidth,
    }
    wanted.update({name: value for name, value in given.items() if value is not None})
    for name, value in wanted.items():
        setattr(_options, name, value)
    _options.sci_mode = sci_mode


def _shown(t: Tensor, shorten: bool) -> Any:
    """Nested lists of the elements to show, with ... for those left out."""
    if t.dim() == 0:
        return t.item()
    edge = _options.edgeitems
    cut = shorten and len(t) > 2 * edge
    ends = [t[:edge], t[len(t) - edge :]] if cut else [t]
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
    precision = _options.precision
    telling = [v for v in values if math.isfinite(v) and v != 0]
    if not telling:
        return lambda v: f"{v:.0f}." if math.isfinite(v) else str(v), 1
    low, high = min(map(abs, telling)), max(map(abs, telling))
    scientific = _options.sci_mode
    if scientific is None:
        scientific = high / low > 1000 or high > 1e8 or low < 1e-4
    whole = all(x.is_integer() for x in telling)

    def form(v: float) -> str:
        if scientific:
            return f"{v:.{precision}e}"
        if whole:
            return f"{v:.0f}." if math.isfinite(v) else f"{v:.0f}"
        return f"{v:.{precision}f}"

    return form, max(len(form(v)) for v in telling)


def _layout(shown: Any, one: Callable[[Any], str], width: int, indent: int, dim: int) -> str:
    if dim == 0:
        return one(shown)
    if dim > 1:
        rows = ["..." if r is ... else _layout(r, one, width, indent + 1, dim - 1) for r in shown]
        return "[" + ("," + "\n" * (dim - 1) + " " * (indent + 1)).join(rows) + "]"
    words = [" ..." if v is ... else one(v) for v in shown]
    per_line = max(1, (_options.linewidth - indent) // (width + 2))
    lines = [", ".join(words[i : i + per_line]) for i in range(0, len(words), per_line)]
    return "[" + (",\n" + " " * (indent + 1)).join(lines) + "]"


def tensor_text(t: Tensor) -> str:
    """Return the text that ``repr`` shows."""
    from . import _core
    from .nn.parameter import Parameter

    plain = type(t) in (_core.Tensor, Parameter)
    prefix = "tensor(" if plain else f"{type(t).__name__}("
    notes = []
    if t.device.type != _core.cuda.default_device().type:
        notes.append(f"device='{t.device}'")
    if t.numel() == 0:
        body = "[]"
        if t.dim() != 1:
            notes.append(f"size={tuple(t.shape)}")
    else:
        shorten = t.numel() > _options.threshold
        plain_values = t.detach()
        if t.is_cuda and not shorten:
            plain_values = plain_values.cpu()
        shown = _shown(plain_values, shorten)
        values = list(_leaves(shown))
        form: Callable[[Any], str] = str
        if t.dtype.is_floating_point:
            form, width = _float_form(values)
        else:
            width = max((len(str(v)) for v in values), default=1)
        body = _layout(shown, lambda v: form(v).rjust(width), width, len(prefix), t.dim())
    usual = t.dtype in (_core.get_default_dtype(), _core.int64, _core.bool)
    if not usual or (t.numel() == 0 and t.dtype is not _core.get_default_dtype()):
        notes.append(f"dtype={t.dtype}")
    if t.grad_fn is not None:
        notes.append(f"grad_fn=<{t.grad_fn.name()}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    text = prefix + body
    used = len(text) - text.rfind("\n") + 1
    for note in notes:
        if used + len(note) + 2 > _options.linewidth:
            text, used = f"{text},\n{' ' * len(prefix)}{note}", len(prefix) + len(note)
        else:
            text, used = f"{text}, {note}", used + len(note) + 2
    return text + ")"
