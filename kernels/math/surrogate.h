// Surrogate derivatives d spike / d membrane, as functions of distance = membrane - threshold.
// `scale` and `peak` are worked out once on the host (spikeops/surrogate): peak is the value at the threshold.
// Infinitely far away all are 0; that of NaN is NaN, so that no kind hides a membrane that has become NaN.
#pragma once

#include "exp.h"

namespace spikeops {

// The numbers are part of the op schemas: spikeops/surrogate holds the same table.
enum class Surrogate : int { atan = 0, sigmoid = 1, exponential = 2, fast_sigmoid = 3, triangle = 4, rectangle = 5, gaussian = 6 };

struct PlainDivision {
  template <class S>
  SPIKEOPS_HD S of(S numerator, S denominator) { return numerator / denominator; }
};

// `division.of` divides; denominators are at least 1 (or NaN).
template <Surrogate kind, class S, class Division>
SPIKEOPS_HD S surrogate_derivative(S distance, S scale, S peak, Division& division) {
  if constexpr (kind == Surrogate::atan) {
    const S z = scale * distance;
    return division.of(peak, S(1) + z * z);
  } else if constexpr (kind == Surrogate::sigmoid) {
    const S e = exp_nonpositive(-(scale * absolute(distance)));
    const S d = S(1) + e;
    return division.of(peak * S(4) * e, d * d);
  } else if constexpr (kind == Surrogate::exponential) {
    return peak * exp_nonpositive(-(scale * absolute(distance)));
  } else if constexpr (kind == Surrogate::fast_sigmoid) {
    const S d = S(1) + scale * absolute(distance);
    return division.of(peak, d * d);
  } else if constexpr (kind == Surrogate::triangle) {
    const S height = S(1) - scale * absolute(distance);
    return height < S(0) ? S(0) : peak * height;
  } else if constexpr (kind == Surrogate::rectangle) {
    const S d = absolute(distance), outside = d > scale ? S(0) : d;  // what is neither is NaN
    return d <= scale ? peak : outside;
  } else {
    return peak * exp_nonpositive(-(scale * distance * distance));
  }
}

template <Surrogate kind, class S>
SPIKEOPS_HD S surrogate_derivative(S distance, S scale, S peak) {
  PlainDivision division;
  return surrogate_derivative<kind>(distance, scale, peak, division);
}

// For kernels where the choice is the same for all threads and a branch costs nothing.
template <class S>
SPIKEOPS_HD S surrogate_derivative(int kind, S distance, S scale, S peak) {
  switch (static_cast<Surrogate>(kind)) {
    case Surrogate::atan: return surrogate_derivative<Surrogate::atan>(distance, scale, peak);
    case Surrogate::sigmoid: return surrogate_derivative<Surrogate::sigmoid>(distance, scale, peak);
    case Surrogate::exponential: return surrogate_derivative<Surrogate::exponential>(distance, scale, peak);
    case Surrogate::fast_sigmoid: return surrogate_derivative<Surrogate::fast_sigmoid>(distance, scale, peak);
    case Surrogate::triangle: return surrogate_derivative<Surrogate::triangle>(distance, scale, peak);
    case Surrogate::rectangle: return surrogate_derivative<Surrogate::rectangle>(distance, scale, peak);
    default: return surrogate_derivative<Surrogate::gaussian>(distance, scale, peak);
  }
}

}  // namespace spikeops
