// LIF backward, for the gradient of a spike train or of a rate. Runs the neurons forward again, keeping their membrane potentials
// on chip, then walks back: reads x and the upstream gradient once and writes the gradient of x once (x twice for T > kSegment).
#include "launch.h"
#include "lif.hpp"
#include "segments.hpp"
#include "walk.hpp"

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

template <class Data, int width>
__global__ void __launch_bounds__(kThreads)
    lif_backward_kernel(LifBackward a, LifParams<State<Data>> params, State<Data>* segment_v) {
  using S = State<Data>;
  using Membrane = Lanes<S, width>;
  GPU_DYNAMIC_SHARED(Membrane, block_history);
  Membrane* const history = block_history + threadIdx.x;  // u of a segment's step k at [k * blockDim.x]
  const LifNeuron& neuron = a.neuron;
  const int64_t T = neuron.T, N = neuron.N;
  const S scale = S(a.surrogate_scale), peak = S(a.surrogate_peak);
  const bool of_rate = a.grad_rate != nullptr;

  for_each_group<width>(N, [&](int64_t i) {
    const Data* const x = static_cast<const Data*>(neuron.x) + i;
    const int64_t x_stride = neuron.x_stride;
    Data* const grad_x = static_cast<Data*>(a.grad_x) + i;
    LifNeurons<Data, width> neurons(neuron, params, i);
    RateGradient<Data, width> rate(a, neurons.decay);
    Membrane segment_start = neurons.v;
    Membrane grad_v = load_or<width>(a.grad_v_last, i, S(0));
    Membrane grad_decay = all_lanes<width>(S(0));
    Membrane grad_u_sum = all_lanes<width>(S(0));  // over time

    const auto count = [&](const Membrane& u) {
      if (of_rate)
        for (int l = 0; l < width; ++l) rate.count(l, neurons.fires(u[l]));
    };

    const auto step_back = [&](int64_t t0, int64_t k, const Membrane& grad_spike) {
      const Membrane u = history[k * blockDim.x];
      Lanes<Data, width> out;
      Membrane grad_u;
      for (int l = 0; l < width; ++l) {
        const S derivative = surrogate_derivative(a.surrogate, u[l] - params.threshold, scale, peak);
        grad_u[l] = lif_grad_membrane(neurons.reset, grad_spike[l], grad_v[l], u[l], neurons.fires(u[l]), derivative,
                                      params.reset_amount, params.v_reset, params.detach_reset);
        out[l] = from_state<Data>(params.input_scale * grad_u[l]);
        grad_u_sum[l] += grad_u[l];
        grad_v[l] = grad_u[l] * neurons.decay[l];
      }
      if (x_stride != 0) store(grad_x + (t0 + k) * N, out);
      if (a.grad_decay != nullptr) {
        Membrane v = segment_start;
        if (k > 0) {
          const Membrane before = history[(k - 1) * blockDim.x];
          for (int l = 0; l < width; ++l) v[l] = neurons.after_reset(before[l]);
        }
        for (int l = 0; l < width; ++l) grad_decay[l] += grad_u[l] * (v[l] - params.v_rest);
      }
    };

    backward_in_segments(
        T,
        [&](int64_t s, int64_t t0, int64_t steps) {
          store(segment_v + s * N + i, neurons.v);
          for_each_step<width>(x + t0 * x_stride, x_stride, steps, N,
                               [&](int64_t, int64_t, const Lanes<Data, width>& x_t) { count(neurons.step(x_t)); });
        },
        [&](int64_t s, int64_t t0, int64_t steps, bool arrived) {
          if (!arrived) neurons.v = load<width>(segment_v + s * N + i);
          segment_start = neurons.v;
          for_each_step<width>(x + t0 * x_stride, x_stride, steps, N, [&](int64_t k, int64_t, const Lanes<Data, width>& x_t) {
            const Membrane u = neurons.step(x_t);
            history[k * blockDim.x] = u;
            if (arrived) count(u);
          });
          if (arrived && of_rate) grad_decay = rate.start(load<width>(static_cast<const Data*>(a.grad_rate) + i));
        },
        [&](int64_t t0, int64_t steps) {
          if (a.grad_spikes != nullptr) {
            const Data* const grad_spikes = static_cast<const Data*>(a.grad_spikes) + i + t0 * N;
            for_each_step<width, Direction::backward>(grad_spikes, steps, N,
                                                      [&](int64_t k, int64_t, const Lanes<Data, width>& g) {
                                                        Membrane grad_spike;
                                                        for (int l = 0; l < width; ++l) grad_spike[l] = to_state(g[l]);
                                                        step_back(t0, k, grad_spike);
                                                      });
          } else {
            for (int64_t k = steps - 1; k >= 0; --k) {
              step_back(t0, k, rate.grad_spike);  // 0 where there is no rate either
              rate.step_back();
            }
          }
        });

    if (x_stride == 0) {
      Lanes<Data, width> out;
      for (int l = 0; l < width; ++l) out[l] = from_state<Data>(params.input_scale * grad_u_sum[l]);
      store(grad_x, out);
    }
    if (a.grad_decay != nullptr) store(static_cast<S*>(a.grad_decay) + i, grad_decay);
    if (a.grad_v_init != nullptr) store(static_cast<S*>(a.grad_v_init) + i, grad_v);
  });
}

}  // namespace

int64_t lif_backward_scratch(int64_t T, int64_t N) { return (segments_of(T) - 1) * N; }

int lif_backward(const LifBackward& a, void* scratch, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    constexpr int width = 16 / sizeof(S);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.v_init, a.grad_spikes, a.grad_rate, a.grad_v_last, a.grad_x,
                             a.grad_decay, a.grad_v_init, scratch})
        .shared_bytes(history_bytes<Lanes<S, width>>(n.T), history_bytes<Lanes<S, 1>>(n.T))
        .launch(stream, lif_backward_kernel<Data, width>, lif_backward_kernel<Data, 1>, a, lif_params<S>(n),
                static_cast<S*>(scratch));
  });
}

}  // namespace spikeops::cuda
