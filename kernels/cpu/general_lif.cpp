// Multi-step LIF in its general form: spikes and traces of the membrane potential, and the backward pass.
#include "neurons/general_lif.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body.operator()<scheme, counts>().
template <int scheme = 0, class Body>
inline void with_scheme(const GeneralLifNeuron& n, Body body) {
  constexpr ResetScheme kind = static_cast<ResetScheme>(scheme);
  if (n.scheme == scheme) {
    if (n.count == int(SpikeCounting::one)) return body.template operator()<kind, false>();
    return body.template operator()<kind, true>();
  }
  if constexpr (scheme + 1 < kResetSchemes) with_scheme<scheme + 1>(n, body);
}

// Calls body with the type of a neuron.
template <class Body>
inline void with_neuron(const GeneralLifNeuron& n, Body body) {
  with_dtype(n.dtype, [&](auto data) {
    with_scheme(n, [&]<ResetScheme scheme, bool counts>() { body(GeneralLif<decltype(data), scheme, counts>{}); });
  });
}

// Neurons that are compiled by themselves, as most are: no number differs from one to the other, and there is no bound.
inline bool are_plain(const GeneralLifNeuron& n) {
  return !n.decay_per_neuron && !n.threshold_per_neuron && !n.input_scale_per_neuron && !n.reset_amount_per_neuron && !n.is_bounded;
}

// Input, numbers of the neurons and initial membrane potential, the same for every walk.
template <class AnyWalk>
void start_at(const GeneralLifNeuron& n, AnyWalk& w) {
  using S = typename AnyWalk::S;
  w.input[0] = {static_cast<const typename AnyWalk::Data*>(n.x), n.x_stride};
  w.fixed[0] = {static_cast<const S*>(n.decay_per_neuron), S(n.decay)};
  w.fixed[1] = {static_cast<const S*>(n.threshold_per_neuron), S(n.threshold)};
  w.fixed[2] = {static_cast<const S*>(n.input_scale_per_neuron), S(n.input_scale)};
  w.fixed[3] = {static_cast<const S*>(n.reset_amount_per_neuron), S(n.reset_amount)};
  w.initial[0] = static_cast<const S*>(n.v_init);
}

template <class Neuron>
void forward(const GeneralLifForward& a, int64_t begin, int64_t end) {
  using Data = typename Neuron::Data;
  using S = typename Neuron::S;
  alignas(64) Data unread[kTile];  // what is not traced
  auto w = walk_of<Neuron>(general_lif_params<S>(a.neuron), a.neuron.T);
  start_at(a.neuron, w);
  w.output[0] = {static_cast<Data*>(a.spikes), a.neuron.N};
  for (int trace = int(Trace::before); trace <= int(Trace::after); ++trace) {
    if (a.neuron.trace == trace) w.output[trace] = {static_cast<Data*>(a.trace), a.neuron.N};
    else w.output[trace] = {unread, 0, true};
  }
  if (are_plain(a.neuron) && a.neuron.trace == int(Trace::none))
    w.step = step_row<typename Neuron::Unbounded, typename Neuron::Output, Data, true, 1>;
  w.last[0] = static_cast<S*>(a.v_last);
  walk(w, begin, end);
}

// The usual ways back are compiled by themselves.
template <class S, ResetScheme scheme, bool counts, bool detach_reset>
BackRow<GeneralLifNumbers<S>> row_for(const GeneralLifBackward& a) {
  const bool sums_of_spikes = a.grad_threshold || a.grad_reset_amount, sums = sums_of_spikes || a.grad_decay || a.grad_input_scale;
  constexpr int all = kFields<S, GeneralLifCarry<S>>, without_spikes = 3;
  if (are_plain(a.neuron) && a.neuron.trace == int(Trace::none) && !sums_of_spikes)
    return sums ? general_lif_back<S, scheme, counts, detach_reset, without_spikes, true>
                : general_lif_back<S, scheme, counts, detach_reset, 1, true>;
  return sums ? general_lif_back<S, scheme, counts, detach_reset, all, false>
              : general_lif_back<S, scheme, counts, detach_reset, 1, false>;
}

template <class Neuron>
void backward(const GeneralLifBackward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  constexpr ResetScheme scheme = Neuron::kScheme;
  const GeneralLifNeuron& n = a.neuron;
  const GeneralLifParams<S> p = general_lif_params<S>(n);
  auto w = walk_back_of<Neuron>(p, {p, n.surrogate, n.in_thresholds, static_cast<Trace>(n.trace)}, n.T, n.N);
  start_at(n, w);
  // A reset that comes late has no gradient that could be detached, nor has none.
  constexpr bool can_pass = scheme == ResetScheme::subtract || scheme == ResetScheme::subtract_guarded || scheme == ResetScheme::to;
  w.row = n.detach_reset ? row_for<S, scheme, Neuron::kCounts, true>(a) : row_for<S, scheme, Neuron::kCounts, !can_pass>(a);
  w.first_row = w.row;
  if (are_plain(n)) w.step = step_row<typename Neuron::Unbounded, typename Neuron::History, S, true>;
  w.grad_output = static_cast<const Data*>(a.grad_spikes);
  w.second_grad_output = static_cast<const Data*>(a.grad_trace);
  w.grad_last[0] = static_cast<const S*>(a.grad_v_last);
  void* const gradients[] = {a.grad_v_init, a.grad_decay, a.grad_input_scale, a.grad_threshold, a.grad_reset_amount};
  for (int k = 0; k < w.kCarry; ++k) w.grad_initial[k] = static_cast<S*>(gradients[k]);
  w.grad_input = static_cast<Data*>(a.grad_x);
  walk_back(w, begin, end);
}

}  // namespace

void general_lif_forward(const GeneralLifForward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { forward<decltype(neuron)>(a, begin, end); });
}

void general_lif_backward(const GeneralLifBackward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { backward<decltype(neuron)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
