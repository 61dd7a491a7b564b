// Multi-step LIF: spikes, firing rate, and the backward pass of both.
#include "common.h"

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

template <class Data>
struct Inputs {
  using S = State<Data>;
  explicit Inputs(const LifNeuron& n)
      : p(lif_params<S>(n)), T(n.T), N(n.N), x_stride(n.x_stride), x(static_cast<const Data*>(n.x)),
        decay_per_neuron(static_cast<const S*>(n.decay_per_neuron)), v_init(static_cast<const S*>(n.v_init)) {}

  void initial_membrane(S* __restrict v, int64_t n0, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) v[i] = v_init ? v_init[n0 + i] : S(0);
  }
  void decays(S* __restrict decay, int64_t n0, int64_t n) const {
    for (int64_t i = 0; i < n; ++i) decay[i] = decay_per_neuron ? decay_per_neuron[n0 + i] : p.decay;
  }

  const LifParams<S> p;
  const int64_t T, N, x_stride;
  const Data* x;
  const S* decay_per_neuron;
  const S* v_init;
};

// One time step of a tile. Parameters are copied to locals: read through a struct they would keep the loop from vectorising.
template <Reset reset, class Data, class S, class Emit>
inline void step(const LifParams<S>& p, const Data* __restrict x, const S* __restrict decay, S* __restrict v, int64_t n, Emit emit) {
  const S input_scale = p.input_scale, v_rest = p.v_rest, v_reset = p.v_reset, reset_amount = p.reset_amount, fire_level = p.fire_level;
  for (int64_t i = 0; i < n; ++i) {
    const S u = lif_membrane(v[i], to_state(x[i]), decay[i], input_scale, v_rest);
    const bool spike = u >= fire_level;
    v[i] = lif_reset<reset>(u, spike, reset_amount, v_reset);
    emit(i, u, spike);
  }
}

template <class Data, Reset reset>
void forward(const LifForward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const Inputs<Data> in(a.neuron);
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    alignas(64) S v[kTile], decay[kTile];
    in.initial_membrane(v, n0, n);
    in.decays(decay, n0, n);
    for (int64_t t = 0; t < in.T; ++t) {
      Data* __restrict spikes = static_cast<Data*>(a.spikes) + t * in.N + n0;
      if (t + 1 < in.T) prefetch(in.x + (t + 1) * in.x_stride + n0, n), prefetch_for_write(spikes + in.N, n);
      step<reset>(in.p, in.x + t * in.x_stride + n0, decay, v, n, [=](int64_t i, S, bool spike) { spikes[i] = spike_value<Data>(spike); });
    }
    S* __restrict v_last = static_cast<S*>(a.v_last) + n0;
    for (int64_t i = 0; i < n; ++i) v_last[i] = v[i];
  });
}

template <class Data, Reset reset>
void rate_forward(const LifRateForward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const Inputs<Data> in(a.neuron);
  const bool weighted = static_cast<Weighting>(a.weighting) == Weighting::decay;
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    alignas(64) S v[kTile], decay[kTile], spikes[kTile], weight[kTile];
    in.initial_membrane(v, n0, n);
    in.decays(decay, n0, n);
    for (int64_t i = 0; i < n; ++i) spikes[i] = weight[i] = S(0);
    S* const __restrict s = spikes;
    S* const __restrict w = weight;
    const S* const __restrict d = decay;
    for (int64_t t = 0; t < in.T; ++t) {
      const Data* x = in.x + t * in.x_stride + n0;
      if (weighted) {
        step<reset>(in.p, x, d, v, n, [=](int64_t i, S, bool spike) {
          RateSums<S> sums{s[i], w[i], S(0), S(0)};
          rate_step(sums, spike, d[i]);
          s[i] = sums.spikes;
          w[i] = sums.weight;
        });
      } else {
        step<reset>(in.p, x, d, v, n, [=](int64_t i, S, bool spike) { s[i] += spike ? S(1) : S(0); });
      }
    }
    Data* __restrict rate = static_cast<Data*>(a.rate) + n0;
    for (int64_t i = 0; i < n; ++i) rate[i] = from_state<Data>(s[i] / (weighted ? w[i] : S(in.T)));
  });
}

// What the backward pass keeps of a tile: the membrane potential at all time steps, and a few rows.
template <class S>
struct BackwardTile {
  explicit BackwardTile(int64_t T, int64_t tile)
      : memory((T + kRows) * tile), u(memory.data), v(u + T * tile), decay(v + tile), grad_v(decay + tile), grad_decay(grad_v + tile),
        grad_u(grad_decay + tile), grad_spike(grad_u + tile), rate_weight(grad_spike + tile), grad_u_sum(rate_weight + tile) {}
  static constexpr int64_t kRows = 8;  // beside those of u
  Scratch<S> memory;
  S *u, *v, *decay, *grad_v, *grad_decay, *grad_u, *grad_spike, *rate_weight, *grad_u_sum;
};

// Gradient of the rate: turns grad_rate into the weight of each time step's spike, starting with the last, and into the
// part of the decay's gradient that comes from the weights.
template <class Data, class S>
void start_rate_gradient(const LifBackward& a, const Inputs<Data>& in, BackwardTile<S>& tile, int64_t stride, int64_t n0, int64_t n) {
  const Data* __restrict grad_rate = static_cast<const Data*>(a.grad_rate) + n0;
  if (static_cast<Weighting>(a.weighting) == Weighting::mean) {
    for (int64_t i = 0; i < n; ++i) tile.rate_weight[i] = to_state(grad_rate[i]) / S(in.T);
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    RateSums<S> sums{};
    for (int64_t t = 0; t < in.T; ++t) rate_step(sums, tile.u[t * stride + i] >= in.p.fire_level, tile.decay[i]);
    const S g = to_state(grad_rate[i]);
    tile.rate_weight[i] = g / sums.weight;
    tile.grad_decay[i] = g * rate_decay_derivative(sums);
  }
}

// One step backward in time: the gradient of u, and that of the membrane potential before the step.
template <Reset reset, Surrogate kind, class S>
void backward_row(const LifParams<S>& p, S scale, S peak, const S* __restrict u, const S* __restrict grad_spike,
                  const S* __restrict decay, S* __restrict grad_v, S* __restrict grad_u, int64_t n) {
  const S threshold = p.threshold, v_reset = p.v_reset, reset_amount = p.reset_amount, fire_level = p.fire_level;
  const bool detach_reset = p.detach_reset;
  for (int64_t i = 0; i < n; ++i) {
    const S derivative = surrogate_derivative<kind>(u[i] - threshold, scale, peak);
    const S g = lif_grad_membrane<reset>(grad_spike[i], grad_v[i], u[i], u[i] >= fire_level, derivative, reset_amount, v_reset,
                                         detach_reset);
    grad_u[i] = g;
    grad_v[i] = g * decay[i];
  }
}

template <class S>
using BackwardRow = void (*)(const LifParams<S>&, S, S, const S*, const S*, const S*, S*, S*, int64_t);

template <Reset reset, class S>
BackwardRow<S> backward_row_for(int surrogate) {
  switch (static_cast<Surrogate>(surrogate)) {
    case Surrogate::atan: return backward_row<reset, Surrogate::atan, S>;
    case Surrogate::sigmoid: return backward_row<reset, Surrogate::sigmoid, S>;
    case Surrogate::exponential: return backward_row<reset, Surrogate::exponential, S>;
    case Surrogate::fast_sigmoid: return backward_row<reset, Surrogate::fast_sigmoid, S>;
    case Surrogate::triangle: return backward_row<reset, Surrogate::triangle, S>;
    case Surrogate::rectangle: return backward_row<reset, Surrogate::rectangle, S>;
    default: return backward_row<reset, Surrogate::gaussian, S>;
  }
}

template <class Data, class S>
inline void scale_row(const S* __restrict grad_u, S input_scale, Data* __restrict grad_x, int64_t n) {
  for (int64_t i = 0; i < n; ++i) grad_x[i] = from_state<Data>(input_scale * grad_u[i]);
}

template <class S>
inline void add_row(const S* __restrict grad_u, S* __restrict sum, int64_t n) {
  for (int64_t i = 0; i < n; ++i) sum[i] += grad_u[i];
}

// Adds grad_u * d u / d decay. `u` is that of the time step before, or null at the first.
template <Reset reset, class S>
inline void decay_row(const LifParams<S>& p, BackwardTile<S>& tile, const S* __restrict u, const S* __restrict grad_u, int64_t n) {
  const S v_rest = p.v_rest, v_reset = p.v_reset, reset_amount = p.reset_amount, fire_level = p.fire_level;
  const S* __restrict v_init = tile.v;
  S* __restrict grad_decay = tile.grad_decay;
  for (int64_t i = 0; i < n; ++i) {
    const S v = u ? lif_reset<reset>(u[i], u[i] >= fire_level, reset_amount, v_reset) : v_init[i];
    grad_decay[i] += grad_u[i] * (v - v_rest);
  }
}

template <class Data, Reset reset>
void backward(const LifBackward& a, int64_t begin, int64_t end) {
  using S = State<Data>;
  const Inputs<Data> in(a.neuron);
  const int64_t T = in.T, N = in.N;
  const S scale = S(a.surrogate_scale), peak = S(a.surrogate_peak);
  const bool weighted = a.grad_rate && static_cast<Weighting>(a.weighting) == Weighting::decay;
  const BackwardRow<S> backward_row = backward_row_for<reset, S>(a.surrogate);
  const bool scaled = in.p.input_scale != S(1), summed = in.x_stride == 0;
  const int64_t stride = tile_for<S>(T + BackwardTile<S>::kRows);
  BackwardTile<S> tile(T, stride);
  for_each_tile(begin, end, stride, [&](int64_t n0, int64_t n) {
    in.initial_membrane(tile.v, n0, n);
    in.decays(tile.decay, n0, n);
    for (int64_t t = 0; t < T; ++t) {
      if (t + 1 < T) prefetch(in.x + (t + 1) * in.x_stride + n0, n);
      S* __restrict u_row = tile.u + t * stride;
      step<reset>(in.p, in.x + t * in.x_stride + n0, tile.decay, tile.v, n, [=](int64_t i, S u, bool) { u_row[i] = u; });
    }
    in.initial_membrane(tile.v, n0, n);

    const S* grad_v_last = static_cast<const S*>(a.grad_v_last);
    for (int64_t i = 0; i < n; ++i) tile.grad_v[i] = grad_v_last ? grad_v_last[n0 + i] : S(0);
    for (int64_t i = 0; i < n; ++i) tile.grad_decay[i] = tile.grad_spike[i] = tile.grad_u_sum[i] = S(0);
    if (a.grad_rate) start_rate_gradient(a, in, tile, stride, n0, n);

    for (int64_t t = T - 1; t >= 0; --t) {
      if (t) {
        if (a.grad_spikes) prefetch(static_cast<const Data*>(a.grad_spikes) + (t - 1) * N + n0, n);
        if (!summed) prefetch_for_write(static_cast<Data*>(a.grad_x) + (t - 1) * N + n0, n);
      }
      const S* grad_spike = tile.grad_spike;
      if (a.grad_rate) grad_spike = tile.rate_weight;
      else if (a.grad_spikes) grad_spike = as_state(static_cast<const Data*>(a.grad_spikes) + t * N + n0, tile.grad_spike, n);
      const S* u = tile.u + t * stride;
      Data* grad_x = static_cast<Data*>(a.grad_x) + t * in.x_stride + n0;
      S* grad_u = tile.grad_u;
      if constexpr (SameType<Data, S>::value)
        if (!scaled && !summed) grad_u = grad_x;
      backward_row(in.p, scale, peak, u, grad_spike, tile.decay, tile.grad_v, grad_u, n);
      if (summed) add_row(grad_u, tile.grad_u_sum, n);
      else if (static_cast<void*>(grad_u) != grad_x) scale_row(grad_u, in.p.input_scale, grad_x, n);
      if (a.grad_decay) decay_row<reset>(in.p, tile, t ? u - stride : nullptr, grad_u, n);
      if (weighted)
        for (int64_t i = 0; i < n; ++i) tile.rate_weight[i] *= tile.decay[i];
    }
    if (summed) scale_row(tile.grad_u_sum, in.p.input_scale, static_cast<Data*>(a.grad_x) + n0, n);
    if (S* out = static_cast<S*>(a.grad_decay))
      for (int64_t i = 0; i < n; ++i) out[n0 + i] = tile.grad_decay[i];
    if (S* out = static_cast<S*>(a.grad_v_init))
      for (int64_t i = 0; i < n; ++i) out[n0 + i] = tile.grad_v[i];
  });
}

}  // namespace

void lif_forward(const LifForward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) {
    with_reset(a.neuron.reset, [&]<Reset reset>() { forward<decltype(data), reset>(a, begin, end); });
  });
}

void lif_rate_forward(const LifRateForward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) {
    with_reset(a.neuron.reset, [&]<Reset reset>() { rate_forward<decltype(data), reset>(a, begin, end); });
  });
}

void lif_backward(const LifBackward& a, int64_t begin, int64_t end) {
  with_dtype(a.neuron.dtype, [&](auto data) {
    with_reset(a.neuron.reset, [&]<Reset reset>() { backward<decltype(data), reset>(a, begin, end); });
  });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
