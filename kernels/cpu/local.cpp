// Steps of layers that learn with a local classifier.
#include "../math/local.h"

#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <Surrogate kind, class S>
void surrogate_row(const S* __restrict membrane, S threshold, S scale, S peak, S* __restrict derivative, int64_t n) {
  for (int64_t i = 0; i < n; ++i) derivative[i] = surrogate_derivative<kind>(membrane[i] - threshold, scale, peak);
}

template <class S>
using SurrogateRow = void (*)(const S*, S, S, S, S*, int64_t);

template <class S>
SurrogateRow<S> surrogate_row_for(int surrogate) {
  switch (static_cast<Surrogate>(surrogate)) {
    case Surrogate::atan: return surrogate_row<Surrogate::atan, S>;
    case Surrogate::sigmoid: return surrogate_row<Surrogate::sigmoid, S>;
    case Surrogate::exponential: return surrogate_row<Surrogate::exponential, S>;
    case Surrogate::fast_sigmoid: return surrogate_row<Surrogate::fast_sigmoid, S>;
    case Surrogate::triangle: return surrogate_row<Surrogate::triangle, S>;
    case Surrogate::rectangle: return surrogate_row<Surrogate::rectangle, S>;
    default: return surrogate_row<Surrogate::gaussian, S>;
  }
}

template <class Data, class S>
inline void membrane_row(const Data* __restrict current, S decay, S threshold, S* __restrict membrane, int64_t n) {
  for (int64_t i = 0; i < n; ++i) membrane[i] = local_membrane(membrane[i], to_state(current[i]), decay, threshold);
}

template <class S>
inline void trace_row(const S* __restrict derivative, S decay, S threshold, S* __restrict trace, int64_t n) {
  for (int64_t i = 0; i < n; ++i) trace[i] = local_trace(trace[i], derivative[i], decay, threshold);
}

template <class Data, class S>
inline void spike_row(const S* __restrict membrane, S threshold, Data* __restrict spikes, int64_t n) {
  for (int64_t i = 0; i < n; ++i) spikes[i] = spike_value<Data>(membrane[i] >= threshold);
}

template <class Data, class S>
inline void product_row(const S* __restrict a, const S* __restrict b, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_state<Data>(a[i] * b[i]);
}

template <class Data, class S>
inline void data_row(const S* __restrict in, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_state<Data>(in[i]);
}

// A tile goes through all rows while it lies in L1, so that memory is passed over once.
template <class Data>
void encoder_step(const LocalEncoderStep& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const LocalParams<S> p = local_params<S>(a.neuron);
  const SurrogateRow<S> surrogate = surrogate_row_for<S>(a.neuron.surrogate);
  alignas(64) S derivative[kTile];
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    S* membrane = static_cast<S*>(a.membrane) + n0;
    S* trace = a.trace ? static_cast<S*>(a.trace) + n0 : nullptr;
    if (trace) {
      surrogate(membrane, p.threshold, p.surrogate_scale, p.surrogate_peak, derivative, n);
      trace_row(derivative, p.decay, p.threshold, trace, n);
    }
    membrane_row(static_cast<const Data*>(a.current) + n0, p.decay, p.threshold, membrane, n);
    spike_row(membrane, p.threshold, static_cast<Data*>(a.spikes) + n0, n);
    surrogate(membrane, p.threshold, p.surrogate_scale, p.surrogate_peak, derivative, n);
    Data* out = static_cast<Data*>(a.derivative) + n0;
    if (trace) product_row(derivative, trace, out, n);
    else data_row(derivative, out, n);
  });
}

// The neurons of one sample. Counts and squared errors are whole numbers, exact in any order of addition.
template <class Data, class S>
inline S classifier_row(const S* __restrict membrane, const S* __restrict derivative, S threshold, S error_scale, int64_t label,
                        S* __restrict count, Data* __restrict error, int64_t n) {
  S squared = S(0);
  for (int64_t k = 0; k < n; ++k) {
    const bool spike = membrane[k] >= threshold;
    const S difference = local_difference<S>(spike, k == label);
    count[k] += spike ? S(1) : S(0);
    squared += difference * difference;
    error[k] = from_state<Data>(local_error(difference, derivative[k], error_scale));
  }
  return squared;
}

template <class Data>
void classifier_step(const LocalClassifierStep& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const LocalParams<S> p = local_params<S>(a.neuron);
  const SurrogateRow<S> surrogate = surrogate_row_for<S>(a.neuron.surrogate);
  alignas(64) S derivative[kTile];
  for (int64_t sample = begin; sample < end; ++sample) {
    for_each_tile(0, a.K, kTile, [&](int64_t k0, int64_t n) {
      const int64_t at = sample * a.K + k0;
      S* membrane = static_cast<S*>(a.membrane) + at;
      membrane_row(static_cast<const Data*>(a.current) + at, p.decay, p.threshold, membrane, n);
      surrogate(membrane, p.threshold, p.surrogate_scale, p.surrogate_peak, derivative, n);
      static_cast<S*>(a.squared_error)[sample] +=
          classifier_row(membrane, derivative, p.threshold, S(a.error_scale), a.labels[sample] - k0,
                         static_cast<S*>(a.count) + at, static_cast<Data*>(a.error) + at, n);
      if (a.derivative) data_row(derivative, static_cast<Data*>(a.derivative) + at, n);
    });
  }
}

template <class Data, class S>
inline void chain_row(const Data* __restrict derivative, S decay, S threshold, S* __restrict gradient, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gradient[i] = gradient[i] * local_chain(to_state(derivative[i]), decay, threshold);
    out[i] = from_state<Data>(gradient[i]);
  }
}

template <class Data>
void gradient_in_time(const LocalGradientInTime& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const S decay = S(a.decay), threshold = S(a.threshold);
  alignas(64) S gradient[kTile];
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    const Data* last = static_cast<const Data*>(a.gradient) + n0;
    Data* out = static_cast<Data*>(a.gradients) + a.T * a.N + n0;
    for (int64_t i = 0; i < n; ++i) gradient[i] = to_state(last[i]);
    for (int64_t i = 0; i < n; ++i) out[i] = last[i];
    for (int64_t t = a.T - 1; t >= 0; --t) {
      const Data* derivative = static_cast<const Data*>(a.derivatives) + t * a.N + n0;
      out -= a.N;
      if (t) prefetch(derivative - a.N, n), prefetch_for_write(out - a.N, n);
      chain_row(derivative, decay, threshold, gradient, out, n);
    }
  });
}

}  // namespace

void local_encoder_step(const LocalEncoderStep& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) { encoder_step<decltype(data)>(a, begin, end); });
}

void local_classifier_step(const LocalClassifierStep& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) { classifier_step<decltype(data)>(a, begin, end); });
}

void local_gradient_in_time(const LocalGradientInTime& a, int64_t begin, int64_t end) {
  with_dtype(a.dtype, [&](auto data) { gradient_in_time<decltype(data)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
