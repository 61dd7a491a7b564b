"""A faulty kernel, to see whether a sanitizer sees it. In a file of its own, since Triton need not be installed."""

import torch
import triton
import triton.language as tl


@triton.jit
def planted_spikeops_kernel(x, count, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    tl.store(x + n, 1.0, mask=n <= count)  # one too many


def write_past(x: torch.Tensor) -> None:
    """Writes one number behind the last one of a float32 tensor."""
    planted_spikeops_kernel[(1,)](x, x.numel(), BLOCK=512)
