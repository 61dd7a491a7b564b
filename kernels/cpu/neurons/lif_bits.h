// The LIF neuron that writes bits, and its way back that reads them (kernels/math/lif_bits.h), as the walk through time takes them.
//
// A byte in the making is one more number of the state, small and whole or a binary fraction, so exact: to put bits on top is to halve
// it and to add, to take them off again is to subtract and to double. It becomes a byte, or is one once more, every few steps.
#pragma once

#include "../../math/lif_bits.h"
#include "lif_kept.h"

namespace spikeops::cpu::SPIKEOPS_ISA {
namespace {

template <class S>
struct LifBitsParams {
  LifParams<S> neuron;
  LifWindow<S> window;
};

template <class DataType>
struct LifBitsTypes {
  using Types = LifBitsTypes;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = LifBitsParams<S>;
  using Fixed = Nothing;
  using History = Nothing;
  using Result = Nothing;
  struct State { S v, byte; };
  struct Input { Data x; };
  struct Output { Data spikes; };
};

template <class Data, Reset reset, int surrogate>
struct LifBits : LifBitsTypes<Data> {
  using Types = LifBitsTypes<Data>;
  using S = typename Types::S;

  SPIKEOPS_HD void step(const LifBitsParams<S>& p, typename Types::State& state, typename Types::Input in, Nothing, Nothing&,
                        typename Types::Output& out) {
    const S u = lif_membrane(state.v, to_state(in.x), p.neuron.decay, p.neuron.input_scale, p.neuron.v_rest);
    const bool spike = u >= p.neuron.fire_level;
    state.v = lif_reset<reset>(u, spike, p.neuron.reset_amount, p.neuron.v_reset);
    if constexpr (reset == Reset::to)
      state.byte = S(0.25) * state.byte + (is_inside<surrogate>(u, p.window) ? S(64) : S(0)) + (spike ? S(128) : S(0));
    else
      state.byte = S(0.5) * state.byte + (is_inside<surrogate>(u, p.window) ? S(128) : S(0));
    out.spikes = spike_value<Data>(spike);
  }
};

template <class S, bool summed> struct LifBitsBackState { S grad_v, byte; };
template <class S> struct LifBitsBackState<S, true> { S grad_v, byte, sum; };  // of the gradient of x

template <class DataType, bool summed>
struct LifFromBitsTypes {
  using Types = LifFromBitsTypes;
  using Data = DataType;
  using S = spikeops::State<Data>;
  using Params = LifBitsBack<S>;
  using Fixed = Nothing;
  using History = Nothing;
  using State = LifBitsBackState<S, summed>;
  using Output = typename LifKeptGradient<Data, summed>::Output;
  using Result = typename LifKeptGradient<Data, summed>::Result;
  struct Input { Data grad_spikes; };

  SPIKEOPS_HD Result result(const Params& p, State state) { return lif_kept_result<Data, summed>(p.step, state); }
};

template <class Data, Reset reset, bool detached, bool summed>
struct LifFromBits : LifFromBitsTypes<Data, summed> {
  using Types = LifFromBitsTypes<Data, summed>;
  using S = typename Types::S;
  using Params = typename Types::Params;
  using State = typename Types::State;

  SPIKEOPS_HD void step(const Params& p, State& state, typename Types::Input in, Nothing, Nothing&, typename Types::Output& out) {
    bool fired = false, inside;
    if constexpr (reset == Reset::to) {
      fired = state.byte >= S(128);
      const S left = state.byte - (fired ? S(128) : S(0));
      inside = left >= S(64);
      state.byte = S(4) * (left - (inside ? S(64) : S(0)));
    } else {
      inside = state.byte >= S(128);
      state.byte = S(2) * (state.byte - (inside ? S(128) : S(0)));
    }
    const S derivative = inside ? p.inner : p.outer;
    const S grad_u = lif_kept_step_back<reset, detached>(state.grad_v, to_state(in.grad_spikes), derivative, fired, S(0), p.step);
    lif_kept_put<Data>(p.step, grad_u, state, out);
  }
};

// The bytes of a row, which begins a new one: their bits moved down by a factor, and one more of so much where v is NaN.
template <class S>
SPIKEOPS_ROW void pack_row(S* __restrict byte, S factor, const S* __restrict v, S of_nan, uint8_t* __restrict out, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    out[i] = uint8_t(int32_t(factor * byte[i] + (v[i] != v[i] ? of_nan : S(0))));
    byte[i] = S(0);
  }
}

// The inverse: the bits below `of_nan` moved up; where that is set, grad_v is NaN, else as it was. `from` may be grad_v.
template <class S>
SPIKEOPS_ROW void unpack_row(const uint8_t* __restrict in, S of_nan, S factor, S* __restrict byte, const S* from, S* grad_v, int64_t n) {
  SPIKEOPS_FOR_EACH_NEURON(int64_t i = 0; i < n; ++i) {
    const S bits = S(int32_t(in[i])), without = bits - of_nan;
    byte[i] = factor * (without < S(0) ? bits : without);
    grad_v[i] = from[i] + (without < S(0) ? S(-0.0) : std::numeric_limits<S>::quiet_NaN());  // more of -0 changes nothing
  }
}

}  // namespace
}  // namespace spikeops::cpu::SPIKEOPS_ISA
