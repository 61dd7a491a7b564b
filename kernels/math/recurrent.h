// Recurrent spiking neurons: current-based LIF neurons (cuba_lif.h) with an adaptive threshold, whose spikes come back, through weights,
// as input of the next step:
//   total = x + (bias + sum over j, in ascending order, of s_before[j] * weight[., j])
//   i, u as in cuba_lif.h, from the total ;  theta = threshold + beta * a ;  s = u >= theta (strict: u > theta)
//   v' = reset(u, s) ;  a' = adaptation_decay * a + s
// A late reset is for the spikes of the step before.
#pragma once

#include "cuba_lif.h"

namespace spikeops {

template <class S>
struct RecurrentParams {
  CubaLifParams<S> cuba;
  S beta;
};

template <class S>
struct RecurrentState { S v, i, a; };

// Numbers of each neuron.
template <class S>
struct RecurrentFixed { S decay, current_decay, current_scale, threshold, adaptation_decay; };

// The gradients that pass from step to step, of the state and, summed over time, of the numbers of each neuron.
template <class S>
struct RecurrentCarry { S v, i, a, decay, current_decay, current_scale, threshold, adaptation_decay; };

// The threshold of a step.
template <class S>
SPIKEOPS_HD S recurrent_threshold(const RecurrentState<S>& before, const RecurrentFixed<S>& fixed, const RecurrentParams<S>& p) {
  return fixed.threshold + p.beta * before.a;
}

// One step; returns the spike, 1 or 0.
template <Reset reset, CubaTiming timing, class S>
SPIKEOPS_HD S recurrent_step(RecurrentState<S>& state, S total, S spike_before, const RecurrentFixed<S>& fixed,
                             const RecurrentParams<S>& p) {
  const CubaCurrent<S> current = cuba_current(state.i, total, fixed.current_decay, p.cuba);
  const CubaMembrane<S> membrane = cuba_membrane<reset, timing>(
      state.v, current.read, spike_before, recurrent_threshold(state, fixed, p), fixed.decay, fixed.current_scale, p.cuba);
  state = {membrane.v, current.after, fixed.adaptation_decay * state.a + membrane.spike};
  return membrane.spike;
}

// Takes the carry back through a step; returns the gradient of the scaled input. `grad_spike` is that from outside and through the
// weights; derivative_at(distance) is the surrogate derivative.
template <Reset reset, CubaTiming timing, bool detach_reset, class S, class Derivative>
SPIKEOPS_HD S recurrent_step_back(RecurrentCarry<S>& carry, S grad_spike, const RecurrentState<S>& before, S total, S spike_before,
                                  const RecurrentFixed<S>& fixed, const RecurrentParams<S>& p, Derivative derivative_at) {
  const S threshold = recurrent_threshold(before, fixed, p);
  const CubaCurrent<S> current = cuba_current(before.i, total, fixed.current_decay, p.cuba);
  const CubaMembrane<S> membrane = cuba_membrane<reset, timing>(before.v, current.read, spike_before, threshold, fixed.decay,
                                                                fixed.current_scale, p.cuba);
  const CubaMembraneGradients<S> grad = cuba_membrane_back<reset, timing, detach_reset>(
      carry.v, grad_spike + carry.a, derivative_at(membrane.u - threshold), membrane, threshold, fixed.decay, p.cuba);
  carry.decay = carry.decay + grad.free * (membrane.base - p.cuba.v_rest);
  carry.threshold = carry.threshold + grad.threshold;
  carry.adaptation_decay = carry.adaptation_decay + carry.a * before.a;
  carry.a = fixed.adaptation_decay * carry.a + p.beta * grad.threshold;
  carry.v = grad.v;
  return cuba_current_back(carry, grad.free, before.i, current, fixed.current_decay, fixed.current_scale, p.cuba);
}

constexpr int kRecurrentNumbers = 5, kRecurrentStates = 3;

struct RecurrentNeuron {
  DType dtype;                // of x, spikes and their gradients
  int64_t T, B, N;            // N neurons of a layer, which is there B times
  bool one_to_one;            // a neuron's spikes come back to itself alone
  double numbers[kRecurrentNumbers];  // as RecurrentFixed
  double beta, input_scale, reset_amount, v_reset, v_rest;
  int order;                  // CurrentOrder
  int reset;                  // Reset
  int timing;                 // CubaTiming
  bool strict, detach_reset, takes_threshold;
  int surrogate;              // Surrogate
  double surrogate_scale, surrogate_peak;
  const void* x;              // (T, B, N) data
  const void* weight;         // (N, N) state: to each neuron from each; or (N), one to one
  const void* weight_from;    // (N, N) state, transposed: from each neuron to each
  const void* bias;           // (N) state, or null: 0
  const void* per_neuron[kRecurrentNumbers];  // (B, N) state, or null: the number for all
  const void* initial[kRecurrentStates];      // (B, N) state, or null: 0; as RecurrentState
  const void* s_init;         // (B, N) state, spikes before the first step, or null: 0
};

struct RecurrentForward {
  RecurrentNeuron neuron;
  void* spikes;                     // (T, B, N) data
  void* last[kRecurrentStates];     // (B, N) state
};

struct RecurrentBackward {
  RecurrentNeuron neuron;
  const void* spikes;               // (T, B, N) data
  const void* grad_spikes;          // (T, B, N) data, or null: 0
  const void* grad_last[kRecurrentStates];  // (B, N) state, or null: 0
  void* grad_x;                     // (T, B, N) data: of the total, too
  void* grad_initial[kRecurrentStates + kRecurrentNumbers];  // (B, N) state, or null; as RecurrentCarry
  void* grad_s_init;                // (B, N) state, or null
};

// What one thread takes together: of layers some, so that what it reads of the weights serves them all; of neurons that know nothing of
// each other so many that they stay in its cache.
SPIKEOPS_HD Shares shares_of(const RecurrentNeuron& n) {
  if (n.one_to_one) return {n.B * n.N, 512, 2 * n.T};
  return {n.B, n.B >= 64 ? 8 : n.B >= 16 ? 2 : 1, n.T * n.N * (1 + n.N / 16)};
}
SPIKEOPS_HD Shares shares_of(const RecurrentForward& a) { return shares_of(a.neuron); }
SPIKEOPS_HD Shares shares_of(const RecurrentBackward& a) { return shares_of(a.neuron); }

template <class S>
static inline RecurrentParams<S> recurrent_params(const RecurrentNeuron& n) {
  return {cuba_params<S>(n), S(n.beta)};
}

}  // namespace spikeops
