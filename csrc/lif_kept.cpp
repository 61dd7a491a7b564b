// Bindings of LIF neurons that keep less than x for their backward pass, bits or rounded distances, for every device.
#include "../kernels/math/lif_bits.h"
#include "../kernels/math/lif_distances.h"
#include "lif_neuron.h"
#include "ops.h"

// As LIF_NEURON (lif.cpp):
//   numbers: decay, threshold, input_scale, reset_amount, v_reset, v_rest; of the surrogate scale, peak, center, a, b, c
//   modes: reset, strict, detach_reset, surrogate, in_thresholds, time_steps
// `bits` (lif_bytes(reset, T), ...) are uint8, `distances` (T, ...) bfloat16, in the layout of x. How many steps there are, and of which
// type, say the gradients.
#define LIF_KEPT_OPTIONS "float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// What is kept, and what the kernels were compiled for: else would be worked out as something else.
struct Bits {
  static constexpr ScalarType kType = ScalarType::Byte;
  static int64_t rows(const LifNeuron& n) { return lif_bytes(static_cast<Reset>(n.reset), n.T); }
  static void check(const char* op, const Modes& modes, DType) {
    STD_TORCH_CHECK(is_lif_window(int(modes[3])) && (modes[0] != int(Reset::to) || modes[2] != 0), op,
                    ": expected a surrogate of two values and, to reset to a value, a detached reset (csrc/lif_kept.cpp)");
  }
};

struct Distances {
  static constexpr ScalarType kType = ScalarType::BFloat16;
  static int64_t rows(const LifNeuron& n) { return n.T; }
  static void check(const char* op, const Modes& modes, DType dtype) {
    STD_TORCH_CHECK(is_of_distance(int(modes[3])) && (dtype == DType::f32 || dtype == DType::f64), op,
                    ": expected a surrogate that is a function of the distance from the threshold, and float32 or float64"
                    " (csrc/lif_kept.cpp)");
  }
};

// Numbers of a call, and the layout of its tensors. `like` are those of x, or of what is kept.
template <class Kept>
struct LifKeptCall {
  LifKeptCall(const char* op, Sequence like, int64_t T, const Tensor& data, const Numbers& n, const Modes& modes)
      : like(std::move(like)), dtype(data.scalar_type()), state(state_type(data)) {
    STD_TORCH_CHECK(n.size() == 12 && modes.size() == 6, op, ": expected 12 numbers and 6 modes (csrc/lif_kept.cpp)");
    STD_TORCH_CHECK(modes[0] >= 0 && modes[0] <= int(Reset::none), op, ": expected a reset that there is (csrc/lif_kept.cpp)");
    neuron = lif_neuron(dtype_of("lif", data), T, this->like.N, modes[5] > 0, n, modes);
    Kept::check(op, modes, neuron.dtype);
  }

  Sequence like;
  ScalarType dtype, state;
  LifNeuron neuron{};
};

// run(neuron, spikes, v_last, kept)
template <class Kept, class Run>
std::tuple<Tensor, Tensor, Tensor> forward(const char* op, const Tensor& x, const OptionalTensor& v_init, const Numbers& n,
                                           const Modes& modes, Run run) {
  STD_TORCH_CHECK(modes.size() == 6, op, ": expected 6 modes (csrc/lif_kept.cpp)");
  const Sequence in = modes[5] > 0 ? Sequence::one_step(x, modes[5]) : Sequence(x);
  LifKeptCall<Kept> call(op, in, in.T, x, n, modes);
  OptionalTensor initial;
  if (v_init) initial = in.like_step(*v_init, call.state);
  call.neuron.x = read(in.tensor);
  call.neuron.v_init = read(initial);
  Tensor spikes = in.empty_sequence(), v_last = in.empty_step(call.state), kept = in.empty_sequence(Kept::rows(call.neuron), Kept::kType);
  run(call.neuron, write(spikes), write(v_last), write(kept));
  return {spikes, v_last, kept};
}

// run(neuron, grad_spikes, grad_v_last, kept, grad_x, grad_v_init)
template <class Kept, class Run>
std::tuple<Tensor, Tensor> backward(const char* op, const Tensor& grad_spikes, const OptionalTensor& grad_v_last, const Tensor& kept,
                                    const Numbers& n, const Modes& modes, bool need_v_init, Run run) {
  STD_TORCH_CHECK(grad_spikes.dim() >= 1, op, ": expected gradients (T, ...)");
  const LifKeptCall<Kept> call(op, Sequence(kept), grad_spikes.size(0), grad_spikes, n, modes);
  const Sequence& like = call.like;
  const int64_t T = call.neuron.T;
  const bool is_constant = modes[5] > 0;
  STD_TORCH_CHECK(kept.scalar_type() == Kept::kType && like.T == Kept::rows(call.neuron) && T > 0 && (!is_constant || modes[5] == T), op,
                  ": expected what was kept of as many time steps as there are gradients of, ", T);
  const Tensor spikes = like.like_sequence(grad_spikes, T, call.dtype);
  OptionalTensor v_last;
  if (grad_v_last) v_last = like.like_step(*grad_v_last, call.state);
  Tensor grad_x = is_constant ? like.empty_step(call.dtype) : like.empty_sequence(T, call.dtype);
  Tensor grad_v_init = need_v_init ? like.empty_step(call.state) : nothing();
  run(call.neuron, read(spikes), read(v_last), read(like.tensor), write(grad_x), need_v_init ? write(grad_v_init) : nullptr);
  return {grad_x, grad_v_init};
}

std::tuple<Tensor, Tensor, Tensor> lif_bits_forward(const Tensor& x, const OptionalTensor& v_init, const Numbers& n, const Modes& modes) {
  Backend backend(x);
  return forward<Bits>("lif_bits_forward", x, v_init, n, modes, [&](const LifNeuron& neuron, void* spikes, void* v_last, void* bits) {
    backend.run(LifBitsForward{neuron, int(modes[3]), n[6], n[8], n[9], n[10], spikes, v_last, bits});
  });
}

std::tuple<Tensor, Tensor> lif_bits_backward(const Tensor& grad_spikes, const OptionalTensor& grad_v_last, const Tensor& bits,
                                             const Numbers& n, const Modes& modes, bool need_v_init) {
  Backend backend(bits);
  return backward<Bits>("lif_bits_backward", grad_spikes, grad_v_last, bits, n, modes, need_v_init,
                        [&](const LifNeuron& neuron, const void* grad, const void* grad_last, const void* kept, void* grad_x, void* grad_v) {
                          const double outer = modes[3] == int(SurrogateOfLif::step) ? n[9] : 0;
                          backend.run(LifBitsBackward{neuron, int(modes[3]), int(modes[4]), n[7], n[8], outer, grad, grad_last, kept,
                                                      grad_x, grad_v});
                        });
}

std::tuple<Tensor, Tensor, Tensor> lif_distances_forward(const Tensor& x, const OptionalTensor& v_init, const Numbers& n,
                                                         const Modes& modes) {
  Backend backend(x);
  return forward<Distances>("lif_distances_forward", x, v_init, n, modes,
                            [&](const LifNeuron& neuron, void* spikes, void* v_last, void* distances) {
                              backend.run(LifDistancesForward{neuron, spikes, v_last, distances});
                            });
}

std::tuple<Tensor, Tensor> lif_distances_backward(const Tensor& grad_spikes, const OptionalTensor& grad_v_last, const Tensor& distances,
                                                  const Numbers& n, const Modes& modes, bool need_v_init) {
  Backend backend(distances);
  return backward<Distances>(
      "lif_distances_backward", grad_spikes, grad_v_last, distances, n, modes, need_v_init,
      [&](const LifNeuron& neuron, const void* grad, const void* grad_last, const void* kept, void* grad_x, void* grad_v) {
        backend.run(LifDistancesBackward{neuron, int(modes[3]), int(modes[4]), n[6], n[7], n[8], n[9], n[10], n[11], grad, grad_last, kept,
                                         grad_x, grad_v});
      });
}

}  // namespace

SPIKEOPS_OPS(lif_kept) {
  SPIKEOPS_OP(lif_bits_forward,
          "lif_bits_forward(Tensor x, Tensor? v_init, " LIF_KEPT_OPTIONS ") -> (Tensor spikes, Tensor v_last, Tensor bits)");
  SPIKEOPS_OP(lif_bits_backward,
          "lif_bits_backward(Tensor grad_spikes, Tensor? grad_v_last, Tensor bits, " LIF_KEPT_OPTIONS ", bool need_v_init)"
          " -> (Tensor grad_x, Tensor grad_v_init)");
  SPIKEOPS_OP(lif_distances_forward,
          "lif_distances_forward(Tensor x, Tensor? v_init, " LIF_KEPT_OPTIONS ") -> (Tensor spikes, Tensor v_last, Tensor distances)");
  SPIKEOPS_OP(lif_distances_backward,
          "lif_distances_backward(Tensor grad_spikes, Tensor? grad_v_last, Tensor distances, " LIF_KEPT_OPTIONS ", bool need_v_init)"
          " -> (Tensor grad_x, Tensor grad_v_init)");
}

}  // namespace spikeops
