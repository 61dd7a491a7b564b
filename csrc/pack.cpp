// Bit-packed spikes: bindings for every device.
#include "../kernels/math/pack.h"
#include "ops.h"

namespace spikeops {
namespace {

int64_t words_of(int64_t T) { return (T + kSpikesPerWord - 1) / kSpikesPerWord; }

Tensor pack_spikes(const Tensor& spikes) {
  Backend backend(spikes);
  const Sequence in(spikes);
  Tensor packed = in.empty_sequence(words_of(in.T), ScalarType::UInt16);
  backend.run(PackSpikes{{format_of("pack_spikes", spikes.scalar_type()), in.T, in.N, const_cast<void*>(read(in.tensor)), write(packed)}});
  return packed;
}

Tensor unpack_spikes(const Tensor& packed, int64_t T, ScalarType dtype) {
  Backend backend(packed);
  const Sequence in(packed);
  STD_TORCH_CHECK(packed.scalar_type() == ScalarType::UInt16 && in.T == words_of(T),
                  "unpack_spikes: expected packed to be uint16 words, one for each 16 of T = ", T, " time steps");
  Tensor spikes = in.empty_sequence(T, dtype);
  backend.run(UnpackSpikes{{format_of("unpack_spikes", dtype), T, in.N, write(spikes), const_cast<void*>(read(in.tensor))}});
  return spikes;
}

}  // namespace

SPIKEOPS_OPS(pack) {
  SPIKEOPS_OP(pack_spikes, "pack_spikes(Tensor spikes) -> Tensor");
  SPIKEOPS_OP(unpack_spikes, "unpack_spikes(Tensor packed, int T, ScalarType dtype) -> Tensor");
}

}  // namespace spikeops
