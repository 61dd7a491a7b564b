// Sums, means and variances of channels.
#include <cmath>

#include "channel_sums.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

template <class Data>
__device__ __forceinline__ double first_of(const void* x, const Channels& c, int64_t channel) {
  return double(to_state(static_cast<const Data*>(x)[channel * c.inner]));
}

template <class Data>
struct DistanceTerms {
  const ChannelSums& a;
  __device__ __forceinline__ double of(int64_t channel) const { return first_of<Data>(a.x, a.channels, channel); }
  __device__ __forceinline__ void add(int64_t i, double from, double& first, double& second) const {
    const double distance = double(to_state(static_cast<const Data*>(a.x)[i])) - from;
    first += distance;
    second += distance * distance;
  }
};

template <class Data>
__global__ void __launch_bounds__(kThreads) channel_sums_of_rows_kernel(ChannelSums a) {
  sum_rows(DistanceTerms<Data>{a}, a.channels, a.partials);
}

template <class Data>
__global__ void __launch_bounds__(kThreads) channel_sums_of_runs_kernel(ChannelSums a) {
  sum_runs(DistanceTerms<Data>{a}, a.channels, a.partials);
}

template <class Data>
__global__ void __launch_bounds__(kThreads) channel_moments_kernel(ChannelMoments a) {
  using S = State<Data>;
  const Channels& c = a.channels;
  const int64_t blocks = blocks_of(c);
  for_each_warp(c.C, [&](int64_t channel, int lane) {
    const double distances = sum_of_blocks(a.partials, blocks, c.C, channel, lane);
    const double squares = sum_of_blocks(a.partials + blocks * c.C, blocks, c.C, channel, lane);
    if (lane != 0) return;
    const double first = blocks != 0 ? first_of<Data>(a.x, c, channel) : 0;
    const Moments m = moments_of_sums(first, distances, squares, double(c.rows * c.inner));
    static_cast<S*>(a.mean)[channel] = S(m.mean);
    static_cast<S*>(a.inv_std)[channel] = S(1 / sqrt(m.variance + a.eps));
    a.moments[channel] = m.mean;
    a.moments[c.C + channel] = m.variance;
  });
}

__global__ void __launch_bounds__(kThreads) channel_totals_kernel(ChannelTotals a) {
  const Channels& c = a.channels;
  const int64_t blocks = blocks_of(c);
  for_each_warp(c.C, [&](int64_t channel, int lane) {
    const double first = sum_of_blocks(a.partials, blocks, c.C, channel, lane);
    const double second = sum_of_blocks(a.partials + blocks * c.C, blocks, c.C, channel, lane);
    if (lane != 0) return;
    a.totals[channel] = first;
    a.totals[c.C + channel] =
        second * (a.is_double ? static_cast<const double*>(a.factor)[channel] : double(static_cast<const float*>(a.factor)[channel]));
  });
}

}  // namespace

int channel_sums(const ChannelSums& a, void* stream) {
  return dispatch(a.dtype, [&](auto zero) {
    using Data = decltype(zero);
    return launch_sums(stream, a.channels, channel_sums_of_rows_kernel<Data>, channel_sums_of_runs_kernel<Data>, a);
  });
}

int channel_moments(const ChannelMoments& a, void* stream) {
  if (a.channels.C == 0) return cudaSuccess;
  return dispatch(a.dtype, [&](auto zero) {
    return gpu::launch(channel_moments_kernel<decltype(zero)>, dim3(unsigned(blocks_for(a.channels.C * kChannelLanes))), dim3(kThreads), 0,
                       static_cast<cudaStream_t>(stream), a);
  });
}

int channel_totals(const ChannelTotals& a, void* stream) {
  if (a.channels.C == 0) return cudaSuccess;
  return gpu::launch(channel_totals_kernel, dim3(unsigned(blocks_for(a.channels.C * kChannelLanes))), dim3(kThreads), 0,
                     static_cast<cudaStream_t>(stream), a);
}

}  // namespace spikeops::cuda
