// Current-based leaky integrate-and-fire neuron: a synapse and a membrane, one time step forward and backward:
//   the current i decays, takes up the input, and is read by the membrane, in one of four orders (CurrentOrder)
//   u = v_rest + decay * (v - v_rest) + current_scale * current ;  s = u >= threshold (strict: u > threshold) ;  v' = reset(u, s)
// A late reset, for the spike of the step before, comes before s is told, and v' = u: reset to a potential takes the place of v, or, with
// the input, that of u.
#pragma once

#include "lif.h"

namespace spikeops {

// The numbers are part of the op schemas: spikeops/functional/cuba_lif.py holds the same table.
enum class CurrentOrder : int { decay_input_membrane = 0, input_decay_membrane = 1, input_membrane_decay = 2, membrane_decay_input = 3 };
enum class CubaTiming : int { now = 0, late = 1, late_with_input = 2 };

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

// Takes the carry of the current, and of its numbers, back through a step, from the gradient of u; returns that of the scaled input.
template <class Carry, class S>
SPIKEOPS_HD S cuba_current_back(Carry& carry, S grad_u, S i, const CubaCurrent<S>& current, S current_decay, S current_scale,
                                const CubaLifParams<S>& p) {
  const S grad_read = grad_u * current_scale;
  const S of_old = p.reads_old > S(0) ? grad_read : S(0), of_joined = p.reads_joined > S(0) ? grad_read : S(0);
  const S of_after = p.reads_old + p.reads_joined > S(0) ? S(0) : grad_read;
  const S before = p.decays_first > S(0) ? current_decay : S(1), behind = p.decays_first > S(0) ? S(1) : current_decay;
  const S grad_after = carry.i + of_after;
  const S grad_joined = behind * grad_after + of_joined;
  carry.current_decay = carry.current_decay + (p.decays_first > S(0) ? grad_joined * i : grad_after * current.joined);
  carry.current_scale = carry.current_scale + grad_u * current.read;
  carry.i = before * grad_joined + of_old;
  return grad_joined;
}

// 1 for a spike, 0 for none.
template <class S>
SPIKEOPS_HD S cuba_spike(S u, S threshold, const CubaLifParams<S>& p) { return lif_fires(u, threshold, p.at_threshold); }

// What reset subtract takes away.
template <class S>
SPIKEOPS_HD S cuba_reset_amount(S threshold, const CubaLifParams<S>& p) { return choice(p.takes_threshold, threshold, p.reset_amount); }

template <Reset reset, class S>
SPIKEOPS_HD S cuba_reset(S u, S threshold, S spike, const CubaLifParams<S>& p) {
  return lif_reset<reset>(u, spike > S(0), cuba_reset_amount(threshold, p), p.v_reset);
}

// Of a step: membrane potentials, that which decays, that which fires or not, that after it; the spike; what is reset, 1 or 0.
template <class S>
struct CubaMembrane { S base, u, v, spike, resets; };

// `fired_before`, 1 or 0: whether there is a late reset to be done.
template <Reset reset, CubaTiming timing, class S>
SPIKEOPS_HD CubaMembrane<S> cuba_membrane(S v, S read, S fired_before, S threshold, S decay, S current_scale,
                                          const CubaLifParams<S>& p) {
  if constexpr (timing == CubaTiming::now) {
    const S u = lif_membrane(v, read, decay, current_scale, p.v_rest);
    const S spike = cuba_spike(u, threshold, p);
    return {v, u, cuba_reset<reset>(u, threshold, spike, p), spike, spike};
  } else {
    constexpr bool at_first = reset == Reset::to && timing == CubaTiming::late;
    const S base = at_first ? cuba_reset<reset>(v, threshold, fired_before, p) : v;
    const S free = lif_membrane(base, read, decay, current_scale, p.v_rest);
    const S u = at_first ? free : cuba_reset<reset>(free, threshold, fired_before, p);
    return {base, u, u, cuba_spike(u, threshold, p), fired_before};
  }
}

// Gradients of a step: of what decays and the current add up to, of the potential before the step, of the threshold.
template <class S>
struct CubaMembraneGradients { S free, v, threshold; };

// From those of the potential after the step and of the spike; `derivative` is the surrogate derivative at u - threshold. A late reset
// is a constant.
template <Reset reset, CubaTiming timing, bool detach_reset, class S>
SPIKEOPS_HD CubaMembraneGradients<S> cuba_membrane_back(S grad_v, S grad_spike, S derivative, const CubaMembrane<S>& membrane,
                                                        S threshold, S decay, const CubaLifParams<S>& p) {
  if constexpr (timing == CubaTiming::now) {
    S kept = grad_v, through_spike = grad_spike, grad_threshold = S(0);
    if constexpr (reset == Reset::subtract) {
      if constexpr (!detach_reset) through_spike = through_spike - grad_v * cuba_reset_amount(threshold, p);
      const S taken = choice(p.takes_threshold, S(0) - grad_v, S(0));
      grad_threshold = membrane.resets > S(0) ? taken : S(0);
    } else if constexpr (reset == Reset::to) {
      if constexpr (!detach_reset) through_spike = through_spike + grad_v * (p.v_reset - membrane.u);
      kept = membrane.resets > S(0) ? S(0) : grad_v;
    }
    const S grad_distance = through_spike * derivative, grad_free = kept + grad_distance;
    return {grad_free, grad_free * decay, grad_threshold - grad_distance};
  } else {
    const S grad_distance = grad_spike * derivative, grad_u = grad_v + grad_distance;
    if constexpr (reset == Reset::subtract) {
      const S taken = choice(p.takes_threshold, S(0) - grad_u, S(0));
      return {grad_u, grad_u * decay, (membrane.resets > S(0) ? taken : S(0)) - grad_distance};
    } else if constexpr (timing == CubaTiming::late) {
      return {grad_u, membrane.resets > S(0) ? S(0) : grad_u * decay, S(0) - grad_distance};
    } else {
      const S grad_free = membrane.resets > S(0) ? S(0) : grad_u;
      return {grad_free, grad_free * decay, S(0) - grad_distance};
    }
  }
}

// Takes the carry back through a step; returns the gradient of the scaled input. `before` is the state before the step.
template <Reset reset, CubaTiming timing, bool detach_reset, class S>
SPIKEOPS_HD S cuba_step_back(CubaLifCarry<S>& carry, S grad_spike, CubaLifState<S> before, const CubaCurrent<S>& current,
                             const CubaMembrane<S>& membrane, S derivative, const CubaLifFixed<S>& fixed, const CubaLifParams<S>& p) {
  const CubaMembraneGradients<S> grad =
      cuba_membrane_back<reset, timing, detach_reset>(carry.v, grad_spike, derivative, membrane, fixed.threshold, fixed.decay, p);
  carry.decay = carry.decay + grad.free * (membrane.base - p.v_rest);
  carry.threshold = carry.threshold + grad.threshold;
  carry.v = grad.v;
  return cuba_current_back(carry, grad.free, before.i, current, fixed.current_decay, fixed.current_scale, p);
}

struct CubaLifNeuron {
  DType dtype;           // of x, spikes and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, current_decay, current_scale, threshold, input_scale, reset_amount, v_reset, v_rest;
  int order;             // CurrentOrder
  int reset;             // Reset
  int timing;            // CubaTiming
  bool strict, detach_reset, takes_threshold;
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

// `Neuron` is one that has a synapse (CubaLifNeuron).
template <class S, class Neuron>
static inline CubaLifParams<S> cuba_params(const Neuron& n) {
  const auto order = static_cast<CurrentOrder>(n.order);
  const bool decays_first = order == CurrentOrder::decay_input_membrane || order == CurrentOrder::membrane_decay_input;
  return {S(n.input_scale), S(n.v_rest), S(n.v_reset), S(n.reset_amount), S(n.surrogate_scale), S(n.surrogate_peak),
          S(n.strict ? 0 : 1), S(n.takes_threshold ? 1 : 0), S(decays_first ? 1 : 0),
          S(order == CurrentOrder::membrane_decay_input ? 1 : 0), S(order == CurrentOrder::input_membrane_decay ? 1 : 0)};
}

}  // namespace spikeops
