// How kernels walk a (T, N) array: threads over neurons, each thread through time with its loads issued well ahead.
#pragma once

#include "lanes.hpp"

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

// Loads do not depend on a neuron's state, so a thread issues those of several time steps before it uses the first.
constexpr int kStepsAhead = 8;

enum class Direction { forward, backward };

// step(t, t * N, lanes of row t) for all `steps` rows of `in`, whose rows lie N elements apart; t runs up or down. The offsets are
// running sums: multiples of N would each take a register.
template <int width, Direction direction = Direction::forward, class Data, class Step>
__device__ __forceinline__ void for_each_step(const Data* in, int64_t steps, int64_t N, Step step) {
  constexpr int sign = direction == Direction::forward ? 1 : -1;
  int64_t t = direction == Direction::forward ? 0 : steps - 1;
  int64_t load_offset = t * N, offset = load_offset;
#pragma unroll 1
  for (int64_t left = steps; left > 0; left -= kStepsAhead) {
    const int now = left < kStepsAhead ? int(left) : kStepsAhead;
    Lanes<Data, width> rows[kStepsAhead];
#pragma unroll
    for (int k = 0; k < kStepsAhead; ++k) {
      if (k < now) rows[k] = load<width>(in + load_offset);
      load_offset += sign * N;
    }
#pragma unroll
    for (int k = 0; k < kStepsAhead; ++k) {
      if (k < now) step(t, offset, rows[k]);
      t += sign;
      offset += sign * N;
    }
  }
}

// A backward pass needs each neuron's history. A block keeps that of up to kSegment steps in shared memory (16 bytes per
// thread and step at most, hence within the 48 KiB that any launch may have); a longer sequence is cut into segments, and
// the state at the segments' beginnings kept in a scratch array.
constexpr int64_t kSegment = 48;

__host__ __device__ inline int64_t segments_of(int64_t T) { return (T + kSegment - 1) / kSegment; }

template <class History>
inline size_t history_bytes(int64_t T) {
  static_assert(sizeof(History) <= 16, "the history of kSegment steps must fit 48 KiB");
  return sizeof(History) * kThreads * size_t(T < kSegment ? T : kSegment);
}

// Calls, for segments [t0, t0 + steps) of [0, T):
//   skip(s, t0, steps)                   in order, for all but the last: keep the state as of t0, run ahead to the next one;
//   replay(s, t0, steps, arrived)        from the last to the first: run forward again and note the history; `arrived` is
//                                        true if the state is that of t0 already (last segment), else it must be fetched;
//   unwind(t0, steps)                    after each replay: walk the history backwards.
template <class Skip, class Replay, class Unwind>
__device__ __forceinline__ void backward_in_segments(int64_t T, Skip skip, Replay replay, Unwind unwind) {
  const int64_t last = (T - 1) / kSegment;
  for (int64_t s = 0; s < last; ++s) skip(s, s * kSegment, kSegment);
  for (int64_t s = last; s >= 0; --s) {
    const int64_t t0 = s * kSegment, steps = T - t0 < kSegment ? T - t0 : kSegment;
    replay(s, t0, steps, s == last);
    unwind(t0, steps);
  }
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

// Launches `wide`, which handles `width` neurons a thread, where that is possible, else `narrow`, which handles one.
template <class... P, class... A>
int launch_over_neurons(void (*wide)(P...), void (*narrow)(P...), bool vectorise, int width, int64_t N, size_t wide_shared,
                        size_t narrow_shared, void* stream, const A&... arguments) {
  if (N == 0) return cudaSuccess;
  return gpu::launch(vectorise ? wide : narrow, dim3(unsigned(blocks_for(vectorise ? N / width : N))), dim3(kThreads),
                     vectorise ? wide_shared : narrow_shared, static_cast<cudaStream_t>(stream), arguments...);
}

}  // namespace spikeops::cuda
