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

namespace spikeops::cpu::SPIKEOPS_ISA {
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
  PerNeuron<S> fixed[kFields<S, typename Neuron::Fixed> + 1] = {};
  const S* initial[kFields<S, typename Neuron::State> + 1] = {};  // (N), or null: 0
  S* last[kFields<S, typename Neuron::State> + 1] = {};  // (N) the state after the last step, or null. May be `initial`
  bool unwanted[kFields<S, typename Neuron::State> + 1] = {};  // a part of the state that nobody asks for, wherever it starts
  Data* result[kFields<Data, typename Neuron::Result> + 1] = {};
};

// Rows of a tile at a time step. `Kept` is what is written down: Output, or History.
template <class Neuron, class Kept, class Number>
struct StepRows {
  using S = typename Neuron::S;
  Rows<const typename Neuron::Data, typename Neuron::Input> in;
  Rows<const S, typename Neuron::Fixed> fixed;
  Rows<const S, typename Neuron::State> from;
  Rows<S, typename Neuron::State> to;
  Rows<Number, Kept> kept;
  int64_t n;
};

template <class Neuron, class Kept, class Number>
SPIKEOPS_ROW void step_row(const typename Neuron::Params& given, const StepRows<Neuron, Kept, Number>& given_rows) {
  const typename Neuron::Params params = given;  // what the loop reads through a reference keeps it from vectorising
  const StepRows<Neuron, Kept, Number> rows = given_rows;
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < rows.n; ++i) {
    typename Neuron::State state = load(rows.from, i);
    typename Neuron::History history;
    typename Neuron::Output output;
    Neuron::step(params, state, load(rows.in, i), load(rows.fixed, i), history, output);
    store(rows.to, i, state);
    if constexpr (SameType<Kept, typename Neuron::History>::value) store(rows.kept, i, history);
    else store(rows.kept, i, output);
  }
}

template <class Neuron>
SPIKEOPS_ROW void result_row(const typename Neuron::Params& given,
                                          const Rows<const typename Neuron::S, typename Neuron::State> state,
                                          const Rows<typename Neuron::Data, typename Neuron::Result> result, int64_t n) {
  const typename Neuron::Params params = given;
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) store(result, i, Neuron::result(params, load(state, i)));
}

template <class Data, class Struct>
inline void rows_at(const Series<Data>* series, int64_t t, int64_t n0, Rows<Data, Struct>& rows) {
  for (int k = 0; k < rows.kCount; ++k) rows.row[k] = series[k].row(t, n0);
}

// Takes [begin, end) through all steps. Rows are about as long as a page: the hardware fetches them by itself.
// What is called before or after a step where there is nothing to do.
constexpr auto kNothingToDo = [](int64_t, const auto&, int64_t) {};

// before(t, rows, n0) and after(t, rows, n0) are called for each step of a tile of neurons from n0 on.
template <class Neuron, class Before, class After>
void walk(const Walk<Neuron>& w, int64_t begin, int64_t end, Before before, After after) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  using Output = typename Neuron::Output;
  constexpr int kState = kFields<S, typename Neuron::State>, kFixed = kFields<S, typename Neuron::Fixed>;
  constexpr int kResult = kFields<Data, typename Neuron::Result>;
  alignas(64) S zeros[kTile], states[kState][kTile], fixed_numbers[kFixed + 1][kTile];
  const int64_t longest = smaller(kTile, end - begin);
  fill_row(zeros, S(0), longest);
  for (int k = 0; k < kState; ++k)
    if (w.unwanted[k]) fill_row(states[k], S(0), longest);
  for (int k = 0; k < kFixed; ++k) w.fixed[k].fill(fixed_numbers[k], longest);
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    StepRows<Neuron, Output, Data> rows;
    for (int k = 0; k < kState; ++k) {
      rows.to.row[k] = w.last[k] ? w.last[k] + n0 : states[k];
      rows.from.row[k] = w.unwanted[k] ? states[k] : w.initial[k] ? w.initial[k] + n0 : zeros;
    }
    for (int k = 0; k < kFixed; ++k) rows.fixed.row[k] = w.fixed[k].row(fixed_numbers[k], n0, n);
    rows.n = n;
    for (int64_t step = 0; step < w.T; ++step) {
      const int64_t t = w.back_in_time ? w.T - 1 - step : step;
      rows_at(w.input, t, n0, rows.in);
      rows_at(w.output, t, n0, rows.kept);
      before(t, rows, n0);
      step_row(w.params, rows);
      rows.from = read_only(rows.to);
      after(t, rows, n0);
    }
    if (w.T == 0)
      for (int k = 0; k < kState; ++k)
        if (rows.to.row[k] != rows.from.row[k]) copy_row(rows.from.row[k], rows.to.row[k], n);
    if constexpr (kResult > 0) {
      Rows<Data, typename Neuron::Result> result;
      for (int k = 0; k < kResult; ++k) result.row[k] = w.result[k] + n0;
      result_row<Neuron>(w.params, read_only(rows.to), result, n);
    }
  });
}

template <class Neuron>
void walk(const Walk<Neuron>& w, int64_t begin, int64_t end) {
  walk(w, begin, end, kNothingToDo, kNothingToDo);
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
