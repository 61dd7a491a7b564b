"""Spike encodings of real numbers: Poisson (Philox, kernels/math/philox.h) and latency."""

import triton
import triton.language as tl

from spikeops.functional._layout import dense, empty_sequence
from spikeops.triton._launch import launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, low_word

STEPS_PER_DRAW = tl.constexpr(4)


@triton.jit
def _store_draw(spikes, word, p, t, T, N, n, mask, STATE: tl.constexpr):
    uniform = (word >> 8).to(tl.float32) * 5.9604644775390625e-8  # 24 bits: exact
    tl.store(spikes + t * N + n, (uniform < p).to(STATE), mask & (t < T))


@sized_kernel
def spikeops_poisson_encode_kernel(
    p, seed, spikes, T: tl.int64, N: tl.int64, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    p = tl.load(p + n, mask).to(tl.float32)
    seed = tl.load(seed)
    for group in range((T + STEPS_PER_DRAW - 1) // STEPS_PER_DRAW):
        counter = tl.full((BLOCK,), group, tl.int64)
        w0, w1, w2, w3 = tl.philox(seed, low_word(n), low_word(n >> 32), low_word(counter), low_word(counter >> 32))
        t = group * STEPS_PER_DRAW
        _store_draw(spikes, w0, p, t, T, N, n, mask, STATE)
        _store_draw(spikes, w1, p, t + 1, T, N, n, mask, STATE)
        _store_draw(spikes, w2, p, t + 2, T, N, n, mask, STATE)
        _store_draw(spikes, w3, p, t + 3, T, N, n, mask, STATE)


@sized_kernel
def spikeops_latency_encode_kernel(
    p, spikes, T: tl.int64, N: tl.int64, STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    p = tl.load(p + n, mask).to(STATE)
    p = tl.where(p > 1.0, 1.0, p)
    when = (1.0 - p) * (T - 1).to(STATE) + 0.5
    # Never for p <= 0 and NaN. Rounding towards zero is a floor, since the sum is positive.
    when = tl.where(p > 0.0, when, -1.0).to(tl.int64)
    for t in range(T):
        tl.store(spikes + t * N + n, (when == t).to(STATE), mask)


def _empty_spikes(p, T):
    return empty_sequence(p.unsqueeze(0), T)


def poisson_encode(p, T, seed):
    p = dense(p)
    spikes = _empty_spikes(p, T)
    launch_neurons(spikeops_poisson_encode_kernel, p.numel(), p, p=p, seed=seed, spikes=spikes, T=T, STATE=triton_state(p.dtype))
    return spikes


def latency_encode(p, T):
    p = dense(p)
    spikes = _empty_spikes(p, T)
    launch_neurons(spikeops_latency_encode_kernel, p.numel(), p, p=p, spikes=spikes, T=T, STATE=triton_state(p.dtype))
    return spikes
