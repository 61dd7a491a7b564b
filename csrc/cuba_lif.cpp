// Bindings of current-based LIF neurons, for every device.
#include "../kernels/math/cuba_lif.h"
#include "ops.h"

// As LIF_NEURON (lif.cpp):
//   numbers: decay, current_decay, current_scale, threshold, input_scale, reset_amount, v_reset, v_rest, surrogate_scale, surrogate_peak
//   modes: order, reset, reset_timing, strict, detach_reset, takes_threshold, surrogate, time_steps
#define CUBA_LIF_NEURON                                                                                                       \
  "Tensor x, Tensor? decay_tensor, Tensor? current_decay_tensor, Tensor? current_scale_tensor, Tensor? threshold_tensor, " \
  "Tensor? v_init, Tensor? i_init, float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// The neurons of a call, and the tensors that must live as long as it.
struct CubaLifCall {
  CubaLifCall(const Tensor& input, const OptionalTensor& decay_tensor, const OptionalTensor& current_decay_tensor,
              const OptionalTensor& current_scale_tensor, const OptionalTensor& threshold_tensor, const OptionalTensor& v_init,
              const OptionalTensor& i_init, const Numbers& numbers, const Modes& modes)
      : x(sequence(input, numbers, modes)), is_constant(modes[7] > 0), state(state_type(input)) {
    neuron = {dtype_of("cuba_lif", input),
              x.T,
              x.N,
              is_constant ? 0 : x.N,
              numbers[0],
              numbers[1],
              numbers[2],
              numbers[3],
              numbers[4],
              numbers[5],
              numbers[6],
              numbers[7],
              int(modes[0]),
              int(modes[1]),
              int(modes[2]),
              modes[3] != 0,
              modes[4] != 0,
              modes[5] != 0,
              int(modes[6]),
              numbers[8],
              numbers[9],
              read(x.tensor), nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    neuron.decay_per_neuron = per_neuron(x, decay_tensor, state, kept[0], neuron.decay);
    neuron.current_decay_per_neuron = per_neuron(x, current_decay_tensor, state, kept[1], neuron.current_decay);
    neuron.current_scale_per_neuron = per_neuron(x, current_scale_tensor, state, kept[2], neuron.current_scale);
    neuron.threshold_per_neuron = per_neuron(x, threshold_tensor, state, kept[3], neuron.threshold);
    if (v_init) kept[4] = x.like_step(*v_init, state);
    if (i_init) kept[5] = x.like_step(*i_init, state);
    neuron.v_init = read(kept[4]), neuron.i_init = read(kept[5]);
  }

  static Sequence sequence(const Tensor& input, const Numbers& numbers, const Modes& modes) {
    STD_TORCH_CHECK(numbers.size() == 10 && modes.size() == 8, "cuba_lif: expected 10 numbers and 8 modes (csrc/cuba_lif.cpp)");
    return modes[7] > 0 ? Sequence::one_step(input, modes[7]) : Sequence(input);
  }

  Sequence x;
  bool is_constant;  // in time
  ScalarType state;
  OptionalTensor kept[6];
  CubaLifNeuron neuron;
};

std::tuple<Tensor, Tensor, Tensor> cuba_lif_forward(
    const Tensor& x, const OptionalTensor& decay_tensor, const OptionalTensor& current_decay_tensor,
    const OptionalTensor& current_scale_tensor, const OptionalTensor& threshold_tensor, const OptionalTensor& v_init,
    const OptionalTensor& i_init, const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const CubaLifCall call(x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init, i_init, numbers, modes);
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state), i_last = call.x.empty_step(call.state);
  backend.run(CubaLifForward{call.neuron, write(spikes), write(v_last), write(i_last)});
  return {spikes, v_last, i_last};
}

std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor> cuba_lif_backward(
    const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last, const OptionalTensor& grad_i_last, const Tensor& x,
    const OptionalTensor& decay_tensor, const OptionalTensor& current_decay_tensor, const OptionalTensor& current_scale_tensor,
    const OptionalTensor& threshold_tensor, const OptionalTensor& v_init, const OptionalTensor& i_init, const Numbers& numbers,
    const Modes& modes, bool need_decay, bool need_current_decay, bool need_current_scale, bool need_threshold, bool need_v_init,
    bool need_i_init) {
  Backend backend(x);
  const CubaLifCall call(x, decay_tensor, current_decay_tensor, current_scale_tensor, threshold_tensor, v_init, i_init, numbers, modes);
  OptionalTensor spikes, v_last, i_last;
  if (grad_spikes) spikes = call.x.like_sequence(*grad_spikes);
  if (grad_v_last) v_last = call.x.like_step(*grad_v_last, call.state);
  if (grad_i_last) i_last = call.x.like_step(*grad_i_last, call.state);
  CubaLifBackward args{};
  args.neuron = call.neuron;
  args.grad_spikes = read(spikes);
  args.grad_v_last = read(v_last);
  args.grad_i_last = read(i_last);
  const Tensor grad_x = call.is_constant ? call.x.empty_step(x.scalar_type()) : call.x.empty_sequence();
  args.grad_x = write(grad_x);
  const auto gradient = [&](bool need, void*& to) {
    const Tensor grad = need ? call.x.empty_step(call.state) : nothing();
    to = need ? write(grad) : nullptr;
    return grad;
  };
  const Tensor grad_decay = gradient(need_decay, args.grad_decay);
  const Tensor grad_current_decay = gradient(need_current_decay, args.grad_current_decay);
  const Tensor grad_current_scale = gradient(need_current_scale, args.grad_current_scale);
  const Tensor grad_threshold = gradient(need_threshold, args.grad_threshold);
  const Tensor grad_v_init = gradient(need_v_init, args.grad_v_init), grad_i_init = gradient(need_i_init, args.grad_i_init);
  backend.run(args);
  return {grad_x, grad_decay, grad_current_decay, grad_current_scale, grad_threshold, grad_v_init, grad_i_init};
}

}  // namespace

SPIKEOPS_OPS(cuba_lif) {
  SPIKEOPS_OP(cuba_lif_forward, "cuba_lif_forward(" CUBA_LIF_NEURON ") -> (Tensor spikes, Tensor v_last, Tensor i_last)");
  SPIKEOPS_OP(cuba_lif_backward,
              "cuba_lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, Tensor? grad_i_last, " CUBA_LIF_NEURON
              ", bool need_decay, bool need_current_decay, bool need_current_scale, bool need_threshold, bool need_v_init, "
              "bool need_i_init) -> (Tensor grad_x, Tensor grad_decay, Tensor grad_current_decay, Tensor grad_current_scale, "
              "Tensor grad_threshold, Tensor grad_v_init, Tensor grad_i_init)");
}

}  // namespace spikeops
