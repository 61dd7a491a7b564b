// Sums of channels in the order of kernels/math/channels.h.
#pragma once

#include "../math/channels.h"
#include "rows.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// As many numbers as a register holds. (Of vectors that take several, gcc makes single numbers on its way from float to double.)
#if defined(__AVX512F__)
constexpr int kWide = 8;
#elif defined(__AVX__)
constexpr int kWide = 4;
#else
constexpr int kWide = 2;
#endif
typedef double Doubles __attribute__((vector_size(8 * kWide)));

// Numbers of a row, in double.
SPIKEOPS_HD void load_wide(const double* from, Doubles& numbers) {
  typedef double Unaligned __attribute__((vector_size(8 * kWide), aligned(8), may_alias));
  numbers = *reinterpret_cast<const Unaligned*>(from);
}
SPIKEOPS_HD void load_wide(const float* from, Doubles& numbers) {
  typedef float Unaligned __attribute__((vector_size(4 * kWide), aligned(4), may_alias));
  numbers = __builtin_convertvector(*reinterpret_cast<const Unaligned*>(from), Doubles);
}
SPIKEOPS_HD void store_wide(const Doubles& numbers, double* to) {
  typedef double Unaligned __attribute__((vector_size(8 * kWide), aligned(8), may_alias));
  *reinterpret_cast<Unaligned*>(to) = numbers;
}

constexpr int kLaneVectors = kChannelLanes / kWide;

// Of all lanes, by halves. Of a run with fewer numbers than lanes, vectors that hold none are left out: they add 0.
template <int count>
SPIKEOPS_HD double sum_of_vectors(Doubles (&v)[count]) {
  for (int half = count / 2; half > 0; half /= 2)
    for (int k = 0; k < half; ++k) v[k] += v[k + half];
  double lanes[kWide];
  store_wide(v[0], lanes);
  for (int half = kWide / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  return lanes[0];
}

// Lanes of two sums.
struct Lanes {
  double first[kChannelLanes], second[kChannelLanes];

  void clear() {
    for (int l = 0; l < kChannelLanes; ++l) first[l] = second[l] = 0;
  }
  void load(Doubles (&one)[kLaneVectors], Doubles (&two)[kLaneVectors]) const {
    for (int k = 0; k < kLaneVectors; ++k) load_wide(first + kWide * k, one[k]), load_wide(second + kWide * k, two[k]);
  }
  void sum(double* of_first, double* of_second) const {
    Doubles one[kLaneVectors], two[kLaneVectors];
    load(one, two);
    *of_first = sum_of_vectors(one), *of_second = sum_of_vectors(two);
  }
};

// Of terms that are summed, wide(i, a, b) adds kWide from the i-th on, and rest(i, n, a, b) the n that are left. Here those from the
// i-th on of a run of n, which are fewer than all lanes.
template <int count, class Terms>
SPIKEOPS_HD void add_rest(const Terms& terms, int64_t i, int64_t n, Doubles (&first)[count], Doubles (&second)[count]) {
  for (int k = 0; k < count; ++k) {
    const int64_t at = i + kWide * k;
    if (at + kWide <= n) terms.wide(at, first[k], second[k]);
    else if (at < n) terms.rest(at, n - at, first[k], second[k]);
  }
}

// Adds numbers of a run, from lane 0 on.
template <class Terms>
SPIKEOPS_HD void add_to_lanes(Lanes& lanes, const Terms& terms, int64_t n) {
  Doubles first[kLaneVectors], second[kLaneVectors];
  lanes.load(first, second);
  int64_t i = 0;
  for (; i + kChannelLanes <= n; i += kChannelLanes)
    for (int k = 0; k < kLaneVectors; ++k) terms.wide(i + kWide * k, first[k], second[k]);
  add_rest(terms, i, n, first, second);
  for (int k = 0; k < kLaneVectors; ++k) store_wide(first[k], lanes.first + kWide * k), store_wide(second[k], lanes.second + kWide * k);
}

// The sums of a run of no more numbers than lanes.
template <int count = kLaneVectors, class Terms>
SPIKEOPS_HD void sum_short_run(const Terms& terms, int64_t n, double* of_first, double* of_second) {
  if constexpr (count > 1)
    if (n <= count / 2 * kWide) return sum_short_run<count / 2>(terms, n, of_first, of_second);
  Doubles first[count] = {}, second[count] = {};
  add_rest(terms, 0, n, first, second);
  *of_first = sum_of_vectors(first), *of_second = sum_of_vectors(second);
}

// `count` numbers, and others behind them.
template <class S>
SPIKEOPS_HD void load_padded(const S* from, int64_t count, S padding, Doubles& numbers) {
  S padded[kWide];
  for (int j = 0; j < kWide; ++j) padded[j] = j < count ? from[j] : padding;
  load_wide(padded, numbers);
}

// Distances of numbers to one of them, and their squares.
template <class S>
struct DistanceTerms {
  const S* x;
  S from;
  void wide(int64_t i, Doubles& first, Doubles& second) const {
    Doubles numbers;
    load_wide(x + i, numbers);
    numbers -= double(from);
    first += numbers, second += numbers * numbers;
  }
  void rest(int64_t i, int64_t n, Doubles& first, Doubles& second) const {
    Doubles numbers;
    load_padded(x + i, n, from, numbers);  // at no distance
    numbers -= double(from);
    first += numbers, second += numbers * numbers;
  }
};

template <class S>
SPIKEOPS_ROW void distances_row(const S* x, S from, Lanes& lanes, int64_t n) {
  add_to_lanes(lanes, DistanceTerms<S>{x, from}, n);
}

// Two rows as they are.
template <class S>
struct PairTerms {
  const S *a, *b;
  void wide(int64_t i, Doubles& first, Doubles& second) const {
    Doubles of_a, of_b;
    load_wide(a + i, of_a), load_wide(b + i, of_b);
    first += of_a, second += of_b;
  }
  void rest(int64_t i, int64_t n, Doubles& first, Doubles& second) const {
    Doubles of_a, of_b;
    load_padded(a + i, n, S(0), of_a), load_padded(b + i, n, S(0), of_b);
    first += of_a, second += of_b;
  }
};

template <class S>
SPIKEOPS_ROW void pairs_row(const S* a, const S* b, Lanes& lanes, int64_t n) {
  add_to_lanes(lanes, PairTerms<S>{a, b}, n);
}

// The distances of a block of rows, for 16 channels whose sums stay in registers.
constexpr int64_t kChannelsTogether = 16;

template <class S>
SPIKEOPS_ROW void block_distances_row(const S* x, const S* from, int64_t C, int64_t rows, double* first, double* second) {
  constexpr int count = kChannelsTogether / kWide;
  Doubles origin[count], one[count] = {}, two[count] = {};
  for (int k = 0; k < count; ++k) load_wide(from + kWide * k, origin[k]);
  for (int64_t row = 0; row < rows; ++row) {
    // Of the next block: the hardware does not foresee short pieces of far rows.
    __builtin_prefetch(x + (rows + row) * C);
    for (int k = 0; k < count; ++k) {
      Doubles numbers;
      load_wide(x + row * C + kWide * k, numbers);
      numbers -= origin[k];
      one[k] += numbers, two[k] += numbers * numbers;
    }
  }
  for (int k = 0; k < count; ++k) store_wide(one[k], first + kWide * k), store_wide(two[k], second + kWide * k);
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
    const int64_t inner = channels_.inner;
    int64_t run = n0 / inner, place = n0 - run * inner;
    for (int64_t i = 0; i < n; place = 0, ++run) {
      const int64_t count = smaller(inner - place, n - i);
      if (count == inner && inner <= kChannelLanes) {
        sum_short_run(PairTerms<S>{a + i, b + i}, count, first_ + run, second_ + run);
      } else {
        if (place == 0) lanes_.clear();
        // A piece may begin with any lane.
        int64_t done = 0;
        for (; done < count && (place + done) % kChannelLanes; ++done) {
          const int64_t lane = (place + done) % kChannelLanes;
          lanes_.first[lane] += double(a[i + done]), lanes_.second[lane] += double(b[i + done]);
        }
        pairs_row(a + i + done, b + i + done, lanes_, count - done);
        if (place + count == inner) lanes_.sum(first_ + run, second_ + run);
      }
      i += count;
    }
  }

  const Channels channels_;
  double *const first_, *const second_;
  Lanes lanes_;
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
