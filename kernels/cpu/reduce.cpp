// Row sums in a fixed order (kernels/math/reduce.h).
#include "../math/reduce.h"
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

void store(const RowSum& args, int64_t row, double sum) {
  if (args.is_double) static_cast<double*>(args.out)[row] = sum;
  else static_cast<float*>(args.out)[row] = float(sum);
}

}  // namespace

void row_sum_blocks(const RowSumBlocks& args, int64_t begin, int64_t end) {
  const int64_t blocks = blocks_of(args);
  for (int64_t k = begin; k < end; ++k) {
    const int64_t column = k % blocks * kRowSumBlock;
    const int64_t offset = k / blocks * args.columns + column, n = smaller(kRowSumBlock, args.columns - column);
    const double sum = args.is_double ? block_sum(static_cast<const double*>(args.in) + offset, n)
                                      : block_sum(static_cast<const float*>(args.in) + offset, n);
    if (blocks == 1) store(args, k, sum);
    else args.partials[k] = sum;
  }
}

void row_sum_rows(const RowSumRows& args, int64_t begin, int64_t end) {
  const int64_t blocks = blocks_of(args);
  for (int64_t row = begin; row < end; ++row) {
    double sum = 0;
    for (int64_t k = 0; k < blocks; ++k) sum += args.partials[row * blocks + k];
    store(args, row, sum);
  }
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
