// Small right and wrong kernels on which the host stand-in itself is tested.
#include "shim_kernels.h"

#include <cstdint>

#include "../../kernels/cuda/gpu.hpp"
#include "../../kernels/cuda/lanes.hpp"

namespace spikeops::testing {
namespace {

__device__ int64_t flat_thread() { return int64_t(blockIdx.x) * blockDim.x + threadIdx.x; }

__global__ void indices_kernel(int* out) {
  const unsigned block = blockIdx.x + gridDim.x * (blockIdx.y + gridDim.y * blockIdx.z);
  const unsigned thread = threadIdx.x + blockDim.x * (threadIdx.y + blockDim.y * threadIdx.z);
  int* const row = out + 6 * (block * blockDim.x * blockDim.y * blockDim.z + thread);
  row[0] = blockIdx.x, row[1] = blockIdx.y, row[2] = blockIdx.z;
  row[3] = threadIdx.x, row[4] = threadIdx.y, row[5] = threadIdx.z;
}

__global__ void block_sum_kernel(const float* x, float* out) {
  GPU_DYNAMIC_SHARED(float, warp_sums);
  float sum = x[flat_thread()];
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffffu, sum, offset);
  if (threadIdx.x % 32 == 0) warp_sums[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x == 0) {
    sum = 0;
    for (unsigned warp = 0; warp < blockDim.x / 32; ++warp) sum += warp_sums[warp];
    out[blockIdx.x] = sum;
  }
}

template <class T>
__global__ void rotate_kernel(const T* x, T* out, int by, bool barrier_after_write) {
  __shared__ T tile[128];
  tile[threadIdx.x] = x[flat_thread()];
  if (barrier_after_write) __syncthreads();
  out[flat_thread()] = tile[(threadIdx.x + by) % blockDim.x];
}

__global__ void read_then_overwrite_kernel(const float* x, float* out, bool barrier_after_read) {
  __shared__ float tile[128];
  tile[threadIdx.x] = x[threadIdx.x];
  __syncthreads();
  out[threadIdx.x] = tile[(threadIdx.x + 1) % blockDim.x];
  if (barrier_after_read) __syncthreads();
  tile[threadIdx.x] = -1.0f;
}

__global__ void shuffle_kernel(const int* x, int* out, int kind, int argument, int width) {
  const int value = x[flat_thread()];
  int result = 0;
  if (kind == 0) result = __shfl_sync(0xffffffffu, value, argument, width);
  if (kind == 1) result = __shfl_up_sync(0xffffffffu, value, argument, width);
  if (kind == 2) result = __shfl_down_sync(0xffffffffu, value, argument, width);
  if (kind == 3) result = __shfl_xor_sync(0xffffffffu, value, argument, width);
  out[flat_thread()] = result;
}

__global__ void vote_kernel(const int* x, unsigned* out) {
  const int value = x[flat_thread()];
  unsigned* const row = out + 3 * flat_thread();
  row[0] = __ballot_sync(0xffffffffu, value);
  row[1] = __any_sync(0xffffffffu, value);
  row[2] = __all_sync(0xffffffffu, value);
}

__global__ void shuffle_from_outside_kernel(float* out) {
  out[threadIdx.x] = -1.0f;
  if (threadIdx.x < 16) out[threadIdx.x] = __shfl_sync(0x0000ffffu, 1.0f, 16 + threadIdx.x);
}

__global__ void global_overrun_kernel(float* out, int64_t excess) { out[flat_thread() + excess] = 1.0f; }

// Out of line, so that only the guard zones round an array can tell an overrun.
__attribute__((noinline)) __device__ void store_one(float* where) { *where = 1.0f; }

__global__ void static_shared_overrun_kernel(float* out, int excess) {
  __shared__ float tile[128];
  store_one(tile + threadIdx.x + excess);
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}

__global__ void dynamic_shared_overrun_kernel(float* out, int excess) {
  GPU_DYNAMIC_SHARED(float, tile);
  store_one(tile + threadIdx.x + excess);
  __syncthreads();
  out[threadIdx.x] = tile[threadIdx.x];
}

struct alignas(16) Float4 {
  float values[4];
};

// As kernels move numbers.
__global__ void copy_lanes_kernel(const float* x, float* out) {
  const int i = 4 * threadIdx.x;
  cuda::store(out + i, cuda::load<4>(x + i));
}

__global__ void copy_float4_kernel(const float* x, float* out) {
  reinterpret_cast<Float4*>(out)[threadIdx.x] = reinterpret_cast<const Float4*>(x)[threadIdx.x];
}

__global__ void unwritten_shared_kernel(float* out) {
  __shared__ float fixed[128];
  GPU_DYNAMIC_SHARED(float, dynamic);
  if (blockIdx.x == 0) fixed[threadIdx.x] = dynamic[threadIdx.x] = 1.0f;  // must not reach the second block
  out[flat_thread()] = fixed[threadIdx.x] + dynamic[threadIdx.x];
}

__global__ void divergent_barrier_kernel(float* out) {
  if (threadIdx.x % 2 == 0) {
    __syncthreads();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

__global__ void barrier_against_warp_kernel(float* out) {
  if (threadIdx.x == 0) {
    __syncwarp();
  } else {
    __syncthreads();
  }
  out[threadIdx.x] = 1.0f;
}

__global__ void early_exit_kernel(float* out, int survivors) {
  if (int(threadIdx.x) >= survivors) return;
  __syncthreads();
  out[threadIdx.x] = 1.0f;
}

__global__ void mask_without_caller_kernel(float* out) { out[threadIdx.x] = __shfl_sync(0xfffffffeu, 1.0f, 1); }

__global__ void differing_masks_kernel(float* out) {
  const unsigned mask = threadIdx.x % 2 == 0 ? 0xffffffffu : 0xfffffffeu | 1u << threadIdx.x;
  out[threadIdx.x] = float(__ballot_sync(mask, 1));
}

__global__ void differing_collectives_kernel(float* out) {
  if (threadIdx.x % 2 == 0) {
    out[threadIdx.x] = __shfl_sync(0xffffffffu, 1.0f, 1);
  } else {
    out[threadIdx.x] = float(__ballot_sync(0xffffffffu, 1));
  }
}

__global__ void idle_kernel() {}

}  // namespace

void indices(int* out, const unsigned* grid, const unsigned* block) {
  gpu::launch(indices_kernel, dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), 0, nullptr, out);
}
void block_sum(const float* x, float* out, int blocks, int threads) {
  gpu::launch(block_sum_kernel, blocks, threads, threads / 32 * sizeof(float), nullptr, x, out);
}
void rotate(const float* x, float* out, int blocks, int by, bool barrier) {
  gpu::launch(rotate_kernel<float>, blocks, 128, 0, nullptr, x, out, by, barrier);
}
void read_then_overwrite(const float* x, float* out, bool barrier) {
  gpu::launch(read_then_overwrite_kernel, 1, 128, 0, nullptr, x, out, barrier);
}
void shuffle(const int* x, int* out, int threads, int kind, int argument, int width) {
  gpu::launch(shuffle_kernel, 1, threads, 0, nullptr, x, out, kind, argument, width);
}
void vote(const int* x, unsigned* out, int threads) { gpu::launch(vote_kernel, 1, threads, 0, nullptr, x, out); }
void shuffle_from_outside(float* out) { gpu::launch(shuffle_from_outside_kernel, 1, 32, 0, nullptr, out); }
void global_overrun(float* out, int threads, int64_t excess) {
  gpu::launch(global_overrun_kernel, 1, threads, 0, nullptr, out, excess);
}
void static_shared_overrun(float* out, int excess) {
  gpu::launch(static_shared_overrun_kernel, 1, 128, 0, nullptr, out, excess);
}
void dynamic_shared_overrun(float* out, int excess) {
  gpu::launch(dynamic_shared_overrun_kernel, 1, 128, 128 * sizeof(float), nullptr, out, excess);
}
void copy_lanes(const float* x, float* out, int count) { gpu::launch(copy_lanes_kernel, 1, count, 0, nullptr, x, out); }

void copy_float4(const float* x, float* out, int count) { gpu::launch(copy_float4_kernel, 1, count, 0, nullptr, x, out); }
void unwritten_shared(float* out) { gpu::launch(unwritten_shared_kernel, 2, 128, 128 * sizeof(float), nullptr, out); }
void divergent_barrier(float* out) { gpu::launch(divergent_barrier_kernel, 1, 64, 0, nullptr, out); }
void barrier_against_warp(float* out) { gpu::launch(barrier_against_warp_kernel, 1, 64, 0, nullptr, out); }
void early_exit(float* out, int survivors) { gpu::launch(early_exit_kernel, 1, 64, 0, nullptr, out, survivors); }
void mask_without_caller(float* out) { gpu::launch(mask_without_caller_kernel, 1, 32, 0, nullptr, out); }
void differing_masks(float* out) { gpu::launch(differing_masks_kernel, 1, 32, 0, nullptr, out); }
void differing_collectives(float* out) { gpu::launch(differing_collectives_kernel, 1, 32, 0, nullptr, out); }
void idle(const unsigned* grid, const unsigned* block, int64_t shared_bytes) {
  gpu::launch(idle_kernel, dim3(grid[0], grid[1], grid[2]), dim3(block[0], block[1], block[2]), shared_bytes, nullptr);
}

}  // namespace spikeops::testing
