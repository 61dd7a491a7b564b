// LIF backward, for the gradient of a spike train or of a rate. Runs the neurons forward again, keeping their membrane potentials
// on chip, then walks back: reads x and the upstream gradient once and writes the gradient of x once (for long T some of x
// twice).
#include <type_traits>

#include "division.hpp"
#include "launch.h"
#include "lif.hpp"
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

  // After the last step: returns what the weights add to the gradient of the decay.
  __device__ __forceinline__ Lanes<S, width> start(const Lanes<Data, width>& grad_rate) {
    Lanes<S, width> grad_decay;
    for (int l = 0; l < width; ++l) {
      const S g = to_state(grad_rate[l]);
      grad_spike[l] = g / sums[l].weight;
      grad_decay[l] = decaying ? g * rate_decay_derivative(sums[l]) : S(0);
    }
    return grad_decay;
  }

  __device__ __forceinline__ void step_back() {
    for (int l = 0; l < width; ++l) grad_spike[l] *= decay[l];
  }
};

// Of the surrogate derivative, in the precision of the state.
template <class S>
struct SurrogateShape { S scale, peak; };

// The neurons of one thread, back in time. Where `reset` is compiled in, so is what most calls want: the gradient of the spikes
// is given, that of x is wanted for each step and that of the decay is not.
template <class Data_, int width_, int reset>
class LifBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = width_, states = 1;
  static constexpr bool anything = reset == kAnyReset, may_be_constant = anything;

  struct History { Lanes<S, width> u, derivative; };  // membrane potential before the reset; `prepare` adds the derivative there

  __device__ __forceinline__ LifBackwardNeurons(const LifBackward& a, const LifParams<S>& params, const SurrogateShape<S>& shape,
                                                int64_t first)
      : a_(a),
        shape_(shape),
        first_(first),
        neurons_(a.neuron, params, first),
        grad_v_(load_or<width>(a.grad_v_last, first, S(0))),
        rate_(a, neurons_.decay) {}

  __device__ __forceinline__ Lanes<S, width>& state(int) { return neurons_.v; }

  __device__ __forceinline__ void step(const Lanes<Data, width>& x) { count(neurons_.step(x)); }

  __device__ __forceinline__ void begin() {
    if constexpr (anything) start_ = neurons_.v;
  }

  __device__ __forceinline__ History note(const Lanes<Data, width>& x) {
    const Lanes<S, width> u = neurons_.step(x);
    count(u);
    return {u, {}};
  }

  __device__ __forceinline__ void arrived() {
    if constexpr (anything) {
      counting_ = false;
      if (a_.grad_rate != nullptr) grad_decay_ = rate_.start(load<width>(static_cast<const Data*>(a_.grad_rate) + first_));
    }
  }

  template <int steps>
  __device__ __forceinline__ void prepare(History (&history)[steps]) {
    switch (static_cast<Surrogate>(a_.surrogate)) {
      case Surrogate::atan: return derive<Surrogate::atan>(history);
      case Surrogate::sigmoid: return derive<Surrogate::sigmoid>(history);
      case Surrogate::exponential: return derive<Surrogate::exponential>(history);
      case Surrogate::fast_sigmoid: return derive<Surrogate::fast_sigmoid>(history);
      case Surrogate::triangle: return derive<Surrogate::triangle>(history);
      case Surrogate::rectangle: return derive<Surrogate::rectangle>(history);
      default: return derive<Surrogate::gaussian>(history);
    }
  }

  template <int steps>
  __device__ __forceinline__ Lanes<Data, width> step_back(const History (&history)[steps], int k, bool first,
                                                          const Lanes<Data, width>& grad) {
    Lanes<Data, width> out;
    Lanes<S, width> grad_u;
    for (int l = 0; l < width; ++l) {
      const S grad_spike = anything && a_.grad_spikes == nullptr ? rate_.grad_spike[l] : to_state(grad[l]);
      grad_u[l] = neurons_.grad_membrane(grad_spike, grad_v_[l], history[k].u[l], history[k].derivative[l]);
      out[l] = from_state<Data>(neurons_.params.input_scale * grad_u[l]);
      grad_v_[l] = grad_u[l] * neurons_.decay[l];
    }
    if constexpr (anything) {
      rate_.step_back();
      for (int l = 0; l < width; ++l) grad_u_sum_[l] += grad_u[l];
      if (a_.grad_decay != nullptr)
        for (int l = 0; l < width; ++l) {
          const S v = first ? start_[l] : neurons_.after_reset(history[k == 0 ? 0 : k - 1].u[l]);
          grad_decay_[l] += grad_u[l] * (v - neurons_.params.v_rest);
        }
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    if constexpr (anything) {
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
  template <Surrogate kind, int steps>
  __device__ __forceinline__ void derive(History (&history)[steps]) {
    constexpr int together = sizeof(Data) == 2 ? 1 : 2;  // steps whose divisions overlap; more would take more registers
    const S threshold = neurons_.params.threshold;
#pragma unroll
    for (int k = 0; k < steps; k += together) {
      OrdinaryDivision division;
      for (int j = k; j < k + together; ++j)
        for (int l = 0; l < width; ++l)
          history[j].derivative[l] = surrogate_derivative<kind>(history[j].u[l] - threshold, shape_.scale, shape_.peak, division);
      if (division.all_ordinary()) continue;
      for (int j = k; j < k + together; ++j)
        for (int l = 0; l < width; ++l)
          history[j].derivative[l] = surrogate_derivative<kind>(history[j].u[l] - threshold, shape_.scale, shape_.peak);
    }
  }

  __device__ __forceinline__ void count(const Lanes<S, width>& u) {
    if constexpr (anything)
      if (counting_ && a_.grad_rate != nullptr)
        for (int l = 0; l < width; ++l) rate_.count(l, neurons_.fires(u[l]));
  }

  const LifBackward& a_;
  const SurrogateShape<S>& shape_;
  const int64_t first_;
  LifNeurons<Data, width, reset> neurons_;
  Lanes<S, width> grad_v_;

  // Where anything may be asked for.
  RateGradient<Data, width> rate_;
  bool counting_ = true;
  Lanes<S, width> start_;  // of a block: membrane potentials
  Lanes<S, width> grad_decay_ = all_lanes<width>(S(0)), grad_u_sum_ = all_lanes<width>(S(0));
};

// Blocks for which a multiprocessor's registers shall suffice. (It deals them out in quarters: the numbers in between gain nothing.)
template <class Data, int reset>
constexpr int kLifBackwardBlocks = (reset == kAnyReset ? 4 : 6) + (sizeof(Data) == 2 ? 2 : 0);

template <class Data, int width, int reset>
__global__ void __launch_bounds__(kThreads, kLifBackwardBlocks<Data, reset>)
    lif_backward_kernel(LifBackward a, LifParams<State<Data>> params, SurrogateShape<State<Data>> shape, State<Data>* scratch,
                        Segments segments) {
  using Neurons = LifBackwardNeurons<Data, width, reset>;
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  const LifNeuron& neuron = a.neuron;
  const Kept<Neurons> kept(neuron.T, segments, shared);
  for_each_group<width>(neuron.N, [&](int64_t i) {
    Neurons neurons(a, params, shape, i);
    walk_back(neurons, kept,
              {neuron.T, neuron.N, segments, static_cast<const Data*>(neuron.x), neuron.x_stride,
               static_cast<const Data*>(a.grad_spikes), static_cast<Data*>(a.grad_x), scratch, i});
    neurons.store_sums();
  });
}

}  // namespace

int64_t lif_backward_scratch(int64_t T, int64_t N) { return (Segments(T).count - 1) * N; }

int lif_backward(const LifBackward& a, void* scratch, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    constexpr int width = 16 / sizeof(S);
    const Segments segments(n.T);
    Work work(n.N, width, {n.x, n.decay_per_neuron, n.v_init, a.grad_spikes, a.grad_rate, a.grad_v_last, a.grad_x, a.grad_decay,
                           a.grad_v_init, scratch});
    work.spread().shared_bytes(Kept<LifBackwardNeurons<Data, width, kAnyReset>>::bytes(n.T, segments),
                               Kept<LifBackwardNeurons<Data, 1, kAnyReset>>::bytes(n.T, segments));
    const auto launch = [&](auto reset) {
      return work.launch(stream, lif_backward_kernel<Data, width, decltype(reset)::value>,
                         lif_backward_kernel<Data, 1, kAnyReset>, a, lif_params<S>(n),
                         SurrogateShape<S>{S(a.surrogate_scale), S(a.surrogate_peak)}, static_cast<S*>(scratch), segments);
    };
    if constexpr (sizeof(S) == 4) {
      if (a.grad_spikes != nullptr && a.grad_decay == nullptr && n.x_stride != 0) {
        switch (static_cast<Reset>(n.reset)) {
          case Reset::subtract: return launch(ResetConstant<int(Reset::subtract)>{});
          case Reset::to: return launch(ResetConstant<int(Reset::to)>{});
          default: return launch(ResetConstant<int(Reset::none)>{});
        }
      }
    }
    return launch(ResetConstant<kAnyReset>{});
  });
}

}  // namespace spikeops::cuda
