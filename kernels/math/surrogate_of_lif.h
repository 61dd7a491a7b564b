// Surrogate derivatives for neurons in the general form (general_lif.h): besides the bumps of surrogate.h, some that are no bump; they
// may lie off the threshold, and take it for the unit of distances and of heights.
#pragma once

#include "surrogate.h"

namespace spikeops {

// Go on where `Surrogate` ends. spikeops/surrogate holds the same numbers.
enum class SurrogateOfLif : int { step = 7, multi_gaussian = 8, periodic = 9, window = 10 };
constexpr int kSurrogatesOfLif = 11;

// Bits of `in_thresholds`.
constexpr int kDistanceInThresholds = 1, kHeightInThresholds = 2;

// Numbers of a layer.
template <class S>
struct SurrogateNumbers { S scale, peak, center, a, b, c; };

// The nearest whole number, half way the even one: an instruction of its own, which compilers know as that of the usual rounding.
SPIKEOPS_HD float nearest_whole(float x) { return ::rintf(x); }
SPIKEOPS_HD double nearest_whole(double x) { return ::rint(x); }

// The next whole number below, or the number itself.
template <class S>
SPIKEOPS_HD S whole_below(S x) {
  const S nearest = nearest_whole(x);
  return nearest > x ? nearest - S(1) : nearest;
}

// Which are functions of the distance from the threshold, and change the less the farther away they are: one that is rounded to a few
// bits tells nearly as much.
SPIKEOPS_HD constexpr bool is_of_distance(int kind) {
  return (kind >= 0 && kind <= int(Surrogate::gaussian) && kind != int(Surrogate::rectangle)) || kind == int(SurrogateOfLif::multi_gaussian);
}

// At a distance = membrane - threshold. For bumps of any kind, and the multi-Gaussian.
template <int kind, class S>
SPIKEOPS_HD S surrogate_at_distance(int in_thresholds, S distance, S threshold, const SurrogateNumbers<S>& n) {
  S value;
  if constexpr (kind == int(SurrogateOfLif::multi_gaussian)) {
    const S d = distance - n.center;
    const S left = d + n.c, right = d - n.c;
    const S sides = exp_nonpositive(-(n.b * right * right)) + exp_nonpositive(-(n.b * left * left));
    value = n.peak * exp_nonpositive(-(n.scale * d * d)) - n.a * sides;
  } else {
    const S d = in_thresholds & kDistanceInThresholds ? distance / threshold : distance;
    value = surrogate_derivative<static_cast<Surrogate>(kind)>(d - n.center, n.scale, n.peak);
  }
  return in_thresholds & kHeightInThresholds ? value / threshold : value;
}

// At the membrane potential u.
template <int kind, class S>
SPIKEOPS_HD S surrogate_of_lif(int in_thresholds, S u, S threshold, const SurrogateNumbers<S>& n) {
  S value;
  if constexpr (kind == int(SurrogateOfLif::step)) {
    const S level = threshold + n.center;
    const S below = u < level ? n.a : u - level;  // what is neither is NaN
    value = u >= level ? n.peak : below;
  } else if constexpr (kind == int(SurrogateOfLif::periodic)) {
    const S phase = u / threshold - S(0.5);
    const S above = threshold * (S(2) * (phase - whole_below(phase)) - S(1));
    const S below = (u - threshold) - n.center;
    value = n.peak * exp_nonpositive(-(n.scale * absolute(below >= S(0) ? above : below)));
  } else if constexpr (kind == int(SurrogateOfLif::window)) {
    const S spikes = u / threshold - n.center;
    const S under = spikes <= n.b ? n.peak : spikes > n.b ? S(0) : spikes;  // what is neither is NaN
    value = spikes < n.a ? S(0) : under;
  } else {
    return surrogate_at_distance<kind>(in_thresholds, u - threshold, threshold, n);
  }
  return in_thresholds & kHeightInThresholds ? value / threshold : value;
}

}  // namespace spikeops
