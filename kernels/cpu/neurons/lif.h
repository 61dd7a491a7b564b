// The LIF neuron (kernels/math/lif.h) as the walk through time takes it: its spikes, its firing rate, and its step back.
#pragma once

#include "../../math/lif.h"
#include "../walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
struct LifBackParams {
  S threshold, fire_level, v_reset, reset_amount;
  S surrogate_scale, surrogate_peak;
};

// What does not depend on the type of the data: stepping back is compiled once for all types with the same state.
template <class StateType>
struct LifNumbers {
  using S = StateType;
  struct Fixed { S decay; };
  struct State { S v; };
  struct History { S u; };

  using BackParams = LifBackParams<S>;
  using Number = S;
  struct Carry { S grad_v; };
  struct Gradient { S spikes; };
  struct Parameters { S decay; };
  using Before = Nothing;
  using BackInput = Nothing;
  static constexpr bool kHasRate = true;
};

template <class DataType>
struct LifTypes : LifNumbers<spikeops::State<DataType>> {
  using Types = LifTypes;
  using Data = DataType;
  using Numbers = LifNumbers<spikeops::State<Data>>;
  using S = typename Numbers::S;
  using Params = LifParams<S>;
  struct Input { Data x; };
  struct Output { Data spikes; };
  using Result = Nothing;

  SPIKEOPS_HD bool fired(const Params& p, typename Numbers::History history) { return history.u >= p.fire_level; }
  SPIKEOPS_HD S leak(typename Numbers::Fixed fixed) { return fixed.decay; }
};

template <class DataType, Reset reset>
struct Lif : LifTypes<DataType> {
  using Types = LifTypes<DataType>;
  using Data = DataType;
  using S = typename Types::S;
  using State = typename Types::State;
  using Fixed = typename Types::Fixed;
  using History = typename Types::History;
  using Params = LifParams<S>;
  using Input = typename Types::Input;
  using Output = typename Types::Output;
  static constexpr Reset kReset = reset;

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed fixed, History& history, Output& out) {
    const S u = lif_membrane(state.v, to_state(in.x), fixed.decay, p.input_scale, p.v_rest);
    const bool spike = u >= p.fire_level;
    state.v = lif_reset<reset>(u, spike, p.reset_amount, p.v_reset);
    history.u = u;
    out.spikes = spike_value<Data>(spike);
  }

  SPIKEOPS_HD State after(const Params& p, History history) {
    return {lif_reset<reset>(history.u, history.u >= p.fire_level, p.reset_amount, p.v_reset)};
  }

  // Adds the gradient of each number per neuron; `grad_u` is that of the membrane potential of the step.
  SPIKEOPS_HD void parameter_step(const Params& p, typename Types::Parameters& sum, State before, S grad_u) {
    sum.decay += grad_u * (before.v - p.v_rest);
  }
};

template <class S, Reset reset, Surrogate kind, bool detach_reset>
struct LifBack : LifNumbers<S> {
  using Numbers = LifNumbers<S>;

  // The gradient of u, and through it that of the membrane potential before the step.
  SPIKEOPS_HD S step_back(const LifBackParams<S>& p, typename Numbers::Carry& carry, Nothing, typename Numbers::History history,
                          Nothing, typename Numbers::Gradient gradient, typename Numbers::Fixed fixed) {
    const S u = history.u;
    const S derivative = surrogate_derivative<kind>(u - p.threshold, p.surrogate_scale, p.surrogate_peak);
    const S grad_u = lif_grad_membrane<reset>(gradient.spikes, carry.grad_v, u, u >= p.fire_level, derivative, p.reset_amount,
                                              p.v_reset, detach_reset);
    carry.grad_v = grad_u * fixed.decay;
    return grad_u;
  }
};

// Its state while a rate is worked out.
template <class S, Weighting weighting> struct LifRateState { S v, spikes, weight; };
template <class S> struct LifRateState<S, Weighting::mean> { S v, spikes; };

template <class S>
struct LifRateParams {
  LifParams<S> neuron;
  S T;
};

template <class DataType, Weighting weighting>
struct LifRateTypes {
  using Types = LifRateTypes;
  using Data = DataType;
  using Spiking = LifTypes<Data>;
  using S = typename Spiking::S;
  using Params = LifRateParams<S>;
  using Fixed = typename Spiking::Fixed;
  using State = LifRateState<S, weighting>;
  using Input = typename Spiking::Input;
  using Output = Nothing;
  using History = Nothing;
  struct Result { Data rate; };

  SPIKEOPS_HD Result result(const Params& p, State state) {
    if constexpr (weighting == Weighting::decay) return {from_state<Data>(state.spikes / state.weight)};
    else return {from_state<Data>(state.spikes / p.T)};
  }
};

template <class DataType, Reset reset, Weighting weighting>
struct LifRate : LifRateTypes<DataType, weighting> {
  using Types = LifRateTypes<DataType, weighting>;
  using Data = DataType;
  using S = typename Types::S;
  using Params = typename Types::Params;
  using Fixed = typename Types::Fixed;
  using State = typename Types::State;
  using Input = typename Types::Input;

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed fixed, Nothing&, Nothing&) {
    const S u = lif_membrane(state.v, to_state(in.x), fixed.decay, p.neuron.input_scale, p.neuron.v_rest);
    const bool spike = u >= p.neuron.fire_level;
    state.v = lif_reset<reset>(u, spike, p.neuron.reset_amount, p.neuron.v_reset);
    if constexpr (weighting == Weighting::decay) {
      RateSums<S> sums{state.spikes, state.weight, S(0), S(0)};
      rate_step(sums, spike, fixed.decay);
      state.spikes = sums.spikes;
      state.weight = sums.weight;
    } else {
      state.spikes += spike ? S(1) : S(0);
    }
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
