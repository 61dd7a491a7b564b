// Steps of feedback networks, spiking and ternary: one launch per call, the state in registers over the time steps. (Flags
// take one more launch before it, which clears them.)
#include "../math/feedback.h"

#include "../math/pack.h"
#include "grid.hpp"
#include "launch.h"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

// The neurons of one thread.
template <class Data, int width, class Params>
struct FeedbackNeurons {
  using S = State<Data>;

  const FeedbackNeuron& a;
  const Params& params;
  const int64_t first;
  Lanes<S, width> membrane, rate, count, factor;
  Lanes<Data, width> current;

  __device__ __forceinline__ FeedbackNeurons(const FeedbackNeuron& a, const Params& params, int64_t first)
      : a(a),
        params(params),
        first(first),
        membrane(load<width>(static_cast<const S*>(a.membrane) + first)),
        rate(load<width>(static_cast<const S*>(a.rate) + first)),
        count(load_or<width>(a.count, first, S(0))),
        factor(all_lanes<width>(no_factor(params))),
        current(load_or<width>(a.current_per_step ? nullptr : a.current, first, from_state<Data>(S(-0.0)))) {
    if (a.factor == nullptr) return;
    const auto given = load<width>(static_cast<const Data*>(a.factor) + first);
    for (int l = 0; l < width; ++l) factor[l] = to_state(given[l]);
  }

  // Step t, whose rows begin at `offset`.
  __device__ __forceinline__ void step(int64_t t, int64_t offset, const Lanes<Data, width>& drive) {
    if (a.current_per_step) current = load<width>(static_cast<const Data*>(a.current) + first + offset);
    Lanes<Data, width> spikes;
    bool any = false;
    for (int l = 0; l < width; ++l) {
      FeedbackState<S> state{membrane[l], rate[l], count[l]};
      spikes[l] = from_state<Data>(feedback_neuron_step(state, to_state(drive[l]), to_state(current[l]), factor[l], params));
      membrane[l] = state.membrane;
      rate[l] = state.rate;
      count[l] = state.count;
      any = any || is_spike(spikes[l]);
    }
    store(static_cast<Data*>(a.spikes) + first + offset, spikes);
    // Threads may set the same flag, to the same value. Where it was seen to be set, no more writes to it queue up.
    if (a.fired != nullptr && any && a.fired[t] == 0) a.fired[t] = 1;
  }

  __device__ __forceinline__ void store_state() const {
    store(static_cast<S*>(a.membrane) + first, membrane);
    store(static_cast<S*>(a.rate) + first, rate);
    if (a.count != nullptr) store(static_cast<S*>(a.count) + first, count);
  }
};

template <class Data, int width, class Params>
__global__ void __launch_bounds__(kThreads) feedback_step_kernel(FeedbackNeuron a, Params params) {
  for_each_group<width>(a.N, [&](int64_t i) {
    FeedbackNeurons<Data, width, Params> neurons(a, params, i);
    if (a.drive != nullptr) {
      for_each_step<width>(static_cast<const Data*>(a.drive) + i, a.T, a.N,
                           [&](int64_t t, int64_t offset, const Lanes<Data, width>& drive) { neurons.step(t, offset, drive); });
    } else {
      const auto drive = all_lanes<width>(from_state<Data>(no_drive(params)));
      for (int64_t t = 0; t < a.T; ++t) neurons.step(t, t * a.N, drive);
    }
    neurons.store_state();
  });
}

__global__ void __launch_bounds__(kThreads) clear_fired_kernel(int32_t* fired, int64_t T) {
  for_each_group<1>(T, [&](int64_t t) { fired[t] = 0; });
}

template <class Step>
int step(const Step& args, void* stream) {
  const FeedbackNeuron& a = args.neuron;
  return dispatch(a.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using Params = decltype(feedback_params<State<Data>>(args));
    constexpr int width = 16 / sizeof(Data);
    return Work(a.N, width, {a.drive, a.current, a.factor, a.membrane, a.spikes, a.rate, a.count})
        .launch(stream, feedback_step_kernel<Data, width, Params>, feedback_step_kernel<Data, 1, Params>, a,
                feedback_params<State<Data>>(args));
  });
}

}  // namespace

int clear_fired(const ClearFired& args, void* stream) {
  return Work(args.T, 1, {}).launch_of(1, stream, 0, clear_fired_kernel, args.fired, args.T);
}

int feedback_step(const FeedbackStep& args, void* stream) { return step(args, stream); }

int ternary_step(const TernaryStep& args, void* stream) { return step(args, stream); }

}  // namespace spikeops::cuda
