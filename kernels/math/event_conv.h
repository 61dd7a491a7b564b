// Convolution of mostly silent spikes. On the CPU only: a GPU is faster with the dense convolution.
#pragma once

#include "args.h"

namespace spikeops {

struct EventConv {
  DType dtype;              // f32 or f64
  bool transposed;
  int64_t batch, in_channels, out_channels, in_h, in_w, out_h, out_w, kernel_h, kernel_w;
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  const void* x;            // (batch, in_h, in_w, in_channels)
  const void* weight;       // (kernel_h, kernel_w, in_channels, out_channels padded to whole vectors of 64 bytes)
  const void* bias;         // (out_channels), or null
  void* out;                // (batch, out_h, out_w, out_channels)
};
SPIKEOPS_HD Shares shares_of(const EventConv& a) { return shares_of_large_items(a.batch); }

// The gradient of its weights, in parts that are to be added up: part i is that of the samples [batch i / count, batch (i + 1) / count).
struct EventConvWeight {
  EventConv conv;           // without weight, bias and out
  int64_t count;
  const void* grad_out;     // (batch, out_h, out_w, out_channels)
  void* parts;              // (count, kernel_h, kernel_w, in_channels, out_channels padded)
};
SPIKEOPS_HD Shares shares_of(const EventConvWeight& a) { return shares_of_large_items(a.count); }

}  // namespace spikeops
