// Multi-step LIF: spikes, firing rate, and the backward pass of both.
#include "kinds.h"
#include "neurons/lif.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body with the type of a neuron: Lif<Data, reset>.
template <class Body>
inline void with_neuron(const LifNeuron& n, Body body) {
  with_dtype(n.dtype, [&](auto data) { with_reset(n.reset, [&]<Reset reset>() { body(Lif<decltype(data), reset>{}); }); });
}

// Input, decay and initial membrane potential, the same for every walk.
template <class AnyWalk>
void start_at(const LifNeuron& n, AnyWalk& w) {
  using S = typename AnyWalk::S;
  w.input[0] = {static_cast<const typename AnyWalk::Data*>(n.x), n.x_stride};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.initial[0] = static_cast<const S*>(n.v_init);
}

template <class Neuron>
void forward(const LifForward& a, int64_t begin, int64_t end) {
  auto w = walk_of<Neuron>(lif_params<typename Neuron::S>(a.neuron), a.neuron.T);
  start_at(a.neuron, w);
  w.output[0] = {static_cast<typename Neuron::Data*>(a.spikes), a.neuron.N};
  w.last[0] = static_cast<typename Neuron::S*>(a.v_last);
  walk(w, begin, end);
}

template <class Neuron>
void rate_forward(const LifRateForward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  auto w = walk_of<Neuron>({lif_params<S>(a.neuron), S(a.neuron.T)}, a.neuron.T);
  start_at(a.neuron, w);
  w.result[0] = static_cast<typename Neuron::Data*>(a.rate);
  walk(w, begin, end);
}

template <Reset reset, class S>
BackRow<LifNumbers<S>> row_for(int surrogate, bool detach_reset) {
  BackRow<LifNumbers<S>> row = nullptr;
  with_surrogate(surrogate, [&]<Surrogate kind>() {
    // Where the reset has no gradient it makes no difference whether it is detached.
    constexpr bool none = reset == Reset::none;
    row = detach_reset ? back_row<LifBack<S, reset, kind, true>, LifNumbers<S>, false>
                       : back_row<LifBack<S, reset, kind, none>, LifNumbers<S>, false>;
  });
  return row;
}

template <class Neuron>
void backward(const LifBackward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  const LifParams<S> p = lif_params<S>(a.neuron);
  auto w = walk_back_of<Neuron>(p, {p.threshold, p.fire_level, p.v_reset, p.reset_amount, S(a.surrogate_scale), S(a.surrogate_peak)},
                                a.neuron.T, a.neuron.N);
  start_at(a.neuron, w);
  w.row = w.first_row = row_for<Neuron::kReset, S>(a.surrogate, p.detach_reset);
  w.grad_output = a.grad_rate ? nullptr : static_cast<const Data*>(a.grad_spikes);
  w.grad_rate = static_cast<const Data*>(a.grad_rate);
  w.weighting = static_cast<Weighting>(a.weighting);
  w.grad_last[0] = static_cast<const S*>(a.grad_v_last);
  w.grad_initial[0] = static_cast<S*>(a.grad_v_init);
  w.grad_parameters[0] = static_cast<S*>(a.grad_decay);
  w.grad_input = static_cast<Data*>(a.grad_x);
  w.input_scale = p.input_scale;
  walk_back(w, begin, end);
}

}  // namespace

void lif_forward(const LifForward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { forward<decltype(neuron)>(a, begin, end); });
}

void lif_rate_forward(const LifRateForward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&]<class Data, Reset reset>(Lif<Data, reset>) {
    const bool weighted = static_cast<Weighting>(a.weighting) == Weighting::decay;
    if (weighted) return rate_forward<LifRate<Data, reset, Weighting::decay>>(a, begin, end);
    rate_forward<LifRate<Data, reset, Weighting::mean>>(a, begin, end);
  });
}

void lif_backward(const LifBackward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { backward<decltype(neuron)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
