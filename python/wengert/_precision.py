"""How far products of float32 matrices may be rounded."""

from __future__ import annotations

from wengert import _core

_NAMES = ("highest", "high", "medium")


def get_float32_matmul_precision() -> str:
    """Return what `set_float32_matmul_precision` has set, at first ``"highest"``."""
    return _NAMES[_core.matmul_precision()]


def set_float32_matmul_precision(precision: str) -> None:
    """Choose how far products of float32 matrices may be rounded for speed.

    Where the processor multiplies bfloat16 faster, a float32 matrix can be written as a sum of
    bfloat16 ones, and a product as a sum of products of these, each summed in float32 (Henry, Tang
    and Heinecke, 2019, https://arxiv.org/abs/1904.06376). What is chosen, and how exact it is,
    stands in docs/matmul.md. Infinities, NaN and numbers that bfloat16 cannot hold are multiplied
    in float32 whatever is set. Convolutions, attention and other dtypes are not affected.

    On a CUDA device ``"high"`` and ``"medium"`` round operands to TF32, 11 bits.

    Parameters
    ----------
    precision
        ``"highest"``: the precision of float32. ``"high"``: three products, some 16 bits, on
        processors with AMX; elsewhere as ``"highest"``. ``"medium"``: one product, operands rounded
        to 8 bits, on processors with AMX or AVX512-BF16; elsewhere as ``"highest"``. Any other
        string changes nothing, with a warning.

    Raises
    ------
    RuntimeError
        If it is not a string.

    Examples
    --------
    >>> wg.set_float32_matmul_precision("medium")
    >>> wg.get_float32_matmul_precision()
    'medium'
    >>> wg.set_float32_matmul_precision("highest")
    """
    if not isinstance(precision, str):
        raise RuntimeError(
            f"set_float32_matmul_precision expects a str, but got {type(precision).__name__}"
        )
    if precision not in _NAMES:
        import warnings

        warnings.warn(
            f"{precision} is not one of 'highest', 'high', or 'medium'; the current "
            "set_float32_matmul_precision call has no effect.",
            UserWarning,
            stacklevel=2,
        )
        return
    _core.set_matmul_precision(_NAMES.index(precision))
