// How a thread walks through time: its loads issued well ahead of their use.
#pragma once

#include "lanes.hpp"

namespace spikeops::cuda {

// Loads do not depend on a neuron's state, so a thread issues those of several time steps before it uses the first.
constexpr int kStepsAhead = 8;

enum class Direction { forward, backward };

// step(t, t * N, lanes of row t) for all `steps` rows of `in`, which lie `stride` elements apart; t runs up or down. The offsets
// are running sums: multiples of N would each take a register.
template <int width, Direction direction = Direction::forward, class Data, class Step>
__device__ __forceinline__ void for_each_step(const Data* in, int64_t stride, int64_t steps, int64_t N, Step step) {
  constexpr int sign = direction == Direction::forward ? 1 : -1;
  int64_t t = direction == Direction::forward ? 0 : steps - 1;
  int64_t load_offset = t * stride, offset = t * N;
#pragma unroll 1
  for (int64_t left = steps; left > 0; left -= kStepsAhead) {
    const int now = left < kStepsAhead ? int(left) : kStepsAhead;
    Lanes<Data, width> rows[kStepsAhead];
#pragma unroll
    for (int k = 0; k < kStepsAhead; ++k) {
      if (k < now) rows[k] = load<width>(in + load_offset);
      load_offset += sign * stride;
    }
#pragma unroll
    for (int k = 0; k < kStepsAhead; ++k) {
      if (k < now) step(t, offset, rows[k]);
      t += sign;
      offset += sign * N;
    }
  }
}

// The same where the rows lie N elements apart.
template <int width, Direction direction = Direction::forward, class Data, class Step>
__device__ __forceinline__ void for_each_step(const Data* in, int64_t steps, int64_t N, Step step) {
  for_each_step<width, direction>(in, N, steps, N, step);
}

}  // namespace spikeops::cuda
