// Sums of channels in the order of kernels/math/channels.h, and which channels a thread's neurons are of.
#pragma once

#include "../math/channels.h"
#include "grid.hpp"
#include "lanes.hpp"

namespace spikeops::cuda {

static_assert(kChannelLanes == 32, "a lane of the order is a lane of a warp");

// f(l, channel) for the neurons first + l of a thread: neighbours are of the same channel, or of the next one.
template <int width, class F>
__device__ __forceinline__ void for_each_channel(int64_t first, int64_t C, int64_t inner, F f) {
  const int64_t run = first / inner;
  int64_t channel = run % C, left = inner - (first - run * inner);
  for (int l = 0; l < width; ++l) {
    if (left == 0) {
      left = inner;
      channel = channel + 1 == C ? 0 : channel + 1;
    }
    --left;
    f(l, channel);
  }
}

// What is summed: Terms(arguments of a kernel).of(channel) returns what is the same for a channel, and add(i, that, first, second)
// adds the terms of number i.
template <class Terms>
__device__ __forceinline__ void sum_rows(const Terms& terms, const Channels& c, double* partials) {
  const int64_t blocks = blocks_of(c);
  // A thread for each channel of a block of rows: neighbours read neighbours.
  for_each_group<1>(blocks * c.C, [&](int64_t position) {
    const int64_t block = position / c.C, channel = position - block * c.C;
    const int64_t begin = block * c.rows_per_block, left = c.rows - begin, rows = left < c.rows_per_block ? left : c.rows_per_block;
    const auto same = terms.of(channel);
    double first = 0, second = 0;
#pragma unroll 8
    for (int64_t row = begin; row < begin + rows; ++row) terms.add(row * c.C + channel, same, first, second);
    partials[position] = first;
    partials[blocks * c.C + position] = second;
  });
}

// Of all lanes of a warp, by halves.
__device__ __forceinline__ double sum_of_warp(double of_lane) {
  for (int half = kChannelLanes / 2; half > 0; half /= 2) of_lane += __shfl_xor_sync(0xffffffffu, of_lane, half);
  return of_lane;
}

// body(item, lane) of each warp for its items.
template <class Body>
__device__ __forceinline__ void for_each_warp(int64_t items, Body body) {
  const int lane = threadIdx.x % kChannelLanes;
  const int64_t warps = int64_t(gridDim.x) * blockDim.x / kChannelLanes;
  for (int64_t item = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kChannelLanes; item < items; item += warps) body(item, lane);
}

template <class Terms>
__device__ __forceinline__ void sum_runs(const Terms& terms, const Channels& c, double* partials) {
  const int64_t runs = c.rows * c.C;
  for_each_warp(runs, [&](int64_t run, int lane) {
    const auto same = terms.of(run % c.C);
    double first = 0, second = 0;
#pragma unroll 8
    for (int64_t i = lane; i < c.inner; i += kChannelLanes) terms.add(run * c.inner + i, same, first, second);
    first = sum_of_warp(first);
    second = sum_of_warp(second);
    if (lane == 0) {
      partials[run] = first;
      partials[runs + run] = second;
    }
  });
}

// The sum of all blocks of a channel, in all lanes.
__device__ __forceinline__ double sum_of_blocks(const double* partials, int64_t blocks, int64_t C, int64_t channel, int lane) {
  double sum = 0;
#pragma unroll 4
  for (int64_t block = lane; block < blocks; block += kChannelLanes) sum += partials[block * C + channel];
  return sum_of_warp(sum);
}

// Launches one of two kernels that sum: that of rows, or that of runs.
template <class... P, class... A>
int launch_sums(void* stream, const Channels& c, void (*rows)(P...), void (*runs)(P...), const A&... arguments) {
  const int64_t threads = c.inner == 1 ? blocks_of(c) * c.C : c.rows * c.C * kChannelLanes;
  if (threads == 0) return cudaSuccess;
  return gpu::launch(c.inner == 1 ? rows : runs, dim3(unsigned(blocks_for(threads))), dim3(kThreads), 0,
                     static_cast<cudaStream_t>(stream), arguments...);
}

}  // namespace spikeops::cuda
