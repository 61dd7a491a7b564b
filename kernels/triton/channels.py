"""Sums, means and variances of channels in the fixed order of kernels/math/channels.h: neither the grid nor the backend enters."""

from typing import NamedTuple

import torch
import triton
import triton.language as tl

from spikeops._dtypes import state_dtype
from spikeops._layout import time_major
from spikeops.triton._launch import launch, sized_kernel
from spikeops.triton._math import scalar

LANES = tl.constexpr(32)
# Channels that a program takes together.
CHANNELS = tl.constexpr(128)
ROWS_OF_STEPS, ROWS_OF_NEURONS = 64, 8


class Channels(NamedTuple):
    """(rows, C, inner) in memory: element n is of channel n // inner % C."""

    rows: int
    C: int
    inner: int
    rows_per_block: int

    @property
    def blocks(self) -> int:
        return triton.cdiv(self.rows, self.rows_per_block)


def _channels_of(x: torch.Tensor, rows_per_step: int, rows_per_block: int) -> Channels:
    """How numbers of so many time steps of x (T, B, C, ...), which is time-major, are summed."""
    C, neurons = x.shape[2], x.shape[1:].numel()
    inner = max(x.stride(2) if C > 1 else neurons, 1)
    outer = neurons // max(C * inner, 1)
    return Channels(rows_per_step * outer, C, inner, rows_per_block if inner == 1 else 1)


@triton.jit
def _terms(a, b, i, mask, first, IS_DISTANCE: tl.constexpr):
    """Two numbers of an element: its distance to the first one of its channel and the square of that, or those of two tensors."""
    of_a = tl.load(a + i, mask, other=0.0).to(tl.float64)
    if IS_DISTANCE:
        distance = tl.where(mask, of_a - first, 0.0)
        return distance, distance * distance
    else:
        return of_a, tl.load(b + i, mask, other=0.0).to(tl.float64)


@sized_kernel
def spikeops_channel_rows_kernel(
    a, b, partials, rows: tl.int64, columns: tl.int64, ROWS: tl.constexpr, IS_DISTANCE: tl.constexpr
):  # fmt: skip
    """Some channels of a block of rows (rows, columns), summed row after row."""
    tiles = (columns + CHANNELS - 1) // CHANNELS
    blocks = (rows + ROWS - 1) // ROWS
    program = tl.program_id(0).to(tl.int64)
    block = program // tiles
    c = (program - block * tiles) * CHANNELS + tl.arange(0, CHANNELS)
    mask = c < columns
    origin = tl.load(a + c, mask, other=0.0).to(tl.float64)
    first, second = tl.zeros((CHANNELS,), tl.float64), tl.zeros((CHANNELS,), tl.float64)
    for row in range(block * ROWS, tl.minimum(rows, (block + 1) * ROWS)):
        one, two = _terms(a, b, row * columns + c, mask, origin, IS_DISTANCE)
        first += one
        second += two
    tl.store(partials + block * columns + c, first, mask)
    tl.store(partials + (blocks + block) * columns + c, second, mask)


@triton.jit
def _sum_of_lanes(lanes):
    """By halves: of two rows, a sum has one order."""
    lanes = tl.sum(lanes.reshape(2, 16), 0)
    lanes = tl.sum(lanes.reshape(2, 8), 0)
    lanes = tl.sum(lanes.reshape(2, 4), 0)
    lanes = tl.sum(lanes.reshape(2, 2), 0)
    return tl.sum(lanes, 0)


@sized_kernel
def spikeops_channel_runs_kernel(
    a, b, partials, rows: tl.int64, columns: tl.int64, width: tl.int64, IS_DISTANCE: tl.constexpr
):  # fmt: skip
    """A run of `width` elements: lane l adds the elements l, l + 32, ... in order; then the lanes are added."""
    run = tl.program_id(0).to(tl.int64)
    lanes = tl.arange(0, LANES)
    origin = tl.load(a + run % columns * width).to(tl.float64)
    first, second = tl.zeros((LANES,), tl.float64), tl.zeros((LANES,), tl.float64)
    for offset in range(0, width, LANES):
        i = offset + lanes
        one, two = _terms(a, b, run * width + i, i < width, origin, IS_DISTANCE)
        first += one
        second += two
    tl.store(partials + run, _sum_of_lanes(first))
    tl.store(partials + rows * columns + run, _sum_of_lanes(second))


@triton.jit
def _sum_of_blocks(partials, blocks, columns, channel):
    lanes = tl.arange(0, LANES)
    sums = tl.zeros((LANES,), tl.float64)
    for offset in range(0, blocks, LANES):
        block = offset + lanes
        sums += tl.load(partials + block * columns + channel, block < blocks, other=0.0)
    return _sum_of_lanes(sums)


@sized_kernel
def spikeops_channel_moments_kernel(x, partials, moments, rows: tl.int64, columns: tl.int64, width: tl.int64, count: tl.float64):
    channel = tl.program_id(0).to(tl.int64)
    count = scalar(count, tl.float64)
    distances = _sum_of_blocks(partials, rows, columns, channel)
    squares = _sum_of_blocks(partials + rows * columns, rows, columns, channel)
    mean = distances / count
    variance = squares / count - mean * mean
    tl.store(moments + channel, tl.load(x + channel * width).to(tl.float64) + mean)
    tl.store(moments + columns + channel, tl.where(variance < 0, 0.0, variance))


@sized_kernel
def spikeops_channel_totals_kernel(partials, factor, totals, rows: tl.int64, columns: tl.int64):
    channel = tl.program_id(0).to(tl.int64)
    tl.store(totals + channel, _sum_of_blocks(partials, rows, columns, channel))
    second = _sum_of_blocks(partials + rows * columns, rows, columns, channel)
    tl.store(totals + columns + channel, second * tl.load(factor + channel).to(tl.float64))


def _partial_sums(a: torch.Tensor, b: torch.Tensor | None, channels: Channels) -> torch.Tensor:
    """(2, blocks, C) of the numbers of two tensors; without the second, of the distances of the first and of their squares."""
    partials = a.new_empty(2, channels.blocks, channels.C, dtype=torch.float64)
    arguments = dict(a=a, b=b, partials=partials, rows=channels.rows, columns=channels.C, IS_DISTANCE=b is None)
    if channels.inner == 1:
        programs = channels.blocks * triton.cdiv(channels.C, CHANNELS.value)
        launch(spikeops_channel_rows_kernel, programs, a, ROWS=channels.rows_per_block, **arguments)
    else:
        launch(spikeops_channel_runs_kernel, channels.rows * channels.C, a, width=channels.inner, num_warps=1, **arguments)
    return partials


def _totals(a: torch.Tensor, b: torch.Tensor, factor: torch.Tensor, channels: Channels) -> torch.Tensor:
    """(2, C) of the numbers of two tensors, the second times a factor."""
    partials, totals = _partial_sums(a, b, channels), a.new_empty(2, channels.C, dtype=torch.float64)
    launch(
        spikeops_channel_totals_kernel, channels.C, a, partials=partials, factor=factor, totals=totals, rows=channels.blocks,
        columns=channels.C, num_warps=1,
    )  # fmt: skip
    return totals


def channel_statistics(x, eps):
    x, state = time_major(x), state_dtype(x.dtype)
    channels = _channels_of(x, x.shape[0], ROWS_OF_STEPS)
    moments = x.new_empty(2, channels.C, dtype=torch.float64)
    if x.numel() == 0:
        moments.fill_(torch.nan)
    else:
        launch(
            spikeops_channel_moments_kernel, channels.C, x, x=x, partials=_partial_sums(x, None, channels), moments=moments,
            rows=channels.blocks, columns=channels.C, width=channels.inner, count=float(channels.rows * channels.inner), num_warps=1,
        )  # fmt: skip
    # 1 / sqrt of float64 rounds as IEEE says, here and in the native kernels.
    return moments[0].to(state), (1 / torch.sqrt(moments[1] + eps)).to(state), moments
