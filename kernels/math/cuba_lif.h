// Current-based leaky integrate-and-fire neuron: a synapse and a membrane, one time step forward and backward:
//   the current i decays, takes up the input, and is read by the membrane, in one of four orders (CurrentOrder)
//   u = v_rest + decay * (v - v_rest) + current_scale * current ;  s = u >= threshold (strict: u > threshold) ;  v' = reset(u, s)
// With a delayed reset the spike of the step before, v >= threshold, resets u, before s is told, and v' = u.
#pragma once

#include "lif.h"

namespace spikeops {

// The numbers are part of the op schemas: spikeops/functional/cuba_lif.py holds the same table.
enum class CurrentOrder : int { decay_input_membrane = 0, input_decay_membrane = 1, input_membrane_decay = 2, membrane_decay_input = 3 };

// Choices are numbers, 1 or 0: gcc does not vectorise a choice between truths, nor structs that hold numbers and truths.
template <class S>
struct CubaLifParams {
  S input_scale, v_rest, v_reset, reset_amount;
  S surrogate_scale, surrogate_peak;
  S at_threshold;     // a membrane potential that just reaches the threshold fires
  S takes_threshold;  // reset subtract takes away the threshold, not `reset_amount`
  S decays_first;     // the current decays before it takes up the input
  S reads_old, reads_joined;  // the membrane reads the current as it was before the step, or before it decays
};

template <class S>
struct CubaLifState { S v, i; };

// Numbers of each neuron.
template <class S>
struct CubaLifFixed { S decay, current_decay, current_scale, threshold; };

// The gradients that pass from step to step, of the state and, summed over time, of the numbers of each neuron.
template <class S>
struct CubaLifCarry { S v, i, decay, current_decay, current_scale, threshold; };

// The current with the input, at the end of the step, and as the membrane reads it.
template <class S>
struct CubaCurrent { S joined, after, read; };

template <class S>
SPIKEOPS_HD CubaCurrent<S> cuba_current(S i, S x, S current_decay, const CubaLifParams<S>& p) {
  const S before = p.decays_first > S(0) ? current_decay : S(1), behind = p.decays_first > S(0) ? S(1) : current_decay;
  const S joined = before * i + p.input_scale * x, after = behind * joined;
  const S settled = p.reads_joined > S(0) ? joined : after;
  return {joined, after, p.reads_old > S(0) ? i : settled};
}

template <class S>
SPIKEOPS_HD bool cuba_fires(S u, S threshold, const CubaLifParams<S>& p) {
  const S reached = u == threshold ? p.at_threshold : S(0);
  return (u > threshold ? S(1) : reached) > S(0);
}

template <Reset reset, class S>
SPIKEOPS_HD S cuba_reset(S u, S threshold, bool spike, const CubaLifParams<S>& p) {
  return lif_reset<reset>(u, spike, p.takes_threshold > S(0) ? threshold : p.reset_amount, p.v_reset);
}

// Membrane potentials of a step: before any reset; that which fires or not; after the step.
template <class S>
struct CubaMembrane {
  S free, u, v;
  bool spike, resets;
};

template <Reset reset, bool delayed, class S>
SPIKEOPS_HD CubaMembrane<S> cuba_membrane(S v, S read, const CubaLifFixed<S>& fixed, const CubaLifParams<S>& p) {
  const S free = lif_membrane(v, read, fixed.decay, fixed.current_scale, p.v_rest);
  if constexpr (delayed) {
    const bool resets = cuba_fires(v, fixed.threshold, p);
    const S u = cuba_reset<reset>(free, fixed.threshold, resets, p);
    return {free, u, u, cuba_fires(u, fixed.threshold, p), resets};
  } else {
    const bool spike = cuba_fires(free, fixed.threshold, p);
    return {free, free, cuba_reset<reset>(free, fixed.threshold, spike, p), spike, spike};
  }
}

// Takes the carry back through a step; returns the gradient of the scaled input. `before` is the state before the step,
// `derivative` the surrogate derivative at u - threshold; derivative_at(distance) works out another.
template <Reset reset, bool delayed, bool detach_reset, class S, class Derivative>
SPIKEOPS_HD S cuba_step_back(CubaLifCarry<S>& carry, S grad_spike, CubaLifState<S> before, const CubaCurrent<S>& current,
                             const CubaMembrane<S>& membrane, S derivative, const CubaLifFixed<S>& fixed,
                             const CubaLifParams<S>& p, Derivative derivative_at) {
  // Of what is reset, after and before it.
  const S grad_reset = delayed ? carry.v + grad_spike * derivative : carry.v;
  S kept = grad_reset, through_reset = S(0), grad_threshold = S(0);
  if constexpr (reset == Reset::subtract) {
    const S amount = p.takes_threshold > S(0) ? fixed.threshold : p.reset_amount;
    if constexpr (!detach_reset) through_reset = S(0) - grad_reset * amount;
    const S taken = p.takes_threshold > S(0) ? S(0) - grad_reset : S(0);
    grad_threshold = membrane.resets ? taken : S(0);
  } else if constexpr (reset == Reset::to) {
    if constexpr (!detach_reset) through_reset = grad_reset * (p.v_reset - membrane.free);
    kept = membrane.resets ? S(0) : grad_reset;
  }
  S grad_u = kept, grad_v = S(0);
  if constexpr (delayed) {
    grad_threshold = grad_threshold - grad_spike * derivative;
    if constexpr (!detach_reset && reset != Reset::none) {
      grad_v = through_reset * derivative_at(before.v - fixed.threshold);
      grad_threshold = grad_threshold - grad_v;
    }
  } else {
    const S grad_distance = (grad_spike + through_reset) * derivative;
    grad_u = kept + grad_distance;
    grad_threshold = grad_threshold - grad_distance;
  }

  const S grad_read = grad_u * fixed.current_scale;
  const S of_old = p.reads_old > S(0) ? grad_read : S(0), of_joined = p.reads_joined > S(0) ? grad_read : S(0);
  const S of_after = p.reads_old + p.reads_joined > S(0) ? S(0) : grad_read;
  const S decay_before = p.decays_first > S(0) ? fixed.current_decay : S(1);
  const S decay_behind = p.decays_first > S(0) ? S(1) : fixed.current_decay;
  const S grad_after = carry.i + of_after;
  const S grad_joined = decay_behind * grad_after + of_joined;

  carry.decay = carry.decay + grad_u * (before.v - p.v_rest);
  carry.current_decay = carry.current_decay + (p.decays_first > S(0) ? grad_joined * before.i : grad_after * current.joined);
  carry.current_scale = carry.current_scale + grad_u * current.read;
  carry.threshold = carry.threshold + grad_threshold;
  carry.v = grad_u * fixed.decay + grad_v;
  carry.i = decay_before * grad_joined + of_old;
  return grad_joined;
}

struct CubaLifNeuron {
  DType dtype;           // of x, spikes and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, current_decay, current_scale, threshold, input_scale, reset_amount, v_reset, v_rest;
  int order;             // CurrentOrder
  int reset;             // Reset
  bool delayed, strict, detach_reset, takes_threshold;
  int surrogate;         // Surrogate
  double surrogate_scale, surrogate_peak;
  const void* x;
  // (N) state, or null: the number for all
  const void *decay_per_neuron, *current_decay_per_neuron, *current_scale_per_neuron, *threshold_per_neuron;
  const void *v_init, *i_init;  // (N) state, or null: 0
};

struct CubaLifForward {
  CubaLifNeuron neuron;
  void* spikes;  // (T, N) data
  void *v_last, *i_last;  // (N) state
};

struct CubaLifBackward {
  CubaLifNeuron neuron;
  const void* grad_spikes;                // (T, N) data, or null: 0
  const void *grad_v_last, *grad_i_last;  // (N) state, or null: 0
  void* grad_x;                           // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void *grad_decay, *grad_current_decay, *grad_current_scale, *grad_threshold;  // (N) state, summed over time, or null
  void *grad_v_init, *grad_i_init;        // (N) state, or null
};

template <class S>
static inline CubaLifParams<S> cuba_params(const CubaLifNeuron& n) {
  const auto order = static_cast<CurrentOrder>(n.order);
  const bool decays_first = order == CurrentOrder::decay_input_membrane || order == CurrentOrder::membrane_decay_input;
  return {S(n.input_scale), S(n.v_rest), S(n.v_reset), S(n.reset_amount), S(n.surrogate_scale), S(n.surrogate_peak),
          S(n.strict ? 0 : 1), S(n.takes_threshold ? 1 : 0), S(decays_first ? 1 : 0),
          S(order == CurrentOrder::membrane_decay_input ? 1 : 0), S(order == CurrentOrder::input_membrane_decay ? 1 : 0)};
}

}  // namespace spikeops
