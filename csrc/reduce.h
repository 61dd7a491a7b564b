// Row sums in a fixed order: binding for every device.
#pragma once

#include "../kernels/math/row_sum.h"
#include "common.h"

namespace spikeops {

template <class Backend>
Tensor row_sum(const Tensor& x) {
  Backend backend(x);
  const auto dtype = x.scalar_type();
  STD_TORCH_CHECK(x.dim() == 2 && (dtype == ScalarType::Float || dtype == ScalarType::Double),
                  "row_sum: expected x to be a float32 or float64 matrix");
  const Tensor in = as_layout(x, sizes_of(x), contiguous_strides(sizes_of(x)), dtype);
  const int64_t rows = x.size(0), columns = x.size(1), blocks = (columns + kRowSumBlock - 1) / kRowSumBlock;
  Tensor out = empty_strided(x, {rows}, {1}, dtype);
  Tensor partials = empty_strided(x, {rows * blocks}, {1}, ScalarType::Double);
  backend.run(RowSum{dtype == ScalarType::Double, rows, columns, read(in), write(out), static_cast<double*>(write(partials))});
  return out;
}

}  // namespace spikeops
