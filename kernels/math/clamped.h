// Leaky integrate-and-fire neurons that stop at their threshold (spikeops/reference/clamped.py), one neuron, one Euler step.
#pragma once

#include "base.h"

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

// The gradient of a threshold is a sum over the neurons that share it, in a fixed order, in double. Neurons lie as (outer, C, inner).
// With inner = 1, blocks of kClampedRows rows are summed, row after row; else each run of `inner` neurons is, lane l of kClampedLanes
// adding the elements l, l + kClampedLanes, ... in order, the lanes then in order. The blocks, or runs, follow in order.
constexpr int kClampedRows = 64;
constexpr int kClampedLanes = 32;

SPIKEOPS_HD int64_t clamped_blocks(int64_t outer, int64_t inner) {
  return inner == 1 ? (outer + kClampedRows - 1) / kClampedRows : outer;
}

// From the sum of gradient times count over all neurons of a batch of `samples`.
SPIKEOPS_HD double clamped_threshold_gradient(double sum, int64_t samples, double gain, double drift) {
  return -gain * (sum / double(samples)) + drift;
}

}  // namespace spikeops
