// The memory of a walk back (walk_back.h): the history of a tile of neurons, and the rows that its steps work with.
#pragma once

#include "rows.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// The rows of a tile, in one piece of memory.
template <class Types>
struct BackTile {
  using Data = typename Types::Data;
  using S = typename Types::S;
  using History = typename Types::History;
  using State = typename Types::State;
  static constexpr int kState = kFields<S, typename Types::State>, kFixed = kFields<S, typename Types::Fixed>;
  static constexpr int kHistory = kFields<S, History>, kCarry = kFields<S, typename Types::Carry>;
  static constexpr int kParameters = kFields<S, typename Types::Parameters>;
  static constexpr int kPassed = kState > kCarry ? kState : kCarry;  // the state on the way there, the gradients on the way back
  static constexpr int kSecondGradient = kFields<typename Types::Number, typename Types::Gradient> > 1;
  static constexpr int kRows = kPassed + kFixed + kParameters + 7 + kSecondGradient;  // beside the history's

  // As many neurons as leave room in the smallest L2 of today and, for the rows of one step, in L1, but rows that are worth a call. They
  // are shorter than a page, so that what is needed one time step later is asked for: the hardware would see a new stream that has ended
  // before it has caught up. (For writing it does not pay.) No more than there are.
  static int64_t length_for(int64_t T, int64_t neurons) {
    constexpr int64_t kStepBytes = 32 << 10, kCacheBytes = 320 << 10, kVectors = 32, kShortest = 64;
    constexpr int64_t longest = smaller(kTile, kStepBytes / ((kRows + kHistory) * int64_t(sizeof(S))));
    const int64_t fitting = smaller(longest, kCacheBytes / ((T * kHistory + kRows) * int64_t(sizeof(S)))) / kVectors * kVectors;
    int64_t length = smaller(neurons, fitting < kShortest ? kShortest : fitting);
    asm("" : "+r"(length));  // gcc would write out all rounds of the loops of rows that it knows to be short
    return length;
  }

  // From one row to the next: never a power of two, for which all rows of a step would lie in the same few places of L1.
  static int64_t stride_for(int64_t length) { return (length + 15) / 16 * 16 + 16; }

  // Of more time steps than these no history is kept. They are taken in segments: first all of them forward, keeping the state at
  // the borders, then each once more, from the last to the first, with its history and back.
  static int64_t segment_for(int64_t T, int64_t stride) {
    constexpr int64_t kHistoryBytes = 8 << 20;
    return smaller(T, kHistoryBytes / (kHistory * stride * int64_t(sizeof(S))));
  }

  BackTile(int64_t T, int64_t length)
      : stride(stride_for(length)), segment(segment_for(T, stride)), segments(T > segment ? (T + segment - 1) / segment : 1),
        memory((segment * kHistory + (segments - 1) * kState + kRows) * stride), history(memory.data) {
    borders = history + segment * kHistory * stride;
    S* next = borders + (segments - 1) * kState * stride;
    const auto take = [&](S*& row) { row = next, next += stride; };
    for (int k = 0; k < kPassed; ++k) take(passed[k]);
    for (int k = 0; k < kFixed; ++k) take(fixed[k]);
    for (int k = 0; k < kParameters; ++k) take(parameters[k]);
    take(zeros), take(input), take(gradient), take(grad_input), take(grad_sum), take(rate_weight);
    if constexpr (kSecondGradient) take(second_gradient);
    S* row;
    take(row), outgoing = reinterpret_cast<Data*>(row);  // which takes no more room
    fill_row(zeros, S(0), length);
  }
  // Of the steps of a segment, counted from its first one.
  Rows<S, History> history_at(int64_t step) const {
    Rows<S, History> rows;
    for (int k = 0; k < kHistory; ++k) rows.row[k] = history + (step * kHistory + k) * stride;
    return rows;
  }
  // The state before the first step of a segment, from the second one on.
  Rows<S, State> border(int64_t index) const {
    Rows<S, State> rows;
    for (int k = 0; k < kState; ++k) rows.row[k] = borders + ((index - 1) * kState + k) * stride;
    return rows;
  }

  const int64_t stride, segment, segments;
  const Scratch<S> memory;
  S* const history;
  S* borders;
  S *passed[kPassed], *fixed[kFixed + 1], *parameters[kParameters + 1];
  S *zeros, *input, *gradient, *grad_input, *grad_sum, *rate_weight, *second_gradient;
  Data* outgoing;  // a row of the gradient of the input
};

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
