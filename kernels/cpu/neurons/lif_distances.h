// The LIF neuron that writes distances from its threshold, and its way back that reads them (kernels/math/lif_distances.h), as the walk
// through time takes them.
#pragma once

#include "../../math/lif_distances.h"
#include "lif_kept.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class DataType>
struct LifDistancesTypes {
  using Types = LifDistancesTypes;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = LifParams<S>;
  using Fixed = Nothing;
  using History = Nothing;
  using Result = Nothing;
  static constexpr int kRows = 1;
  struct State { S v, u; };
  struct Input { Data x; };
  struct Output { Data spikes; };
};

template <class Data, Reset reset>
struct LifDistances : LifDistancesTypes<Data> {
  using Types = LifDistancesTypes<Data>;
  using S = typename Types::S;

  SPIKEOPS_HD void step(const LifParams<S>& p, typename Types::State& state, typename Types::Input in, Nothing, Nothing&,
                        typename Types::Output& out) {
    const S u = lif_membrane(state.v, to_state(in.x), p.decay, p.input_scale, p.v_rest);
    const bool spike = u >= p.fire_level;
    state.v = lif_reset<reset>(u, spike, p.reset_amount, p.v_reset);
    state.u = u;
    out.spikes = spike_value<Data>(spike);
  }
};

// Of a step: the surrogate derivative; for a reset to a value the potential before it, and whether there was a spike: 1 or 0.
template <class S, Reset reset, bool summed> struct LifDistancesBackState { S grad_v, derivative; };
template <class S> struct LifDistancesBackState<S, Reset::subtract, true> { S grad_v, derivative, sum; };
template <class S> struct LifDistancesBackState<S, Reset::to, false> { S grad_v, derivative, u, spike; };
template <class S> struct LifDistancesBackState<S, Reset::to, true> { S grad_v, derivative, u, spike, sum; };

template <class DataType, Reset reset, bool summed>
struct LifFromDistancesTypes {
  using Types = LifFromDistancesTypes;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = LifDistancesBack<S>;
  using Fixed = Nothing;
  using History = Nothing;
  using State = LifDistancesBackState<S, reset, summed>;
  using Output = typename LifKeptGradient<Data, summed>::Output;
  using Result = typename LifKeptGradient<Data, summed>::Result;
  static constexpr int kRows = reset == Reset::to ? 3 : 1;
  struct Input { Data grad_spikes; };

  SPIKEOPS_HD Result result(const Params& p, State state) { return lif_kept_result<Data, summed>(p.step, state); }
};

template <class Data, Reset reset, bool detached, bool summed>
struct LifFromDistances : LifFromDistancesTypes<Data, reset, summed> {
  using Types = LifFromDistancesTypes<Data, reset, summed>;
  using S = typename Types::S;
  using Params = typename Types::Params;
  using State = typename Types::State;

  SPIKEOPS_HD void step(const Params& p, State& state, typename Types::Input in, Nothing, Nothing&, typename Types::Output& out) {
    bool fired = false;
    S u = S(0);
    if constexpr (reset == Reset::to) fired = state.spike != S(0), u = state.u;
    const S grad_spike = to_state(in.grad_spikes);
    const S grad_u = lif_kept_step_back<reset, detached>(state.grad_v, grad_spike, state.derivative, fired, u, p.step);
    lif_kept_put<Data>(p.step, grad_u, state, out);
  }
};

// What is kept of a step's potentials and spikes.
template <class S>
SPIKEOPS_ROW void keep_row(const S* __restrict u, S threshold, const S* __restrict spikes, bf16* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = lif_kept_distance(u[i] - threshold, spikes[i] != S(0));
}

// And what follows from it: the potentials, up to rounding, and the spikes.
template <class S>
SPIKEOPS_ROW void kept_spike_row(const bf16* __restrict kept, S threshold, S* __restrict u, S* __restrict spikes, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    u[i] = threshold + S(to_state(kept[i]));
    spikes[i] = lif_has_fired(kept[i]) ? S(1) : S(0);
  }
}

// And the surrogate derivatives.
template <int surrogate, int in_thresholds, class S>
SPIKEOPS_ROW void kept_slope_row(const SurrogateNumbers<S>& given, S threshold, const bf16* __restrict kept, S* __restrict derivative,
                                 int64_t n) {
  const SurrogateNumbers<S> numbers = given;
  for (int64_t i = 0; i < n; ++i)
    derivative[i] = surrogate_at_distance<surrogate>(in_thresholds, S(to_state(kept[i])), threshold, numbers);
}

template <class S>
using KeptSlopeRow = void (*)(const SurrogateNumbers<S>&, S, const bf16*, S*, int64_t);

template <class S, int surrogate = 0>
KeptSlopeRow<S> kept_slope_row_for(int kind, int in_thresholds) {
  constexpr int last = int(SurrogateOfLif::multi_gaussian);
  if constexpr (!is_of_distance(surrogate)) {
    return kept_slope_row_for<S, surrogate + 1>(kind, in_thresholds);
  } else {
    if constexpr (surrogate < last)
      if (kind != surrogate) return kept_slope_row_for<S, surrogate + 1>(kind, in_thresholds);
    if (in_thresholds & kDistanceInThresholds) return kept_slope_row<surrogate, kDistanceInThresholds | kHeightInThresholds, S>;
    return in_thresholds ? kept_slope_row<surrogate, kHeightInThresholds, S> : kept_slope_row<surrogate, 0, S>;
  }
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
