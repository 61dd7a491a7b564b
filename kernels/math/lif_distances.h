// LIF neurons whose backward pass reads in the place of x how far from the threshold each step's potential was, rounded to bfloat16. A
// surrogate derivative of a distance is then known to 2^-8 of its peak, and of a spike all is known: the sign bit is set where
// there was none, whatever rounding makes of the distance.
#pragma once

#include "lif_kept.h"

namespace spikeops {

constexpr uint32_t kSilent = 0x8000;  // the sign bit of what is kept
constexpr double kMostBfloat16 = 0x1.FEp127;

// What is kept of distance = membrane - threshold. No finite one becomes infinite. float64 is rounded to float32 first, as PyTorch does.
template <class S>
SPIKEOPS_HD bf16 lif_kept_distance(S distance, bool fired) {
  const S size = absolute(distance), most = S(kMostBfloat16);
  const S within = size < most ? size : most;
  const bf16 rounded = float_to_bf16(float(size < S(INFINITY) ? within : size));
  return bf16{uint16_t((rounded.bits & (kSilent - 1)) | (fired ? 0u : kSilent))};
}

SPIKEOPS_HD bool lif_has_fired(bf16 kept) { return kept.bits < kSilent; }

// Numbers of the way back.
template <class S>
struct LifDistancesBack {
  LifKeptBack<S> step;
  S threshold;
  SurrogateNumbers<S> surrogate;
};

// Of float32 or float64: x of 16 bits takes no more than distances do.
struct LifDistancesForward {
  LifNeuron neuron;
  void* spikes;     // (T, N) data
  void* v_last;     // (N) state
  void* distances;  // (T, N) bfloat16
};

struct LifDistancesBackward {
  LifNeuron neuron;  // without x, and what belongs to neurons; x_stride 0: x is the same in all time steps
  int surrogate, in_thresholds;  // one of is_of_distance
  double scale, peak, center, a, b, c;
  const void* grad_spikes;  // (T, N) data
  const void* grad_v_last;  // (N) state, or null: 0
  const void* distances;    // (T, N) bfloat16
  void* grad_x;             // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_v_init;        // (N) state, or null
};

template <class S>
static inline LifDistancesBack<S> lif_distances_back(const LifDistancesBackward& a) {
  const bool is_plain = a.surrogate <= int(Surrogate::gaussian) && a.center == 0 && a.in_thresholds == 0;
  return {lif_kept_back<S>(a.neuron, is_plain), S(a.neuron.threshold), {S(a.scale), S(a.peak), S(a.center), S(a.a), S(a.b), S(a.c)}};
}

}  // namespace spikeops
