// Convolution of mostly silent spikes. CPU only: a GPU is faster with the dense convolution.
#pragma once

#include "common.h"

namespace spikeops {

inline bool is_channels_last(const Tensor& x) {
  const int64_t strides[] = {x.size(1) * x.size(2) * x.size(3), 1, x.size(1) * x.size(3), x.size(1)};
  for (int64_t d = 0; d < 4; ++d)
    if (x.size(d) != 1 && x.stride(d) != strides[d] && x.numel() > 0) return false;
  return true;
}

// x (B, C, H, W) channels-last, weight (KH, KW, C, P), bias (O) -> out (B, O, H', W') channels-last. P is O rounded up to whole
// vectors of 64 bytes.
template <class Backend>
void event_conv(const Tensor& out, const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const std::vector<int64_t>& stride,
                const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation, bool transposed) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && weight.size(2) == x.size(1),
                  "event_conv: expected x (B, C, H, W) and weight (KH, KW, C, O)");
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                  "event_conv: expected x to be float32 or float64");
  STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type() && (!bias || bias->scalar_type() == x.scalar_type()),
                  "event_conv: expected weight and bias of the dtype of x");
  const int64_t vector = x.scalar_type() == ScalarType::Float ? 16 : 8;
  STD_TORCH_CHECK(out.dim() == 4 && out.size(0) == x.size(0) && out.scalar_type() == x.scalar_type() && out.is_cpu(),
                  "event_conv: expected out (B, O, H, W) of the batch size and dtype of x");
  const int64_t B = x.size(0), C = x.size(1), H = x.size(2), W = x.size(3), O = out.size(1), out_h = out.size(2), out_w = out.size(3);
  STD_TORCH_CHECK(is_channels_last(out), "event_conv: expected out in channels-last order");
  STD_TORCH_CHECK(O >= 1 && weight.size(3) == (O + vector - 1) / vector * vector,
                  "event_conv: expected weight with the channels of out rounded up to a multiple of ", vector);
  STD_TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == O), "event_conv: expected bias with a number per channel of out");
  STD_TORCH_CHECK(stride.size() == 2 && padding.size() == 2 && dilation.size() == 2,
                  "event_conv: expected pairs for stride, padding and dilation");
  const Tensor in = as_layout(x, {B, C, H, W}, {C * H * W, 1, C * W, C}, x.scalar_type());
  const Tensor kernel = as_layout(weight, sizes_of(weight), contiguous_strides(sizes_of(weight)), x.scalar_type());
  OptionalTensor offset;
  if (bias) offset = as_layout(*bias, {O}, {1}, x.scalar_type());
  EventConv args;
  args.dtype = dtype_of("event_conv", x);
  args.transposed = transposed;
  args.batch = B, args.in_channels = C, args.out_channels = O;
  args.in_h = H, args.in_w = W, args.out_h = out_h, args.out_w = out_w;
  args.kernel_h = weight.size(0), args.kernel_w = weight.size(1);
  args.stride_h = stride[0], args.stride_w = stride[1];
  args.padding_h = padding[0], args.padding_w = padding[1];
  args.dilation_h = dilation[0], args.dilation_w = dilation[1];
  args.x = read(in), args.weight = read(kernel), args.bias = read(offset), args.out = write(out);
  backend.run(args);
}

}  // namespace spikeops
