// LIF neurons that keep rounded distances from the threshold for their backward pass.
#include "neurons/lif_distances.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Types>
void forward(const LifDistancesForward& a, const Walk<Types>& w, int64_t begin, int64_t end) {
  walk(w, begin, end, kNothingToDo, [&](int64_t t, const auto& rows, int64_t n0) {
    keep_row(rows.to.row[1], w.params.threshold, rows.kept.row[0], static_cast<bf16*>(a.distances) + t * a.neuron.N + n0, rows.n);
  });
}

template <class Types>
void backward(const LifDistancesBackward& a, const Walk<Types>& w, int64_t begin, int64_t end) {
  using S = typename Types::S;
  const LifDistancesBack<S>& params = w.params;
  const KeptSlopeRow<S> slope_row = kept_slope_row_for<S>(a.surrogate, a.in_thresholds);
  const auto before = [&](int64_t t, const auto& rows, int64_t n0) {
    const bf16* const kept = static_cast<const bf16*>(a.distances) + t * a.neuron.N + n0;
    if (t > 0) prefetch(kept - a.neuron.N, rows.n);
    slope_row(params.surrogate, params.threshold, kept, rows.to.row[1], rows.n);
    if constexpr (Types::kRows > 1) kept_spike_row(kept, params.threshold, rows.to.row[2], rows.to.row[3], rows.n);
  };
  walk(w, begin, end, before, kNothingToDo);
}

template <class Neuron>
Walk<typename Neuron::Types> walk_back_of(const LifDistancesBackward& a) {
  return lif_kept_walk_back<Neuron>(a, lif_distances_back<typename Neuron::S>(a), Neuron::kRows);
}

template <class Data, Reset reset, bool detached>
void backward(const LifDistancesBackward& a, int64_t begin, int64_t end) {
  if (a.neuron.x_stride == 0) return backward(a, walk_back_of<LifFromDistances<Data, reset, detached, true>>(a), begin, end);
  backward(a, walk_back_of<LifFromDistances<Data, reset, detached, false>>(a), begin, end);
}

template <class Data, Reset reset>
void forward(const LifDistancesForward& a, int64_t begin, int64_t end) {
  using Neuron = LifDistances<Data, reset>;
  forward(a, lif_kept_walk<Neuron>(a, lif_kept_params<State<Data>>(a.neuron), Neuron::kRows), begin, end);
}

// Calls body(Data{}): x of 16 bits is kept itself.
template <class Body>
inline void with_wide_dtype(DType dtype, Body body) {
  if (dtype == DType::f64) return body(double{});
  body(float{});
}

}  // namespace

void lif_distances_forward(const LifDistancesForward& a, int64_t begin, int64_t end) {
  with_wide_dtype(a.neuron.dtype, [&](auto data) {
    if (a.neuron.reset == int(Reset::to)) return forward<decltype(data), Reset::to>(a, begin, end);
    forward<decltype(data), Reset::subtract>(a, begin, end);
  });
}

void lif_distances_backward(const LifDistancesBackward& a, int64_t begin, int64_t end) {
  with_wide_dtype(a.neuron.dtype, [&](auto data) {
    using Data = decltype(data);
    const bool detached = a.neuron.detach_reset;
    if (a.neuron.reset == int(Reset::to))
      return detached ? backward<Data, Reset::to, true>(a, begin, end) : backward<Data, Reset::to, false>(a, begin, end);
    if (detached || a.neuron.reset == int(Reset::none)) return backward<Data, Reset::subtract, true>(a, begin, end);
    backward<Data, Reset::subtract, false>(a, begin, end);
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
