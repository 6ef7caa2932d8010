"""Views: other shapes over the same memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .row import call, likes, method, structured

if TYPE_CHECKING:
    from .row import Row

ROWS: tuple[Row, ...] = (
    structured(
        "reshape",
        lambda d: [call(d(2, 3), 3, 2), call(d(2, 3), (-1,)), call(d(), 1), call(d(0, 2), 2, 0, 5)],
        view=True,
        torch=method("reshape"),
    ),
    structured(
        "view",
        lambda d: [call(d(2, 3), 3, -1), call(d(4), (2, 1, 2)), call(d(), [1, 1])],
        view=True,
        torch=method("view"),
    ),
    structured(
        "flatten",
        lambda d: [call(d(2, 3, 2)), call(d(2, 3, 2), 1), call(d(2, 3, 2), 0, 1), call(d())],
        view=True,
    ),
    structured(
        "expand",
        lambda d: [call(d(3), 2, 3), call(d(2, 1), (2, 4)), call(d(), 3), call(d(1, 3), 0, -1)],
        view=True,
        torch=method("expand"),
    ),
    structured(
        "broadcast_to",
        lambda d: [call(d(3), (2, 3)), call(d(2, 1), (2, 4)), call(d(), (2, 2))],
        view=True,
    ),
    structured(
        "permute",
        lambda d: [call(d(2, 3, 4), (2, 0, 1)), call(d(), ()), call(d(2, 3), (-1, 0))],
        view=True,
    ),
    structured(
        "transpose",
        lambda d: [call(d(2, 3), 0, 1), call(d(2, 3, 4), -1, 0), call(d(), 0, 0)],
        view=True,
    ),
    structured("t", lambda d: [call(d(2, 3)), call(d(3)), call(d())], view=True),
    structured(
        "squeeze",
        lambda d: [
            call(d(1, 3, 1)),
            call(d(1, 3, 1), 0),
            call(d(1, 3), 1),
            call(d(1, 3, 1), (0, 2)),
            call(d()),
            call(d(1), 0),
        ],
        view=True,
    ),
    structured(
        "unsqueeze", lambda d: [call(d(2, 3), 0), call(d(2, 3), -1), call(d(), 0)], view=True
    ),
    structured("detach", likes, view=True, differentiable=False, torch=method("detach")),
    structured(
        "narrow",
        lambda d: [call(d(4, 2), 0, 1, 2), call(d(2, 4), -1, -3, 2), call(d(3), 0, 3, 0)],
        view=True,
    ),
)
