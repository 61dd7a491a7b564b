// Numbers that stay in registers while a loop adds to them.
#pragma once

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

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
