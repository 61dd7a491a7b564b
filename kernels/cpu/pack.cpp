// Bit-packed spikes.
#include "../math/pack.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body(word index, bit, time step) for all time steps.
template <class Body>
inline void for_each_step(int64_t T, Body body) {
  for (int64_t t = 0; t < T; ++t) body(t / kSpikesPerWord, int(t % kSpikesPerWord), t);
}

}  // namespace

void pack_spikes(const PackSpikes& args, int64_t begin, int64_t end) {
  with_format(args.format, [&](auto data) {
    using Data = decltype(data);
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      for_each_step(args.T, [&](int64_t w, int bit, int64_t t) {
        const Data* __restrict spikes = static_cast<const Data*>(args.spikes) + t * args.N + n0;
        SpikeWord* __restrict words = static_cast<SpikeWord*>(args.packed) + w * args.N + n0;
        if (bit == 0)
          for (int64_t i = 0; i < n; ++i) words[i] = SpikeWord(is_spike(spikes[i]));
        else
          for (int64_t i = 0; i < n; ++i) words[i] = SpikeWord(words[i] | SpikeWord(is_spike(spikes[i])) << bit);
      });
    });
  });
}

void unpack_spikes(const UnpackSpikes& args, int64_t begin, int64_t end) {
  with_format(args.format, [&](auto data) {
    using Data = decltype(data);
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      for_each_step(args.T, [&](int64_t w, int bit, int64_t t) {
        Data* __restrict spikes = static_cast<Data*>(args.spikes) + t * args.N + n0;
        const SpikeWord* __restrict words = static_cast<const SpikeWord*>(args.packed) + w * args.N + n0;
        for (int64_t i = 0; i < n; ++i) spikes[i] = spike_value<Data>((words[i] >> bit) & 1u);
      });
    });
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
