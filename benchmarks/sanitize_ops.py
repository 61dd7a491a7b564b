"""Makes every call of the case files a few times on small CUDA tensors, forward and backward: what compute-sanitizer watches.

``compute-sanitizer python benchmarks/sanitize_ops.py native|triton|planted``. `planted` writes past the end of a tensor on
purpose: a sanitizer that says nothing of it sees nothing.
"""

from __future__ import annotations

import sys

import torch

import spikeops
import spikeops.functional as SF

from ops.device_calls import every_way

# T on both sides of what a kernel keeps in registers at once, N on both sides of a warp, a block and a vector load.
SIZES = ((1, 1), (5, 131), (33, 257), (32, 1024))
DTYPES = (torch.float32, torch.float16)
# Every size before any is met again: time may run out.
ROUNDS = [(*size, DTYPES[(i + turn) % len(DTYPES)]) for turn in range(len(DTYPES)) for i, size in enumerate(SIZES)]


def on_device(x: torch.Tensor) -> torch.Tensor:
    """Made on the host and copied: PyTorch's own kernels are not the matter here."""
    return x.cuda()


def run_all(T: int, N: int, dtype: torch.dtype) -> None:
    for call in every_way():
        run, tensors = call.on("cpu", T, N, dtype)
        run(*map(on_device, tensors))


def plant_overrun() -> None:
    """One float32 past the end of an allocation."""
    from device import planted_kernel

    planted_kernel.write_past(on_device(torch.zeros(256)))


def main(what: str) -> None:
    torch.manual_seed(5)
    if what == "planted":
        plant_overrun()
    else:
        with spikeops.backend(what):
            for T, N, dtype in ROUNDS:
                run_all(T, N, dtype)
                torch.cuda.synchronize()
                print(f"calls of {T} x {N} {dtype} done", flush=True)
            # Rows of a channels-last map that are no multiple of a vector load.
            maps = on_device(torch.randn(4, 2, 3, 5, 7)).to(memory_format=torch.channels_last_3d).requires_grad_()
            spikes, _ = SF.lif(maps)
            torch.autograd.grad(spikes, maps, on_device(torch.randn(maps.shape)))
    torch.cuda.synchronize()
    print(f"all calls of {what} done")


if __name__ == "__main__":
    main(sys.argv[1])
