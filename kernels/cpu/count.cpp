// Spike counts of plain and of packed spikes.
#include "../math/pack.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Integers are summed as int32, floating numbers in the precision of the state.
template <class Data> struct Sum { using acc = State<Data>; using out = Data; };
template <> struct Sum<uint8_t> { using acc = int32_t; using out = int32_t; };
template <> struct Sum<int32_t> { using acc = int32_t; using out = int32_t; };
template <> struct Sum<int64_t> { using acc = int32_t; using out = int32_t; };

SPIKEOPS_HD int32_t value(uint8_t x) { return x; }
SPIKEOPS_HD int32_t value(int32_t x) { return x; }
SPIKEOPS_HD int32_t value(int64_t x) { return int32_t(x); }
template <class Data> SPIKEOPS_HD State<Data> value(Data x) { return to_state(x); }

SPIKEOPS_HD void store(int32_t& out, int32_t sum) { out = sum; }
template <class Data> SPIKEOPS_HD void store(Data& out, State<Data> sum) { out = from_state<Data>(sum); }

}  // namespace

void spike_count(const SpikeCount& args, int64_t begin, int64_t end) {
  with_format(args.format, [&](auto data) {
    using Data = decltype(data);
    using Acc = typename Sum<Data>::acc;
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      alignas(64) Acc sum[kTile];
      for (int64_t i = 0; i < n; ++i) sum[i] = Acc(0);
      for (int64_t t = 0; t < args.T; ++t) {
        const Data* __restrict spikes = static_cast<const Data*>(args.spikes) + t * args.N + n0;
        for (int64_t i = 0; i < n; ++i) sum[i] += value(spikes[i]);
      }
      auto* __restrict count = static_cast<typename Sum<Data>::out*>(args.count) + n0;
      for (int64_t i = 0; i < n; ++i) store(count[i], sum[i]);
    });
  });
}

void packed_count(const PackedCount& args, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) args.count[i] = 0;
  for (int64_t w = 0; w < args.words; ++w) {
    const SpikeWord* __restrict words = static_cast<const SpikeWord*>(args.packed) + w * args.N;
    for (int64_t i = begin; i < end; ++i) args.count[i] += __builtin_popcount(words[i]);
  }
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
