// LIF forward: spike trains, or firing rates without storing a spike train. Reads x once, writes the result once.
#include "grid.hpp"
#include "launch.h"
#include "lif.hpp"
#include "walk.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) lif_forward_kernel(LifForward a, LifParams<State<Data>> params) {
  using S = State<Data>;
  const LifNeuron& neuron = a.neuron;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    LifNeurons<Data, width> neurons(neuron, params, i);
    Data* const spikes = static_cast<Data*>(a.spikes) + i;
    for_each_step<width>(static_cast<const Data*>(neuron.x) + i, neuron.x_stride, neuron.T, neuron.N,
                         [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                           const Lanes<S, width> u = neurons.step(x);
                           Lanes<Data, width> s;
                           for (int l = 0; l < width; ++l) s[l] = spike_value<Data>(neurons.fires(u[l]));
                           store(spikes + offset, s);
                         });
    store(static_cast<S*>(a.v_last) + i, neurons.v);
  });
}

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) lif_rate_forward_kernel(LifRateForward a, LifParams<State<Data>> params) {
  using S = State<Data>;
  const LifNeuron& neuron = a.neuron;
  const bool decaying = static_cast<Weighting>(a.weighting) == Weighting::decay;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    LifNeurons<Data, width> neurons(neuron, params, i);
    const Lanes<S, width> weight = decaying ? neurons.decay : all_lanes<width>(S(1));
    auto sums = all_lanes<width>(RateSums<S>{});
    for_each_step<width>(static_cast<const Data*>(neuron.x) + i, neuron.x_stride, neuron.T, neuron.N,
                         [&](int64_t, int64_t, const Lanes<Data, width>& x) {
                           const Lanes<S, width> u = neurons.step(x);
                           for (int l = 0; l < width; ++l) rate_step(sums[l], neurons.fires(u[l]), weight[l]);
                         });
    Lanes<Data, width> rate;
    for (int l = 0; l < width; ++l) rate[l] = from_state<Data>(sums[l].spikes / sums[l].weight);
    store(static_cast<Data*>(a.rate) + i, rate);
  });
}

}  // namespace

int lif_forward(const LifForward& a, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.v_init, a.spikes, a.v_last})
        .launch(stream, lif_forward_kernel<Data, width>, lif_forward_kernel<Data, 1>, a, lif_params<State<Data>>(n));
  });
}

int lif_rate_forward(const LifRateForward& a, void* stream) {
  const LifNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.v_init, a.rate})
        .launch(stream, lif_rate_forward_kernel<Data, width>, lif_rate_forward_kernel<Data, 1>, a, lif_params<State<Data>>(n));
  });
}

}  // namespace spikeops::cuda
