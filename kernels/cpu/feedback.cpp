// Steps of feedback networks, spiking and ternary.
#include "../math/feedback.h"

#include "../math/pack.h"
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Data>
bool any_spike(const Data* spikes, int64_t n) {
  constexpr int64_t kAtOnce = 64;
  for (int64_t first = 0; first < n; first += kAtOnce) {
    int any = 0;
    for (int64_t i = first; i < smaller(first + kAtOnce, n); ++i) any |= int(is_spike(spikes[i]));
    if (any) return true;
  }
  return false;
}

template <bool has_factor, class Data, class Params, class S>
inline void step_row(const Params& params, const Data* __restrict drive, const Data* __restrict current, const Data* __restrict factor,
                     S* __restrict membrane, S* __restrict rate, S* __restrict count, Data* __restrict spikes, int64_t n) {
  const Params p = params;
  for (int64_t i = 0; i < n; ++i) {
    FeedbackState<S> state{membrane[i], rate[i], count[i]};
    S f = no_factor(p);
    if constexpr (has_factor) f = to_state(factor[i]);
    const S spike = feedback_neuron_step(state, to_state(drive[i]), to_state(current[i]), f, p);
    membrane[i] = state.membrane;
    rate[i] = state.rate;
    count[i] = state.count;
    spikes[i] = from_state<Data>(spike);
  }
}

// The state is updated in its own memory: a tile of it stays in L1 over the time steps.
template <class Data, class Params>
void steps(const FeedbackNeuron& a, const Params& params, int64_t begin, int64_t end) {
  using S = State<Data>;
  const int64_t T = a.T, N = a.N;
  // Rows of a drive or current that is absent.
  alignas(64) Data no_drives[kTile], no_currents[kTile];
  if (!a.drive)
    for (Data& drive : no_drives) drive = from_state<Data>(no_drive(params));
  if (!a.current)
    for (Data& current : no_currents) current = from_state<Data>(S(-0.0));
  alignas(64) S unwanted[kTile] = {};  // a count that nobody asked for
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    S* membrane = static_cast<S*>(a.membrane) + n0;
    S* rate = static_cast<S*>(a.rate) + n0;
    S* count = a.count ? static_cast<S*>(a.count) + n0 : unwanted;
    const Data* factor = static_cast<const Data*>(a.factor) + (a.factor ? n0 : 0);
    for (int64_t t = 0; t < T; ++t) {
      const Data* drive = a.drive ? static_cast<const Data*>(a.drive) + t * N + n0 : no_drives;
      const Data* current = a.current ? static_cast<const Data*>(a.current) + (a.current_per_step ? t * N : 0) + n0 : no_currents;
      Data* spikes = static_cast<Data*>(a.spikes) + t * N + n0;
      if (t + 1 < T) {
        if (a.drive) prefetch(drive + N, n);
        prefetch_for_write(spikes + N, n);
      }
      if (factor) step_row<true>(params, drive, current, factor, membrane, rate, count, spikes, n);
      else step_row<false>(params, drive, current, factor, membrane, rate, count, spikes, n);
      // Threads may set the same flag, to the same value.
      if (a.fired && !__atomic_load_n(a.fired + t, __ATOMIC_RELAXED) && any_spike(spikes, n))
        __atomic_store_n(a.fired + t, 1, __ATOMIC_RELAXED);
    }
  });
}

template <class Args>
void with_params(const Args& args, int64_t begin, int64_t end) {
  with_dtype(args.neuron.dtype, [&](auto data) {
    steps<decltype(data)>(args.neuron, feedback_params<State<decltype(data)>>(args), begin, end);
  });
}

}  // namespace

void feedback_step(const FeedbackStep& args, int64_t begin, int64_t end) { with_params(args, begin, end); }

void ternary_step(const TernaryStep& args, int64_t begin, int64_t end) { with_params(args, begin, end); }

}  // namespace spikeops::cpu::SPIKEOPS_ISA
