// Bindings of adaptive LIF neurons, for every device.
#include "../kernels/math/alif.h"
#include "ops.h"

// As LIF_NEURON (lif.cpp):
//   numbers: decay, adaptation_decay, threshold, beta, input_scale, reset_amount, v_reset, v_rest, surrogate_scale, surrogate_peak
//   modes: reset, strict, detach_reset, subtracts_threshold, surrogate, time_steps
#define ALIF_NEURON \
  "Tensor x, Tensor? decay_tensor, Tensor? adaptation_decay_tensor, Tensor? v_init, Tensor? a_init, float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// The neurons of a call, and the tensors that must live as long as it.
struct AlifCall {
  AlifCall(const Tensor& input, const OptionalTensor& decay_tensor, const OptionalTensor& adaptation_decay_tensor,
           const OptionalTensor& v_init, const OptionalTensor& a_init, const Numbers& numbers, const Modes& modes)
      : x(sequence(input, numbers, modes)), state(state_type(input)) {
    neuron = {dtype_of("alif", input),
              x.T,
              x.N,
              modes[5] > 0 ? 0 : x.N,
              numbers[0],
              numbers[1],
              numbers[2],
              numbers[3],
              numbers[4],
              numbers[5],
              numbers[6],
              numbers[7],
              int(modes[0]),
              modes[1] != 0,
              modes[2] != 0,
              modes[3] != 0,
              int(modes[4]),
              numbers[8],
              numbers[9],
              read(x.tensor), nullptr, nullptr, nullptr, nullptr};
    neuron.decay_per_neuron = per_neuron(x, decay_tensor, state, kept[0], neuron.decay);
    neuron.adaptation_decay_per_neuron = per_neuron(x, adaptation_decay_tensor, state, kept[1], neuron.adaptation_decay);
    if (v_init) kept[2] = x.like_step(*v_init, state);
    if (a_init) kept[3] = x.like_step(*a_init, state);
    neuron.v_init = read(kept[2]), neuron.a_init = read(kept[3]);
  }

  static Sequence sequence(const Tensor& input, const Numbers& numbers, const Modes& modes) {
    STD_TORCH_CHECK(numbers.size() == 10 && modes.size() == 6, "alif: expected 10 numbers and 6 modes (csrc/alif.cpp)");
    return modes[5] > 0 ? Sequence::one_step(input, modes[5]) : Sequence(input);
  }

  Sequence x;
  ScalarType state;
  OptionalTensor kept[4];
  AlifNeuron neuron;
};

std::tuple<Tensor, Tensor, Tensor> alif_forward(const Tensor& x, const OptionalTensor& decay_tensor,
                                                const OptionalTensor& adaptation_decay_tensor, const OptionalTensor& v_init,
                                                const OptionalTensor& a_init, const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const AlifCall call(x, decay_tensor, adaptation_decay_tensor, v_init, a_init, numbers, modes);
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state), a_last = call.x.empty_step(call.state);
  backend.run(AlifForward{call.neuron, write(spikes), write(v_last), write(a_last)});
  return {spikes, v_last, a_last};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor> alif_backward(
    const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last, const OptionalTensor& grad_a_last, const Tensor& x,
    const OptionalTensor& decay_tensor, const OptionalTensor& adaptation_decay_tensor, const OptionalTensor& v_init,
    const OptionalTensor& a_init, const Numbers& numbers, const Modes& modes, bool need_decay, bool need_adaptation_decay,
    bool need_v_init, bool need_a_init) {
  Backend backend(x);
  const AlifCall call(x, decay_tensor, adaptation_decay_tensor, v_init, a_init, numbers, modes);
  OptionalTensor spikes, v_last, a_last;
  if (grad_spikes) spikes = call.x.like_sequence(*grad_spikes);
  if (grad_v_last) v_last = call.x.like_step(*grad_v_last, call.state);
  if (grad_a_last) a_last = call.x.like_step(*grad_a_last, call.state);
  const auto gradient = [&](bool need) { return need ? call.x.empty_step(call.state) : nothing(); };
  const auto address = [](bool need, const Tensor& tensor) { return need ? write(tensor) : nullptr; };
  const bool is_constant = modes[5] > 0;
  const Tensor grad_x = is_constant ? call.x.empty_step(x.scalar_type()) : call.x.empty_sequence();
  const Tensor grad_decay = gradient(need_decay), grad_adaptation_decay = gradient(need_adaptation_decay);
  const Tensor grad_v_init = gradient(need_v_init), grad_a_init = gradient(need_a_init);
  backend.run(AlifBackward{call.neuron, read(spikes), read(v_last), read(a_last), write(grad_x), address(need_decay, grad_decay),
                           address(need_adaptation_decay, grad_adaptation_decay), address(need_v_init, grad_v_init),
                           address(need_a_init, grad_a_init)});
  return {grad_x, grad_decay, grad_adaptation_decay, grad_v_init, grad_a_init};
}

}  // namespace

SPIKEOPS_OPS(alif) {
  SPIKEOPS_OP(alif_forward, "alif_forward(" ALIF_NEURON ") -> (Tensor spikes, Tensor v_last, Tensor a_last)");
  SPIKEOPS_OP(alif_backward,
              "alif_backward(Tensor? grad_spikes, Tensor? grad_v_last, Tensor? grad_a_last, " ALIF_NEURON
              ", bool need_decay, bool need_adaptation_decay, bool need_v_init, bool need_a_init)"
              " -> (Tensor grad_x, Tensor grad_decay, Tensor grad_adaptation_decay, Tensor grad_v_init, Tensor grad_a_init)");
}

}  // namespace spikeops
