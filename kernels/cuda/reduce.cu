// Row sums in the fixed order of kernels/math/reduce.h: blocks of a row by one warp each, then the blocks in order.
#include "../math/reduce.h"

#include "grid.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

static_assert(kRowSumLanes == 32, "a lane of the order is a lane of a warp");

template <class S, class Out>
__global__ void __launch_bounds__(kThreads) row_sum_blocks_kernel(RowSum args, int64_t blocks_per_row, Out* out) {
  const int lane = threadIdx.x % kRowSumLanes;
  const int64_t warp = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kRowSumLanes;
  const int64_t warps = int64_t(gridDim.x) * blockDim.x / kRowSumLanes;
  for (int64_t block = warp; block < args.rows * blocks_per_row; block += warps) {
    const int64_t column = block % blocks_per_row * kRowSumBlock, left = args.columns - column;
    const int64_t columns = left < kRowSumBlock ? left : kRowSumBlock;
    const S* const in = static_cast<const S*>(args.in) + block / blocks_per_row * args.columns + column;
    double lane_sum = 0;
#pragma unroll 8
    for (int64_t i = lane; i < columns; i += kRowSumLanes) lane_sum += double(in[i]);
    double sum = 0;
    for (int l = 0; l < kRowSumLanes; ++l) sum += __shfl_sync(0xffffffffu, lane_sum, l);
    if (lane == 0) out[block] = Out(sum);
  }
}

// One thread adds a row's partial sums; the others only bring them close.
template <class S>
__global__ void __launch_bounds__(kThreads) row_sum_rows_kernel(RowSum args, int64_t blocks_per_row) {
  constexpr int kChunk = 1024;
  __shared__ double chunk[kChunk];
  for (int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    double sum = 0;
    for (int64_t first = 0; first < blocks_per_row; first += kChunk) {
      const int64_t left = blocks_per_row - first;
      const int count = left < kChunk ? int(left) : kChunk;
      for (int k = threadIdx.x; k < count; k += kThreads) chunk[k] = args.partials[row * blocks_per_row + first + k];
      __syncthreads();
      if (threadIdx.x == 0)
        for (int k = 0; k < count; ++k) sum += chunk[k];
      __syncthreads();
    }
    if (threadIdx.x == 0) static_cast<S*>(args.out)[row] = S(sum);
  }
}

template <class S>
int launch_blocks(const RowSum& args, int64_t blocks_per_row, void* stream) {
  const dim3 grid(unsigned(blocks_for(args.rows * blocks_per_row * kRowSumLanes)));
  const auto on = static_cast<cudaStream_t>(stream);
  return blocks_per_row == 1
             ? gpu::launch(row_sum_blocks_kernel<S, S>, grid, dim3(kThreads), 0, on, args, blocks_per_row, static_cast<S*>(args.out))
             : gpu::launch(row_sum_blocks_kernel<S, double>, grid, dim3(kThreads), 0, on, args, blocks_per_row, args.partials);
}

}  // namespace

int row_sum_blocks(const RowSumBlocks& args, void* stream) {
  const int64_t blocks = blocks_of(args);
  if (args.rows * blocks == 0) return cudaSuccess;
  return args.is_double ? launch_blocks<double>(args, blocks, stream) : launch_blocks<float>(args, blocks, stream);
}

int row_sum_rows(const RowSumRows& args, void* stream) {
  if (args.rows == 0) return cudaSuccess;
  return gpu::launch(args.is_double ? row_sum_rows_kernel<double> : row_sum_rows_kernel<float>,
                     dim3(unsigned(args.rows < kMaxBlocks ? args.rows : kMaxBlocks)), dim3(kThreads), 0,
                     static_cast<cudaStream_t>(stream), args, blocks_of(args));
}

}  // namespace spikeops::cuda
