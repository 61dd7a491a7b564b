// Bindings of recurrent spiking neurons, for every device.
#include "../kernels/math/recurrent.h"
#include "ops.h"

// x (T, ..., N): layers of N neurons. weight is (N, N), to each neuron from each, or (N), one to one; bias (N). The other tensors are
// broadcast to (..., N). As LIF_NEURON (lif.cpp):
//   numbers: decay, current_decay, current_scale, threshold, adaptation_decay, beta, input_scale, reset_amount, v_reset, v_rest,
//     surrogate_scale, surrogate_peak
//   modes: order, reset, reset_timing, strict, detach_reset, takes_threshold, surrogate
#define RECURRENT_NEURON                                                                                                     \
  "Tensor x, Tensor weight, Tensor? bias, Tensor? decay_tensor, Tensor? current_decay_tensor, Tensor? current_scale_tensor, " \
  "Tensor? threshold_tensor, Tensor? adaptation_decay_tensor, Tensor? v_init, Tensor? i_init, Tensor? a_init, Tensor? s_init, " \
  "float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// The neurons of a call, and the tensors that must live as long as it.
struct RecurrentCall {
  RecurrentCall(const Tensor& input, const Tensor& weight, const OptionalTensor& bias,
                std::initializer_list<const OptionalTensor*> per_neuron, std::initializer_list<const OptionalTensor*> initial,
                const Numbers& numbers, const Modes& modes)
      : sizes(sizes_of(input)), step(sizes.empty() ? sizes : Dims(sizes.begin() + 1, sizes.end())), state(state_type(input)) {
    STD_TORCH_CHECK(numbers.size() == 12 && modes.size() == 7, "recurrent_lif: expected 12 numbers and 7 modes (csrc/recurrent.cpp)");
    STD_TORCH_CHECK(!step.empty(), "recurrent_lif: expected x of shape (T, ..., N)");
    const int64_t N = sizes.back();
    neuron.dtype = dtype_of("recurrent_lif", input);
    neuron.T = sizes[0];
    neuron.N = N;
    neuron.B = N > 0 ? product(step) / N : 0;
    neuron.one_to_one = weight.dim() == 1;
    STD_TORCH_CHECK(sizes_of(weight) == (neuron.one_to_one ? Dims{N} : Dims{N, N}), "recurrent_lif: expected weight (N, N) or (N,)");
    for (int k = 0; k < kRecurrentNumbers; ++k) neuron.numbers[k] = numbers[k];
    neuron.beta = numbers[5];
    neuron.input_scale = numbers[6];
    neuron.reset_amount = numbers[7];
    neuron.v_reset = numbers[8];
    neuron.v_rest = numbers[9];
    neuron.surrogate_scale = numbers[10];
    neuron.surrogate_peak = numbers[11];
    neuron.order = int(modes[0]);
    neuron.reset = int(modes[1]);
    neuron.timing = int(modes[2]);
    neuron.strict = modes[3] != 0;
    neuron.detach_reset = modes[4] != 0;
    neuron.takes_threshold = modes[5] != 0;
    neuron.surrogate = int(modes[6]);

    neuron.x = keep(as_layout(input, sizes, contiguous_strides(sizes), input.scalar_type()));
    const Dims of_weight = sizes_of(weight);
    neuron.weight = keep(as_layout(weight, of_weight, contiguous_strides(of_weight), state));
    neuron.weight_from = neuron.one_to_one ? nullptr : keep(as_layout(weight, of_weight, {1, N}, state));
    neuron.bias = bias ? keep(as_layout(*bias, {N}, {1}, state)) : nullptr;
    int k = 0;
    for (const OptionalTensor* tensor : per_neuron) neuron.per_neuron[k++] = optional(*tensor);
    k = 0;
    for (const OptionalTensor* tensor : initial) (k < kRecurrentStates ? neuron.initial[k] : neuron.s_init) = optional(*tensor), ++k;
  }

  // A tensor that is broadcast to a step; of a given tensor (T, ..., N).
  const void* optional(const OptionalTensor& tensor) {
    return tensor ? keep(as_layout(*tensor, step, contiguous_strides(step), state)) : nullptr;
  }
  const void* sequence(const OptionalTensor& tensor) {
    return tensor ? keep(as_layout(*tensor, sizes, contiguous_strides(sizes), kept[0].scalar_type())) : nullptr;
  }

  Tensor empty(const Dims& dims, ScalarType dtype) const { return empty_strided(kept[0], dims, contiguous_strides(dims), dtype); }

  Dims sizes, step;
  ScalarType state;
  std::vector<Tensor> kept;
  RecurrentNeuron neuron{};

 private:
  const void* keep(const Tensor& tensor) {
    kept.push_back(tensor);
    return read(tensor);
  }
};

std::tuple<Tensor, Tensor, Tensor, Tensor> recurrent_lif_forward(
    const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const OptionalTensor& decay_tensor,
    const OptionalTensor& current_decay_tensor, const OptionalTensor& current_scale_tensor, const OptionalTensor& threshold_tensor,
    const OptionalTensor& adaptation_decay_tensor, const OptionalTensor& v_init, const OptionalTensor& i_init,
    const OptionalTensor& a_init, const OptionalTensor& s_init, const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const RecurrentCall call(
      x, weight, bias, {&decay_tensor, &current_decay_tensor, &current_scale_tensor, &threshold_tensor, &adaptation_decay_tensor},
      {&v_init, &i_init, &a_init, &s_init}, numbers, modes);
  const Tensor spikes = call.empty(call.sizes, x.scalar_type());
  const Tensor v_last = call.empty(call.step, call.state), i_last = call.empty(call.step, call.state);
  const Tensor a_last = call.empty(call.step, call.state);
  backend.run(RecurrentForward{call.neuron, write(spikes), {write(v_last), write(i_last), write(a_last)}});
  return {spikes, v_last, i_last, a_last};
}

using RecurrentGradients = std::tuple<Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor>;

RecurrentGradients recurrent_lif_backward(
    const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last, const OptionalTensor& grad_i_last,
    const OptionalTensor& grad_a_last, const Tensor& spikes, const Tensor& x, const Tensor& weight, const OptionalTensor& bias,
    const OptionalTensor& decay_tensor, const OptionalTensor& current_decay_tensor, const OptionalTensor& current_scale_tensor,
    const OptionalTensor& threshold_tensor, const OptionalTensor& adaptation_decay_tensor, const OptionalTensor& v_init,
    const OptionalTensor& i_init, const OptionalTensor& a_init, const OptionalTensor& s_init, const Numbers& numbers,
    const Modes& modes, const std::vector<int64_t>& needs) {
  Backend backend(x);
  RecurrentCall call(
      x, weight, bias, {&decay_tensor, &current_decay_tensor, &current_scale_tensor, &threshold_tensor, &adaptation_decay_tensor},
      {&v_init, &i_init, &a_init, &s_init}, numbers, modes);
  constexpr int kGradients = kRecurrentNumbers + kRecurrentStates + 1;
  STD_TORCH_CHECK(needs.size() == kGradients, "recurrent_lif_backward: expected 9 needs (csrc/recurrent.cpp)");
  RecurrentBackward args{};
  args.spikes = call.sequence(spikes);
  args.grad_spikes = call.sequence(grad_spikes);
  args.grad_last[0] = call.optional(grad_v_last);
  args.grad_last[1] = call.optional(grad_i_last);
  args.grad_last[2] = call.optional(grad_a_last);
  args.neuron = call.neuron;
  const Tensor grad_x = call.empty(call.sizes, x.scalar_type());
  args.grad_x = write(grad_x);
  // `needs` are in the order of the schema: numbers, then states; the kernel's begin with the states, without the spikes.
  std::vector<Tensor> grads;
  for (int k = 0; k < kGradients; ++k) {
    grads.push_back(needs[k] ? call.empty(call.step, call.state) : nothing());
    const int place = k < kRecurrentNumbers ? kRecurrentStates + k : k - kRecurrentNumbers;
    (k + 1 < kGradients ? args.grad_initial[place] : args.grad_s_init) = needs[k] ? write(grads.back()) : nullptr;
  }
  backend.run(args);
  return {grad_x, grads[0], grads[1], grads[2], grads[3], grads[4], grads[5], grads[6], grads[7], grads[8]};
}

}  // namespace

SPIKEOPS_OPS(recurrent) {
  SPIKEOPS_OP(recurrent_lif_forward,
              "recurrent_lif_forward(" RECURRENT_NEURON ") -> (Tensor spikes, Tensor v_last, Tensor i_last, Tensor a_last)");
  SPIKEOPS_OP(recurrent_lif_backward,
              "recurrent_lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, Tensor? grad_i_last, Tensor? grad_a_last, "
              "Tensor spikes, " RECURRENT_NEURON ", int[] needs) -> (Tensor grad_x, Tensor grad_decay, Tensor grad_current_decay, "
              "Tensor grad_current_scale, Tensor grad_threshold, Tensor grad_adaptation_decay, Tensor grad_v_init, "
              "Tensor grad_i_init, Tensor grad_a_init, Tensor grad_s_init)");
}

}  // namespace spikeops
