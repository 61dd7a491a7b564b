// Bit-packed spikes. Threads share the words of all neurons and time steps among them: no word depends on another.
#include "../math/pack.h"

#include "grid.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

// Time steps in word w of a sequence of T.
__device__ __forceinline__ int64_t steps_in_word(int64_t T, int64_t w) {
  const int64_t left = T - w * kSpikesPerWord;
  return left < kSpikesPerWord ? left : kSpikesPerWord;
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) pack_spikes_kernel(PackedSpikes args, int64_t words) {
  for_each_group<width>(words * args.N, [&](int64_t position) {
    const int64_t w = position / args.N, i = position % args.N;
    auto packed = all_lanes<width>(SpikeWord(0));
    for_each_step<width>(static_cast<const Data*>(args.spikes) + w * kSpikesPerWord * args.N + i, steps_in_word(args.T, w),
                         args.N, [&](int64_t bit, int64_t, const Lanes<Data, width>& spikes) {
                           for (int l = 0; l < width; ++l) packed[l] |= SpikeWord(is_spike(spikes[l]) << bit);
                         });
    store(static_cast<SpikeWord*>(args.packed) + position, packed);
  });
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) unpack_spikes_kernel(PackedSpikes args, int64_t words) {
  for_each_group<width>(words * args.N, [&](int64_t position) {
    const int64_t w = position / args.N, i = position % args.N;
    const auto packed = load<width>(static_cast<const SpikeWord*>(args.packed) + position);
    Data* const out = static_cast<Data*>(args.spikes) + w * kSpikesPerWord * args.N + i;
    const int64_t steps = steps_in_word(args.T, w);
#pragma unroll 4
    for (int64_t bit = 0; bit < steps; ++bit) {
      Lanes<Data, width> spikes;
      for (int l = 0; l < width; ++l) spikes[l] = spike_value<Data>(packed[l] >> bit & 1);
      store(out + bit * args.N, spikes);
    }
  });
}

int64_t words_of(int64_t T) { return (T + kSpikesPerWord - 1) / kSpikesPerWord; }

}  // namespace

int pack_spikes(const PackSpikes& args, void* stream) {
  return dispatch(args.format, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    const int64_t words = words_of(args.T);
    return Work(args.N, width, {args.spikes, args.packed})
        .rows(words)
        .launch(stream, pack_spikes_kernel<Data, width>, pack_spikes_kernel<Data, 1>, args, words);
  });
}

int unpack_spikes(const UnpackSpikes& args, void* stream) {
  return dispatch(args.format, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    const int64_t words = words_of(args.T);
    return Work(args.N, width, {args.spikes, args.packed})
        .rows(words)
        .launch(stream, unpack_spikes_kernel<Data, width>, unpack_spikes_kernel<Data, 1>, args, words);
  });
}

}  // namespace spikeops::cuda
