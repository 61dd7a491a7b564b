"""Global settings that decide which kernels a time loop launches."""

from __future__ import annotations

import torch

from spikeops import _backend


def current_settings() -> tuple:
    """All that a CUDA graph was captured under and would go on with, whatever is set later.

    Autocast is no part of it: rings switch it off for their time loops. The precisions are what the kernels themselves ask for, per
    operation; setting the older switches (``cudnn.allow_tf32``, ``set_float32_matmul_precision``) sets them too, but reading
    those raises an error where both kinds were used.
    """
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    return (
        _backend.chosen(),
        cudnn.enabled, cudnn.benchmark, cudnn.benchmark_limit, cudnn.deterministic, getattr(cudnn, "depthwise_kernel", None),
        *("ieee" if precision == "none" else precision for precision in (cudnn.conv.fp32_precision, matmul.fp32_precision)),
        torch.backends.cuda.preferred_blas_library(),
        torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
    )  # fmt: skip
