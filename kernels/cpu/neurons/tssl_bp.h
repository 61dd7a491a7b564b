// The TSSL-BP neuron (kernels/math/tssl_bp.h) as the walk through time takes it.
#pragma once

#include "../../math/tssl_bp.h"
#include "../walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Data, bool with_spikes> struct TsslBpOutput { Data psc, spikes; };
template <class Data> struct TsslBpOutput<Data, false> { Data psc; };

template <class DataType, bool with_spikes>
struct TsslBp {
  using Types = TsslBp;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = TsslBpParams<S>;
  using Fixed = Nothing;
  using State = TsslBpState<S>;
  struct History { S u, a; };
  struct Input { Data x; };
  using Output = TsslBpOutput<Data, with_spikes>;
  using Result = Nothing;

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed, History& history, Output& out) {
    const S u = tssl_bp_step(state, to_state(in.x), p).u;
    history = {u, state.a};
    if constexpr (with_spikes) out.spikes = spike_value<Data>(u >= p.fire_level);
    out.psc = from_state<Data>(state.a);
  }

  SPIKEOPS_HD State after(const Params& p, History history) { return {history.u >= p.fire_level ? S(0) : history.u, history.a}; }

  using Numbers = TsslBp;
  using BackParams = Params;
  using Carry = TsslBpCarry<S>;
  using Parameters = Nothing;
  using Number = Data;
  struct Gradient { Data psc; };
  using BackInput = Input;
  using Before = State;
  static constexpr bool kHasRate = false;

  // The change of the membrane potential in this step follows from the state before it.
  SPIKEOPS_HD S step_back(const Params& p, Carry& carry, State before, History history, Input in, Gradient gradient, Fixed) {
    const S du = tssl_bp_step(before, to_state(in.x), p).du;
    return tssl_bp_backward_step(carry, to_state(gradient.psc), history.u, du, history.u >= p.fire_level,
                                 history.a < p.quiet_level, p);
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
