// The first-order synapse (kernels/math/synapse.h) as the walk through time takes it. Its adjoint walks from the last step to the
// first and needs no history.
#pragma once

#include "../../math/synapse.h"
#include "../walk.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
struct SynapseParams {
  S theta_s, one_minus_theta_s;
};

template <class DataType, bool adjoint>
struct Synapse {
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = SynapseParams<S>;
  using Fixed = Nothing;
  using History = Nothing;
  using Result = Nothing;
  struct State { S a; };
  struct Input { Data x; };
  struct Output { Data a; };

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed, History&, Output& out) {
    if constexpr (adjoint) state.a = synapse_backward_step(state.a, to_state(in.x), p.theta_s, p.one_minus_theta_s);
    else state.a = synapse_step(state.a, to_state(in.x), p.theta_s);
    out.a = from_state<Data>(state.a);
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
