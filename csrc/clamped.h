// Neurons that stop at their threshold: binding for every device.
#pragma once

#include "common.h"

namespace spikeops {

// numbers: dt, leak; what follows is for the backward pass alone.
template <class Backend>
std::tuple<Tensor, Tensor> clamped_lif_forward(const Tensor& x, const Tensor& threshold, const Numbers& numbers, int64_t T) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() >= 2 && threshold.dim() == 1 && threshold.size(0) == x.size(1) && threshold.get_device() == x.get_device() &&
                      numbers.size() == 4 && T >= 1,
                  "clamped_lif_forward: expected x (N, C, ...), threshold (C) on its device, 4 numbers and T of 1 or more");
  const Sequence in = Sequence::one_step(x);
  const ScalarType state = state_type(x);
  const int64_t C = x.size(1);
  const Tensor limits = as_layout(threshold, {C}, {1}, state);
  Tensor count = in.empty_step(x.scalar_type()), v = in.empty_step(state);
  // In dense memory the neurons of a channel lie as many apart as one step along its axis.
  const int64_t inner = C > 1 ? std::max<int64_t>(in.step_strides[1], 1) : 1;
  backend.run(ClampedForward{dtype_of("clamped_lif_forward", x), T, in.N, std::max<int64_t>(C, 1), inner, numbers[0], numbers[1],
                             read(in.tensor), read(limits), write(count), write(v)});
  return {count, v};
}

}  // namespace spikeops
