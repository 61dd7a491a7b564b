// Products of a mostly silent matrix and a dense one. On the CPU only: a GPU is faster with the dense product.
#pragma once

#include "args.h"

namespace spikeops {

// What is not zero in the rows of a matrix, or in its columns: a list for each of them, in ascending order.
struct FindEvents {
  DType dtype;              // f32 or f64
  bool of_columns;
  int64_t rows, columns;
  const void* x;            // (rows, columns)
  int32_t* count;           // (lists)
  int32_t* place;           // (lists, length): the column, or the row; `count` of them
  void* value;              // (lists, length)
};
// Lists that are found together.
constexpr int64_t kListsTogether = 64;
SPIKEOPS_HD Shares shares_of(const FindEvents& a) {
  return a.of_columns ? Shares{a.columns, kListsTogether, a.rows} : Shares{a.rows, 1, a.columns};
}

// out[l] = bias + the sum over the events of list l of value * matrix[place], in the order of the list.
struct EventMatmul {
  DType dtype;              // f32 or f64
  int64_t lists, length;    // the rows of out, those of the matrix
  int64_t columns;          // of both
  int64_t parts;            // of the lists, so that there is work to share where columns are few
  const int32_t* count;
  const int32_t* place;
  const void* value;
  const void* matrix;
  const void* bias;         // (columns), or null
  void* out;
  int64_t matrix_row, matrix_column, out_row, out_column;  // strides, one of each pair is 1
  uint8_t* outcome;         // (items): EventOutcome
};

enum EventOutcome : uint8_t {
  kFinite,      // all is well
  kNotFinite,   // the matrix holds infinities or NaN: 0 times these is NaN, which sums over events do not know
  kDisordered,  // a list does not ascend, or leaves the matrix
};

// Columns whose sums stay in registers: four vectors of 64 bytes.
SPIKEOPS_HD int64_t columns_together(DType dtype) { return dtype == DType::f64 ? 32 : 64; }
SPIKEOPS_HD Shares shares_of(const EventMatmul& a) {
  const int64_t together = columns_together(a.dtype);
  return shares_of_large_items((a.columns + together - 1) / together * a.parts);
}

}  // namespace spikeops
