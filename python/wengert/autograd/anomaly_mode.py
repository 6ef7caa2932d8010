"""Anomaly detection: which line made the first number that is none."""

from __future__ import annotations

from .. import _core

__all__ = [
    "detect_anomaly",
    "is_anomaly_check_nan_enabled",
    "is_anomaly_enabled",
    "set_anomaly_enabled",
    "set_detect_anomaly",
]


def is_anomaly_enabled() -> bool:
    """Return whether anomaly detection is on."""
    return _core.anomaly_mode()[0]


def is_anomaly_check_nan_enabled() -> bool:
    """Return whether anomaly detection, where it is on, looks for NaN."""
    return _core.anomaly_mode()[1]


def set_anomaly_enabled(mode: bool, check_nan: bool = True) -> None:
    """Switch anomaly detection on or off, in all threads."""
    _core.set_anomaly_mode(mode, check_nan, True)


class _Anomaly:
    def __init__(self) -> None:
        self._before = _core.anomaly_mode()

    def __exit__(self, *exc: object) -> None:
        _core.set_anomaly_mode(*self._before)


class detect_anomaly(_Anomaly):
    """A ``with`` block in which the first NaN is an error that names the line it came from.

    In a backward, each rule's gradients are checked: a NaN raises RuntimeError, which names the
    operation and the file and line of its forward. In the forward, an operation whose result holds
    NaN or infinity though all its inputs are finite raises RuntimeError right there; one that works
    in place has changed its tensor then. Recorded operations are checked, and elementwise ones in
    any case. One pass is made over each result and gradient; all threads are switched.

    Parameters
    ----------
    check_nan
        Whether to look at numbers at all.
    check_forward
        Whether to look at them in the forward, too: False where infinities are meant, such as in
        ``log`` of zero.

    Raises
    ------
    RuntimeError
        Inside the block: if an operation, or its rule, makes NaN.
    """

    def __init__(self, check_nan: bool = True, *, check_forward: bool = True) -> None:
        import warnings

        super().__init__()
        self.check_nan = check_nan
        self.check_forward = check_forward
        warnings.warn(
            "Anomaly Detection has been enabled. This mode will increase the runtime and should "
            "only be enabled for debugging.",
            stacklevel=2,
        )

    def __enter__(self) -> None:
        _core.set_anomaly_mode(True, self.check_nan, self.check_forward)


class set_detect_anomaly(_Anomaly):
    """Switch anomaly detection at once, and until the end of a ``with`` block if used as one.

    Parameters
    ----------
    mode
        Whether to switch it on.
    check_nan, check_forward
        As in `detect_anomaly`.
    """

    def __init__(self, mode: bool, check_nan: bool = True, *, check_forward: bool = True) -> None:
        super().__init__()
        _core.set_anomaly_mode(mode, check_nan, check_forward)

    def __enter__(self) -> None:
        pass
