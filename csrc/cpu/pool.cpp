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

  // In their order: itself if it lies so already, else a copy.
  Tensor laid_out(const Tensor& x) const {
    const Dims of = sizes_of(x);
    const Dims strides = is_channels_last ? Dims{of[1] * of[2] * of[3], 1, of[3] * of[1], of[1]} : contiguous_strides(of);
    return as_layout(x, of, strides, x.scalar_type());
  }
  bool is_laid_out(const Tensor& x) const { return read(laid_out(x)) == read(x); }

  const Dims sizes, pooled;
  const bool is_channels_last;
  Windows windows{};
};

// x (N, C, H, W), out (N, C, H / 2, W / 2): both in channels-last order or not
void pool_(const Tensor& out, const Tensor& x, double divisor, bool channels_last) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 4, "pool_: expected x (N, C, H, W)");
  const Maps maps("pool_", x, sizes_of(x), divisor, channels_last);
  STD_TORCH_CHECK(sizes_of(out) == maps.pooled && is_like(out, x) && maps.is_laid_out(out),
                  "pool_: expected out of a number for each window, of the dtype of x and in the order that is asked for");
  const Tensor in = maps.laid_out(x);
  backend.run(PoolForward{maps.windows, read(in), write(out)});
}

// grad_out (N, C, H / 2, W / 2), grad_x (N, C, H, W)
void pool_backward_(const Tensor& grad_x, const Tensor& grad_out, double divisor, bool channels_last) {
  Backend backend(grad_x);
  STD_TORCH_CHECK(grad_x.dim() == 4, "pool_backward_: expected grad_x (N, C, H, W)");
  const Maps maps("pool_backward_", grad_x, sizes_of(grad_x), divisor, channels_last);
  STD_TORCH_CHECK(sizes_of(grad_out) == maps.pooled && is_like(grad_out, grad_x),
                  "pool_backward_: expected grad_out of a number for each window, of the dtype of grad_x");
  STD_TORCH_CHECK(maps.is_laid_out(grad_x), "pool_backward_: expected grad_x in the order that is asked for");
  const Tensor upstream = maps.laid_out(grad_out);
  backend.run(PoolBackward{maps.windows, read(upstream), write(grad_x)});
}

}  // namespace

SPIKEOPS_OPS(pool) {
  SPIKEOPS_OP(pool_, "pool_(Tensor(a!) out, Tensor x, float divisor, bool channels_last) -> ()");
  SPIKEOPS_OP(pool_backward_, "pool_backward_(Tensor(a!) grad_x, Tensor grad_out, float divisor, bool channels_last) -> ()");
}

}  // namespace spikeops
