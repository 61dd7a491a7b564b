// Neurons that stop at their threshold: a tile of neurons goes through all time steps. A loop of its own, not the walk's
// (walk.h): of the steps there is one input for all, and one count.
#include "../math/clamped.h"
#include "rows.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
SPIKEOPS_ROW void clamped_first_row(const S* __restrict x, const S* __restrict threshold, S* __restrict v, S* __restrict count,
                                    ClampedParams<S> p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const Clamped<S> s = clamped_step(Clamped<S>{S(0), S(0)}, clamped_first_command(x[i], p), threshold[i], p);
    v[i] = s.v, count[i] = s.count;
  }
}

template <class S>
SPIKEOPS_ROW void clamped_next_row(const S* __restrict x, const S* __restrict threshold, S* __restrict v, S* __restrict count,
                                   ClampedParams<S> p, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const Clamped<S> s = clamped_step(Clamped<S>{v[i], count[i]}, clamped_command(x[i], p), threshold[i], p);
    v[i] = s.v, count[i] = s.count;
  }
}

template <class Data, class S>
SPIKEOPS_ROW void clamped_count_row(const S* __restrict from, Data* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from_state<Data>(from[i]);
}

template <class Data>
void run(const ClampedForward& args, int64_t begin, int64_t end) {
  using S = State<Data>;
  const ClampedParams<S> p = clamped_params<S>(args);
  alignas(64) S threshold[kTile], converted[kTile], counts[kTile];
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    spread_channels(static_cast<const S*>(args.threshold), args.C, args.inner, n0, n, threshold);
    const S* const x = state_row(static_cast<const Data*>(args.x) + n0, converted, n);
    S* const v = static_cast<S*>(args.v) + n0;
    clamped_first_row(x, threshold, v, counts, p, n);
    for (int64_t t = 1; t < args.T; ++t) clamped_next_row(x, threshold, v, counts, p, n);
    Data* const count = static_cast<Data*>(args.count) + n0;
    if constexpr (SameType<Data, S>::value) copy_row(counts, count, n);
    else clamped_count_row(counts, count, n);
  });
}

// sums[c] += gradient[c] * count[c] of one row.
template <class Data, class S>
SPIKEOPS_ROW void clamped_product_row(const S* __restrict gradient, const Data* __restrict count, double* __restrict sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += double(gradient[i] * S(to_state(count[i])));
}

template <class Data, class S>
double run_sum(const S* __restrict gradient, const Data* __restrict count, int64_t n) {
  double lanes[kClampedLanes] = {};
  int64_t i = 0;
  for (; i + kClampedLanes <= n; i += kClampedLanes)
    for (int l = 0; l < kClampedLanes; ++l) lanes[l] += double(gradient[i + l] * S(to_state(count[i + l])));
  for (int l = 0; i + l < n; ++l) lanes[l] += double(gradient[i + l] * S(to_state(count[i + l])));
  double sum = 0;
  for (int l = 0; l < kClampedLanes; ++l) sum += lanes[l];
  return sum;
}

template <class Data>
void partial_sums(const ClampedPartials& args, int64_t begin, int64_t end) {
  using S = State<Data>;
  const S* const gradient = static_cast<const S*>(args.grad_v);
  const Data* const count = static_cast<const Data*>(args.count);
  for (int64_t block = begin; block < end; ++block) {
    double* const sums = args.partials + block * args.C;
    if (args.inner == 1) {
      fill_row(sums, 0.0, args.C);
      const int64_t first = block * kClampedRows, rows = smaller(kClampedRows, args.outer - first);
      for (int64_t row = first; row < first + rows; ++row)
        clamped_product_row(gradient + row * args.C, count + row * args.C, sums, args.C);
    } else {
      for (int64_t c = 0; c < args.C; ++c) {
        const int64_t i = (block * args.C + c) * args.inner;
        sums[c] = run_sum(gradient + i, count + i, args.inner);
      }
    }
  }
}

}  // namespace

void clamped_partials(const ClampedPartials& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto data) { partial_sums<decltype(data)>(args, begin, end); });
}

void clamped_thresholds(const ClampedThresholds& args, int64_t begin, int64_t end) {
  const int64_t blocks = blocks_of(args);
  for (int64_t c = begin; c < end; ++c) {
    double sum = 0;
    for (int64_t block = 0; block < blocks; ++block) sum += args.partials[block * args.C + c];
    const double gradient = clamped_threshold_gradient(sum, args.samples, args.gain, args.drift);
    if (args.dtype == DType::f64) static_cast<double*>(args.grad)[c] = gradient;
    else static_cast<float*>(args.grad)[c] = float(gradient);
  }
}

void clamped_lif_forward(const ClampedForward& args, int64_t begin, int64_t end) {
  with_dtype(args.dtype, [&](auto data) { run<decltype(data)>(args, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
