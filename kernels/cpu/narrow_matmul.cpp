// Products of a large matrix and a narrow one. Each number of the large one is read, or written, once: a piece of its columns at a time,
// for which the narrow one lies in the cache, and of that some rows, whose numbers meet each number of the narrow one that is loaded.
#include "../math/narrow_matmul.h"

#include "vector.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// As many outputs, and vectors of columns, as there are registers for beside kRows rows.
#if defined(__AVX512F__)
constexpr int kOutputs = 5, kVectors = 4;
#else
constexpr int kOutputs = 2, kVectors = 2;
#endif
constexpr int kRows = 4;
constexpr int64_t kPieceBytes = 2048;       // of a row, whose products are added up while the narrow matrix lies in L1
constexpr int64_t kWrittenBytes = 4096;     // of a row that is only written

// Calls body(first, Count{}) for items in groups of `together`, and for each of those that are left.
template <int value>
struct Count {
  static constexpr int kValue = value;
};
template <int together, class Body>
SPIKEOPS_HD void in_groups(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + together <= count; i += together) body(i, Count<together>{});
  for (; i < count; ++i) body(i, Count<1>{});
}

// Forward: `rows` rows of a piece of x and as many of the weight. A sum takes a vector of lanes, which on narrow machines is several
// registers.
template <class S>
struct Sums {
  static constexpr int kLanes = kNarrowLanes<S>, kWidth = Register<S>::kWidth, kParts = kLanes / kWidth;
  static constexpr int kRowsTogether = kRows / kParts > 1 ? kRows / kParts : 1;

  template <int rows, int outputs>
  static void add(const S* x, int64_t x_row, int64_t ahead, const S* weight, int64_t inner, int64_t n, S* sums, int64_t sums_row) {
    Numbers<S> sum[rows][outputs][kParts];
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < outputs; ++o)
        for (int p = 0; p < kParts; ++p) sum[r][o][p] = load(sums + r * sums_row + o * kLanes + p * kWidth);
    const auto add_lanes = [&](const S* from, int64_t from_row, const S* factor, int64_t factor_row) __attribute__((always_inline)) {
      for (int p = 0; p < kParts; ++p) {
        Numbers<S> numbers[rows];
        for (int r = 0; r < rows; ++r) numbers[r] = load(from + r * from_row + p * kWidth);
        for (int o = 0; o < outputs; ++o) {
          const Numbers<S> w = load(factor + o * factor_row + p * kWidth);
          for (int r = 0; r < rows; ++r) sum[r][o][p] += numbers[r] * w;
        }
      }
    };
    const int64_t whole = n / kLanes * kLanes;
    for (int64_t i = 0; i < whole; i += kLanes) {
      // Of the rows that come next: the hardware does not foresee short pieces of far rows.
      for (int r = 0; r < rows; ++r) __builtin_prefetch(x + ahead + r * x_row + i);
      add_lanes(x + i, x_row, weight + i, inner);
    }
    if (whole < n) {
      S last[rows][kLanes] = {}, factor[outputs][kLanes] = {};
      for (int64_t i = whole; i < n; ++i) {
        for (int r = 0; r < rows; ++r) last[r][i - whole] = x[r * x_row + i];
        for (int o = 0; o < outputs; ++o) factor[o][i - whole] = weight[o * inner + i];
      }
      add_lanes(last[0], kLanes, factor[0], kLanes);
    }
    for (int r = 0; r < rows; ++r)
      for (int o = 0; o < outputs; ++o)
        for (int p = 0; p < kParts; ++p) store(sum[r][o][p], sums + r * sums_row + o * kLanes + p * kWidth);
  }

};

// The sum of lanes, by halves.
template <int lanes, class S>
SPIKEOPS_HD S total_of(const S* lane) {
  if constexpr (lanes == 2) {
    return lane[0] + lane[1];
  } else {
    typedef S Half __attribute__((vector_size(lanes / 2 * sizeof(S)), aligned(sizeof(S)), may_alias));
    alignas(64) S sum[lanes / 2];
    *reinterpret_cast<Half*>(sum) = *reinterpret_cast<const Half*>(lane) + *reinterpret_cast<const Half*>(lane + lanes / 2);
    return total_of<lanes / 2>(sum);
  }
}

template <class S>
void multiply(const NarrowMatmul& a, int64_t begin, int64_t end) {
  using Sum = Sums<S>;
  constexpr int64_t kPiece = kPieceBytes / int64_t(sizeof(S));
  const int64_t sums_row = a.outputs * Sum::kLanes;
  Scratch<S> sums(kNarrowRows * sums_row);
  for_each_tile(begin, end, kNarrowRows, [&](int64_t r0, int64_t rows) {
    for (int64_t i = 0; i < rows * sums_row; ++i) sums.data[i] = S(0);
    for_each_tile(0, a.inner, kPiece, [&](int64_t k, int64_t n) {
      const S* const x = static_cast<const S*>(a.x) + r0 * a.x_row + k;
      const S* const weight = static_cast<const S*>(a.weight) + k;
      in_groups<Sum::kRowsTogether>(rows, [&](int64_t r, auto some_rows) {
        constexpr int together = decltype(some_rows)::kValue;
        const int64_t ahead = r + 2 * together <= rows ? together * a.x_row : 0;
        in_groups<kOutputs>(a.outputs, [&](int64_t o, auto some_outputs) {
          Sum::template add<together, decltype(some_outputs)::kValue>(x + r * a.x_row, a.x_row, ahead, weight + o * a.inner, a.inner, n,
                                                                      sums.data + r * sums_row + o * Sum::kLanes, sums_row);
        });
      });
    });
    S* const out = static_cast<S*>(a.out) + r0 * a.outputs;
    const S* const bias = static_cast<const S*>(a.bias);
    for (int64_t r = 0; r < rows; ++r)
      for (int64_t o = 0; o < a.outputs; ++o) {
        const S total = total_of<Sum::kLanes>(sums.data + r * sums_row + o * Sum::kLanes);
        out[r * a.outputs + o] = bias ? total + bias[o] : total;
      }
  });
}

// What `rows` rows of a piece of x add to `outputs` rows of the weight's gradient.
template <int rows, int outputs, class S>
void add_rows(const S* x, int64_t x_row, int64_t ahead, const S* grad_out, int64_t grad_row, int64_t n, S* grad_weight, int64_t inner) {
  constexpr int kWidth = Register<S>::kWidth;
  constexpr int64_t kLine = 64 / int64_t(sizeof(S));
  Numbers<S> factor[rows][outputs];
  for (int r = 0; r < rows; ++r)
    for (int o = 0; o < outputs; ++o) factor[r][o] = all(grad_out[r * grad_row + o]);
  int64_t i = 0;
  for (; i + kWidth <= n; i += kWidth) {
    if (i % kLine == 0)
      for (int r = 0; r < rows; ++r) __builtin_prefetch(x + ahead + r * x_row + i);
    Numbers<S> numbers[rows];
    for (int r = 0; r < rows; ++r) numbers[r] = load(x + r * x_row + i);
    for (int o = 0; o < outputs; ++o) {
      Numbers<S> sum = load(grad_weight + o * inner + i);
      for (int r = 0; r < rows; ++r) sum += numbers[r] * factor[r][o];
      store(sum, grad_weight + o * inner + i);
    }
  }
  for (; i < n; ++i)
    for (int o = 0; o < outputs; ++o) {
      S sum = grad_weight[o * inner + i];
      for (int r = 0; r < rows; ++r) sum += x[r * x_row + i] * factor[r][o][0];
      grad_weight[o * inner + i] = sum;
    }
}

template <class S>
void gradient_of_weight(const NarrowMatmulWeight& a, int64_t begin, int64_t end) {
  for_each_tile(begin, end, kPieceBytes / int64_t(sizeof(S)), [&](int64_t k, int64_t n) {
    S* const grad_weight = static_cast<S*>(a.grad_weight) + k;
    for (int64_t o = 0; o < a.outputs; ++o)
      for (int64_t i = 0; i < n; ++i) grad_weight[o * a.inner + i] = S(0);
    in_groups<kRows>(a.rows, [&](int64_t r, auto some_rows) {
      constexpr int together = decltype(some_rows)::kValue;
      const int64_t ahead = r + 2 * together <= a.rows ? together * a.x_row : 0;
      const S* const x = static_cast<const S*>(a.x) + r * a.x_row + k;
      const S* const grad_out = static_cast<const S*>(a.grad_out) + r * a.outputs;
      in_groups<kOutputs>(a.outputs, [&](int64_t o, auto some_outputs) {
        add_rows<together, decltype(some_outputs)::kValue>(x, a.x_row, ahead, grad_out + o, a.outputs, n, grad_weight + o * a.inner, a.inner);
      });
    });
  });
}

// `rows` rows of a piece of the gradient of x. What will be written next, `ahead`, is asked for meanwhile.
template <int rows, class S>
void write_rows(const S* grad_out, const S* weight, int64_t outputs, int64_t inner, int64_t n, int64_t ahead, S* grad_x) {
  constexpr int kWidth = Register<S>::kWidth;
  const auto write = [&](int64_t i, auto some_vectors) __attribute__((always_inline)) {
    constexpr int vectors = decltype(some_vectors)::kValue;
    for (int r = 0; r < rows; ++r) prefetch_for_write(grad_x + ahead + r * inner + i, vectors * kWidth);
    Numbers<S> sum[rows][vectors] = {};
    for (int64_t o = 0; o < outputs; ++o) {
      Numbers<S> w[vectors];
      for (int v = 0; v < vectors; ++v) w[v] = load(weight + o * inner + i + v * kWidth);
      for (int r = 0; r < rows; ++r)
        for (int v = 0; v < vectors; ++v) sum[r][v] += grad_out[r * outputs + o] * w[v];
    }
    for (int r = 0; r < rows; ++r)
      for (int v = 0; v < vectors; ++v) store(sum[r][v], grad_x + r * inner + i + v * kWidth);
  };
  int64_t i = 0;
  for (; i + kVectors * kWidth <= n; i += kVectors * kWidth) write(i, Count<kVectors>{});
  for (; i + kWidth <= n; i += kWidth) write(i, Count<1>{});
  for (; i < n; ++i)
    for (int r = 0; r < rows; ++r) {
      S sum = S(0);
      for (int64_t o = 0; o < outputs; ++o) sum += grad_out[r * outputs + o] * weight[o * inner + i];
      grad_x[r * inner + i] = sum;
    }
}

template <class S>
void gradient_of_input(const NarrowMatmulInput& a, int64_t begin, int64_t end) {
  for_each_tile(begin, end, kNarrowRows, [&](int64_t r0, int64_t rows) {
    for_each_tile(0, a.inner, kWrittenBytes / int64_t(sizeof(S)), [&](int64_t k, int64_t n) {
      in_groups<kRows>(rows, [&](int64_t r, auto some_rows) {
        constexpr int together = decltype(some_rows)::kValue;
        const int64_t ahead = r + 2 * together <= rows ? together * a.inner : 0;
        write_rows<together>(static_cast<const S*>(a.grad_out) + (r0 + r) * a.outputs, static_cast<const S*>(a.weight) + k, a.outputs, a.inner,
                             n, ahead, static_cast<S*>(a.grad_x) + (r0 + r) * a.inner + k);
      });
    });
  });
}

}  // namespace

void narrow_matmul(const NarrowMatmul& a, int64_t begin, int64_t end) {
  if (a.dtype == DType::f64) multiply<double>(a, begin, end);
  else multiply<float>(a, begin, end);
}

void narrow_matmul_weight(const NarrowMatmulWeight& a, int64_t begin, int64_t end) {
  if (a.dtype == DType::f64) gradient_of_weight<double>(a, begin, end);
  else gradient_of_weight<float>(a, begin, end);
}

void narrow_matmul_input(const NarrowMatmulInput& a, int64_t begin, int64_t end) {
  if (a.dtype == DType::f64) gradient_of_input<double>(a, begin, end);
  else gradient_of_input<float>(a, begin, end);
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
