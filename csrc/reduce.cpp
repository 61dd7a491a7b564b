// Row sums in a fixed order: binding for every device.
#include "../kernels/math/reduce.h"
#include "ops.h"

namespace spikeops {
namespace {

Tensor row_sum(const Tensor& x) {
  Backend backend(x);
  const auto dtype = x.scalar_type();
  STD_TORCH_CHECK(x.dim() == 2 && (dtype == ScalarType::Float || dtype == ScalarType::Double),
                  "row_sum: expected x to be a float32 or float64 matrix");
  const Tensor in = as_contiguous(x);
  Tensor out = empty_strided(x, {x.size(0)}, {1}, dtype);
  RowSum args{dtype == ScalarType::Double, x.size(0), x.size(1), read(in), write(out), nullptr};
  const int64_t blocks = blocks_of(args);
  if (blocks == 1) {
    backend.run(RowSumBlocks{args});
    return out;
  }
  Tensor partials = empty_strided(x, {args.rows * blocks}, {1}, ScalarType::Double);
  args.partials = static_cast<double*>(write(partials));
  backend.run(RowSumBlocks{args});
  backend.run(RowSumRows{args});
  return out;
}

}  // namespace

SPIKEOPS_OPS(reduce) {
  SPIKEOPS_OP(row_sum, "row_sum(Tensor x) -> Tensor");
}

}  // namespace spikeops
