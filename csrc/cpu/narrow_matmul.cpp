// Products of a large matrix and a narrow one. CPU only: a GPU's own are good at them.
#include "../../kernels/math/narrow_matmul.h"
#include "../ops.h"

namespace spikeops {
namespace {

// A matrix whose rows are dense in memory, however far apart they are.
Tensor with_dense_rows(const Tensor& x) {
  return x.size(1) <= 1 || x.stride(1) == 1 ? x : as_contiguous(x);
}

bool is_float_or_double(const Tensor& x) { return x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double; }

// x (R, K), weight (O, K), bias (O) -> (R, O)
Tensor narrow_matmul(const Tensor& x, const Tensor& weight, const OptionalTensor& bias) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 2 && is_float_or_double(x), "narrow_matmul: expected x (R, K), float32 or float64");
  STD_TORCH_CHECK(weight.dim() == 2 && weight.size(1) == x.size(1) && is_like(weight, x),
                  "narrow_matmul: expected weight (O, K) of the columns and dtype of x");
  STD_TORCH_CHECK(!bias || (sizes_of(*bias) == Dims{weight.size(0)} && is_like(*bias, x)),
                  "narrow_matmul: expected bias (O) of the dtype of x");
  NarrowMatmul a{};
  a.dtype = dtype_of("narrow_matmul", x);
  a.rows = x.size(0), a.inner = x.size(1), a.outputs = weight.size(0);
  const Tensor rows = with_dense_rows(x), matrix = as_contiguous(weight);
  OptionalTensor offset;
  if (bias) offset = as_contiguous(*bias);
  const Dims sizes{a.rows, a.outputs};
  const Tensor out = empty_strided(x, sizes, contiguous_strides(sizes), x.scalar_type());
  a.x_row = rows.stride(0);
  a.x = read(rows), a.weight = read(matrix), a.bias = read(offset), a.out = write(out);
  backend.run(a);
  return out;
}

// x (R, K), grad_out (R, O) -> the gradient of the weight (O, K)
Tensor narrow_matmul_weight(const Tensor& x, const Tensor& grad_out) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 2 && is_float_or_double(x), "narrow_matmul_weight: expected x (R, K), float32 or float64");
  STD_TORCH_CHECK(grad_out.dim() == 2 && grad_out.size(0) == x.size(0) && is_like(grad_out, x),
                  "narrow_matmul_weight: expected grad_out (R, O) of the rows and dtype of x");
  NarrowMatmulWeight a{};
  a.dtype = dtype_of("narrow_matmul_weight", x);
  a.rows = x.size(0), a.inner = x.size(1), a.outputs = grad_out.size(1);
  const Tensor rows = with_dense_rows(x), upstream = as_contiguous(grad_out);
  const Dims sizes{a.outputs, a.inner};
  const Tensor grad_weight = empty_strided(x, sizes, contiguous_strides(sizes), x.scalar_type());
  a.x_row = rows.stride(0);
  a.x = read(rows), a.grad_out = read(upstream), a.grad_weight = write(grad_weight);
  backend.run(a);
  return grad_weight;
}

// grad_out (R, O), weight (O, K) -> the gradient of x (R, K)
Tensor narrow_matmul_input(const Tensor& grad_out, const Tensor& weight) {
  Backend backend(grad_out);
  STD_TORCH_CHECK(grad_out.dim() == 2 && is_float_or_double(grad_out), "narrow_matmul_input: expected grad_out (R, O), float32 or float64");
  STD_TORCH_CHECK(weight.dim() == 2 && weight.size(0) == grad_out.size(1) && is_like(weight, grad_out),
                  "narrow_matmul_input: expected weight (O, K) of the columns and dtype of grad_out");
  NarrowMatmulInput a{};
  a.dtype = dtype_of("narrow_matmul_input", grad_out);
  a.rows = grad_out.size(0), a.outputs = grad_out.size(1), a.inner = weight.size(1);
  const Tensor upstream = as_contiguous(grad_out), matrix = as_contiguous(weight);
  const Dims sizes{a.rows, a.inner};
  const Tensor grad_x = empty_strided(grad_out, sizes, contiguous_strides(sizes), grad_out.scalar_type());
  a.grad_out = read(upstream), a.weight = read(matrix), a.grad_x = write(grad_x);
  backend.run(a);
  return grad_x;
}

}  // namespace

SPIKEOPS_OPS(narrow_matmul) {
  SPIKEOPS_OP(narrow_matmul, "narrow_matmul(Tensor x, Tensor weight, Tensor? bias) -> Tensor");
  SPIKEOPS_OP(narrow_matmul_weight, "narrow_matmul_weight(Tensor x, Tensor grad_out) -> Tensor");
  SPIKEOPS_OP(narrow_matmul_input, "narrow_matmul_input(Tensor grad_out, Tensor weight) -> Tensor");
}

}  // namespace spikeops
