// Row sums in a fixed order (kernels/math/row_sum.h).
#include "../math/row_sum.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
double block_sum(const S* __restrict in, int64_t n) {
  double lanes[kRowSumLanes] = {};
  int64_t i = 0;
  for (; i + kRowSumLanes <= n; i += kRowSumLanes)
    for (int l = 0; l < kRowSumLanes; ++l) lanes[l] += double(in[i + l]);
  for (int l = 0; i + l < n; ++l) lanes[l] += double(in[i + l]);
  double sum = 0;
  for (int l = 0; l < kRowSumLanes; ++l) sum += lanes[l];
  return sum;
}

int64_t blocks_of(const RowSum& args) { return (args.columns + kRowSumBlock - 1) / kRowSumBlock; }

}  // namespace

void row_sum_blocks(const RowSum& args, int64_t begin, int64_t end) {
  const int64_t blocks = blocks_of(args);
  for (int64_t k = begin; k < end; ++k) {
    const int64_t column = k % blocks * kRowSumBlock;
    const int64_t offset = k / blocks * args.columns + column, n = smaller(kRowSumBlock, args.columns - column);
    args.partials[k] = args.is_double ? block_sum(static_cast<const double*>(args.in) + offset, n)
                                      : block_sum(static_cast<const float*>(args.in) + offset, n);
  }
}

void row_sum_rows(const RowSum& args, int64_t begin, int64_t end) {
  const int64_t blocks = blocks_of(args);
  for (int64_t row = begin; row < end; ++row) {
    double sum = 0;
    for (int64_t k = 0; k < blocks; ++k) sum += args.partials[row * blocks + k];
    if (args.is_double) static_cast<double*>(args.out)[row] = sum;
    else static_cast<float*>(args.out)[row] = float(sum);
  }
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
