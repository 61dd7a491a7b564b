// What the lists of LIF_NEURON (lif.cpp) and LIF_KEPT_OPTIONS (lif_kept.cpp) begin with alike.
#pragma once

#include "../kernels/math/lif.h"
#include "common.h"

namespace spikeops {

// Without its tensors. Constant: x is the same in all time steps.
inline LifNeuron lif_neuron(DType dtype, int64_t T, int64_t N, bool is_constant, const Numbers& numbers, const std::vector<int64_t>& modes) {
  LifNeuron neuron{};
  neuron.dtype = dtype;
  neuron.T = T;
  neuron.N = N;
  neuron.x_stride = is_constant ? 0 : N;
  neuron.decay = numbers[0];
  neuron.threshold = numbers[1];
  neuron.input_scale = numbers[2];
  neuron.reset_amount = numbers[3];
  neuron.v_reset = numbers[4];
  neuron.v_rest = numbers[5];
  neuron.reset = int(modes[0]);
  neuron.strict = modes[1] != 0;
  neuron.detach_reset = modes[2] != 0;
  return neuron;
}

}  // namespace spikeops
