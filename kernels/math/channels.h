// Numbers of channels: a tensor whose step is dense in memory lies as (rows, C, inner), whatever the order of its dimensions, and
// number n is of channel n / inner % C.
//
// Sums over all but the channels are taken in a fixed order, in double. With inner = 1, blocks of rows are summed, row after row. Else
// each run of `inner` numbers is a block of its own: lane l of kChannelLanes adds the numbers l, l + kChannelLanes, ... in order. The
// sums of a channel's blocks are added likewise: lane l adds the blocks l, l + kChannelLanes, ... in order. Lanes are added by halves:
// l to l + 16, then l to l + 8, and so on. Neither the number of threads nor the backend enters.
#pragma once

#include "args.h"

namespace spikeops {

constexpr int kChannelLanes = 32;

struct Channels {
  int64_t rows, C, inner;
  int64_t rows_per_block;  // where inner is 1; else 1
};
SPIKEOPS_HD int64_t blocks_of(const Channels& c) { return (c.rows + c.rows_per_block - 1) / c.rows_per_block; }

// Of all numbers of (T, N), and of (N), which many time steps stand behind.
constexpr int64_t kRowsOfSteps = 64, kRowsOfNeurons = 8;

SPIKEOPS_HD Channels channels_of(int64_t rows, int64_t C, int64_t inner, int64_t rows_per_block) {
  return {rows, C, inner, inner == 1 ? rows_per_block : 1};
}

// Mean and variance come from sums of the distances to one of a channel's numbers, the first, and of their squares: of data with a
// large mean, sums of squares would leave no digits. However far off the first one is, of n numbers the variance is right to n
// roundings.
struct ChannelSums {
  DType dtype;
  Channels channels;        // of x
  const void* x;            // (rows, C, inner) data
  double* partials;         // (2, blocks, C): of distances, of their squares
};
SPIKEOPS_HD Shares shares_of(const ChannelSums& a) {
  const Channels& c = a.channels;
  return {blocks_of(c), 1, c.C * c.inner * c.rows_per_block};
}

// Then, for a range of channels, from those of all blocks.
struct ChannelMoments {
  DType dtype;
  Channels channels;
  double eps;
  const void* x;
  const double* partials;   // (2, blocks, C)
  void* mean;               // (C) state
  void* inv_std;            // (C) state: 1 / sqrt(variance + eps)
  double* moments;          // (2, C): mean, variance of all numbers as they are
};
SPIKEOPS_HD Shares shares_of(const ChannelMoments& a) { return {a.channels.C, 8, 2 * blocks_of(a.channels)}; }

struct Moments { double mean, variance; };

SPIKEOPS_HD Moments moments_of_sums(double first, double distances, double squares, double count) {
  const double mean = distances / count, variance = squares / count - mean * mean;
  return {first + mean, variance < 0 ? 0 : variance};
}

// Sums of all blocks alone, the second times a number of each channel.
struct ChannelTotals {
  Channels channels;
  const double* partials;   // (2, blocks, C)
  bool is_double;           // the factor
  const void* factor;       // (C) state
  double* totals;           // (2, C)
};
SPIKEOPS_HD Shares shares_of(const ChannelTotals& a) { return {a.channels.C, 8, 2 * blocks_of(a.channels)}; }

}  // namespace spikeops
