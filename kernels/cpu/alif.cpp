// Multi-step LIF with an adaptive threshold: spikes, and the backward pass.
#include "../math/alif.h"

#include "kinds.h"
#include "walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// What does not depend on the type of the data. The history of a step is the state before it.
template <class StateType>
struct AlifNumbers {
  using S = StateType;
  using Fixed = AlifDecays<S>;
  using State = AlifState<S>;
  using History = AlifState<S>;

  using BackParams = AlifParams<S>;
  using Number = S;
  using Carry = AlifCarry<S>;
  static constexpr int kPassed = 2;
  using Parameters = Nothing;  // the gradients of the decays are carried along
  using Before = Nothing;
  struct Gradient { S spikes; };
  struct BackInput { S x; };
  static constexpr bool kHasRate = false;
};

template <class DataType>
struct AlifTypes : AlifNumbers<spikeops::State<DataType>> {
  using Types = AlifTypes;
  using Data = DataType;
  using Numbers = AlifNumbers<spikeops::State<Data>>;
  using Params = AlifParams<typename Numbers::S>;
  using Result = Nothing;
  struct Input { Data x; };
  struct Output { Data spikes; };
};

template <class DataType, Reset reset, bool takes_threshold>
struct Alif : AlifTypes<DataType> {
  using Types = AlifTypes<DataType>;
  using Data = DataType;
  using S = typename Types::S;
  using State = AlifState<S>;
  static constexpr Reset kReset = reset;
  static constexpr bool kTakesThreshold = takes_threshold;

  SPIKEOPS_HD void step(const AlifParams<S>& p, State& state, typename Types::Input in, AlifDecays<S> decays, State& history,
                        typename Types::Output& out) {
    history = {state.v, state.a};
    const S theta = alif_threshold(state.a, p);
    const S u = lif_membrane(state.v, to_state(in.x), decays.membrane, p.input_scale, p.v_rest);
    const bool spike = alif_fires(u, theta, p);
    state = {alif_reset<reset, takes_threshold>(u, theta, spike, p), alif_adaptation(state.a, spike, decays.adaptation)};
    out.spikes = spike_value<Data>(spike);
  }
};

template <class S, Reset reset, Surrogate kind, bool takes_threshold, bool detach_reset>
struct AlifBack : AlifNumbers<S> {
  using Numbers = AlifNumbers<S>;

  SPIKEOPS_HD S step_back(const AlifParams<S>& p, AlifCarry<S>& carry, Nothing, AlifState<S> before,
                          typename Numbers::BackInput in, typename Numbers::Gradient gradient, AlifDecays<S> decays) {
    const S theta = alif_threshold(before.a, p);
    const S u = lif_membrane(before.v, in.x, decays.membrane, p.input_scale, p.v_rest);
    const S derivative = surrogate_derivative<kind>(u - theta, p.surrogate_scale, p.surrogate_peak);
    return alif_step_back<reset, takes_threshold, detach_reset>(carry, gradient.spikes, before, u, theta, alif_fires(u, theta, p),
                                                                derivative, decays.membrane, decays.adaptation, p);
  }
};

// Input, decays and initial state, the same for every walk.
template <class AnyWalk>
void start_at(const AlifNeuron& n, AnyWalk& w) {
  using S = typename AnyWalk::S;
  w.input[0] = {static_cast<const typename AnyWalk::Data*>(n.x), n.x_stride};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.fixed[1] = {static_cast<const S*>(n.adaptation_decay_per_neuron), S(n.adaptation_decay)};
  w.initial[0] = static_cast<const S*>(n.v_init);
  w.initial[1] = static_cast<const S*>(n.a_init);
}

template <class Neuron>
void forward(const AlifForward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  auto w = walk_of<Neuron>(alif_params<S>(a.neuron), a.neuron.T);
  start_at(a.neuron, w);
  w.output[0] = {static_cast<typename Neuron::Data*>(a.spikes), a.neuron.N};
  w.last[0] = static_cast<S*>(a.v_last);
  w.last[1] = static_cast<S*>(a.a_last);
  walk(w, begin, end);
}

template <Reset reset, bool takes_threshold, class S>
BackRow<AlifNumbers<S>> row_for(const AlifNeuron& n, bool with_sums) {
  BackRow<AlifNumbers<S>> row = nullptr;
  with_surrogate(n.surrogate, [&]<Surrogate kind>() {
    // Where the reset has no gradient it makes no difference whether it is detached.
    constexpr bool none = reset == Reset::none;
    row = n.detach_reset ? back_row_for<AlifBack<S, reset, kind, takes_threshold, true>, AlifNumbers<S>>(with_sums)
                         : back_row_for<AlifBack<S, reset, kind, takes_threshold, none>, AlifNumbers<S>>(with_sums);
  });
  return row;
}

template <class Neuron>
void backward(const AlifBackward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  const AlifNeuron& n = a.neuron;
  const AlifParams<S> p = alif_params<S>(n);
  auto w = walk_back_of<Neuron>(p, p, n.T, n.N);
  start_at(n, w);
  w.grad_output = static_cast<const Data*>(a.grad_spikes);
  w.grad_last[0] = static_cast<const S*>(a.grad_v_last);
  w.grad_last[1] = static_cast<const S*>(a.grad_a_last);
  w.grad_initial[0] = static_cast<S*>(a.grad_v_init);
  w.grad_initial[1] = static_cast<S*>(a.grad_a_init);
  w.grad_initial[2] = static_cast<S*>(a.grad_decay);
  w.grad_initial[3] = static_cast<S*>(a.grad_adaptation_decay);
  const bool with_sums = wants_sums<AlifNumbers<S>>(w.grad_initial);
  w.row = w.first_row = row_for<Neuron::kReset, Neuron::kTakesThreshold, S>(n, with_sums);
  w.grad_input = static_cast<Data*>(a.grad_x);
  w.input_scale = p.input_scale;
  walk_back(w, begin, end);
}

// Calls body.operator()<reset, takes_threshold>().
template <class Body>
inline void with_reset(const AlifNeuron& n, Body body) {
  if (static_cast<Reset>(n.reset) == Reset::subtract && n.subtracts_threshold)
    return body.template operator()<Reset::subtract, true>();
  with_reset(n.reset, [&]<Reset reset>() { body.template operator()<reset, false>(); });
}

// Calls body with the type of a neuron: Alif<Data, reset, takes_threshold>.
template <class Body>
inline void with_neuron(const AlifNeuron& n, Body body) {
  with_dtype(n.dtype, [&](auto data) {
    with_reset(n, [&]<Reset reset, bool takes_threshold>() { body(Alif<decltype(data), reset, takes_threshold>{}); });
  });
}

}  // namespace

void alif_forward(const AlifForward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { forward<decltype(neuron)>(a, begin, end); });
}

void alif_backward(const AlifBackward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { backward<decltype(neuron)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
