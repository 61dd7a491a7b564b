// Convolution of mostly silent spikes. CPU only: a GPU is faster with the dense convolution.
#include "../../kernels/math/event_conv.h"
#include "../ops.h"

namespace spikeops {
namespace {

bool is_channels_last(const Tensor& x) {
  const int64_t strides[] = {x.size(1) * x.size(2) * x.size(3), 1, x.size(1) * x.size(3), x.size(1)};
  for (int64_t d = 0; d < 4; ++d)
    if (x.size(d) != 1 && x.stride(d) != strides[d] && x.numel() > 0) return false;
  return true;
}

// The images and the geometry of a call: x as it is walked, and args without what is multiplied.
struct EventConvCall {
  EventConvCall(const Tensor& input, const Tensor& out, const Dims& kernel_size, const Dims& stride, const Dims& padding,
                const Dims& dilation, bool transposed) {
    STD_TORCH_CHECK(input.dim() == 4, "event_conv: expected x (B, C, H, W)");
    STD_TORCH_CHECK(input.scalar_type() == ScalarType::Float || input.scalar_type() == ScalarType::Double,
                    "event_conv: expected x to be float32 or float64");
    STD_TORCH_CHECK(out.dim() == 4 && out.size(0) == input.size(0) && out.scalar_type() == input.scalar_type() && out.is_cpu(),
                    "event_conv: expected out (B, O, H, W) of the batch size and dtype of x");
    STD_TORCH_CHECK(is_channels_last(out), "event_conv: expected out in channels-last order");
    STD_TORCH_CHECK(kernel_size.size() == 2 && stride.size() == 2 && padding.size() == 2 && dilation.size() == 2,
                    "event_conv: expected pairs for kernel size, stride, padding and dilation");
    const int64_t B = input.size(0), C = input.size(1), H = input.size(2), W = input.size(3);
    x = as_layout(input, {B, C, H, W}, {C * H * W, 1, C * W, C}, input.scalar_type());
    args = {};
    args.dtype = dtype_of("event_conv", x);
    args.transposed = transposed;
    args.batch = B, args.in_channels = C, args.out_channels = out.size(1);
    args.in_h = H, args.in_w = W, args.out_h = out.size(2), args.out_w = out.size(3);
    args.kernel_h = kernel_size[0], args.kernel_w = kernel_size[1];
    args.stride_h = stride[0], args.stride_w = stride[1];
    args.padding_h = padding[0], args.padding_w = padding[1];
    args.dilation_h = dilation[0], args.dilation_w = dilation[1];
    args.x = read(x);
  }

  // The channels of out, rounded up to whole vectors of 64 bytes.
  int64_t padded_channels() const {
    const int64_t vector = args.dtype == DType::f32 ? 16 : 8;
    return (args.out_channels + vector - 1) / vector * vector;
  }

  Tensor x;
  EventConv args;
};

// x (B, C, H, W) channels-last, weight (KH, KW, C, P), bias (O) -> out (B, O, H', W') channels-last. P is O rounded up to whole
// vectors of 64 bytes.
void event_conv(const Tensor& out, const Tensor& x, const Tensor& weight, const OptionalTensor& bias, const Dims& stride,
                const Dims& padding, const Dims& dilation, bool transposed) {
  Backend backend(x);
  STD_TORCH_CHECK(x.dim() == 4 && weight.dim() == 4 && weight.size(2) == x.size(1),
                  "event_conv: expected x (B, C, H, W) and weight (KH, KW, C, O)");
  EventConvCall call(x, out, {weight.size(0), weight.size(1)}, stride, padding, dilation, transposed);
  STD_TORCH_CHECK(weight.scalar_type() == x.scalar_type() && (!bias || bias->scalar_type() == x.scalar_type()),
                  "event_conv: expected weight and bias of the dtype of x");
  const int64_t O = out.size(1);
  STD_TORCH_CHECK(O >= 1 && weight.size(3) == call.padded_channels(),
                  "event_conv: expected weight with the channels of out rounded up to whole vectors of 64 bytes");
  STD_TORCH_CHECK(!bias || (bias->dim() == 1 && bias->size(0) == O), "event_conv: expected bias with a number per channel of out");
  const Tensor kernel = as_contiguous(weight);
  OptionalTensor offset;
  if (bias) offset = as_layout(*bias, {O}, {1}, x.scalar_type());
  call.args.weight = read(kernel), call.args.bias = read(offset), call.args.out = write(out);
  backend.run(call.args);
}

// The gradient of the weights of a convolution that is not transposed, in parts (parts, KH, KW, C, P) to be added up, since a sum
// over all samples would depend on the number of threads. grad_out is channels-last.
Tensor event_conv_weight(const Tensor& x, const Tensor& grad_out, const Dims& kernel_size, const Dims& stride, const Dims& padding,
                         const Dims& dilation, int64_t parts) {
  Backend backend(x);
  const EventConvCall call(x, grad_out, kernel_size, stride, padding, dilation, false);
  STD_TORCH_CHECK(parts >= 1, "event_conv: expected at least one part");
  const Dims sizes{parts, kernel_size[0], kernel_size[1], call.args.in_channels, call.padded_channels()};
  Tensor gradient = empty_strided(x, sizes, contiguous_strides(sizes), x.scalar_type());
  backend.run(EventConvWeight{call.args, parts, read(grad_out), write(gradient)});
  return gradient;
}

}  // namespace

SPIKEOPS_OPS(event_conv) {
  SPIKEOPS_OP(event_conv,
          "event_conv_(Tensor(a!) out, Tensor x, Tensor weight, Tensor? bias, int[] stride, int[] padding, int[] dilation,"
          " bool transposed) -> ()");
  SPIKEOPS_OP(event_conv_weight,
          "event_conv_weight(Tensor x, Tensor grad_out, int[] kernel_size, int[] stride, int[] padding, int[] dilation, int parts)"
          " -> Tensor");
}

}  // namespace spikeops
