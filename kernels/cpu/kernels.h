// CPU kernels: loops over time and neurons. Each is compiled once per instruction set; kernels() picks the widest that this
// CPU has. Kernels take a range of neurons, so that the caller can share the work among threads: results never depend on how.
#pragma once

#include "../args.h"

namespace spikeops::cpu {

struct Kernels {
  const char* isa;
  void (*lif_forward)(const LifForward&, int64_t begin, int64_t end);
  void (*lif_rate_forward)(const LifRateForward&, int64_t begin, int64_t end);
  void (*lif_backward)(const LifBackward&, int64_t begin, int64_t end);
  void (*tssl_bp_forward)(const TsslBpForward&, int64_t begin, int64_t end);
  void (*tssl_bp_backward)(const TsslBpBackward&, int64_t begin, int64_t end);
  void (*feedback_step)(const FeedbackStep&, int64_t begin, int64_t end);  // after start()
  void (*ternary_step)(const TernaryStep&, int64_t begin, int64_t end);
  void (*local_learning_step)(const LocalLearningStep&, int64_t begin, int64_t end);  // a range of samples
  void (*local_gradient_in_time)(const LocalGradientInTime&, int64_t begin, int64_t end);
  void (*synaptic_filter_forward)(const SynapticFilter&, int64_t begin, int64_t end);
  void (*synaptic_filter_backward)(const SynapticFilter&, int64_t begin, int64_t end);
  void (*spike_count)(const SpikeCount&, int64_t begin, int64_t end);
  void (*packed_count)(const PackedCount&, int64_t begin, int64_t end);
  void (*pack_spikes)(const Pack&, int64_t begin, int64_t end);
  void (*unpack_spikes)(const Pack&, int64_t begin, int64_t end);
  void (*poisson_encode)(const PoissonEncode&, int64_t begin, int64_t end);
  void (*latency_encode)(const LatencyEncode&, int64_t begin, int64_t end);
  void (*clamped_forward)(const ClampedForward&, int64_t begin, int64_t end);
  void (*clamped_partials)(const ClampedThresholds&, int64_t begin, int64_t end);   // a range of blocks
  void (*clamped_thresholds)(const ClampedThresholds&, int64_t begin, int64_t end); // a range of channels, after all blocks
  void (*convex_trials)(const ConvexTrials&, int64_t begin, int64_t end);  // a range of trials; all of them when learning
  void (*event_conv)(const EventConv&, int64_t begin, int64_t end);  // a range of samples
  void (*event_conv_weight)(const EventConvWeight&, int64_t begin, int64_t end);  // a range of parts
  void (*row_sum_blocks)(const RowSum&, int64_t begin, int64_t end);  // a range of rows * blocks
  void (*row_sum_rows)(const RowSum&, int64_t begin, int64_t end);    // a range of rows, after all blocks
};

// What must happen once, before the ranges of a step: no neuron has fired yet.
inline void start(const FeedbackNeuron& a) {
  for (int64_t t = 0; a.fired && t < a.T; ++t) a.fired[t] = 0;
}

// The table for this CPU. SPIKEOPS_CPU_ISA=v2|v3|v4 in the environment asks for a narrower one.
const Kernels& kernels();

}  // namespace spikeops::cpu
