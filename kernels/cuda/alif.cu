// Multi-step LIF with an adaptive threshold. The backward pass runs the neurons forward again, keeping their history on chip: it
// reads x and the upstream gradient once and writes the gradient of x once (for long T some of x twice).
#include "../math/alif.h"

#include "launch.h"
#include "slopes.hpp"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

// The neurons of one thread in the course of time.
template <class Data, int width>
struct AlifNeurons {
  using S = State<Data>;

  const AlifParams<S>& params;
  Lanes<S, width> decay, adaptation_decay, v, a;

  __device__ __forceinline__ AlifNeurons(const AlifNeuron& n, const AlifParams<S>& params, int64_t first)
      : params(params),
        decay(load_or<width>(n.decay_per_neuron, first, S(n.decay))),
        adaptation_decay(load_or<width>(n.adaptation_decay_per_neuron, first, S(n.adaptation_decay))),
        v(load_or<width>(n.v_init, first, S(0))),
        a(load_or<width>(n.a_init, first, S(0))) {}

  struct Step {
    S u;  // the membrane potential before the reset
    bool spike;
  };

  template <class Reset>
  __device__ __forceinline__ Step step(Reset, int l, Data x) {
    const S theta = alif_threshold(a[l], params);
    const S u = lif_membrane(v[l], to_state(x), decay[l], params.input_scale, params.v_rest);
    const bool spike = alif_fires(u, theta, params);
    v[l] = alif_reset<Reset::kind, Reset::takes_threshold>(u, theta, spike, params);
    a[l] = alif_adaptation(a[l], spike, adaptation_decay[l]);
    return {u, spike};
  }
};

template <Reset reset, bool takes_threshold_>
struct ResetKind {
  static constexpr Reset kind = reset;
  static constexpr bool takes_threshold = takes_threshold_;
};

// f(ResetKind{})
template <class F>
__device__ __forceinline__ void with_reset(const AlifNeuron& n, F f) {
  switch (static_cast<Reset>(n.reset)) {
    case Reset::subtract:
      return n.subtracts_threshold ? f(ResetKind<Reset::subtract, true>{}) : f(ResetKind<Reset::subtract, false>{});
    case Reset::to: return f(ResetKind<Reset::to, false>{});
    default: return f(ResetKind<Reset::none, false>{});
  }
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) alif_forward_kernel(AlifForward args, AlifParams<State<Data>> params) {
  using S = State<Data>;
  const AlifNeuron& n = args.neuron;
  for_each_group<width>(n.N, [&](int64_t i) {
    AlifNeurons<Data, width> neurons(n, params, i);
    Data* const spikes = static_cast<Data*>(args.spikes) + i;
    with_reset(n, [&](auto reset) {
      for_each_step<width>(static_cast<const Data*>(n.x) + i, n.x_stride, n.T, n.N,
                           [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                             Lanes<Data, width> s;
                             for (int l = 0; l < width; ++l) s[l] = spike_value<Data>(neurons.step(reset, l, x[l]).spike);
                             store(spikes + offset, s);
                           });
    });
    store(static_cast<S*>(args.v_last) + i, neurons.v);
    store(static_cast<S*>(args.a_last) + i, neurons.a);
  });
}

// The neurons of one thread, back in time.
template <class Data_, class Walk>
class AlifBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 2;
  static constexpr bool may_be_constant = true, has_gradients = true;

  struct History {
    Lanes<S, width> u[block];           // membrane potentials before the reset
    Lanes<S, width> a[block];           // adaptation before the step
    Lanes<S, width> derivative[block];  // added by `prepare`
  };

  template <class Reset_, bool detached_>
  struct BackwardKind {
    using Reset = Reset_;
    static constexpr bool detached = detached_;
  };

  __device__ __forceinline__ AlifBackwardNeurons(const AlifBackward& args, const AlifParams<S>& params, int64_t first)
      : args_(args), params_(params), first_(first), neurons_(args.neuron, params, first) {
    const Lanes<S, width> grad_v = load_or<width>(args.grad_v_last, first, S(0));
    const Lanes<S, width> grad_a = load_or<width>(args.grad_a_last, first, S(0));
    for (int l = 0; l < width; ++l) carry_[l] = {grad_v[l], grad_a[l], S(0), S(0)};
  }

  __device__ __forceinline__ Lanes<S, width>& state(int n) { return n == 0 ? neurons_.v : neurons_.a; }

  template <class F>
  __device__ __forceinline__ void forward(F f) const { with_reset(args_.neuron, f); }

  template <class F>
  __device__ __forceinline__ void backward(F f) const {
    with_reset(args_.neuron, [&](auto reset) {
      args_.neuron.detach_reset ? f(BackwardKind<decltype(reset), true>{}) : f(BackwardKind<decltype(reset), false>{});
    });
  }

  template <class Kind>
  __device__ __forceinline__ void step(Kind kind, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) neurons_.step(kind, l, x[l]);
  }

  __device__ __forceinline__ void begin() { start_ = neurons_.v; }

  template <class Kind>
  __device__ __forceinline__ void note(Kind kind, History& history, int k, const Lanes<Data, width>& x) {
    history.a[k] = neurons_.a;
    for (int l = 0; l < width; ++l) history.u[k][l] = neurons_.step(kind, l, x[l]).u;
  }

  __device__ __forceinline__ void arrived() {}

  __device__ __forceinline__ void prepare(History& history, unsigned places) const {
    surrogate_derivatives(args_.neuron.surrogate, {params_.surrogate_scale, params_.surrogate_peak}, places, history.derivative,
                          [&](int k, int l) { return history.u[k][l] - alif_threshold(history.a[k][l], params_); });
  }

  template <class Kind>
  __device__ __forceinline__ Lanes<Data, width> step_back(Kind, const History& history, int k, bool first,
                                                          const Lanes<Data, width>& grad) {
    Lanes<Data, width> out;
    for (int l = 0; l < width; ++l) {
      const S grad_spike = args_.grad_spikes != nullptr ? to_state(grad[l]) : S(0);
      using Reset = typename Kind::Reset;
      const S u = history.u[k][l], a = history.a[k][l], theta = alif_threshold(a, params_);
      const S v = first ? start_[l] : after<Reset>(history, k == 0 ? 0 : k - 1, l);
      const S grad_u = alif_step_back<Reset::kind, Reset::takes_threshold, Kind::detached>(
          carry_[l], grad_spike, {v, a}, u, theta, alif_fires(u, theta, params_), history.derivative[k][l], neurons_.decay[l],
          neurons_.adaptation_decay[l], params_);
      out[l] = from_state<Data>(params_.input_scale * grad_u);
      grad_u_sum_[l] += grad_u;
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    Lanes<Data, width> grad_x;
    Lanes<S, width> grad_v, grad_a, grad_decay, grad_adaptation_decay;
    for (int l = 0; l < width; ++l) {
      grad_x[l] = from_state<Data>(params_.input_scale * grad_u_sum_[l]);
      grad_v[l] = carry_[l].v;
      grad_a[l] = carry_[l].a;
      grad_decay[l] = carry_[l].decay;
      grad_adaptation_decay[l] = carry_[l].adaptation_decay;
    }
    if (args_.neuron.x_stride == 0) store(static_cast<Data*>(args_.grad_x) + first_, grad_x);
    if (args_.grad_v_init != nullptr) store(static_cast<S*>(args_.grad_v_init) + first_, grad_v);
    if (args_.grad_a_init != nullptr) store(static_cast<S*>(args_.grad_a_init) + first_, grad_a);
    if (args_.grad_decay != nullptr) store(static_cast<S*>(args_.grad_decay) + first_, grad_decay);
    if (args_.grad_adaptation_decay != nullptr)
      store(static_cast<S*>(args_.grad_adaptation_decay) + first_, grad_adaptation_decay);
  }

 private:
  // The membrane potential after a step.
  template <class Reset>
  __device__ __forceinline__ S after(const History& history, int k, int l) const {
    const S u = history.u[k][l], theta = alif_threshold(history.a[k][l], params_);
    return alif_reset<Reset::kind, Reset::takes_threshold>(u, theta, alif_fires(u, theta, params_), params_);
  }

  const AlifBackward& args_;
  const AlifParams<S>& params_;
  const int64_t first_;
  AlifNeurons<Data, width> neurons_;
  Lanes<S, width> start_;  // of a block: membrane potentials
  Lanes<AlifCarry<S>, width> carry_;
  Lanes<S, width> grad_u_sum_ = all_lanes<width>(S(0));
};

template <class Data, class Walk>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    alif_backward_kernel(AlifBackward args, AlifParams<State<Data>> params, State<Data>* scratch, Segments segments) {
  walk_all_back<AlifBackwardNeurons<Data, Walk>, Walk>(args, params, args.grad_spikes, scratch, segments);
}

}  // namespace

int alif_forward(const AlifForward& args, void* stream) {
  const AlifNeuron& n = args.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.adaptation_decay_per_neuron, n.v_init, n.a_init, args.spikes, args.v_last,
                             args.a_last})
        .launch(stream, alif_forward_kernel<Data, width>, alif_forward_kernel<Data, 1>, args, alif_params<State<Data>>(n));
  });
}

int64_t alif_backward_scratch(const AlifBackward& args) { return scratch_bytes(args.neuron, 2); }

int alif_backward(const AlifBackward& args, void* scratch, void* stream) {
  return dispatch(args.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    return launch_short_walk<AlifBackwardNeurons<Data, ShortWalk>>(stream, alif_backward_kernel<Data, ShortWalk>, args,
                                                                   alif_params<State<Data>>(args.neuron), scratch);
  });
}

}  // namespace spikeops::cuda
