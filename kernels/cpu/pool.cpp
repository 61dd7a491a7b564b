// Sums over the windows of 2 x 2 that tile a map.
#include "../math/pool.h"

#include "vector.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body(where a row of windows begins in x, where in the result, whether it is the last of its map) for rows [begin, end).
template <class Body>
void for_each_row(const Windows& a, int64_t begin, int64_t end, const Body& body) {
  const int64_t rows = a.height / 2, line = a.width * a.inner, out_line = a.width / 2 * a.inner;
  int64_t map = begin / rows, row = begin % rows;
  for (int64_t item = begin; item < end; ++item) {
    body((map * a.height + 2 * row) * line, item * out_line, row + 1 == rows);
    if (++row == rows) ++map, row = 0;
  }
}

// Windows of one channel: x0 and x1 are two rows of its map.
template <class S>
void sum_row(const S* __restrict x0, const S* __restrict x1, S* __restrict out, int64_t windows, S divisor) {
  for (int64_t w = 0; w < windows; ++w) out[w] = (x0[2 * w] + x0[2 * w + 1] + x1[2 * w] + x1[2 * w + 1]) / divisor;
}
template <class S>
void spread_row(const S* __restrict grad_out, S* __restrict x0, S* __restrict x1, int64_t windows, S divisor) {
  for (int64_t w = 0; w < windows; ++w) {
    const S share = grad_out[w] / divisor;
    x0[2 * w] = share, x0[2 * w + 1] = share, x1[2 * w] = share, x1[2 * w + 1] = share;
  }
}

// Calls body(first, S or a register of them) for numbers that lie side by side, for the last ones perhaps twice: few channels are no
// whole number of registers.
template <class S, class Body>
SPIKEOPS_HD void for_numbers(int64_t count, const Body& body) {
  constexpr int64_t width = Register<S>::kWidth;
  if (count < width) {
    for (int64_t c = 0; c < count; ++c) body(c, S{});
    return;
  }
  for (int64_t c = 0; c + width <= count; c += width) body(c, Numbers<S>{});
  if (count % width) body(count - width, Numbers<S>{});
}
template <class Value, class S>
SPIKEOPS_HD Value get(const S* from) {
  if constexpr (sizeof(Value) == sizeof(S)) return *from;
  else return load(from);
}
template <class S>
SPIKEOPS_HD void put(S value, S* to) { *to = value; }
template <class S>
SPIKEOPS_HD void put(const Numbers<S>& values, S* to) { store<S>(values, to); }

// Windows with the numbers of all channels at each of their places.
template <class S>
void sum_channels(const S* __restrict x0, const S* __restrict x1, S* __restrict out, int64_t windows, int64_t inner, S divisor) {
  for (int64_t w = 0; w < windows; ++w, x0 += 2 * inner, x1 += 2 * inner, out += inner)
    for_numbers<S>(inner, [&](int64_t c, auto kind) __attribute__((always_inline)) {
      using Value = decltype(kind);
      const Value sum = get<Value>(x0 + c) + get<Value>(x0 + inner + c) + get<Value>(x1 + c) + get<Value>(x1 + inner + c);
      put<S>(sum / divisor, out + c);
    });
}
template <class S>
void spread_channels(const S* __restrict grad_out, S* __restrict x0, S* __restrict x1, int64_t windows, int64_t inner, S divisor) {
  for (int64_t w = 0; w < windows; ++w, x0 += 2 * inner, x1 += 2 * inner, grad_out += inner)
    for_numbers<S>(inner, [&](int64_t c, auto kind) __attribute__((always_inline)) {
      using Value = decltype(kind);
      const Value share = get<Value>(grad_out + c) / divisor;
      put<S>(share, x0 + c), put<S>(share, x0 + inner + c), put<S>(share, x1 + c), put<S>(share, x1 + inner + c);
    });
}

template <class S>
void clear(S* numbers, int64_t count) {
  for (int64_t i = 0; i < count; ++i) numbers[i] = S(0);
}

// Calls body(S{}) with the type of the numbers.
template <class Body>
void with_numbers(DType dtype, const Body& body) {
  dtype == DType::f64 ? body(double{}) : body(float{});
}

}  // namespace

void pool_forward(const PoolForward& a, int64_t begin, int64_t end) {
  with_numbers(a.dtype, [&](auto zero) {
    using S = decltype(zero);
    const int64_t windows = a.width / 2, line = a.width * a.inner;
    for_each_row(a, begin, end, [&](int64_t in, int64_t to, bool) {
      const S* x = static_cast<const S*>(a.x) + in;
      S* out = static_cast<S*>(a.out) + to;
      if (a.inner == 1) sum_row(x, x + line, out, windows, S(a.divisor));
      else sum_channels(x, x + line, out, windows, a.inner, S(a.divisor));
    });
  });
}

void pool_backward(const PoolBackward& a, int64_t begin, int64_t end) {
  with_numbers(a.dtype, [&](auto zero) {
    using S = decltype(zero);
    const int64_t windows = a.width / 2, line = a.width * a.inner, left_over = a.width % 2 * a.inner;
    for_each_row(a, begin, end, [&](int64_t in, int64_t from, bool is_last) {
      const S* grad_out = static_cast<const S*>(a.grad_out) + from;
      S* grad_x = static_cast<S*>(a.grad_x) + in;
      if (a.inner == 1) spread_row(grad_out, grad_x, grad_x + line, windows, S(a.divisor));
      else spread_channels(grad_out, grad_x, grad_x + line, windows, a.inner, S(a.divisor));
      for (int row = 1; row <= 2; ++row) clear(grad_x + row * line - left_over, left_over);
      if (is_last) clear(grad_x + 2 * line, a.height % 2 * line);
    });
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
