// LIF bindings, for every device.
#include "lif_neuron.h"
#include "ops.h"

// The many options of LIF neurons travel as two lists, since PyTorch's Python side of an op costs time for every argument:
//   numbers: decay, threshold, input_scale, reset_amount, v_reset, v_rest, surrogate_scale, surrogate_peak
//   modes: reset, strict, detach_reset, surrogate, time_steps: 0, or the number of time steps where x has no time axis and is the
//     same in all of them; its gradient is then summed over them
#define LIF_NEURON "Tensor x, Tensor? decay_tensor, Tensor? v_init, float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// The neurons of a call, and the tensors that must live as long as it.
struct LifCall {
  LifCall(const char* op, const Tensor& input, const OptionalTensor& decay_tensor, const OptionalTensor& v_init, const Numbers& numbers,
          const Modes& modes)
      : x(sequence(op, input, modes)), is_constant(modes[4] > 0), state(state_type(input)) {
    STD_TORCH_CHECK(numbers.size() == 8, op, ": expected 8 numbers (csrc/lif.cpp)");
    if (v_init) initial = x.like_step(*v_init, state);
    neuron = lif_neuron(dtype_of(op, input), x.T, x.N, is_constant, numbers, modes);
    neuron.x = read(x.tensor);
    neuron.decay_per_neuron = per_neuron(x, decay_tensor, state, decay, neuron.decay);
    neuron.v_init = read(initial);
    backward = {neuron, int(modes[3]), numbers[6], numbers[7]};
  }

  static Sequence sequence(const char* op, const Tensor& input, const Modes& modes) {
    STD_TORCH_CHECK(modes.size() == 5, op, ": expected 5 modes (csrc/lif.cpp)");
    return modes[4] > 0 ? Sequence::one_step(input, modes[4]) : Sequence(input);
  }

  Tensor empty_input_gradient() const {
    return is_constant ? x.empty_step(x.tensor.scalar_type()) : x.empty_sequence();
  }

  Sequence x;
  bool is_constant;  // in time
  ScalarType state;
  OptionalTensor decay, initial;
  LifNeuron neuron;
  LifBackward backward;  // without the gradients
};

std::tuple<Tensor, Tensor> lif_forward(const Tensor& x, const OptionalTensor& decay_tensor, const OptionalTensor& v_init,
                                       const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const LifCall call("lif", x, decay_tensor, v_init, numbers, modes);
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state);
  backend.run(LifForward{call.neuron, write(spikes), write(v_last)});
  return {spikes, v_last};
}

Tensor lif_rate_forward(const Tensor& x, const OptionalTensor& decay_tensor, const OptionalTensor& v_init, const Numbers& numbers,
                        const Modes& modes, int64_t weighting) {
  Backend backend(x);
  const LifCall call("lif_rate", x, decay_tensor, v_init, numbers, modes);
  // spikeops/functional/_checks.py says it in eager code.
  STD_TORCH_CHECK(call.state == ScalarType::Double || call.x.T <= (int64_t(1) << 24),
                  "lif_rate: expected at most 2^24 time steps, beyond which float32 does not count, got ", call.x.T);
  Tensor rate = call.x.empty_step(x.scalar_type());
  backend.run(LifRateForward{call.neuron, int(weighting), write(rate)});
  return rate;
}

std::tuple<Tensor, Tensor, Tensor> lif_gradients(Backend& backend, const LifCall& call, LifBackward args, bool need_decay,
                                                 bool need_v_init) {
  Tensor grad_x = call.empty_input_gradient();
  Tensor grad_decay = need_decay ? call.x.empty_step(call.state) : nothing();
  Tensor grad_v_init = need_v_init ? call.x.empty_step(call.state) : nothing();
  args.grad_x = write(grad_x);
  args.grad_decay = need_decay ? write(grad_decay) : nullptr;
  args.grad_v_init = need_v_init ? write(grad_v_init) : nullptr;
  backend.run(args);
  return {grad_x, grad_decay, grad_v_init};
}

std::tuple<Tensor, Tensor, Tensor> lif_backward(const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last,
                                                const Tensor& x, const OptionalTensor& decay_tensor, const OptionalTensor& v_init,
                                                const Numbers& numbers, const Modes& modes, bool need_decay, bool need_v_init) {
  Backend backend(x);
  const LifCall call("lif", x, decay_tensor, v_init, numbers, modes);
  OptionalTensor spikes, v_last;
  if (grad_spikes) spikes = call.x.like_sequence(*grad_spikes);
  if (grad_v_last) v_last = call.x.like_step(*grad_v_last, call.state);
  LifBackward args = call.backward;
  args.grad_spikes = read(spikes);
  args.grad_v_last = read(v_last);
  return lif_gradients(backend, call, args, need_decay, need_v_init);
}

std::tuple<Tensor, Tensor, Tensor> lif_rate_backward(const Tensor& grad_rate, const Tensor& x, const OptionalTensor& decay_tensor,
                                                     const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes,
                                                     int64_t weighting, bool need_decay, bool need_v_init) {
  Backend backend(x);
  const LifCall call("lif_rate", x, decay_tensor, v_init, numbers, modes);
  const Tensor rate = call.x.like_step(grad_rate, x.scalar_type());
  LifBackward args = call.backward;
  args.grad_rate = read(rate);
  args.weighting = int(weighting);
  return lif_gradients(backend, call, args, need_decay, need_v_init);
}

}  // namespace

SPIKEOPS_OPS(lif) {
  SPIKEOPS_OP(lif_forward, "lif_forward(" LIF_NEURON ") -> (Tensor spikes, Tensor v_last)");
  SPIKEOPS_OP(lif_backward,
          "lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, " LIF_NEURON ", bool need_decay, bool need_v_init)"
          " -> (Tensor grad_x, Tensor grad_decay, Tensor grad_v_init)");
  SPIKEOPS_OP(lif_rate_forward, "lif_rate_forward(" LIF_NEURON ", int weighting) -> Tensor");
  SPIKEOPS_OP(lif_rate_backward,
          "lif_rate_backward(Tensor grad_rate, " LIF_NEURON ", int weighting, bool need_decay, bool need_v_init)"
          " -> (Tensor grad_x, Tensor grad_decay, Tensor grad_v_init)");
}

}  // namespace spikeops
