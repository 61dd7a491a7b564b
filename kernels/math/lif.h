// Leaky integrate-and-fire neuron, one time step forward and backward:
//   u = v_rest + decay * (v - v_rest) + input_scale * x ;  s = u >= fire_level ;  v' = reset(u, s)
#pragma once

#include "args.h"
#include "rate.h"
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

// a where `chosen` is above 0, else b. On the CPU by their bits: where b takes long to work out, gcc else makes two ways of it, which do
// not go into vectors; and of a choice that is the same for all neurons, within one that is not, much work on truths.
SPIKEOPS_HD float choice(float chosen, float a, float b) {
#if defined(__CUDA_ARCH__)
  return chosen > 0.0f ? a : b;
#else
  const uint32_t mask = chosen > 0.0f ? ~0u : 0u;
  return bits_float((float_bits(a) & mask) | (float_bits(b) & ~mask));
#endif
}
SPIKEOPS_HD double choice(double chosen, double a, double b) {
#if defined(__CUDA_ARCH__)
  return chosen > 0.0 ? a : b;
#else
  const uint64_t mask = chosen > 0.0 ? ~uint64_t(0) : uint64_t(0);
  uint64_t a_bits, b_bits;
  std::memcpy(&a_bits, &a, sizeof a);
  std::memcpy(&b_bits, &b, sizeof b);
  const uint64_t bits = (a_bits & mask) | (b_bits & ~mask);
  double value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
#endif
}

// The next number above: that of infinity and of NaN is NaN.
SPIKEOPS_HD float next_above(float x) {
  const float unsigned_zero = x + 0.0f;
  return bits_float(float_bits(unsigned_zero) + (x < 0.0f ? ~0u : 1u));
}
SPIKEOPS_HD double next_above(double x) {
  const double unsigned_zero = x + 0.0;
  uint64_t bits;
  std::memcpy(&bits, &unsigned_zero, sizeof bits);
  bits += x < 0.0 ? ~uint64_t(0) : uint64_t(1);
  double above;
  std::memcpy(&above, &bits, sizeof above);
  return above;
}

// 1 for a membrane potential that fires, else 0; at_threshold, 1 or 0: whether one that just reaches the threshold does. On the CPU one
// comparison, with the smallest that fires, which a loop over neurons with the same threshold works out once: of a choice within a choice
// gcc makes branches, or a loop for each of those that are the same for all neurons, not all of which go into vectors.
template <class S>
SPIKEOPS_HD S lif_fires(S u, S threshold, S at_threshold) {
#if defined(__CUDA_ARCH__)
  const S reached = u == threshold ? at_threshold : S(0);
  return u > threshold ? S(1) : reached;
#else
  const S fire_level = at_threshold > S(0) ? threshold : next_above(threshold);
  return u >= fire_level ? S(1) : S(0);
#endif
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

struct LifNeuron {
  DType dtype;           // of x, spikes and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, threshold, input_scale, reset_amount, v_reset, v_rest;
  int reset;             // Reset
  bool strict, detach_reset;
  const void* x;
  const void* decay_per_neuron;  // (N) state, or null: `decay` for all
  const void* v_init;            // (N) state, or null: 0
};

struct LifForward {
  LifNeuron neuron;
  void* spikes;          // (T, N) data
  void* v_last;          // (N) state
};

struct LifRateForward {
  LifNeuron neuron;
  int weighting;         // Weighting
  void* rate;            // (N) data
};

struct LifBackward {
  LifNeuron neuron;
  int surrogate;         // Surrogate
  double surrogate_scale, surrogate_peak;
  const void* grad_spikes = nullptr;  // (T, N) data, or null: 0. Unused where grad_rate is given
  const void* grad_rate = nullptr;    // (N) data, or null: the gradient is that of the spikes, not of the rate
  int weighting = 0;                  // Weighting of grad_rate
  const void* grad_v_last = nullptr;  // (N) state, or null: 0
  void* grad_x = nullptr;             // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_decay = nullptr;         // (N) state, summed over time, or null
  void* grad_v_init = nullptr;        // (N) state, or null
};

template <class S>
static inline LifParams<S> lif_params(const LifNeuron& n) {
  const S threshold = S(n.threshold);
  const S above = std::nextafter(threshold, std::numeric_limits<S>::infinity());
  return {S(n.decay), S(n.input_scale), S(n.v_rest), S(n.v_reset), S(n.reset_amount), threshold,
          n.strict ? above : threshold, n.detach_reset};
}

}  // namespace spikeops
