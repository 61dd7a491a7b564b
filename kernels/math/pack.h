// Bit-packed spikes: time step t of a neuron is bit t % 16 of its word t / 16.
#pragma once

#include "base.h"

namespace spikeops {

using SpikeWord = uint16_t;
constexpr int kSpikesPerWord = 16;

template <class Data> SPIKEOPS_HD bool is_spike(Data x) { return to_state(x) != 0; }

template <class S> SPIKEOPS_HD S unpack_bit(SpikeWord word, int bit) { return (word >> bit) & 1u ? S(1) : S(0); }

}  // namespace spikeops
