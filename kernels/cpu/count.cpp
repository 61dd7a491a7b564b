// Spike counts of plain and of packed spikes.
#include "../math/count.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {

void spike_count(const SpikeCount& args, int64_t begin, int64_t end) {
  with_format(args.format, [&](auto data) {
    using Data = decltype(data);
    using Sum = typename Count<Data>::Sum;
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      alignas(64) Sum sum[kTile];
      for (int64_t i = 0; i < n; ++i) sum[i] = Sum(0);
      for (int64_t t = 0; t < args.T; ++t) {
        const Data* __restrict spikes = static_cast<const Data*>(args.spikes) + t * args.N + n0;
        for (int64_t i = 0; i < n; ++i) sum[i] += count_term(spikes[i]);
      }
      auto* __restrict count = static_cast<typename Count<Data>::Result*>(args.count) + n0;
      for (int64_t i = 0; i < n; ++i) count[i] = count_result<Data>(sum[i]);
    });
  });
}

void packed_spike_count(const PackedCount& args, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) args.count[i] = 0;
  for (int64_t w = 0; w < args.words; ++w) {
    const SpikeWord* __restrict words = static_cast<const SpikeWord*>(args.packed) + w * args.N;
    for (int64_t i = begin; i < end; ++i) args.count[i] += __builtin_popcount(words[i]);
  }
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
