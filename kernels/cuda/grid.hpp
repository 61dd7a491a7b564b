// How the neurons of a call are shared among threads.
#pragma once

#include <initializer_list>

#include "../args.h"
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
  Work(int64_t N, int width, std::initializer_list<const void*> arrays) : N_(N), width_(width), aligned_(N % width == 0) {
    for (const void* array : arrays) aligned_ = aligned_ && reinterpret_cast<uintptr_t>(array) % 16 == 0;
  }
  bool is_wide() const { return wide_; }
  Work& rows(int64_t rows) {
    rows_ = rows;
    return *this;
  }
  Work& shared_bytes(size_t wide, size_t narrow) {
    wide_shared_bytes_ = wide;
    narrow_shared_bytes_ = narrow;
    return *this;
  }
  // For kernels in which a thread is busy for long: so few neurons that some multiprocessors would have next to no threads are
  // taken one a thread.
  Work& spread() {
    enough_blocks_ = kEnoughBlocks * gpu::current_device().multiprocessors;
    return *this;
  }

  // Launches the kernel for `width` items a thread or that for one; returns the CUDA error code.
  template <class... P, class... A>
  int launch(void* stream, void (*wide)(P...), void (*narrow)(P...), const A&... arguments) const {
    const int64_t items = rows_ * N_;
    if (items == 0) return cudaSuccess;
    const auto run = [&](void (*kernel)(P...), int64_t threads, size_t shared_bytes) {
      return gpu::launch(kernel, dim3(unsigned(blocks_for(threads))), dim3(kThreads), shared_bytes,
                         static_cast<cudaStream_t>(stream), arguments...);
    };
    if (aligned_ && blocks_for(items / width_) >= enough_blocks_) return run(wide, items / width_, wide_shared_bytes_);
    return run(narrow, items, narrow_shared_bytes_);
  }

 private:
  static constexpr int64_t kEnoughBlocks = 4;  // a multiprocessor: two warps for each of its four schedulers

  int64_t N_, rows_ = 1, enough_blocks_ = 0;
  int width_;
  bool aligned_;
  size_t wide_shared_bytes_ = 0, narrow_shared_bytes_ = 0;
};

}  // namespace spikeops::cuda
