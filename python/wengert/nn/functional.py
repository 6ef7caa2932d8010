"""Operations of neural networks as functions: the rows of the table that say so.

Those that are thin compositions of other operations stand in `_functional`, `_layers`, `_losses`
and `_windows`, which are loaded at first use.
"""

from __future__ import annotations

from wengert._core.functional import *  # noqa: F403

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from ._functional import *  # noqa: F403
    from ._layers import *  # noqa: F403
    from ._losses import *  # noqa: F403
    from ._windows import *  # noqa: F403


def __getattr__(name: str) -> object:
    if name[0] != "_":
        from . import _functional, _layers, _losses, _windows

        for module in (_functional, _layers, _losses, _windows):
            if name in module.__all__:
                found = globals()[name] = getattr(module, name)
                return found
    raise AttributeError(f"module 'wengert.nn.functional' has no attribute {name!r}")


def __dir__() -> list[str]:
    from . import _functional, _layers, _losses, _windows

    modules = (_functional, _layers, _losses, _windows)
    return sorted({*globals(), *(name for m in modules for name in m.__all__)})
