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

template <class DataType>
struct SynapseTypes {
  using Types = SynapseTypes;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = SynapseParams<S>;
  using Fixed = Nothing;
  using History = Nothing;
  using Result = Nothing;
  struct State { S a; };
  struct Input { Data x; };
  struct Output { Data a; };
};

template <class Data, bool adjoint>
struct Synapse : SynapseTypes<Data> {
  using Types = SynapseTypes<Data>;

  SPIKEOPS_HD void step(const typename Types::Params& p, typename Types::State& state, typename Types::Input in, Nothing, Nothing&,
                        typename Types::Output& out) {
    if constexpr (adjoint) state.a = synapse_backward_step(state.a, to_state(in.x), p.theta_s, p.one_minus_theta_s);
    else state.a = synapse_step(state.a, to_state(in.x), p.theta_s);
    out.a = from_state<Data>(state.a);
  }
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
