// TSSL-BP neuron (Zhang & Li, NeurIPS 2020, arXiv:2002.10085): one step forward and one step of the O(T) backward recursion.
#pragma once

#include "args.h"
#include "surrogate.h"
#include "synapse.h"

namespace spikeops {

template <class S>
struct TsslBpParams {
  S theta_m, theta_s;        // 1 / tau_m, 1 / tau_s
  S one_minus_theta_m, one_minus_theta_s;
  S threshold;
  S fire_level;              // the next number above the threshold: the neuron fires strictly above it
  S quiet_level;             // 1 / (4 tau_s): below it the neuron counts as quiet and the smooth surrogate is used
};

template <class S>
struct TsslBpState { S v, a; };  // membrane potential after the reset, post-synaptic current

template <class S>
struct TsslBpStep { S u, du; };  // membrane before the reset, its change in this step (no bool: in a struct it stops gcc's vectoriser)

template <class S>
SPIKEOPS_HD TsslBpStep<S> tssl_bp_step(TsslBpState<S>& state, S x, const TsslBpParams<S>& p) {
  const S du = x - p.theta_m * state.v;
  const S u = state.v + du;
  const bool spike = u >= p.fire_level;
  state.v = spike ? S(0) : u;
  state.a = synapse_step(state.a, spike ? S(1) : S(0), p.theta_s);
  return {u, du};
}

template <class S>
struct TsslBpCarry { S psc, membrane; };  // G[t+1] and the inter-neuron carry c; both start at 0 after the last step

// Slopes at one step: of the spike time over the membrane where the neuron fires, of the smooth surrogate where it is quiet.
template <class S>
struct TsslBpSlopes { S firing, quiet; };

// The smooth surrogate's slope is numerator / denominator; neither is 0 or beyond a few units.
template <class S>
struct TsslBpRatio { S numerator, denominator; };

template <class S>
SPIKEOPS_HD TsslBpRatio<S> tssl_bp_quiet_ratio(S u, const TsslBpParams<S>& p) {
  const S distance = absolute((p.threshold - u) * S(5));  // / 0.2
  const S e = exp_bounded(-(distance > S(8) ? S(8) : distance));
  const S d = S(1) + e;
  return {S(5) * e, d * d};
}

// `reciprocal` is -1 / du, d spike time / d membrane; infinite where du = 0, which the clamp takes care of.
template <class S>
SPIKEOPS_HD S tssl_bp_firing_slope(S reciprocal) {
  const S below = reciprocal < S(-8) ? S(-8) : reciprocal;
  return below > S(0) ? S(0) : below;
}

template <class S>
SPIKEOPS_HD TsslBpSlopes<S> tssl_bp_slopes(S u, S du, const TsslBpParams<S>& p) {
  const TsslBpRatio<S> quiet = tssl_bp_quiet_ratio(u, p);
  return {tssl_bp_firing_slope(S(-1) / du), quiet.numerator / quiet.denominator};
}

// Gradient with respect to x[t]. `quiet` is a[t] < quiet_level. Of the slopes only those that apply are used.
template <class S>
SPIKEOPS_HD S tssl_bp_backward_step(TsslBpCarry<S>& carry, S grad_a, S u, bool spike, bool quiet, const TsslBpSlopes<S>& slopes,
                                    const TsslBpParams<S>& p) {
  const S g = synapse_backward_step(carry.psc, grad_a, p.theta_s, p.one_minus_theta_s);
  carry.psc = g;
  const S at_spike = carry.membrane * u * (-p.theta_m) * slopes.firing - slopes.firing * g;
  const S decayed = carry.membrane * p.one_minus_theta_m;
  const S inter = spike ? at_spike : decayed;
  carry.membrane = inter;
  return quiet ? g * slopes.quiet : inter;
}

template <class S>
SPIKEOPS_HD S tssl_bp_backward_step(TsslBpCarry<S>& carry, S grad_a, S u, S du, bool spike, bool quiet, const TsslBpParams<S>& p) {
  return tssl_bp_backward_step(carry, grad_a, u, spike, quiet, tssl_bp_slopes(u, du, p), p);
}

struct TsslBpNeuron {
  DType dtype;
  int64_t T, N;
  double tau_m, tau_s, threshold;
  const void* x;            // (T, N) data
};

struct TsslBpForward {
  TsslBpNeuron neuron;
  void* psc;                // (T, N) data
  void* spikes;             // (T, N) data, or null
};

struct TsslBpBackward {
  TsslBpNeuron neuron;
  const void* grad_psc;     // (T, N) data
  void* grad_x;             // (T, N) data
};

template <class S>
static inline TsslBpParams<S> tssl_bp_params(const TsslBpNeuron& n) {
  const double theta_m = 1.0 / n.tau_m, theta_s = 1.0 / n.tau_s;
  const S threshold = S(n.threshold);
  return {S(theta_m), S(theta_s), S(1.0 - theta_m), S(1.0 - theta_s), threshold,
          std::nextafter(threshold, std::numeric_limits<S>::infinity()), S(1.0 / (4.0 * n.tau_s))};
}

}  // namespace spikeops
