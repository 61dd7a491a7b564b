// TSSL-BP: post-synaptic current forward, O(T) recursion backward. The backward pass runs the neurons forward again, keeping
// their history on chip: it reads x and the upstream gradient once and writes the gradient of x once (x twice for T > kSegment).
#include "../math/tssl_bp.h"

#include "launch.h"
#include "segments.hpp"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) tssl_bp_forward_kernel(TsslBpForward a, TsslBpParams<State<Data>> params) {
  using S = State<Data>;
  const TsslBpNeuron& neuron = a.neuron;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    auto state = all_lanes<width>(TsslBpState<S>{S(0), S(0)});
    for_each_step<width>(static_cast<const Data*>(neuron.x) + i, neuron.T, neuron.N,
                         [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                           Lanes<Data, width> psc, spikes;
                           for (int l = 0; l < width; ++l) {
                             const TsslBpStep<S> now = tssl_bp_step(state[l], to_state(x[l]), params);
                             psc[l] = from_state<Data>(state[l].a);
                             spikes[l] = spike_value<Data>(now.u >= params.fire_level);
                           }
                           store(static_cast<Data*>(a.psc) + i + offset, psc);
                           if (a.spikes != nullptr) store(static_cast<Data*>(a.spikes) + i + offset, spikes);
                         });
  });
}

// What the backward pass needs of one time step. Whether the neuron was quiet is kept apart, as a bit.
template <class S, int width>
struct alignas(2 * sizeof(S) * width) TsslBpHistory {
  Lanes<S, width> u, du;
};

template <class Data, int width>
__global__ void __launch_bounds__(kThreads)
    tssl_bp_backward_kernel(TsslBpBackward args, TsslBpParams<State<Data>> params, State<Data>* segment_state) {
  using S = State<Data>;
  using History = TsslBpHistory<S, width>;
  static_assert(kSegment <= 64, "one bit per time step of a segment");
  GPU_DYNAMIC_SHARED(History, block_history);
  History* const history = block_history + threadIdx.x;  // step k of a segment at [k * blockDim.x]
  const TsslBpNeuron& neuron = args.neuron;
  const int64_t T = neuron.T, N = neuron.N;
  S* const segment_v = segment_state;
  S* const segment_a = segment_state + (segments_of(T) - 1) * N;

  for_each_group<width>(N, [&](int64_t i) {
    const Data* const x = static_cast<const Data*>(neuron.x) + i;
    const Data* const grad_psc = static_cast<const Data*>(args.grad_psc) + i;
    Data* const grad_x = static_cast<Data*>(args.grad_x) + i;
    Lanes<S, width> v = all_lanes<width>(S(0)), a = v;
    auto carry = all_lanes<width>(TsslBpCarry<S>{S(0), S(0)});
    Lanes<uint64_t, width> quiet;

    const auto step = [&](const Lanes<Data, width>& x_t) {
      History now;
      for (int l = 0; l < width; ++l) {
        TsslBpState<S> state{v[l], a[l]};
        const TsslBpStep<S> result = tssl_bp_step(state, to_state(x_t[l]), params);
        v[l] = state.v;
        a[l] = state.a;
        now.u[l] = result.u;
        now.du[l] = result.du;
      }
      return now;
    };

    backward_in_segments(
        T,
        [&](int64_t s, int64_t t0, int64_t steps) {
          store(segment_v + s * N + i, v);
          store(segment_a + s * N + i, a);
          for_each_step<width>(x + t0 * N, steps, N, [&](int64_t, int64_t, const Lanes<Data, width>& x_t) { step(x_t); });
        },
        [&](int64_t s, int64_t t0, int64_t steps, bool arrived) {
          if (!arrived) {
            v = load<width>(segment_v + s * N + i);
            a = load<width>(segment_a + s * N + i);
          }
          quiet = all_lanes<width>(uint64_t(0));
          for_each_step<width>(x + t0 * N, steps, N, [&](int64_t k, int64_t, const Lanes<Data, width>& x_t) {
            history[k * blockDim.x] = step(x_t);
            for (int l = 0; l < width; ++l) quiet[l] |= uint64_t(a[l] < params.quiet_level) << k;
          });
        },
        [&](int64_t t0, int64_t steps) {
          for_each_step<width, Direction::backward>(
              grad_psc + t0 * N, steps, N, [&](int64_t k, int64_t, const Lanes<Data, width>& grad_a) {
                const History now = history[k * blockDim.x];
                Lanes<Data, width> out;
                for (int l = 0; l < width; ++l)
                  out[l] = from_state<Data>(tssl_bp_backward_step(carry[l], to_state(grad_a[l]), now.u[l], now.du[l],
                                                                  now.u[l] >= params.fire_level, bool(quiet[l] >> k & 1),
                                                                  params));
                store(grad_x + (t0 + k) * N, out);
              });
        });
  });
}

}  // namespace

int tssl_bp_forward(const TsslBpForward& a, void* stream) {
  const TsslBpNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, a.psc, a.spikes})
        .launch(stream, tssl_bp_forward_kernel<Data, width>, tssl_bp_forward_kernel<Data, 1>, a,
                tssl_bp_params<State<Data>>(n));
  });
}

int64_t tssl_bp_backward_scratch(int64_t T, int64_t N) { return 2 * (segments_of(T) - 1) * N; }

int tssl_bp_backward(const TsslBpBackward& a, void* scratch, void* stream) {
  const TsslBpNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    constexpr int width = 8 / sizeof(S);  // two histories of the state's type: 16 bytes per thread and step
    return Work(n.N, width, {n.x, a.grad_psc, a.grad_x, scratch})
        .shared_bytes(history_bytes<TsslBpHistory<S, width>>(n.T), history_bytes<TsslBpHistory<S, 1>>(n.T))
        .launch(stream, tssl_bp_backward_kernel<Data, width>, tssl_bp_backward_kernel<Data, 1>, a, tssl_bp_params<S>(n),
                static_cast<S*>(scratch));
  });
}

}  // namespace spikeops::cuda
