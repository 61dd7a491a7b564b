// Firing rates. Weighting mean: sum s / T. weighting decay: sum_t decay^(T-1-t) s[t] / sum_t decay^t.
#pragma once

#include "base.h"

namespace spikeops {

// The numbers are part of the op schemas: spikeops/functional/_lif_options.py holds the same table.
enum class Weighting : int { mean = 0, decay = 1 };

// One step of numerator and normaliser, and of their derivatives with respect to the decay (used by the backward pass).
template <class S>
struct RateSums { S spikes, weight, dspikes, dweight; };

template <class S>
SPIKEOPS_HD void rate_step(RateSums<S>& sums, bool spike, S decay) {
  sums.dspikes = sums.spikes + decay * sums.dspikes;
  sums.dweight = sums.weight + decay * sums.dweight;
  sums.spikes = decay * sums.spikes + (spike ? S(1) : S(0));
  sums.weight = decay * sums.weight + S(1);
}

// d rate / d decay at fixed spikes.
template <class S>
SPIKEOPS_HD S rate_decay_derivative(const RateSums<S>& sums) {
  return (sums.dspikes - sums.spikes / sums.weight * sums.dweight) / sums.weight;
}

}  // namespace spikeops
