// Convolution of mostly silent spikes: the weights of the neurons that fired, added up.
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Vectors of output channels that are summed up in registers.
constexpr int kWide = 4, kMedium = 2;

// 64 bytes of numbers: GCC and Clang keep these in registers, which they do not do with a small array.
template <class S>
struct Vector {
  typedef S Type __attribute__((vector_size(64)));
  typedef S Unaligned __attribute__((vector_size(64), aligned(sizeof(S)), may_alias));
  static constexpr int64_t kWidth = 64 / int64_t(sizeof(S));
};

// The events of one sample: which channels of each pixel are not zero, and their values.
template <class S>
struct Events {
  Events(int64_t pixels, int64_t channels) : start(pixels + 1), channel(pixels * channels), value(pixels * channels) {}

  void find(const S* __restrict x, int64_t pixels, int64_t channels) {
    int64_t n = 0;
    for (int64_t p = 0; p < pixels; ++p) {
      start.data[p] = n;
      for (int64_t c0 = 0; c0 < channels; c0 += kBlock) {
        const S* __restrict block = x + p * channels + c0;
        const int64_t size = smaller(kBlock, channels - c0);
        if (size == kBlock && is_silent(block)) continue;
        for (int64_t i = 0; i < size; ++i) {
          channel.data[n] = int32_t(c0 + i);
          value.data[n] = block[i];
          n += block[i] != S(0);
        }
      }
    }
    start.data[pixels] = n;
  }

  static constexpr int64_t kBlock = 16;
  static bool is_silent(const S* __restrict block) {
    int any = 0;
    for (int64_t i = 0; i < kBlock; ++i) any |= block[i] != S(0);
    return !any;
  }

  Scratch<int64_t> start;
  Scratch<int32_t> channel;
  Scratch<S> value;
};

// out[0..width) += sum over events of value * weight[channel, 0..width).
template <int vectors, class S>
inline void add_events(const int32_t* __restrict channel, const S* __restrict value, int64_t events, const S* __restrict weight,
                       int64_t stride, S* __restrict out) {
  using V = Vector<S>;
  typename V::Type sum[vectors];
  for (int i = 0; i < vectors; ++i) sum[i] = *reinterpret_cast<const typename V::Unaligned*>(out + i * V::kWidth);
  for (int64_t e = 0; e < events; ++e) {
    const S v = value[e];
    const S* row = weight + channel[e] * stride;
    for (int i = 0; i < vectors; ++i) sum[i] += v * *reinterpret_cast<const typename V::Unaligned*>(row + i * V::kWidth);
  }
  for (int i = 0; i < vectors; ++i) *reinterpret_cast<typename V::Unaligned*>(out + i * V::kWidth) = sum[i];
}

// The same for the last output channels, fewer than a vector. The weights are padded, the output is not.
template <class S>
inline void add_events_to_rest(const int32_t* __restrict channel, const S* __restrict value, int64_t events,
                               const S* __restrict weight, int64_t stride, S* __restrict out, int64_t width) {
  alignas(64) S rest[Vector<S>::kWidth] = {};
  for (int64_t o = 0; o < width; ++o) rest[o] = out[o];
  add_events<1>(channel, value, events, weight, stride, rest);
  for (int64_t o = 0; o < width; ++o) out[o] = rest[o];
}

// Calls body(pixel of the input, pixel of the output) for every pair that a tap of the kernel connects along one axis.
struct Axis {
  // Transposed: output = input * stride - padding + tap * dilation; else input = output * stride - padding + tap * dilation.
  template <class Body>
  void pairs(int64_t tap, Body body) const {
    const int64_t shift = tap * dilation - padding;
    if (transposed) {
      for (int64_t i = 0; i < in; ++i)
        if (const int64_t o = i * stride + shift; o >= 0 && o < out) body(i, o);
    } else {
      for (int64_t o = 0; o < out; ++o)
        if (const int64_t i = o * stride + shift; i >= 0 && i < in) body(i, o);
    }
  }
  int64_t in, out, stride, padding, dilation;
  bool transposed;
};

template <class S>
void convolve(const EventConv& a, int64_t begin, int64_t end) {
  const int64_t pixels = a.in_h * a.in_w, out_pixels = a.out_h * a.out_w, C = a.in_channels, O = a.out_channels;
  const Axis rows{a.in_h, a.out_h, a.stride_h, a.padding_h, a.dilation_h, a.transposed};
  const Axis columns{a.in_w, a.out_w, a.stride_w, a.padding_w, a.dilation_w, a.transposed};
  constexpr int64_t vector = Vector<S>::kWidth, wide = kWide * vector, medium = kMedium * vector;
  const int64_t padded = (O + vector - 1) / vector * vector;
  const S* bias = static_cast<const S*>(a.bias);
  Events<S> events(pixels, C);
  for (int64_t b = begin; b < end; ++b) {
    events.find(static_cast<const S*>(a.x) + b * pixels * C, pixels, C);
    S* out = static_cast<S*>(a.out) + b * out_pixels * O;
    for (int64_t p = 0; p < out_pixels; ++p)
      for (int64_t o = 0; o < O; ++o) out[p * O + o] = bias ? bias[o] : S(0);
    if (events.start.data[pixels] == 0) continue;
    // Channels outside, so that the weights of a tap for these channels stay in the cache for all pixels.
    for (int64_t o0 = 0, width; o0 < O; o0 += width) {
      const int64_t left = O - o0;
      width = left >= wide ? wide : left >= medium ? medium : smaller(left, vector);
      for (int64_t tap_h = 0; tap_h < a.kernel_h; ++tap_h)
        for (int64_t tap_w = 0; tap_w < a.kernel_w; ++tap_w) {
          const S* weight = static_cast<const S*>(a.weight) + (tap_h * a.kernel_w + tap_w) * C * padded + o0;
          rows.pairs(tap_h, [&](int64_t y, int64_t oy) {
            columns.pairs(tap_w, [&](int64_t x, int64_t ox) {
              const int64_t first = events.start.data[y * a.in_w + x], n = events.start.data[y * a.in_w + x + 1] - first;
              if (n == 0) return;
              const int32_t* channel = events.channel.data + first;
              const S* value = events.value.data + first;
              S* row = out + (oy * a.out_w + ox) * O + o0;
              if (width == wide) add_events<kWide>(channel, value, n, weight, padded, row);
              else if (width == medium) add_events<kMedium>(channel, value, n, weight, padded, row);
              else if (width == vector) add_events<1>(channel, value, n, weight, padded, row);
              else add_events_to_rest(channel, value, n, weight, padded, row, width);
            });
          });
        }
    }
  }
}

}  // namespace

void event_conv(const EventConv& a, int64_t begin, int64_t end) {
  if (a.dtype == DType::f64) convolve<double>(a, begin, end);
  else convolve<float>(a, begin, end);
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
