"""Neurons that stop at their threshold (kernels/math/clamped.h)."""

import torch
import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import dense, empty_step, like_step
from spikeops.triton._launch import launch, launch_neurons, sized_kernel, triton_state
from spikeops.triton._math import block_of_neurons, divide, scalar


@sized_kernel
def spikeops_clamped_forward_kernel(
    x, threshold, count, potential, T: tl.int64, N: tl.int64, columns: tl.int64, width: tl.int64, dt: tl.float64, leak: tl.float64,
    STATE: tl.constexpr, ALIGNED: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Neuron n has the threshold of channel n // width % columns. In a loop of its own: `walk` reads an input in each step, and does
    not tell the first one, whose command differs, from the others."""
    N, n, mask = block_of_neurons(N, ALIGNED, BLOCK)
    dt, leak = scalar(dt, STATE), scalar(leak, STATE)
    value = tl.load(x + n, mask).to(STATE)
    limit = tl.load(threshold + n // width % columns, mask)
    command, later = divide(value, dt), (value + value) * leak
    v = tl.zeros((BLOCK,), STATE)
    spikes = tl.zeros((BLOCK,), STATE)
    for _ in range(T):
        v = v + dt * (-leak * v + command)
        fires = v > limit
        v = tl.where(fires, v - (v - limit), v)
        spikes += fires.to(STATE)
        command = later
    tl.store(count + n, spikes, mask)
    tl.store(potential + n, v, mask)


# As in kernels/math/clamped.h, and channels that a program takes together.
ROWS = tl.constexpr(64)
LANES = tl.constexpr(32)
CHANNELS = tl.constexpr(128)


@sized_kernel
def spikeops_clamped_rows_kernel(grad_v, count, partials, rows: tl.int64, columns: tl.int64, STATE: tl.constexpr):
    """Some channels of a block of rows (rows, columns), summed row after row."""
    tiles = (columns + CHANNELS - 1) // CHANNELS
    program = tl.program_id(0).to(tl.int64)
    block = program // tiles
    c = (program - block * tiles) * CHANNELS + tl.arange(0, CHANNELS)
    mask = c < columns
    sums = tl.zeros((CHANNELS,), tl.float64)
    for row in range(block * ROWS, tl.minimum(rows, (block + 1) * ROWS)):
        n = row * columns + c
        product = tl.load(grad_v + n, mask, other=0.0) * tl.load(count + n, mask, other=0.0).to(STATE)
        sums += product.to(tl.float64)
    tl.store(partials + block * columns + c, sums, mask)


@sized_kernel
def spikeops_clamped_runs_kernel(grad_v, count, partials, width: tl.int64, STATE: tl.constexpr):
    """A run of `width` neurons: lane l adds the elements l, l + 32, ... in order; then the lanes are added in order."""
    run = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    sums = tl.zeros((LANES,), tl.float64)
    for offset in range(0, width, LANES):
        i = offset + lanes
        n, mask = run * width + i, i < width
        product = tl.load(grad_v + n, mask, other=0.0) * tl.load(count + n, mask, other=0.0).to(STATE)
        sums += product.to(tl.float64)
    total = tl.full((), 0.0, tl.float64)
    for lane in range(LANES):
        total += tl.sum(tl.where(lanes == lane, sums, 0.0))  # takes out one lane
    tl.store(partials + run, total)


@sized_kernel
def spikeops_clamped_thresholds_kernel(
    partials, grad, rows: tl.int64, columns: tl.int64, samples: tl.float64, gain: tl.float64, drift: tl.float64, STATE: tl.constexpr
):  # fmt: skip
    c = tl.program_id(0).to(tl.int64) * CHANNELS + tl.arange(0, CHANNELS)
    mask = c < columns
    total = tl.zeros((CHANNELS,), tl.float64)
    for block in range(rows):
        total += tl.load(partials + block * columns + c, mask, other=0.0)
    # As the arguments come: scalars of a call are float32 unless they are told.
    samples, gain, drift = scalar(samples, tl.float64), scalar(gain, tl.float64), scalar(drift, tl.float64)
    tl.store(grad + c, (-gain * (total / samples) + drift).to(STATE), mask)


def clamped_lif_backward(grad_v, count, numbers):
    count, state = dense(count), state_dtype(count.dtype)
    grad_v = like_step(grad_v, count.unsqueeze(0))
    channels = count.shape[1]
    width = count.stride(1) if channels > 1 else 1
    outer = count.numel() // max(channels * width, 1)
    blocks = triton.cdiv(outer, ROWS.value) if width == 1 else outer
    partials = count.new_empty(blocks * channels, dtype=torch.float64)
    grad = count.new_empty(channels, dtype=state)
    tiles, common = triton.cdiv(channels, CHANNELS.value), {"STATE": triton_state(count.dtype)}
    arrays = {"grad_v": grad_v, "count": count, "partials": partials}
    if width == 1:
        launch(spikeops_clamped_rows_kernel, blocks * tiles, count, **arrays, rows=outer, columns=channels, **common)
    else:
        launch(spikeops_clamped_runs_kernel, blocks * channels, count, **arrays, width=width, num_warps=1, **common)
    launch(
        spikeops_clamped_thresholds_kernel, tiles, count, partials=partials, grad=grad, rows=blocks, columns=channels,
        samples=float(count.shape[0]), gain=numbers[2], drift=numbers[3], **common,
    )  # fmt: skip
    return grad


def clamped_lif_forward(x, threshold, numbers, T):
    x, state = dense(x), state_dtype(x.dtype)
    channels = x.shape[1]
    count, v = empty_step(x.unsqueeze(0)), empty_step(x.unsqueeze(0), state)
    launch_neurons(
        spikeops_clamped_forward_kernel, x.numel(), x, x=x, threshold=threshold.to(state).contiguous(), count=count, potential=v,
        T=T, columns=channels, width=x.stride(1) if channels > 1 else 1, dt=numbers[0], leak=numbers[1], STATE=triton_state(x.dtype),
    )  # fmt: skip
    return count, v
