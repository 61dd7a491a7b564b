// Steps of layers that learn with a local classifier.
#include "../math/local.h"

#include "grid.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

constexpr int kSampleThreads = 256;
constexpr int kWarps = kSampleThreads / kLocalLanes;

static_assert(kLocalLanes == 32, "a lane of a classifier's sum is a lane of a warp");

// A block per sample: all threads take a step with its units, then each warp with some of its classes, then all threads bring the
// errors back.
template <class Data>
__global__ void __launch_bounds__(kSampleThreads) local_learning_step_kernel(LocalLearningStep a, LocalParams<State<Data>> p) {
  using S = State<Data>;
  __shared__ S squared_errors[kWarps];
  const int lane = threadIdx.x % kLocalLanes, warp = threadIdx.x / kLocalLanes;
  const auto slope = [&](S u) {
    return surrogate_derivative(a.surrogate, u - p.threshold, p.surrogate_scale, p.surrogate_peak);
  };
  for (int64_t sample = blockIdx.x; sample < a.N; sample += gridDim.x) {
    const int64_t first = sample * a.U;
    Data* const spikes = static_cast<Data*>(a.spikes) + first;
    Data* const derivative = static_cast<Data*>(a.derivative) + first;
    for (int64_t u = threadIdx.x; u < a.U; u += kSampleThreads) {
      S* const kept = static_cast<S*>(a.membrane) + first + u;
      const S before = *kept;
      const S membrane = local_membrane(before, to_state(static_cast<const Data*>(a.current)[first + u]), p.decay, p.threshold);
      S effect = slope(membrane);
      if (a.trace != nullptr) {
        S* const trace = static_cast<S*>(a.trace) + first + u;
        *trace = local_trace(*trace, slope(before), p.decay, p.threshold);
        effect = effect * *trace;
      }
      *kept = membrane;
      spikes[u] = spike_value<Data>(membrane >= p.threshold);
      derivative[u] = from_state<Data>(effect);
    }
    __syncthreads();

    const int64_t label = a.labels[sample];
    S squared = S(0);
    for (int64_t k = warp; k < a.K; k += kWarps) {
      const Data* const weight = static_cast<const Data*>(a.weight) + k * a.U;
      S current = S(0);
#pragma unroll 8
      for (int64_t u = lane; u < a.U; u += kLocalLanes)
        current = local_add_weight(current, to_state(spikes[u]), to_state(weight[u]));
      for (int distance = kLocalLanes / 2; distance > 0; distance /= 2) current += __shfl_xor_sync(0xffffffffu, current, distance);
      if (lane == 0) {
        const int64_t i = sample * a.K + k;
        S* const kept = static_cast<S*>(a.class_membrane) + i;
        const S membrane = local_membrane(*kept, current, p.decay, p.threshold);
        const bool spike = membrane >= p.threshold;
        const S effect = slope(membrane), difference = local_difference<S>(spike, k == label);
        *kept = membrane;
        static_cast<S*>(a.count)[i] += spike ? S(1) : S(0);
        squared += difference * difference;
        static_cast<Data*>(a.error)[i] = from_state<Data>(local_error(difference, effect, p.error_scale));
        if (a.class_derivative != nullptr) static_cast<Data*>(a.class_derivative)[i] = from_state<Data>(effect);
      }
    }
    if (lane == 0) squared_errors[warp] = squared;
    __syncthreads();

    if (threadIdx.x == 0) {
      // Whole numbers, exact in any order of addition.
      squared = squared_errors[0];
      for (int w = 1; w < kWarps; ++w) squared += squared_errors[w];
      static_cast<S*>(a.squared_error)[sample] += squared;
    }
    const Data* const error = static_cast<const Data*>(a.error) + sample * a.K;
    for (int64_t u = threadIdx.x; u < a.U; u += kSampleThreads) {
      S sum = S(0);
      const Data* const feedback = static_cast<const Data*>(a.feedback) + u;
#pragma unroll 4
      for (int64_t k = 0; k < a.K; ++k) sum = local_add_error(sum, to_state(error[k]), to_state(feedback[k * a.U]));
      static_cast<Data*>(a.gradient)[first + u] = from_state<Data>(sum * to_state(derivative[u]));
    }
  }
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
    return gpu::launch(local_learning_step_kernel<Data>, dim3(unsigned(a.N < kMaxBlocks ? a.N : kMaxBlocks)), dim3(kSampleThreads),
                       0, static_cast<cudaStream_t>(stream), a, local_params<State<Data>>(a));
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
