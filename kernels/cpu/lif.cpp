// Multi-step LIF: spikes, firing rate, and the backward pass of both.
#include "neurons/lif.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class Body>
inline void with_reset(int reset, Body body) {
  switch (static_cast<Reset>(reset)) {
    case Reset::subtract: return body.template operator()<Reset::subtract>();
    case Reset::to: return body.template operator()<Reset::to>();
    case Reset::none: return body.template operator()<Reset::none>();
  }
}

// Calls body with the type of a neuron: Lif<Data, reset>.
template <class Body>
inline void with_neuron(const LifNeuron& n, Body body) {
  with_dtype(n.dtype, [&](auto data) { with_reset(n.reset, [&]<Reset reset>() { body(Lif<decltype(data), reset>{}); }); });
}

// Input, decay and initial membrane potential, the same for every walk.
template <class Neuron, class AnyWalk>
void start_at(const LifNeuron& n, AnyWalk& w) {
  using S = typename Neuron::S;
  w.T = n.T;
  w.input[0] = {static_cast<const typename Neuron::Data*>(n.x), n.x_stride};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.initial[0] = static_cast<const S*>(n.v_init);
}

template <class Neuron>
void forward(const LifForward& a, int64_t begin, int64_t end) {
  Walk<Neuron> w{lif_params<typename Neuron::S>(a.neuron)};
  start_at<Neuron>(a.neuron, w);
  w.output[0] = {static_cast<typename Neuron::Data*>(a.spikes), a.neuron.N};
  w.last[0] = static_cast<typename Neuron::S*>(a.v_last);
  walk(w, begin, end);
}

template <class Neuron>
void rate_forward(const LifRateForward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  Walk<Neuron> w{{lif_params<S>(a.neuron), S(a.neuron.T)}};
  start_at<Neuron>(a.neuron, w);
  w.result[0] = static_cast<typename Neuron::Data*>(a.rate);
  walk(w, begin, end);
}

// Where the reset has no gradient, or there is none, it makes no difference whether it is detached.
template <Reset reset, Surrogate kind, class S>
BackRow<LifNumbers<S>> row_for(bool detach_reset) {
  using Numbers = LifNumbers<S>;
  if (detach_reset || reset == Reset::none) return back_row<LifBack<S, reset, kind, true>, Numbers, false>;
  return back_row<LifBack<S, reset, kind, reset == Reset::none>, Numbers, false>;
}

template <Reset reset, class S>
BackRow<LifNumbers<S>> row_for(int surrogate, bool detach_reset) {
  switch (static_cast<Surrogate>(surrogate)) {
    case Surrogate::atan: return row_for<reset, Surrogate::atan, S>(detach_reset);
    case Surrogate::sigmoid: return row_for<reset, Surrogate::sigmoid, S>(detach_reset);
    case Surrogate::exponential: return row_for<reset, Surrogate::exponential, S>(detach_reset);
    case Surrogate::fast_sigmoid: return row_for<reset, Surrogate::fast_sigmoid, S>(detach_reset);
    case Surrogate::triangle: return row_for<reset, Surrogate::triangle, S>(detach_reset);
    case Surrogate::rectangle: return row_for<reset, Surrogate::rectangle, S>(detach_reset);
    default: return row_for<reset, Surrogate::gaussian, S>(detach_reset);
  }
}

template <class Neuron>
void backward(const LifBackward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  const LifParams<S> p = lif_params<S>(a.neuron);
  WalkBack<Neuron> w{p, {p.threshold, p.fire_level, p.v_reset, p.reset_amount, S(a.surrogate_scale), S(a.surrogate_peak)}};
  start_at<Neuron>(a.neuron, w);
  w.N = a.neuron.N;
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
