// TSSL-BP neuron (Zhang & Li, NeurIPS 2020, arXiv:2002.10085): one step forward and one step of the O(T) backward recursion.
#pragma once

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

// Gradient with respect to x[t]. `quiet` is a[t] < quiet_level.
template <class S>
SPIKEOPS_HD S tssl_bp_backward_step(TsslBpCarry<S>& carry, S grad_a, S u, S du, bool spike, bool quiet, const TsslBpParams<S>& p) {
  const S g = synapse_backward_step(carry.psc, grad_a, p.theta_s, p.one_minus_theta_s);
  carry.psc = g;

  const S distance = absolute((p.threshold - u) * S(5));  // / 0.2
  const S e = exp_bounded(-(distance > S(8) ? S(8) : distance));
  const S d = S(1) + e;
  const S quiet_slope = S(5) * e / (d * d);

  const S reciprocal = S(-1) / du;  // d spike time / d membrane; infinite where du = 0, which the clamp takes care of
  const S below = reciprocal < S(-8) ? S(-8) : reciprocal;
  const S slope = below > S(0) ? S(0) : below;
  const S at_spike = carry.membrane * u * (-p.theta_m) * slope - slope * g;
  const S decayed = carry.membrane * p.one_minus_theta_m;
  const S inter = spike ? at_spike : decayed;
  carry.membrane = inter;
  return quiet ? g * quiet_slope : inter;
}

}  // namespace spikeops
