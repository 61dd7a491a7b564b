// LIF neurons that keep less than x (kernels/math/lif_kept.h), as the walk through time takes them: what those with bits and those with
// distances have in common. What is kept of a step is made, or read, between steps, from further rows of the state.
#pragma once

#include "../../math/lif_kept.h"
#include "../walk.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// A neuron without a reset is one that subtracts 0.
template <class S>
LifParams<S> lif_kept_params(const LifNeuron& n) {
  LifParams<S> params = lif_params<S>(n);
  if (n.reset == int(Reset::none)) params.reset_amount = S(0);
  return params;
}

// The state is the membrane potential and, behind it, `rows` numbers that are nobody else's.
template <class Neuron, class Args>
Walk<typename Neuron::Types> lif_kept_walk(const Args& a, const typename Neuron::Params& params, int rows) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  auto w = walk_of<Neuron>(params, a.neuron.T);
  w.input[0] = {static_cast<const Data*>(a.neuron.x), a.neuron.x_stride};
  w.output[0] = {static_cast<Data*>(a.spikes), a.neuron.N};
  w.initial[0] = static_cast<const S*>(a.neuron.v_init);
  w.last[0] = static_cast<S*>(a.v_last);
  for (int k = 1; k <= rows; ++k) w.unwanted[k] = true;
  return w;
}

// Likewise the gradient of the membrane potential and, behind it, `rows` numbers.
template <class Neuron, class Args>
Walk<typename Neuron::Types> lif_kept_walk_back(const Args& a, const typename Neuron::Params& params, int rows) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  auto w = walk_of<Neuron>(params, a.neuron.T, true);
  w.input[0] = {static_cast<const Data*>(a.grad_spikes), a.neuron.N};
  w.output[0] = {static_cast<Data*>(a.grad_x), a.neuron.N};  // one of the two
  w.result[0] = static_cast<Data*>(a.grad_x);
  w.initial[0] = static_cast<const S*>(a.grad_v_last);
  w.last[0] = static_cast<S*>(a.grad_v_init);
  for (int k = 1; k <= rows; ++k) w.unwanted[k] = true;
  return w;
}

// What comes out on the way back: the gradient of x in each step or, where x is the same in all of them, its sum over time.
template <class Data, bool summed> struct LifKeptGradient {
  struct Output { Data grad_x; };
  struct Result {};
};
template <class Data> struct LifKeptGradient<Data, true> {
  struct Output {};
  struct Result { Data grad_x; };
};

template <class Data, class State, class S>
SPIKEOPS_HD void lif_kept_put(const LifKeptBack<S>& p, S grad_u, State&, typename LifKeptGradient<Data, false>::Output& out) {
  out.grad_x = from_state<Data>(p.step_scale * grad_u);
}
template <class Data, class State, class S>
SPIKEOPS_HD void lif_kept_put(const LifKeptBack<S>& p, S grad_u, State& state, typename LifKeptGradient<Data, true>::Output&) {
  state.sum += p.step_scale * grad_u;
}

template <class Data, bool summed, class State, class S>
SPIKEOPS_HD typename LifKeptGradient<Data, summed>::Result lif_kept_result(const LifKeptBack<S>& p, State state) {
  if constexpr (summed) return {from_state<Data>(p.sum_scale * state.sum)};
  else return {};
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
