// Neurons of feedback networks, one time step: spiking (IDE, Xiao et al., NeurIPS 2021; SPIDE, Xiao et al., Neural Networks 2023)
// and ternary (SPIDE's backward pass). The state is summed up as it goes: rate = leak * rate + spike, count = number of spikes.
#pragma once

#include "args.h"

namespace spikeops {

template <class S>
struct FeedbackParams {
  S leak, threshold, reset_amount;
};

template <class S>
struct TernaryParams {
  S drive_scale, leak, threshold, amplitude;
};

template <class S>
struct FeedbackState { S membrane, rate, count; };

// The factor where none is given.
template <class S>
SPIKEOPS_HD S no_factor(const FeedbackParams<S>&) { return S(1); }
template <class S>
SPIKEOPS_HD S no_factor(const TernaryParams<S>& p) { return p.amplitude; }

// The drive where none is given: the zero that, times its factor, leaves every number as it is when it is added, -0 too.
template <class S>
SPIKEOPS_HD S no_drive(const FeedbackParams<S>&) { return S(-0.0); }
template <class S>
SPIKEOPS_HD S no_drive(const TernaryParams<S>& p) { return p.drive_scale < S(0) ? S(0) : S(-0.0); }

// Advances the state and returns what the neuron sends on. `factor` is the mask of the drive here and the gate of the spikes in
// the ternary neuron. Multiplying by 1 changes no bit: a leak of 1 needs no branch.
template <class S>
SPIKEOPS_HD S feedback_neuron_step(FeedbackState<S>& state, S drive, S current, S factor, const FeedbackParams<S>& p) {
  const S u = (state.membrane + factor * drive) + current;
  const bool fires = u >= p.threshold;
  const S spike = fires ? S(1) : S(0);
  state.rate = p.leak * state.rate + spike;
  state.count += spike;
  state.membrane = p.leak * (fires ? u - p.reset_amount : u);
  return spike;
}

template <class S>
SPIKEOPS_HD S feedback_neuron_step(FeedbackState<S>& state, S drive, S current, S factor, const TernaryParams<S>& p) {
  const S u = (state.membrane + current) + p.drive_scale * drive;
  const S sign = (u >= p.threshold ? S(1) : S(0)) - (u <= -p.threshold ? S(1) : S(0));
  const S spike = p.amplitude * sign;
  state.rate = p.leak * state.rate + spike;
  state.count += absolute(sign);
  state.membrane = p.leak * (u - spike);
  return sign * factor;
}

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
  int32_t* fired;           // (T), or null: whether any spike of the step is not 0. It is only ever set: ClearFired comes first
};

// Before a step that is asked which of its time steps fired: none has yet.
struct ClearFired {
  int64_t T;
  int32_t* fired;           // (T)
};
SPIKEOPS_HD Shares shares_of(const ClearFired& a) { return {a.T, a.T, 1}; }  // too few for a second thread

struct FeedbackStep {
  FeedbackNeuron neuron;
  double leak, threshold, reset_amount;
};

struct TernaryStep {
  FeedbackNeuron neuron;
  double drive_scale, leak, threshold, amplitude;
};

template <class S>
static inline FeedbackParams<S> feedback_params(const FeedbackStep& a) {
  return {S(a.leak), S(a.threshold), S(a.reset_amount)};
}

template <class S>
static inline TernaryParams<S> feedback_params(const TernaryStep& a) {
  return {S(a.drive_scale), S(a.leak), S(a.threshold), S(a.amplitude)};
}

}  // namespace spikeops
