"""How kernels are declared and launched: fixed blocks, no autotuning, nothing compiled anew for another T or N (but for the few
lengths of segments of `_walk.launch_back`).

Numbers cross into a kernel as float64, whatever the data, and are rounded to the state's precision there (``_math.scalar``):
Triton's default would round them to float32 first, which is wrong for float64 data.
"""

import contextlib

import torch
import triton
import triton.language as tl

from spikeops._dtypes import state_dtype

BLOCK = 256
# Four neurons per thread: float32 is loaded 16 bytes at a time, and small layers still spread over many multiprocessors.
NUM_WARPS = 2

# Sizes never enter a compiled kernel, not even as "is 1" or "is divisible by 16".
sized_kernel = triton.jit(do_not_specialize=["T", "N", "rows", "columns", "outputs", "width", "buffer_steps", "parts"])


def triton_state(data: torch.dtype) -> tl.dtype:
    """The type in which a kernel keeps the state of a neuron."""
    return tl.float64 if state_dtype(data) == torch.float64 else tl.float32


def as_bytes(x: torch.Tensor) -> torch.Tensor:
    """bool as the bytes it is stored in; other types as they are."""
    return x.view(torch.uint8) if x.dtype == torch.bool else x


def launch(kernel, programs: int, like: torch.Tensor, **arguments) -> None:
    """Runs ``programs`` instances of a kernel on the device and current stream of ``like``."""
    if programs == 0:
        return
    # Fused multiply-adds round once where kernels/math rounds twice.
    options = {"enable_fp_fusion": False, "num_warps": NUM_WARPS, **arguments}
    with torch.cuda.device(like.device) if like.is_cuda else contextlib.nullcontext():
        kernel[(programs,)](**options)


def launch_neurons(kernel, N: int, like: torch.Tensor, **arguments) -> None:
    """Runs a kernel over N neurons, a block at a time."""
    arguments = {"BLOCK": BLOCK, **arguments}
    launch(kernel, triton.cdiv(N, arguments["BLOCK"]), like, N=N, ALIGNED=N % 16 == 0, **arguments)
