// The walk through time, the same for all neurons. A tile of neurons at a time takes all its steps, so that its state stays in
// L1. A neuron is a struct without members (neurons/):
//   Data, S                          types of what passes by, and of the state
//   Params                           numbers of the layer
//   Fixed, State, History            structs of S: numbers of each neuron, what passes from step to step, what stepping back needs
//   Input, Output, Result            structs of Data: what comes and goes in each step, and after the last one
//   step(params, state&, input, fixed, history&, output&)
//   result(params, state)            where Result is not empty
#pragma once

#include "rows.h"

namespace spikeops::cpu {
namespace {

struct Nothing {};

// Where a neuron's numbers lie.
template <class Neuron>
struct Walk {
  using Data = typename Neuron::Data;
  using S = typename Neuron::S;
  typename Neuron::Params params;
  int64_t T = 0;
  bool back_in_time = false;  // from the last time step to the first
  Series<const Data> input[kFields<Data, typename Neuron::Input> + 1] = {};
  Series<Data> output[kFields<Data, typename Neuron::Output> + 1] = {};
  PerNeuron<Data, S> fixed[kFields<S, typename Neuron::Fixed> + 1] = {};
  PerNeuron<Data, S> initial[kFields<S, typename Neuron::State> + 1] = {};
  S* last[kFields<S, typename Neuron::State> + 1] = {};  // the state after the last step, or null. May be where the initial state lies
  Data* result[kFields<Data, typename Neuron::Result> + 1] = {};
};

// One time step of a tile. `Kept` is what is written down: Output, or History.
template <class Neuron, class Kept, class Number>
SPIKEOPS_ROW void step_row(const typename Neuron::Params& given,
                                        const Rows<const typename Neuron::Data, typename Neuron::Input> in,
                                        const Rows<const typename Neuron::S, typename Neuron::Fixed> fixed,
                                        const Rows<const typename Neuron::S, typename Neuron::State> from,
                                        const Rows<typename Neuron::S, typename Neuron::State> to, const Rows<Number, Kept> kept,
                                        int64_t n) {
  const typename Neuron::Params params = given;  // what the loop reads through a reference keeps it from vectorising
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) {
    typename Neuron::State state = load(from, i);
    typename Neuron::History history;
    typename Neuron::Output output;
    Neuron::step(params, state, load(in, i), load(fixed, i), history, output);
    store(to, i, state);
    if constexpr (SameType<Kept, typename Neuron::History>::value) store(kept, i, history);
    else store(kept, i, output);
  }
}

template <class Neuron>
SPIKEOPS_ROW void result_row(const typename Neuron::Params& given,
                                          const Rows<const typename Neuron::S, typename Neuron::State> state,
                                          const Rows<typename Neuron::Data, typename Neuron::Result> result, int64_t n) {
  const typename Neuron::Params params = given;
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) store(result, i, Neuron::result(params, load(state, i)));
}

template <class Struct, class Data>
inline Rows<const Data, Struct> rows_at(const Series<const Data>* series, int64_t t, int64_t n0) {
  Rows<const Data, Struct> rows;
  for (int k = 0; k < rows.kCount; ++k) rows.row[k] = series[k].row(t, n0);
  return rows;
}

template <class Struct, class Data>
inline void prefetch_rows(const Series<const Data>* series, int64_t t, int64_t n0, int64_t n) {
  for (int k = 0; k < kFields<Data, Struct>; ++k)
    if (series[k].step) prefetch_row(series[k].row(t, n0), n);
}

// Takes [begin, end) through all steps. each_row(t, rows of output, n) is called after each step of a tile.
template <class Neuron, class EachRow>
void walk(const Walk<Neuron>& w, int64_t begin, int64_t end, EachRow each_row) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  using State = typename Neuron::State;
  constexpr int kState = kFields<S, State>, kFixed = kFields<S, typename Neuron::Fixed>;
  constexpr int kOutput = kFields<Data, typename Neuron::Output>, kResult = kFields<Data, typename Neuron::Result>;
  alignas(64) S states[kState][kTile], initials[kState][kTile], fixed_numbers[kFixed + 1][kTile];
  const int64_t longest = smaller(kTile, end - begin);
  for (int k = 0; k < kState; ++k) w.initial[k].fill(initials[k], longest);
  for (int k = 0; k < kFixed; ++k) w.fixed[k].fill(fixed_numbers[k], longest);
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    Rows<const S, State> from;
    Rows<S, State> to;
    Rows<const S, typename Neuron::Fixed> fixed;
    for (int k = 0; k < kState; ++k) {
      from.row[k] = w.initial[k].row(initials[k], n0, n);
      to.row[k] = w.last[k] ? w.last[k] + n0 : states[k];
    }
    for (int k = 0; k < kFixed; ++k) fixed.row[k] = w.fixed[k].row(fixed_numbers[k], n0, n);
    for (int64_t step = 0; step < w.T; ++step) {
      const int64_t t = w.back_in_time ? w.T - 1 - step : step, next = w.back_in_time ? t - 1 : t + 1;
      Rows<Data, typename Neuron::Output> out;
      for (int k = 0; k < kOutput; ++k) out.row[k] = w.output[k].row(t, n0);
      if (step + 1 < w.T) {
        prefetch_rows<typename Neuron::Input>(w.input, next, n0, n);
        for (int k = 0; k < kOutput; ++k) prefetch_row_for_write(w.output[k].row(next, n0), n);
      }
      step_row<Neuron>(w.params, rows_at<typename Neuron::Input>(w.input, t, n0), fixed, from, to, out, n);
      from = read_only(to);
      each_row(t, out, n);
    }
    if (w.T == 0)
      for (int k = 0; k < kState; ++k)
        if (to.row[k] != from.row[k]) copy_row(from.row[k], to.row[k], n);
    if constexpr (kResult > 0) {
      Rows<Data, typename Neuron::Result> result;
      for (int k = 0; k < kResult; ++k) result.row[k] = w.result[k] + n0;
      result_row<Neuron>(w.params, read_only(to), result, n);
    }
  });
}

template <class Neuron>
void walk(const Walk<Neuron>& w, int64_t begin, int64_t end) {
  walk(w, begin, end, [](int64_t, const auto&, int64_t) {});
}

}  // namespace
}  // namespace spikeops::cpu
