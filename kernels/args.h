// What crosses from a binding into a kernel: raw pointers, sizes and scalars. Tensors are (T, N), time first, where N walks
// the neurons in memory order. Pointers marked "or null" switch the term off. State buffers are float, or double for double data.
#pragma once

#include <cmath>
#include <cstdint>
#include <limits>

#include "math/clamped.h"
#include "math/convex.h"
#include "math/feedback.h"
#include "math/lif.h"
#include "math/local.h"
#include "math/tssl_bp.h"

namespace spikeops {

enum class DType : int { f32, f64, f16, bf16 };

struct LifNeuron {
  DType dtype;           // of x, spikes and their gradients
  int64_t T, N;
  int64_t x_stride;      // from one time step of x to the next: N, or 0 where x (N) is the same in all of them
  double decay, threshold, input_scale, reset_amount, v_reset, v_rest;
  int reset;             // Reset
  bool strict, detach_reset;
  const void* x;
  const void* decay_per_neuron;  // (N) state, or null: `decay` for all
  const void* v_init;            // (N) state, or null: 0
};

struct LifForward {
  LifNeuron neuron;
  void* spikes;          // (T, N) data
  void* v_last;          // (N) state
};

struct LifRateForward {
  LifNeuron neuron;
  int weighting;         // Weighting
  void* rate;            // (N) data
};

struct LifBackward {
  LifNeuron neuron;
  int surrogate;         // Surrogate
  double surrogate_scale, surrogate_peak;
  const void* grad_spikes = nullptr;  // (T, N) data, or null: 0. Unused where grad_rate is given
  const void* grad_rate = nullptr;    // (N) data, or null: the gradient is that of the spikes, not of the rate
  int weighting = 0;                  // Weighting of grad_rate
  const void* grad_v_last = nullptr;  // (N) state, or null: 0
  void* grad_x = nullptr;             // (T, N) data, or (N), summed over time, where x is the same in all time steps
  void* grad_decay = nullptr;         // (N) state, summed over time, or null
  void* grad_v_init = nullptr;        // (N) state, or null
};

struct TsslBpNeuron {
  DType dtype;
  int64_t T, N;
  double tau_m, tau_s, threshold;
  const void* x;            // (T, N) data
};

struct TsslBpForward {
  TsslBpNeuron neuron;
  void* psc;                // (T, N) data
  void* spikes;             // (T, N) data, or null
};

struct TsslBpBackward {
  TsslBpNeuron neuron;
  const void* grad_psc;     // (T, N) data
  void* grad_x;             // (T, N) data
};

struct SynapticFilter {
  DType dtype;
  int64_t T, N;
  double tau_s;
  const void* in;           // forward: x, backward: the upstream gradient; (T, N) data
  void* out;                // forward: a, backward: the gradient of x; (T, N) data
};

// Neurons that stop at their threshold: neuron n has that of channel n / inner % C. The input is the same in all time steps.
struct ClampedForward {
  DType dtype;
  int64_t T, N, C, inner;
  double dt, leak;
  const void* x;            // (N) data
  const void* threshold;    // (C) state
  void* count;              // (N) data
  void* v;                  // (N) state
};

// The published gradient of their thresholds. Neurons lie as (outer, C, inner), of which `samples` make the batch.
struct ClampedThresholds {
  DType dtype;              // of count
  int64_t outer, C, inner, samples;
  double gain, drift;
  const void* grad_v;       // (outer, C, inner) state
  const void* count;        // (outer, C, inner) data
  double* partials;         // (clamped_blocks(outer, inner), C)
  void* grad;               // (C) state
};

// Neurons of feedback networks, updated in place.
struct FeedbackNeuron {
  DType dtype;
  int64_t T, N;
  const void* drive;        // (T, N) data, or null: 0
  const void* current;      // (N) data, or (T, N) where current_per_step, or null: 0
  bool current_per_step;
  const void* factor;       // (N) data, or null: the mask of the drive; for ternary neurons the gate of the spikes
  void* membrane;           // (N) state
  void* spikes;             // (T, N) data
  void* rate;               // (N) state
  void* count;              // (N) state, or null
  int32_t* fired;           // (T), or null: whether any spike of the step is not 0. CPU kernels only ever set it: see start()
};

struct FeedbackStep {
  FeedbackNeuron neuron;
  double leak, threshold, reset_amount;
};

struct TernaryStep {
  FeedbackNeuron neuron;
  double drive_scale, leak, threshold, amplitude;
};

// A layer that learns by ELL or FELL and its classifier. Units lie in the order of the membrane potentials, samples outermost.
struct LocalLearningStep {
  DType dtype;
  int64_t N, U, K;          // samples, units, classes
  double decay, threshold;
  int surrogate;            // Surrogate
  double surrogate_scale, surrogate_peak;
  double error_scale;
  const void* current;      // (N, U) data
  const void* weight;       // (K, U) data
  const void* feedback;     // (K, U) data: the matrix through which errors come back, `weight` itself or another
  const int64_t* labels;    // (N)
  void* membrane;           // (N, U) state, before its reset
  void* spikes;             // (N, U) data
  void* derivative;         // (N, U) data; may be `gradient`, where nobody wants to see it
  void* gradient;           // (N, U) data
  void* trace;              // (N, U) state, or null
  void* class_membrane;     // (N, K) state
  void* count;              // (N, K) state
  void* squared_error;      // (N) state
  void* error;              // (N, K) data
  void* class_derivative;   // (N, K) data, or null
};

struct LocalGradientInTime {
  DType dtype;
  int64_t T, N;
  double decay, threshold;
  const void* gradient;     // (N) data
  const void* derivatives;  // (T, N) data
  void* gradients;          // (T + 1, N) data
};

// Spikes may also come as 1-byte integers or bools, or packed (kernels/math/pack.h).
enum class SpikeFormat : int { f32, f64, f16, bf16, byte, int32, int64 };

struct SpikeCount {
  SpikeFormat format;
  int64_t T, N;
  const void* spikes;       // (T, N)
  void* count;              // (N): int32 for integer input (values summed), the data type for floating input
};

struct PackedCount {
  int64_t words, N;
  const void* packed;       // (words, N) SpikeWord
  int32_t* count;           // (N)
};

struct Pack {
  SpikeFormat format;
  int64_t T, N;
  const void* spikes;       // (T, N): nonzero is a spike. Written by unpack
  void* packed;             // (ceil(T / 16), N) SpikeWord. Read by unpack
};

struct PoissonEncode {
  DType dtype;
  int64_t T, N;
  const void* p;            // (N) data: firing probability per step
  const int64_t* seed;      // (1)
  void* spikes;             // (T, N) data
};

struct LatencyEncode {
  DType dtype;
  int64_t T, N;
  const void* p;            // (N) data, 0..1
  void* spikes;             // (T, N) data
};

// Convolution of mostly silent spikes. On the CPU only.
struct EventConv {
  DType dtype;              // f32 or f64
  bool transposed;
  int64_t batch, in_channels, out_channels, in_h, in_w, out_h, out_w, kernel_h, kernel_w;
  int64_t stride_h, stride_w, padding_h, padding_w, dilation_h, dilation_w;
  const void* x;            // (batch, in_h, in_w, in_channels)
  const void* weight;       // (kernel_h, kernel_w, in_channels, out_channels padded to whole vectors of 64 bytes)
  const void* bias;         // (out_channels), or null
  void* out;                // (batch, out_h, out_w, out_channels)
};

// The gradient of its weights, in parts that are to be added up: part i is that of the samples [batch i / count, batch (i + 1) / count).
struct EventConvWeight {
  EventConv conv;           // without weight, bias and out
  int64_t count;
  const void* grad_out;     // (batch, out_h, out_w, out_channels)
  void* parts;              // (count, kernel_h, kernel_w, in_channels, out_channels padded)
};

// Sums of rows in a fixed order, whatever the number of threads: see kernels/math/row_sum.h.
struct RowSum {
  bool is_double;
  int64_t rows, columns;
  const void* in;           // (rows, columns), contiguous, float or double
  void* out;                // (rows)
  double* partials;         // (rows, ceil(columns / kRowSumBlock))
};

// Trials of the convex-optimisation network (kernels/math/convex.h). float or double data only. With `targets` the network
// learns from one trial after the other; without, the trials are independent. Matrices are transposed where a row is then
// what one input, or one spike, does to all neurons.
struct ConvexTrials {
  DType dtype;
  int64_t T, B, N, K;       // time steps (one less than time bins), trials, neurons, inputs
  int64_t M, Y;             // dimensions of the readout and of the targets
  double dt, leak, spike_cost, sigma_v;
  double feedforward_rate, threshold_rate, threshold_drift, forgetting;
  double change, hold;      // what a change of an input by 1/s, and an input of 1, ask of the membranes
  int64_t buffer_steps;     // time steps of each trial without learning
  const void* x;            // (T + 1, B, K)
  void* feedforward;        // (K, N). Written when learning
  const void* recurrent;    // (N, N), row: the neuron that fires
  void* thresholds;         // (N). Written when learning
  const void* decoder;      // (N, M), or null: the readout is the firing rates, M = N
  const void* noise;        // (T, B, N) standard normal numbers, or null
  const int64_t* seed;      // (1): draws the noise, or null
  const void* targets;      // (B, Y), or null: no learning
  const void* encoder;      // (N, Y)
  void* feedforward_rows;   // (N, K): the same weights as `feedforward`. Written when learning
  int32_t* spikes;          // (T, B): the neuron that fires, or -1
  void* readout;            // (T + 1, B, M)
};

// Scalars are rounded to the state's precision here and nowhere else, as PyTorch rounds a Python number that meets a tensor.
template <class S>
static inline LifParams<S> lif_params(const LifNeuron& n) {
  const S threshold = S(n.threshold);
  const S above = std::nextafter(threshold, std::numeric_limits<S>::infinity());
  return {S(n.decay), S(n.input_scale), S(n.v_rest), S(n.v_reset), S(n.reset_amount), threshold,
          n.strict ? above : threshold, n.detach_reset};
}

template <class S>
static inline TsslBpParams<S> tssl_bp_params(const TsslBpNeuron& n) {
  const double theta_m = 1.0 / n.tau_m, theta_s = 1.0 / n.tau_s;
  const S threshold = S(n.threshold);
  return {S(theta_m), S(theta_s), S(1.0 - theta_m), S(1.0 - theta_s), threshold,
          std::nextafter(threshold, std::numeric_limits<S>::infinity()), S(1.0 / (4.0 * n.tau_s))};
}

template <class S>
static inline ClampedParams<S> clamped_params(const ClampedForward& a) {
  return {S(a.dt), S(a.leak)};
}

template <class S>
static inline ConvexParams<S> convex_params(const ConvexTrials& a) {
  return {S(a.dt),
          S(a.leak),
          S(a.spike_cost),
          S(a.change),
          S(a.hold),
          S(1.0 - a.leak * a.dt),
          S(std::sqrt(2.0 * a.dt * a.leak) * a.sigma_v),
          S(a.feedforward_rate),
          S(a.threshold_rate),
          S(a.forgetting),
          S(a.dt * a.threshold_drift)};
}

template <class S>
static inline FeedbackParams<S> feedback_params(const FeedbackStep& a) {
  return {S(a.leak), S(a.threshold), S(a.reset_amount)};
}

template <class S>
static inline TernaryParams<S> feedback_params(const TernaryStep& a) {
  return {S(a.drive_scale), S(a.leak), S(a.threshold), S(a.amplitude)};
}

template <class S>
static inline LocalParams<S> local_params(const LocalLearningStep& a) {
  return {S(a.decay), S(a.threshold), S(a.surrogate_scale), S(a.surrogate_peak), S(a.error_scale)};
}

}  // namespace spikeops
