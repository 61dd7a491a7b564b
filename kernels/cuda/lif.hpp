// What the forward and the backward LIF kernels share.
#pragma once

#include "../math/lif.h"
#include "lanes.hpp"

namespace spikeops::cuda {

// The reset of a kernel that has it as an argument rather than compiled in.
constexpr int kAnyReset = -1;

template <int reset>
struct ResetConstant { static constexpr int value = reset; };

// f(ResetConstant), so that no step asks for the reset.
template <class F>
__device__ __forceinline__ void with_reset(int reset, F f) {
  switch (static_cast<Reset>(reset)) {
    case Reset::subtract: return f(ResetConstant<int(Reset::subtract)>{});
    case Reset::to: return f(ResetConstant<int(Reset::to)>{});
    default: return f(ResetConstant<int(Reset::none)>{});
  }
}

// The neurons of one thread in the course of time.
template <class Data, int width, int reset>
struct LifNeurons {
  using S = State<Data>;

  LifParams<S> params;
  Reset any_reset;
  Lanes<S, width> decay, v;

  __device__ __forceinline__ LifNeurons(const LifNeuron& neuron, const LifParams<S>& params, int64_t first)
      : params(params),
        any_reset(static_cast<Reset>(neuron.reset)),
        decay(load_or<width>(neuron.decay_per_neuron, first, params.decay)),
        v(load_or<width>(neuron.v_init, first, S(0))) {}

  __device__ __forceinline__ bool fires(S u) const { return u >= params.fire_level; }

  __device__ __forceinline__ S after_reset(S u) const {
    if constexpr (reset == kAnyReset) return lif_reset(any_reset, u, fires(u), params.reset_amount, params.v_reset);
    else return lif_reset<static_cast<Reset>(reset)>(u, fires(u), params.reset_amount, params.v_reset);
  }

  __device__ __forceinline__ S grad_membrane(S grad_spike, S grad_v, S u, S derivative) const {
    if constexpr (reset == kAnyReset)
      return lif_grad_membrane(any_reset, grad_spike, grad_v, u, fires(u), derivative, params.reset_amount, params.v_reset,
                               params.detach_reset);
    else
      return lif_grad_membrane<static_cast<Reset>(reset)>(grad_spike, grad_v, u, fires(u), derivative, params.reset_amount,
                                                          params.v_reset, params.detach_reset);
  }

  // One time step; returns the membrane potentials before the reset.
  __device__ __forceinline__ Lanes<S, width> step(const Lanes<Data, width>& x) {
    Lanes<S, width> u;
    for (int l = 0; l < width; ++l) {
      u[l] = lif_membrane(v[l], to_state(x[l]), decay[l], params.input_scale, params.v_rest);
      v[l] = after_reset(u[l]);
    }
    return u;
  }
};

}  // namespace spikeops::cuda
