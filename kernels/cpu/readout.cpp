// Leaky readout: the membrane potential of every step, and the backward pass.
#include "../math/readout.h"

#include "walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// What does not depend on the type of the data. The history of a step is the state before it.
template <class StateType>
struct ReadoutNumbers {
  using S = StateType;
  struct Fixed { S decay; };
  struct State { S v; };
  using History = State;

  using BackParams = ReadoutParams<S>;
  using Number = S;
  using Carry = ReadoutCarry<S>;
  using Parameters = Nothing;  // the gradient of the decay is carried along
  using Before = Nothing;
  struct Gradient { S trace; };
  using BackInput = Nothing;
  static constexpr bool kHasRate = false;

  SPIKEOPS_HD S step_back(const ReadoutParams<S>& p, ReadoutCarry<S>& carry, Nothing, State before, Nothing, Gradient gradient,
                          Fixed fixed) {
    return readout_step_back(carry, gradient.trace, before.v, fixed.decay, p);
  }
};

template <class DataType>
struct Readout : ReadoutNumbers<spikeops::State<DataType>> {
  using Types = Readout;
  using Data = DataType;
  using Numbers = ReadoutNumbers<spikeops::State<Data>>;
  using S = typename Numbers::S;
  using State = typename Numbers::State;
  using Params = ReadoutParams<S>;
  using Result = Nothing;
  struct Input { Data x; };
  struct Output { Data trace; };

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, typename Numbers::Fixed fixed, State& history, Output& out) {
    history = state;
    state.v = lif_membrane(state.v, to_state(in.x), fixed.decay, p.input_scale, p.v_rest);
    out.trace = from_state<Data>(state.v);
  }
};

// The way back where nobody asks for the gradient of the decay, which alone depends on the potentials: from the last step to the first,
// without a history.
template <class DataType>
struct ReadoutAdjoint {
  using Types = ReadoutAdjoint;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = ReadoutParams<S>;
  using Fixed = typename ReadoutNumbers<S>::Fixed;
  using History = Nothing;
  using Result = Nothing;
  struct State { S grad_v; };
  struct Input { Data grad_trace; };
  struct Output { Data grad_x; };

  SPIKEOPS_HD void step(const Params& p, State& state, Input in, Fixed fixed, History&, Output& out) {
    ReadoutCarry<S> carry{state.grad_v, S(0)};
    out.grad_x = from_state<Data>(p.input_scale * readout_step_back(carry, to_state(in.grad_trace), S(0), fixed.decay, p));
    state.grad_v = carry.v;
  }
};

template <class AnyWalk>
void start_at(const ReadoutNeuron& n, AnyWalk& w) {
  using S = typename AnyWalk::S;
  w.input[0] = {static_cast<const typename AnyWalk::Data*>(n.x), n.x_stride};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.initial[0] = static_cast<const S*>(n.v_init);
}

template <class Data>
void backward(const ReadoutBackward& a, int64_t begin, int64_t end) {
  using Neuron = Readout<Data>;
  using S = typename Neuron::S;
  using Numbers = typename Neuron::Numbers;
  const ReadoutParams<S> p = readout_params<S>(a.neuron);
  auto w = walk_back_of<Neuron>(p, p, a.neuron.T, a.neuron.N);
  start_at(a.neuron, w);
  w.row = w.first_row = back_row<Numbers, Numbers, false>;
  w.grad_output = static_cast<const Data*>(a.grad_trace);
  w.grad_last[0] = static_cast<const S*>(a.grad_v_last);
  w.grad_initial[0] = static_cast<S*>(a.grad_v_init);
  w.grad_initial[1] = static_cast<S*>(a.grad_decay);
  w.grad_input = static_cast<Data*>(a.grad_x);
  w.input_scale = p.input_scale;
  walk_back(w, begin, end);
}

template <class Data>
void adjoint(const ReadoutBackward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const ReadoutNeuron& n = a.neuron;
  auto w = walk_of<ReadoutAdjoint<Data>>(readout_params<S>(n), n.T, true);
  w.input[0] = {static_cast<const Data*>(a.grad_trace), n.N};
  w.output[0] = {static_cast<Data*>(a.grad_x), n.N};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.initial[0] = static_cast<const S*>(a.grad_v_last);
  w.last[0] = static_cast<S*>(a.grad_v_init);
  walk(w, begin, end);
}

}  // namespace

void readout_forward(const ReadoutForward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) {
    using Neuron = Readout<decltype(data)>;
    using S = typename Neuron::S;
    auto w = walk_of<Neuron>(readout_params<S>(a.neuron), a.neuron.T);
    start_at(a.neuron, w);
    w.output[0] = {static_cast<typename Neuron::Data*>(a.trace), a.neuron.N};
    w.last[0] = static_cast<S*>(a.v_last);
    walk(w, begin, end);
  });
}

void readout_backward(const ReadoutBackward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) {
    const bool has_adjoint = !a.grad_decay && a.grad_trace && a.neuron.x_stride;  // the sum over time of an x without time it has not
    has_adjoint ? adjoint<decltype(data)>(a, begin, end) : backward<decltype(data)>(a, begin, end);
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
