// Neurons that stop at their threshold: binding for every device.
#include "../kernels/math/clamped.h"
#include "ops.h"

namespace spikeops {
namespace {

// numbers: dt, leak; what follows is for the backward pass alone.
std::tuple<Tensor, Tensor> clamped_lif_forward(const Tensor& x, const Tensor& threshold, const Numbers& numbers, int64_t T) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() >= 2 && threshold.dim() == 1 && threshold.size(0) == x.size(1) &&
                      threshold.get_device() == x.get_device() && numbers.size() == 4 && T >= 1,
                  "clamped_lif_forward: expected x (N, C, ...), threshold (C) on its device, 4 numbers and T of 1 or more");
  const Sequence in = Sequence::one_step(x);
  const ScalarType state = state_type(x);
  const int64_t C = x.size(1);
  const Tensor limits = as_layout(threshold, {C}, {1}, state);
  Tensor count = in.empty_step(x.scalar_type()), v = in.empty_step(state);
  // In dense memory the neurons of a channel lie as many apart as one step along its axis.
  const int64_t inner = C > 1 ? std::max<int64_t>(in.step_strides()[1], 1) : 1;
  backend.run(ClampedForward{dtype_of("clamped_lif_forward", x), T, in.N, std::max<int64_t>(C, 1), inner, numbers[0], numbers[1],
                             read(in.tensor), read(limits), write(count), write(v)});
  return {count, v};
}

Tensor clamped_lif_backward(const Tensor& grad_v, const Tensor& count, const Numbers& numbers) {
  Backend backend(count);
  STD_TORCH_CHECK(count.dim() >= 2 && sizes_of(grad_v) == sizes_of(count) && grad_v.get_device() == count.get_device() &&
                      numbers.size() == 4,
                  "clamped_lif_backward: expected grad_v and count (N, C, ...) of one shape on one device, and 4 numbers");
  const Sequence counts = Sequence::one_step(count);
  const ScalarType state = state_type(count);
  const Tensor gradient = counts.like_step(grad_v, state);
  const int64_t C = count.size(1), inner = C > 1 ? std::max<int64_t>(counts.step_strides()[1], 1) : 1;
  const int64_t outer = counts.N / std::max<int64_t>(C * inner, 1);
  Tensor grad = empty_strided(count, {C}, {1}, state);
  ClampedGradient args{dtype_of("clamped_lif_backward", count), outer, C, inner, count.size(0), numbers[2], numbers[3],
                       read(gradient), read(counts.tensor), nullptr, write(grad)};
  Tensor partials = empty_strided(count, {blocks_of(args) * C}, {1}, ScalarType::Double);
  args.partials = static_cast<double*>(write(partials));
  backend.run(ClampedPartials{args});
  backend.run(ClampedThresholds{args});
  return grad;
}

}  // namespace

SPIKEOPS_OPS(clamped) {
  // numbers: dt, leak, and for the backward pass threshold_gain, threshold_drift. The backward pass is that of the thresholds: the
  // gradient of x is that of v.
  SPIKEOPS_OP(clamped_lif_forward,
              "clamped_lif_forward(Tensor x, Tensor threshold, float[] numbers, int T) -> (Tensor count, Tensor v)");
  SPIKEOPS_OP(clamped_lif_backward, "clamped_lif_backward(Tensor grad_v, Tensor count, float[] numbers) -> Tensor grad_threshold");
}

}  // namespace spikeops
