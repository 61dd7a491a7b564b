// Multi-step current-based LIF. The backward pass runs the neurons forward again, keeping their history on chip: it reads x and the
// upstream gradient once and writes the gradient of x once (for long T some of x twice).
#include "../math/cuba_lif.h"

#include "cuba_timing.hpp"
#include "launch.h"
#include "slopes.hpp"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

// The neurons of one thread in the course of time.
template <class Data, int width>
struct CubaLifNeurons {
  using S = State<Data>;

  const CubaLifParams<S>& params;
  Lanes<S, width> decay, current_decay, current_scale, threshold, v, i;

  __device__ __forceinline__ CubaLifNeurons(const CubaLifNeuron& n, const CubaLifParams<S>& params, int64_t first)
      : params(params),
        decay(load_or<width>(n.decay_per_neuron, first, S(n.decay))),
        current_decay(load_or<width>(n.current_decay_per_neuron, first, S(n.current_decay))),
        current_scale(load_or<width>(n.current_scale_per_neuron, first, S(n.current_scale))),
        threshold(load_or<width>(n.threshold_per_neuron, first, S(n.threshold))),
        v(load_or<width>(n.v_init, first, S(0))),
        i(load_or<width>(n.i_init, first, S(0))) {}

  __device__ __forceinline__ CubaLifFixed<S> fixed(int l) const {
    return {decay[l], current_decay[l], current_scale[l], threshold[l]};
  }

  template <class Kind>
  __device__ __forceinline__ CubaMembrane<S> membrane(Kind, int l, S v, S read) const {
    return cuba_membrane<Kind::reset, Kind::timing>(v, read, cuba_spike(v, threshold[l], params), threshold[l], decay[l],
                                                    current_scale[l], params);
  }

  template <class Kind>
  __device__ __forceinline__ CubaMembrane<S> step(Kind kind, int l, S x) {
    const CubaCurrent<S> current = cuba_current(i[l], x, current_decay[l], params);
    const CubaMembrane<S> membrane = this->membrane(kind, l, v[l], current.read);
    v[l] = membrane.v;
    i[l] = current.after;
    return membrane;
  }
};

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) cuba_lif_forward_kernel(CubaLifForward args, CubaLifParams<State<Data>> params) {
  using S = State<Data>;
  const CubaLifNeuron& n = args.neuron;
  for_each_group<width>(n.N, [&](int64_t first) {
    CubaLifNeurons<Data, width> neurons(n, params, first);
    Data* const spikes = static_cast<Data*>(args.spikes) + first;
    with_timing(n.reset, n.timing, [&](auto kind) {
      for_each_step<width>(static_cast<const Data*>(n.x) + first, n.x_stride, n.T, n.N,
                           [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                             Lanes<Data, width> s;
                             for (int l = 0; l < width; ++l) s[l] = spike_value<Data>(neurons.step(kind, l, to_state(x[l])).spike > S(0));
                             store(spikes + offset, s);
                           });
    });
    store(static_cast<S*>(args.v_last) + first, neurons.v);
    store(static_cast<S*>(args.i_last) + first, neurons.i);
  });
}

// The neurons of one thread, back in time.
template <class Data_, class Walk>
class CubaLifBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 2;
  static constexpr bool may_be_constant = true, has_gradients = true;

  struct History {
    Lanes<S, width> v[block], i[block];  // before the step
    Lanes<S, width> x[block];
    Lanes<S, width> u[block];            // that which fires or not
    Lanes<S, width> derivative[block];   // there; added by `prepare`
  };

  template <class Reset_, bool detached_>
  struct BackwardKind {
    using Reset = Reset_;
    static constexpr bool detached = detached_;
  };

  __device__ __forceinline__ CubaLifBackwardNeurons(const CubaLifBackward& args, const CubaLifParams<S>& params, int64_t first)
      : args_(args), params_(params), first_(first), neurons_(args.neuron, params, first) {
    const Lanes<S, width> grad_v = load_or<width>(args.grad_v_last, first, S(0));
    const Lanes<S, width> grad_i = load_or<width>(args.grad_i_last, first, S(0));
    for (int l = 0; l < width; ++l) carry_[l] = {grad_v[l], grad_i[l], S(0), S(0), S(0), S(0)};
  }

  __device__ __forceinline__ Lanes<S, width>& state(int n) { return n == 0 ? neurons_.v : neurons_.i; }

  template <class F>
  __device__ __forceinline__ void forward(F f) const { with_timing(args_.neuron.reset, args_.neuron.timing, f); }

  template <class F>
  __device__ __forceinline__ void backward(F f) const {
    with_timing(args_.neuron.reset, args_.neuron.timing, [&](auto reset) {
      args_.neuron.detach_reset ? f(BackwardKind<decltype(reset), true>{}) : f(BackwardKind<decltype(reset), false>{});
    });
  }

  template <class Kind>
  __device__ __forceinline__ void step(Kind kind, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) neurons_.step(kind, l, to_state(x[l]));
  }

  __device__ __forceinline__ void begin() {}

  __device__ __forceinline__ void lack(History& history, int k, const Lanes<Data, width>& x) const {
    for (int l = 0; l < width; ++l) history.x[k][l] = to_state(x[l]);
  }

  template <class Kind>
  __device__ __forceinline__ void note(Kind kind, History& history, int k, const Lanes<Data, width>& x) {
    history.v[k] = neurons_.v;
    history.i[k] = neurons_.i;
    for (int l = 0; l < width; ++l) {
      history.x[k][l] = to_state(x[l]);
      history.u[k][l] = neurons_.step(kind, l, history.x[k][l]).u;
    }
  }

  __device__ __forceinline__ void arrived() {}

  __device__ __forceinline__ void prepare(History& history, unsigned places) const {
    surrogate_derivatives(args_.neuron.surrogate, {params_.surrogate_scale, params_.surrogate_peak}, places, history.derivative,
                          [&](int k, int l) { return history.u[k][l] - neurons_.threshold[l]; });
  }

  template <class Kind>
  __device__ __forceinline__ Lanes<Data, width> step_back(Kind, const History& history, int k, bool,
                                                          const Lanes<Data, width>& grad) {
    using Reset = typename Kind::Reset;
    Lanes<Data, width> out;
    for (int l = 0; l < width; ++l) {
      const S grad_spike = args_.grad_spikes != nullptr ? to_state(grad[l]) : S(0);
      const S grad_input = cuba_step_back<Reset::reset, Reset::timing, Kind::detached>(
          carry_[l], grad_spike, {history.v[k][l], history.i[k][l]}, current(history, k, l), membrane(Reset{}, history, k, l),
          history.derivative[k][l], neurons_.fixed(l), params_);
      out[l] = from_state<Data>(params_.input_scale * grad_input);
      grad_input_sum_[l] += grad_input;
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    Lanes<Data, width> grad_x;
    for (int l = 0; l < width; ++l) grad_x[l] = from_state<Data>(params_.input_scale * grad_input_sum_[l]);
    if (args_.neuron.x_stride == 0) store(static_cast<Data*>(args_.grad_x) + first_, grad_x);
    store_part<S>(args_.grad_v_init, first_, carry_, [](const CubaLifCarry<S>& carry) { return carry.v; });
    store_part<S>(args_.grad_i_init, first_, carry_, [](const CubaLifCarry<S>& carry) { return carry.i; });
    store_part<S>(args_.grad_decay, first_, carry_, [](const CubaLifCarry<S>& carry) { return carry.decay; });
    store_part<S>(args_.grad_current_decay, first_, carry_, [](const CubaLifCarry<S>& carry) { return carry.current_decay; });
    store_part<S>(args_.grad_current_scale, first_, carry_, [](const CubaLifCarry<S>& carry) { return carry.current_scale; });
    store_part<S>(args_.grad_threshold, first_, carry_, [](const CubaLifCarry<S>& carry) { return carry.threshold; });
  }

 private:
  __device__ __forceinline__ CubaCurrent<S> current(const History& history, int k, int l) const {
    return cuba_current(history.i[k][l], history.x[k][l], neurons_.current_decay[l], params_);
  }

  template <class Kind>
  __device__ __forceinline__ CubaMembrane<S> membrane(Kind kind, const History& history, int k, int l) const {
    return neurons_.membrane(kind, l, history.v[k][l], current(history, k, l).read);
  }

  const CubaLifBackward& args_;
  const CubaLifParams<S>& params_;
  const int64_t first_;
  CubaLifNeurons<Data, width> neurons_;
  Lanes<CubaLifCarry<S>, width> carry_;
  Lanes<S, width> grad_input_sum_ = all_lanes<width>(S(0));
};

template <class Data, class Walk>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    cuba_lif_backward_kernel(CubaLifBackward args, CubaLifParams<State<Data>> params, State<Data>* scratch, Segments segments) {
  walk_all_back<CubaLifBackwardNeurons<Data, Walk>, Walk>(args, params, args.grad_spikes, scratch, segments);
}

}  // namespace

int cuba_lif_forward(const CubaLifForward& args, void* stream) {
  const CubaLifNeuron& n = args.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.current_decay_per_neuron, n.current_scale_per_neuron, n.threshold_per_neuron,
                             n.v_init, n.i_init, args.spikes, args.v_last, args.i_last})
        .launch(stream, cuba_lif_forward_kernel<Data, width>, cuba_lif_forward_kernel<Data, 1>, args, cuba_params<State<Data>>(n));
  });
}

int64_t cuba_lif_backward_scratch(const CubaLifBackward& args) { return scratch_bytes(args.neuron, 2); }

int cuba_lif_backward(const CubaLifBackward& args, void* scratch, void* stream) {
  return dispatch(args.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    return launch_short_walk<CubaLifBackwardNeurons<Data, ShortWalk>>(stream, cuba_lif_backward_kernel<Data, ShortWalk>, args,
                                                                      cuba_params<State<Data>>(args.neuron), scratch);
  });
}

}  // namespace spikeops::cuda
