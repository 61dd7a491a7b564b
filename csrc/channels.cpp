// Statistics of channels: binding for every device.
#include "channels.h"

#include "ops.h"

namespace spikeops {
namespace {

std::tuple<Tensor, Tensor, Tensor> channel_statistics(const Tensor& x, double eps) {
  Backend backend(x);
  const DType dtype = dtype_of("channel_statistics", x);
  STD_TORCH_CHECK(x.dim() >= 3, "channel_statistics: expected x (T, B, C, ...)");
  const Sequence in(x);
  const ChannelAxis axis(in);
  const Channels channels = axis.sums(in.T, kRowsOfSteps);
  const ScalarType state = state_type(x);
  const Tensor partials = empty_strided(x, {2 * blocks_of(channels) * axis.C}, {1}, ScalarType::Double);
  Tensor mean = empty_strided(x, {axis.C}, {1}, state), inv_std = empty_strided(x, {axis.C}, {1}, state);
  Tensor moments = empty_strided(x, {2, axis.C}, {axis.C, 1}, ScalarType::Double);
  double* const sums = static_cast<double*>(write(partials));
  backend.run(ChannelSums{dtype, channels, read(in.tensor), sums});
  backend.run(ChannelMoments{dtype, channels, eps, read(in.tensor), sums, write(mean), write(inv_std),
                             static_cast<double*>(write(moments))});
  return {mean, inv_std, moments};
}

}  // namespace

SPIKEOPS_OPS(channels) {
  // Of all but the channels. mean, inv_std (C) in the precision of the state; moments (2, C), float64: mean, variance.
  SPIKEOPS_OP(channel_statistics, "channel_statistics(Tensor x, float eps) -> (Tensor mean, Tensor inv_std, Tensor moments)");
}

}  // namespace spikeops
