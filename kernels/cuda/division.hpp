// Division without a branch for each quotient.
#pragma once

#include "../math/base.h"
#include "gpu.hpp"

namespace spikeops::cuda {

// Correctly rounded quotients of ordinary numbers, |numerator| in [2^-100, 2^100] and |denominator| in [2^-20, 2^20] (or NaN, which
// comes out as it went in). CUDA's own division is the same sequence of operations behind a branch to another one for numbers
// beyond its range; such a branch in each division keeps those of a thread's neurons from overlapping. Here numbers that are not
// ordinary are only noted, so that a thread can look once, after many quotients, and then repeat them all with plain divisions.
class OrdinaryDivision {
 public:
  // A denominator of at least 1.
  __device__ __forceinline__ float of(float numerator, float denominator) {
    note(absolute(numerator) < 0x1p-100f || absolute(numerator) > 0x1p100f || denominator > 0x1p20f);
    return quotient(numerator, denominator);
  }

  // Any denominator, where the numerator is known to be ordinary.
  __device__ __forceinline__ float of_ordinary(float numerator, float denominator) {
    note(absolute(denominator) < 0x1p-20f || absolute(denominator) > 0x1p20f);
    return quotient(numerator, denominator);
  }

  __device__ __forceinline__ double of(double numerator, double denominator) { return numerator / denominator; }
  __device__ __forceinline__ double of_ordinary(double numerator, double denominator) { return numerator / denominator; }

  // Makes the quotients so far count as not ordinary if `condition` holds.
  __device__ __forceinline__ void note(bool condition) { all_ordinary_ = all_ordinary_ && !condition; }

  // Whether all numbers so far were ordinary, without which the quotients are worth nothing.
  __device__ __forceinline__ bool all_ordinary() const { return all_ordinary_; }

 private:
  // The reciprocal's error is below 1 unit in the last place; up to 2 the outcome is exact.
  __device__ __forceinline__ static float quotient(float numerator, float denominator) {
#if defined(__CUDA_ARCH__)
    float reciprocal;
    asm("rcp.approx.ftz.f32 %0, %1;" : "=f"(reciprocal) : "f"(denominator));
    reciprocal = __fmaf_rn(reciprocal, __fmaf_rn(-denominator, reciprocal, 1.0f), reciprocal);
    const float quotient = numerator * reciprocal;
    return __fmaf_rn(reciprocal, __fmaf_rn(-denominator, quotient, numerator), quotient);
#else
    return numerator / denominator;
#endif
  }

  bool all_ordinary_ = true;
};

}  // namespace spikeops::cuda
