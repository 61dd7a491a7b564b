// Products of a mostly silent matrix and a dense one: the rows of the dense one, added up where the other is not zero.
#include "../math/event_matmul.h"

#include "vector.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Numbers that are looked through for events together.
constexpr int64_t kBlock = 16;

// Bit i: whether number i of `size` is not zero.
template <class S>
inline uint32_t fired(const S* __restrict x, int64_t size) {
  uint32_t bits = 0;
  if (size >= kBlock)
    for (int i = 0; i < kBlock; ++i) bits |= x[i] != S(0) ? 1u << i : 0u;
  else
    for (int i = 0; i < size; ++i) bits |= x[i] != S(0) ? 1u << i : 0u;
  return bits;
}

template <class S>
void find_in_rows(const FindEvents& a, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const S* const x = static_cast<const S*>(a.x) + r * a.columns;
    int32_t* const place = a.place + r * a.columns;
    S* const value = static_cast<S*>(a.value) + r * a.columns;
    int64_t n = 0;
    for (int64_t c0 = 0; c0 < a.columns; c0 += kBlock)
      for (uint32_t bits = fired(x + c0, a.columns - c0); bits; bits &= bits - 1) {
        const int64_t c = c0 + __builtin_ctz(bits);
        place[n] = int32_t(c);
        value[n++] = x[c];
      }
    a.count[r] = int32_t(n);
  }
}

// Asked for while events of a row are found.
constexpr int64_t kRowsAhead = 8;

template <class S>
void find_in_columns(const FindEvents& a, int64_t begin, int64_t end) {
  for (int64_t c = begin; c < end; ++c) a.count[c] = 0;
  for (int64_t c1 = begin; c1 < end; c1 += kListsTogether)
    for (int64_t r = 0; r < a.rows; ++r) {
      const S* const x = static_cast<const S*>(a.x) + r * a.columns;
      // Short pieces of far rows: too few for the hardware to see where they go.
      const S* const later = x + smaller(kRowsAhead, a.rows - 1 - r) * a.columns;
      for (int64_t c0 = c1; c0 < smaller(c1 + kListsTogether, end); c0 += kBlock) {
        __builtin_prefetch(later + c0);
        for (uint32_t bits = fired(x + c0, end - c0); bits; bits &= bits - 1) {
          const int64_t c = c0 + __builtin_ctz(bits), n = c * a.rows + a.count[c]++;
          a.place[n] = int32_t(r);
          static_cast<S*>(a.value)[n] = x[c];
        }
      }
    }
}

// to[j, i] = from[i, j] for i < rows, j < columns.
template <class S>
void transpose(const S* from, int64_t from_stride, int64_t rows, int64_t columns, S* to, int64_t to_stride) {
  using Row = typename Quad<S>::Type;
  using Memory = typename Quad<S>::Unaligned;
  const int64_t whole_rows = rows / 4 * 4, whole_columns = columns / 4 * 4;
  // A cache line of each row at a time: rows a power of two apart would push each other out of the cache.
  for (int64_t j0 = 0; j0 < whole_columns; j0 += kBlock)
    for (int64_t i = 0; i < whole_rows; i += 4)
      for (int64_t j = j0; j < smaller(j0 + kBlock, whole_columns); j += 4) {
        const S* const f = from + i * from_stride + j;
        S* const t = to + j * to_stride + i;
        const Row a = *reinterpret_cast<const Memory*>(f), b = *reinterpret_cast<const Memory*>(f + from_stride);
        const Row c = *reinterpret_cast<const Memory*>(f + 2 * from_stride), d = *reinterpret_cast<const Memory*>(f + 3 * from_stride);
        const Row ab = SPIKEOPS_LANES(S, a, b, 0, 4, 1, 5), cd = SPIKEOPS_LANES(S, c, d, 0, 4, 1, 5);
        *reinterpret_cast<Memory*>(t) = SPIKEOPS_LANES(S, ab, cd, 0, 1, 4, 5);
        *reinterpret_cast<Memory*>(t + to_stride) = SPIKEOPS_LANES(S, ab, cd, 2, 3, 6, 7);
        const Row ab_high = SPIKEOPS_LANES(S, a, b, 2, 6, 3, 7), cd_high = SPIKEOPS_LANES(S, c, d, 2, 6, 3, 7);
        *reinterpret_cast<Memory*>(t + 2 * to_stride) = SPIKEOPS_LANES(S, ab_high, cd_high, 0, 1, 4, 5);
        *reinterpret_cast<Memory*>(t + 3 * to_stride) = SPIKEOPS_LANES(S, ab_high, cd_high, 2, 3, 6, 7);
      }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = i < whole_rows ? whole_columns : 0; j < columns; ++j) to[j * to_stride + i] = from[i * from_stride + j];
}

template <class S>
void copy(const S* from, int64_t from_stride, int64_t rows, int64_t columns, S* to, int64_t to_stride) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) to[i * to_stride + j] = from[i * from_stride + j];
}

// A group of columns of the product, for some of the lists.
template <class S>
class Product {
 public:
  explicit Product(const EventMatmul& a)
      : a_(a),
        together_(columns_together(a.dtype)),
        lists_((a.lists + a.parts - 1) / a.parts),
        chunk_(smaller(a.length, kTileBytes / int64_t(together_ * sizeof(S)))),
        tile_(chunk_ * together_),
        sums_(lists_ * together_),
        next_(lists_) {}

  EventOutcome run(int64_t item) {
    first_column_ = item / a_.parts * together_;
    width_ = smaller(together_, a_.columns - first_column_);
    first_list_ = a_.lists * (item % a_.parts) / a_.parts;
    here_ = a_.lists * (item % a_.parts + 1) / a_.parts - first_list_;
    const int64_t vectors = (width_ + kVector - 1) / kVector;
    stride_ = vectors * kVector;
    start();
    // With events enough, in pieces that fit the L1 cache.
    const int64_t l1_rows = kL1Bytes / int64_t(stride_ * sizeof(S));
    const int64_t piece = events() >= kEventsPerPiece * here_ * (a_.length / l1_rows + 1) ? l1_rows : chunk_;
    for (int64_t k0 = 0; k0 < a_.length; k0 += chunk_) {
      const int64_t rows = smaller(chunk_, a_.length - k0);
      if (!load(k0, rows)) return kNotFinite;
      for (int64_t k = 0; k < rows; k += piece) {
        const int64_t size = smaller(piece, rows - k);
        switch (vectors) {
          case 1: add<1>(k, k0 + k, size); break;
          case 2: add<2>(k, k0 + k, size); break;
          case 3: add<3>(k, k0 + k, size); break;
          default: add<4>(k, k0 + k, size);
        }
      }
    }
    for (int64_t l = 0; l < here_; ++l)
      if (next_.data[l] != a_.count[first_list_ + l]) return kDisordered;
    store();
    return kFinite;
  }

 private:
  static constexpr int64_t kVector = Vector<S>::kWidth;
  static constexpr int64_t kTileBytes = 256 << 10, kL1Bytes = 24 << 10;
  static constexpr int64_t kEventsPerPiece = 12;  // of a list: the fewest that pay for a visit
  static constexpr int64_t kAhead = 2;            // lists, whose events are asked for: each lies apart from the one before
  using Numbers = typename Vector<S>::Type;

  int64_t events() const {
    int64_t sum = 0;
    for (int64_t l = 0; l < here_; ++l) sum += a_.count[first_list_ + l];
    return sum;
  }

  void start() {
    S first[64] = {};
    if (a_.bias)
      for (int64_t j = 0; j < width_; ++j) first[j] = static_cast<const S*>(a_.bias)[first_column_ + j];
    for (int64_t l = 0; l < here_; ++l) {
      for (int64_t j = 0; j < stride_; ++j) sums_.data[l * stride_ + j] = first[j];
      next_.data[l] = 0;
    }
  }

  // Rows of the matrix, side by side. False if not all of them are finite.
  bool load(int64_t k0, int64_t rows) {
    const S* const from = static_cast<const S*>(a_.matrix) + k0 * a_.matrix_row + first_column_ * a_.matrix_column;
    if (a_.matrix_column == 1) copy(from, a_.matrix_row, rows, width_, tile_.data, stride_);
    else transpose(from, a_.matrix_column, width_, rows, tile_.data, stride_);
    for (int64_t k = 0; k < rows; ++k)
      for (int64_t j = width_; j < stride_; ++j) tile_.data[k * stride_ + j] = S(0);
    Numbers any = {};
    for (int64_t i = 0; i < rows * stride_; i += kVector) any += *reinterpret_cast<const Numbers*>(tile_.data + i) * S(0);
    for (int64_t i = 0; i < kVector; ++i)
      if (any[i] != S(0)) return false;
    return true;
  }

  // Adds what of each list lies in rows [first, first + size) of the matrix, which begin at row `k` of the tile.
  template <int vectors>
  void add(int64_t k, int64_t first, int64_t size) {
    const S* const tile = tile_.data + k * stride_;
    for (int64_t l = 0; l < here_; ++l) {
      const int64_t list = first_list_ + l, count = smaller(a_.count[list], a_.length);
      const int32_t* const place = a_.place + list * a_.length;
      const S* const value = static_cast<const S*>(a_.value) + list * a_.length;
      int64_t e = next_.data[l];
      if (l + kAhead < here_) {
        const int64_t at = (list + kAhead) * a_.length + next_.data[l + kAhead];
        __builtin_prefetch(a_.place + at);
        __builtin_prefetch(static_cast<const S*>(a_.value) + at);
      }
      if (e >= count || uint64_t(place[e] - first) >= uint64_t(size)) continue;
      Numbers* const sums = reinterpret_cast<Numbers*>(sums_.data + l * vectors * kVector);
      Numbers sum[vectors];
      for (int i = 0; i < vectors; ++i) sum[i] = sums[i];
      do {
        const Numbers* const row = reinterpret_cast<const Numbers*>(tile + (place[e] - first) * (vectors * kVector));
        for (int i = 0; i < vectors; ++i) sum[i] += value[e] * row[i];
      } while (++e < count && uint64_t(place[e] - first) < uint64_t(size));
      for (int i = 0; i < vectors; ++i) sums[i] = sum[i];
      next_.data[l] = int32_t(e);
    }
  }

  void store() {
    S* const to = static_cast<S*>(a_.out) + first_list_ * a_.out_row + first_column_ * a_.out_column;
    if (a_.out_column == 1) copy(sums_.data, stride_, here_, width_, to, a_.out_row);
    else transpose(sums_.data, stride_, here_, width_, to, a_.out_column);
  }

  const EventMatmul a_;
  const int64_t together_, lists_, chunk_;
  int64_t first_column_ = 0, width_ = 0, first_list_ = 0, here_ = 0, stride_ = 0;
  Scratch<S> tile_, sums_;
  Scratch<int32_t> next_;  // event of each list
};

template <class S>
void multiply(const EventMatmul& a, int64_t begin, int64_t end) {
  Product<S> product(a);
  for (int64_t item = begin; item < end; ++item) a.outcome[item] = product.run(item);
}

}  // namespace

void find_events(const FindEvents& a, int64_t begin, int64_t end) {
  const auto find = [&](auto zero) {
    using S = decltype(zero);
    return a.of_columns ? find_in_columns<S>(a, begin, end) : find_in_rows<S>(a, begin, end);
  };
  return a.dtype == DType::f64 ? find(double{}) : find(float{});
}

void event_matmul(const EventMatmul& a, int64_t begin, int64_t end) {
  if (a.dtype == DType::f64) multiply<double>(a, begin, end);
  else multiply<float>(a, begin, end);
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
