// Spike encodings of a real number, one neuron.
#pragma once

#include "args.h"
#include "philox.h"

namespace spikeops {

// The time step of the only spike of a neuron with intensity p, or -1 for none.
template <class S>
SPIKEOPS_HD int64_t latency(S p, int64_t T) {
  const S clipped = p > S(1) ? S(1) : p;
  return p > S(0) ? int64_t((S(1) - clipped) * S(T - 1) + S(0.5)) : int64_t(-1);  // the sum is positive: the cast is a floor
}

struct PoissonEncode {
  DType dtype;
  int64_t T, N;
  const void* p;            // (N) data: firing probability per step
  const int64_t* seed;      // (1)
  void* spikes;             // (T, N) data
};

struct LatencyEncode {
  DType dtype;
  int64_t T, N;
  const void* p;            // (N) data, 0..1
  void* spikes;             // (T, N) data
};

}  // namespace spikeops
