// Spike counts, of plain and of packed spikes: bindings for every device.
#include "../kernels/math/count.h"
#include "ops.h"

namespace spikeops {
namespace {

bool is_integer(ScalarType dtype) {
  return dtype == ScalarType::Bool || dtype == ScalarType::Byte || dtype == ScalarType::Int || dtype == ScalarType::Long;
}

Tensor spike_count(const Tensor& spikes) {
  Backend backend(spikes);
  const Sequence in(spikes);
  if (spikes.scalar_type() == ScalarType::UInt16) {
    Tensor count = in.empty_step(ScalarType::Int);
    backend.run(PackedCount{in.T, in.N, read(in.tensor), static_cast<int32_t*>(write(count))});
    return count;
  }
  Tensor count = in.empty_step(is_integer(spikes.scalar_type()) ? ScalarType::Int : spikes.scalar_type());
  backend.run(SpikeCount{format_of("spike_count", spikes.scalar_type()), in.T, in.N, read(in.tensor), write(count)});
  return count;
}

}  // namespace

SPIKEOPS_OPS(count) { SPIKEOPS_OP(spike_count, "spike_count(Tensor spikes) -> Tensor"); }

}  // namespace spikeops
