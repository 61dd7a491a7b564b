// Bindings of LIF neurons in their general form, for every device.
#include "../kernels/math/general_lif.h"
#include "ops.h"

// As LIF_NEURON (lif.cpp):
//   numbers: decay, threshold, input_scale, reset_amount, v_reset, v_rest, v_min, max_spikes; of the surrogate scale, peak, center, a, b, c
//   modes: scheme, strict, detach_reset, count, is_bounded, trace, surrogate, in_thresholds, time_steps
// Those that put a trace out are ops of their own, so that others have no empty one to hand on.
#define GENERAL_LIF_NEURON                                                                                                     \
  "Tensor x, Tensor? decay_tensor, Tensor? threshold_tensor, Tensor? input_scale_tensor, Tensor? reset_amount_tensor, "        \
  "Tensor? v_init, float[] numbers, int[] modes"
#define GENERAL_LIF_NEEDS                                                                                                      \
  ", bool need_decay, bool need_threshold, bool need_input_scale, bool need_reset_amount, bool need_v_init)"                   \
  " -> (Tensor grad_x, Tensor grad_decay, Tensor grad_threshold, Tensor grad_input_scale, Tensor grad_reset_amount, "          \
  "Tensor grad_v_init)"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;
using Gradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

// The neurons of a call, and the tensors that must live as long as it.
struct GeneralLifCall {
  GeneralLifCall(const Tensor& input, const OptionalTensor& decay, const OptionalTensor& threshold, const OptionalTensor& input_scale,
                 const OptionalTensor& reset_amount, const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes)
      : x(sequence(input, numbers, modes)), state(state_type(input)), is_constant(modes[8] > 0) {
    neuron = {dtype_of("lif", input),
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
              numbers[8],
              numbers[9],
              numbers[10],
              numbers[11],
              numbers[12],
              numbers[13],
              int(modes[0]),
              modes[1] != 0,
              modes[2] != 0,
              int(modes[3]),
              modes[4] != 0,
              int(modes[5]),
              int(modes[6]),
              int(modes[7]),
              read(x.tensor), nullptr, nullptr, nullptr, nullptr, nullptr};
    neuron.decay_per_neuron = per_neuron(x, decay, state, kept[0], neuron.decay);
    neuron.threshold_per_neuron = per_neuron(x, threshold, state, kept[1], neuron.threshold);
    neuron.input_scale_per_neuron = per_neuron(x, input_scale, state, kept[2], neuron.input_scale);
    neuron.reset_amount_per_neuron = per_neuron(x, reset_amount, state, kept[3], neuron.reset_amount);
    if (v_init) kept[4] = x.like_step(*v_init, state);
    neuron.v_init = read(kept[4]);
  }

  // What the kernels were not compiled for would be worked out as something else.
  static Sequence sequence(const Tensor& input, const Numbers& numbers, const Modes& modes) {
    STD_TORCH_CHECK(numbers.size() == 14 && modes.size() == 9, "general_lif: expected 14 numbers and 9 modes (csrc/general_lif.cpp)");
    STD_TORCH_CHECK(modes[0] >= 0 && modes[0] < kResetSchemes && modes[6] >= 0 && modes[6] < kSurrogatesOfLif,
                    "general_lif: unknown reset scheme or surrogate (csrc/general_lif.cpp)");
    return modes[8] > 0 ? Sequence::one_step(input, modes[8]) : Sequence(input);
  }

  Sequence x;
  ScalarType state;
  bool is_constant;  // in time
  OptionalTensor kept[5];
  GeneralLifNeuron neuron;
};

std::tuple<Tensor, Tensor> general_lif_forward(const Tensor& x, const OptionalTensor& decay, const OptionalTensor& threshold,
                                               const OptionalTensor& input_scale, const OptionalTensor& reset_amount,
                                               const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const GeneralLifCall call(x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes);
  STD_TORCH_CHECK(modes[5] == int(Trace::none), "general_lif: a trace is put out by traced_lif");
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state);
  backend.run(GeneralLifForward{call.neuron, write(spikes), write(v_last), nullptr});
  return {spikes, v_last};
}

std::tuple<Tensor, Tensor, Tensor> traced_lif_forward(const Tensor& x, const OptionalTensor& decay, const OptionalTensor& threshold,
                                                      const OptionalTensor& input_scale, const OptionalTensor& reset_amount,
                                                      const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const GeneralLifCall call(x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes);
  STD_TORCH_CHECK(modes[5] == int(Trace::before) || modes[5] == int(Trace::after), "traced_lif: there is no trace without one");
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state), trace = call.x.empty_sequence();
  backend.run(GeneralLifForward{call.neuron, write(spikes), write(v_last), write(trace)});
  return {spikes, v_last, trace};
}

Gradients traced_lif_backward(const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last, const OptionalTensor& grad_trace,
                              const Tensor& x, const OptionalTensor& decay, const OptionalTensor& threshold,
                              const OptionalTensor& input_scale, const OptionalTensor& reset_amount, const OptionalTensor& v_init,
                              const Numbers& numbers, const Modes& modes, bool need_decay, bool need_threshold, bool need_input_scale,
                              bool need_reset_amount, bool need_v_init) {
  Backend backend(x);
  const GeneralLifCall call(x, decay, threshold, input_scale, reset_amount, v_init, numbers, modes);
  OptionalTensor spikes, v_last, trace;
  if (grad_spikes) spikes = call.x.like_sequence(*grad_spikes);
  if (grad_v_last) v_last = call.x.like_step(*grad_v_last, call.state);
  if (grad_trace) trace = call.x.like_sequence(*grad_trace);
  const auto gradient = [&](bool need) { return need ? call.x.empty_step(call.state) : nothing(); };
  const auto address = [](bool need, const Tensor& tensor) { return need ? write(tensor) : nullptr; };
  const Tensor grad_x = call.is_constant ? call.x.empty_step(x.scalar_type()) : call.x.empty_sequence();
  const Tensor grad_decay = gradient(need_decay), grad_threshold = gradient(need_threshold);
  const Tensor grad_input_scale = gradient(need_input_scale), grad_reset_amount = gradient(need_reset_amount);
  const Tensor grad_v_init = gradient(need_v_init);
  backend.run(GeneralLifBackward{call.neuron, read(spikes), read(v_last), read(trace), write(grad_x), address(need_decay, grad_decay),
                                 address(need_threshold, grad_threshold), address(need_input_scale, grad_input_scale),
                                 address(need_reset_amount, grad_reset_amount), address(need_v_init, grad_v_init)});
  return {grad_x, grad_decay, grad_threshold, grad_input_scale, grad_reset_amount, grad_v_init};
}

Gradients general_lif_backward(const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last, const Tensor& x,
                               const OptionalTensor& decay, const OptionalTensor& threshold, const OptionalTensor& input_scale,
                               const OptionalTensor& reset_amount, const OptionalTensor& v_init, const Numbers& numbers,
                               const Modes& modes, bool need_decay, bool need_threshold, bool need_input_scale, bool need_reset_amount,
                               bool need_v_init) {
  return traced_lif_backward(grad_spikes, grad_v_last, std::nullopt, x, decay, threshold, input_scale, reset_amount, v_init, numbers,
                             modes, need_decay, need_threshold, need_input_scale, need_reset_amount, need_v_init);
}

}  // namespace

SPIKEOPS_OPS(general_lif) {
  SPIKEOPS_OP(general_lif_forward, "general_lif_forward(" GENERAL_LIF_NEURON ") -> (Tensor spikes, Tensor v_last)");
  SPIKEOPS_OP(general_lif_backward,
              "general_lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, " GENERAL_LIF_NEURON GENERAL_LIF_NEEDS);
  SPIKEOPS_OP(traced_lif_forward, "traced_lif_forward(" GENERAL_LIF_NEURON ") -> (Tensor spikes, Tensor v_last, Tensor trace)");
  SPIKEOPS_OP(traced_lif_backward, "traced_lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, Tensor? grad_trace, "
              GENERAL_LIF_NEURON GENERAL_LIF_NEEDS);
}

}  // namespace spikeops
