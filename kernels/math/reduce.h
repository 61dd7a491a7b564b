// Sums in a fixed order. A row is cut into blocks of kRowSumBlock elements. Within a block, lane l adds the elements
// l, l + kRowSumLanes, ... in order, in double; the lanes are then added in order, and so are the blocks. Neither the number
// of threads nor the backend enters.
#pragma once

#include "args.h"

namespace spikeops {

constexpr int kRowSumBlock = 4096;
constexpr int kRowSumLanes = 32;

struct RowSum {
  bool is_double;
  int64_t rows, columns;
  const void* in;           // (rows, columns), contiguous, float or double
  void* out;                // (rows)
  double* partials;         // (rows, blocks)
};
SPIKEOPS_HD int64_t blocks_of(const RowSum& a) { return (a.columns + kRowSumBlock - 1) / kRowSumBlock; }

// First the sums of all blocks: into `out` where a row is one block, else into `partials`.
struct RowSumBlocks : RowSum {};
SPIKEOPS_HD Shares shares_of(const RowSumBlocks& a) { return {a.rows * blocks_of(a), 1, 1024}; }

// Then, unless a row is one block, the sums of those.
struct RowSumRows : RowSum {};
SPIKEOPS_HD Shares shares_of(const RowSumRows& a) { return {a.rows, 1, blocks_of(a)}; }

}  // namespace spikeops
