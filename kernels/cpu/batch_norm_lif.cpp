// Batch norm and multi-step LIF in one walk, and the backward pass of both.
#include "channel_sums.h"
#include "kinds.h"
#include "neurons/batch_norm_lif.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// Calls body with the type of a neuron: BatchNormLif<Data, reset>.
template <class Body>
inline void with_neuron(const LifNeuron& n, Body body) {
  with_dtype(n.dtype,
             [&](auto data) { with_reset(n.reset, [&]<Reset reset>() { body(BatchNormLif<decltype(data), reset>{}); }); });
}

// The numbers of all channels, of which the walk takes those of its neurons. Where channels are short, they are spread over neurons once
// for all tiles.
template <class S, class Number, int count = kFields<S, Number>>
class OfChannels {
 public:
  // number(c): of a channel.
  template <class Of>
  OfChannels(const BatchNorm& b, Of number)
      : C_(b.C), inner_(b.inner), is_spread_(b.C * b.inner <= kLongest), length_(is_spread_ ? b.C * b.inner + kTile : b.C),
        memory_(count * (length_ + (is_spread_ ? b.C : 0))) {
    S* const of_each = memory_.data + (is_spread_ ? count * length_ : 0);
    Rows<S, Number> rows;
    for (int k = 0; k < count; ++k) rows.row[k] = of_each + k * C_;
    for (int64_t c = 0; c < C_; ++c) store(rows, c, number(c));
    if (is_spread_ && C_ > 0)
      for (int k = 0; k < count; ++k) spread_channels<S>(rows.row[k], C_, inner_, 0, length_, memory_.data + k * length_);
  }
  PerNeuron<S> operator[](int k) const { return {memory_.data + k * length_, S(0), C_, inner_, is_spread_}; }

 private:
  static constexpr int64_t kLongest = 16384;

  const int64_t C_, inner_;
  const bool is_spread_;
  const int64_t length_;
  const Scratch<S> memory_;
};

template <class S>
using Norms = OfChannels<S, Norm<S>>;

template <class S>
Norms<S> norms_of(const BatchNorm& b) {
  return {b, [&](int64_t channel) { return norm_of<S>(b, channel); }};
}

// Input, numbers of the channels and initial membrane potential, the same for every walk.
template <class AnyWalk>
void start_at(const LifNeuron& n, const Norms<typename AnyWalk::S>& norms, AnyWalk& w) {
  w.input[0] = {static_cast<const typename AnyWalk::Data*>(n.x), n.N};
  for (int k = 0; k < 3; ++k) w.fixed[k] = norms[k];
  w.initial[0] = static_cast<const typename AnyWalk::S*>(n.v_init);
}

template <class Neuron>
void forward(const BatchNormLifForward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  const Norms<S> norms = norms_of<S>(a.norm);
  auto w = walk_of<Neuron>(lif_params<S>(a.neuron), a.neuron.T);
  start_at(a.neuron, norms, w);
  w.output[0] = {static_cast<typename Neuron::Data*>(a.spikes), a.neuron.N};
  w.last[0] = static_cast<S*>(a.v_last);
  walk(w, begin, end);
}

template <Reset reset, class S>
BackRow<BatchNormLifNumbers<S>> row_for(int surrogate, bool detach_reset) {
  BackRow<BatchNormLifNumbers<S>> row = nullptr;
  with_surrogate(surrogate, [&]<Surrogate kind>() {
    // Where the reset has no gradient it makes no difference whether it is detached.
    constexpr bool none = reset == Reset::none;
    row = detach_reset ? back_row<BatchNormLifBack<S, reset, kind, true>, BatchNormLifNumbers<S>, false>
                       : back_row<BatchNormLifBack<S, reset, kind, none>, BatchNormLifNumbers<S>, false>;
  });
  return row;
}

// Neurons [begin, end), whole runs or blocks of rows.
template <class Neuron>
void backward(const BatchNormLifBackward& a, int64_t begin, int64_t end) {
  using S = typename Neuron::S;
  using Data = typename Neuron::Data;
  const LifParams<S> p = lif_params<S>(a.neuron);
  const Norms<S> norms = norms_of<S>(a.norm);
  const BatchNormLifBackParams<S> back{p.input_scale, p.threshold, p.fire_level, p.v_reset, p.reset_amount, S(a.surrogate_scale),
                                       S(a.surrogate_peak), p.decay};
  auto w = walk_back_of<Neuron>(p, back, a.neuron.T, a.neuron.N);
  start_at(a.neuron, norms, w);
  w.row = w.first_row = row_for<Neuron::kReset, S>(a.surrogate, p.detach_reset);
  w.grad_output = static_cast<const Data*>(a.grad_spikes);
  w.grad_last[0] = static_cast<const S*>(a.grad_v_last);
  w.grad_initial[0] = static_cast<S*>(a.grad_v_init);
  w.grad_input = static_cast<Data*>(a.grad_x);
  if (static_cast<Statistics>(a.norm.statistics) == Statistics::given) w.scaled_by = 1;
  else w.read_at_once = true;
  PairSums sums(a.channels, a.partials);
  walk_back(w, begin, end, [&](int64_t n0, const auto& carry, int64_t n) { sums.add(n0, carry.row[1], carry.row[2], n); });
}

template <class Data, class S>
SPIKEOPS_ROW void norm_gradient_row(const Data* __restrict x, const Rows<const S, NormGradient<S>> numbers, Data* grad, const Data* grad_y,
                                    int64_t n) {
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) {
    const NormGradient<S> g = load(numbers, i);
    grad[i] = from_state<Data>(norm_gradient(S(to_state(grad_y[i])), S(to_state(x[i])), g.mean, g.scale, g.grad_mean, g.grad_slope));
  }
}

template <class Data>
void norm_backward(const BatchNormBackward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  constexpr int count = kFields<S, NormGradient<S>>;
  const OfChannels<S, NormGradient<S>> of_channels(a.norm, [&](int64_t channel) { return norm_gradient_of<S>(a, channel); });
  alignas(64) S numbers[count][kTile];
  alignas(64) Data outgoing[kTile];
  const bool streams = is_streamed<Data>(a.T * a.N, kRoomForGradients);
  // Step after step, as memory lies: nothing passes from one to the next.
  for (int64_t t = 0; t < a.T; ++t)
    for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
      Rows<const S, NormGradient<S>> rows;
      for (int k = 0; k < count; ++k) rows.row[k] = of_channels[k].row(numbers[k], n0, n);
      const int64_t at = t * a.N + n0;
      Data* const destination = static_cast<Data*>(a.grad_x) + at;
      norm_gradient_row<Data, S>(static_cast<const Data*>(a.x) + at, rows, streams ? outgoing : destination,
                                 static_cast<const Data*>(a.grad_y) + at, n);
      if (streams) stream_row(outgoing, destination, n);
    });
  if (streams) end_of_stream();
}

}  // namespace

void batch_norm_lif_forward(const BatchNormLifForward& a, int64_t begin, int64_t end) {
  with_neuron(a.neuron, [&](auto neuron) { forward<decltype(neuron)>(a, begin, end); });
}

void batch_norm_lif_backward(const BatchNormLifBackward& a, int64_t begin, int64_t end) {
  const int64_t neurons = a.channels.inner == 1 ? a.channels.rows_per_block * a.channels.C : a.channels.inner;
  with_neuron(a.neuron,
              [&](auto neuron) { backward<decltype(neuron)>(a, begin * neurons, smaller(a.neuron.N, end * neurons)); });
}

void batch_norm_backward(const BatchNormBackward& a, int64_t begin, int64_t end) {
  with_dtype(a.dtype, [&](auto data) { norm_backward<decltype(data)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
