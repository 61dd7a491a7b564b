// Sums over the windows of 2 x 2 that tile maps. CPU only: a GPU's own pooling is good at them.
#include "../../kernels/math/pool.h"
#include "../ops.h"

namespace spikeops {
namespace {

// Maps (N, C, H, W), of one channel after the other or with the channels of a place side by side.
struct Maps {
  Maps(const char* op, const Tensor& of, const Dims& sizes_, double divisor, bool channels_last)
      : sizes(sizes_), pooled{sizes[0], sizes[1], sizes[2] / 2, sizes[3] / 2}, is_channels_last(channels_last) {
    STD_TORCH_CHECK(of.scalar_type() == ScalarType::Float || of.scalar_type() == ScalarType::Double, op, ": expected float32 or float64");
    STD_TORCH_CHECK(sizes[2] >= 2 && sizes[3] >= 2, op, ": expected maps of 2 x 2 and larger");
    windows.dtype = dtype_of(op, of);
    windows.maps = is_channels_last ? sizes[0] : sizes[0] * sizes[1];
    windows.inner = is_channels_last ? sizes[1] : 1;
    windows.height = sizes[2], windows.width = sizes[3], windows.divisor = divisor;
  }

  Dims strides_of(const Dims& of) const {
    return is_channels_last ? Dims{of[1] * of[2] * of[3], 1, of[3] * of[1], of[1]} : contiguous_strides(of);
  }
  Tensor laid_out(const Tensor& x) const { return as_layout(x, sizes_of(x), strides_of(sizes_of(x)), x.scalar_type()); }

  const Dims sizes, pooled;
  const bool is_channels_last;
  Windows windows{};
};

// x (N, C, H, W), out (N, C, H / 2, W / 2), which lies in channels-last order or not
void pool_(const Tensor& out, const Tensor& x, double divisor, bool channels_last) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 4, "pool_: expected x (N, C, H, W)");
  const Maps maps("pool_", x, sizes_of(x), divisor, channels_last);
  STD_TORCH_CHECK(sizes_of(out) == maps.pooled && out.scalar_type() == x.scalar_type() && out.is_cpu(),
                  "pool_: expected out of a number for each window, of the dtype of x");
  STD_TORCH_CHECK(maps.laid_out(out).const_data_ptr() == out.const_data_ptr(), "pool_: expected out in the order that it is said to lie in");
  const Tensor in = maps.laid_out(x);
  backend.run(PoolForward{maps.windows, read(in), write(out)});
}

// grad_out (N, C, H / 2, W / 2) -> (N, C, H, W)
Tensor pool_backward(const Tensor& grad_out, int64_t height, int64_t width, double divisor, bool channels_last) {
  Backend backend(grad_out);
  STD_TORCH_CHECK(grad_out.dim() == 4, "pool_backward: expected grad_out (N, C, H, W)");
  const Maps maps("pool_backward", grad_out, {grad_out.size(0), grad_out.size(1), height, width}, divisor, channels_last);
  STD_TORCH_CHECK(sizes_of(grad_out) == maps.pooled, "pool_backward: expected grad_out of a number for each window");
  const Tensor upstream = maps.laid_out(grad_out);
  const Tensor grad_x = empty_strided(grad_out, maps.sizes, maps.strides_of(maps.sizes), grad_out.scalar_type());
  backend.run(PoolBackward{maps.windows, read(upstream), write(grad_x)});
  return grad_x;
}

}  // namespace

SPIKEOPS_OPS(pool) {
  SPIKEOPS_OP(pool_, "pool_(Tensor(a!) out, Tensor x, float divisor, bool channels_last) -> ()");
  SPIKEOPS_OP(pool_backward, "pool_backward(Tensor grad_out, int height, int width, float divisor, bool channels_last) -> Tensor");
}

}  // namespace spikeops
