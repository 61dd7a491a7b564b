"""Sums of rows in the fixed order of kernels/math/reduce.h: neither the grid nor the backend enters."""

import torch
import triton
import triton.language as tl

from spikeops.triton._launch import launch, sized_kernel

ROW_SUM_BLOCK = tl.constexpr(4096)
ROW_SUM_LANES = tl.constexpr(32)


@sized_kernel
def spikeops_row_sum_blocks_kernel(x, partials, columns: tl.int64):
    """One block of one row: lane l adds the elements l, l + 32, ... in order; then the lanes are added in order."""
    blocks = (columns + ROW_SUM_BLOCK - 1) // ROW_SUM_BLOCK
    program = tl.program_id(0).to(tl.int64)
    row = program // blocks
    start = (program - row * blocks) * ROW_SUM_BLOCK
    lanes = tl.arange(0, ROW_SUM_LANES)
    sums = tl.zeros((ROW_SUM_LANES,), tl.float64)
    for offset in tl.range(0, tl.minimum(columns - start, ROW_SUM_BLOCK), ROW_SUM_LANES, loop_unroll_factor=8):
        column = start + offset + lanes
        sums += tl.load(x + row * columns + column, column < columns, other=0.0).to(tl.float64)
    total = tl.full((), 0.0, tl.float64)
    for lane in range(ROW_SUM_LANES):
        # A sum with a single nonzero term: takes out one lane, in whatever order it is formed.
        total += tl.sum(tl.where(lanes == lane, sums, 0.0))
    tl.store(partials + program, total)


@sized_kernel
def spikeops_row_sum_rows_kernel(partials, out, columns: tl.int64):
    blocks = (columns + ROW_SUM_BLOCK - 1) // ROW_SUM_BLOCK
    row = tl.program_id(0).to(tl.int64)
    total = tl.full((), 0.0, tl.float64)
    for block in range(blocks):
        total += tl.load(partials + row * blocks + block)
    tl.store(out + row, total)


def row_sum(x):
    x = x.contiguous()
    rows, columns = x.shape
    partials = x.new_empty(rows, triton.cdiv(columns, ROW_SUM_BLOCK.value), dtype=torch.float64)
    out = x.new_empty(rows)
    launch(spikeops_row_sum_blocks_kernel, partials.numel(), x, x=x, partials=partials, columns=columns, num_warps=1)
    launch(spikeops_row_sum_rows_kernel, rows, x, partials=partials, out=out, columns=columns, num_warps=1)
    return out
