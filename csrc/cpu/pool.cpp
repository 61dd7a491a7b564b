// Sums over the windows of 2 x 2 that tile maps. CPU only: a GPU's own pooling is good at them.
#include "../../kernels/math/pool.h"
#include "../ops.h"

namespace spikeops {
namespace {

// Maps (N, C, H, W), of one channel after the other or with the channels of a place side by side.
struct Maps {
  Maps(const char* op, const Tensor& of, const Dims& sizes_, double divisor, bool channels_last)
      : sizes(sizes_), out_sizes{sizes[0], sizes[1], sizes[2] / 2, sizes[3] / 2}, is_channels_last(channels_last) {
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
  Tensor empty(const Tensor& like, const Dims& of) const { return empty_strided(like, of, strides_of(of), like.scalar_type()); }
  Tensor laid_out(const Tensor& x) const { return as_layout(x, sizes_of(x), strides_of(sizes_of(x)), x.scalar_type()); }

  const Dims sizes, out_sizes;
  const bool is_channels_last;
  Windows windows{};
};

// x (N, C, H, W) -> (N, C, H / 2, W / 2), in channels-last order or not
Tensor pool(const Tensor& x, double divisor, bool channels_last) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 4, "pool: expected x (N, C, H, W)");
  const Maps maps("pool", x, sizes_of(x), divisor, channels_last);
  const Tensor in = maps.laid_out(x), out = maps.empty(x, maps.out_sizes);
  backend.run(PoolForward{maps.windows, read(in), write(out)});
  return out;
}

// grad_out (N, C, H / 2, W / 2) -> (N, C, H, W)
Tensor pool_backward(const Tensor& grad_out, int64_t height, int64_t width, double divisor, bool channels_last) {
  Backend backend(grad_out);
  STD_TORCH_CHECK(grad_out.dim() == 4, "pool_backward: expected grad_out (N, C, H, W)");
  const Maps maps("pool_backward", grad_out, {grad_out.size(0), grad_out.size(1), height, width}, divisor, channels_last);
  STD_TORCH_CHECK(sizes_of(grad_out) == maps.out_sizes, "pool_backward: expected grad_out of a number for each window");
  const Tensor upstream = maps.laid_out(grad_out), grad_x = maps.empty(grad_out, maps.sizes);
  backend.run(PoolBackward{maps.windows, read(upstream), write(grad_x)});
  return grad_x;
}

}  // namespace

SPIKEOPS_OPS(pool) {
  SPIKEOPS_OP(pool, "pool(Tensor x, float divisor, bool channels_last) -> Tensor");
  SPIKEOPS_OP(pool_backward, "pool_backward(Tensor grad_out, int height, int width, float divisor, bool channels_last) -> Tensor");
}

}  // namespace spikeops
