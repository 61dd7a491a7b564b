"""Trials of the convex-optimisation network (kernels/math/convex.h, kernels/math/normal.h): a program per trial, or one program for
all that learn, one after the other. A loop of its own, not that of `_walk.py`: in each step one neuron of all may fire."""

import math

import torch
import triton
import triton.language as tl

from spikeops.triton._launch import launch, sized_kernel, triton_state
from spikeops.triton._math import divide, low_word, scalar

# Neurons per warp: four in each thread.
_NEURONS_PER_WARP = 128
_MOST_WARPS = 16


@triton.jit
def _plain_log(x):
    """log(x) of positive normal float64, by operations that round correctly."""
    bits = x.to(tl.int64, bitcast=True)
    exponent = ((bits >> 52) - 1022).to(tl.float64)
    mantissa = ((bits & 0x000FFFFFFFFFFFFF) | 0x3FE0000000000000).to(tl.float64, bitcast=True)
    is_low = mantissa < 0.70710678118654752
    mantissa = tl.where(is_low, mantissa * 2.0, mantissa)
    exponent = tl.where(is_low, exponent - 1.0, exponent)
    z = (mantissa - 1.0) / (mantissa + 1.0)
    w = z * z
    series = w * (1.0 / 11.0) + 1.0 / 9.0
    series = series * w + 1.0 / 7.0
    series = series * w + 1.0 / 5.0
    series = series * w + 1.0 / 3.0
    series = series * w + 1.0
    return exponent * 0.69314718055994531 + 2.0 * z * series


@triton.jit
def _standard_normal(word):
    """A standard normal number of a 32-bit word (PPND7), in float64."""
    q = (word.to(tl.float64) - 2147483647.5) * 2.3283064365386963e-10
    r = 0.180625 - q * q
    above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179
    below = ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0
    middle = q * above / below
    r = tl.sqrt(-_plain_log(0.5 - tl.abs(q))) - 1.6
    above = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777
    below = (0.12021132975 * r + 0.73700164250) * r + 1.0
    tail = above / below
    return tl.where(tl.abs(q) <= 0.425, middle, tl.where(q < 0.0, -tail, tail))


@triton.jit
def _drawn_noise(seed, trial, N, n, t, STATE: tl.constexpr, BLOCK: tl.constexpr):
    """The random numbers of step t: every draw is for four steps."""
    counter = trial * N + n
    group = tl.full((BLOCK,), t // 4, tl.int64)
    w0, w1, w2, w3 = tl.philox(seed, low_word(counter), low_word(counter >> 32), low_word(group), low_word(group >> 32))
    place = t % 4
    word = tl.where(place == 0, w0, tl.where(place == 1, w1, tl.where(place == 2, w2, w3)))
    return _standard_normal(word).to(STATE)


@sized_kernel
def spikeops_convex_trials_kernel(
    x, feedforward, recurrent, thresholds, decoder, noise, seed, targets, encoder, spikes, readout,
    T: tl.int64, rows: tl.int64, columns: tl.int64, N: tl.int64, outputs: tl.int64, width: tl.int64, buffer_steps: tl.int64,
    dt: tl.float64, leak: tl.float64, spike_cost: tl.float64, rate_keep: tl.float64, noise_scale: tl.float64,
    feedforward_rate: tl.float64, threshold_rate: tl.float64, threshold_step: tl.float64, forgetting: tl.float64,
    change: tl.float64, hold: tl.float64,
    STATE: tl.constexpr, BLOCK: tl.constexpr, BLOCK_OUT: tl.constexpr,
):  # fmt: skip
    """`rows` trials of N neurons with `columns` inputs, `outputs` readouts and `width` numbers in a target. feedforward (columns, N)
    and thresholds are changed where there are targets; of recurrent (N, N) and decoder (N, outputs) one row at a time is read."""
    first = tl.program_id(0).to(tl.int64)
    after = first + 1
    if targets is not None:
        after = rows
    n, m = tl.arange(0, BLOCK).to(tl.int64), tl.arange(0, BLOCK_OUT).to(tl.int64)
    exists, is_output = n < N, m < outputs
    dt, leak, spike_cost = scalar(dt, STATE), scalar(leak, STATE), scalar(spike_cost, STATE)
    rate_keep, noise_scale = scalar(rate_keep, STATE), scalar(noise_scale, STATE)
    feedforward_rate, threshold_rate = scalar(feedforward_rate, STATE), scalar(threshold_rate, STATE)
    threshold_step, forgetting = scalar(threshold_step, STATE), scalar(forgetting, STATE)
    change, hold = scalar(change, STATE), scalar(hold, STATE)
    h = tl.load(thresholds + n, exists, other=0.0)
    if seed is not None:
        seed = tl.load(seed)
    for trial in range(first, after):
        v = tl.zeros((BLOCK,), STATE)
        y = tl.zeros((BLOCK_OUT,), STATE)
        tl.store(readout + trial * outputs + m, y, is_output)
        for t in range(T):
            now = x + (t * rows + trial) * columns
            drive = tl.zeros((BLOCK,), STATE)
            for k in range(columns):
                value = tl.load(now + k)
                command = change * divide(tl.load(now + rows * columns + k) - value, dt) + hold * value
                if command != 0.0:  # most of an image
                    drive += tl.load(feedforward + k * N + n, exists, other=0.0) * command
            v = v + dt * (drive - leak * v)
            if noise is not None:
                v += noise_scale * tl.load(noise + (t * rows + trial) * N + n, exists, other=0.0)
            elif seed is not None:
                v += noise_scale * _drawn_noise(seed, trial, N, n, t, STATE, BLOCK)
            excess = v - h
            excess = tl.where(exists & (excess == excess), excess, float("-inf"))
            # The first of several with the largest excess; BLOCK where none reaches its threshold.
            is_largest = (excess == tl.max(excess, axis=0)) & (excess >= 0.0)
            winner = tl.min(tl.where(is_largest, n, BLOCK), axis=0)
            fires = winner < BLOCK
            inhibited = tl.where(n == winner, v - spike_cost, v) + tl.load(recurrent + winner * N + n, exists & fires, other=0.0)
            v = tl.where(fires, inhibited, v)
            if decoder is not None:
                weight = tl.load(decoder + winner * outputs + m, is_output & fires, other=0.0)
            else:
                weight = (m == winner).to(STATE)
            y = rate_keep * y + weight
            tl.store(readout + ((t + 1) * rows + trial) * outputs + m, y, is_output)
            tl.store(spikes + t * rows + trial, tl.where(fires, winner, -1).to(tl.int32))
            if targets is not None:  # noqa: SIM102 (decided when the kernel is compiled)
                if t >= buffer_steps:
                    if fires:
                        reached = tl.zeros((), STATE)
                        for k in range(columns):
                            reached += tl.load(feedforward + k * N + winner) * tl.load(now + k)
                        wanted = tl.zeros((), STATE)
                        for j in range(width):
                            wanted += tl.load(encoder + winner * width + j) * tl.load(targets + trial * width + j)
                        # A sum of one number and zeros.
                        boundary = reached - tl.sum(tl.where(n == winner, h, 0.0), axis=0)
                        error = (boundary - wanted) - forgetting * boundary
                        h = tl.where(n == winner, h + threshold_rate * error, h)
                        scale = feedforward_rate * error
                        # No thread may write before all have read the old weights, nor read on before the new ones are written.
                        tl.debug_barrier()
                        for k in range(columns):
                            weight_k = feedforward + k * N + winner
                            tl.store(weight_k, tl.load(weight_k) - scale * tl.load(now + k))
                        tl.debug_barrier()
                    h = h - threshold_step
    if targets is not None:
        tl.store(thresholds + n, h, exists)


def convex_snn_trial(x, feedforward, recurrent, thresholds, decoder, noise, seed, targets, encoder, numbers, buffer_steps):
    (bins, trials, inputs), neurons = x.shape, len(feedforward)
    outputs = neurons if decoder is None else len(decoder)
    dt, leak, spike_cost, sigma_v, feedforward_rate, threshold_rate, threshold_drift, forgetting, change, hold = numbers
    learns = targets is not None
    spikes, readout = x.new_empty((bins - 1, trials), dtype=torch.int32), x.new_empty((bins, trials, outputs))
    feedforward = feedforward.t().clone(memory_format=torch.contiguous_format)
    thresholds = thresholds.clone(memory_format=torch.contiguous_format)
    block = triton.next_power_of_2(neurons)
    launch(
        spikeops_convex_trials_kernel, 1 if learns else trials, x, x=x.contiguous(), feedforward=feedforward,
        recurrent=recurrent.t().contiguous(), thresholds=thresholds, decoder=None if decoder is None else decoder.t().contiguous(),
        noise=None if noise is None else noise.contiguous(), seed=seed, targets=targets.contiguous() if learns else None,
        encoder=encoder.contiguous() if learns else None, spikes=spikes, readout=readout,
        T=bins - 1, rows=trials, columns=inputs, N=neurons, outputs=outputs, width=targets.shape[1] if learns else 0,
        buffer_steps=buffer_steps, dt=dt, leak=leak, spike_cost=spike_cost, rate_keep=1 - leak * dt,
        noise_scale=math.sqrt(2 * dt * leak) * sigma_v, feedforward_rate=feedforward_rate, threshold_rate=threshold_rate,
        threshold_step=dt * threshold_drift, forgetting=forgetting, change=change, hold=hold, STATE=triton_state(x.dtype), BLOCK=block,
        BLOCK_OUT=triton.next_power_of_2(max(outputs, 1)), num_warps=min(max(block // _NEURONS_PER_WARP, 1), _MOST_WARPS),
    )  # fmt: skip
    learned = (feedforward.t().contiguous(), thresholds) if learns else (None, None)
    return spikes, readout, *learned
