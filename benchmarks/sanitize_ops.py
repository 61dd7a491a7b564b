"""Calls every op a few times on small CUDA tensors, forward and backward: what compute-sanitizer watches.

``compute-sanitizer python benchmarks/sanitize_ops.py native|triton|planted``. `planted` writes past the end of a tensor on
purpose: a sanitizer that says nothing of it sees nothing.
"""

from __future__ import annotations

import sys

import torch

import spikeops
import spikeops.functional as SF
from spikeops.surrogate import ATan, Triangle

# T on both sides of what a kernel keeps in registers at once, N on both sides of a warp, a block and a vector load.
SIZES = ((1, 1), (5, 131), (32, 1024), (33, 257))
DTYPES = (torch.float32, torch.float16)


def on_device(x: torch.Tensor) -> torch.Tensor:
    """Made on the host and copied: PyTorch's own kernels are not the matter here."""
    return x.cuda()


def differentiate(output: torch.Tensor, *inputs: torch.Tensor) -> None:
    torch.autograd.grad(output, inputs, on_device(torch.randn(output.shape).to(output.dtype)))


def run_lif(x: torch.Tensor, v_init: torch.Tensor, decay: torch.Tensor) -> None:
    for reset, surrogate in (("subtract", ATan(2.0)), ("to", Triangle(1.0)), ("none", ATan(2.0))):
        differentiate(SF.lif(x, reset=reset, surrogate=surrogate)[0], x)
    differentiate(SF.lif(x, decay, v_init=v_init)[0], x, decay, v_init)
    for weighting in ("mean", "decay"):
        differentiate(SF.lif_rate(x, decay, v_init=v_init, weighting=weighting), x, decay, v_init)


def run_steps(drive: torch.Tensor) -> None:
    """Feedback steps with everything that is optional, and with nothing."""
    state = [on_device(torch.rand(drive.shape[1:])) for _ in range(3)]
    fired = on_device(torch.empty(len(drive), dtype=torch.int32))
    options = {"drive": drive, "current": drive, "count": state[2], "fired": fired, "leak": 0.9}
    for given in ({}, options):
        SF.feedback_step_(state[0], torch.empty_like(drive), state[1], **given)
        SF.ternary_step_(state[0], torch.empty_like(drive), state[1], **given)


def run_local_steps(x: torch.Tensor) -> None:
    """A step of a layer with a classifier, with everything that is optional and with nothing; the way back in time."""
    samples, classes = len(x), 11
    labels = on_device(torch.zeros(samples, dtype=torch.int64))
    weight = on_device(torch.rand(classes, x.shape[1]).to(x.dtype))
    for is_given in (False, True):
        membrane, trace = (on_device(torch.rand(x.shape)) for _ in range(2))
        class_membrane, count = (on_device(torch.zeros(samples, classes)) for _ in range(2))
        error = on_device(torch.zeros(samples, classes).to(x.dtype))
        options = dict(feedback=weight, derivative=torch.empty_like(x), trace=trace, class_derivative=torch.empty_like(error))
        SF.local_learning_step_(
            membrane, torch.empty_like(x), torch.empty_like(x), x, weight, class_membrane, count, on_device(torch.zeros(samples)),
            error, labels, 0.7, **options if is_given else {},
        )  # fmt: skip
    SF.local_gradient_in_time(x[0], x, 0.7)


def run_all(T: int, N: int, dtype: torch.dtype) -> None:
    x = on_device((0.3 + 0.5 * torch.randn(T, N)).to(dtype)).requires_grad_()
    state = on_device(torch.zeros(N)).requires_grad_()
    decay = on_device(torch.full((N,), 0.5)).requires_grad_()
    run_lif(x, state, decay)
    differentiate(SF.tssl_bp(x), x)
    SF.tssl_bp(x.detach(), return_spikes=True)
    differentiate(SF.synaptic_filter(x, 3.0), x)
    differentiate(SF.clamped_lif(x, decay)[1], x, decay)

    run_steps(x.detach())
    run_local_steps(x.detach())

    spikes = on_device((torch.rand(T, N) < 0.3).to(dtype))
    packed = SF.pack_spikes(spikes)
    SF.unpack_spikes(packed, T, dtype)
    SF.spike_count(spikes)
    SF.spike_count(packed)
    p = on_device(torch.rand(N).to(dtype))
    SF.poisson_encode(p, T, torch.Generator().manual_seed(1))
    SF.latency_encode(p, T)


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
            for T, N in SIZES:
                for dtype in DTYPES:
                    run_all(T, N, dtype)
                    torch.cuda.synchronize()
                    print(f"calls of {T} x {N} {dtype} done", flush=True)
            # Rows of a channels-last map that are no multiple of a vector load.
            maps = on_device(torch.randn(4, 2, 3, 5, 7)).to(memory_format=torch.channels_last_3d).requires_grad_()
            differentiate(SF.lif(maps)[0], maps)
    torch.cuda.synchronize()
    print(f"all calls of {what} done")


if __name__ == "__main__":
    main(sys.argv[1])
