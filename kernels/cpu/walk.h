// The walk through time, the same for all neurons. A tile of neurons at a time takes all its steps, so that its state stays in
// L1. A neuron is a struct without members (neurons/):
//   Types                            the struct, itself or its base, that has all these types and no options: the walk is compiled
//                                    once for it, and calls the neuron's step as a function of rows
//   Data, S                          types of what passes by, and of the state
//   Params                           numbers of the layer
//   Fixed, State, History            structs of S: numbers of each neuron, what passes from step to step, what stepping back needs
//   Input, Output, Result            structs of Data: what comes and goes in each step, and after the last one
//   step(params, state&, input, fixed, history&, output&)
// and its Types
//   result(params, state)            where Result is not empty
#pragma once

#include "rows.h"
#include "stream.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

struct Nothing {};

// Rows of a tile at a time step. `Kept` is what is written down: Output, or History.
template <class Types, class Kept, class Number>
struct StepRows {
  using S = typename Types::S;
  Rows<const typename Types::Data, typename Types::Input> in;
  Rows<const S, typename Types::Fixed> fixed;
  Rows<const S, typename Types::State> from;
  Rows<S, typename Types::State> to;
  Rows<Number, Kept> kept;
  int64_t n;
};

template <class Types, class Kept, class Number>
using StepRow = void (*)(const typename Types::Params&, const StepRows<Types, Kept, Number>&);

// `alike`: the fixed numbers are the same for all neurons. `kept_fields`: those of Kept behind them nobody asks for.
template <class Neuron, class Kept, class Number, bool alike = false, int kept_fields = kFields<Number, Kept>>
SPIKEOPS_ROW void step_row(const typename Neuron::Params& given, const StepRows<typename Neuron::Types, Kept, Number>& given_rows) {
  const typename Neuron::Params params = given;  // what the loop reads through a reference keeps it from vectorising
  const StepRows<typename Neuron::Types, Kept, Number> rows = given_rows;
  const typename Neuron::Fixed of_all = load_first<alike ? kFields<typename Neuron::S, typename Neuron::Fixed> : 0>(rows.fixed, 0);
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < rows.n; ++i) {
    typename Neuron::State state = load(rows.from, i);
    typename Neuron::History history;
    typename Neuron::Output output;
    Neuron::step(params, state, load(rows.in, i), alike ? of_all : load(rows.fixed, i), history, output);
    store(rows.to, i, state);
    if constexpr (SameType<Kept, typename Neuron::History>::value) store_first<kept_fields>(rows.kept, i, history);
    else store_first<kept_fields>(rows.kept, i, output);
  }
}

template <class Types>
SPIKEOPS_ROW void result_row(const typename Types::Params& given, const Rows<const typename Types::S, typename Types::State> state,
                             const Rows<typename Types::Data, typename Types::Result> result, int64_t n) {
  const typename Types::Params params = given;
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) store(result, i, Types::result(params, load(state, i)));
}

// Where a neuron's numbers lie.
template <class TypesOfNeuron>
struct Walk {
  using Types = TypesOfNeuron;
  using Data = typename Types::Data;
  using S = typename Types::S;
  StepRow<Types, typename Types::Output, Data> step;
  typename Types::Params params;
  int64_t T = 0;
  bool back_in_time = false;  // from the last time step to the first
  Series<const Data> input[kFields<Data, typename Types::Input> + 1] = {};
  Series<Data> output[kFields<Data, typename Types::Output> + 1] = {};
  PerNeuron<S> fixed[kFields<S, typename Types::Fixed> + 1] = {};
  const S* initial[kFields<S, typename Types::State> + 1] = {};  // (N), or null: 0
  S* last[kFields<S, typename Types::State> + 1] = {};  // (N) the state after the last step, or null. May be `initial`
  bool unwanted[kFields<S, typename Types::State> + 1] = {};  // a part of the state that nobody asks for, wherever it starts
  Data* result[kFields<Data, typename Types::Result> + 1] = {};

  int64_t time_of(int64_t step) const { return back_in_time ? T - 1 - step : step; }
};

template <class Neuron>
Walk<typename Neuron::Types> walk_of(const typename Neuron::Params& params, int64_t T, bool back_in_time = false) {
  using Types = typename Neuron::Types;
  const StepRow<Types, typename Types::Output, typename Types::Data> step = step_row<Neuron, typename Types::Output, typename Types::Data>;
  return Walk<Types>{step, params, T, back_in_time};
}

template <class Data, class Struct>
inline void rows_at(const Series<Data>* series, int64_t t, int64_t n0, Rows<Data, Struct>& rows) {
  for (int k = 0; k < rows.kCount; ++k) rows.row[k] = series[k].row(t, n0);
}

// What is called before or after a step where there is nothing to do.
constexpr auto kNothingToDo = [](int64_t, const auto&, int64_t) {};

// Takes [begin, end) through all steps. What is written of a large tensor goes past the caches; what is read next is asked for.
// before(t, rows, n0) and after(t, rows, n0) are called for each step of a tile of neurons from n0 on.
template <class Types, class Before, class After>
void walk(const Walk<Types>& w, int64_t begin, int64_t end, Before before, After after) {
  using S = typename Types::S;
  using Data = typename Types::Data;
  using Output = typename Types::Output;
  constexpr int kState = kFields<S, typename Types::State>, kFixed = kFields<S, typename Types::Fixed>;
  constexpr int kResult = kFields<Data, typename Types::Result>, kOutput = kFields<Data, Output>;
  alignas(64) S zeros[kTile], states[kState][kTile], fixed_numbers[kFixed + 1][kTile];
  const int64_t longest = smaller(kTile, end - begin);
  fill_row(zeros, S(0), longest);
  for (int k = 0; k < kState; ++k)
    if (w.unwanted[k]) fill_row(states[k], S(0), longest);
  for (int k = 0; k < kFixed; ++k) w.fixed[k].fill(fixed_numbers[k], longest);
  alignas(64) Data outgoing[kOutput + 1][kTile];
  bool streams[kOutput + 1] = {}, any_streams = false, is_large = false;
  for (int k = 0; k < kOutput; ++k) {
    const int64_t count = w.T * w.output[k].step;
    any_streams |= streams[k] = is_streamed<Data>(count, w.back_in_time ? kRoomForGradients : kRoomForOutputs);
    is_large |= is_streamed<Data>(count, kRoomForGradients);
  }
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    StepRows<Types, Output, Data> rows;
    for (int k = 0; k < kState; ++k) {
      rows.to.row[k] = w.last[k] ? w.last[k] + n0 : states[k];
      rows.from.row[k] = w.unwanted[k] ? states[k] : w.initial[k] ? w.initial[k] + n0 : zeros;
    }
    for (int k = 0; k < kFixed; ++k) rows.fixed.row[k] = w.fixed[k].row(fixed_numbers[k], n0, n);
    rows.n = n;
    for (int64_t step = 0; step < w.T; ++step) {
      const int64_t t = w.time_of(step);
      if (is_large) {
        const int64_t next = step + 1 < w.T ? step + 1 : 0, next_n0 = next ? n0 : n0 + n;
        for (int k = 0; k < rows.in.kCount; ++k)
          if (w.input[k].step) prefetch(w.input[k].row(w.time_of(next), next_n0), smaller(n, end - next_n0));
      }
      Rows<Data, Output> destination;
      rows_at(w.input, t, n0, rows.in);
      rows_at(w.output, t, n0, destination);
      for (int k = 0; k < kOutput; ++k) rows.kept.row[k] = streams[k] ? outgoing[k] : destination.row[k];
      before(t, rows, n0);
      w.step(w.params, rows);
      rows.from = read_only(rows.to);
      after(t, rows, n0);
      for (int k = 0; k < kOutput; ++k)
        if (streams[k]) stream_row(outgoing[k], destination.row[k], n);
    }
    if (w.T == 0)
      for (int k = 0; k < kState; ++k)
        if (rows.to.row[k] != rows.from.row[k]) copy_row(rows.from.row[k], rows.to.row[k], n);
    if constexpr (kResult > 0) {
      Rows<Data, typename Types::Result> result;
      for (int k = 0; k < kResult; ++k) result.row[k] = w.result[k] + n0;
      result_row<Types>(w.params, read_only(rows.to), result, n);
    }
  });
  if (any_streams) end_of_stream();
}

template <class Types>
void walk(const Walk<Types>& w, int64_t begin, int64_t end) {
  walk(w, begin, end, kNothingToDo, kNothingToDo);
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
