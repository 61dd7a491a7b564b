// Bindings of the leaky readout, for every device.
#include "../kernels/math/readout.h"
#include "ops.h"

// As LIF_NEURON (lif.cpp): numbers: decay, input_scale, v_rest; modes: time_steps.
#define READOUT_NEURON "Tensor x, Tensor? decay_tensor, Tensor? v_init, float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// The neurons of a call, and the tensors that must live as long as it.
struct ReadoutCall {
  ReadoutCall(const Tensor& input, const OptionalTensor& decay_tensor, const OptionalTensor& v_init, const Numbers& numbers,
              const Modes& modes)
      : x(sequence(input, numbers, modes)), is_constant(modes[0] > 0), state(state_type(input)) {
    neuron = {dtype_of("leaky_readout", input), x.T, x.N, is_constant ? 0 : x.N, numbers[0], numbers[1], numbers[2], read(x.tensor), nullptr,
              nullptr};
    neuron.decay_per_neuron = per_neuron(x, decay_tensor, state, kept[0], neuron.decay);
    if (v_init) kept[1] = x.like_step(*v_init, state);
    neuron.v_init = read(kept[1]);
  }

  static Sequence sequence(const Tensor& input, const Numbers& numbers, const Modes& modes) {
    STD_TORCH_CHECK(numbers.size() == 3 && modes.size() == 1, "leaky_readout: expected 3 numbers and 1 mode (csrc/readout.cpp)");
    return modes[0] > 0 ? Sequence::one_step(input, modes[0]) : Sequence(input);
  }

  Sequence x;
  bool is_constant;  // in time
  ScalarType state;
  OptionalTensor kept[2];
  ReadoutNeuron neuron;
};

std::tuple<Tensor, Tensor> leaky_readout_forward(const Tensor& x, const OptionalTensor& decay_tensor, const OptionalTensor& v_init,
                                                 const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const ReadoutCall call(x, decay_tensor, v_init, numbers, modes);
  Tensor trace = call.x.empty_sequence(), v_last = call.x.empty_step(call.state);
  backend.run(ReadoutForward{call.neuron, write(trace), write(v_last)});
  return {trace, v_last};
}

std::tuple<Tensor, Tensor, Tensor> leaky_readout_backward(const OptionalTensor& grad_trace, const OptionalTensor& grad_v_last,
                                                          const Tensor& x, const OptionalTensor& decay_tensor,
                                                          const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes,
                                                          bool need_decay, bool need_v_init) {
  Backend backend(x);
  const ReadoutCall call(x, decay_tensor, v_init, numbers, modes);
  OptionalTensor trace, v_last;
  if (grad_trace) trace = call.x.like_sequence(*grad_trace);
  if (grad_v_last) v_last = call.x.like_step(*grad_v_last, call.state);
  const auto gradient = [&](bool need) { return need ? call.x.empty_step(call.state) : nothing(); };
  const auto address = [](bool need, const Tensor& tensor) { return need ? write(tensor) : nullptr; };
  const Tensor grad_x = call.is_constant ? call.x.empty_step(x.scalar_type()) : call.x.empty_sequence();
  const Tensor grad_decay = gradient(need_decay), grad_v_init = gradient(need_v_init);
  backend.run(ReadoutBackward{call.neuron, read(trace), read(v_last), write(grad_x), address(need_decay, grad_decay),
                              address(need_v_init, grad_v_init)});
  return {grad_x, grad_decay, grad_v_init};
}

}  // namespace

SPIKEOPS_OPS(readout) {
  SPIKEOPS_OP(leaky_readout_forward, "leaky_readout_forward(" READOUT_NEURON ") -> (Tensor trace, Tensor v_last)");
  SPIKEOPS_OP(leaky_readout_backward,
              "leaky_readout_backward(Tensor? grad_trace, Tensor? grad_v_last, " READOUT_NEURON
              ", bool need_decay, bool need_v_init) -> (Tensor grad_x, Tensor grad_decay, Tensor grad_v_init)");
}

}  // namespace spikeops
