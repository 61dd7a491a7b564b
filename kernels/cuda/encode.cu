// Poisson and latency encoding.
#include "../math/encode.h"

#include "grid.hpp"
#include "lanes.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

// One Philox call gives the random numbers of a neuron for this many time steps.
constexpr int64_t kStepsPerDraw = 4;

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) poisson_encode_kernel(PoissonEncode args, int64_t draws) {
  const uint64_t key = uint64_t(*args.seed);
  for_each_group<width>(draws * args.N, [&](int64_t position) {
    const int64_t draw = position / args.N, i = position % args.N;
    const auto p = load<width>(static_cast<const Data*>(args.p) + i);
    Lanes<Data, width> spikes[kStepsPerDraw];
    for (int l = 0; l < width; ++l) {
      const Philox4 random = philox(key, uint64_t(i + l), uint64_t(draw));
      const float probability = float(to_state(p[l]));
      for (int k = 0; k < kStepsPerDraw; ++k) spikes[k][l] = spike_value<Data>(uniform24(random.v[k]) < probability);
    }
    const int64_t t0 = draw * kStepsPerDraw;
    for (int k = 0; k < kStepsPerDraw; ++k)
      if (t0 + k < args.T) store(static_cast<Data*>(args.spikes) + (t0 + k) * args.N + i, spikes[k]);
  });
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) latency_encode_kernel(LatencyEncode args) {
  for_each_group<width>(args.N, [&](int64_t i) {
    const auto p = load<width>(static_cast<const Data*>(args.p) + i);
    Lanes<int64_t, width> when;
    for (int l = 0; l < width; ++l) when[l] = latency(to_state(p[l]), args.T);
    for (int64_t t = 0; t < args.T; ++t) {
      Lanes<Data, width> spikes;
      for (int l = 0; l < width; ++l) spikes[l] = spike_value<Data>(t == when[l]);
      Data* const to = static_cast<Data*>(args.spikes) + t * args.N + i;
      if constexpr (width > 1) store(global_address(to), spikes);  // whole, in what is left of the unrolled loop too
      else store(to, spikes);
    }
  });
}

}  // namespace

int poisson_encode(const PoissonEncode& args, void* stream) {
  return dispatch(args.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    const int64_t draws = (args.T + kStepsPerDraw - 1) / kStepsPerDraw;
    return Work(args.N, width, {args.p, args.spikes})
        .rows(draws)
        .launch(stream, poisson_encode_kernel<Data, width>, poisson_encode_kernel<Data, 1>, args, draws);
  });
}

int latency_encode(const LatencyEncode& args, void* stream) {
  return dispatch(args.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(args.N, width, {args.p, args.spikes})
        .launch(stream, latency_encode_kernel<Data, width>, latency_encode_kernel<Data, 1>, args);
  });
}

}  // namespace spikeops::cuda
