"""Mixed precision: `autocast` computes in 16 bits where that pays, `GradScaler` scales losses."""

from __future__ import annotations

from wengert import _core

from .grad_scaler import GradScaler

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = [
    "GradScaler",
    "autocast",
    "get_autocast_dtype",
    "is_autocast_available",
    "is_autocast_enabled",
]


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` can be enabled for a device."""
    return str(_core.device(device_type).type) in ("cpu", "cuda")


def is_autocast_enabled(device_type: str = "cuda") -> bool:
    """Whether `autocast` is enabled on this thread for a device."""
    kind = str(_core.device(device_type).type)
    return is_autocast_available(kind) and _core.autocast(kind) is not None


def get_autocast_dtype(device_type: str) -> _core.dtype:
    """Return the dtype that `autocast` computes in for a device, or would."""
    kind = str(_core.device(device_type).type)
    usual = _core.bfloat16 if kind == "cpu" else _core.float16
    return (_core.autocast(kind) if is_autocast_available(kind) else None) or usual


class autocast:
    """Compute in 16 bits what gains from it: a ``with`` block, or a decorator.

    Inside, matrix products, linear layers, convolutions and attention take float32 operands in
    `dtype` and give results of it; losses, ``prod`` and ``cdist`` take 16-bit operands in float32;
    everything else computes in the dtypes that it is given. Parameters stay float32, and so do
    their gradients. Sums are float32 within each operation. Leave the block before ``backward``.

    For a device that is not there it does nothing, as PyTorch's does with a warning.

    Parameters
    ----------
    device_type
        Such as ``"cpu"``: what is computed elsewhere is left alone.
    dtype
        The dtype to compute in, ``bfloat16`` or ``float16``: by default the first on the CPU, the
        second on CUDA devices. With any other it warns and does nothing.
    enabled
        Whether to switch precision at all; ``False`` switches it off within a block that has it on.
    cache_enabled
        Taken as PyTorch takes it: parameters are converted at each use.

    Raises
    ------
    ValueError
        If the device is no string.
    RuntimeError
        If the device is unknown.

    Examples
    --------
    >>> weight = wg.ones(4, 4, requires_grad=True)
    >>> with wg.autocast("cpu", dtype=wg.bfloat16):
    ...     y = wg.ones(2, 4) @ weight
    >>> y.dtype
    wengert.bfloat16
    >>> y.sum().backward()
    >>> weight.grad.dtype
    wengert.float32
    """

    def __init__(
        self,
        device_type: str,
        dtype: _core.dtype | None = None,
        enabled: bool = True,
        cache_enabled: bool | None = None,
    ) -> None:
        if not isinstance(device_type, str):
            raise ValueError(f"autocast: expected device_type as a str, got {device_type!r}")
        self._kind = str(_core.device(device_type).type)
        here = self._kind == "cpu" or (self._kind == "cuda" and _core.cuda.is_available())
        self.device = device_type
        self.fast_dtype = get_autocast_dtype(device_type) if dtype is None else dtype
        if here and enabled and self.fast_dtype not in (_core.bfloat16, _core.float16):
            import warnings

            warnings.warn(
                f"In {self._kind.upper()} autocast, but the target dtype {self.fast_dtype} is not "
                "supported; expected wengert.bfloat16 or wengert.float16. Disabling autocast.",
                UserWarning,
                stacklevel=2,
            )
            enabled = False
        self._here = here
        self._enabled = enabled
        self._before: list[_core.dtype | None] = []

    def __enter__(self) -> autocast:
        if self._here:
            self._before.append(_core.autocast(self._kind))
            _core.set_autocast(self.fast_dtype if self._enabled else None, self._kind)
        return self

    def __exit__(self, *exc: object) -> None:
        if self._here:
            _core.set_autocast(self._before.pop(), self._kind)

    def __call__(self, fn: F) -> F:
        """Decorate a function: it runs inside such a block."""
        import functools

        @functools.wraps(fn)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with self:
                return fn(*args, **kwargs)

        return inside  # type: ignore[return-value]
