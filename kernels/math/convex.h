// The spiking network that solves a convex optimisation problem (Mancoo, Keemink & Machens, NeurIPS 2020), one neuron, one
// Euler step.
#pragma once

#include "normal.h"

namespace spikeops {

template <class S>
struct ConvexParams {
  S dt, leak, spike_cost;
  S change, hold;  // of the command
  S rate_keep;    // 1 - leak dt
  S noise_scale;  // sqrt(2 dt leak) sigma_v
  S feedforward_rate, threshold_rate, forgetting;
  S threshold_step;  // dt times the drift
};

// What one input asks of the membranes, from its values at this and the next bin: its change plus what leaks away, or itself.
template <class S>
SPIKEOPS_HD S convex_command(S x, S x_next, const ConvexParams<S>& p) {
  return p.change * ((x_next - x) / p.dt) + p.hold * x;
}

template <class S>
SPIKEOPS_HD S convex_membrane(S v, S drive, const ConvexParams<S>& p) {
  return v + p.dt * (drive - p.leak * v);
}

// How far the boundary of a neuron is from the wanted point, less a share of where it is.
template <class S>
SPIKEOPS_HD S convex_error(S reached, S threshold, S wanted, const ConvexParams<S>& p) {
  const S boundary = reached - threshold;
  return (boundary - wanted) - p.forgetting * boundary;
}

// Leaky integral of spikes, each weighing `weight`.
template <class S>
SPIKEOPS_HD S convex_readout(S y, S weight, const ConvexParams<S>& p) {
  return p.rate_keep * y + weight;
}

// The random numbers of a neuron of a trial for time steps 4 * time_group to 4 * time_group + 3.
SPIKEOPS_HD Philox4 convex_noise(uint64_t seed, int64_t trial, int64_t neurons, int64_t n, int64_t time_group) {
  return philox(seed, uint64_t(trial * neurons + n), uint64_t(time_group));
}

}  // namespace spikeops
