// Leaky integrate-and-fire neurons that stop at their threshold (spikeops/reference/clamped.py), one neuron, one Euler step.
#pragma once

#include "args.h"

namespace spikeops {

template <class S>
struct ClampedParams {
  S dt, leak;
};

template <class S>
struct Clamped {
  S v, count;  // membrane potential, spikes so far
};

// What the input asks of the membrane in the first step, and in all others.
template <class S>
SPIKEOPS_HD S clamped_first_command(S x, const ClampedParams<S>& p) {
  return x / p.dt;
}
template <class S>
SPIKEOPS_HD S clamped_command(S x, const ClampedParams<S>& p) {
  return (x + x) * p.leak;
}

template <class S>
SPIKEOPS_HD Clamped<S> clamped_step(Clamped<S> s, S command, S threshold, const ClampedParams<S>& p) {
  const S v = s.v + p.dt * (-p.leak * s.v + command);
  const bool fires = v > threshold;
  // Not `threshold` itself: rounding may leave the membrane beside it.
  return {fires ? v - (v - threshold) : v, s.count + (fires ? S(1) : S(0))};
}

// All time steps of an input that is the same in all of them.
template <class S>
SPIKEOPS_HD Clamped<S> clamped_run(S x, S threshold, int64_t T, const ClampedParams<S>& p) {
  Clamped<S> s = clamped_step(Clamped<S>{S(0), S(0)}, clamped_first_command(x, p), threshold, p);
  const S command = clamped_command(x, p);
  for (int64_t t = 1; t < T; ++t) s = clamped_step(s, command, threshold, p);
  return s;
}

// Neuron n has the threshold of channel n / inner % C. The input is the same in all time steps.
struct ClampedForward {
  DType dtype;
  int64_t T, N, C, inner;
  double dt, leak;
  const void* x;            // (N) data
  const void* threshold;    // (C) state
  void* count;              // (N) data
  void* v;                  // (N) state
};

template <class S>
static inline ClampedParams<S> clamped_params(const ClampedForward& a) {
  return {S(a.dt), S(a.leak)};
}

// The gradient of a threshold is a sum over the neurons that share it, in a fixed order, in double. Neurons lie as (outer, C, inner).
// With inner = 1, blocks of kClampedRows rows are summed, row after row; else each run of `inner` neurons is, lane l of kClampedLanes
// adding the elements l, l + kClampedLanes, ... in order, the lanes then in order. The blocks, or runs, follow in order.
constexpr int kClampedRows = 64;
constexpr int kClampedLanes = 32;

// The published gradient of the thresholds, for neurons of which `samples` make the batch.
struct ClampedGradient {
  DType dtype;              // of count
  int64_t outer, C, inner, samples;
  double gain, drift;
  const void* grad_v;       // (outer, C, inner) state
  const void* count;        // (outer, C, inner) data
  double* partials;         // (blocks_of, C)
  void* grad;               // (C) state
};
SPIKEOPS_HD int64_t blocks_of(const ClampedGradient& a) { return a.inner == 1 ? (a.outer + kClampedRows - 1) / kClampedRows : a.outer; }

// First the sums of all blocks, into `partials`.
struct ClampedPartials : ClampedGradient {};
SPIKEOPS_HD Shares shares_of(const ClampedPartials& a) { return {blocks_of(a), 1, a.C * (a.inner == 1 ? kClampedRows : a.inner)}; }

// Then of those, for a range of channels.
struct ClampedThresholds : ClampedGradient {};
SPIKEOPS_HD Shares shares_of(const ClampedThresholds& a) { return {a.C, 256, blocks_of(a)}; }

// From the sum of gradient times count over all neurons of a batch of `samples`.
SPIKEOPS_HD double clamped_threshold_gradient(double sum, int64_t samples, double gain, double drift) {
  return -gain * (sum / double(samples)) + drift;
}

}  // namespace spikeops
