// How a thread walks through time: its loads issued well ahead of their use.
#pragma once

#include "lanes.hpp"

namespace spikeops::cuda {

// Loads do not depend on a neuron's state, so a thread has those of so many time steps under way.
constexpr int kStepsAhead = 8;

enum class Direction { forward, backward };

// step(t, t * N, lanes of row t) for all `steps` rows of `in`, which lie `stride` elements apart; t runs up or down. As soon as a
// row is used, the one kStepsAhead later takes its registers. The offsets are running sums: multiples of N would each take a
// register.
template <int width, Direction direction = Direction::forward, class Data, class Step>
__device__ __forceinline__ void for_each_step(const Data* in, int64_t stride, int64_t steps, int64_t N, Step step) {
  constexpr int ahead = kStepsAhead;
  constexpr int sign = direction == Direction::forward ? 1 : -1;
  int64_t t = direction == Direction::forward ? 0 : steps - 1;
  int64_t load_offset = t * stride, offset = t * N;
  Row<Data, width> rows[ahead];
#pragma unroll
  for (int k = 0; k < ahead; ++k) {
    if (k < steps) rows[k] = load_row<width>(in + load_offset);
    load_offset += sign * stride;
  }
#pragma unroll 1
  for (int64_t left = steps; left > 0; left -= ahead) {
    const int now = left < ahead ? int(left) : ahead;
    const int next = left < 2 * ahead ? int(left) - ahead : ahead;
#pragma unroll
    for (int k = 0; k < ahead; ++k) {
      if (k < now) step(t, offset, rows[k].lanes());
      t += sign;
      offset += sign * N;
      if (k < next) rows[k] = load_row<width>(in + load_offset);
      load_offset += sign * stride;
    }
  }
}

// The same where the rows lie N elements apart.
template <int width, Direction direction = Direction::forward, class Data, class Step>
__device__ __forceinline__ void for_each_step(const Data* in, int64_t steps, int64_t N, Step step) {
  for_each_step<width, direction>(in, N, steps, N, step);
}

}  // namespace spikeops::cuda
