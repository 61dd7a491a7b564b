// Batch norm and multi-step LIF in one walk. The backward pass runs the neurons forward again, keeping their history on chip, and leaves
// what each adds to the sums of its channel, for the kernel that takes them.
#include "../math/batch_norm_lif.h"

#include "channel_sums.hpp"
#include "launch.h"
#include "slopes.hpp"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

// The neurons of one thread in the course of time.
template <class Data, int width>
struct BatchNormLifNeurons {
  using S = State<Data>;

  const LifParams<S>& params;
  const Reset reset;
  Norm<S> norm[width];
  Lanes<S, width> v;

  __device__ __forceinline__ BatchNormLifNeurons(const LifNeuron& n, const BatchNorm& b, const LifParams<S>& params, int64_t first)
      : params(params), reset(static_cast<Reset>(n.reset)), v(load_or<width>(n.v_init, first, S(0))) {
    for_each_channel<width>(first, b.C, b.inner, [&](int l, int64_t channel) { norm[l] = norm_of<S>(b, channel); });
  }

  __device__ __forceinline__ bool fires(S u) const { return u >= params.fire_level; }

  // One time step of one of them; returns the membrane potential before the reset.
  __device__ __forceinline__ S step(int l, Data x) {
    const S y = normalised(S(to_state(x)), norm[l].mean, norm[l].scale, norm[l].bias);
    const S u = lif_membrane(v[l], y, params.decay, params.input_scale, params.v_rest);
    v[l] = lif_reset(reset, u, fires(u), params.reset_amount, params.v_reset);
    return u;
  }
};

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) batch_norm_lif_forward_kernel(BatchNormLifForward args, LifParams<State<Data>> params) {
  using S = State<Data>;
  const LifNeuron& n = args.neuron;
  for_each_group<width>(n.N, [&](int64_t i) {
    BatchNormLifNeurons<Data, width> neurons(n, args.norm, params, i);
    Data* const spikes = static_cast<Data*>(args.spikes) + i;
    for_each_step<width>(static_cast<const Data*>(n.x) + i, n.T, n.N, [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
      Lanes<Data, width> s;
      for (int l = 0; l < width; ++l) s[l] = spike_value<Data>(neurons.fires(neurons.step(l, x[l])));
      store(spikes + offset, s);
    });
    store(static_cast<S*>(args.v_last) + i, neurons.v);
  });
}

template <class S>
struct BatchNormLifBackParams {
  LifParams<S> neuron;
  SurrogateShape<S> shape;
  S* sums;  // (2, N): of the gradient of y, over time, and of its product with x - mean
};

// The neurons of one thread, back in time.
template <class Data_, class Walk>
class BatchNormLifBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 1;
  static constexpr bool may_be_constant = false, has_gradients = true;

  struct History {
    Lanes<S, width> u[block];           // membrane potentials before the reset
    Lanes<S, width> x[block];
    Lanes<S, width> derivative[block];  // added by `prepare`
  };

  __device__ __forceinline__ BatchNormLifBackwardNeurons(const BatchNormLifBackward& args, const BatchNormLifBackParams<S>& params,
                                                         int64_t first)
      : args_(args),
        params_(params),
        first_(first),
        neurons_(args.neuron, args.norm, params.neuron, first),
        grad_v_(load_or<width>(args.grad_v_last, first, S(0))) {}

  __device__ __forceinline__ Lanes<S, width>& state(int) { return neurons_.v; }

  struct Any {};
  template <class F>
  __device__ __forceinline__ void forward(F f) const { f(Any{}); }
  template <class F>
  __device__ __forceinline__ void backward(F f) const { f(Any{}); }

  __device__ __forceinline__ void step(Any, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) neurons_.step(l, x[l]);
  }

  __device__ __forceinline__ void begin() {}

  __device__ __forceinline__ void note(Any, History& history, int k, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) {
      history.x[k][l] = to_state(x[l]);
      history.u[k][l] = neurons_.step(l, x[l]);
    }
  }

  __device__ __forceinline__ void arrived() {}

  __device__ __forceinline__ void prepare(History& history, unsigned places) const {
    const S threshold = params_.neuron.threshold;
    surrogate_derivatives(args_.surrogate, params_.shape, places, history.derivative,
                          [&](int k, int l) { return history.u[k][l] - threshold; });
  }

  __device__ __forceinline__ Lanes<Data, width> step_back(Any, const History& history, int k, bool, const Lanes<Data, width>& grad) {
    const LifParams<S>& p = params_.neuron;
    const bool given = static_cast<Statistics>(args_.norm.statistics) == Statistics::given;
    Lanes<Data, width> out;
    for (int l = 0; l < width; ++l) {
      const Norm<S>& norm = neurons_.norm[l];
      const S grad_spike = args_.grad_spikes != nullptr ? to_state(grad[l]) : S(0), u = history.u[k][l];
      const S grad_u = lif_grad_membrane(neurons_.reset, grad_spike, grad_v_[l], u, neurons_.fires(u), history.derivative[k][l],
                                         p.reset_amount, p.v_reset, p.detach_reset);
      grad_v_[l] = grad_u * p.decay;
      const S grad_y = grad_u * p.input_scale;
      sum_[l] = sum_[l] + grad_y;
      product_[l] = product_[l] + grad_y * (history.x[k][l] - norm.mean);
      out[l] = from_state<Data>(given ? norm.scale * grad_y : grad_y);
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    store(params_.sums + first_, sum_);
    store(params_.sums + args_.neuron.N + first_, product_);
    if (args_.grad_v_init != nullptr) store(static_cast<S*>(args_.grad_v_init) + first_, grad_v_);
  }

 private:
  const BatchNormLifBackward& args_;
  const BatchNormLifBackParams<S>& params_;
  const int64_t first_;
  BatchNormLifNeurons<Data, width> neurons_;
  Lanes<S, width> grad_v_, sum_ = all_lanes<width>(S(0)), product_ = all_lanes<width>(S(0));
};

template <class Data, class Walk>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    batch_norm_lif_backward_kernel(BatchNormLifBackward args, BatchNormLifBackParams<State<Data>> params, State<Data>* scratch,
                                   Segments segments) {
  walk_all_back<BatchNormLifBackwardNeurons<Data, Walk>, Walk>(args, params, args.grad_spikes, scratch, segments);
}

// Two numbers of each neuron.
template <class S>
struct PairTerms {
  const S *a, *b;
  __device__ __forceinline__ int of(int64_t) const { return 0; }
  __device__ __forceinline__ void add(int64_t i, int, double& first, double& second) const {
    first += double(a[i]);
    second += double(b[i]);
  }
};

template <class S>
__global__ void __launch_bounds__(kThreads) pair_sums_of_rows_kernel(PairTerms<S> terms, Channels channels, double* partials) {
  sum_rows(terms, channels, partials);
}

template <class S>
__global__ void __launch_bounds__(kThreads) pair_sums_of_runs_kernel(PairTerms<S> terms, Channels channels, double* partials) {
  sum_runs(terms, channels, partials);
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) batch_norm_backward_kernel(BatchNormBackward a) {
  using S = State<Data>;
  for_each_group<width>(a.N, [&](int64_t i) {
    NormGradient<S> numbers[width];
    for_each_channel<width>(i, a.norm.C, a.norm.inner,
                            [&](int l, int64_t channel) { numbers[l] = norm_gradient_of<S>(a, channel); });
    constexpr int ahead = 4;
#pragma unroll 1
    for (int64_t t = 0; t < a.T; t += ahead) {
      Lanes<Data, width> grad_y[ahead], x[ahead];
#pragma unroll
      for (int k = 0; k < ahead; ++k) {
        if (t + k >= a.T) continue;
        grad_y[k] = load<width>(static_cast<const Data*>(a.grad_y) + (t + k) * a.N + i);
        x[k] = load<width>(static_cast<const Data*>(a.x) + (t + k) * a.N + i);
      }
#pragma unroll
      for (int k = 0; k < ahead; ++k) {
        if (t + k >= a.T) continue;
        Lanes<Data, width> grad_x;
        for (int l = 0; l < width; ++l) {
          const NormGradient<S>& g = numbers[l];
          grad_x[l] = from_state<Data>(
              norm_gradient(S(to_state(grad_y[k][l])), S(to_state(x[k][l])), g.mean, g.scale, g.grad_mean, g.grad_slope));
        }
        store(static_cast<Data*>(a.grad_x) + (t + k) * a.N + i, grad_x);
      }
    }
  });
}

}  // namespace

int batch_norm_lif_forward(const BatchNormLifForward& a, void* stream) {
  return dispatch(a.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(a.neuron.N, width, {a.neuron.x, a.neuron.v_init, a.spikes, a.v_last})
        .launch(stream, batch_norm_lif_forward_kernel<Data, width>, batch_norm_lif_forward_kernel<Data, 1>, a,
                lif_params<State<Data>>(a.neuron));
  });
}

// The sums of each neuron, then the states that the walk keeps.
int64_t batch_norm_lif_backward_scratch(const BatchNormLifBackward& a) {
  return 2 * a.neuron.N * int64_t(state_size(a.neuron.dtype)) + scratch_bytes(a.neuron, 1);
}

int batch_norm_lif_backward(const BatchNormLifBackward& a, void* scratch, void* stream) {
  return dispatch(a.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    S* const sums = static_cast<S*>(scratch);
    const BatchNormLifBackParams<S> params{lif_params<S>(a.neuron), {S(a.surrogate_scale), S(a.surrogate_peak)}, sums};
    const int error = launch_short_walk<BatchNormLifBackwardNeurons<Data, ShortWalk>>(
        stream, batch_norm_lif_backward_kernel<Data, ShortWalk>, a, params, sums + 2 * a.neuron.N);
    if (error != cudaSuccess) return error;
    return launch_sums(stream, a.channels, pair_sums_of_rows_kernel<S>, pair_sums_of_runs_kernel<S>,
                       PairTerms<S>{sums, sums + a.neuron.N}, a.channels, a.partials);
  });
}

int batch_norm_backward(const BatchNormBackward& a, void* stream) {
  return dispatch(a.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(a.N, width, {a.grad_y, a.x, a.grad_x})
        .launch(stream, batch_norm_backward_kernel<Data, width>, batch_norm_backward_kernel<Data, 1>, a);
  });
}

}  // namespace spikeops::cuda
