// Standard normal numbers of Philox words, by the inverse of the normal distribution (Wichura, "Algorithm AS 241", Applied
// Statistics 1988, the version PPND7: relative error below 1e-6). Only IEEE operations that round correctly, so that every
// backend draws the same bits; that is why the logarithm is written out.
#pragma once

#include <cmath>

#include "philox.h"

namespace spikeops {

SPIKEOPS_HD uint64_t double_bits(double x) {
#if defined(__CUDA_ARCH__)
  return uint64_t(__double_as_longlong(x));
#else
  uint64_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  return bits;
#endif
}

SPIKEOPS_HD double bits_double(uint64_t bits) {
#if defined(__CUDA_ARCH__)
  return __longlong_as_double(int64_t(bits));
#else
  double x;
  std::memcpy(&x, &bits, sizeof x);
  return x;
#endif
}

// log(x) of a positive normal number, to about 1e-10: x = mantissa * 2^exponent with a mantissa in [sqrt(1/2), sqrt(2)), then
// log(mantissa) = 2 artanh((mantissa - 1) / (mantissa + 1)) by its series.
SPIKEOPS_HD double plain_log(double x) {
  const uint64_t bits = double_bits(x);
  double exponent = double(int64_t(bits >> 52) - 1022);
  double mantissa = bits_double((bits & 0x000fffffffffffffu) | 0x3fe0000000000000u);
  if (mantissa < 0.70710678118654752) {
    mantissa = mantissa * 2.0;
    exponent = exponent - 1.0;
  }
  const double z = (mantissa - 1.0) / (mantissa + 1.0), w = z * z;
  double series = w * (1.0 / 11.0) + 1.0 / 9.0;
  series = series * w + 1.0 / 7.0;
  series = series * w + 1.0 / 5.0;
  series = series * w + 1.0 / 3.0;
  series = series * w + 1.0;
  return exponent * 0.69314718055994531 + 2.0 * z * series;
}

// The quantile of the middle of the word's interval, (word + 1/2) / 2^32: at most 6.3 away from 0.
SPIKEOPS_HD double standard_normal(uint32_t word) {
  const double q = (double(word) - 2147483647.5) * 2.3283064365386963e-10;  // exact
  if (absolute(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    const double above = ((59.109374720 * r + 159.29113202) * r + 50.434271938) * r + 3.3871327179;
    const double below = ((67.187563600 * r + 78.757757664) * r + 17.895169469) * r + 1.0;
    return q * above / below;
  }
  const double r = sqrt(-plain_log(0.5 - absolute(q))) - 1.6;
  const double above = ((0.17023821103 * r + 1.3067284816) * r + 2.7568153900) * r + 1.4234372777;
  const double below = (0.12021132975 * r + 0.73700164250) * r + 1.0;
  return q < 0 ? -(above / below) : above / below;
}

}  // namespace spikeops
