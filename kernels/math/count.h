// Sums of spikes over time: of integers in int32, of floating numbers in double, which counts exactly where float stops at 2^24.
#pragma once

#include "args.h"
#include "pack.h"

namespace spikeops {

template <class Data, bool integer = IsInteger<Data>::value> struct Count { using Sum = int32_t; using Result = int32_t; };
template <class Data> struct Count<Data, false> { using Sum = double; using Result = Data; };

template <class Data>
SPIKEOPS_HD typename Count<Data>::Sum count_term(Data x) {
  if constexpr (IsInteger<Data>::value) return int32_t(x);
  else return double(to_state(x));
}

template <class Data>
SPIKEOPS_HD typename Count<Data>::Result count_result(typename Count<Data>::Sum sum) {
  if constexpr (IsInteger<Data>::value) return sum;
  else return from_state<Data>(State<Data>(sum));
}

struct SpikeCount {
  SpikeFormat format;
  int64_t T, N;
  const void* spikes;       // (T, N)
  void* count;              // (N): int32 for integer input (values summed), the data type for floating input
};

struct PackedCount {
  int64_t words, N;
  const void* packed;       // (words, N) SpikeWord
  int32_t* count;           // (N)
};
SPIKEOPS_HD Shares shares_of(const PackedCount& a) { return shares_of_neurons(a.words, a.N); }

}  // namespace spikeops
