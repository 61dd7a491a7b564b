// The LIF neuron in its general form (kernels/math/general_lif.h) as the walk through time takes it, and its step back.
#pragma once

#include "../../math/general_lif.h"
#include "../walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
struct GeneralLifBackParams {
  GeneralLifParams<S> neuron;
  int surrogate, in_thresholds;
  Trace trace;
};

// What does not depend on the type of the data.
template <class StateType>
struct GeneralLifNumbers {
  using S = StateType;
  using Fixed = GeneralLifNeuronNumbers<S>;
  struct State { S v; };
  struct History { S v, u; };  // before the step, and before its reset

  using BackParams = GeneralLifBackParams<S>;
  using Number = S;
  using Carry = GeneralLifCarry<S>;
  using Parameters = Nothing;  // their gradients are carried along
  using Before = Nothing;
  struct Gradient { S spikes, trace; };
  struct BackInput { S x; };
  static constexpr bool kHasRate = false;
};

template <class DataType>
struct GeneralLifTypes : GeneralLifNumbers<spikeops::State<DataType>> {
  using Types = GeneralLifTypes;
  using Data = DataType;
  using Numbers = GeneralLifNumbers<spikeops::State<Data>>;
  using Params = GeneralLifParams<typename Numbers::S>;
  using Result = Nothing;
  struct Input { Data x; };
  struct Output { Data spikes, u, v; };  // membrane potentials before and after the reset
};

template <class DataType, ResetScheme scheme, bool counts, bool bounded = true>
struct GeneralLif : GeneralLifTypes<DataType> {
  using Types = GeneralLifTypes<DataType>;
  using Data = DataType;
  using S = typename Types::S;
  static constexpr ResetScheme kScheme = scheme;
  static constexpr bool kCounts = counts;
  using Unbounded = GeneralLif<Data, scheme, counts, false>;

  SPIKEOPS_HD void step(const GeneralLifParams<S>& p, typename Types::State& state, typename Types::Input in,
                        typename Types::Fixed numbers, typename Types::History& history, typename Types::Output& out) {
    const GeneralLifStep<S> done = general_lif_step(scheme, counts, bounded, state.v, to_state(in.x), numbers, p);
    history = {state.v, done.u};
    state.v = done.v;
    if constexpr (counts) out.spikes = from_state<Data>(done.spikes);
    else out.spikes = spike_value<Data>(done.spikes > S(0));
    out.u = from_state<Data>(done.u);
    out.v = from_state<Data>(done.v);
  }
};

// The surrogate derivative of each neuron.
template <int surrogate, int in_thresholds, class S>
SPIKEOPS_ROW void slope_row(const SurrogateNumbers<S>& given, const S* __restrict u, const S* __restrict threshold,
                            S* __restrict derivative, int64_t n) {
  const SurrogateNumbers<S> numbers = given;
  for (int64_t i = 0; i < n; ++i) derivative[i] = surrogate_of_lif<surrogate>(in_thresholds, u[i], threshold[i], numbers);
}

template <class S>
using SlopeRow = void (*)(const SurrogateNumbers<S>&, const S*, const S*, S*, int64_t);

template <class S, int surrogate = 0>
SlopeRow<S> slope_row_for(int kind, int in_thresholds) {
  if constexpr (surrogate + 1 < kSurrogatesOfLif)
    if (kind != surrogate) return slope_row_for<S, surrogate + 1>(kind, in_thresholds);
  if (in_thresholds & kDistanceInThresholds) return slope_row<surrogate, kDistanceInThresholds | kHeightInThresholds, S>;
  return in_thresholds ? slope_row<surrogate, kHeightInThresholds, S> : slope_row<surrogate, 0, S>;
}

// `carried`: the fields of the carry from that one on are sums over time that nobody asks for, which are neither read nor written.
// `plain`: the numbers are the same for all neurons, which have no bound, and no trace has a gradient.
template <class S, ResetScheme scheme, bool counts, bool detach_reset, int carried, bool plain>
SPIKEOPS_ROW void general_step_back_row(const GeneralLifParams<S>& given, const BackRows<GeneralLifNumbers<S>>& given_rows,
                                        const S* __restrict grad_u, const S* __restrict grad_v, const S* __restrict derivative) {
  const GeneralLifParams<S> params = given;
  const BackRows<GeneralLifNumbers<S>> rows = given_rows;
  const GeneralLifNeuronNumbers<S> of_all = load(rows.fixed, 0);
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < rows.n; ++i) {
    const GeneralLifNeuronNumbers<S> numbers = plain ? of_all : load(rows.fixed, i);
    const S u = rows.history.row[1][i], spikes = general_lif_spikes(counts, u, numbers.threshold, params);
    const GeneralLifStep<S> step = general_lif_step_again(scheme, counts, !plain, rows.history.row[0][i], u, spikes, numbers, params);
    GeneralLifCarry<S> carry = load_first<carried>(rows.from, i);
    rows.grad_input[i] = general_lif_step_back(scheme, counts, !plain, detach_reset, carry, rows.gradient.row[0][i],
                                               plain ? S(0) : grad_u[i], plain ? S(0) : grad_v[i], step, rows.input.row[0][i],
                                               derivative[i], numbers, params);
    store_first<carried>(rows.to, i, carry);
  }
}

template <class S, ResetScheme scheme, bool counts, bool detach_reset, int carried, bool plain>
void general_lif_back(const GeneralLifBackParams<S>& p, const BackRows<GeneralLifNumbers<S>>& rows) {
  static const S zeros[kTile] = {};
  alignas(64) S derivative[kTile];
  slope_row_for<S>(p.surrogate, p.in_thresholds)(p.neuron.surrogate, rows.history.row[1], rows.fixed.row[1], derivative, rows.n);
  const S* const trace = rows.gradient.row[1];
  general_step_back_row<S, scheme, counts, detach_reset, carried, plain>(
      p.neuron, rows, p.trace == Trace::before ? trace : zeros, p.trace == Trace::after ? trace : zeros, derivative);
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
