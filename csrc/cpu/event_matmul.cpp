// Products of a mostly silent matrix and a dense one. CPU only: a GPU is faster with the dense product.
#include "../../kernels/math/event_matmul.h"
#include "../ops.h"

namespace spikeops {
namespace {

bool is_event_dtype(const Tensor& x) { return x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double; }

// x (R, C) -> lists of what is not zero in its rows, or its columns, in ascending order: count (L), and place and value (L, length),
// of which each list's first `count` are set.
std::tuple<Tensor, Tensor, Tensor> find_events(const Tensor& x, bool of_columns) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 2 && is_event_dtype(x), "find_events: expected x (R, C), float32 or float64");
  const int64_t R = x.size(0), C = x.size(1), lists = of_columns ? C : R, length = of_columns ? R : C;
  STD_TORCH_CHECK(length <= INT32_MAX, "find_events: expected fewer than 2^31 numbers in a row or column of x");
  const Tensor dense = as_layout(x, {R, C}, contiguous_strides({R, C}), x.scalar_type());
  const Tensor count = empty_strided(x, {lists}, {1}, ScalarType::Int);
  const Dims sizes{lists, length};
  const Tensor place = empty_strided(x, sizes, contiguous_strides(sizes), ScalarType::Int);
  const Tensor value = empty_strided(x, sizes, contiguous_strides(sizes), x.scalar_type());
  FindEvents args{};
  args.dtype = dtype_of("find_events", x);
  args.of_columns = of_columns;
  args.rows = R, args.columns = C;
  args.x = read(dense);
  args.count = static_cast<int32_t*>(write(count)), args.place = static_cast<int32_t*>(write(place)), args.value = write(value);
  backend.run(args);
  return {count, place, value};
}

// Whether the rows or the columns of a matrix are dense in memory, so that it is walked as it is.
bool has_unit_stride(const Tensor& matrix) { return matrix.stride(0) == 1 || matrix.stride(1) == 1; }

// out (L, O) = bias (O) + lists (L, K) times matrix (K, O) -> whether all of the matrix is finite, 0-d. If not, out holds no sums.
Tensor event_matmul(const Tensor& out, const Tensor& count, const Tensor& place, const Tensor& value, const Tensor& matrix,
                    const OptionalTensor& bias) {
  Backend backend(out);
  STD_TORCH_CHECK(out.dim() == 2 && is_event_dtype(out), "event_matmul: expected out (L, O), float32 or float64");
  const int64_t L = out.size(0), O = out.size(1);
  STD_TORCH_CHECK(out.numel() == 0 || (out.stride(1) == 1 && out.stride(0) >= O) || (out.stride(0) == 1 && out.stride(1) >= L),
                  "event_matmul: expected the rows or the columns of out dense in memory");
  STD_TORCH_CHECK(matrix.dim() == 2 && matrix.size(1) == O && matrix.scalar_type() == out.scalar_type() && matrix.is_cpu(),
                  "event_matmul: expected matrix (K, O) of the columns and dtype of out");
  const Dims sizes{L, matrix.size(0)};
  const auto is_list = [&](const Tensor& list, const Dims& expected, ScalarType dtype) {
    return sizes_of(list) == expected && strides_of(list) == contiguous_strides(expected) && list.scalar_type() == dtype && list.is_cpu();
  };
  STD_TORCH_CHECK(is_list(count, {L}, ScalarType::Int) && is_list(place, sizes, ScalarType::Int) &&
                      is_list(value, sizes, out.scalar_type()),
                  "event_matmul: expected lists as find_events makes them: count (L), place (L, K), value (L, K)");
  STD_TORCH_CHECK(!bias || (sizes_of(*bias) == Dims{O} && bias->scalar_type() == out.scalar_type() && bias->is_cpu()),
                  "event_matmul: expected bias (O) of the dtype of out");
  const Tensor dense = has_unit_stride(matrix) ? matrix : as_contiguous(matrix);
  OptionalTensor offset;
  if (bias) offset = as_layout(*bias, {O}, {1}, out.scalar_type());

  EventMatmul args{};
  args.dtype = dtype_of("event_matmul", out);
  args.lists = L, args.length = matrix.size(0), args.columns = O;
  const int64_t groups = (O + columns_together(args.dtype) - 1) / columns_together(args.dtype);
  // Each part loads the matrix anew: worth it for work to share, or for sums that stay in the cache.
  constexpr int64_t kFewest = 64, kMost = 256, kShares = 8;
  args.parts = std::max<int64_t>({1, (L + kMost - 1) / kMost, groups ? std::min(kShares / groups, L / kFewest) : 0});
  args.count = static_cast<const int32_t*>(read(count)), args.place = static_cast<const int32_t*>(read(place));
  args.value = read(value), args.matrix = read(dense), args.bias = read(offset), args.out = write(out);
  args.matrix_row = dense.stride(0), args.matrix_column = dense.stride(1);
  args.out_row = out.stride(0), args.out_column = out.stride(1);
  std::vector<uint8_t> outcome(groups * args.parts, kFinite);
  args.outcome = outcome.data();
  backend.run(args);
  STD_TORCH_CHECK(std::count(outcome.begin(), outcome.end(), kDisordered) == 0,
                  "event_matmul: expected lists as find_events makes them: ascending places within the matrix");
  const Tensor finite = empty_strided(out, {}, {}, ScalarType::Bool);
  *static_cast<bool*>(write(finite)) = std::count(outcome.begin(), outcome.end(), kNotFinite) == 0;
  return finite;
}

}  // namespace

SPIKEOPS_OPS(event_matmul) {
  SPIKEOPS_OP(find_events, "find_events(Tensor x, bool of_columns) -> (Tensor count, Tensor place, Tensor value)");
  SPIKEOPS_OP(event_matmul,
          "event_matmul_(Tensor(a!) out, Tensor count, Tensor place, Tensor value, Tensor matrix, Tensor? bias) -> Tensor");
}

}  // namespace spikeops
