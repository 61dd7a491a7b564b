// Leaky integrate-and-fire neuron with an adaptive threshold, one time step forward and backward:
//   theta = threshold + beta * a ;  u = v_rest + decay * (v - v_rest) + input_scale * x ;  s = u >= theta (strict: u > theta)
//   v' = reset(u, s) ;  a' = adaptation_decay * a + s
#pragma once

#include "lif.h"

namespace spikeops {

template <class S>
struct AlifParams {
  S threshold, beta, input_scale, v_rest, v_reset, reset_amount;
  S surrogate_scale, surrogate_peak;
  S at_threshold;  // 1: a membrane potential that just reaches the threshold fires, 0: it does not
};

template <class S>
struct AlifState { S v, a; };

template <class S>
struct AlifDecays { S membrane, adaptation; };

// The gradients that pass from step to step, of the state and, summed over time, of the decays.
template <class S>
struct AlifCarry { S v, a, decay, adaptation_decay; };

template <class S>
SPIKEOPS_HD S alif_threshold(S a, const AlifParams<S>& p) { return p.threshold + p.beta * a; }

template <class S>
SPIKEOPS_HD bool alif_fires(S u, S theta, const AlifParams<S>& p) { return lif_fires(u, theta, p.at_threshold) > S(0); }

// Reset subtract takes away the threshold that was reached, or `reset_amount`.
template <bool takes_threshold, class S>
SPIKEOPS_HD S alif_reset_amount(S theta, const AlifParams<S>& p) {
  if constexpr (takes_threshold) return theta;
  else return p.reset_amount;
}

// The membrane potential after the step.
template <Reset reset, bool takes_threshold, class S>
SPIKEOPS_HD S alif_reset(S u, S theta, bool spike, const AlifParams<S>& p) {
  return lif_reset<reset>(u, spike, alif_reset_amount<takes_threshold>(theta, p), p.v_reset);
}

// The adaptation after the step.
template <class S>
SPIKEOPS_HD S alif_adaptation(S a, bool spike, S adaptation_decay) { return adaptation_decay * a + (spike ? S(1) : S(0)); }

// Takes the carry back through a step; returns the gradient of u. `before` is the state before the step, `derivative` the surrogate
// derivative at u - theta.
template <Reset reset, bool takes_threshold, bool detach_reset, class S>
SPIKEOPS_HD S alif_step_back(AlifCarry<S>& carry, S grad_spike, AlifState<S> before, S u, S theta, bool spike, S derivative,
                             S decay, S adaptation_decay, const AlifParams<S>& p) {
  S through_spike = grad_spike + carry.a;
  S kept = carry.v, grad_theta = S(0);
  if constexpr (reset == Reset::subtract) {
    if constexpr (!detach_reset) through_spike = through_spike - carry.v * alif_reset_amount<takes_threshold>(theta, p);
    if constexpr (takes_threshold) grad_theta = spike ? -carry.v : S(0);
  } else if constexpr (reset == Reset::to) {
    if constexpr (!detach_reset) through_spike = through_spike + carry.v * (p.v_reset - u);
    kept = spike ? S(0) : carry.v;
  }
  const S grad_distance = through_spike * derivative;
  const S grad_u = kept + grad_distance;
  grad_theta = grad_theta - grad_distance;
  carry.decay = carry.decay + grad_u * (before.v - p.v_rest);
  carry.adaptation_decay = carry.adaptation_decay + carry.a * before.a;
  carry.a = adaptation_decay * carry.a + p.beta * grad_theta;
  carry.v = grad_u * decay;
  return grad_u;
}

struct AlifNeuron {
  DType dtype;           // of x, spikes and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, adaptation_decay, threshold, beta, input_scale, reset_amount, v_reset, v_rest;
  int reset;             // Reset
  bool strict, detach_reset, subtracts_threshold;
  int surrogate;         // Surrogate
  double surrogate_scale, surrogate_peak;
  const void* x;
  const void* decay_per_neuron;             // (N) state, or null: `decay` for all
  const void* adaptation_decay_per_neuron;  // (N) state, or null: `adaptation_decay` for all
  const void* v_init;                       // (N) state, or null: 0
  const void* a_init;                       // (N) state, or null: 0
};

struct AlifForward {
  AlifNeuron neuron;
  void* spikes;  // (T, N) data
  void* v_last;  // (N) state
  void* a_last;  // (N) state
};

struct AlifBackward {
  AlifNeuron neuron;
  const void* grad_spikes;      // (T, N) data, or null: 0
  const void* grad_v_last;      // (N) state, or null: 0
  const void* grad_a_last;      // (N) state, or null: 0
  void* grad_x;                 // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_decay;             // (N) state, summed over time, or null
  void* grad_adaptation_decay;  // (N) state, summed over time, or null
  void* grad_v_init;            // (N) state, or null
  void* grad_a_init;            // (N) state, or null
};

template <class S>
static inline AlifParams<S> alif_params(const AlifNeuron& n) {
  return {S(n.threshold), S(n.beta), S(n.input_scale), S(n.v_rest), S(n.v_reset), S(n.reset_amount),
          S(n.surrogate_scale), S(n.surrogate_peak), S(n.strict ? 0 : 1)};
}

}  // namespace spikeops
