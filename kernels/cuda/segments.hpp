// How a backward pass keeps the history of its neurons on chip, whatever T.
#pragma once

#include "grid.hpp"

namespace spikeops::cuda {

// A block keeps the history of up to kSegment steps in shared memory: 16 bytes per thread and step at most, hence within the
// 48 KiB that any launch may have. (In registers it would have to be indexed at compile time: one unrolled kernel per range of T.)
// A longer sequence is cut into segments, and the state at their beginnings is kept in a scratch array.
constexpr int64_t kSegment = 48;

__host__ __device__ inline int64_t segments_of(int64_t T) { return (T + kSegment - 1) / kSegment; }

template <class History>
inline size_t history_bytes(int64_t T) {
  static_assert(sizeof(History) <= 16, "the history of kSegment steps must fit 48 KiB");
  return sizeof(History) * kThreads * size_t(T < kSegment ? T : kSegment);
}

// Calls, for segments [t0, t0 + steps) of [0, T):
//   skip(s, t0, steps)             in order, for all but the last: keep the state as of t0, run ahead to the next segment;
//   replay(s, t0, steps, arrived)  from the last to the first: run forward and note the history. `arrived`: the state is that of
//                                  t0 already (last segment), else it must be fetched;
//   unwind(t0, steps)              after each replay: walk the history backwards.
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

}  // namespace spikeops::cuda
