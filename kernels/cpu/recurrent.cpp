// Recurrent spiking neurons: spikes, and the backward pass. A thread takes a few layers at a time through all their steps, so that
// what it reads of the weights serves them all; or some neurons, where each of them leads to itself alone. Of the weights, the way there
// reads those of the neurons that fired. A loop of its own, around the walk's steps (walk.h): in each of them neurons wait for all others
// of their layer.
#include "../math/recurrent.h"

#include "cuba_timing.h"
#include "vector.h"
#include "walk_back.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// What does not depend on options.
template <class StateType>
struct RecurrentNumbers {
  using Types = RecurrentNumbers;
  using S = StateType;
  using Data = S;  // of rows: what is stored in 16 bits is converted for a step
  using Params = RecurrentParams<S>;
  using Fixed = RecurrentFixed<S>;
  using State = RecurrentState<S>;
  struct Input { S total, spike_before; };
  struct Output { S spike; };

  using BackParams = Params;
  using Number = S;
  using History = State;  // before the step
  using Carry = RecurrentCarry<S>;
  static constexpr int kPassed = kRecurrentStates;
  using Before = Nothing;
  struct Gradient { S spike; };
  using BackInput = Input;
};

template <class S, Reset reset, CubaTiming timing>
struct Recurrent : RecurrentNumbers<S> {
  using Numbers = RecurrentNumbers<S>;
  SPIKEOPS_HD void step(const RecurrentParams<S>& p, RecurrentState<S>& state, typename Numbers::Input in, RecurrentFixed<S> fixed,
                        RecurrentState<S>&, typename Numbers::Output& out) {
    out.spike = recurrent_step<reset, timing>(state, in.total, in.spike_before, fixed, p);
  }
};

template <class S, Reset reset, Surrogate kind, CubaTiming timing, bool detach_reset>
struct RecurrentBack : RecurrentNumbers<S> {
  using Numbers = RecurrentNumbers<S>;
  SPIKEOPS_HD S step_back(const RecurrentParams<S>& p, RecurrentCarry<S>& carry, Nothing, RecurrentState<S> before,
                          typename Numbers::Input in, typename Numbers::Gradient gradient, RecurrentFixed<S> fixed) {
    return recurrent_step_back<reset, timing, detach_reset>(
        carry, gradient.spike, before, in.total, in.spike_before, fixed, p, [&](S distance) __attribute__((always_inline)) {
          return surrogate_derivative<kind>(distance, p.cuba.surrogate_scale, p.cuba.surrogate_peak);
        });
  }
};

// out[i] = (start[i], or 0) + the sum over k of value[k] * weight[place[k] * stride + i], in the order of k.
template <class S>
SPIKEOPS_ROW void gather_row(const S* __restrict weight, int64_t stride, const int32_t* __restrict place, const S* __restrict value,
                             int64_t count, const S* __restrict start, S* __restrict out, int64_t n) {
  using V = Vector<S>;
  constexpr int kVectors = 4;
  constexpr int64_t kWide = kVectors * V::kWidth;
  int64_t i = 0;
  for (; i + kWide <= n; i += kWide) {
    typename V::Type sum[kVectors] = {};
    if (start)
      for (int v = 0; v < kVectors; ++v) sum[v] = *reinterpret_cast<const typename V::Unaligned*>(start + i + v * V::kWidth);
    for (int64_t k = 0; k < count; ++k) {
      const S* row = weight + place[k] * stride + i;
      for (int v = 0; v < kVectors; ++v) sum[v] += value[k] * *reinterpret_cast<const typename V::Unaligned*>(row + v * V::kWidth);
    }
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<typename V::Unaligned*>(out + i + v * V::kWidth) = sum[v];
  }
  for (; i + V::kWidth <= n; i += V::kWidth) {
    typename V::Type sum = {};
    if (start) sum = *reinterpret_cast<const typename V::Unaligned*>(start + i);
    for (int64_t k = 0; k < count; ++k)
      sum += value[k] * *reinterpret_cast<const typename V::Unaligned*>(weight + place[k] * stride + i);
    *reinterpret_cast<typename V::Unaligned*>(out + i) = sum;
  }
  for (; i < n; ++i) {
    S sum = start ? start[i] : S(0);
    for (int64_t k = 0; k < count; ++k) sum += value[k] * weight[place[k] * stride + i];
    out[i] = sum;
  }
}

// x with what comes back to each neuron of itself, and with the bias, where there is one.
template <bool has_bias, class S>
SPIKEOPS_ROW void own_total_row(const S* __restrict x, const S* __restrict weight, const S* __restrict bias, const S* __restrict spikes,
                                S* __restrict total, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const S returned = weight[i] * spikes[i];
    total[i] = x[i] + (has_bias ? bias[i] + returned : returned);
  }
}

template <class S>
SPIKEOPS_ROW void total_row(const S* __restrict x, const S* __restrict returned, S* __restrict total, int64_t n) {
  for (int64_t i = 0; i < n; ++i) total[i] = x[i] + returned[i];
}

template <class Data, class S>
SPIKEOPS_ROW void round_row(const S* __restrict in, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_state<Data>(in[i]);
}

// The gradient of a total, from that of the scaled one, and of x, which is the same.
template <class Data, class S>
SPIKEOPS_ROW void scale_both_row(S* __restrict grad, S scale, Data* __restrict grad_x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    grad[i] = scale * grad[i];
    grad_x[i] = from_state<Data>(grad[i]);
  }
}

// Likewise of x, and of the spike that came back to the neuron itself.
template <class Data, class S>
SPIKEOPS_ROW void own_gradients_row(const S* __restrict grad, S scale, const S* __restrict weight, Data* __restrict grad_x,
                                    S* __restrict grad_spike, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    const S grad_total = scale * grad[i];
    grad_x[i] = from_state<Data>(grad_total);
    grad_spike[i] = weight[i] * grad_total;
  }
}

// Some layers of a call at a time, or, one to one, some neurons: what lies where of them, and what comes back through the weights.
template <class Data>
class Layers {
 public:
  using S = State<Data>;
  using Numbers = RecurrentNumbers<S>;

  // At most so many are taken together.
  Layers(const RecurrentNeuron& n, int64_t most)
      : n_(n), longest(n.one_to_one ? most : most * n.N), memory_((kRecurrentNumbers + 4) * longest), place_(n.one_to_one ? 0 : n.N),
        value_(n.one_to_one ? 0 : n.N) {
    S* next = memory_.data;
    for (int k = 0; k < kRecurrentNumbers; ++k, next += longest) {
      numbers_[k] = {static_cast<const S*>(n.per_neuron[k]), S(n.numbers[k])};
      numbers_[k].fill(next, longest);
      fixed.row[k] = next;
    }
    fill_row(next, S(0), longest);
    zeros = next, input_ = next + longest;
    first_buffer_ = next + 2 * longest, second_buffer_ = next + 3 * longest;
  }

  void take(int64_t first, int64_t count) {
    first_ = n_.one_to_one ? first : first * n_.N, count_ = count, size = n_.one_to_one ? count : count * n_.N;
    for (int k = 0; k < kRecurrentNumbers; ++k)
      if (numbers_[k].numbers) fixed.row[k] = numbers_[k].row(nullptr, first_, size);
    if (!n_.one_to_one) return;
    weight_ = each(n_.weight, first_buffer_);
    bias_ = n_.bias ? each(n_.bias, second_buffer_) : nullptr;
  }

  const S* initial(int k) const { return per_layer(n_.initial[k]); }
  const S* first_spikes() const { return per_layer(n_.s_init); }

  // The part of an array (B, N) that is of these layers, or zeros.
  const S* per_layer(const void* array) const { return array ? static_cast<const S*>(array) + first_ : zeros; }
  S* per_layer(void* array) const { return array ? static_cast<S*>(array) + first_ : nullptr; }

  // The part of an array (T, B, N) that is of a step; and as numbers of the state.
  Data* at(void* array, int64_t t) const { return static_cast<Data*>(array) + t * n_.B * n_.N + first_; }
  const Data* at(const void* array, int64_t t) const { return static_cast<const Data*>(array) + t * n_.B * n_.N + first_; }
  const S* step(const void* array, int64_t t, S* buffer) const { return state_row(at(array, t), buffer, size); }

  // The spikes of the step before.
  const S* spikes_before(const void* spikes, int64_t t, S* buffer) const { return t == 0 ? first_spikes() : step(spikes, t - 1, buffer); }

  // The input of a step, with what comes back of the spikes of the step before. Those before the first may be any numbers.
  void total(int64_t t, const S* spikes_before, S* out) {
    if (t + 1 < n_.T) prefetch(at(n_.x, t + 1), size);
    const S* const x = step(n_.x, t, input_);
    if (n_.one_to_one) {
      (bias_ ? own_total_row<true, S> : own_total_row<false, S>)(x, weight_, bias_, spikes_before, out, size);
    } else {
      bring(n_.weight_from, spikes_before, static_cast<const S*>(n_.bias), t == 0 ? Values::but_zeros : Values::spikes, first_buffer_);
      total_row(x, first_buffer_, out, size);
    }
  }

  // From the gradients of the scaled totals of a step: those of x, and in `spikes` those of the spikes of the step before.
  void bring_back(S* grad, S scale, Data* grad_x, S* spikes) {
    if (n_.one_to_one) return own_gradients_row(grad, scale, weight_, grad_x, spikes, size);
    scale_both_row(grad, scale, grad_x, size);
    bring(n_.weight, grad, nullptr, Values::all, spikes);
  }

 private:
  enum class Values { all, but_zeros, spikes };

  // Numbers of the neurons of a layer, for each neuron here: themselves, where these are neighbours in it.
  const S* each(const void* of_layer, S* buffer) const {
    const S* const numbers = static_cast<const S*>(of_layer);
    if (first_ % n_.N + size <= n_.N) return numbers + first_ % n_.N;
    return PerNeuron<S>{numbers, S(0), n_.N, 1}.row(buffer, first_, size);
  }

  void bring(const void* weight, const S* in, const S* start, Values values, S* out) {
    for (int64_t layer = 0; layer < count_; ++layer, in += n_.N, out += n_.N) {
      int64_t found = 0;
      for (int64_t j = 0; j < n_.N; ++j) {
        place_.data[found] = int32_t(j);
        value_.data[found] = values == Values::spikes ? S(1) : in[j];
        found += values == Values::all || in[j] != S(0);
      }
      gather_row(static_cast<const S*>(weight), n_.N, place_.data, value_.data, found, start, out, n_.N);
    }
  }

  const RecurrentNeuron& n_;
  int64_t first_ = 0, count_ = 0;

 public:
  const int64_t longest;
  int64_t size = 0;  // of a row
  const S* zeros;
  Rows<const S, typename Numbers::Fixed> fixed;

 private:
  Scratch<S> memory_;
  Scratch<int32_t> place_;
  Scratch<S> value_;
  PerNeuron<S> numbers_[kRecurrentNumbers];
  const S *weight_ = nullptr, *bias_ = nullptr;  // of each neuron here, one to one
  S *input_, *first_buffer_, *second_buffer_;
};

template <class S>
using RecurrentStepRow = StepRow<RecurrentNumbers<S>, typename RecurrentNumbers<S>::Output, S>;

template <class S>
RecurrentStepRow<S> step_for(const RecurrentNeuron& n) {
  RecurrentStepRow<S> row = nullptr;
  bool alike = true;
  for (const void* numbers : n.per_neuron) alike &= !numbers;
  with_timing(n.reset, n.timing, [&]<Reset reset, CubaTiming timing>() {
    using Neuron = Recurrent<S, reset, timing>;
    using Output = typename Neuron::Output;
    row = alike ? step_row<Neuron, Output, S, true> : step_row<Neuron, Output, S>;
  });
  return row;
}

template <class S>
BackRow<RecurrentNumbers<S>> back_for(const RecurrentNeuron& n, bool with_sums) {
  BackRow<RecurrentNumbers<S>> row = nullptr;
  with_timing(n.reset, n.timing, [&]<Reset reset, CubaTiming timing>() {
    with_surrogate(n.surrogate, [&]<Surrogate kind>() {
      // Where the reset has no gradient it makes no difference whether it is detached.
      constexpr bool none = reset == Reset::none || timing != CubaTiming::now;
      row = n.detach_reset ? back_row_for<RecurrentBack<S, reset, kind, timing, true>, RecurrentNumbers<S>>(with_sums)
                           : back_row_for<RecurrentBack<S, reset, kind, timing, none>, RecurrentNumbers<S>>(with_sums);
    });
  });
  return row;
}

int64_t most_together(const RecurrentNeuron& n, int64_t begin, int64_t end) { return smaller(shares_of(n).together, end - begin); }

// Calls body() for the layers, or neurons, that are taken together.
template <class Data, class Body>
void for_each_group(const RecurrentNeuron& n, int64_t begin, int64_t end, Layers<Data>& layers, Body body) {
  for_each_tile(begin, end, most_together(n, begin, end), [&](int64_t first, int64_t count) {
    layers.take(first, count);
    body();
  });
}

template <class Data>
void forward(const RecurrentForward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const RecurrentNeuron& n = a.neuron;
  const RecurrentParams<S> params = recurrent_params<S>(n);
  const RecurrentStepRow<S> step = step_for<S>(n);
  const bool streams = n.one_to_one && is_streamed<Data>(n.T * n.B * n.N, kRoomForOutputs);
  Layers<Data> layers(n, most_together(n, begin, end));
  const Scratch<S> total(layers.longest), spikes(2 * layers.longest);
  const Scratch<Data> outgoing(2 * layers.longest);
  for_each_group(n, begin, end, layers, [&] {
    StepRows<RecurrentNumbers<S>, typename RecurrentNumbers<S>::Output, S> rows;
    rows.fixed = layers.fixed;
    rows.n = layers.size;
    for (int k = 0; k < kRecurrentStates; ++k) {
      rows.from.row[k] = layers.initial(k);
      rows.to.row[k] = layers.per_layer(a.last[k]);
    }
    rows.in.row[0] = total.data;
    rows.in.row[1] = layers.first_spikes();
    for (int64_t t = 0; t < n.T; ++t) {
      const int64_t buffer = t % 2 * layers.longest;  // the spikes of the step before lie in the other one
      Data* const destination = layers.at(a.spikes, t);
      Data* const out = streams ? outgoing.data + buffer : destination;
      layers.total(t, rows.in.row[1], total.data);
      if constexpr (SameType<Data, S>::value) rows.kept.row[0] = out;
      else rows.kept.row[0] = spikes.data + buffer;
      step(params, rows);
      if constexpr (!SameType<Data, S>::value) round_row(rows.kept.row[0], out, layers.size);
      if (streams) stream_row(out, destination, layers.size);
      rows.from = read_only(rows.to);
      rows.in.row[1] = rows.kept.row[0];
    }
  });
  if (streams) end_of_stream();
}

template <class Data>
void backward(const RecurrentBackward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  using Numbers = RecurrentNumbers<S>;
  constexpr int kCarry = kFields<S, RecurrentCarry<S>>;
  constexpr int kTotal = kRecurrentStates, kKept = kTotal + 1;  // of each step the states before it, and its total
  const RecurrentNeuron& n = a.neuron;
  const RecurrentParams<S> params = recurrent_params<S>(n);
  const RecurrentStepRow<S> step = step_for<S>(n);
  const BackRow<Numbers> step_back = back_for<S>(n, wants_sums<Numbers>(a.grad_initial));
  Layers<Data> layers(n, most_together(n, begin, end));
  const int64_t longest = layers.longest;
  const Scratch<S> history((n.T + 1) * kKept * longest), carry(kCarry * longest), buffers(5 * longest);
  S *const gradient = buffers.data, *const grad_total = gradient + longest, *const brought = grad_total + longest;
  S *const spikes = brought + longest, *const unread = spikes + longest;
  const Scratch<Data> outgoing(longest);
  const bool streams = n.one_to_one && is_streamed<Data>(n.T * n.B * n.N, kRoomForGradients);
  const auto kept = [&](int64_t t, int k) { return history.data + (t * kKept + k) * longest; };
  for_each_group(n, begin, end, layers, [&] {
    const int64_t size = layers.size;
    StepRows<Numbers, typename Numbers::Output, S> rows;
    rows.fixed = layers.fixed;
    rows.n = size;
    rows.kept.row[0] = unread;
    for (int k = 0; k < kRecurrentStates; ++k) copy_row(layers.initial(k), kept(0, k), size);
    for (int64_t t = 0; t < n.T; ++t) {
      prefetch(layers.at(a.spikes, t), size);
      rows.in.row[0] = kept(t, kTotal);
      rows.in.row[1] = layers.spikes_before(a.spikes, t, spikes);
      layers.total(t, rows.in.row[1], kept(t, kTotal));
      for (int k = 0; k < kRecurrentStates; ++k) {
        rows.from.row[k] = kept(t, k);
        rows.to.row[k] = kept(t + 1, k);
      }
      step(params, rows);
    }

    BackRows<Numbers> back;
    back.fixed = layers.fixed;
    back.n = size;
    back.grad_input = grad_total;
    for (int k = 0; k < kCarry; ++k) {
      back.from.row[k] = k < kRecurrentStates ? layers.per_layer(a.grad_last[k]) : layers.zeros;
      S* const wanted = layers.per_layer(a.grad_initial[k]);
      back.to.row[k] = wanted ? wanted : carry.data + k * longest;
    }
    fill_row(brought, S(0), size);
    for (int64_t t = n.T - 1; t >= 0; --t) {
      back.gradient.row[0] = brought;
      if (a.grad_spikes) {
        if (t) prefetch(layers.at(a.grad_spikes, t - 1), size);
        total_row(layers.step(a.grad_spikes, t, grad_total), brought, gradient, size);
        back.gradient.row[0] = gradient;
      }
      for (int k = 0; k < kRecurrentStates; ++k) back.history.row[k] = kept(t, k);
      back.input.row[0] = kept(t, kTotal);
      back.input.row[1] = layers.spikes_before(a.spikes, t, spikes);
      step_back(params, back);
      back.from = read_only(back.to);
      Data* const destination = layers.at(a.grad_x, t);
      Data* const grad_x = streams ? outgoing.data : destination;
      layers.bring_back(grad_total, params.cuba.input_scale, grad_x, brought);
      if (streams) stream_row(grad_x, destination, size);
    }
    if (S* const wanted = layers.per_layer(a.grad_s_init)) copy_row(brought, wanted, size);
  });
  if (streams) end_of_stream();
}

}  // namespace

void recurrent_lif_forward(const RecurrentForward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) { forward<decltype(data)>(a, begin, end); });
}

void recurrent_lif_backward(const RecurrentBackward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) { backward<decltype(data)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
