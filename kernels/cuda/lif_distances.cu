// LIF neurons that keep rounded distances from the threshold for their backward pass. Forward as lif, with two bytes more every step; the
// way back reads gradients and distances, each once, and runs nothing again.
#include "../math/lif_distances.h"

#include "grid.hpp"
#include "kinds.hpp"
#include "launch.h"
#include "lif.hpp"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) lif_distances_forward_kernel(LifDistancesForward a, LifParams<Data> params) {
  const LifNeuron& neuron = a.neuron;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    LifNeurons<Data, width> neurons(neuron, params, i);
    Data* const spikes = static_cast<Data*>(a.spikes) + i;
    bf16* const distances = static_cast<bf16*>(a.distances) + i;
    for_each_step<width>(static_cast<const Data*>(neuron.x) + i, neuron.x_stride, neuron.T, neuron.N,
                         [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                           const Lanes<Data, width> u = neurons.step(x);
                           Lanes<Data, width> s;
                           Lanes<bf16, width> kept;
                           for (int l = 0; l < width; ++l) {
                             const bool fired = neurons.fires(u[l]);
                             s[l] = spike_value<Data>(fired);
                             kept[l] = lif_kept_distance(u[l] - params.threshold, fired);
                           }
                           store(spikes + offset, s);
                           store(global_address(distances + offset), kept);  // whole, which nvcc else takes apart at times
                         });
    store(static_cast<Data*>(a.v_last) + i, neurons.v);
  });
}

// body(Kind<surrogate>{})
template <int surrogate = 0, class Body>
__device__ __forceinline__ void with_surrogate_of_distance(int kind, Body body) {
  constexpr int last = int(SurrogateOfLif::multi_gaussian);
  if constexpr (!is_of_distance(surrogate)) {
    with_surrogate_of_distance<surrogate + 1>(kind, body);
  } else {
    if constexpr (surrogate < last)
      if (kind != surrogate) return with_surrogate_of_distance<surrogate + 1>(kind, body);
    body(Kind<surrogate>{});
  }
}

// Loads of several steps are under way at once, and their surrogate derivatives, which know nothing of each other, overlap.
template <class Data, int width, Reset reset, bool detached>
__global__ void __launch_bounds__(kThreads) lif_distances_backward_kernel(LifDistancesBackward a, LifDistancesBack<Data> params) {
  const LifNeuron& neuron = a.neuron;
  constexpr int together = kStepsAhead / 2;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    auto grad_v = load_or<width>(a.grad_v_last, i, Data(0));
    auto sum = all_lanes<width>(Data(0));
    const Data* const grad_spikes = static_cast<const Data*>(a.grad_spikes) + i;
    const bf16* const distances = static_cast<const bf16*>(a.distances) + i;
    Data* const grad_x = static_cast<Data*>(a.grad_x) + i;
    int64_t offset = (neuron.T - 1) * neuron.N;
#pragma unroll 1
    for (int64_t left = neuron.T; left > 0; left -= together) {
      const int now = left < together ? int(left) : together;
      Lanes<Data, width> grad[together], derivative[together];
      Lanes<bf16, width> kept[together];
#pragma unroll
      for (int k = 0; k < together; ++k) {
        if (k >= now) continue;
        grad[k] = load<width>(grad_spikes + (offset - k * neuron.N));
        kept[k] = load<width>(distances + (offset - k * neuron.N));
      }
      with_surrogate_of_distance(a.surrogate, [&](auto kind) {
#pragma unroll
        for (int k = 0; k < together; ++k) {
          if (k >= now) continue;
          for (int l = 0; l < width; ++l)
            derivative[k][l] = surrogate_at_distance<decltype(kind)::value>(a.in_thresholds, Data(to_state(kept[k][l])),
                                                                            params.threshold, params.surrogate);
        }
      });
#pragma unroll
      for (int k = 0; k < together; ++k) {
        if (k >= now) continue;
        Lanes<Data, width> out;
        for (int l = 0; l < width; ++l) {
          const Data u = params.threshold + Data(to_state(kept[k][l]));
          const Data grad_u = lif_kept_step_back<reset, detached>(grad_v[l], grad[k][l], derivative[k][l], lif_has_fired(kept[k][l]), u,
                                                                  params.step);
          out[l] = params.step.step_scale * grad_u;
          sum[l] += out[l];
        }
        if (neuron.x_stride != 0) store(grad_x + (offset - k * neuron.N), out);
      }
      offset -= together * neuron.N;
    }
    if (neuron.x_stride == 0) {
      Lanes<Data, width> out;
      for (int l = 0; l < width; ++l) out[l] = params.step.sum_scale * sum[l];
      store(grad_x, out);
    }
    if (a.grad_v_init != nullptr) store(static_cast<Data*>(a.grad_v_init) + i, grad_v);
  });
}

template <class Data, Reset reset, bool detached>
int backward(const Work& work, const LifDistancesBackward& a, void* stream) {
  constexpr int width = 16 / sizeof(Data);
  return work.launch(stream, lif_distances_backward_kernel<Data, width, reset, detached>,
                     lif_distances_backward_kernel<Data, 1, reset, detached>, a, lif_distances_back<Data>(a));
}

// x of 16 bits is kept itself.
template <class F>
int dispatch_wide(DType dtype, F f) {
  return dtype == DType::f64 ? f(double{}) : f(float{});
}

}  // namespace

int lif_distances_forward(const LifDistancesForward& a, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch_wide(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.v_init, a.spikes, a.v_last, a.distances})
        .launch(stream, lif_distances_forward_kernel<Data, width>, lif_distances_forward_kernel<Data, 1>, a, lif_params<Data>(n));
  });
}

int lif_distances_backward(const LifDistancesBackward& a, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch_wide(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    const Work work(n.N, 16 / sizeof(Data), {a.grad_spikes, a.grad_v_last, a.distances, a.grad_x, a.grad_v_init});
    if (n.reset == int(Reset::to))
      return n.detach_reset ? backward<Data, Reset::to, true>(work, a, stream) : backward<Data, Reset::to, false>(work, a, stream);
    if (n.detach_reset || n.reset == int(Reset::none)) return backward<Data, Reset::subtract, true>(work, a, stream);
    return backward<Data, Reset::subtract, false>(work, a, stream);
  });
}

}  // namespace spikeops::cuda
