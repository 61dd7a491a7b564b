// Recurrent spiking neurons: spikes, and the backward pass. A thread takes a few layers at a time through all their steps, so that
// what it reads of the weights serves them all; or some neurons, where each of them leads to itself alone. Of the weights, the way there reads those of the neurons that fired. A loop of
// its own, around the walk's steps (walk.h): in each of them neurons wait for all others of their layer.
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

// What comes back to each neuron of itself.
template <class S>
SPIKEOPS_ROW void product_row(const S* __restrict weight, const S* __restrict in, S* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = weight[i] * in[i];
}

template <class S>
SPIKEOPS_ROW void product_sum_row(const S* __restrict weight, const S* __restrict in, const S* __restrict start, S* __restrict out,
                                  int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = start[i] + weight[i] * in[i];
}

template <class S>
SPIKEOPS_ROW void total_row(const S* __restrict x, const S* __restrict returned, S* __restrict total, int64_t n) {
  for (int64_t i = 0; i < n; ++i) total[i] = x[i] + returned[i];
}

template <class Data, class S>
SPIKEOPS_ROW void round_row(const S* __restrict in, Data* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) out[i] = from_state<Data>(in[i]);
}

// A row of numbers of the state as data.
template <class Data, class S>
inline void data_row(const S* in, Data* out, int64_t n) {
  if constexpr (SameType<Data, S>::value) copy_row(in, out, n);
  else round_row(in, out, n);
}

template <class S>
SPIKEOPS_ROW void scale_in_place_row(S* __restrict row, S scale, int64_t n) {
  for (int64_t i = 0; i < n; ++i) row[i] = scale * row[i];
}

// Some layers of a call, or, one to one, some neurons: what lies where of them, and what comes back through the weights.
template <class Data>
class Layers {
 public:
  using S = State<Data>;
  using Numbers = RecurrentNumbers<S>;

  Layers(const RecurrentNeuron& n, int64_t first, int64_t count)
      : n_(n), first_(n.one_to_one ? first : first * n.N), count_(count), size(n.one_to_one ? count : count * n.N),
        memory_((kRecurrentNumbers + 6) * size), place_(n.one_to_one ? 0 : n.N), value_(n.one_to_one ? 0 : n.N) {
    S* next = memory_.data;
    for (int k = 0; k < kRecurrentNumbers; ++k, next += size) {
      const PerNeuron<S> number{static_cast<const S*>(n.per_neuron[k]), S(n.numbers[k])};
      number.fill(next, size);
      fixed.row[k] = number.row(next, first_, size);
    }
    zeros = next, returned_ = next + size, input_ = next + 2 * size, spikes_ = next + 3 * size;
    fill_row(const_cast<S*>(zeros), S(0), size);
    if (n.one_to_one) {
      weight_ = each(n.weight, next + 4 * size);
      bias_ = n.bias ? each(n.bias, next + 5 * size) : nullptr;
    }
  }

  const S* initial(int k) const { return per_layer(n_.initial[k]); }
  const S* first_spikes() const { return per_layer(n_.s_init); }

  // The part of an array (B, N) that is of these layers, or zeros.
  const S* per_layer(const void* array) const { return array ? static_cast<const S*>(array) + first_ : zeros; }
  S* per_layer(void* array) const { return array ? static_cast<S*>(array) + first_ : nullptr; }

  // The part of an array (T, B, N) that is of a step; and as numbers of the state.
  Data* at(void* array, int64_t t) const { return static_cast<Data*>(array) + t * n_.B * n_.N + first_; }
  const S* step(const void* array, int64_t t, S* buffer) const {
    return state_row(static_cast<const Data*>(array) + t * n_.B * n_.N + first_, buffer, size);
  }

  // The spikes of the step before.
  const S* spikes_before(const void* spikes, int64_t t) { return t == 0 ? first_spikes() : step(spikes, t - 1, spikes_); }

  // The input of a step, with what comes back of the spikes of the step before. Those before the first may be any numbers.
  void total(int64_t t, const S* spikes_before, S* out) {
    const Values values = t == 0 ? Values::but_zeros : Values::spikes;
    if (n_.one_to_one && bias_) product_sum_row(weight_, spikes_before, bias_, returned_, size);
    else if (n_.one_to_one) product_row(weight_, spikes_before, returned_, size);
    else bring(n_.weight_from, spikes_before, static_cast<const S*>(n_.bias), values, returned_);
    total_row(step(n_.x, t, input_), returned_, out, size);
  }

  // out = the gradients of spikes, from those of the totals of the step after.
  void bring_back(const S* grad_total, S* out) {
    if (n_.one_to_one) product_row(weight_, grad_total, out, size);
    else bring(n_.weight, grad_total, nullptr, Values::all, out);
  }

 private:
  enum class Values { all, but_zeros, spikes };

  // Numbers of the neurons of a layer, for each neuron here.
  const S* each(const void* of_layer, S* buffer) const {
    return PerNeuron<S>{static_cast<const S*>(of_layer), S(0), n_.N, 1}.row(buffer, first_, size);
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
  const int64_t first_, count_;

 public:
  const int64_t size;
  const S* zeros;
  Rows<const S, typename Numbers::Fixed> fixed;

 private:
  Scratch<S> memory_;
  Scratch<int32_t> place_;
  Scratch<S> value_;
  const S *weight_ = nullptr, *bias_ = nullptr;  // of each neuron here, one to one
  S *returned_, *input_, *spikes_;
};

template <class S>
using RecurrentStepRow = StepRow<RecurrentNumbers<S>, typename RecurrentNumbers<S>::Output, S>;

template <class S>
RecurrentStepRow<S> step_for(const RecurrentNeuron& n) {
  RecurrentStepRow<S> row = nullptr;
  with_timing(n.reset, n.timing, [&]<Reset reset, CubaTiming timing>() {
    row = step_row<Recurrent<S, reset, timing>, typename RecurrentNumbers<S>::Output, S>;
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

// Calls body(first, how many) for the layers, or neurons, that are taken together.
template <class Body>
void for_each_group(const RecurrentNeuron& n, int64_t begin, int64_t end, Body body) {
  for_each_tile(begin, end, shares_of(n).together, body);
}

template <class Data>
void forward(const RecurrentForward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const RecurrentNeuron& n = a.neuron;
  const RecurrentParams<S> params = recurrent_params<S>(n);
  const RecurrentStepRow<S> step = step_for<S>(n);
  for_each_group(n, begin, end, [&](int64_t first, int64_t count) {
    Layers<Data> layers(n, first, count);
    Scratch<S> total(layers.size), spikes(2 * layers.size);
    StepRows<RecurrentNumbers<S>, typename RecurrentNumbers<S>::Output, S> rows;
    rows.fixed = layers.fixed;
    rows.n = layers.size;
    for (int k = 0; k < kRecurrentStates; ++k) {
      rows.from.row[k] = layers.initial(k);
      rows.to.row[k] = layers.per_layer(a.last[k]);
    }
    rows.in.row[0] = total.data;
    const S* before = layers.first_spikes();
    for (int64_t t = 0; t < n.T; ++t) {
      Data* const out = layers.at(a.spikes, t);
      layers.total(t, before, total.data);
      rows.in.row[1] = before;
      if constexpr (SameType<Data, S>::value) rows.kept.row[0] = out;
      else rows.kept.row[0] = spikes.data + t % 2 * layers.size;
      step(params, rows);
      if constexpr (!SameType<Data, S>::value) round_row(rows.kept.row[0], out, layers.size);
      rows.from = read_only(rows.to);
      before = rows.kept.row[0];
    }
  });
}

template <class Data>
void backward(const RecurrentBackward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  using Numbers = RecurrentNumbers<S>;
  constexpr int kCarry = kFields<S, RecurrentCarry<S>>, kKept = kRecurrentStates + 1;  // the states before each step, and its total
  const RecurrentNeuron& n = a.neuron;
  const RecurrentParams<S> params = recurrent_params<S>(n);
  const RecurrentStepRow<S> step = step_for<S>(n);
  const BackRow<Numbers> step_back = back_for<S>(n, wants_sums<Numbers>(a.grad_initial));
  for_each_group(n, begin, end, [&](int64_t first, int64_t count) {
    Layers<Data> layers(n, first, count);
    const int64_t size = layers.size;
    Scratch<S> history((n.T + 1) * kKept * size), carry(kCarry * size), buffers(4 * size);
    S *const spike = buffers.data, *const gradient = spike + size, *const grad_total = gradient + size, *const brought = grad_total + size;
    const auto kept = [&](int64_t t, int k) { return history.data + (t * kKept + k) * size; };

    StepRows<Numbers, typename Numbers::Output, S> rows;
    rows.fixed = layers.fixed;
    rows.n = size;
    rows.kept.row[0] = spike;
    for (int k = 0; k < kRecurrentStates; ++k) copy_row(layers.initial(k), kept(0, k), size);
    for (int64_t t = 0; t < n.T; ++t) {
      S* const total = kept(t, kRecurrentStates);
      rows.in.row[0] = total;
      rows.in.row[1] = layers.spikes_before(a.spikes, t);
      layers.total(t, rows.in.row[1], total);
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
      back.to.row[k] = wanted ? wanted : carry.data + k * size;
    }
    fill_row(brought, S(0), size);
    for (int64_t t = n.T - 1; t >= 0; --t) {
      back.gradient.row[0] = brought;
      if (a.grad_spikes) {
        total_row(layers.step(a.grad_spikes, t, gradient), brought, grad_total, size);
        copy_row(grad_total, gradient, size);
        back.gradient.row[0] = gradient;
      }
      for (int k = 0; k < kRecurrentStates; ++k) back.history.row[k] = kept(t, k);
      back.input.row[0] = kept(t, kRecurrentStates);
      back.input.row[1] = layers.spikes_before(a.spikes, t);
      step_back(params, back);
      back.from = read_only(back.to);
      scale_in_place_row(grad_total, params.cuba.input_scale, size);
      data_row(grad_total, layers.at(a.grad_x, t), size);
      layers.bring_back(grad_total, brought);
    }
    if (S* const wanted = layers.per_layer(a.grad_s_init)) copy_row(brought, wanted, size);
  });
}

}  // namespace

void recurrent_lif_forward(const RecurrentForward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) { forward<decltype(data)>(a, begin, end); });
}

void recurrent_lif_backward(const RecurrentBackward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) { backward<decltype(data)>(a, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
