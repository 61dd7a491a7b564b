// Steps of layers that learn with a local classifier: three launches, for units, classes and the errors' way back, each of which
// spreads over the whole device.
#include "../math/local.h"

#include "grid.hpp"
#include "kinds.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

// Rows of a classifier's matrix that a thread has on their way at once: of kLocalLanes units each, and of all units.
constexpr int kRowsAhead = 8, kClassesAhead = 4;
constexpr int kSampleThreads = 128;
constexpr int64_t kMaxSamples = 4096;  // rows of blocks; beyond, a row takes several samples

static_assert(kLocalLanes == 32, "the lanes of a classifier's sum are those of a warp");

// The units of all samples: neighbours to each thread.
template <class Data, int width>
__global__ void __launch_bounds__(kThreads) local_units_kernel(LocalLearningStep a, LocalParams<State<Data>> p) {
  using S = State<Data>;
  for_each_group<width>(a.N * a.U, [&](int64_t i) {
    S* const trace_of = a.trace == nullptr ? nullptr : static_cast<S*>(a.trace) + i;
    const Lanes<Data, width> current = load<width>(static_cast<const Data*>(a.current) + i);
    const Lanes<S, width> before = load<width>(static_cast<const S*>(a.membrane) + i);
    Lanes<S, width> trace = load_or<width>(trace_of, 0, S(0)), membrane, effect;
    Lanes<Data, width> spikes, derivative;
    for (int l = 0; l < width; ++l) {
      membrane[l] = local_membrane(before[l], to_state(current[l]), p.decay, p.threshold);
      spikes[l] = spike_value<Data>(membrane[l] >= p.threshold);
    }
    with_surrogate(a.surrogate, [&](auto kind) {
      const auto slope = [&](S u) {
        return surrogate_derivative<decltype(kind)::value>(u - p.threshold, p.surrogate_scale, p.surrogate_peak);
      };
      for (int l = 0; l < width; ++l) effect[l] = slope(membrane[l]);
      if (trace_of == nullptr) return;
      for (int l = 0; l < width; ++l) {
        trace[l] = local_trace(trace[l], slope(before[l]), p.decay, p.threshold);
        effect[l] = effect[l] * trace[l];
      }
    });
    for (int l = 0; l < width; ++l) derivative[l] = from_state<Data>(effect[l]);
    store(static_cast<S*>(a.membrane) + i, membrane);
    store(static_cast<Data*>(a.spikes) + i, spikes);
    store(static_cast<Data*>(a.derivative) + i, derivative);
    if (trace_of != nullptr) store(trace_of, trace);
  });
}

// The classifiers: a warp takes `width` classes of one sample, and kLocalLanes / width threads each of them. A thread has `width`
// neighbouring lanes of the class's sum.
template <class Data, int width>
__global__ void __launch_bounds__(kSampleThreads) local_classes_kernel(LocalLearningStep a, LocalParams<State<Data>> p) {
  using S = State<Data>;
  constexpr int kClassThreads = kLocalLanes / width;
  const int lane = threadIdx.x % kLocalLanes;
  const int64_t warp = (int64_t(blockIdx.x) * kSampleThreads + threadIdx.x) / kLocalLanes;
  const int64_t k = warp * width + lane / kClassThreads;
  const bool exists = k < a.K;
  const int64_t first = lane % kClassThreads * width;
  const Data* const __restrict__ weight = static_cast<const Data*>(a.weight) + k * a.U;
  for (int64_t sample = blockIdx.y; sample < a.N; sample += gridDim.y) {
    const Data* const __restrict__ spikes = static_cast<const Data*>(a.spikes) + sample * a.U;
    Lanes<S, width> sum = all_lanes<width>(S(0));
#pragma unroll 1
    for (int64_t u = exists ? first : a.U; u < a.U; u += kRowsAhead * kLocalLanes) {
      const int64_t left = (a.U - u + kLocalLanes - 1) / kLocalLanes;
      const int rows = left < kRowsAhead ? int(left) : kRowsAhead;
      Lanes<Data, width> fired[kRowsAhead], weights[kRowsAhead];
#pragma unroll
      for (int r = 0; r < kRowsAhead; ++r) {
        if (r >= rows) continue;
        fired[r] = load<width>(spikes + u + r * kLocalLanes);
        weights[r] = load<width>(weight + u + r * kLocalLanes);
      }
#pragma unroll
      for (int r = 0; r < kRowsAhead; ++r)
        if (r < rows)
          for (int l = 0; l < width; ++l) sum[l] = local_add_weight(sum[l], to_state(fired[r][l]), to_state(weights[r][l]));
    }
    for (int distance = kClassThreads / 2; distance > 0; distance /= 2)
      for (int l = 0; l < width; ++l) sum[l] += __shfl_xor_sync(0xffffffffu, sum[l], distance);
    for (int distance = width / 2; distance > 0; distance /= 2)
      for (int l = 0; l < distance; ++l) sum[l] += sum[l + distance];
    if (!exists || first != 0) continue;
    const int64_t i = sample * a.K + k;
    S* const kept = static_cast<S*>(a.class_membrane) + i;
    const S membrane = local_membrane(*kept, sum[0], p.decay, p.threshold);
    const bool spike = membrane >= p.threshold;
    const S effect = surrogate_derivative(a.surrogate, membrane - p.threshold, p.surrogate_scale, p.surrogate_peak);
    const S difference = local_difference<S>(spike, k == a.labels[sample]);
    *kept = membrane;
    static_cast<S*>(a.count)[i] += spike ? S(1) : S(0);
    static_cast<Data*>(a.error)[i] = from_state<Data>(local_error(difference, effect, p.error_scale));
    if (a.class_derivative != nullptr) static_cast<Data*>(a.class_derivative)[i] = from_state<Data>(effect);
  }
}

// The squared error of a sample, by one warp: whole numbers, exact in any order of addition.
template <class S>
__device__ __forceinline__ void add_squared_error(const LocalLearningStep& a, S threshold, int64_t sample) {
  S squared = S(0);
#pragma unroll 1
  for (int64_t k = threadIdx.x; k < a.K; k += kLocalLanes) {
    const bool spike = static_cast<const S*>(a.class_membrane)[sample * a.K + k] >= threshold;
    const S difference = local_difference<S>(spike, k == a.labels[sample]);
    squared += difference * difference;
  }
  for (int distance = kLocalLanes / 2; distance > 0; distance /= 2) squared += __shfl_xor_sync(0xffffffffu, squared, distance);
  if (threadIdx.x == 0) static_cast<S*>(a.squared_error)[sample] += squared;
}

// The errors' way back: a row of blocks per sample. The derivative may lie where the gradient is to lie.
template <class Data, int width>
__global__ void __launch_bounds__(kSampleThreads) local_feedback_kernel(LocalLearningStep a, LocalParams<State<Data>> p) {
  using S = State<Data>;
  const int64_t stride = int64_t(gridDim.x) * kSampleThreads * width;
  for (int64_t sample = blockIdx.y; sample < a.N; sample += gridDim.y) {
    if (blockIdx.x == 0 && threadIdx.x < kLocalLanes) add_squared_error(a, p.threshold, sample);
    const Data* const __restrict__ error = static_cast<const Data*>(a.error) + sample * a.K;
    for (int64_t u = (int64_t(blockIdx.x) * kSampleThreads + threadIdx.x) * width; u < a.U; u += stride) {
      const Data* const __restrict__ feedback = static_cast<const Data*>(a.feedback) + u;
      // The mask changes nothing: it tells nvcc that this is a multiple of `width`, without which it stores number by number.
      Data* const out = static_cast<Data*>(a.gradient) + ((sample * a.U + u) & ~int64_t(width - 1));
      const Lanes<Data, width> derivative = load<width>(static_cast<const Data*>(a.derivative) + sample * a.U + u);
      Lanes<S, width> sum = all_lanes<width>(S(0));
#pragma unroll 1
      for (int64_t k0 = 0; k0 < a.K; k0 += kClassesAhead) {
        S errors[kClassesAhead];
        Lanes<Data, width> rows[kClassesAhead];
#pragma unroll
        for (int c = 0; c < kClassesAhead; ++c) errors[c] = k0 + c < a.K ? to_state(error[k0 + c]) : S(0);
#pragma unroll
        for (int c = 0; c < kClassesAhead; ++c)  // most classes have no error
          if (errors[c] != S(0)) rows[c] = load<width>(feedback + (k0 + c) * a.U);
#pragma unroll
        for (int c = 0; c < kClassesAhead; ++c)
          if (errors[c] != S(0))
            for (int l = 0; l < width; ++l) sum[l] = local_add_error(sum[l], errors[c], to_state(rows[c][l]));
      }
      Lanes<Data, width> gradient;
      for (int l = 0; l < width; ++l) gradient[l] = from_state<Data>(sum[l] * to_state(derivative[l]));
      store(out, gradient);
    }
  }
}

// A row of blocks for `threads` threads per sample.
inline dim3 sample_grid(const LocalLearningStep& a, int64_t threads) {
  const int64_t blocks = (threads + kSampleThreads - 1) / kSampleThreads;
  return dim3(unsigned(blocks < 1 ? 1 : blocks < kMaxBlocks ? blocks : kMaxBlocks), unsigned(a.N < kMaxSamples ? a.N : kMaxSamples));
}

template <int width, class Data>
int classes_and_feedback(const LocalLearningStep& a, const LocalParams<State<Data>>& p, cudaStream_t stream) {
  const dim3 block(kSampleThreads);
  const dim3 classes = sample_grid(a, (a.K + width - 1) / width * kLocalLanes), units = sample_grid(a, (a.U + width - 1) / width);
  if (const int failed = gpu::launch(local_classes_kernel<Data, width>, classes, block, 0, stream, a, p)) return failed;
  return gpu::launch(local_feedback_kernel<Data, width>, units, block, 0, stream, a, p);
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads)
    local_gradient_in_time_kernel(LocalGradientInTime a, State<Data> decay, State<Data> threshold) {
  using S = State<Data>;
  for_each_group<width>(a.N, [&](int64_t i) {
    const auto last = load<width>(static_cast<const Data*>(a.gradient) + i);
    Data* const out = static_cast<Data*>(a.gradients) + i;
    store(out + a.T * a.N, last);
    Lanes<S, width> gradient;
    for (int l = 0; l < width; ++l) gradient[l] = to_state(last[l]);
    for_each_step<width, Direction::backward>(static_cast<const Data*>(a.derivatives) + i, a.T, a.N,
                                              [&](int64_t, int64_t offset, const Lanes<Data, width>& derivative) {
                                                Lanes<Data, width> row;
                                                for (int l = 0; l < width; ++l) {
                                                  gradient[l] =
                                                      gradient[l] * local_chain(to_state(derivative[l]), decay, threshold);
                                                  row[l] = from_state<Data>(gradient[l]);
                                                }
                                                store(out + offset, row);
                                              });
  });
}

}  // namespace

int local_learning_step(const LocalLearningStep& a, void* stream) {
  if (a.N == 0) return cudaSuccess;
  return dispatch(a.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    const auto p = local_params<State<Data>>(a);
    const Work units(a.N * a.U, width, {a.current, a.membrane, a.trace, a.spikes, a.derivative});
    if (const int failed = units.launch(stream, local_units_kernel<Data, width>, local_units_kernel<Data, 1>, a, p)) return failed;
    const auto on = static_cast<cudaStream_t>(stream);
    return Work(a.U, width, {a.spikes, a.weight, a.feedback, a.derivative, a.gradient}).is_wide()
               ? classes_and_feedback<width, Data>(a, p, on)
               : classes_and_feedback<1, Data>(a, p, on);
  });
}

int local_gradient_in_time(const LocalGradientInTime& a, void* stream) {
  return dispatch(a.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    constexpr int width = 16 / sizeof(Data);
    return Work(a.N, width, {a.gradient, a.derivatives, a.gradients})
        .launch(stream, local_gradient_in_time_kernel<Data, width>, local_gradient_in_time_kernel<Data, 1>, a, S(a.decay),
                S(a.threshold));
  });
}

}  // namespace spikeops::cuda
