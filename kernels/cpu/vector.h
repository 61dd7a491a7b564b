// Numbers that stay in registers while a loop adds to them.
#pragma once

#include <type_traits>

#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// 64 bytes of numbers: GCC and Clang keep these in registers, which they do not do with a small array.
template <class S>
struct Vector {
  typedef S Type __attribute__((vector_size(64)));
  typedef S Unaligned __attribute__((vector_size(64), aligned(sizeof(S)), may_alias));
  static constexpr int64_t kWidth = 64 / int64_t(sizeof(S));
};

// A register of numbers, as wide as the instruction set has them.
#if defined(__AVX512F__)
constexpr int kRegisterBytes = 64;
#elif defined(__AVX__)
constexpr int kRegisterBytes = 32;
#else
constexpr int kRegisterBytes = 16;
#endif
template <class S>
struct Register {
  typedef S Type __attribute__((vector_size(kRegisterBytes)));
  typedef S Unaligned __attribute__((vector_size(kRegisterBytes), aligned(sizeof(S)), may_alias));
  static constexpr int kWidth = kRegisterBytes / int(sizeof(S));
};

template <class S>
using Numbers = typename Register<S>::Type;

template <class S>
SPIKEOPS_HD Numbers<S> load(const S* from) {
  return *reinterpret_cast<const typename Register<S>::Unaligned*>(from);
}
template <class S>
SPIKEOPS_HD void store(const Numbers<S>& numbers, S* to) {
  *reinterpret_cast<typename Register<S>::Unaligned*>(to) = numbers;
}
template <class S>
SPIKEOPS_HD Numbers<S> all(S number) {
  return number - Numbers<S>{};
}

// Four numbers.
template <class S>
struct Quad {
  typedef S Type __attribute__((vector_size(4 * sizeof(S))));
  typedef S Unaligned __attribute__((vector_size(4 * sizeof(S)), aligned(sizeof(S)), may_alias));
};

// The lanes of a (0 to 3) and b (4 to 7) with these numbers.
#if defined(__clang__)
#define SPIKEOPS_LANES(S, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SPIKEOPS_LANES(S, a, b, ...) \
  __builtin_shuffle(a, b, typename Quad<std::conditional_t<sizeof(S) == 8, int64_t, int32_t>>::Type{__VA_ARGS__})
#endif

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
