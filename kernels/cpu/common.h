// What the CPU kernels share. Included by files that are compiled once per instruction set: everything here has internal
// linkage, and no templates of the standard library are instantiated, lest the linker pick a copy that this CPU cannot run.
#pragma once

#include <cstdlib>

#include "../math/args.h"
#include "kernels.h"

#ifndef SPIKEOPS_ISA
#define SPIKEOPS_ISA native
#endif

namespace spikeops::cpu {
namespace {

// Neurons whose state is kept in L1 while their time steps pass by.
constexpr int64_t kTile = 1024;

SPIKEOPS_HD constexpr int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

// Calls body(first neuron, number of neurons) for each tile of [begin, end).
template <class Body>
inline void for_each_tile(int64_t begin, int64_t end, int64_t tile, Body body) {
  for (int64_t n0 = begin; n0 < end; n0 += tile) body(n0, smaller(tile, end - n0));
}

// Calls body(Data{}) with the C++ type of the data.
template <class Body>
inline void with_dtype(DType dtype, Body body) {
  switch (dtype) {
    case DType::f32: return body(float{});
    case DType::f64: return body(double{});
    case DType::f16: return body(fp16{});
    case DType::bf16: return body(bf16{});
  }
}

template <class Body>
inline void with_format(SpikeFormat format, Body body) {
  switch (format) {
    case SpikeFormat::f32: return body(float{});
    case SpikeFormat::f64: return body(double{});
    case SpikeFormat::f16: return body(fp16{});
    case SpikeFormat::bf16: return body(bf16{});
    case SpikeFormat::byte: return body(uint8_t{});
    case SpikeFormat::int32: return body(int32_t{});
    case SpikeFormat::int64: return body(int64_t{});
  }
}

// Uninitialised memory of a call, freed with it. Throws NoMemory.
template <class S>
struct Scratch {
  explicit Scratch(int64_t count) {
    int64_t bytes;
    if (__builtin_mul_overflow(count, int64_t(sizeof(S)), &bytes) || bytes > INT64_MAX - 63) throw NoMemory{INT64_MAX};
    data = static_cast<S*>(std::aligned_alloc(64, size_t(bytes + 63) / 64 * 64));
    if (!data && bytes) throw NoMemory{bytes};
  }
  ~Scratch() { std::free(data); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  S* data = nullptr;
};

// Asks for a row that is needed one time step later, into L2: L1 can wait for some twenty lines at a time only, and a row of more than
// these would hold up what asks for it. Hardware prefetchers see a row of each time step as a new stream, and have only just caught up when
// it ends.
template <class Data>
SPIKEOPS_HD void prefetch(const Data* row, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / int64_t(sizeof(Data))) __builtin_prefetch(row + i, 0, 2);
}

template <class Data>
SPIKEOPS_HD void prefetch_for_write(Data* row, int64_t n) {
  for (int64_t i = 0; i < n; i += 64 / int64_t(sizeof(Data))) __builtin_prefetch(row + i, 1);
}

// A row as numbers of the state's type: the row itself, or its conversion into `buffer`.
template <class Data, class S>
SPIKEOPS_HD const S* as_state(const Data* __restrict row, S* __restrict buffer, int64_t n) {
  if constexpr (sizeof(Data) == sizeof(S)) {
    return row;
  } else {
    for (int64_t i = 0; i < n; ++i) buffer[i] = to_state(row[i]);
    return buffer;
  }
}

}  // namespace
}  // namespace spikeops::cpu
