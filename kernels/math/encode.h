// Spike encodings of a real number, one neuron.
#pragma once

#include "philox.h"

namespace spikeops {

// The time step of the only spike of a neuron with intensity p, or -1 for none.
template <class S>
SPIKEOPS_HD int64_t latency(S p, int64_t T) {
  const S clipped = p > S(1) ? S(1) : p;
  return p > S(0) ? int64_t((S(1) - clipped) * S(T - 1) + S(0.5)) : int64_t(-1);  // the sum is positive: the cast is a floor
}

}  // namespace spikeops
