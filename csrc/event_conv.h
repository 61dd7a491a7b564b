// Convolution of mostly silent spikes. CPU only: a GPU is faster with the dense convolution.
#pragma once

#include "common.h"

namespace spikeops {

// x (B, C, H, W) channels-last, weight (KH, KW, C, P), bias (O) -> (B, O, *output_size) channels-last. P is O rounded up to whole
// vectors of 64 bytes.
template <class Backend>
Tensor event_conv(const Tensor& x, const Tensor& weight, const OptionalTensor& bias, int64_t out_channels,
                  const std::vector<int64_t>& stride, const std::vector<int64_t>& padding, const std::vector<int64_t>& dilation,
                  const std::vector<int64_t>& output_size, bool transposed) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && weight.size(2) == x.size(1),
                  "event_conv: expected x (B, C, H, W) and weight (KH, KW, C, O)");
  STD_TORCH_CHECK(x.scalar_type() == ScalarType::Float || x.scalar_type() == ScalarType::Double,
                  "event_conv: expected x to be float32 or float64");
  STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type() && (!bias || bias->scalar_type() == x.scalar_type()),
                  "event_conv: expected weight and bias of the dtype of x");
  const int64_t vector = x.scalar_type() == ScalarType::Float ? 16 : 8;
  STD_TORCH_CHECK(out_channels >= 1 && weight.size(3) == (out_channels + vector - 1) / vector * vector,
                  "event_conv: expected weight with out_channels rounded up to a multiple of ", vector);
  STD_TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == out_channels), "event_conv: expected bias (out_channels)");
  STD_TORCH_CHECK(stride.size() == 2 && padding.size() == 2 && dilation.size() == 2 && output_size.size() == 2,
                  "event_conv: expected pairs for stride, padding, dilation and output_size");
  const int64_t B = x.size(0), C = x.size(1), H = x.size(2), W = x.size(3), O = out_channels;
  const int64_t out_h = output_size[0], out_w = output_size[1];
  const Tensor in = as_layout(x, {B, C, H, W}, {C * H * W, 1, C * W, C}, x.scalar_type());
  const Tensor kernel = as_layout(weight, sizes_of(weight), contiguous_strides(sizes_of(weight)), x.scalar_type());
  OptionalTensor offset;
  if (bias) offset = as_layout(*bias, {O}, {1}, x.scalar_type());
  Tensor out = empty_strided(x, {B, O, out_h, out_w}, {O * out_h * out_w, 1, O * out_w, O}, x.scalar_type());
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
  return out;
}

}  // namespace spikeops
