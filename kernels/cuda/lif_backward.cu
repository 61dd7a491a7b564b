// LIF backward, for the gradient of a spike train or of a rate. Runs the neurons forward again, keeping their membrane potentials
// on chip, then walks back: reads x and the upstream gradient once and writes the gradient of x once (for long T some of x
// twice).
#include <cmath>
#include <type_traits>

#include "launch.h"
#include "lif.hpp"
#include "slopes.hpp"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

// The gradient that each time step's spike receives from a rate, and the decay's gradient through the rate's weights.
template <class Data, int width>
struct RateGradient {
  using S = State<Data>;

  bool decaying;
  Lanes<S, width> decay;  // factor between the weights of one step and the next
  Lanes<RateSums<S>, width> sums;
  Lanes<S, width> grad_spike;

  __device__ __forceinline__ RateGradient(const LifBackward& a, const Lanes<S, width>& neuron_decay)
      : decaying(static_cast<Weighting>(a.weighting) == Weighting::decay),
        decay(decaying ? neuron_decay : all_lanes<width>(S(1))),
        sums(all_lanes<width>(RateSums<S>{})),
        grad_spike(all_lanes<width>(S(0))) {}

  __device__ __forceinline__ void count(int lane, bool spike) { rate_step(sums[lane], spike, decay[lane]); }

  // After the last step.
  __device__ __forceinline__ void start(const Lanes<Data, width>& grad_rate) {
    for (int l = 0; l < width; ++l) grad_spike[l] = to_state(grad_rate[l]) / sums[l].weight;
  }

  // What the weights add to the gradient of the decay.
  __device__ __forceinline__ S grad_decay(int lane, Data grad_rate) const {
    return decaying ? to_state(grad_rate) * rate_decay_derivative(sums[lane]) : S(0);
  }

  __device__ __forceinline__ void step_back() {
    for (int l = 0; l < width; ++l) grad_spike[l] *= decay[l];
  }
};

// What a kernel can be asked for: the gradients of the spikes or the rate are given and that of x is wanted for each step; or
// anything.
enum class Gradients { of_spikes, of_rate, any };

template <Gradients of>
using GradientsConstant = std::integral_constant<Gradients, of>;

// Kinds of steps forward and backward. Subtraction forward serves for neurons without a reset, too: no membrane reaches their
// level. Backward, subtraction that is detached is as none. Where anything may be asked for, every step asks.
struct AnyKind {};
template <Reset reset>
struct ForwardKind {};
template <Reset reset, bool detached>
struct BackwardKind {};

// The neurons of one thread, back in time.
template <class Data_, class Walk, Gradients gradients>
class LifBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 1;
  static constexpr bool any = gradients == Gradients::any, may_be_constant = any, has_gradients = gradients != Gradients::of_rate;

  struct History { Lanes<S, width> u[block], derivative[block]; };  // membrane potentials before the reset; `prepare` adds the rest

  __device__ __forceinline__ LifBackwardNeurons(const LifBackward& a, const LifParams<S>& params, const SurrogateShape<S>& shape,
                                                int64_t first)
      : a_(a),
        shape_(shape),
        first_(first),
        neurons_(a.neuron, params, first),
        reset_level_(neurons_.reset == Reset::none ? S(NAN) : params.fire_level),
        grad_v_(load_or<width>(a.grad_v_last, first, S(0))),
        rate_(a, neurons_.decay) {}

  __device__ __forceinline__ Lanes<S, width>& state(int) { return neurons_.v; }

  template <class F>
  __device__ __forceinline__ void forward(F f) const {
    if constexpr (any) f(AnyKind{});
    else if (neurons_.reset == Reset::to) f(ForwardKind<Reset::to>{});
    else f(ForwardKind<Reset::subtract>{});
  }

  template <class F>
  __device__ __forceinline__ void backward(F f) const {
    const bool detached = neurons_.params.detach_reset;
    if constexpr (any) f(AnyKind{});
    else if (neurons_.reset == Reset::to) detached ? f(BackwardKind<Reset::to, true>{}) : f(BackwardKind<Reset::to, false>{});
    else if (neurons_.reset == Reset::subtract && !detached) f(BackwardKind<Reset::subtract, false>{});
    else f(BackwardKind<Reset::none, true>{});
  }

  template <class Kind>
  __device__ __forceinline__ void step(Kind kind, const Lanes<Data, width>& x) { count(membranes(kind, x)); }

  __device__ __forceinline__ void begin() {
    if constexpr (any) start_ = neurons_.v;
  }

  __device__ __forceinline__ void lack(History& history, int k, const Lanes<Data, width>& x) const {
    for (int l = 0; l < width; ++l) history.u[k][l] = to_state(x[l]);
  }

  template <class Kind>
  __device__ __forceinline__ void note(Kind kind, History& history, int k, const Lanes<Data, width>& x) {
    history.u[k] = membranes(kind, x);
    count(history.u[k]);
  }

  __device__ __forceinline__ void arrived() {
    counting_ = false;
    if (!is_of_rate()) return;
    const Lanes<Data, width> grad_rate = load<width>(static_cast<const Data*>(a_.grad_rate) + first_);
    rate_.start(grad_rate);
    if constexpr (any)
      for (int l = 0; l < width; ++l) grad_decay_[l] = rate_.grad_decay(l, grad_rate[l]);
  }

  __device__ __forceinline__ void prepare(History& history, unsigned places) const {
    const S threshold = neurons_.params.threshold;
    surrogate_derivatives(a_.surrogate, shape_, places, history.derivative,
                          [&](int k, int l) { return history.u[k][l] - threshold; });
  }

  template <class Kind>
  __device__ __forceinline__ Lanes<Data, width> step_back(Kind kind, const History& history, int k, bool first,
                                                          const Lanes<Data, width>& grad) {
    Lanes<Data, width> out;
    Lanes<S, width> grad_u;
    for (int l = 0; l < width; ++l) {
      const bool of_spikes = gradients == Gradients::of_spikes || (any && a_.grad_spikes != nullptr);
      const S grad_spike = of_spikes ? to_state(grad[l]) : rate_.grad_spike[l];
      grad_u[l] = grad_membrane(kind, grad_spike, grad_v_[l], history.u[k][l], history.derivative[k][l]);
      out[l] = from_state<Data>(neurons_.params.input_scale * grad_u[l]);
      grad_v_[l] = grad_u[l] * neurons_.decay[l];
    }
    if constexpr (gradients != Gradients::of_spikes) rate_.step_back();
    if constexpr (any) {
      for (int l = 0; l < width; ++l) grad_u_sum_[l] += grad_u[l];
      if (a_.grad_decay != nullptr)
        for (int l = 0; l < width; ++l) {
          const S v = first ? start_[l] : neurons_.after_reset(history.u[k == 0 ? 0 : k - 1][l]);
          grad_decay_[l] += grad_u[l] * (v - neurons_.params.v_rest);
        }
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    if constexpr (any) {
      if (a_.neuron.x_stride == 0) {
        Lanes<Data, width> out;
        for (int l = 0; l < width; ++l) out[l] = from_state<Data>(neurons_.params.input_scale * grad_u_sum_[l]);
        store(static_cast<Data*>(a_.grad_x) + first_, out);
      }
      if (a_.grad_decay != nullptr) store(static_cast<S*>(a_.grad_decay) + first_, grad_decay_);
    }
    if (a_.grad_v_init != nullptr) store(static_cast<S*>(a_.grad_v_init) + first_, grad_v_);
  }

 private:
  template <Reset reset>
  __device__ __forceinline__ S after_reset(ForwardKind<reset>, S u) const {
    return lif_reset<reset>(u, u >= reset_level_, neurons_.params.reset_amount, neurons_.params.v_reset);
  }
  __device__ __forceinline__ S after_reset(AnyKind, S u) const { return neurons_.after_reset(u); }

  template <Reset reset, bool detached>
  __device__ __forceinline__ S grad_membrane(BackwardKind<reset, detached>, S grad_spike, S grad_v, S u, S derivative) const {
    const LifParams<S>& p = neurons_.params;
    return lif_grad_membrane<reset>(grad_spike, grad_v, u, neurons_.fires(u), derivative, p.reset_amount, p.v_reset, detached);
  }
  __device__ __forceinline__ S grad_membrane(AnyKind, S grad_spike, S grad_v, S u, S derivative) const {
    const LifParams<S>& p = neurons_.params;
    return lif_grad_membrane(neurons_.reset, grad_spike, grad_v, u, neurons_.fires(u), derivative, p.reset_amount, p.v_reset,
                             p.detach_reset);
  }

  template <class Kind>
  __device__ __forceinline__ Lanes<S, width> membranes(Kind kind, const Lanes<Data, width>& x) {
    const LifParams<S>& p = neurons_.params;
    Lanes<S, width> u;
    for (int l = 0; l < width; ++l) {
      u[l] = lif_membrane(neurons_.v[l], to_state(x[l]), neurons_.decay[l], p.input_scale, p.v_rest);
      neurons_.v[l] = after_reset(kind, u[l]);
    }
    return u;
  }

  __device__ __forceinline__ bool is_of_rate() const {
    return gradients == Gradients::of_rate || (any && a_.grad_rate != nullptr);
  }

  __device__ __forceinline__ void count(const Lanes<S, width>& u) {
    if (is_of_rate() && counting_)
      for (int l = 0; l < width; ++l) rate_.count(l, neurons_.fires(u[l]));
  }

  const LifBackward& a_;
  const SurrogateShape<S>& shape_;
  const int64_t first_;
  LifNeurons<Data, width> neurons_;
  const S reset_level_;  // smallest membrane that is reset; none is where there is no reset
  Lanes<S, width> grad_v_;

  // Of a rate, and where anything may be asked for.
  RateGradient<Data, width> rate_;
  bool counting_ = true;
  Lanes<S, width> start_;  // of a block: membrane potentials
  Lanes<S, width> grad_decay_ = all_lanes<width>(S(0)), grad_u_sum_ = all_lanes<width>(S(0));
};

template <class Data, class Walk, Gradients gradients>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    lif_backward_kernel(LifBackward a, LifParams<State<Data>> params, SurrogateShape<State<Data>> shape, State<Data>* scratch,
                        Segments segments) {
  const LifNeuron& neuron = a.neuron;
  for_each_group<Walk::width>(neuron.N, [&](int64_t i) {
    LifBackwardNeurons<Data, Walk, gradients> neurons(a, params, shape, i);
    walk_back<decltype(neurons), Walk>(
        neurons, {neuron.T, neuron.N, segments, static_cast<const Data*>(neuron.x), neuron.x_stride,
                  static_cast<const Data*>(a.grad_spikes), static_cast<Data*>(a.grad_x), scratch, i});
    neurons.store_sums();
  });
}

}  // namespace

int64_t lif_backward_scratch(const LifBackward& a) { return scratch_bytes(a.neuron, 1); }

int lif_backward(const LifBackward& a, void* scratch, void* stream) {
  const LifNeuron& n = a.neuron;
  const Work work(n.N, 1, {n.x, n.decay_per_neuron, n.v_init, a.grad_spikes, a.grad_rate, a.grad_v_last, a.grad_x, a.grad_decay,
                           a.grad_v_init, scratch});
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    const auto launch = [&](auto gradients) {
      constexpr Gradients of = decltype(gradients)::value;
      constexpr Walks walks = of == Gradients::of_spikes ? Walks::all
                              : of == Gradients::of_rate ? Walks::fewer
                                                         : Walks::of_any_length;
      return with_walk<Data, walks>(work, n.T, [&](auto walk) {
        using Walk = decltype(walk);
        const Segments segments(n.T);
        return work.launch_of(Walk::width, stream, kept_bytes<LifBackwardNeurons<Data, Walk, of>, Walk>(n.T, segments),
                              lif_backward_kernel<Data, Walk, of>, a, lif_params<S>(n),
                              SurrogateShape<S>{S(a.surrogate_scale), S(a.surrogate_peak)}, static_cast<S*>(scratch), segments);
      });
    };
    if constexpr (sizeof(S) == 4) {
      if (a.grad_decay == nullptr && n.x_stride != 0 && work.suits(kNarrow<Data>)) {
        if (a.grad_rate != nullptr) return launch(GradientsConstant<Gradients::of_rate>{});
        if (a.grad_spikes != nullptr) return launch(GradientsConstant<Gradients::of_spikes>{});
      }
    }
    return launch(GradientsConstant<Gradients::any>{});
  });
}

}  // namespace spikeops::cuda
