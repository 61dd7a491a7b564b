// Steps of layers that learn with a local classifier.
#include "../math/local.h"

#include "vector.h"

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
template <class Data, class S>
void step_units(const LocalLearningStep& a, const LocalParams<S>& p, SurrogateRow<S> surrogate, int64_t begin, int64_t end) {
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
    Data* out = static_cast<Data*>(a.derivative) + n0;
    if constexpr (SameType<Data, S>::value)
      if (!trace) return surrogate(membrane, p.threshold, p.surrogate_scale, p.surrogate_peak, out, n);
    surrogate(membrane, p.threshold, p.surrogate_scale, p.surrogate_peak, derivative, n);
    if (trace) product_row(derivative, trace, out, n);
    else data_row(derivative, out, n);
  });
}

// How many samples and classes are summed up at once, so that what is loaded serves several sums: as many as there are registers for.
#if defined(__AVX512F__)
constexpr int kSamples = 2, kClasses = 5;
#elif defined(__AVX__)
constexpr int kSamples = 1, kClasses = 2;
#else
constexpr int kSamples = 1, kClasses = 1;
#endif

// kLocalLanes numbers in registers. GCC and Clang keep these there, which they do not do with a small array.
template <class S>
struct Lanes {
  using Vector = typename Register<S>::Type;
  using Unaligned = typename Register<S>::Unaligned;
  static constexpr int kWidth = Register<S>::kWidth, kVectors = kLocalLanes / kWidth;
  Vector part[kVectors];
};

template <class S>
SPIKEOPS_HD Lanes<S> zero_lanes() {
  Lanes<S> lanes;
  for (int i = 0; i < Lanes<S>::kVectors; ++i) lanes.part[i] = typename Lanes<S>::Vector{};
  return lanes;
}

// The weights of units that fired.
template <class S>
SPIKEOPS_HD void add_weights(Lanes<S>& sum, const Lanes<S>& spikes, const Lanes<S>& weight) {
  for (int i = 0; i < Lanes<S>::kVectors; ++i) sum.part[i] = spikes.part[i] != S(0) ? sum.part[i] + weight.part[i] : sum.part[i];
}

template <class Data, class S>
SPIKEOPS_HD Lanes<S> load_lanes(const Data* row) {
  using L = Lanes<S>;
  L lanes;
  alignas(64) S buffer[kLocalLanes];
  const S* numbers = as_state(row, buffer, kLocalLanes);
  for (int i = 0; i < L::kVectors; ++i) lanes.part[i] = *reinterpret_cast<const typename L::Unaligned*>(numbers + i * L::kWidth);
  return lanes;
}

// The first n, and zeros.
template <class Data, class S>
inline Lanes<S> load_first(const Data* row, int64_t n) {
  alignas(64) S buffer[kLocalLanes] = {};
  for (int64_t i = 0; i < n; ++i) buffer[i] = to_state(row[i]);
  return load_lanes<S, S>(buffer);
}

template <class S>
SPIKEOPS_HD void store_lanes(const Lanes<S>& lanes, S* to) {
  for (int i = 0; i < Lanes<S>::kVectors; ++i)
    *reinterpret_cast<typename Lanes<S>::Unaligned*>(to + i * Lanes<S>::kWidth) = lanes.part[i];
}

template <class S>
inline S sum_of(const Lanes<S>& lanes) {
  alignas(64) S lane[kLocalLanes];
  store_lanes(lanes, lane);
  for (int distance = kLocalLanes / 2; distance > 0; distance /= 2)
    for (int l = 0; l < distance; ++l) lane[l] += lane[l + distance];
  return lane[0];
}

// Input of `classes` of a classifier's neurons for `samples` samples, straight into their membrane potentials.
template <int samples, int classes, class Data, class S>
void step_classes(const LocalLearningStep& a, const LocalParams<S>& p, int64_t n, int64_t k) {
  const Data* const spikes = static_cast<const Data*>(a.spikes) + n * a.U;
  const Data* const weight = static_cast<const Data*>(a.weight) + k * a.U;
  Lanes<S> sum[samples][classes];
  for (int s = 0; s < samples; ++s)
    for (int c = 0; c < classes; ++c) sum[s][c] = zero_lanes<S>();
  const auto add = [&](auto load, int64_t u) __attribute__((always_inline)) {
    Lanes<S> w[classes];
    for (int c = 0; c < classes; ++c) w[c] = load(weight + c * a.U + u);
    for (int s = 0; s < samples; ++s) {
      const Lanes<S> fired = load(spikes + s * a.U + u);
      for (int c = 0; c < classes; ++c) add_weights(sum[s][c], fired, w[c]);
    }
  };
  const int64_t whole = a.U / kLocalLanes * kLocalLanes, left = a.U - whole;
  for (int64_t u = 0; u < whole; u += kLocalLanes) add([](const Data* row) { return load_lanes<Data, S>(row); }, u);
  if (left) add([left](const Data* row) { return load_first<Data, S>(row, left); }, whole);
  S* const membrane = static_cast<S*>(a.class_membrane) + n * a.K + k;
  for (int s = 0; s < samples; ++s)
    for (int c = 0; c < classes; ++c) {
      S& u = membrane[s * a.K + c];
      u = local_membrane(u, sum_of(sum[s][c]), p.decay, p.threshold);
    }
}

// The neurons of one sample's classifier. Counts and squared errors are whole numbers, exact in any order of addition.
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

template <class Data, class S>
void find_errors(const LocalLearningStep& a, const LocalParams<S>& p, SurrogateRow<S> surrogate, int64_t sample) {
  alignas(64) S derivative[kTile];
  for_each_tile(0, a.K, kTile, [&](int64_t k0, int64_t n) {
    const int64_t at = sample * a.K + k0;
    const S* membrane = static_cast<const S*>(a.class_membrane) + at;
    surrogate(membrane, p.threshold, p.surrogate_scale, p.surrogate_peak, derivative, n);
    // A label's distance from k0 must not overflow.
    const int64_t label = a.labels[sample] < 0 ? -1 : a.labels[sample] - k0;
    static_cast<S*>(a.squared_error)[sample] += classifier_row(membrane, derivative, p.threshold, p.error_scale, label,
                                                               static_cast<S*>(a.count) + at, static_cast<Data*>(a.error) + at, n);
    if (a.class_derivative) data_row(derivative, static_cast<Data*>(a.class_derivative) + at, n);
  });
}

template <class S>
inline void add_row(S factor, const S* __restrict row, S* __restrict sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += factor * row[i];
}

template <class Data, class S>
inline void scale_row(const Data* __restrict factor, S* __restrict sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] *= to_state(factor[i]);
}

// The errors of a sample, brought back to its units. Most classes have none: they neither fired nor should have.
template <class Data, class S>
void bring_back(const LocalLearningStep& a, int64_t sample) {
  alignas(64) S sum[kTile], buffer[kTile];
  for_each_tile(0, a.U, kTile, [&](int64_t u0, int64_t n) {
    for (int64_t i = 0; i < n; ++i) sum[i] = S(0);
    for (int64_t k = 0; k < a.K; ++k) {
      const S error = to_state(static_cast<const Data*>(a.error)[sample * a.K + k]);
      if (error != S(0)) add_row(error, as_state(static_cast<const Data*>(a.feedback) + k * a.U + u0, buffer, n), sum, n);
    }
    // The derivative may lie where the gradient is to lie.
    scale_row(static_cast<const Data*>(a.derivative) + sample * a.U + u0, sum, n);
    data_row(sum, static_cast<Data*>(a.gradient) + sample * a.U + u0, n);
  });
}

// What belongs to these samples stays in the cache from one pass to the next.
template <int samples, class Data, class S>
void learn_samples(const LocalLearningStep& a, const LocalParams<S>& p, SurrogateRow<S> surrogate, int64_t n) {
  step_units<Data>(a, p, surrogate, n * a.U, (n + samples) * a.U);
  int64_t k = 0;
  for (; k + kClasses <= a.K; k += kClasses) step_classes<samples, kClasses, Data>(a, p, n, k);
  for (; k < a.K; ++k) step_classes<samples, 1, Data>(a, p, n, k);
  for (int s = 0; s < samples; ++s) {
    find_errors<Data>(a, p, surrogate, n + s);
    bring_back<Data, S>(a, n + s);
  }
}

template <class Data>
void learning_step(const LocalLearningStep& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const LocalParams<S> p = local_params<S>(a);
  const SurrogateRow<S> surrogate = surrogate_row_for<S>(a.surrogate);
  int64_t n = begin;
  for (; n + kSamples <= end; n += kSamples) learn_samples<kSamples, Data>(a, p, surrogate, n);
  for (; n < end; ++n) learn_samples<1, Data>(a, p, surrogate, n);
}

template <class Data, class S>
inline void chain_row(const Data* __restrict derivative, S decay, S threshold, S* __restrict gradient, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    gradient[i] = gradient[i] * local_chain(to_state(derivative[i]), decay, threshold);
    out[i] = from_state<Data>(gradient[i]);
  }
}

// A loop of its own, not the walk (walk.h): it starts from a row of data, and hands that on as its first row.
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

void local_learning_step(const LocalLearningStep& a, int64_t begin, int64_t end) {
  with_dtype(a.dtype, [&](auto data) { learning_step<decltype(data)>(a, begin, end); });
}

void local_gradient_in_time(const LocalGradientInTime& a, int64_t begin, int64_t end) {
  with_dtype(a.dtype, [&](auto data) { gradient_in_time<decltype(data)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
