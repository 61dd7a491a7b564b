// Sums, means and variances of channels.
#include "channel_sums.h"

#include <cmath>

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Data>
void sums_of_rows(const ChannelSums& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const Channels& c = a.channels;
  const Data* const x = static_cast<const Data*>(a.x);
  S of_first[kTile], converted[kTile];
  for (int64_t block = begin; block < end; ++block) {
    const int64_t row0 = block * c.rows_per_block, rows = smaller(c.rows - row0, c.rows_per_block);
    double* const first = a.partials + block * c.C;
    double* const second = first + blocks_of(c) * c.C;
    int64_t done = 0;
    if constexpr (SameType<Data, S>::value)
      for (; done + kChannelsTogether <= c.C; done += kChannelsTogether)
        block_distances_row(x + row0 * c.C + done, x + done, c.C, rows, first + done, second + done);
    for_each_tile(done, c.C, kTile, [&](int64_t c0, int64_t n) {
      fill_row(first + c0, 0.0, n), fill_row(second + c0, 0.0, n);
      const S* const from = state_row(x + c0, of_first, n);
      for (int64_t row = row0; row < row0 + rows; ++row)
        channel_distances_row(state_row(x + row * c.C + c0, converted, n), from, first + c0, second + c0, n);
    });
  }
}

template <class Data>
void sums_of_runs(const ChannelSums& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const Channels& c = a.channels;
  double* const second = a.partials + blocks_of(c) * c.C;
  S converted[kTile];
  Lanes lanes;
  for (int64_t run = begin * c.C, channel = 0; run < end * c.C; ++run, channel = channel + 1 == c.C ? 0 : channel + 1) {
    const Data* const x = static_cast<const Data*>(a.x) + run * c.inner;
    const S from = to_state(static_cast<const Data*>(a.x)[channel * c.inner]);
    if (c.inner <= kChannelLanes) {
      sum_short_run(DistanceTerms<S>{state_row(x, converted, c.inner), from}, c.inner, a.partials + run, second + run);
    } else {
      lanes.clear();
      for_each_tile(0, c.inner, kTile, [&](int64_t i, int64_t n) { distances_row(state_row(x + i, converted, n), from, lanes, n); });
      lanes.sum(a.partials + run, second + run);
    }
  }
}

// The sums of blocks of channels [c0, c0 + count), 8 at most.
void sums_of_blocks(const Channels& c, const double* partials, int64_t c0, int64_t count, double* sums) {
  double lanes[kChannelLanes][8] = {};
  const int64_t blocks = blocks_of(c);
  for (int64_t block = 0; block < blocks; ++block)
    for (int64_t j = 0; j < count; ++j) lanes[block % kChannelLanes][j] += partials[block * c.C + c0 + j];
  for (int half = kChannelLanes / 2; half > 0; half /= 2)
    for (int l = 0; l < half; ++l)
      for (int j = 0; j < 8; ++j) lanes[l][j] += lanes[l + half][j];
  for (int64_t j = 0; j < count; ++j) sums[j] = lanes[0][j];
}

template <class Data>
void moments(const ChannelMoments& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const Channels& c = a.channels;
  const double count = double(c.rows * c.inner);
  for_each_tile(begin, end, 8, [&](int64_t c0, int64_t n) {
    double distances[8], squares[8];
    sums_of_blocks(c, a.partials, c0, n, distances);
    sums_of_blocks(c, a.partials + blocks_of(c) * c.C, c0, n, squares);
    for (int64_t j = 0; j < n; ++j) {
      const double first = c.rows != 0 ? double(to_state(static_cast<const Data*>(a.x)[(c0 + j) * c.inner])) : 0;
      const Moments m = moments_of_sums(first, distances[j], squares[j], count);
      static_cast<S*>(a.mean)[c0 + j] = S(m.mean);
      static_cast<S*>(a.inv_std)[c0 + j] = S(1 / std::sqrt(m.variance + a.eps));
      a.moments[c0 + j] = m.mean;
      a.moments[c.C + c0 + j] = m.variance;
    }
  });
}

}  // namespace

void channel_sums(const ChannelSums& a, int64_t begin, int64_t end) {
  with_dtype(a.dtype, [&](auto data) {
    if (a.channels.inner == 1) sums_of_rows<decltype(data)>(a, begin, end);
    else sums_of_runs<decltype(data)>(a, begin, end);
  });
}

void channel_moments(const ChannelMoments& a, int64_t begin, int64_t end) {
  with_dtype(a.dtype, [&](auto data) { moments<decltype(data)>(a, begin, end); });
}

void channel_totals(const ChannelTotals& a, int64_t begin, int64_t end) {
  const Channels& c = a.channels;
  for_each_tile(begin, end, 8, [&](int64_t c0, int64_t n) {
    sums_of_blocks(c, a.partials, c0, n, a.totals + c0);
    double* const second = a.totals + c.C + c0;
    sums_of_blocks(c, a.partials + blocks_of(c) * c.C, c0, n, second);
    for (int64_t j = 0; j < n; ++j)
      second[j] *= a.is_double ? static_cast<const double*>(a.factor)[c0 + j] : double(static_cast<const float*>(a.factor)[c0 + j]);
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
