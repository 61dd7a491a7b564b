// The walk through time and back, the same for all neurons. A tile takes all its steps and its history is kept in the cache; then
// the steps are taken back. (Of very long trains the history is kept of one segment at a time.) Nothing of the forward pass need have
// been saved but its input. A neuron (walk.h) has, besides:
//   after(params, history)           the state after the step that left this history
//   Parameters, parameter_step(params, sum&, state before, grad)     if numbers per neuron have gradients
// its Types
//   fired(params, history), leak(fixed)                              if it has rates
// and shares with its step back, a struct of its own, what does not depend on the options of the latter:
//   BackParams, Carry, Parameters    the numbers of the layer; structs of S: what passes from step to step, sums over time
//   kPassed                          if the last fields of Carry are sums over time as well: how many fields come before them
//   Number                           type of the rows that the step back reads and writes: Data, or S
//   Gradient, BackInput              structs of Number: the gradients of Output; what it needs of Input, or Nothing
//   Before                           State, where it needs the one before the step, or Nothing
//   step_back(back params, carry&, before, history, input, gradient, fixed) -> gradient of what the scaled input was added to
#pragma once

#include "../math/rate.h"
#include "back_tile.h"
#include "walk.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Rows of a tile at a time step.
template <class Neuron>
struct BackRows {
  using S = typename Neuron::S;
  using Number = typename Neuron::Number;
  Rows<const S, typename Neuron::Fixed> fixed;
  Rows<const S, typename Neuron::State> initial;
  Rows<const S, typename Neuron::History> history, history_before;
  Rows<const Number, typename Neuron::BackInput> input;
  Rows<const Number, typename Neuron::Gradient> gradient;
  Rows<const S, typename Neuron::Carry> from;
  Rows<S, typename Neuron::Carry> to;
  Number* grad_input;
  int64_t n;
};

// `Numbers` holds the types that a neuron shares with its step back.
template <class Numbers>
using BackRow = void (*)(const typename Numbers::BackParams&, const BackRows<Numbers>&);

// The state before a step: at the first one the initial state, later what the history of the step before tells.
template <class Neuron, bool first, class S>
SPIKEOPS_HD typename Neuron::State state_before(const typename Neuron::Params& params,
                                                const Rows<const S, typename Neuron::State>& initial,
                                                const Rows<const S, typename Neuron::History>& history_before, int64_t i) {
  if constexpr (first) return load(initial, i);
  else return Neuron::after(params, load(history_before, i));
}

// `carried`: the fields of Carry from that one on are sums over time that nobody asks for. `alike`: the fixed numbers are the same for all
// neurons.
template <class Back, class Numbers, bool first, int carried = kFields<typename Numbers::S, typename Numbers::Carry>, bool alike = false>
SPIKEOPS_ROW void back_row(const typename Numbers::BackParams& given, const BackRows<Numbers>& given_rows) {
  const typename Numbers::BackParams params = given;
  const BackRows<Numbers> rows = given_rows;
  const typename Numbers::Fixed of_all = load_first<alike ? kFields<typename Numbers::S, typename Numbers::Fixed> : 0>(rows.fixed, 0);
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < rows.n; ++i) {
    typename Numbers::Carry carry = load_first<carried>(rows.from, i);
    typename Numbers::Before before{};
    if constexpr (!__is_empty(typename Numbers::Before))
      before = state_before<Back, first>(params, rows.initial, rows.history_before, i);
    const auto grad = Back::step_back(params, carry, before, load(rows.history, i), load(rows.input, i), load(rows.gradient, i),
                                      alike ? of_all : load(rows.fixed, i));
    rows.grad_input[i] = from_state<typename Numbers::Number>(grad);
    store_first<carried>(rows.to, i, carry);
  }
}

// The step back of neurons whose Carry has sums over time, which are a third of its time where nobody asks for them.
template <class Back, class Numbers>
inline BackRow<Numbers> back_row_for(bool with_sums) {
  return with_sums ? back_row<Back, Numbers, false> : back_row<Back, Numbers, false, Numbers::kPassed>;
}
template <class Back, class Numbers>
inline BackRow<Numbers> back_row_for(bool with_sums, bool alike) {
  return alike && !with_sums ? back_row<Back, Numbers, false, Numbers::kPassed, true> : back_row_for<Back, Numbers>(with_sums);
}

// Adds up the gradients of numbers per neuron. `grad` is what step_back has returned.
template <class Neuron, bool first, class S>
SPIKEOPS_ROW void parameter_row(const typename Neuron::Params& given, const Rows<const S, typename Neuron::State>& given_initial,
                                const Rows<const S, typename Neuron::History>& given_history, const S* __restrict grad,
                                const Rows<S, typename Neuron::Parameters>& given_sum, int64_t n) {
  const typename Neuron::Params params = given;
  const auto initial = given_initial;
  const auto history_before = given_history;
  const auto sum = given_sum;
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) {
    typename Neuron::Parameters total = load(read_only(sum), i);
    Neuron::parameter_step(params, total, state_before<Neuron, first>(params, initial, history_before, i), grad[i]);
    store(sum, i, total);
  }
}

template <class Data, class S>
SPIKEOPS_ROW void scale_row(const S* __restrict in, S scale, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_state<Data>(scale * in[i]);
}

template <class Data, class S>
SPIKEOPS_ROW void scale_each_row(const S* __restrict in, const S* __restrict scale, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_state<Data>(scale[i] * in[i]);
}

template <class Data, class S>
SPIKEOPS_ROW void divide_row(const Data* __restrict in, S divisor, S* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = to_state(in[i]) / divisor;
}

// One step of a rate's numerator and normaliser, and of their derivatives.
template <class Types, class S>
SPIKEOPS_ROW void rate_row(const typename Types::Params& given, const Rows<const S, typename Types::History> history,
                           const Rows<const S, typename Types::Fixed> fixed, const Rows<S, RateSums<S>> sums, int64_t n) {
  const typename Types::Params params = given;
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) {
    RateSums<S> sum = load(read_only(sums), i);
    rate_step(sum, Types::fired(params, load(history, i)), Types::leak(load(fixed, i)));
    store(sums, i, sum);
  }
}

// The weight of the last step's spike in a rate's gradient, and the leak's gradient through the weights.
template <class Data, class S>
SPIKEOPS_ROW void rate_gradient_row(const Data* __restrict grad_rate, const Rows<const S, RateSums<S>> sums, S* __restrict weight,
                                    S* __restrict grad_leak, int64_t n) {
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) {
    const RateSums<S> sum = load(sums, i);
    const S g = to_state(grad_rate[i]);
    weight[i] = g / sum.weight;
    grad_leak[i] = g * rate_decay_derivative(sum);
  }
}

template <class Types>
using ParameterRow = void (*)(const typename Types::Params&, const Rows<const typename Types::S, typename Types::State>&,
                              const Rows<const typename Types::S, typename Types::History>&, const typename Types::S*,
                              const Rows<typename Types::S, typename Types::Parameters>&, int64_t);

// Where the numbers of a neuron that steps back lie.
template <class TypesOfNeuron>
struct WalkBack {
  using Types = TypesOfNeuron;
  using Data = typename Types::Data;
  using S = typename Types::S;
  using Numbers = typename Types::Numbers;
  static constexpr int kCarry = kFields<S, typename Types::Carry>, kParameters = kFields<S, typename Types::Parameters>;
  StepRow<Types, typename Types::History, S> step;
  ParameterRow<Types> parameter_row, first_parameter_row;  // null where Parameters is empty
  typename Types::Params params;
  typename Types::BackParams back_params;
  int64_t T = 0, N = 0;
  BackRow<Numbers> row = nullptr, first_row = nullptr;  // the step back, and that of the first time step, or of a segment's first
  Series<const Data> input[1] = {};
  PerNeuron<S> fixed[kFields<S, typename Types::Fixed> + 1] = {};
  const S* initial[kFields<S, typename Types::State> + 1] = {};  // (N), or null: 0
  const Data* grad_output = nullptr;           // (T, N), or null: 0
  const Data* second_grad_output = nullptr;    // likewise, where Gradient has two fields
  const Data* grad_rate = nullptr;             // (N): the gradient of the rate in place of that of the trains
  Weighting weighting = Weighting::mean;
  const S* grad_last[kCarry + 1] = {};         // (N), or null: 0
  S* grad_initial[kCarry + 1] = {};            // (N), or null
  S* grad_parameters[kParameters + 1] = {};    // (N), all of them or none
  Data* grad_input = nullptr;                  // (T, N), or (N), summed over time, where the input is the same in all steps
  bool read_at_once = false;                   // the gradient of the input, by who asked for it: it stays in the caches
  S input_scale = S(1);
  int scaled_by = -1;                          // which of the fixed numbers is the scale of the input in its place
};

// Whether one of the sums over time in Carry is asked for.
template <class Numbers, class Pointer>
inline bool wants_sums(const Pointer* wanted) {
  for (int k = Numbers::kPassed; k < kFields<typename Numbers::S, typename Numbers::Carry>; ++k)
    if (wanted[k]) return true;
  return false;
}

template <class Neuron>
WalkBack<typename Neuron::Types> walk_back_of(const typename Neuron::Params& params, const typename Neuron::BackParams& back_params,
                                              int64_t T, int64_t N) {
  using Types = typename Neuron::Types;
  using S = typename Types::S;
  const StepRow<Types, typename Types::History, S> step = step_row<Neuron, typename Types::History, S>;
  ParameterRow<Types> row = nullptr, first_row = nullptr;
  if constexpr (!__is_empty(typename Types::Parameters))
    row = parameter_row<Neuron, false, S>, first_row = parameter_row<Neuron, true, S>;
  return WalkBack<Types>{step, row, first_row, params, back_params, T, N};
}

// A row of data as numbers of type Number: the row itself, or its conversion.
template <class Number, class Data, class S>
inline const Number* as_numbers(const Data* row, S* buffer, int64_t n) {
  if constexpr (SameType<Number, Data>::value) return row;
  else return state_row(row, buffer, n);
}

// The steps of a segment forward, which leave their history.
template <class Types>
void replay(const WalkBack<Types>& w, const BackTile<Types>& tile, int64_t segment, const BackRows<typename Types::Numbers>& rows,
            int64_t n0, int64_t n) {
  using S = typename Types::S;
  StepRows<Types, typename Types::History, S> step;
  step.fixed = rows.fixed;
  step.from = rows.initial;
  if (segment + 1 < tile.segments) step.to = tile.border(segment + 1);
  else for (int k = 0; k < tile.kState; ++k) step.to.row[k] = tile.passed[k];
  step.n = n;
  const int64_t first = segment * tile.segment;
  for (int64_t t = first; t < smaller(w.T, first + tile.segment); ++t) {
    if (t + 1 < w.T && w.input[0].step) prefetch(w.input[0].row(t + 1, n0), n);
    rows_at(w.input, t, n0, step.in);
    step.kept = tile.history_at(t - first);
    w.step(w.params, step);
    step.from = read_only(step.to);
  }
}

// Adds what a segment's spikes are to a rate that weights them.
template <class Types>
void add_to_rate(const WalkBack<Types>& w, const BackTile<Types>& tile, int64_t segment,
                 const BackRows<typename Types::Numbers>& rows, const Rows<typename Types::S, RateSums<typename Types::S>>& sums,
                 int64_t n) {
  const int64_t steps = smaller(tile.segment, w.T - segment * tile.segment);
  for (int64_t step = 0; step < steps; ++step)
    rate_row<Types>(w.params, read_only(tile.history_at(step)), rows.fixed, sums, n);
}

template <class Types>
void add_parameters(const WalkBack<Types>& w, const BackRows<typename Types::Numbers>& rows, bool first,
                    const Rows<typename Types::S, typename Types::Parameters>& sums) {
  if constexpr (WalkBack<Types>::kParameters > 0) {
    (first ? w.first_parameter_row : w.parameter_row)(w.params, rows.initial, rows.history_before, rows.grad_input, sums, rows.n);
  }
}

// Takes [begin, end) through all steps and back. arrived(n0, carry, n) is called with what is left of the carry of a tile of neurons from
// n0 on.
template <class Types, class Arrived>
void walk_back(const WalkBack<Types>& w, int64_t begin, int64_t end, Arrived arrived) {
  using Data = typename Types::Data;
  using S = typename Types::S;
  using Number = typename Types::Number;
  using Numbers = typename Types::Numbers;
  using Tile = BackTile<Types>;
  if (begin == end) return;
  const int64_t length = Tile::length_for(w.T, end - begin);
  Tile tile(w.T, length);
  for (int k = 0; k < tile.kFixed; ++k) w.fixed[k].fill(tile.fixed[k], length);
  const bool summed = w.input[0].step == 0, weighted = w.grad_rate && w.weighting == Weighting::decay;
  // Rows that are written as they are to be. (Where stepping back works with 16-bit rows, all are.)
  const bool direct = SameType<Number, Data>::value && !summed && w.input_scale == S(1) && w.scaled_by < 0;
  const bool streams = !summed && !w.read_at_once && is_streamed<Data>(w.T * w.N, kRoomForGradients);
  for_each_tile(begin, end, length, [&](int64_t n0, int64_t n) {
    BackRows<Numbers> rows;
    const auto enter = [&](int64_t segment) {
      if (segment) rows.initial = read_only(tile.border(segment));
      else for (int k = 0; k < tile.kState; ++k) rows.initial.row[k] = w.initial[k] ? w.initial[k] + n0 : tile.zeros;
    };
    for (int k = 0; k < tile.kFixed; ++k) rows.fixed.row[k] = w.fixed[k].row(tile.fixed[k], n0, n);
    const Rows<S, RateSums<S>> rate{{tile.input, tile.gradient, tile.grad_input, tile.grad_sum}};  // not yet in use
    if (weighted)
      for (S* row : rate.row) fill_row(row, S(0), n);
    for (int64_t segment = 0; segment < tile.segments; ++segment) {
      enter(segment);
      replay(w, tile, segment, rows, n0, n);
      if constexpr (Types::kHasRate)
        if (weighted) add_to_rate(w, tile, segment, rows, rate, n);
    }

    for (int k = 0; k < tile.kCarry; ++k) {
      rows.from.row[k] = w.grad_last[k] ? w.grad_last[k] + n0 : tile.zeros;
      rows.to.row[k] = w.grad_initial[k] ? w.grad_initial[k] + n0 : tile.passed[k];
    }
    Rows<S, typename Types::Parameters> sums;
    const bool with_parameters = tile.kParameters > 0 && w.grad_parameters[0];
    for (int k = 0; k < tile.kParameters; ++k) {
      sums.row[k] = with_parameters ? w.grad_parameters[k] + n0 : tile.parameters[k];
      fill_row(sums.row[k], S(0), n);
    }
    // The gradient of a rate becomes the weight of each step's spike, starting with the last, and the part of the leak's gradient
    // that comes from the weights.
    if constexpr (Types::kHasRate) {
      if (weighted) rate_gradient_row(w.grad_rate + n0, read_only(rate), tile.rate_weight, sums.row[0], n);
      else if (w.grad_rate) divide_row(w.grad_rate + n0, S(w.T), tile.rate_weight, n);
    }
    if (summed) fill_row(tile.grad_sum, S(0), n);

    rows.n = n;
    for (int64_t t = w.T - 1, segment = tile.segments - 1, start = segment * tile.segment; t >= 0; --t) {
      if (t < start) {
        --segment, start -= tile.segment;
        enter(segment);
        replay(w, tile, segment, rows, n0, n);
      }
      const bool first = t == start;  // of its segment: the state before it is kept
      if (t && w.grad_output) prefetch(w.grad_output + (t - 1) * w.N + n0, n);
      rows.history = read_only(tile.history_at(t - start));
      if (!first) rows.history_before = read_only(tile.history_at(t - 1 - start));
      if constexpr (kFields<Number, typename Types::BackInput> != 0)
        rows.input.row[0] = as_numbers<Number>(w.input[0].row(t, n0), tile.input, n);
      if (w.grad_output) rows.gradient.row[0] = as_numbers<Number>(w.grad_output + t * w.N + n0, tile.gradient, n);
      if constexpr (SameType<Number, S>::value)
        if (!w.grad_output) rows.gradient.row[0] = w.grad_rate ? tile.rate_weight : tile.zeros;
      if constexpr (tile.kSecondGradient) {
        const Data* const row = w.second_grad_output ? w.second_grad_output + t * w.N + n0 : nullptr;
        rows.gradient.row[1] = row ? as_numbers<Number>(row, tile.second_gradient, n) : tile.zeros;
      }
      Data* const destination = w.grad_input + (summed ? 0 : t * w.N) + n0;
      Data* const grad_input = streams ? tile.outgoing : destination;
      if constexpr (SameType<Number, S>::value) rows.grad_input = tile.grad_input;
      if constexpr (SameType<Number, Data>::value)
        if (direct) rows.grad_input = grad_input;
      (first ? w.first_row : w.row)(w.back_params, rows);
      rows.from = read_only(rows.to);
      if constexpr (SameType<Number, S>::value) {
        if (summed) add_row(rows.grad_input, tile.grad_sum, n);
        else if (w.scaled_by >= 0) scale_each_row(rows.grad_input, rows.fixed.row[w.scaled_by], grad_input, n);
        else if (!direct) scale_row(rows.grad_input, w.input_scale, grad_input, n);
        if (with_parameters) add_parameters(w, rows, first, sums);
      }
      if (streams) stream_row(grad_input, destination, n);
      if (weighted) multiply_row(rows.fixed.row[0], tile.rate_weight, n);
    }
    if (summed) scale_row(tile.grad_sum, w.input_scale, w.grad_input + n0, n);
    if (w.T == 0)
      for (int k = 0; k < tile.kCarry; ++k)
        if (rows.to.row[k] != rows.from.row[k]) copy_row(rows.from.row[k], rows.to.row[k], n);
    arrived(n0, rows.from, n);
  });
  if (streams) end_of_stream();
}

template <class Types>
void walk_back(const WalkBack<Types>& w, int64_t begin, int64_t end) {
  walk_back(w, begin, end, kNothingToDo);
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
