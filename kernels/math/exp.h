// exp(x) for x <= 0: the same float operations on every backend, and simple enough for compilers to vectorise.
#pragma once

#include <cmath>

#include "base.h"

namespace spikeops {

// Relative error below 2e-7. Arguments under -87 are treated as -87 (1.6e-38), so that the result stays a normal number.
SPIKEOPS_HD float exp_nonpositive(float x) {
  x = x < -87.0f ? -87.0f : x;
  const float round_to_integer = 12582912.0f;  // 1.5 * 2^23: adding it leaves the nearest integer in the low mantissa bits
  const float shifted = x * 1.44269504f + round_to_integer;
  const float n = shifted - round_to_integer;
  const float r = (x - n * 0.693359375f) - n * -2.12194440e-4f;  // ln 2 in two parts
  float p = 1.0f / 5040.0f;
  p = p * r + 1.0f / 720.0f;
  p = p * r + 1.0f / 120.0f;
  p = p * r + 1.0f / 24.0f;
  p = p * r + 1.0f / 6.0f;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const uint32_t power_of_two = (float_bits(shifted) + 127u - 0x4b400000u) << 23;
  return p * bits_float(power_of_two);
}

SPIKEOPS_HD double exp_nonpositive(double x) { return ::exp(x < -700.0 ? -700.0 : x); }

}  // namespace spikeops
