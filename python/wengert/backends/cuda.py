"""Settings of matrix products on CUDA devices. They can be set, and change nothing."""

from __future__ import annotations


class _Matmul:
    """How products of float32 and of half precision may be rounded."""

    allow_tf32 = False
    allow_fp16_reduced_precision_reduction = True
    allow_bf16_reduced_precision_reduction = True


matmul = _Matmul()


def is_built() -> bool:
    """Whether wengert was built with CUDA: no."""
    return False


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
