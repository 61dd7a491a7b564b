// Leaky integrate-and-fire neuron, one time step forward and backward:
//   u = v_rest + decay * (v - v_rest) + input_scale * x ;  s = u >= fire_level ;  v' = reset(u, s)
#pragma once

#include "surrogate.h"

namespace spikeops {

// The numbers are part of the op schemas: spikeops/functional/_lif_options.py holds the same table.
enum class Reset : int { subtract = 0, to = 1, none = 2 };

// Scalars of a layer, in the precision of the state. `decay` may be overridden per neuron.
template <class S>
struct LifParams {
  S decay, input_scale, v_rest, v_reset, reset_amount;
  S threshold;   // centre of the surrogate derivative
  S fire_level;  // smallest membrane that fires: the threshold, or the next number above it where `strict`
  bool detach_reset;
};

template <class S>
SPIKEOPS_HD S lif_membrane(S v, S x, S decay, S input_scale, S v_rest) {
  return (v_rest + decay * (v - v_rest)) + input_scale * x;
}

template <Reset reset, class S>
SPIKEOPS_HD S lif_reset(S u, bool spike, S reset_amount, S v_reset) {
  if constexpr (reset == Reset::subtract) return spike ? u - reset_amount : u;
  if constexpr (reset == Reset::to) return spike ? v_reset : u;
  return u;
}

template <class S>
SPIKEOPS_HD S lif_reset(Reset reset, S u, bool spike, S reset_amount, S v_reset) {
  if (reset == Reset::subtract) return lif_reset<Reset::subtract>(u, spike, reset_amount, v_reset);
  if (reset == Reset::to) return lif_reset<Reset::to>(u, spike, reset_amount, v_reset);
  return u;
}

// Gradient with respect to u, from those with respect to the spike and to the membrane after the reset.
// `derivative` is the surrogate derivative at u.
template <Reset reset, class S>
SPIKEOPS_HD S lif_grad_membrane(S grad_spike, S grad_v, S u, bool spike, S derivative, S reset_amount, S v_reset,
                                bool detach_reset) {
  if constexpr (reset == Reset::subtract) {
    const S through_reset = grad_spike - grad_v * reset_amount;
    return grad_v + (detach_reset ? grad_spike : through_reset) * derivative;
  }
  if constexpr (reset == Reset::to) {
    const S through_reset = grad_spike + grad_v * (v_reset - u);
    return (spike ? S(0) : grad_v) + (detach_reset ? grad_spike : through_reset) * derivative;
  }
  return grad_v + grad_spike * derivative;
}

template <class S>
SPIKEOPS_HD S lif_grad_membrane(Reset reset, S grad_spike, S grad_v, S u, bool spike, S derivative, S reset_amount,
                                S v_reset, bool detach_reset) {
  if (reset == Reset::subtract)
    return lif_grad_membrane<Reset::subtract>(grad_spike, grad_v, u, spike, derivative, reset_amount, v_reset, detach_reset);
  if (reset == Reset::to)
    return lif_grad_membrane<Reset::to>(grad_spike, grad_v, u, spike, derivative, reset_amount, v_reset, detach_reset);
  return lif_grad_membrane<Reset::none>(grad_spike, grad_v, u, spike, derivative, reset_amount, v_reset, detach_reset);
}

// Firing rate. weighting mean: sum s / T. weighting decay: sum_t decay^(T-1-t) s[t] / sum_t decay^t.
// The numbers are part of the op schemas: spikeops/functional/_lif_options.py holds the same table.
enum class Weighting : int { mean = 0, decay = 1 };

// One step of numerator and normaliser, and of their derivatives with respect to the decay (used by the backward pass).
template <class S>
struct RateSums { S spikes, weight, dspikes, dweight; };

template <class S>
SPIKEOPS_HD void rate_step(RateSums<S>& sums, bool spike, S decay) {
  sums.dspikes = sums.spikes + decay * sums.dspikes;
  sums.dweight = sums.weight + decay * sums.dweight;
  sums.spikes = decay * sums.spikes + (spike ? S(1) : S(0));
  sums.weight = decay * sums.weight + S(1);
}

// d rate / d decay at fixed spikes.
template <class S>
SPIKEOPS_HD S rate_decay_derivative(const RateSums<S>& sums) {
  return (sums.dspikes - sums.spikes / sums.weight * sums.dweight) / sums.weight;
}

}  // namespace spikeops
