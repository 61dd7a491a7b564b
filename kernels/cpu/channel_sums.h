// Sums of channels in the order of kernels/math/channels.h.
#pragma once

#include "../math/channels.h"
#include "rows.h"
#include "vector.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

using Eight = Vector<double>::Type;

// 8 numbers of a row, in double.
SPIKEOPS_HD void load_eight(const double* from, Eight& numbers) { numbers = *reinterpret_cast<const Vector<double>::Unaligned*>(from); }
SPIKEOPS_HD void load_eight(const float* from, Eight& numbers) {
  typedef float Floats __attribute__((vector_size(32), aligned(4), may_alias));
  numbers = __builtin_convertvector(*reinterpret_cast<const Floats*>(from), Eight);
}
SPIKEOPS_HD void store_eight(const Eight& numbers, double* to) { *reinterpret_cast<Vector<double>::Unaligned*>(to) = numbers; }

// Lanes of two sums.
struct Lanes {
  double first[kChannelLanes], second[kChannelLanes];

  void clear() {
    fill_row(first, 0.0, kChannelLanes);
    fill_row(second, 0.0, kChannelLanes);
  }
  // Takes their sums, and ends them.
  void store(double* of_first, double* of_second) {
    *of_first = sum_of_lanes(first), *of_second = sum_of_lanes(second);
  }
};

// Adds numbers of a run from lane 0 on. terms.eight(i, a, b) adds eight numbers from the i-th on, terms.one(i, a, b) the i-th.
template <class Terms>
SPIKEOPS_HD void add_to_lanes(Lanes& lanes, Terms terms, int64_t n) {
  constexpr int vectors = kChannelLanes / int(Vector<double>::kWidth);
  int64_t i = 0;
  if (kChannelLanes <= n) {
    Eight first[vectors], second[vectors];
    for (int k = 0; k < vectors; ++k) load_eight(lanes.first + 8 * k, first[k]), load_eight(lanes.second + 8 * k, second[k]);
    for (; i + kChannelLanes <= n; i += kChannelLanes)
      for (int k = 0; k < vectors; ++k) terms.eight(i + 8 * k, first[k], second[k]);
    for (int k = 0; k < vectors; ++k) store_eight(first[k], lanes.first + 8 * k), store_eight(second[k], lanes.second + 8 * k);
  }
  for (int l = 0; i < n; ++i, ++l) terms.one(i, lanes.first[l], lanes.second[l]);
}

// Distances of a run to a number, and their squares.
template <class S>
struct DistanceTerms {
  const S* x;
  double from;
  void eight(int64_t i, Eight& first, Eight& second) const {
    Eight d;
    load_eight(x + i, d);
    d -= from;
    first += d, second += d * d;
  }
  void one(int64_t i, double& first, double& second) const {
    const double d = double(x[i]) - from;
    first += d, second += d * d;
  }
};

template <class S>
SPIKEOPS_ROW void distances_row(const S* x, double from, Lanes& lanes, int64_t n) {
  add_to_lanes(lanes, DistanceTerms<S>{x, from}, n);
}

// Two rows as they are.
template <class S>
struct PairTerms {
  const S *a, *b;
  void eight(int64_t i, Eight& first, Eight& second) const {
    Eight of_a, of_b;
    load_eight(a + i, of_a), load_eight(b + i, of_b);
    first += of_a, second += of_b;
  }
  void one(int64_t i, double& first, double& second) const { first += double(a[i]), second += double(b[i]); }
};

template <class S>
SPIKEOPS_ROW void pairs_row(const S* a, const S* b, Lanes& lanes, int64_t n) {
  add_to_lanes(lanes, PairTerms<S>{a, b}, n);
}

template <class S>
SPIKEOPS_ROW void channel_distances_row(const S* __restrict x, const S* __restrict from, double* __restrict first,
                                        double* __restrict second, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const double d = double(x[i]) - double(from[i]);
    first[i] += d, second[i] += d * d;
  }
}

template <class S>
SPIKEOPS_ROW void channel_add_row(const S* __restrict x, double* __restrict sums, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sums[i] += double(x[i]);
}

// Sums of two numbers of each neuron, which come in pieces of a row of neurons, from the first of a run or a block of rows on.
class PairSums {
 public:
  PairSums(const Channels& channels, double* partials)
      : channels_(channels), first_(partials), second_(partials + blocks_of(channels) * channels.C) {}

  // Those of the neurons [n0, n0 + n).
  template <class S>
  void add(int64_t n0, const S* a, const S* b, int64_t n) {
    if (channels_.inner == 1) add_rows(n0, a, b, n);
    else add_runs(n0, a, b, n);
  }

 private:
  template <class S>
  void add_rows(int64_t n0, const S* a, const S* b, int64_t n) {
    const int64_t C = channels_.C;
    for (int64_t i = 0; i < n;) {
      const int64_t row = (n0 + i) / C, c = n0 + i - row * C, count = smaller(C - c, n - i);
      const int64_t at = row / channels_.rows_per_block * C + c;
      if (row % channels_.rows_per_block == 0) fill_row(first_ + at, 0.0, count), fill_row(second_ + at, 0.0, count);
      channel_add_row(a + i, first_ + at, count);
      channel_add_row(b + i, second_ + at, count);
      i += count;
    }
  }

  template <class S>
  void add_runs(int64_t n0, const S* a, const S* b, int64_t n) {
    int64_t run = n0 / channels_.inner, place = n0 - run * channels_.inner;
    for (int64_t i = 0; i < n; place = 0, ++run) {
      if (place == 0) lanes_.clear();
      const int64_t count = smaller(channels_.inner - place, n - i);
      // A piece may begin with any lane.
      int64_t done = 0;
      for (; done < count && (place + done) % kChannelLanes; ++done)
        PairTerms<S>{a + i, b + i}.one(done, lanes_.first[(place + done) % kChannelLanes], lanes_.second[(place + done) % kChannelLanes]);
      pairs_row(a + i + done, b + i + done, lanes_, count - done);
      i += count;
      if (place + count == channels_.inner) lanes_.store(first_ + run, second_ + run);
    }
  }

  const Channels channels_;
  double *const first_, *const second_;
  Lanes lanes_;
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
