// Spike counts of plain and of packed spikes.
#include "../math/count.h"

#include "grid.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) spike_count_kernel(SpikeCount args) {
  using Sum = typename Count<Data>::Sum;
  using Result = typename Count<Data>::Result;
  for_each_group<width>(args.N, [&](int64_t i) {
    auto sum = all_lanes<width>(Sum(0));
    for_each_step<width>(static_cast<const Data*>(args.spikes) + i, args.T, args.N,
                         [&](int64_t, int64_t, const Lanes<Data, width>& spikes) {
                           for (int l = 0; l < width; ++l) sum[l] += count_term(spikes[l]);
                         });
    Lanes<Result, width> count;
    for (int l = 0; l < width; ++l) count[l] = count_result<Data>(sum[l]);
    store(static_cast<Result*>(args.count) + i, count);
  });
}

template <int width>
__global__ void __launch_bounds__(kThreads) packed_spike_count_kernel(PackedCount args) {
  for_each_group<width>(args.N, [&](int64_t i) {
    auto count = all_lanes<width>(int32_t(0));
    for_each_step<width>(static_cast<const SpikeWord*>(args.packed) + i, args.words, args.N,
                         [&](int64_t, int64_t, const Lanes<SpikeWord, width>& words) {
                           for (int l = 0; l < width; ++l) count[l] += __popc(words[l]);
                         });
    store(args.count + i, count);
  });
}

}  // namespace

int spike_count(const SpikeCount& args, void* stream) {
  return dispatch(args.format, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(args.N, width, {args.spikes, args.count})
        .launch(stream, spike_count_kernel<Data, width>, spike_count_kernel<Data, 1>, args);
  });
}

int packed_spike_count(const PackedCount& args, void* stream) {
  constexpr int width = 16 / sizeof(SpikeWord);
  return Work(args.N, width, {args.packed, args.count})
      .launch(stream, packed_spike_count_kernel<width>, packed_spike_count_kernel<1>, args);
}

}  // namespace spikeops::cuda
