// Products of a large matrix and a narrow one, as a classifier of few classes is. On the CPU only: there libraries are made for products
// whose operations take longer than their bytes. Here reading or writing the large matrix is most of the work.
#pragma once

#include "args.h"

namespace spikeops {

// out = bias + x times the transpose of weight. Lane l adds the products of columns l, l + kNarrowLanes<S>, ... one after the other, then
// lane l adds lane l + distance to itself, for distance = half of the lanes, a quarter, ... 1 and l < distance.
struct NarrowMatmul {
  DType dtype;              // f32 or f64
  int64_t rows, inner, outputs;
  int64_t x_row;            // stride
  const void* x;            // (rows, inner)
  const void* weight;       // (outputs, inner)
  const void* bias;         // (outputs), or null
  void* out;                // (rows, outputs)
};
template <class S>
constexpr int kNarrowLanes = 64 / int(sizeof(S));

// The gradient of weight: the transpose of grad_out times x, row by row.
struct NarrowMatmulWeight {
  DType dtype;
  int64_t rows, inner, outputs;
  int64_t x_row;            // stride
  const void* x;            // (rows, inner)
  const void* grad_out;     // (rows, outputs)
  void* grad_weight;        // (outputs, inner)
};

// The gradient of x: grad_out times weight, output by output.
struct NarrowMatmulInput {
  DType dtype;
  int64_t rows, inner, outputs;
  const void* grad_out;     // (rows, outputs)
  const void* weight;       // (outputs, inner)
  void* grad_x;             // (rows, inner)
};

// Rows, or columns, that are worked on together: no sum depends on it.
constexpr int64_t kNarrowRows = 16, kNarrowColumns = 64;
SPIKEOPS_HD Shares shares_of(const NarrowMatmul& a) { return {a.rows, kNarrowRows, a.inner}; }
SPIKEOPS_HD Shares shares_of(const NarrowMatmulWeight& a) { return {a.inner, kNarrowColumns, a.rows}; }
SPIKEOPS_HD Shares shares_of(const NarrowMatmulInput& a) { return {a.rows, kNarrowRows, a.inner}; }

}  // namespace spikeops
