// Spike encoding bindings, for every device.
#include "../kernels/math/encode.h"
#include "ops.h"

namespace spikeops {
namespace {

Tensor poisson_encode(const Tensor& p, int64_t T, const Tensor& seed) {
  Backend backend(p);
  STD_TORCH_CHECK(seed.scalar_type() == ScalarType::Long && seed.numel() == 1 && seed.get_device() == p.get_device(),
                  "poisson_encode: expected seed to be an int64 tensor with one element on the device of p");
  const Sequence in = Sequence::one_step(p);
  Tensor spikes = in.empty_sequence(T, p.scalar_type());
  backend.run(PoissonEncode{dtype_of("poisson_encode", p), T, in.N, read(in.tensor), static_cast<const int64_t*>(read(seed)),
                            write(spikes)});
  return spikes;
}

Tensor latency_encode(const Tensor& p, int64_t T) {
  Backend backend(p);
  const Sequence in = Sequence::one_step(p);
  Tensor spikes = in.empty_sequence(T, p.scalar_type());
  backend.run(LatencyEncode{dtype_of("latency_encode", p), T, in.N, read(in.tensor), write(spikes)});
  return spikes;
}

}  // namespace

SPIKEOPS_OPS(encode) {
  SPIKEOPS_OP(poisson_encode, "poisson_encode(Tensor p, int T, Tensor seed) -> Tensor");
  SPIKEOPS_OP(latency_encode, "latency_encode(Tensor p, int T) -> Tensor");
}

}  // namespace spikeops
