// Steps of feedback networks, spiking and ternary.
#include "neurons/feedback.h"

#include "../math/pack.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Data>
SPIKEOPS_ROW bool any_spike(const Data* spikes, int64_t n) {
  constexpr int64_t kAtOnce = 64;
  for (int64_t first = 0; first < n; first += kAtOnce) {
    int any = 0;
    for (int64_t i = first; i < smaller(first + kAtOnce, n); ++i) any |= int(is_spike(spikes[i]));
    if (any) return true;
  }
  return false;
}

// The state is updated in its own memory.
template <class Neuron>
void steps(const FeedbackNeuron& a, const typename Neuron::Params& params, int64_t begin, int64_t end) {
  using Data = typename Neuron::Data;
  using S = typename Neuron::S;
  auto w = walk_of<Neuron>(params, a.T);
  // Rows of a drive or current that is absent.
  alignas(64) Data no_drives[kTile], no_currents[kTile];
  const int64_t longest = smaller(kTile, end - begin);
  if (!a.drive) fill_row(no_drives, from_state<Data>(no_drive(params)), longest);
  if (!a.current) fill_row(no_currents, from_state<Data>(S(-0.0)), longest);
  w.input[0] = {a.drive ? static_cast<const Data*>(a.drive) : no_drives, a.drive ? a.N : 0, !a.drive};
  const int64_t current_step = a.current && a.current_per_step ? a.N : 0;
  w.input[1] = {a.current ? static_cast<const Data*>(a.current) : no_currents, current_step, !a.current};
  if (a.factor) w.input[2] = {static_cast<const Data*>(a.factor), 0};
  void* const state[] = {a.membrane, a.rate, a.count};
  for (int k = 0; k < 3; ++k) w.initial[k] = w.last[k] = static_cast<S*>(state[k]);
  w.unwanted[2] = !a.count;
  w.output[0] = {static_cast<Data*>(a.spikes), a.N};
  walk(w, begin, end, kNothingToDo, [&](int64_t t, const auto& rows, int64_t) {
    // Threads may set the same flag, to the same value.
    if (a.fired && !__atomic_load_n(a.fired + t, __ATOMIC_RELAXED) && any_spike(rows.kept.row[0], rows.n))
      __atomic_store_n(a.fired + t, 1, __ATOMIC_RELAXED);
  });
}

template <class Args>
void with_params(const Args& args, int64_t begin, int64_t end) {
  with_dtype(args.neuron.dtype, [&](auto data) {
    const auto params = feedback_params<State<decltype(data)>>(args);
    using Params = decltype(feedback_params<State<decltype(data)>>(args));
    if (args.neuron.factor) steps<Feedback<decltype(data), Params, true>>(args.neuron, params, begin, end);
    else steps<Feedback<decltype(data), Params, false>>(args.neuron, params, begin, end);
  });
}

}  // namespace

void clear_fired(const ClearFired& args, int64_t begin, int64_t end) {
  for (int64_t t = begin; t < end; ++t) args.fired[t] = 0;
}

void feedback_step(const FeedbackStep& args, int64_t begin, int64_t end) { with_params(args, begin, end); }

void ternary_step(const TernaryStep& args, int64_t begin, int64_t end) { with_params(args, begin, end); }

}  // namespace spikeops::cpu::SPIKEOPS_ISA
