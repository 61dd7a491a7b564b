// Multi-step current-based LIF: spikes, and the backward pass.
#include "../math/cuba_lif.h"

#include "cuba_timing.h"
#include "walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// What does not depend on the type of the data. The history of a step is the state before it.
template <class StateType>
struct CubaNumbers {
  using S = StateType;
  using Fixed = CubaLifFixed<S>;
  using State = CubaLifState<S>;
  using History = CubaLifState<S>;

  using BackParams = CubaLifParams<S>;
  using Number = S;
  using Carry = CubaLifCarry<S>;
  static constexpr int kPassed = 2;
  using Parameters = Nothing;  // the gradients of the numbers of each neuron are carried along
  using Before = Nothing;
  struct Gradient { S spikes; };
  struct BackInput { S x; };
  static constexpr bool kHasRate = false;
};

template <class DataType>
struct CubaTypes : CubaNumbers<spikeops::State<DataType>> {
  using Types = CubaTypes;
  using Data = DataType;
  using Numbers = CubaNumbers<spikeops::State<Data>>;
  using Params = CubaLifParams<typename Numbers::S>;
  using Result = Nothing;
  struct Input { Data x; };
  struct Output { Data spikes; };
};

template <class DataType, Reset reset, CubaTiming timing>
struct CubaLif : CubaTypes<DataType> {
  using Types = CubaTypes<DataType>;
  using Data = DataType;
  using S = typename Types::S;
  static constexpr Reset kReset = reset;
  static constexpr CubaTiming kTiming = timing;

  SPIKEOPS_HD void step(const CubaLifParams<S>& p, CubaLifState<S>& state, typename Types::Input in, CubaLifFixed<S> fixed,
                        CubaLifState<S>& history, typename Types::Output& out) {
    history = {state.v, state.i};
    const CubaCurrent<S> current = cuba_current(state.i, to_state(in.x), fixed.current_decay, p);
    const CubaMembrane<S> membrane = cuba_membrane<reset, timing>(state.v, current.read, cuba_spike(state.v, fixed.threshold, p),
                                                                  fixed.threshold, fixed.decay, fixed.current_scale, p);
    state = {membrane.v, current.after};
    out.spikes = spike_value<Data>(membrane.spike > S(0));
  }
};

template <class S, Reset reset, Surrogate kind, CubaTiming timing, bool detach_reset>
struct CubaLifBack : CubaNumbers<S> {
  using Numbers = CubaNumbers<S>;

  SPIKEOPS_HD S step_back(const CubaLifParams<S>& p, CubaLifCarry<S>& carry, Nothing, CubaLifState<S> before,
                          typename Numbers::BackInput in, typename Numbers::Gradient gradient, CubaLifFixed<S> fixed) {
    const CubaCurrent<S> current = cuba_current(before.i, in.x, fixed.current_decay, p);
    const CubaMembrane<S> membrane = cuba_membrane<reset, timing>(before.v, current.read, cuba_spike(before.v, fixed.threshold, p),
                                                                  fixed.threshold, fixed.decay, fixed.current_scale, p);
    const S derivative = surrogate_derivative<kind>(membrane.u - fixed.threshold, p.surrogate_scale, p.surrogate_peak);
    return cuba_step_back<reset, timing, detach_reset>(carry, gradient.spikes, before, current, membrane, derivative, fixed, p);
  }
};

// Whether no number differs from neuron to neuron.
inline bool are_alike(const CubaLifNeuron& n) {
  return !n.decay_per_neuron && !n.current_decay_per_neuron && !n.current_scale_per_neuron && !n.threshold_per_neuron;
}

// Input, numbers of each neuron and initial state, the same for every walk.
template <class AnyWalk>
void start_at(const CubaLifNeuron& n, AnyWalk& w) {
  using S = typename AnyWalk::S;
  w.input[0] = {static_cast<const typename AnyWalk::Data*>(n.x), n.x_stride};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.fixed[1] = {static_cast<const S*>(n.current_decay_per_neuron), S(n.current_decay)};
  w.fixed[2] = {static_cast<const S*>(n.current_scale_per_neuron), S(n.current_scale)};
  w.fixed[3] = {static_cast<const S*>(n.threshold_per_neuron), S(n.threshold)};
  w.initial[0] = static_cast<const S*>(n.v_init);
  w.initial[1] = static_cast<const S*>(n.i_init);
}

template <class Neuron>
void forward(const CubaLifForward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  auto w = walk_of<Neuron>(cuba_params<S>(a.neuron), a.neuron.T);
  start_at(a.neuron, w);
  if (are_alike(a.neuron)) w.step = step_row<Neuron, typename Neuron::Output, typename Neuron::Data, true>;
  w.output[0] = {static_cast<typename Neuron::Data*>(a.spikes), a.neuron.N};
  w.last[0] = static_cast<S*>(a.v_last);
  w.last[1] = static_cast<S*>(a.i_last);
  walk(w, begin, end);
}

template <Reset reset, CubaTiming timing, class S>
BackRow<CubaNumbers<S>> row_for(const CubaLifNeuron& n, bool with_sums) {
  BackRow<CubaNumbers<S>> row = nullptr;
  with_surrogate(n.surrogate, [&]<Surrogate kind>() {
    // Where the reset has no gradient it makes no difference whether it is detached.
    constexpr bool none = reset == Reset::none || timing != CubaTiming::now;
    row = n.detach_reset ? back_row_for<CubaLifBack<S, reset, kind, timing, true>, CubaNumbers<S>>(with_sums, are_alike(n))
                         : back_row_for<CubaLifBack<S, reset, kind, timing, none>, CubaNumbers<S>>(with_sums, are_alike(n));
  });
  return row;
}

template <class Neuron>
void backward(const CubaLifBackward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  const CubaLifNeuron& n = a.neuron;
  const CubaLifParams<S> p = cuba_params<S>(n);
  auto w = walk_back_of<Neuron>(p, p, n.T, n.N);
  start_at(n, w);
  if (are_alike(n)) w.step = step_row<Neuron, typename Neuron::History, S, true>;
  w.grad_output = static_cast<const Data*>(a.grad_spikes);
  w.grad_last[0] = static_cast<const S*>(a.grad_v_last);
  w.grad_last[1] = static_cast<const S*>(a.grad_i_last);
  w.grad_initial[0] = static_cast<S*>(a.grad_v_init);
  w.grad_initial[1] = static_cast<S*>(a.grad_i_init);
  w.grad_initial[2] = static_cast<S*>(a.grad_decay);
  w.grad_initial[3] = static_cast<S*>(a.grad_current_decay);
  w.grad_initial[4] = static_cast<S*>(a.grad_current_scale);
  w.grad_initial[5] = static_cast<S*>(a.grad_threshold);
  w.row = w.first_row = row_for<Neuron::kReset, Neuron::kTiming, S>(n, wants_sums<CubaNumbers<S>>(w.grad_initial));
  w.grad_input = static_cast<Data*>(a.grad_x);
  w.input_scale = p.input_scale;
  walk_back(w, begin, end);
}

// Calls body with the type of a neuron: CubaLif<Data, reset, timing>.
template <class Body>
inline void with_neuron(const CubaLifNeuron& n, Body body) {
  with_dtype(n.dtype, [&](auto data) {
    with_timing(n.reset, n.timing, [&]<Reset reset, CubaTiming timing>() { body(CubaLif<decltype(data), reset, timing>{}); });
  });
}

}  // namespace

void cuba_lif_forward(const CubaLifForward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { forward<decltype(neuron)>(a, begin, end); });
}

void cuba_lif_backward(const CubaLifBackward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { backward<decltype(neuron)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
