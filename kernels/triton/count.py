"""Spike counts, from a spike train or from packed spikes."""

import torch
import triton
import triton.language as tl

from spikeops._layout import empty_step, time_major
from spikeops.triton._launch import as_bytes, launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons


@triton.jit
def _ones_of_word(word):
    """Number of set bits of a 16-bit word: neighbouring sums of 1, 2, 4 and 8 bits."""
    word = word - ((word >> 1) & 0x5555)
    word = (word & 0x3333) + ((word >> 2) & 0x3333)
    word = (word + (word >> 4)) & 0x0F0F
    return (word + (word >> 8)) & 0x1F


@sized_kernel
def spikeops_spike_count_kernel(
    spikes, count, T: tl.int64, N: tl.int64,
    PACKED: tl.constexpr, SUM: tl.constexpr, RESULT: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sums in the type SUM over the first axis: over time steps, or over words of packed spikes. Rounded to RESULT, then to count's."""
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    total = tl.zeros((BLOCK,), SUM)
    for t in range(T):
        value = tl.load(spikes + t * N + n, mask).to(SUM)
        total += _ones_of_word(value) if PACKED else value
    tl.store(count + n, total.to(RESULT), mask)


def spike_count(spikes):
    spikes = time_major(spikes)
    floating = spikes.is_floating_point()
    count = empty_step(spikes, spikes.dtype if floating else torch.int32)
    launch_neurons(
        spikeops_spike_count_kernel, spikes.shape[1:].numel(), spikes, spikes=as_bytes(spikes), count=count, T=spikes.shape[0],
        PACKED=spikes.dtype == torch.uint16, SUM=tl.float64 if floating else tl.int32,
        RESULT=triton_state(spikes.dtype) if floating else tl.int32,
    )  # fmt: skip
    return count
