"""A tensor as text, in PyTorch's layout: four decimals, long tensors shortened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._core import Tensor


def _float_text(values: Any) -> Any:
    """Choose between 1., 1.0000 and 1.0000e+00 for all elements, by their range."""
    import numpy as np

    finite = np.abs(values[np.isfinite(values)])
    nonzero = finite[finite != 0]
    if nonzero.size and (
        nonzero.max() / nonzero.min() > 1000 or nonzero.max() > 1e8 or nonzero.min() < 1e-4
    ):
        if np.all(nonzero == np.ceil(nonzero)) and nonzero.max() <= 1e8:
            form = "{:.0f}."
        else:
            form = "{:.4e}"
    elif np.all(finite == np.ceil(finite)):
        form = "{:.0f}."
    else:
        form = "{:.4f}"

    def one(x: float) -> str:
        return form.format(x) if np.isfinite(x) else str(x)

    width = max((len(one(x)) for x in values.flat), default=0)
    return lambda x: one(x).rjust(width)


def tensor_text(t: Tensor) -> str:
    """Return the text that ``repr`` shows."""
    import numpy as np

    from . import _core

    values = t.detach().numpy()
    notes = []
    if t.numel() == 0:
        body = "[]"
        if t.dim() != 1:
            notes.append(f"size={tuple(t.shape)}")
    else:
        shown = values
        if values.size > 1000:  # only what will be seen decides the form
            index = tuple(np.r_[:3, n - 3 : n] if n > 6 else np.arange(n) for n in values.shape)
            shown = values[np.ix_(*index)]
        formatter: Any
        if t.dtype.is_floating_point:
            formatter = {"float_kind": _float_text(shown)}
        elif t.dtype is _core.bool:
            formatter = {"bool": lambda x: str(x).rjust(5)}
        else:
            width = max(len(str(x)) for x in shown.flat)
            formatter = {"int_kind": lambda x: str(x).rjust(width)}
        body = np.array2string(
            values, separator=", ", prefix="tensor(", threshold=1000, edgeitems=3,
            formatter=formatter, max_line_width=80,
        )  # fmt: skip
    default = t.dtype in (_core.get_default_dtype(), _core.int64, _core.bool)
    if not default or (t.numel() == 0 and t.dtype is not _core.get_default_dtype()):
        notes.append(f"dtype={t.dtype}")
    if t._grad_fn_name is not None:
        notes.append(f"grad_fn=<{t._grad_fn_name}>")
    elif t.requires_grad:
        notes.append("requires_grad=True")
    return ", ".join([f"tensor({body}", *notes]) + ")"
