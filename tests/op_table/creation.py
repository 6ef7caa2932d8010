"""Creation, copies, casts and filling."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .row import call, constant, likes, method, sizes, structured

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from .row import Row


def _vander(torch: Any) -> Callable[..., Any]:
    """PyTorch's, by powers: the derivative of its own fails."""

    def run(x: Any, N: int | None = None, increasing: bool = False) -> Any:  # noqa: N803
        if not x.dtype.is_floating_point:
            return torch.vander(x, N, increasing)
        powers = range(len(x) if N is None else N)
        columns = [x**p for p in (powers if increasing else reversed(powers))]
        return torch.stack(columns, 1) if columns else torch.vander(x, N, increasing)

    return run


ROWS: tuple[Row, ...] = (
    constant("empty", sizes, compare="shape"),
    constant(
        "zeros",
        sizes,
        reference=lambda *s: np.zeros(s[0] if isinstance(s[0], (tuple, list)) else s, "f4"),
    ),
    constant("ones", sizes),
    constant("full", lambda d: [call((2, 3), 2.5), call((), 3), call([2], -1.0)]),
    structured("empty_like", likes, differentiable=False, compare="shape"),
    structured("zeros_like", likes, differentiable=False, reference=np.zeros_like),
    structured("ones_like", likes, differentiable=False, reference=np.ones_like),
    structured("full_like", lambda d: [call(d(2, 3), 1), call(d(), 1)], differentiable=False),
    constant(
        "_arange",
        lambda d: [call(0, 5, 1), call(1.0, 2.0, 0.25), call(5, -1, -2), call(3, 3, 1)],
        torch=lambda torch: torch.arange,
    ),
    structured(
        "new_empty",
        lambda d: [call(d(2), 3), call(d(), (2, 3)), call(d(2), size=(1,))],
        compare="shape",
        torch=method("new_empty"),
        differentiable=False,
    ),
    *(
        structured(
            name,
            lambda d: [call(d(2), 3), call(d(), 2, 3), call(d(2), ()), call(d(2), size=[4])],
            torch=method(name),
            differentiable=False,
        )
        for name in ("new_zeros", "new_ones")
    ),
    structured(
        "new_full",
        lambda d: [call(d(2), (2, 3), 2), call(d(), [], fill_value=1.5)],
        torch=method("new_full"),
        differentiable=False,
    ),
    constant("eye", lambda d: [call(3), call(2, 4), call(4, 2), call(0), call(2, 0), call(n=1)]),
    constant(
        "linspace",
        lambda d: [
            call(0, 1, 5),
            call(-2.5, 7, 100),
            call(3, -3, steps=8),
            call(0, 1, 1),
            call(0, 1, 0),
            call(start=1e-3, end=1e3, steps=2),
        ],
        rtol=16,
    ),
    constant(
        "logspace",
        lambda d: [
            call(0, 2, 3),
            call(-1.5, 2, 20),
            call(0, 10, 11, 2),
            call(0, 3, 4, base=-2),
            call(0, 1, 1),
            call(0, 1, 0),
        ],
        rtol=64,
    ),
    *(
        constant(
            name,
            lambda d: (
                [
                    call(row, col, offset)
                    for row in (0, 1, 3)
                    for col in (0, 2, 5)
                    for offset in (-9, -3, -1, 0, 1, 4, 9, 10**18)
                ]
                + [call(3, 3), call(row=2, col=3, offset=1)]
            ),
        )
        for name in ("tril_indices", "triu_indices")
    ),
    structured(
        "vander",
        lambda d: [
            call(d(3)),
            call(d(3), 2),
            call(d(2), N=4, increasing=True),
            call(d(2), 0),
            call(d(0)),
        ],
        domains=((0.3, 2.0),),
        torch=_vander,
        rtol=32,
    ),
    constant("scalar_tensor", lambda d: [call(3), call(2.5), call(True)]),
    structured("clone", likes, reference=np.copy, third=True),
    structured("contiguous", likes, torch=method("contiguous")),
    structured(
        "copy_",
        lambda d: [call(d(2, 3), d(3)), call(d(2), d()), call(d(), d()), call(d(0), d(1))],
        torch=method("copy_"),
        differentiable=False,
    ),
    structured(
        "fill_",
        lambda d: [call(d(2, 3), 1), call(d(), 0)],
        torch=method("fill_"),
        differentiable=False,
    ),
    structured("zero_", likes, torch=method("zero_"), differentiable=False),
    structured(
        "_to_device",
        lambda d: [call(d(2, 3), "cpu"), call(d(2, 3), "cpu", copy=True)],
        differentiable=False,
        torch=lambda torch: lambda x, where, copy=False: x.to(where, copy=copy),
    ),
    structured(
        "_to_dtype",
        lambda d: [call(d(2, 3), t) for t in (float, int, bool)],
        differentiable=False,
        torch=lambda torch: (
            lambda x, t: x.to({float: torch.float64, int: torch.int64, bool: torch.bool}[t])
        ),
    ),
)
