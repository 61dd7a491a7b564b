// What the forward and the backward LIF kernels share.
#pragma once

#include "../math/lif.h"
#include "lanes.hpp"

namespace spikeops::cuda {

// The neurons of one thread in the course of time.
template <class Data, int width>
struct LifNeurons {
  using S = State<Data>;

  LifParams<S> params;
  Reset reset;
  Lanes<S, width> decay, v;

  __device__ __forceinline__ LifNeurons(const LifNeuron& neuron, const LifParams<S>& params, int64_t first)
      : params(params),
        reset(static_cast<Reset>(neuron.reset)),
        decay(load_or<width>(neuron.decay_per_neuron, first, params.decay)),
        v(load_or<width>(neuron.v_init, first, S(0))) {}

  __device__ __forceinline__ bool fires(S u) const { return u >= params.fire_level; }

  __device__ __forceinline__ S after_reset(S u) const {
    return lif_reset(reset, u, fires(u), params.reset_amount, params.v_reset);
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
