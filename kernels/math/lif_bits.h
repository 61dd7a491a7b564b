// LIF neurons whose backward pass reads bits in the place of x. A surrogate derivative of two values, such as a window, leaves little to
// know of a step: whether it has the inner value or the outer one and, where a spike cuts the gradient off (reset to a value, which must
// be detached), whether the neuron has fired. For reset by subtraction, and without one, the first bit is enough.
//
// A neuron's bits follow each other over its bytes, lowest bit first: one or two of each step (kInside, then kFired), and a last one that
// says whether its membrane potential is NaN after the last step. NaN does not fire, so that the potential stays NaN once it is; and the
// gradient of NaN is NaN, as is that of all steps before it back to the last spike that is reset to a value.
#pragma once

#include "lif_kept.h"

namespace spikeops {

constexpr int kBitsPerByte = 8;

SPIKEOPS_HD constexpr int lif_bits_per_step(Reset reset) { return reset == Reset::to ? 2 : 1; }
SPIKEOPS_HD constexpr int lif_steps_per_byte(Reset reset) { return kBitsPerByte / lif_bits_per_step(reset); }
// Of a neuron with T steps.
SPIKEOPS_HD constexpr int64_t lif_bytes(Reset reset, int64_t T) { return T / lif_steps_per_byte(reset) + 1; }

// Where a surrogate derivative has its inner value.
template <class S>
struct LifWindow { S threshold, scale, center, low, high; };

SPIKEOPS_HD constexpr bool is_lif_window(int surrogate) {
  return surrogate == int(Surrogate::rectangle) || surrogate == int(SurrogateOfLif::step) || surrogate == int(SurrogateOfLif::window);
}

// As surrogate_of_lif asks, in the same words. No matter for NaN.
template <int surrogate, class S>
SPIKEOPS_HD bool is_inside(S u, const LifWindow<S>& w) {
  if constexpr (surrogate == int(Surrogate::rectangle)) {
    return absolute((u - w.threshold) - w.center) <= w.scale;
  } else if constexpr (surrogate == int(SurrogateOfLif::step)) {
    return u >= w.threshold + w.center;
  } else {
    const S spikes = u / w.threshold - w.center;
    return spikes >= w.low && spikes <= w.high;
  }
}

template <class S>
SPIKEOPS_HD bool is_inside(int surrogate, S u, const LifWindow<S>& w) {
  if (surrogate == int(Surrogate::rectangle)) return is_inside<int(Surrogate::rectangle)>(u, w);
  if (surrogate == int(SurrogateOfLif::step)) return is_inside<int(SurrogateOfLif::step)>(u, w);
  return is_inside<int(SurrogateOfLif::window)>(u, w);
}

// Numbers of the way back.
template <class S>
struct LifBitsBack {
  LifKeptBack<S> step;
  S inner, outer;  // surrogate derivatives
};

struct LifBitsForward {
  LifNeuron neuron;
  int surrogate;  // one of is_lif_window
  double scale, center, low, high;
  void* spikes;   // (T, N) data
  void* v_last;   // (N) state
  void* bits;     // (lif_bytes, N) bytes
};

struct LifBitsBackward {
  LifNeuron neuron;         // without x, and what belongs to neurons; x_stride 0: x is the same in all time steps
  int surrogate, in_thresholds;
  double peak, center, outer;
  const void* grad_spikes;  // (T, N) data
  const void* grad_v_last;  // (N) state, or null: 0
  const void* bits;         // (lif_bytes, N) bytes
  void* grad_x;             // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_v_init;        // (N) state, or null
};

template <class S>
static inline LifWindow<S> lif_window(const LifBitsForward& a) {
  return {S(a.neuron.threshold), S(a.scale), S(a.center), S(a.low), S(a.high)};
}

template <class S>
static inline LifBitsBack<S> lif_bits_back(const LifBitsBackward& a) {
  const S unit = a.in_thresholds & kHeightInThresholds ? S(a.neuron.threshold) : S(1);
  const bool is_plain = a.surrogate == int(Surrogate::rectangle) && a.center == 0;
  return {lif_kept_back<S>(a.neuron, is_plain), S(a.peak) / unit, S(a.outer) / unit};
}

}  // namespace spikeops
