// Leaky readout: a membrane that integrates its input and never fires, one time step forward and backward:
//   v' = v_rest + decay * (v - v_rest) + input_scale * x
#pragma once

#include "lif.h"

namespace spikeops {

template <class S>
struct ReadoutParams { S input_scale, v_rest; };

// The gradients that pass from step to step, of the membrane potential and, summed over time, of the decay.
template <class S>
struct ReadoutCarry { S v, decay; };

// Takes the carry back through a step whose potential was v before; returns the gradient of the potential after it.
template <class S>
SPIKEOPS_HD S readout_step_back(ReadoutCarry<S>& carry, S grad_trace, S v, S decay, const ReadoutParams<S>& p) {
  const S grad = carry.v + grad_trace;
  carry.decay = carry.decay + grad * (v - p.v_rest);
  carry.v = grad * decay;
  return grad;
}

struct ReadoutNeuron {
  DType dtype;           // of x, the trace and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, input_scale, v_rest;
  const void* x;
  const void* decay_per_neuron;  // (N) state, or null: `decay` for all
  const void* v_init;            // (N) state, or null: 0
};

struct ReadoutForward {
  ReadoutNeuron neuron;
  void* trace;   // (T, N) data
  void* v_last;  // (N) state
};

struct ReadoutBackward {
  ReadoutNeuron neuron;
  const void* grad_trace;   // (T, N) data, or null: 0
  const void* grad_v_last;  // (N) state, or null: 0
  void* grad_x;             // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_decay;         // (N) state, summed over time, or null
  void* grad_v_init;        // (N) state, or null
};

template <class S>
static inline ReadoutParams<S> readout_params(const ReadoutNeuron& n) { return {S(n.input_scale), S(n.v_rest)}; }

}  // namespace spikeops
