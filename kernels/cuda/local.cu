// Steps of layers that learn with a local classifier.
#include "../math/local.h"

#include "grid.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) local_encoder_step_kernel(LocalEncoderStep a, LocalParams<State<Data>> p) {
  using S = State<Data>;
  for_each_group<width>(a.N, [&](int64_t i) {
    auto membrane = load<width>(static_cast<const S*>(a.membrane) + i);
    const auto current = load<width>(static_cast<const Data*>(a.current) + i);
    auto trace = load_or<width>(a.trace, i, S(1));
    Lanes<Data, width> spikes, derivative;
    const auto slope = [&](S u) {
      return surrogate_derivative(a.neuron.surrogate, u - p.threshold, p.surrogate_scale, p.surrogate_peak);
    };
    for (int l = 0; l < width; ++l) {
      if (a.trace != nullptr) trace[l] = local_trace(trace[l], slope(membrane[l]), p.decay, p.threshold);
      membrane[l] = local_membrane(membrane[l], to_state(current[l]), p.decay, p.threshold);
      spikes[l] = spike_value<Data>(membrane[l] >= p.threshold);
      // Without a trace the factor is 1, which changes no bit.
      derivative[l] = from_state<Data>(slope(membrane[l]) * trace[l]);
    }
    store(static_cast<S*>(a.membrane) + i, membrane);
    store(static_cast<Data*>(a.spikes) + i, spikes);
    store(static_cast<Data*>(a.derivative) + i, derivative);
    if (a.trace != nullptr) store(static_cast<S*>(a.trace) + i, trace);
  });
}

// One thread per sample: a classifier has few neurons, and their squared errors are to be added up.
template <class Data>
__global__ void __launch_bounds__(kThreads)
    local_classifier_step_kernel(LocalClassifierStep a, LocalParams<State<Data>> p, State<Data> error_scale) {
  using S = State<Data>;
  for_each_group<1>(a.N, [&](int64_t sample) {
    const int64_t label = a.labels[sample];
    S squared = S(0);
    for (int64_t k = 0; k < a.K; ++k) {
      const int64_t i = sample * a.K + k;
      S* const membrane = static_cast<S*>(a.membrane) + i;
      const S u = local_membrane(*membrane, to_state(static_cast<const Data*>(a.current)[i]), p.decay, p.threshold);
      const S slope = surrogate_derivative(a.neuron.surrogate, u - p.threshold, p.surrogate_scale, p.surrogate_peak);
      const bool spike = u >= p.threshold;
      const S difference = local_difference<S>(spike, k == label);
      *membrane = u;
      static_cast<S*>(a.count)[i] += spike ? S(1) : S(0);
      squared += difference * difference;
      static_cast<Data*>(a.error)[i] = from_state<Data>(local_error(difference, slope, error_scale));
      if (a.derivative != nullptr) static_cast<Data*>(a.derivative)[i] = from_state<Data>(slope);
    }
    static_cast<S*>(a.squared_error)[sample] += squared;
  });
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

int local_encoder_step(const LocalEncoderStep& a, void* stream) {
  return dispatch(a.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(a.N, width, {a.membrane, a.spikes, a.derivative, a.current, a.trace})
        .launch(stream, local_encoder_step_kernel<Data, width>, local_encoder_step_kernel<Data, 1>, a,
                local_params<State<Data>>(a.neuron));
  });
}

int local_classifier_step(const LocalClassifierStep& a, void* stream) {
  return dispatch(a.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    return Work(a.N, 1, {}).launch(stream, local_classifier_step_kernel<Data>, local_classifier_step_kernel<Data>, a,
                                   local_params<S>(a.neuron), S(a.error_scale));
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
