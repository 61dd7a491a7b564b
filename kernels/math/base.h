// Shared by every backend: one neuron, one time step, no torch, no loops over neurons.
// Everything has internal linkage, because the CPU kernels compile these headers once per instruction set.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__CUDACC__)
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#define SPIKEOPS_HD __host__ __device__ __forceinline__ static
#else
#define SPIKEOPS_HD static inline __attribute__((always_inline))
#endif

namespace spikeops {

// Storage formats of the 16-bit types. Conversions are integer arithmetic, so that compilers vectorise them and every
// backend rounds alike (to nearest, ties to even). CUDA devices do the same in one instruction.
struct bf16 { uint16_t bits; };
struct fp16 { uint16_t bits; };

SPIKEOPS_HD uint32_t float_bits(float x) {
#if defined(__CUDA_ARCH__)
  return __float_as_uint(x);
#else
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

SPIKEOPS_HD float bits_float(uint32_t bits) {
#if defined(__CUDA_ARCH__)
  return __uint_as_float(bits);
#else
  float x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

SPIKEOPS_HD float absolute(float x) {
#if defined(__CUDA_ARCH__)
  return fabsf(x);  // a flag of the instruction that uses it
#else
  return bits_float(float_bits(x) & 0x7fffffffu);
#endif
}
SPIKEOPS_HD double absolute(double x) { return x < 0 ? -x : x; }

SPIKEOPS_HD float to_state(float x) { return x; }
SPIKEOPS_HD double to_state(double x) { return x; }
SPIKEOPS_HD float to_state(bf16 x) { return bits_float(uint32_t(x.bits) << 16); }
SPIKEOPS_HD float to_state(fp16 x) {
#if defined(__CUDA_ARCH__)
  return __half2float(__ushort_as_half(x.bits));
#else
  const uint32_t sign = uint32_t(x.bits & 0x8000u) << 16;
  const uint32_t magnitude = uint32_t(x.bits & 0x7fffu) << 13;
  // Normal and subnormal numbers: shift into place, then scale by 2^112 (exact). Infinity and NaN keep a full exponent.
  const float scaled = bits_float(magnitude) * bits_float(0x77800000u);
  const uint32_t special = magnitude | 0x7f800000u;
  const bool finite = magnitude < 0x0f800000u;
  return bits_float((finite ? float_bits(scaled) : special) | sign);
#endif
}

SPIKEOPS_HD bf16 float_to_bf16(float x) {
#if defined(__CUDA_ARCH__)
  return bf16{__bfloat16_as_ushort(__float2bfloat16_rn(x))};
#else
  const uint32_t bits = float_bits(x);
  const uint32_t rounded = bits + 0x7fffu + ((bits >> 16) & 1u);
  const bool nan = (bits & 0x7fffffffu) > 0x7f800000u;
  return bf16{uint16_t(nan ? 0x7fc0u : rounded >> 16)};
#endif
}

SPIKEOPS_HD fp16 float_to_fp16(float x) {
#if defined(__CUDA_ARCH__)
  return fp16{__half_as_ushort(__float2half_rn(x))};
#else
  const uint32_t bits = float_bits(x);
  const uint32_t sign = (bits >> 16) & 0x8000u;
  const uint32_t magnitude = bits & 0x7fffffffu;
  // Normal halves: rebias the exponent and round the 13 dropped bits. An overflow carries into infinity by itself.
  const uint32_t normal = (magnitude - 0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13;
  // Subnormal halves: adding 0.5 lets the float adder round to a multiple of 2^-24.
  const uint32_t subnormal = float_bits(bits_float(magnitude) + 0.5f) - 0x3f000000u;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x47800000u ? 0x7c00u : half;
  half = magnitude > 0x7f800000u ? 0x7e00u : half;
  return fp16{uint16_t(half | sign)};
#endif
}

template <class A, class B> struct SameType { static constexpr bool value = false; };
template <class A> struct SameType<A, A> { static constexpr bool value = true; };

// The state's number as data of type Data.
template <class Data, class S>
SPIKEOPS_HD Data from_state(S x) {
  if constexpr (SameType<Data, bf16>::value) return float_to_bf16(x);
  else if constexpr (SameType<Data, fp16>::value) return float_to_fp16(x);
  else return x;
}

// 1 for a spike, 0 for none. (Written on the bits: gcc does not vectorise a choice between two structs.)
template <class Data>
SPIKEOPS_HD Data spike_value(bool spike) {
  if constexpr (SameType<Data, bf16>::value) return bf16{uint16_t(spike ? 0x3f80 : 0)};
  else if constexpr (SameType<Data, fp16>::value) return fp16{uint16_t(spike ? 0x3c00 : 0)};
  else return spike ? Data(1) : Data(0);
}

// The type in which a neuron's state is kept for data of type Data.
template <class Data> struct StateOf { using type = float; };
template <> struct StateOf<double> { using type = double; };
template <class Data> using State = typename StateOf<Data>::type;

}  // namespace spikeops
