// LIF neurons whose backward pass reads less than x, of each step what the surrogate derivative and the reset need to know: bits
// (lif_bits.h), or a rounded distance (lif_distances.h). It runs no neuron again. What both have in common.
#pragma once

#include "lif.h"
#include "surrogate_of_lif.h"

namespace spikeops {

// Numbers of the way back.
template <class S>
struct LifKeptBack {
  S decay, reset_amount, v_reset;
  // What differs between lif and its general form (general_lif.h), of which the gradients are the same bits: the one scales a gradient of
  // x that is summed over time after the sum, the other before, and it adds what comes from traces: 0, where lif adds nothing, -0.
  S step_scale, sum_scale, of_trace;
};

// Takes the gradient of the membrane potential back through a step; returns that of the scaled input. Detached: no gradient passes the
// reset, as none does where there is none. Of u, the potential before the reset, only the gradient of a reset to a value asks.
template <Reset reset, bool detached, class S>
SPIKEOPS_HD S lif_kept_step_back(S& grad_v, S grad_spike, S derivative, bool fired, S u, const LifKeptBack<S>& p) {
  const S grad_u =
      lif_grad_membrane<reset>(grad_spike, grad_v + p.of_trace, u, fired, derivative, p.reset_amount, p.v_reset, detached) + p.of_trace;
  grad_v = grad_u * p.decay;
  return grad_u;
}

// Plain: lif itself, as against its general form.
template <class S>
static inline LifKeptBack<S> lif_kept_back(const LifNeuron& n, bool is_plain) {
  const bool scales_sum = is_plain && n.x_stride == 0;
  return {S(n.decay), S(n.reset_amount), S(n.v_reset), scales_sum ? S(1) : S(n.input_scale), scales_sum ? S(n.input_scale) : S(1),
          is_plain ? S(-0.0) : S(0.0)};
}

}  // namespace spikeops
