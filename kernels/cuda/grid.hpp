// How the neurons of a call are shared among threads.
#pragma once

#include <initializer_list>

#include "../math/args.h"
#include "gpu.hpp"

namespace spikeops::cuda {

// Small blocks, so that a layer of some ten thousand neurons still reaches every multiprocessor.
constexpr int kThreads = 64;
// Beyond this many blocks, threads take several groups of neurons.
constexpr int64_t kMaxBlocks = 65535;

inline int64_t blocks_for(int64_t threads) {
  const int64_t blocks = (threads + kThreads - 1) / kThreads;
  return blocks < kMaxBlocks ? blocks : kMaxBlocks;
}

// body(i) for each group of `width` items starting at i. count is a multiple of width.
template <int width, class Body>
__device__ __forceinline__ void for_each_group(int64_t count, Body body) {
  const int64_t stride = int64_t(gridDim.x) * blockDim.x * width;
  for (int64_t i = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) * width; i < count; i += stride) body(i);
}

// Bytes of a number of the state.
inline size_t state_size(DType dtype) { return dtype == DType::f64 ? sizeof(double) : sizeof(float); }

// f(Data{}) for the data type that `dtype` names.
template <class F>
int dispatch(DType dtype, F f) {
  switch (dtype) {
    case DType::f32: return f(float{});
    case DType::f64: return f(double{});
    case DType::f16: return f(fp16{});
    default: return f(bf16{});
  }
}

template <class F>
int dispatch(SpikeFormat format, F f) {
  switch (format) {
    case SpikeFormat::f32: return f(float{});
    case SpikeFormat::f64: return f(double{});
    case SpikeFormat::f16: return f(fp16{});
    case SpikeFormat::bf16: return f(bf16{});
    case SpikeFormat::byte: return f(uint8_t{});
    case SpikeFormat::int32: return f(int32_t{});
    default: return f(int64_t{});
  }
}

// `rows` * N items, neighbours of a row to each thread: `width` of them where every row of every array begins on a 16-byte
// border, so that a thread can move them as one access, else one. Absent arrays (null) do not matter.
class Work {
 public:
  Work(int64_t N, int width, std::initializer_list<const void*> arrays) : N_(N), width_(width) {
    for (const void* array : arrays) aligned_ = aligned_ && reinterpret_cast<uintptr_t>(array) % 16 == 0;
  }
  bool is_wide() const { return suits(width_); }
  Work& rows(int64_t rows) {
    rows_ = rows;
    return *this;
  }

  // Whether threads can move `width` items as one access.
  bool suits(int width) const { return aligned_ && N_ % width == 0; }
  // And whether every multiprocessor then has two warps for each of its four schedulers.
  bool keeps_busy(int width) const {
    return suits(width) && blocks_for(rows_ * N_ / width) >= 4 * gpu::current_device().multiprocessors;
  }

  // Launches the kernel for `width` items a thread or that for one; returns the CUDA error code.
  template <class... P, class... A>
  int launch(void* stream, void (*wide)(P...), void (*narrow)(P...), const A&... arguments) const {
    return is_wide() ? launch_of(width_, stream, 0, wide, arguments...) : launch_of(1, stream, 0, narrow, arguments...);
  }

  // Launches a kernel for so many items a thread.
  template <class... P, class... A>
  int launch_of(int width, void* stream, size_t shared_bytes, void (*kernel)(P...), const A&... arguments) const {
    const int64_t threads = rows_ * N_ / width;
    if (threads == 0) return cudaSuccess;
    return gpu::launch(kernel, dim3(unsigned(blocks_for(threads))), dim3(kThreads), shared_bytes, static_cast<cudaStream_t>(stream),
                       arguments...);
  }

 private:
  int64_t N_, rows_ = 1;
  int width_;
  bool aligned_ = true;
};

}  // namespace spikeops::cuda
