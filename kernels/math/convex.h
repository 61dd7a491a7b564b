// The spiking network that solves a convex optimisation problem (Mancoo, Keemink & Machens, NeurIPS 2020), one neuron, one
// Euler step.
#pragma once

#include "args.h"
#include "normal.h"

namespace spikeops {

template <class S>
struct ConvexParams {
  S dt, leak, spike_cost;
  S change, hold;  // of the command
  S rate_keep;     // 1 - leak dt
  S noise_scale;   // sqrt(2 dt leak) sigma_v
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

// Trials of the convex-optimisation network (kernels/math/convex.h). float or double data only. With `targets` the network
// learns from one trial after the other; without, the trials are independent. Matrices are transposed where a row is then
// what one input, or one spike, does to all neurons.
struct ConvexTrials {
  DType dtype;
  int64_t T, B, N, K;       // time steps (one less than time bins), trials, neurons, inputs
  int64_t M, Y;             // dimensions of the readout and of the targets
  double dt, leak, spike_cost, sigma_v;
  double feedforward_rate, threshold_rate, threshold_drift, forgetting;
  double change, hold;      // what a change of an input by 1/s, and an input of 1, ask of the membranes
  int64_t buffer_steps;     // time steps of each trial without learning
  const void* x;            // (T + 1, B, K)
  void* feedforward;        // (K, N). Written when learning
  const void* recurrent;    // (N, N), row: the neuron that fires
  void* thresholds;         // (N). Written when learning
  const void* decoder;      // (N, M), or null: the readout is the firing rates, M = N
  const void* noise;        // (T, B, N) standard normal numbers, or null
  const int64_t* seed;      // (1): draws the noise, or null
  const void* targets;      // (B, Y), or null: no learning
  const void* encoder;      // (N, Y)
  void* feedforward_rows;   // (N, K): the same weights as `feedforward`. Written when learning
  int32_t* spikes;          // (T, B): the neuron that fires, or -1
  void* readout;            // (T + 1, B, M)
};

// Learning trials follow one another: each begins with what the one before has learned.
SPIKEOPS_HD Shares shares_of(const ConvexTrials& a) { return {a.B, a.targets != nullptr ? a.B : 1, a.T * a.N}; }

template <class S>
static inline ConvexParams<S> convex_params(const ConvexTrials& a) {
  return {S(a.dt),
          S(a.leak),
          S(a.spike_cost),
          S(a.change),
          S(a.hold),
          S(1.0 - a.leak * a.dt),
          S(std::sqrt(2.0 * a.dt * a.leak) * a.sigma_v),
          S(a.feedforward_rate),
          S(a.threshold_rate),
          S(a.forgetting),
          S(a.dt * a.threshold_drift)};
}

}  // namespace spikeops
