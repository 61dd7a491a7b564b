// The neurons of feedback networks (kernels/math/feedback.h), spiking and ternary, as the walk through time takes them.
#pragma once

#include "../../math/feedback.h"
#include "../walk.h"

namespace spikeops::cpu {
namespace {

template <class S, bool has_factor> struct FeedbackFixed { S factor; };
template <class S> struct FeedbackFixed<S, false> {};

// ParamsType is FeedbackParams or TernaryParams.
template <class DataType, class ParamsType, bool has_factor>
struct Feedback {
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = ParamsType;
  using Fixed = FeedbackFixed<S, has_factor>;
  using State = FeedbackState<S>;
  using History = Nothing;
  using Result = Nothing;
  struct Input { Data drive, current; };
  struct Output { Data spikes; };

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed fixed, History&, Output& out) {
    S factor = no_factor(p);
    if constexpr (has_factor) factor = fixed.factor;
    out.spikes = from_state<Data>(feedback_neuron_step(state, to_state(in.drive), to_state(in.current), factor, p));
  }
};

}  // namespace
}  // namespace spikeops::cpu
