// Neurons' numbers: plain structs where they are worked with, rows of a tile, one for each field, where they are kept. GCC and
// Clang take such a struct apart, so that its fields lie in vector registers.
#pragma once

#include "common.h"

// Before a loop over neurons, which know nothing of each other: two rows are either the same or apart.
#if defined(__clang__)
#define SPIKEOPS_FOR_EACH_NEURON _Pragma("clang loop vectorize(assume_safety)") for
#else
#define SPIKEOPS_FOR_EACH_NEURON _Pragma("GCC ivdep") for
#endif

// A function that runs through a row: compiled once, not into every walk.
#define SPIKEOPS_ROW __attribute__((noinline))

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
SPIKEOPS_ROW void copy_row(const S* __restrict from, S* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = from[i];
}

template <class S>
SPIKEOPS_ROW void fill_row(S* row, S value, int64_t n) {
  for (int64_t i = 0; i < n; ++i) row[i] = value;
}

template <class Data, class S>
SPIKEOPS_ROW void convert_row(const Data* __restrict from, S* __restrict to, int64_t n) {
  for (int64_t i = 0; i < n; ++i) to[i] = to_state(from[i]);
}

template <class S>
SPIKEOPS_ROW void add_row(const S* __restrict in, S* __restrict sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += in[i];
}

template <class S>
SPIKEOPS_ROW void multiply_row(const S* __restrict factor, S* __restrict row, int64_t n) {
  for (int64_t i = 0; i < n; ++i) row[i] *= factor[i];
}

// A row as numbers of the state's type: the row itself, or its conversion into `buffer`.
template <class Data, class S>
inline const S* state_row(const Data* row, S* buffer, int64_t n) {
  if constexpr (SameType<Data, S>::value) return row;
  else return convert_row(row, buffer, n), buffer;
}

// How many numbers a struct has that holds nothing but numbers of one type.
template <class Number, class Struct>
constexpr int kFields = __is_empty(Struct) ? 0 : int(sizeof(Struct) / sizeof(Number));

template <class Number, class Struct>
struct Rows {
  static constexpr int kCount = kFields<Number, Struct>;
  Number* row[kCount ? kCount : 1];
};

// Calls body(k, field) for each field of a struct.
template <int count, class Struct, class Body>
SPIKEOPS_HD void for_each_field(Struct& s, Body body) {
  static_assert(count <= 6 || count == 8);
  if constexpr (count == 1) {
    auto& [a] = s;
    body(0, a);
  } else if constexpr (count == 2) {
    auto& [a, b] = s;
    body(0, a), body(1, b);
  } else if constexpr (count == 3) {
    auto& [a, b, c] = s;
    body(0, a), body(1, b), body(2, c);
  } else if constexpr (count == 4) {
    auto& [a, b, c, d] = s;
    body(0, a), body(1, b), body(2, c), body(3, d);
  } else if constexpr (count == 5) {
    auto& [a, b, c, d, e] = s;
    body(0, a), body(1, b), body(2, c), body(3, d), body(4, e);
  } else if constexpr (count == 6) {
    auto& [a, b, c, d, e, f] = s;
    body(0, a), body(1, b), body(2, c), body(3, d), body(4, e), body(5, f);
  } else if constexpr (count == 8) {
    auto& [a, b, c, d, e, f, g, h] = s;
    body(0, a), body(1, b), body(2, c), body(3, d), body(4, e), body(5, f), body(6, g), body(7, h);
  }
}

// The first `count` fields have rows, those behind them are 0.
template <int count, class Number, class Struct>
SPIKEOPS_HD Struct load_first(const Rows<const Number, Struct>& rows, int64_t i) {
  Struct s;
  for_each_field<kFields<Number, Struct>>(
      s, [&](int k, auto& field) __attribute__((always_inline)) { field = k < count ? rows.row[k][i] : Number{}; });
  return s;
}

template <class Number, class Struct>
SPIKEOPS_HD Struct load(const Rows<const Number, Struct>& rows, int64_t i) {
  return load_first<kFields<Number, Struct>>(rows, i);
}

template <int count, class Number, class Struct>
SPIKEOPS_HD void store_first(const Rows<Number, Struct>& rows, int64_t i, Struct s) {
  for_each_field<kFields<Number, Struct>>(s, [&](int k, auto& field) __attribute__((always_inline)) {
    if (k < count) rows.row[k][i] = field;
  });
}

template <class Number, class Struct>
SPIKEOPS_HD void store(const Rows<Number, Struct>& rows, int64_t i, Struct s) {
  store_first<kFields<Number, Struct>>(rows, i, s);
}

template <class Number, class Struct>
SPIKEOPS_HD Rows<const Number, Struct> read_only(const Rows<Number, Struct>& rows) {
  Rows<const Number, Struct> same;
  for (int k = 0; k < rows.kCount; ++k) same.row[k] = rows.row[k];
  return same;
}

// Numbers over time, or the same in all time steps (step 0).
template <class Number>
struct Series {
  Number* data = nullptr;
  int64_t step = 0;               // from one time step to the next
  bool same_for_all = false;  // a row of a tile's length stands for all neurons
  Number* row(int64_t t, int64_t n0) const { return data + t * step + (same_for_all ? 0 : n0); }
};

// The numbers of the neurons [n0, n0 + n), of which each run of `inner` has that of a channel, in turn.
template <class S>
inline void spread_channels(const S* of_channels, int64_t C, int64_t inner, int64_t n0, int64_t n, S* to) {
  int64_t channel = n0 / inner % C, left = inner - n0 % inner;
  for (int64_t i = 0; i < n;) {
    if (inner == 1) {
      const int64_t run = smaller(C - channel, n - i);
      copy_row(of_channels + channel, to + i, run);
      i += run, channel = 0;
    } else {
      const int64_t run = smaller(left, n - i);
      fill_row(to + i, of_channels[channel], run);
      i += run, left = inner, channel = channel + 1 == C ? 0 : channel + 1;
    }
  }
}

// A number per neuron, or per channel, or one for all.
template <class S>
struct PerNeuron {
  const S* numbers = nullptr;
  S all = S(0);
  int64_t C = 0, inner = 1;  // where there are channels: neuron n is of channel n / inner % C
  bool is_spread = false;    // and the numbers of all neurons are there, once and a tile more

  // Once for a call: `buffer` is this number's in all tiles.
  void fill(S* buffer, int64_t n) const {
    if (!numbers) fill_row(buffer, all, n);
  }
  const S* row(S* buffer, int64_t n0, int64_t n) const {
    if (!numbers) return buffer;
    if (C == 0) return numbers + n0;
    if (is_spread) return numbers + n0 % (C * inner);
    spread_channels(numbers, C, inner, n0, n, buffer);
    return buffer;
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
