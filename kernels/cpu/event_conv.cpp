// Convolution of mostly silent spikes: the weights of the neurons that fired, added up; and the gradient of its weights, where
// the upstream gradients of the neurons that saw them fire are.
#include "../math/event_conv.h"

#include "vector.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Vectors of output channels that are summed up in registers.
constexpr int kWide = 4, kMedium = 2;

// The events of one sample: where its pixels that are not zero lie in their row of the image, and their values.
template <class S>
struct Events {
  Events(int64_t pixels, int64_t channels) : start(pixels + 1), place(pixels * channels), value(pixels * channels) {}

  void find(const S* __restrict x, int64_t height, int64_t width, int64_t channels) {
    int64_t n = 0;
    for (int64_t p = 0; p < height * width; ++p) {
      start.data[p] = n;
      const int32_t first = int32_t(p % width * channels);
      for (int64_t c0 = 0; c0 < channels; c0 += kBlock) {
        const S* __restrict block = x + p * channels + c0;
        const int64_t size = smaller(kBlock, channels - c0);
        if (size == kBlock && is_silent(block)) continue;
        for (int64_t i = 0; i < size; ++i) {
          place.data[n] = first + int32_t(c0 + i);
          value.data[n] = block[i];
          n += block[i] != S(0);
        }
      }
    }
    start.data[height * width] = n;
  }

  static constexpr int64_t kBlock = 16;
  static bool is_silent(const S* __restrict block) {
    int any = 0;
    for (int64_t i = 0; i < kBlock; ++i) any |= block[i] != S(0);
    return !any;
  }

  Scratch<int64_t> start;  // of each pixel's events
  Scratch<int32_t> place;  // column * channels + channel
  Scratch<S> value;
};

// Events of a run of pixels, and the row of the weights that belongs to place 0.
template <class S>
struct Run {
  const int32_t* place;
  const S* value;
  int64_t events;
  int64_t first_row;
};

// out[0..width) += sum over events of value * weight[first_row + place, 0..width).
template <int vectors, class S>
inline void add_weights(const Run<S>& run, const S* weight, int64_t stride, S* __restrict out) {
  using V = Vector<S>;
  typename V::Type sum[vectors];
  for (int i = 0; i < vectors; ++i) sum[i] = *reinterpret_cast<const typename V::Unaligned*>(out + i * V::kWidth);
  for (int64_t e = 0; e < run.events; ++e) {
    const S v = run.value[e];
    const S* row = weight + (run.first_row + run.place[e]) * stride;
    for (int i = 0; i < vectors; ++i) sum[i] += v * *reinterpret_cast<const typename V::Unaligned*>(row + i * V::kWidth);
  }
  for (int i = 0; i < vectors; ++i) *reinterpret_cast<typename V::Unaligned*>(out + i * V::kWidth) = sum[i];
}

// gradient[first_row + place, 0..width) += value * out[0..width) for each event.
template <int vectors, class S>
inline void add_gradients(const Run<S>& run, S* gradient, int64_t stride, const S* __restrict out) {
  using V = Vector<S>;
  typename V::Type upstream[vectors];
  for (int i = 0; i < vectors; ++i) upstream[i] = *reinterpret_cast<const typename V::Unaligned*>(out + i * V::kWidth);
  for (int64_t e = 0; e < run.events; ++e) {
    const S v = run.value[e];
    S* row = gradient + (run.first_row + run.place[e]) * stride;
    for (int i = 0; i < vectors; ++i) *reinterpret_cast<typename V::Unaligned*>(row + i * V::kWidth) += v * upstream[i];
  }
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

// What connects the pixels of the images of a convolution.
struct Geometry {
  explicit Geometry(const EventConv& a)
      : rows{a.in_h, a.out_h, a.stride_h, a.padding_h, a.dilation_h, a.transposed},
        columns{a.in_w, a.out_w, a.stride_w, a.padding_w, a.dilation_w, a.transposed},
        kernel_h(a.kernel_h), kernel_w(a.kernel_w), channels(a.in_channels) {}

  // Calls body(run, pixel of the output) for everything that meets in the pixels of the output, in the order of the taps.
  // Neighbouring taps of a row of the kernel see neighbouring pixels, whose events lie one after the other: one run for all of them.
  template <class S, class Body>
  void for_each_run(const Events<S>& events, Body body) const {
    const bool whole_rows = !columns.transposed && columns.dilation == 1;
    const auto visit = [&](int64_t y, int64_t first, int64_t last, int64_t weight_row, int64_t out_pixel) {
      const int64_t begin = events.start.data[y * columns.in + first], end = events.start.data[y * columns.in + last];
      if (begin != end) body(Run<S>{events.place.data + begin, events.value.data + begin, end - begin, weight_row}, out_pixel);
    };
    for (int64_t tap_h = 0; tap_h < kernel_h; ++tap_h) {
      if (whole_rows) {
        rows.pairs(tap_h, [&](int64_t y, int64_t oy) {
          for (int64_t ox = 0; ox < columns.out; ++ox) {
            const int64_t x0 = ox * columns.stride - columns.padding;
            const int64_t first = x0 > 0 ? x0 : 0, last = smaller(x0 + kernel_w, columns.in);
            if (first < last) visit(y, first, last, (tap_h * kernel_w - x0) * channels, oy * columns.out + ox);
          }
        });
        continue;
      }
      for (int64_t tap_w = 0; tap_w < kernel_w; ++tap_w)
        rows.pairs(tap_h, [&](int64_t y, int64_t oy) {
          columns.pairs(tap_w, [&](int64_t x, int64_t ox) {
            visit(y, x, x + 1, (tap_h * kernel_w + tap_w - x) * channels, oy * columns.out + ox);
          });
        });
    }
  }

  Axis rows, columns;
  int64_t kernel_h, kernel_w, channels;
};

// Calls body<vectors>(first channel, number of channels) for groups of output channels. They are outside of all loops over pixels,
// so that the weights of a row of taps stay in the cache.
template <class S, class Body>
inline void for_each_group(int64_t channels, Body body) {
  constexpr int64_t vector = Vector<S>::kWidth, wide = kWide * vector, medium = kMedium * vector;
  for (int64_t o = 0; o < channels;) {
    const int64_t left = channels - o;
    if (left >= wide) body.template operator()<kWide>(o, wide), o += wide;
    else if (left >= medium) body.template operator()<kMedium>(o, medium), o += medium;
    else body.template operator()<1>(o, smaller(left, vector)), o += vector;
  }
}

template <class S>
inline int64_t padded_channels(const EventConv& a) {
  constexpr int64_t vector = Vector<S>::kWidth;
  return (a.out_channels + vector - 1) / vector * vector;
}

template <class S>
void convolve(const EventConv& a, int64_t begin, int64_t end) {
  constexpr int64_t vector = Vector<S>::kWidth;
  const int64_t pixels = a.in_h * a.in_w, out_pixels = a.out_h * a.out_w, O = a.out_channels, stride = padded_channels<S>(a);
  const Geometry geometry(a);
  const S* const weight = static_cast<const S*>(a.weight);
  const S* const bias = static_cast<const S*>(a.bias);
  Events<S> events(pixels, a.in_channels);
  for (int64_t b = begin; b < end; ++b) {
    events.find(static_cast<const S*>(a.x) + b * pixels * a.in_channels, a.in_h, a.in_w, a.in_channels);
    S* const out = static_cast<S*>(a.out) + b * out_pixels * O;
    for (int64_t p = 0; p < out_pixels; ++p)
      for (int64_t o = 0; o < O; ++o) out[p * O + o] = bias ? bias[o] : S(0);
    if (events.start.data[pixels] == 0) continue;
    for_each_group<S>(O, [&]<int vectors>(int64_t o0, int64_t width) {
      geometry.for_each_run(events, [&](const Run<S>& run, int64_t pixel) {
        const S* const rows = weight + o0;
        S* const sums = out + pixel * O + o0;
        if (width >= vector) return add_weights<vectors>(run, rows, stride, sums);
        // The last channels, fewer than a vector. The weights are padded, the output is not.
        alignas(64) S rest[vector] = {};
        for (int64_t o = 0; o < width; ++o) rest[o] = sums[o];
        add_weights<1>(run, rows, stride, rest);
        for (int64_t o = 0; o < width; ++o) sums[o] = rest[o];
      });
    });
  }
}

// Part `part` of the gradient of the weights: that of its share of the samples.
template <class S>
void weight_gradient(const EventConvWeight& g, int64_t part) {
  constexpr int64_t vector = Vector<S>::kWidth;
  const EventConv& a = g.conv;
  const int64_t pixels = a.in_h * a.in_w, out_pixels = a.out_h * a.out_w, O = a.out_channels, stride = padded_channels<S>(a);
  const int64_t size = a.kernel_h * a.kernel_w * a.in_channels * stride;
  const Geometry geometry(a);
  S* const gradient = static_cast<S*>(g.parts) + part * size;
  for (int64_t i = 0; i < size; ++i) gradient[i] = S(0);
  Events<S> events(pixels, a.in_channels);
  for (int64_t b = a.batch * part / g.count; b < a.batch * (part + 1) / g.count; ++b) {
    events.find(static_cast<const S*>(a.x) + b * pixels * a.in_channels, a.in_h, a.in_w, a.in_channels);
    if (events.start.data[pixels] == 0) continue;
    const S* const upstream = static_cast<const S*>(g.grad_out) + b * out_pixels * O;
    for_each_group<S>(O, [&]<int vectors>(int64_t o0, int64_t width) {
      geometry.for_each_run(events, [&](const Run<S>& run, int64_t pixel) {
        S* const rows = gradient + o0;
        const S* const row = upstream + pixel * O + o0;
        if (width >= vector) return add_gradients<vectors>(run, rows, stride, row);
        alignas(64) S rest[vector] = {};
        for (int64_t o = 0; o < width; ++o) rest[o] = row[o];
        add_gradients<1>(run, rows, stride, rest);
      });
    });
  }
}

}  // namespace

void event_conv(const EventConv& a, int64_t begin, int64_t end) {
  if (a.dtype == DType::f64) convolve<double>(a, begin, end);
  else convolve<float>(a, begin, end);
}

void event_conv_weight(const EventConvWeight& a, int64_t begin, int64_t end) {
  for (int64_t part = begin; part < end; ++part) {
    if (a.conv.dtype == DType::f64) weight_gradient<double>(a, part);
    else weight_gradient<float>(a, part);
  }
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
