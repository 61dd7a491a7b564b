// The LIF neuron behind batch norm (kernels/math/batch_norm_lif.h) as the walk through time takes it, and its step back.
#pragma once

#include "../../math/batch_norm_lif.h"
#include "../walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
struct BatchNormLifBackParams {
  S input_scale, threshold, fire_level, v_reset, reset_amount;
  S surrogate_scale, surrogate_peak;
  S decay;
};

// What does not depend on the type of the data.
template <class StateType>
struct BatchNormLifNumbers {
  using S = StateType;
  using Fixed = Norm<S>;
  struct State { S v; };
  struct History { S u; };

  using BackParams = BatchNormLifBackParams<S>;
  using Number = S;
  struct Carry { S grad_v, sum, product; };  // over time: of the gradient of y, and of its product with x - mean
  struct Gradient { S spikes; };
  struct BackInput { S x; };
  using Parameters = Nothing;  // their gradients are carried along
  using Before = Nothing;
  static constexpr bool kHasRate = false;
};

template <class DataType>
struct BatchNormLifTypes : BatchNormLifNumbers<spikeops::State<DataType>> {
  using Types = BatchNormLifTypes;
  using Data = DataType;
  using Numbers = BatchNormLifNumbers<spikeops::State<Data>>;
  using Params = LifParams<typename Numbers::S>;
  using Result = Nothing;
  struct Input { Data x; };
  struct Output { Data spikes; };
};

template <class DataType, Reset reset>
struct BatchNormLif : BatchNormLifTypes<DataType> {
  using Types = BatchNormLifTypes<DataType>;
  using Data = DataType;
  using S = typename Types::S;
  static constexpr Reset kReset = reset;

  SPIKEOPS_HD void step(const LifParams<S>& p, typename Types::State& state, typename Types::Input in, Norm<S> norm,
                        typename Types::History& history, typename Types::Output& out) {
    const S y = normalised(S(to_state(in.x)), norm.mean, norm.scale, norm.bias);
    const S u = lif_membrane(state.v, y, p.decay, p.input_scale, p.v_rest);
    const bool spike = u >= p.fire_level;
    state.v = lif_reset<reset>(u, spike, p.reset_amount, p.v_reset);
    history.u = u;
    out.spikes = spike_value<Data>(spike);
  }
};

template <class S, Reset reset, Surrogate kind, bool detach_reset>
struct BatchNormLifBack : BatchNormLifNumbers<S> {
  using Numbers = BatchNormLifNumbers<S>;

  // The gradient of y.
  SPIKEOPS_HD S step_back(const BatchNormLifBackParams<S>& p, typename Numbers::Carry& carry, Nothing,
                          typename Numbers::History history, typename Numbers::BackInput in, typename Numbers::Gradient gradient,
                          Norm<S> norm) {
    const S u = history.u;
    const S derivative = surrogate_derivative<kind>(u - p.threshold, p.surrogate_scale, p.surrogate_peak);
    const S grad_u = lif_grad_membrane<reset>(gradient.spikes, carry.grad_v, u, u >= p.fire_level, derivative, p.reset_amount,
                                              p.v_reset, detach_reset);
    carry.grad_v = grad_u * p.decay;
    const S grad_y = grad_u * p.input_scale;
    carry.sum = carry.sum + grad_y;
    carry.product = carry.product + grad_y * (in.x - norm.mean);
    return grad_y;
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
