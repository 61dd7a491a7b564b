// exp(x) for x <= 0: the same float operations on every backend, and simple enough for compilers to vectorise.
#pragma once

#include <cmath>

#include "base.h"

namespace spikeops {

// Relative error below 3e-7; exactly 1 at 0. x must lie in [-87, 0], where the result is a normal number.
SPIKEOPS_HD float exp_bounded(float x) {
  const float round_to_integer = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
  const float shifted = x * 1.44269504f + round_to_integer;
  const float n = shifted - round_to_integer;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  // 1 + r + r^2 * (minimax polynomial of degree 3): error 1.05e-7 for |r| <= ln(2) / 2
  float p = 0.008312501013278961f;
  p = p * r + 0.041890330612659454f;
  p = p * r + 0.16667115688323975f;
  p = p * r + 0.499992311000824f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t power_of_two = (float_bits(shifted) + 127u - 0x4b400000u) << 23;
  return p * bits_float(power_of_two);
}

SPIKEOPS_HD double exp_bounded(double x) { return ::exp(x); }

// For any x <= 0, -infinity and NaN too. In float32 it is 0 under exp(-87) = 1.6e-38: what is smaller is next to denormal, and
// products with it are slow.
SPIKEOPS_HD float exp_nonpositive(float x) {
  const float e = exp_bounded(x);
  return x < -87.0f ? 0.0f : e;
}
SPIKEOPS_HD double exp_nonpositive(double x) { return exp_bounded(x); }

}  // namespace spikeops
