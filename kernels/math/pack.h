// Bit-packed spikes: time step t of a neuron is bit t % 16 of its word t / 16.
#pragma once

#include "args.h"

namespace spikeops {

using SpikeWord = uint16_t;
constexpr int kSpikesPerWord = 16;

// Spikes may be stored as integers too.
template <class Data> struct IsInteger { static constexpr bool value = false; };
template <> struct IsInteger<uint8_t> { static constexpr bool value = true; };
template <> struct IsInteger<int32_t> { static constexpr bool value = true; };
template <> struct IsInteger<int64_t> { static constexpr bool value = true; };

template <class Data>
SPIKEOPS_HD bool is_spike(Data x) {
  if constexpr (IsInteger<Data>::value) return x != 0;
  else return to_state(x) != 0;
}

struct PackedSpikes {
  SpikeFormat format;
  int64_t T, N;
  void* spikes;             // (T, N): nonzero is a spike
  void* packed;             // (ceil(T / kSpikesPerWord), N) SpikeWord
};

struct PackSpikes : PackedSpikes {};    // reads spikes
struct UnpackSpikes : PackedSpikes {};  // reads packed

}  // namespace spikeops
