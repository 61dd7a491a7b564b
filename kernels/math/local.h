// A layer that learns with a local classifier (ELL, FELL: Ma et al., IEEE Trans. Cybernetics 2022), one neuron, one time step.
// The membrane potential is kept before its reset, which the next step makes up for.
#pragma once

#include "args.h"
#include "lif.h"

namespace spikeops {

template <class S>
struct LocalParams {
  S decay, threshold;
  S surrogate_scale, surrogate_peak;
  S error_scale;
};

// The order in which a classifier's neuron adds up its input, sum over u of weight[u] * spikes[u]: lane l adds the products with
// u = l, l + kLocalLanes, ... one after the other, then lane l adds lane l + distance to itself, for distance 16, 8, 4, 2, 1 and
// l < distance. Lane 0 holds the sum. A lane is one of a CPU's vectors, or of a warp.
constexpr int kLocalLanes = 32;

// The membrane potential of this step from that of the last one: the arithmetic of lif_membrane with reset by subtraction.
template <class S>
SPIKEOPS_HD S local_membrane(S before, S current, S decay, S threshold) {
  const S v = lif_reset<Reset::subtract>(before, before >= threshold, threshold, S(0));
  return decay * v + current;
}

// d membrane / d membrane of the step before, through decay and reset; `derivative` is d spike / d membrane there.
template <class S>
SPIKEOPS_HD S local_chain(S derivative, S decay, S threshold) {
  return decay * (S(1) - threshold * derivative);
}

// What a current that is the same in all steps does to the membrane potential, summed over the steps so far.
template <class S>
SPIKEOPS_HD S local_trace(S trace, S derivative_before, S decay, S threshold) {
  return local_chain(derivative_before, decay, threshold) * trace + S(1);
}

// The sums leave out units that did not fire and classes without an error, instead of multiplying by 0: their weights may be
// anything, infinite or NaN, and do not enter. A choice between two results, which compilers vectorise.
template <class S>
SPIKEOPS_HD S local_add_weight(S sum, S spike, S weight) {
  return spike != S(0) ? sum + weight : sum;
}

template <class S>
SPIKEOPS_HD S local_add_error(S sum, S error, S feedback) {
  return error != S(0) ? sum + error * feedback : sum;
}

// A classifier's neuron: its spike, less 1 where it stands for the sample's class.
template <class S>
SPIKEOPS_HD S local_difference(bool spike, bool is_label) {
  return (spike ? S(1) : S(0)) - (is_label ? S(1) : S(0));
}

template <class S>
SPIKEOPS_HD S local_error(S difference, S derivative, S error_scale) {
  return error_scale * difference * derivative;
}

// A layer that learns by ELL or FELL and its classifier. Units lie in the order of the membrane potentials, samples outermost.
struct LocalLearningStep {
  DType dtype;
  int64_t N, U, K;          // samples, units, classes
  double decay, threshold;
  int surrogate;            // Surrogate
  double surrogate_scale, surrogate_peak;
  double error_scale;
  const void* current;      // (N, U) data
  const void* weight;       // (K, U) data
  const void* feedback;     // (K, U) data: the matrix through which errors come back, `weight` itself or another
  const int64_t* labels;    // (N)
  void* membrane;           // (N, U) state, before its reset
  void* spikes;             // (N, U) data
  void* derivative;         // (N, U) data; may be `gradient`, where nobody wants to see it
  void* gradient;           // (N, U) data
  void* trace;              // (N, U) state, or null
  void* class_membrane;     // (N, K) state
  void* count;              // (N, K) state
  void* squared_error;      // (N) state
  void* error;              // (N, K) data
  void* class_derivative;   // (N, K) data, or null
};
SPIKEOPS_HD Shares shares_of(const LocalLearningStep& a) { return {a.N, 2, a.U}; }  // the CPU kernel takes two samples at once

struct LocalGradientInTime {
  DType dtype;
  int64_t T, N;
  double decay, threshold;
  const void* gradient;     // (N) data
  const void* derivatives;  // (T, N) data
  void* gradients;          // (T + 1, N) data
};

template <class S>
static inline LocalParams<S> local_params(const LocalLearningStep& a) {
  return {S(a.decay), S(a.threshold), S(a.surrogate_scale), S(a.surrogate_peak), S(a.error_scale)};
}

}  // namespace spikeops
