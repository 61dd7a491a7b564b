// Multi-step LIF in its general form. The backward pass runs the neurons forward again, keeping their history on chip: it reads x and
// the upstream gradients once and writes the gradient of x once (for long T some of x twice).
#include "../math/general_lif.h"

#include <type_traits>

#include "kinds.hpp"
#include "launch.h"
#include "slopes.hpp"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

// How spikes reset the membrane potential, whether a step may have several of them, and whether the potential may have a lower bound, as a
// loop over steps sees it.
template <ResetScheme scheme_, bool counts_, bool bounded_>
struct KnownSpikes {
  static constexpr ResetScheme scheme = scheme_;
  static constexpr bool counts = counts_, bounded = bounded_;
};
struct AnySpikes {
  ResetScheme scheme;
  bool counts;
  static constexpr bool bounded = true;
};

// f(one of these). What neurons of other libraries do by default is asked once, before the loop, since a thread has little else to do
// while it waits for a branch; what is rare, and float64, in every step, since each kind is code of its own.
template <class S, class F>
__device__ __forceinline__ void with_spikes(ResetScheme scheme, bool counts, bool bounded, F f) {
  if constexpr (sizeof(S) == sizeof(float)) {
    if (scheme == ResetScheme::subtract) {
      if (counts) return f(KnownSpikes<ResetScheme::subtract, true, true>{});
      if (bounded) return f(KnownSpikes<ResetScheme::subtract, false, true>{});
      return f(KnownSpikes<ResetScheme::subtract, false, false>{});
    }
    if (!counts && !bounded) {
      if (scheme == ResetScheme::subtract_late) return f(KnownSpikes<ResetScheme::subtract_late, false, false>{});
      if (scheme == ResetScheme::to) return f(KnownSpikes<ResetScheme::to, false, false>{});
    }
  }
  f(AnySpikes{scheme, counts});
}

// Steps back, with what else there may be: gradients of numbers of each neuron, of a trace, of an input that is the same in all steps.
template <class Spikes, bool more_>
struct StepBack : Spikes {
  static constexpr bool more = more_;
};

// The neurons of one thread in the course of time.
template <class Data, int width>
struct GeneralLifNeurons {
  using S = State<Data>;

  const GeneralLifParams<S>& params;
  const ResetScheme scheme;
  const bool counts, bounded;
  Lanes<S, width> decay, threshold, input_scale, reset_amount, v;

  __device__ __forceinline__ GeneralLifNeurons(const GeneralLifNeuron& n, const GeneralLifParams<S>& params, int64_t first)
      : params(params),
        scheme(static_cast<ResetScheme>(n.scheme)),
        counts(n.count != int(SpikeCounting::one)),
        bounded(n.is_bounded),
        decay(load_or<width>(n.decay_per_neuron, first, S(n.decay))),
        threshold(load_or<width>(n.threshold_per_neuron, first, S(n.threshold))),
        input_scale(load_or<width>(n.input_scale_per_neuron, first, S(n.input_scale))),
        reset_amount(load_or<width>(n.reset_amount_per_neuron, first, S(n.reset_amount))),
        v(load_or<width>(n.v_init, first, S(0))) {}

  __device__ __forceinline__ GeneralLifNeuronNumbers<S> numbers(int l) const {
    return {decay[l], threshold[l], input_scale[l], reset_amount[l]};
  }

  template <class Spikes>
  __device__ __forceinline__ GeneralLifStep<S> step(Spikes spikes, int l, Data x) {
    const GeneralLifStep<S> done = general_lif_step(spikes.scheme, spikes.counts, spikes.bounded, v[l], to_state(x), numbers(l), params);
    v[l] = done.v;
    return done;
  }
};

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) general_lif_forward_kernel(GeneralLifForward args, GeneralLifParams<State<Data>> params) {
  using S = State<Data>;
  const GeneralLifNeuron& n = args.neuron;
  for_each_group<width>(n.N, [&](int64_t i) {
    GeneralLifNeurons<Data, width> neurons(n, params, i);
    Data* const spikes = static_cast<Data*>(args.spikes) + i;
    Data* const trace = static_cast<Data*>(args.trace) + (args.trace != nullptr ? i : 0);
    with_spikes<S>(neurons.scheme, neurons.counts, neurons.bounded, [&](auto kind) {
      for_each_step<width>(static_cast<const Data*>(n.x) + i, n.x_stride, n.T, n.N,
                           [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                             Lanes<Data, width> s, potential;
                             for (int l = 0; l < width; ++l) {
                               const GeneralLifStep<S> done = neurons.step(kind, l, x[l]);
                               s[l] = from_state<Data>(done.spikes);
                               potential[l] = from_state<Data>(n.trace == int(Trace::before) ? done.u : done.v);
                             }
                             store(spikes + offset, s);
                             if (n.trace != int(Trace::none)) store(trace + offset, potential);
                           });
    });
    store(static_cast<S*>(args.v_last) + i, neurons.v);
  });
}

// body(Kind<surrogate>{}): what is the same for all steps is asked once.
template <int surrogate = 0, class Body>
__device__ __forceinline__ void with_surrogate_of_lif(int kind, Body body) {
  if constexpr (surrogate + 1 < kSurrogatesOfLif)
    if (kind != surrogate) return with_surrogate_of_lif<surrogate + 1>(kind, body);
  body(Kind<surrogate>{});
}

// The neurons of one thread, back in time.
template <class Data_, class Walk>
class GeneralLifBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 1;
  static constexpr bool may_be_constant = true, has_gradients = true;

  struct History {
    Lanes<S, width> v[block];           // membrane potentials before the step
    Lanes<S, width> u[block];           // and before its reset
    Lanes<S, width> spikes[block];      // how many, where there may be several: each takes a division
    Lanes<S, width> x[block];
    Lanes<S, width> derivative[block];  // added by `prepare`
  };

  __device__ __forceinline__ GeneralLifBackwardNeurons(const GeneralLifBackward& args, const GeneralLifParams<S>& params, int64_t first)
      : args_(args), first_(first), neurons_(args.neuron, params, first), more_(asks_for_more(args)), t_(args.neuron.T - 1) {
    const Lanes<S, width> grad_v = load_or<width>(args.grad_v_last, first, S(0));
    for (int l = 0; l < width; ++l) carry_[l] = {grad_v[l], S(0), S(0), S(0), S(0)};
    load_trace();
  }

  __device__ __forceinline__ Lanes<S, width>& state(int) { return neurons_.v; }

  template <class F>
  __device__ __forceinline__ void forward(F f) const { with_spikes<S>(neurons_.scheme, neurons_.counts, neurons_.bounded, f); }
  template <class F>
  __device__ __forceinline__ void backward(F f) const {
    forward([&](auto spikes) {
      if constexpr (!std::is_same_v<decltype(spikes), AnySpikes>)
        if (!more_) return f(StepBack<decltype(spikes), false>{spikes});
      f(StepBack<decltype(spikes), true>{spikes});
    });
  }

  template <class Spikes>
  __device__ __forceinline__ void step(Spikes spikes, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) neurons_.step(spikes, l, x[l]);
  }

  __device__ __forceinline__ void begin() {}

  template <class Spikes>
  __device__ __forceinline__ void note(Spikes spikes, History& history, int k, const Lanes<Data, width>& x) {
    history.v[k] = neurons_.v;
    for (int l = 0; l < width; ++l) {
      const GeneralLifStep<S> done = neurons_.step(spikes, l, x[l]);
      history.x[k][l] = to_state(x[l]);
      history.u[k][l] = done.u;
      if (spikes.counts) history.spikes[k][l] = done.spikes;
    }
  }

  __device__ __forceinline__ void arrived() {}

  __device__ __forceinline__ void prepare(History& history, unsigned places) const {
    const SurrogateNumbers<S>& surrogate = neurons_.params.surrogate;
    if (args_.neuron.surrogate <= int(Surrogate::gaussian) && args_.neuron.in_thresholds == 0)
      return surrogate_derivatives(args_.neuron.surrogate, SurrogateShape<S>{surrogate.scale, surrogate.peak}, places, history.derivative,
                                   [&](int k, int l) { return (history.u[k][l] - neurons_.threshold[l]) - surrogate.center; });
    with_surrogate_of_lif(args_.neuron.surrogate, [&](auto kind) {
#pragma unroll
      for (int k = 0; k < block; ++k) {
        if ((places >> k & 1) == 0) continue;
        for (int l = 0; l < width; ++l)
          history.derivative[k][l] = surrogate_of_lif<decltype(kind)::value>(args_.neuron.in_thresholds, history.u[k][l],
                                                                             neurons_.threshold[l], surrogate);
      }
    });
  }

  template <class Spikes>
  __device__ __forceinline__ Lanes<Data, width> step_back(Spikes spikes, const History& history, int k, bool,
                                                          const Lanes<Data, width>& grad) {
    Lanes<Data, width> out;
    const Lanes<Data, width> grad_trace = grad_trace_;
    if constexpr (spikes.more) {
      --t_;
      load_trace();
    }
    for (int l = 0; l < width; ++l) {
      const GeneralLifNeuronNumbers<S> numbers = neurons_.numbers(l);
      const S u = history.u[k][l];
      const S count = spikes.counts ? history.spikes[k][l] : lif_fires(u, numbers.threshold, neurons_.params.at_threshold);
      const GeneralLifStep<S> step = general_lif_step_again(spikes.scheme, spikes.counts, spikes.bounded, history.v[k][l], u, count,
                                                            numbers, neurons_.params);
      const auto back = [&](GeneralLifCarry<S>& carry, S grad_spike, S grad_u, S grad_v) {
        return general_lif_step_back(spikes.scheme, spikes.counts, spikes.bounded, args_.neuron.detach_reset, carry, grad_spike, grad_u,
                                     grad_v, step, history.x[k][l], history.derivative[k][l], numbers, neurons_.params);
      };
      if constexpr (spikes.more) {
        const S traced = args_.grad_trace != nullptr ? to_state(grad_trace[l]) : S(0);
        const bool before = args_.neuron.trace == int(Trace::before);
        const S grad_x = back(carry_[l], args_.grad_spikes != nullptr ? to_state(grad[l]) : S(0), before ? traced : S(0),
                              before ? S(0) : traced);
        out[l] = from_state<Data>(grad_x);
        grad_x_sum_[l] += grad_x;
      } else {
        GeneralLifCarry<S> carry{carry_[l].v, S(0), S(0), S(0), S(0)};
        out[l] = from_state<Data>(back(carry, to_state(grad[l]), S(0), S(0)));
        carry_[l].v = carry.v;
      }
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    if (args_.neuron.x_stride == 0) {
      Lanes<Data, width> grad_x;
      for (int l = 0; l < width; ++l) grad_x[l] = from_state<Data>(grad_x_sum_[l]);
      store(static_cast<Data*>(args_.grad_x) + first_, grad_x);
    }
    store_part<S>(args_.grad_v_init, first_, carry_, [](const GeneralLifCarry<S>& carry) { return carry.v; });
    store_part<S>(args_.grad_decay, first_, carry_, [](const GeneralLifCarry<S>& carry) { return carry.decay; });
    store_part<S>(args_.grad_threshold, first_, carry_, [](const GeneralLifCarry<S>& carry) { return carry.threshold; });
    store_part<S>(args_.grad_input_scale, first_, carry_, [](const GeneralLifCarry<S>& carry) { return carry.input_scale; });
    store_part<S>(args_.grad_reset_amount, first_, carry_, [](const GeneralLifCarry<S>& carry) { return carry.reset_amount; });
  }

 private:
  __device__ __forceinline__ static bool asks_for_more(const GeneralLifBackward& args) {
    return args.grad_spikes == nullptr || args.grad_trace != nullptr || args.neuron.x_stride == 0 || args.grad_decay != nullptr ||
           args.grad_threshold != nullptr || args.grad_input_scale != nullptr || args.grad_reset_amount != nullptr;
  }

  // The trace's gradient of step t_, one step ahead of its use.
  __device__ __forceinline__ void load_trace() {
    if (args_.grad_trace != nullptr && t_ >= 0)
      grad_trace_ = load<width>(static_cast<const Data*>(args_.grad_trace) + t_ * args_.neuron.N + first_);
  }

  const GeneralLifBackward& args_;
  const int64_t first_;
  GeneralLifNeurons<Data, width> neurons_;
  const bool more_;
  int64_t t_;  // the next step back
  Lanes<Data, width> grad_trace_{};
  Lanes<GeneralLifCarry<S>, width> carry_;
  Lanes<S, width> grad_x_sum_ = all_lanes<width>(S(0));
};

template <class Data, class Walk>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    general_lif_backward_kernel(GeneralLifBackward args, GeneralLifParams<State<Data>> params, State<Data>* scratch, Segments segments) {
  walk_all_back<GeneralLifBackwardNeurons<Data, Walk>, Walk>(args, params, args.grad_spikes, scratch, segments);
}

}  // namespace

int general_lif_forward(const GeneralLifForward& args, void* stream) {
  const GeneralLifNeuron& n = args.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.threshold_per_neuron, n.input_scale_per_neuron, n.reset_amount_per_neuron,
                             n.v_init, args.spikes, args.v_last, args.trace})
        .launch(stream, general_lif_forward_kernel<Data, width>, general_lif_forward_kernel<Data, 1>, args,
                general_lif_params<State<Data>>(n));
  });
}

int64_t general_lif_backward_scratch(const GeneralLifBackward& args) { return scratch_bytes(args.neuron, 1); }

int general_lif_backward(const GeneralLifBackward& args, void* scratch, void* stream) {
  return dispatch(args.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    return launch_short_walk<GeneralLifBackwardNeurons<Data, ShortWalk>>(stream, general_lif_backward_kernel<Data, ShortWalk>, args,
                                                                         general_lif_params<State<Data>>(args.neuron), scratch);
  });
}

}  // namespace spikeops::cuda
