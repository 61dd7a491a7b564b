// Bindings of LIF neurons that keep bits for their backward pass, for every device.
#include "../kernels/math/lif_bits.h"
#include "lif_neuron.h"
#include "ops.h"

// As LIF_NEURON (lif.cpp):
//   numbers: decay, threshold, input_scale, reset_amount, v_reset, v_rest; of the surrogate scale, peak, center, a, b
//   modes: reset, strict, detach_reset, surrogate, in_thresholds, time_steps
// `bits` (lif_bytes(reset, T), ...) are uint8 in the layout of x. How many steps there are, and of which type, say the gradients.
#define LIF_BITS_OPTIONS "float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// Numbers of a call, and the layout of its tensors.
struct LifBitsCall {
  LifBitsCall(Sequence like, int64_t T, ScalarType dtype, const Tensor& data, const Numbers& n, const Modes& modes)
      : like(std::move(like)), dtype(dtype), state(state_type(data)), surrogate(int(modes[3])), in_thresholds(int(modes[4])),
        neuron(lif_neuron(dtype_of("lif", data), T, this->like.N, modes[5] > 0, n, modes)) {}

  // What the kernels were not compiled for would be worked out as something else.
  static void check(const Numbers& numbers, const Modes& modes) {
    STD_TORCH_CHECK(numbers.size() == 11 && modes.size() == 6, "lif_bits: expected 11 numbers and 6 modes (csrc/lif_bits.cpp)");
    const bool known = modes[0] >= 0 && modes[0] <= int(Reset::none) && is_lif_window(int(modes[3]));
    STD_TORCH_CHECK(known && (modes[0] != int(Reset::to) || modes[2] != 0),
                    "lif_bits: expected a surrogate of two values and, to reset to a value, a detached reset (csrc/lif_bits.cpp)");
  }

  int64_t bytes() const { return lif_bytes(static_cast<Reset>(neuron.reset), neuron.T); }

  Sequence like;
  ScalarType dtype, state;
  int surrogate, in_thresholds;
  LifNeuron neuron;
};

std::tuple<Tensor, Tensor, Tensor> lif_bits_forward(const Tensor& x, const OptionalTensor& v_init, const Numbers& n, const Modes& modes) {
  Backend backend(x);
  LifBitsCall::check(n, modes);
  const Sequence in = modes[5] > 0 ? Sequence::one_step(x, modes[5]) : Sequence(x);
  LifBitsCall call(in, in.T, x.scalar_type(), x, n, modes);
  OptionalTensor initial;
  if (v_init) initial = in.like_step(*v_init, call.state);
  call.neuron.x = read(in.tensor);
  call.neuron.v_init = read(initial);
  Tensor spikes = in.empty_sequence(), v_last = in.empty_step(call.state), bits = in.empty_sequence(call.bytes(), ScalarType::Byte);
  backend.run(LifBitsForward{call.neuron, call.surrogate, n[6], n[8], n[9], n[10], write(spikes), write(v_last), write(bits)});
  return {spikes, v_last, bits};
}

std::tuple<Tensor, Tensor> lif_bits_backward(const Tensor& grad_spikes, const OptionalTensor& grad_v_last, const Tensor& bits,
                                             const Numbers& n, const Modes& modes, bool need_v_init) {
  Backend backend(bits);
  LifBitsCall::check(n, modes);
  STD_TORCH_CHECK(grad_spikes.dim() >= 1, "lif_bits_backward: expected gradients (T, ...)");
  const LifBitsCall call(Sequence(bits), grad_spikes.size(0), grad_spikes.scalar_type(), grad_spikes, n, modes);
  const bool is_constant = modes[5] > 0;
  STD_TORCH_CHECK(bits.scalar_type() == ScalarType::Byte && call.like.T == call.bytes() && call.neuron.T > 0 &&
                      (!is_constant || modes[5] == call.neuron.T),
                  "lif_bits_backward: expected the bits (uint8) of as many time steps as there are gradients of, ", call.neuron.T);
  const Tensor spikes = call.like.like_sequence(grad_spikes, call.neuron.T, call.dtype);
  OptionalTensor v_last;
  if (grad_v_last) v_last = call.like.like_step(*grad_v_last, call.state);
  Tensor grad_x = is_constant ? call.like.empty_step(call.dtype) : call.like.empty_sequence(call.neuron.T, call.dtype);
  Tensor grad_v_init = need_v_init ? call.like.empty_step(call.state) : nothing(bits, call.state);
  const double outer = call.surrogate == int(SurrogateOfLif::step) ? n[9] : 0;
  backend.run(LifBitsBackward{call.neuron, call.surrogate, call.in_thresholds, n[7], n[8], outer, read(spikes), read(v_last),
                              read(call.like.tensor), write(grad_x), need_v_init ? write(grad_v_init) : nullptr});
  return {grad_x, grad_v_init};
}

}  // namespace

SPIKEOPS_OPS(lif_bits) {
  SPIKEOPS_OP(lif_bits_forward,
          "lif_bits_forward(Tensor x, Tensor? v_init, " LIF_BITS_OPTIONS ") -> (Tensor spikes, Tensor v_last, Tensor bits)");
  SPIKEOPS_OP(lif_bits_backward,
          "lif_bits_backward(Tensor grad_spikes, Tensor? grad_v_last, Tensor bits, " LIF_BITS_OPTIONS ", bool need_v_init)"
          " -> (Tensor grad_x, Tensor grad_v_init)");
}

}  // namespace spikeops
