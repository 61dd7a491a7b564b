// Rows that are written past the caches. A line that is written as usual is read from memory first, which is a third of the traffic of a
// forward pass; one that is written past the caches is not. Whoever reads it next finds it in memory only, as it would where the tensor
// has no room in the caches; where it has, what was saved in writing is still about as much as what reading takes longer.
#pragma once

#include "rows.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// How large a tensor may be that is written as usual, in bytes. What comes behind the neurons reads outputs next: as much as the cache that
// cores share (L3) holds of them along with the input. Gradients of the input come last, behind all that a step back has read: what lies
// close to a core (L2).
constexpr int64_t kRoomForOutputs = 4 << 20, kRoomForGradients = 2 << 20;

// Whether a tensor of so many numbers is written past the caches.
template <class Data>
SPIKEOPS_HD bool is_streamed(int64_t count, int64_t room) {
  return count >= room / int64_t(sizeof(Data));
}

// `to` is 64 bytes, a line.
SPIKEOPS_HD void stream_line(const void* from, void* to) {
#if defined(__AVX512F__)
  _mm512_stream_si512(static_cast<__m512i*>(to), _mm512_loadu_si512(from));
#elif defined(__AVX__)
  for (int k = 0; k < 2; ++k)
    _mm256_stream_si256(static_cast<__m256i*>(to) + k, _mm256_loadu_si256(static_cast<const __m256i*>(from) + k));
#elif defined(__SSE2__)
  for (int k = 0; k < 4; ++k) _mm_stream_si128(static_cast<__m128i*>(to) + k, _mm_loadu_si128(static_cast<const __m128i*>(from) + k));
#else
  std::memcpy(to, from, 64);
#endif
}

template <class Data>
SPIKEOPS_ROW void stream_row(const Data* __restrict from, Data* __restrict to, int64_t n) {
  constexpr int64_t line = 64 / int64_t(sizeof(Data));
  int64_t i = 0;
  for (; i < n && reinterpret_cast<uintptr_t>(to + i) % 64; ++i) to[i] = from[i];
  for (; i + line <= n; i += line) stream_line(from + i, to + i);
  for (; i < n; ++i) to[i] = from[i];
}

// Before another thread may read what was written.
SPIKEOPS_HD void end_of_stream() {
#if defined(__SSE2__)
  _mm_sfence();
#endif
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
