// The neurons of feedback networks (kernels/math/feedback.h), spiking and ternary, as the walk through time takes them.
#pragma once

#include "../../math/feedback.h"
#include "../walk.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Data, bool has_factor> struct FeedbackInput { Data drive, current, factor; };
template <class Data> struct FeedbackInput<Data, false> { Data drive, current; };

// ParamsType is FeedbackParams or TernaryParams.
template <class DataType, class ParamsType, bool has_factor>
struct Feedback {
  using Types = Feedback;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = ParamsType;
  using Fixed = Nothing;
  using State = FeedbackState<S>;
  using History = Nothing;
  using Result = Nothing;
  using Input = FeedbackInput<Data, has_factor>;  // the factor is the same in all steps
  struct Output { Data spikes; };

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed, History&, Output& out) {
    S factor = no_factor(p);
    if constexpr (has_factor) factor = to_state(in.factor);
    out.spikes = from_state<Data>(feedback_neuron_step(state, to_state(in.drive), to_state(in.current), factor, p));
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
