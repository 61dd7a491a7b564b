// Bindings of batch norm with LIF neurons behind it, for every device.
#include "../kernels/math/batch_norm_lif.h"

#include "channels.h"
#include "lif_neuron.h"
#include "ops.h"

// x (T, B, C, ...); mean, inv_std, weight, bias (C). As LIF_NEURON (lif.cpp):
//   numbers: decay, threshold, input_scale, reset_amount, v_reset, v_rest, surrogate_scale, surrogate_peak, eps, which only the
//     definition in Python reads
//   modes: reset, strict, detach_reset, surrogate, statistics
#define BATCH_NORM_LIF                                                                                                           \
  "Tensor x, Tensor mean, Tensor inv_std, Tensor? weight, Tensor? bias, Tensor? v_init, float[] numbers, int[] modes"

namespace spikeops {
namespace {

using Modes = std::vector<int64_t>;

// Batch norm of a sequence, and the tensors that must live as long as a call.
struct Norms {
  Norms(const char* op, const Sequence& x, const Tensor& mean, const Tensor& inv_std, const OptionalTensor& weight,
        const OptionalTensor& bias, Statistics statistics)
      : axis(x) {
    const ScalarType state = state_type(x.tensor);
    const Tensor* const given[] = {&mean, &inv_std, weight ? &*weight : nullptr, bias ? &*bias : nullptr};
    for (int k = 0; k < 4; ++k) {
      if (!given[k]) continue;
      STD_TORCH_CHECK(given[k]->dim() == 1 && given[k]->size(0) == axis.C && given[k]->get_device() == x.tensor.get_device(), op,
                      ": expected mean, inv_std, weight and bias (C) on the device of x");
      kept[k] = as_layout(*given[k], {axis.C}, {1}, state);
    }
    norm = {axis.C, axis.inner, int(statistics), read(kept[0]), read(kept[1]), read(kept[2]), read(kept[3])};
  }

  ChannelAxis axis;
  OptionalTensor kept[4];
  BatchNorm norm;
};

Sequence with_channels(const char* op, const Tensor& x) {
  STD_TORCH_CHECK(x.dim() >= 3, op, ": expected x (T, B, C, ...)");
  return Sequence(x);
}

struct BatchNormLifCall {
  BatchNormLifCall(const Tensor& input, const Tensor& mean, const Tensor& inv_std, const OptionalTensor& weight,
                   const OptionalTensor& bias, const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes)
      : x(checked(input, numbers, modes)), state(state_type(input)),
        norms("batch_norm_lif", x, mean, inv_std, weight, bias, static_cast<Statistics>(modes[4])) {
    if (v_init) initial = x.like_step(*v_init, state);
    neuron = lif_neuron(dtype_of("batch_norm_lif", input), x.T, x.N, false, numbers, modes);
    neuron.x = read(x.tensor);
    neuron.v_init = read(initial);
  }

  static Sequence checked(const Tensor& input, const Numbers& numbers, const Modes& modes) {
    STD_TORCH_CHECK(numbers.size() == 9 && modes.size() == 5 && modes[4] >= 0 && modes[4] <= 2,
                    "batch_norm_lif: expected 9 numbers and 5 modes (csrc/batch_norm_lif.cpp)");
    return with_channels("batch_norm_lif", input);
  }

  Sequence x;
  ScalarType state;
  Norms norms;
  OptionalTensor initial;
  LifNeuron neuron;
};

std::tuple<Tensor, Tensor> batch_norm_lif_forward(const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                                  const OptionalTensor& weight, const OptionalTensor& bias, const OptionalTensor& v_init,
                                                  const Numbers& numbers, const Modes& modes) {
  Backend backend(x);
  const BatchNormLifCall call(x, mean, inv_std, weight, bias, v_init, numbers, modes);
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state);
  backend.run(BatchNormLifForward{call.neuron, call.norms.norm, write(spikes), write(v_last)});
  return {spikes, v_last};
}

std::tuple<Tensor, Tensor, Tensor> batch_norm_lif_backward(const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last,
                                                           const Tensor& x, const Tensor& mean, const Tensor& inv_std,
                                                           const OptionalTensor& weight, const OptionalTensor& bias,
                                                           const OptionalTensor& v_init, const Numbers& numbers, const Modes& modes,
                                                           bool need_v_init) {
  Backend backend(x);
  const BatchNormLifCall call(x, mean, inv_std, weight, bias, v_init, numbers, modes);
  const ChannelAxis& axis = call.norms.axis;
  OptionalTensor of_spikes, of_v_last;
  if (grad_spikes) of_spikes = call.x.like_sequence(*grad_spikes);
  if (grad_v_last) of_v_last = call.x.like_step(*grad_v_last, call.state);
  const Channels channels = axis.sums(1, kRowsOfNeurons);
  const Tensor partials = empty_strided(x, {2 * blocks_of(channels) * axis.C}, {1}, ScalarType::Double);
  Tensor grad_x = call.x.empty_sequence(), sums = empty_strided(x, {2, axis.C}, {axis.C, 1}, ScalarType::Double);
  Tensor grad_v_init = need_v_init ? call.x.empty_step(call.state) : nothing();
  double* const parts = static_cast<double*>(write(partials));
  backend.run(BatchNormLifBackward{call.neuron, call.norms.norm, int(modes[3]), numbers[6], numbers[7], channels, read(of_spikes),
                                   read(of_v_last), write(grad_x), parts, need_v_init ? write(grad_v_init) : nullptr});
  backend.run(ChannelTotals{channels, parts, call.state == ScalarType::Double, call.norms.norm.inv_std,
                            static_cast<double*>(write(sums))});
  if (static_cast<Statistics>(modes[4]) == Statistics::own)
    backend.run(BatchNormBackward{call.neuron.dtype, call.x.T, call.x.N, call.norms.norm, double(call.x.T * axis.outer * axis.inner),
                                  static_cast<const double*>(read(sums)), read(grad_x), read(call.x.tensor), write(grad_x)});
  return {grad_x, sums, grad_v_init};
}

Tensor batch_norm_backward(const Tensor& grad_y, const Tensor& x, const Tensor& mean, const Tensor& inv_std, const OptionalTensor& weight,
                           const Tensor& means) {
  Backend backend(x);
  const Sequence in = with_channels("batch_norm_backward", x);
  const Norms norms("batch_norm_backward", in, mean, inv_std, weight, std::nullopt, Statistics::gathered);
  STD_TORCH_CHECK(means.scalar_type() == ScalarType::Double && sizes_of(means) == Dims({2, norms.axis.C}) &&
                      means.get_device() == x.get_device(),
                  "batch_norm_backward: expected means (2, C), float64, on the device of x");
  const Tensor gradient = in.like_sequence(grad_y), of_channels = as_layout(means, sizes_of(means), {norms.axis.C, 1}, ScalarType::Double);
  Tensor grad_x = in.empty_sequence();
  backend.run(BatchNormBackward{dtype_of("batch_norm_backward", x), in.T, in.N, norms.norm, 1.0,
                                static_cast<const double*>(read(of_channels)), read(gradient), read(in.tensor), write(grad_x)});
  return grad_x;
}

}  // namespace

SPIKEOPS_OPS(batch_norm_lif) {
  SPIKEOPS_OP(batch_norm_lif_forward, "batch_norm_lif_forward(" BATCH_NORM_LIF ") -> (Tensor spikes, Tensor v_last)");
  // sums (2, C), float64: of the gradient of what is normalised, and of its product with (x - mean) * inv_std: the gradients of bias
  // and weight. With gathered statistics grad_x is the gradient of what is normalised.
  SPIKEOPS_OP(batch_norm_lif_backward,
              "batch_norm_lif_backward(Tensor? grad_spikes, Tensor? grad_v_last, " BATCH_NORM_LIF ", bool need_v_init)"
              " -> (Tensor grad_x, Tensor sums, Tensor grad_v_init)");
  // The gradient of x through gathered statistics; means (2, C), float64: those sums over all numbers, divided by how many.
  SPIKEOPS_OP(batch_norm_backward,
              "batch_norm_backward(Tensor grad_y, Tensor x, Tensor mean, Tensor inv_std, Tensor? weight, Tensor means) -> Tensor grad_x");
}

}  // namespace spikeops
