// TSSL-BP: post-synaptic current forward, O(T) recursion backward.
#include "common.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

// One time step of a tile; emit(i, u, a, spike).
template <class Data, class S, class Emit>
inline void step(const TsslBpParams<S>& params, const Data* __restrict x, S* __restrict v, S* __restrict a, int64_t n, Emit emit) {
  const TsslBpParams<S> p = params;
  for (int64_t i = 0; i < n; ++i) {
    TsslBpState<S> state{v[i], a[i]};
    const TsslBpStep<S> now = tssl_bp_step(state, to_state(x[i]), p);
    v[i] = state.v;
    a[i] = state.a;
    emit(i, now.u, state.a, now.u >= p.fire_level);
  }
}

template <class Data>
void forward(const TsslBpForward& args, int64_t begin, int64_t end) {
  using S = State<Data>;
  const auto p = tssl_bp_params<S>(args.neuron);
  const int64_t T = args.neuron.T, N = args.neuron.N;
  for_each_tile(begin, end, kTile, [&](int64_t n0, int64_t n) {
    alignas(64) S v[kTile], a[kTile];
    for (int64_t i = 0; i < n; ++i) v[i] = a[i] = S(0);
    for (int64_t t = 0; t < T; ++t) {
      const Data* x = static_cast<const Data*>(args.neuron.x) + t * N + n0;
      Data* __restrict psc = static_cast<Data*>(args.psc) + t * N + n0;
      if (t + 1 < T) prefetch(x + N, n), prefetch_for_write(psc + N, n);
      if (args.spikes) {
        Data* __restrict spikes = static_cast<Data*>(args.spikes) + t * N + n0;
        step(p, x, v, a, n, [=](int64_t i, S, S current, bool spike) {
          psc[i] = from_state<Data>(current);
          spikes[i] = spike_value<Data>(spike);
        });
      } else {
        step(p, x, v, a, n, [=](int64_t i, S, S current, bool) { psc[i] = from_state<Data>(current); });
      }
    }
  });
}

// One step backward in time of a tile. u_before: the membrane of the step before, from which v[t-1] and so du follow; null at t = 0.
template <bool first, class Data, class S>
inline void backward_row(const TsslBpParams<S>& params, const Data* __restrict x, const S* __restrict u_before, const S* __restrict u,
                         const S* __restrict a, const Data* __restrict grad_psc, S* __restrict carry_psc, S* __restrict carry_membrane,
                         Data* __restrict grad_x, int64_t n) {
  const TsslBpParams<S> p = params;
  for (int64_t i = 0; i < n; ++i) {
    S v = S(0);
    if constexpr (!first) v = u_before[i] >= p.fire_level ? S(0) : u_before[i];
    TsslBpState<S> before{v, S(0)};
    const TsslBpStep<S> now = tssl_bp_step(before, to_state(x[i]), p);
    TsslBpCarry<S> carry{carry_psc[i], carry_membrane[i]};
    const S g = tssl_bp_backward_step(carry, to_state(grad_psc[i]), u[i], now.du, u[i] >= p.fire_level, a[i] < p.quiet_level, p);
    grad_x[i] = from_state<Data>(g);
    carry_psc[i] = carry.psc;
    carry_membrane[i] = carry.membrane;
  }
}

template <class Data>
void backward(const TsslBpBackward& args, int64_t begin, int64_t end) {
  using S = State<Data>;
  const auto p = tssl_bp_params<S>(args.neuron);
  const int64_t T = args.neuron.T, N = args.neuron.N;
  const int64_t stride = tile_for<S>(2 * T + 2);
  Scratch<S> memory((2 * T + 2) * stride);
  S *u = memory.data, *a = u + T * stride, *v = a + T * stride, *current = v + stride;
  for_each_tile(begin, end, stride, [&](int64_t n0, int64_t n) {
    const Data* x = static_cast<const Data*>(args.neuron.x) + n0;
    for (int64_t i = 0; i < n; ++i) v[i] = current[i] = S(0);
    for (int64_t t = 0; t < T; ++t) {
      if (t + 1 < T) prefetch(x + (t + 1) * N, n);
      S* __restrict u_row = u + t * stride;
      S* __restrict a_row = a + t * stride;
      step(p, x + t * N, v, current, n, [=](int64_t i, S membrane, S psc, bool) {
        u_row[i] = membrane;
        a_row[i] = psc;
      });
    }
    S *carry_psc = v, *carry_membrane = current;
    for (int64_t i = 0; i < n; ++i) carry_psc[i] = carry_membrane[i] = S(0);
    for (int64_t t = T - 1; t >= 0; --t) {
      const Data* grad_psc = static_cast<const Data*>(args.grad_psc) + t * N + n0;
      Data* grad_x = static_cast<Data*>(args.grad_x) + t * N + n0;
      if (t) prefetch(grad_psc - N, n), prefetch_for_write(grad_x - N, n);
      const S* u_row = u + t * stride;
      const S* a_row = a + t * stride;
      if (t) backward_row<false>(p, x + t * N, u_row - stride, u_row, a_row, grad_psc, carry_psc, carry_membrane, grad_x, n);
      else backward_row<true>(p, x, static_cast<const S*>(nullptr), u_row, a_row, grad_psc, carry_psc, carry_membrane, grad_x, n);
    }
  });
}

}  // namespace

void tssl_bp_forward(const TsslBpForward& args, int64_t begin, int64_t end) {
  with_dtype(args.neuron.dtype, [&](auto data) { forward<decltype(data)>(args, begin, end); });
}

void tssl_bp_backward(const TsslBpBackward& args, int64_t begin, int64_t end) {
  with_dtype(args.neuron.dtype, [&](auto data) { backward<decltype(data)>(args, begin, end); });
}

}  // namespace spikeops::cpu::SPIKEOPS_ISA
