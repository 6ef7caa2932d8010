"""Settings of matrix products on CUDA devices."""

from __future__ import annotations

from wengert import _core


class _Matmul:
    """How products of float32 and of half precision may be rounded.

    Sums of half precision are always float32, so that those two settings change nothing.
    """

    @property
    def allow_tf32(self) -> bool:
        """Whether factors of float32 may be rounded to TF32, ten bits, for the matrix units.

        The same as `wengert.set_float32_matmul_precision`, other than ``"highest"``.
        """
        return _core.matmul_precision() != 0

    @allow_tf32.setter
    def allow_tf32(self, allowed: bool) -> None:
        _core.set_matmul_precision(1 if allowed else 0)

    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Matmul()


def is_built() -> bool:
    """Whether wengert was built with the CUDA back end."""
    return _core.cuda.built()


class sdp_kernel:
    """Which kernels of attention may be used, for the length of a ``with`` block: accepted."""

    def __init__(
        self,
        enable_flash: bool = True,
        enable_math: bool = True,
        enable_mem_efficient: bool = True,
        enable_cudnn: bool = True,
    ) -> None:
        pass

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exc: object) -> None:
        pass
