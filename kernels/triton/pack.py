"""Bit-packed spikes: time step t of a neuron is bit t % 16 of its word t // 16 (kernels/math/pack.h)."""

import torch
import triton
import triton.language as tl

from spikeops.functional._layout import empty_sequence, time_major
from spikeops.triton._launch import as_bytes, launch_neurons, sized_kernel
from spikeops.triton._math import block_of_neurons

SPIKES_PER_WORD = tl.constexpr(16)


@triton.jit
def _is_spike(value):
    # 16-bit types are compared in float32, to which they convert without loss: bfloat16 has no comparison everywhere.
    if value.dtype.is_floating() and value.dtype.primitive_bitwidth < 32:
        return value.to(tl.float32) != 0
    else:
        return value != 0


@sized_kernel
def spikeops_pack_spikes_kernel(
    spikes, packed, T: tl.int64, N: tl.int64, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    for w in range((T + SPIKES_PER_WORD - 1) // SPIKES_PER_WORD):
        word = tl.zeros((BLOCK,), tl.int32)
        for bit in tl.static_range(SPIKES_PER_WORD):
            t = w * SPIKES_PER_WORD + bit
            spike = _is_spike(tl.load(spikes + t * N + n, mask & (t < T), other=0))
            word |= spike.to(tl.int32) << bit
        tl.store(packed + w * N + n, word.to(tl.uint16), mask)


@sized_kernel
def spikeops_unpack_spikes_kernel(
    packed, spikes, T: tl.int64, N: tl.int64, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    for w in range((T + SPIKES_PER_WORD - 1) // SPIKES_PER_WORD):
        word = tl.load(packed + w * N + n, mask).to(tl.int32)
        for bit in tl.static_range(SPIKES_PER_WORD):
            t = w * SPIKES_PER_WORD + bit
            spike = (word >> bit) & 1
            if spikes.dtype.element_ty.is_floating():
                spike = spike.to(tl.float32)  # bfloat16 is reached from float32 only
            tl.store(spikes + t * N + n, spike, mask & (t < T))


def pack_spikes(spikes):
    spikes = time_major(spikes)
    T, N = spikes.shape[0], spikes.shape[1:].numel()
    packed = empty_sequence(spikes, triton.cdiv(T, SPIKES_PER_WORD.value), torch.uint16)
    launch_neurons(spikeops_pack_spikes_kernel, N, spikes, spikes=as_bytes(spikes), packed=packed, T=T)
    return packed


def unpack_spikes(packed, T, dtype):
    packed = time_major(packed)
    spikes = empty_sequence(packed, T, dtype)
    launch_neurons(spikeops_unpack_spikes_kernel, packed.shape[1:].numel(), packed, packed=packed, spikes=as_bytes(spikes), T=T)
    return spikes
