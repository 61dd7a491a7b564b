// Neurons that stop at their threshold: each thread reads its input once and keeps the state in registers. A loop of its
// own, not the walk's (walk.hpp): of the steps there is one input for all, and one count.
#include "../math/clamped.h"

#include "channel_sums.hpp"
#include "launch.h"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) clamped_forward_kernel(ClampedForward args, ClampedParams<State<Data>> p) {
  using S = State<Data>;
  const S* const thresholds = static_cast<const S*>(args.threshold);
  for_each_group<width>(args.N, [&](int64_t i) {
    const auto x = load<width>(static_cast<const Data*>(args.x) + i);
    Lanes<Data, width> count;
    Lanes<S, width> v;
    for_each_channel<width>(i, args.C, args.inner, [&](int l, int64_t channel) {
      const Clamped<S> s = clamped_run(S(to_state(x[l])), thresholds[channel], args.T, p);
      count[l] = from_state<Data>(s.count);
      v[l] = s.v;
    });
    store(static_cast<Data*>(args.count) + i, count);
    store(static_cast<S*>(args.v) + i, v);
  });
}

template <class Data>
__device__ __forceinline__ double product(const ClampedGradient& args, int64_t i) {
  using S = State<Data>;
  return double(static_cast<const S*>(args.grad_v)[i] * S(to_state(static_cast<const Data*>(args.count)[i])));
}

// A thread for each channel of a block of rows: neighbours read neighbours.
template <class Data>
__global__ void __launch_bounds__(kThreads) clamped_rows_kernel(ClampedGradient args, int64_t blocks) {
  for_each_group<1>(blocks * args.C, [&](int64_t position) {
    const int64_t block = position / args.C, c = position - block * args.C;
    const int64_t first = block * kClampedRows, left = args.outer - first, rows = left < kClampedRows ? left : kClampedRows;
    double sum = 0;
#pragma unroll 8
    for (int64_t row = first; row < first + rows; ++row) sum += product<Data>(args, row * args.C + c);
    args.partials[position] = sum;
  });
}

// A warp for each run of neurons of a channel.
template <class Data>
__global__ void __launch_bounds__(kThreads) clamped_runs_kernel(ClampedGradient args) {
  const int lane = threadIdx.x % kClampedLanes;
  const int64_t warp = (int64_t(blockIdx.x) * blockDim.x + threadIdx.x) / kClampedLanes;
  const int64_t warps = int64_t(gridDim.x) * blockDim.x / kClampedLanes;
  for (int64_t run = warp; run < args.outer * args.C; run += warps) {
    double lane_sum = 0;
#pragma unroll 8
    for (int64_t i = lane; i < args.inner; i += kClampedLanes) lane_sum += product<Data>(args, run * args.inner + i);
    double sum = 0;
    for (int l = 0; l < kClampedLanes; ++l) sum += __shfl_sync(0xffffffffu, lane_sum, l);
    if (lane == 0) args.partials[run] = sum;
  }
}

template <class S>
__global__ void __launch_bounds__(kThreads) clamped_thresholds_kernel(ClampedGradient args, int64_t blocks) {
  for_each_group<1>(args.C, [&](int64_t c) {
    double sum = 0;
#pragma unroll 8
    for (int64_t block = 0; block < blocks; ++block) sum += args.partials[block * args.C + c];
    static_cast<S*>(args.grad)[c] = S(clamped_threshold_gradient(sum, args.samples, args.gain, args.drift));
  });
}

}  // namespace

int clamped_partials(const ClampedPartials& args, void* stream) {
  static_assert(kClampedLanes == 32, "a lane of the order is a lane of a warp");
  const int64_t blocks = blocks_of(args);
  if (blocks * args.C == 0) return cudaSuccess;
  const dim3 grid(unsigned(blocks_for(blocks * args.C * (args.inner == 1 ? 1 : kClampedLanes))));
  const auto on = static_cast<cudaStream_t>(stream);
  return dispatch(args.dtype, [&](auto zero) {
    using Data = decltype(zero);
    return args.inner == 1 ? gpu::launch(clamped_rows_kernel<Data>, grid, dim3(kThreads), 0, on, args, blocks)
                           : gpu::launch(clamped_runs_kernel<Data>, grid, dim3(kThreads), 0, on, args);
  });
}

int clamped_thresholds(const ClampedThresholds& args, void* stream) {
  if (args.C == 0) return cudaSuccess;
  const dim3 grid(unsigned(blocks_for(args.C)));
  const auto on = static_cast<cudaStream_t>(stream);
  return args.dtype == DType::f64 ? gpu::launch(clamped_thresholds_kernel<double>, grid, dim3(kThreads), 0, on, args, blocks_of(args))
                                  : gpu::launch(clamped_thresholds_kernel<float>, grid, dim3(kThreads), 0, on, args, blocks_of(args));
}

int clamped_lif_forward(const ClampedForward& args, void* stream) {
  return dispatch(args.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(args.N, width, {args.x, args.count, args.v})
        .launch(stream, clamped_forward_kernel<Data, width>, clamped_forward_kernel<Data, 1>, args,
                clamped_params<State<Data>>(args));
  });
}

}  // namespace spikeops::cuda
