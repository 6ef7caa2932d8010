"""Mixed precision as programs spell it. There are no kernels of lower precision for it yet."""

from __future__ import annotations

from wengert import _core

TYPE_CHECKING = False  # importing typing would cost more than all of this package
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    F = TypeVar("F", bound=Callable[..., Any])

__all__ = ["GradScaler", "autocast", "is_autocast_available"]


def is_autocast_available(device_type: str) -> bool:
    """Whether `autocast` can be enabled for a device: for none yet."""
    return False


class autocast:
    """Where PyTorch computes in lower precision; here it is accepted where that is switched off.

    For a device that is not there it does nothing, as PyTorch's does with a warning.

    Parameters
    ----------
    device_type
        Such as ``"cpu"``.
    dtype
        The dtype to compute in.
    enabled
        Whether to switch precision at all.
    cache_enabled
        Taken as PyTorch takes it.

    Raises
    ------
    NotImplementedError
        If it is enabled for the CPU, in another dtype than float32.
    RuntimeError
        If the device is unknown.
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
        kind = _core.device(device_type).type
        if enabled and kind == "cpu" and dtype is not _core.float32:
            raise NotImplementedError(
                f"autocast: computing in {dtype or _core.bfloat16} is not supported on 'cpu'; use "
                "enabled=False, or convert tensors and modules with .to(dtype)"
            )
        self.device = device_type
        self.fast_dtype = dtype

    def __enter__(self) -> autocast:
        return self

    def __exit__(self, *exc: object) -> None:
        pass

    def __call__(self, fn: F) -> F:
        """Decorate a function, which stays as it is."""
        return fn


class GradScaler:
    """Passes losses and gradients through: nothing here overflows at half precision.

    Parameters
    ----------
    device, init_scale, growth_factor, backoff_factor, growth_interval, enabled
        Taken as PyTorch takes them. PyTorch's too is disabled where there is no CUDA device.
    """

    def __init__(
        self,
        device: str = "cuda",
        init_scale: float = 65536.0,
        growth_factor: float = 2.0,
        backoff_factor: float = 0.5,
        growth_interval: int = 2000,
        enabled: bool = True,
    ) -> None:
        pass

    def scale(self, outputs: Any) -> Any:
        """Return the loss as it is."""
        return outputs

    def unscale_(self, optimizer: Any) -> None:
        """Leave the gradients as they are."""

    def step(self, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        """Call ``optimizer.step`` and return its result."""
        return optimizer.step(*args, **kwargs)

    def update(self, new_scale: Any = None) -> None:
        """Do nothing: there is no scale to adapt."""

    def get_scale(self) -> float:
        """Return 1, the factor that losses are multiplied by."""
        return 1.0

    def is_enabled(self) -> bool:
        """Whether losses are scaled: never."""
        return False

    def state_dict(self) -> dict[str, Any]:
        """Return an empty dict, as PyTorch's does where it is disabled."""
        return {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take nothing from it."""
