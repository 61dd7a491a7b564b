// Spike counts and bit-packed spikes: bindings for every device.
#pragma once

#include "../kernels/math/pack.h"
#include "common.h"

namespace spikeops {

inline bool is_integer(ScalarType dtype) {
  return dtype == ScalarType::Bool || dtype == ScalarType::Byte || dtype == ScalarType::Int || dtype == ScalarType::Long;
}

template <class Backend>
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

template <class Backend>
Tensor pack_spikes(const Tensor& spikes) {
  Backend backend(spikes);
  const Sequence in(spikes);
  Tensor packed = in.empty_sequence((in.T + kSpikesPerWord - 1) / kSpikesPerWord, ScalarType::UInt16);
  backend.run_pack(Pack{format_of("pack_spikes", spikes.scalar_type()), in.T, in.N, const_cast<void*>(read(in.tensor)), write(packed)});
  return packed;
}

template <class Backend>
Tensor unpack_spikes(const Tensor& packed, int64_t T, ScalarType dtype) {
  Backend backend(packed);
  const Sequence in(packed);
  STD_TORCH_CHECK(packed.scalar_type() == ScalarType::UInt16 && in.T == (T + kSpikesPerWord - 1) / kSpikesPerWord,
                  "unpack_spikes: expected packed to be uint16 words, one for each 16 of T = ", T, " time steps");
  Tensor spikes = in.empty_sequence(T, dtype);
  backend.run_unpack(Pack{format_of("unpack_spikes", dtype), T, in.N, write(spikes), const_cast<void*>(read(in.tensor))});
  return spikes;
}

}  // namespace spikeops
