// The axis of the channels of x (T, B, C, ...) in memory, whatever the order of the dimensions.
#pragma once

#include "../kernels/math/channels.h"
#include "common.h"

namespace spikeops {

struct ChannelAxis {
  // In dense memory the numbers of a channel lie as many apart as one step along its axis. Of one channel, all are one run.
  explicit ChannelAxis(const Sequence& x)
      : C(x.step_sizes()[1]), inner(std::max<int64_t>(C > 1 ? x.step_strides()[1] : x.N, 1)), outer(x.N / std::max<int64_t>(C * inner, 1)) {}

  // How numbers of `steps` time steps, one after the other, are summed.
  Channels sums(int64_t steps, int64_t rows_per_block) const { return channels_of(steps * outer, C, inner, rows_per_block); }

  int64_t C, inner, outer;
};

}  // namespace spikeops
