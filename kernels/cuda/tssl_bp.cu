// TSSL-BP: post-synaptic current forward, O(T) recursion backward. The backward pass runs the neurons forward again, keeping
// their history on chip: it reads x and the upstream gradient once and writes the gradient of x once (for long T some of x twice).
#include "../math/tssl_bp.h"

#include "division.hpp"
#include "launch.h"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) tssl_bp_forward_kernel(TsslBpForward a, TsslBpParams<State<Data>> params) {
  using S = State<Data>;
  const TsslBpNeuron& neuron = a.neuron;
  for_each_group<width>(neuron.N, [&](int64_t i) {
    auto state = all_lanes<width>(TsslBpState<S>{S(0), S(0)});
    for_each_step<width>(static_cast<const Data*>(neuron.x) + i, neuron.T, neuron.N,
                         [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                           Lanes<Data, width> psc, spikes;
                           for (int l = 0; l < width; ++l) {
                             const TsslBpStep<S> now = tssl_bp_step(state[l], to_state(x[l]), params);
                             psc[l] = from_state<Data>(state[l].a);
                             spikes[l] = spike_value<Data>(now.u >= params.fire_level);
                           }
                           store(static_cast<Data*>(a.psc) + i + offset, psc);
                           if (a.spikes != nullptr) store(static_cast<Data*>(a.spikes) + i + offset, spikes);
                         });
  });
}

// The neurons of one thread, back in time.
template <class Data_, class Walk>
class TsslBpBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 2;
  static constexpr bool may_be_constant = false, has_gradients = true;

  struct History {
    Lanes<S, width> u[block];      // membrane potentials before the reset
    Lanes<S, width> slope[block];  // their changes in the steps; `prepare` puts there the slopes that apply
    Lanes<unsigned, width> quiet;  // bit k: in step k the neuron is
  };

  __device__ __forceinline__ explicit TsslBpBackwardNeurons(const TsslBpParams<S>& params) : params_(params) {}

  __device__ __forceinline__ Lanes<S, width>& state(int n) { return n == 0 ? v_ : a_; }

  __device__ __forceinline__ void begin() {}

  struct OnlyKind {};

  template <class F>
  __device__ __forceinline__ void forward(F f) { f(OnlyKind{}); }

  template <class F>
  __device__ __forceinline__ void backward(F f) { f(OnlyKind{}); }

  __device__ __forceinline__ void step(OnlyKind, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) step(l, x);
  }

  __device__ __forceinline__ void lack(History& history, int k, const Lanes<Data, width>& x) const {
    for (int l = 0; l < width; ++l) history.u[k][l] = history.slope[k][l] = to_state(x[l]);
  }

  __device__ __forceinline__ void note(OnlyKind, History& history, int k, const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) {
      const TsslBpStep<S> now = step(l, x);
      history.u[k][l] = now.u;
      history.slope[k][l] = now.du;
      history.quiet[l] = (history.quiet[l] & ~(1u << k)) | unsigned(a_[l] < params_.quiet_level) << k;
    }
  }

  __device__ __forceinline__ void arrived() {}

  // Either slope takes a division. A neuron that fires is not quiet (unless tau_s < 1), so that one quotient serves for both.
  __device__ __forceinline__ void prepare(History& history, unsigned places) const {
    constexpr int together = width == 1 ? 4 : width == 2 ? 2 : 1;  // steps whose divisions overlap
#pragma unroll
    for (int k = 0; k < block; k += together) {
      if ((places >> k & ((1u << together) - 1)) == 0) continue;
      OrdinaryDivision division;
      Lanes<S, width> quotient[together];
      for (int j = 0; j < together; ++j)
        for (int l = 0; l < width; ++l) {
          const S u = history.u[k + j][l];
          const TsslBpRatio<S> ratio = tssl_bp_quiet_ratio(u, params_);
          quotient[j][l] = division.of_ordinary(fires(u) ? S(-1) : ratio.numerator,
                                                fires(u) ? history.slope[k + j][l] : ratio.denominator);
        }
      if (!division.all_ordinary())
        for (int j = 0; j < together; ++j)
          for (int l = 0; l < width; ++l) {
            const S u = history.u[k + j][l];
            const TsslBpRatio<S> ratio = tssl_bp_quiet_ratio(u, params_);
            quotient[j][l] = fires(u) ? S(-1) / history.slope[k + j][l] : ratio.numerator / ratio.denominator;
          }
      for (int j = 0; j < together; ++j)
        for (int l = 0; l < width; ++l)
          history.slope[k + j][l] = fires(history.u[k + j][l]) ? tssl_bp_firing_slope(quotient[j][l]) : quotient[j][l];
    }
  }

  __device__ __forceinline__ Lanes<Data, width> step_back(OnlyKind, const History& history, int k, bool,
                                                          const Lanes<Data, width>& grad_a) {
    Lanes<Data, width> out;
    for (int l = 0; l < width; ++l) {
      const S u = history.u[k][l];
      const bool quiet = history.quiet[l] >> k & 1;
      TsslBpSlopes<S> slopes{history.slope[k][l], history.slope[k][l]};
      if (params_.theta_s > S(1) && quiet && fires(u)) {
        const TsslBpRatio<S> ratio = tssl_bp_quiet_ratio(u, params_);
        slopes.quiet = ratio.numerator / ratio.denominator;
      }
      out[l] = from_state<Data>(tssl_bp_backward_step(carry_[l], to_state(grad_a[l]), u, fires(u), quiet, slopes, params_));
    }
    return out;
  }

 private:
  __device__ __forceinline__ TsslBpStep<S> step(int lane, const Lanes<Data, width>& x) {
    TsslBpState<S> state{v_[lane], a_[lane]};
    const TsslBpStep<S> now = tssl_bp_step(state, to_state(x[lane]), params_);
    v_[lane] = state.v;
    a_[lane] = state.a;
    return now;
  }

  __device__ __forceinline__ bool fires(S u) const { return u >= params_.fire_level; }

  const TsslBpParams<S>& params_;
  Lanes<S, width> v_ = all_lanes<width>(S(0)), a_ = all_lanes<width>(S(0));
  Lanes<TsslBpCarry<S>, width> carry_ = all_lanes<width>(TsslBpCarry<S>{S(0), S(0)});
};

template <class Data, class Walk>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    tssl_bp_backward_kernel(TsslBpBackward args, TsslBpParams<State<Data>> params, State<Data>* scratch, Segments segments) {
  const TsslBpNeuron& neuron = args.neuron;
  for_each_group<Walk::width>(neuron.N, [&](int64_t i) {
    TsslBpBackwardNeurons<Data, Walk> neurons(params);
    walk_back<decltype(neurons), Walk>(
        neurons, {neuron.T, neuron.N, segments, static_cast<const Data*>(neuron.x), neuron.N,
                  static_cast<const Data*>(args.grad_psc), static_cast<Data*>(args.grad_x), scratch, i});
  });
}

}  // namespace

int tssl_bp_forward(const TsslBpForward& a, void* stream) {
  const TsslBpNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, a.psc, a.spikes})
        .launch(stream, tssl_bp_forward_kernel<Data, width>, tssl_bp_forward_kernel<Data, 1>, a,
                tssl_bp_params<State<Data>>(n));
  });
}

int64_t tssl_bp_backward_scratch(const TsslBpBackward& a) { return scratch_bytes(a.neuron, 2); }

int tssl_bp_backward(const TsslBpBackward& a, void* scratch, void* stream) {
  const TsslBpNeuron& n = a.neuron;
  const Work work(n.N, 1, {n.x, a.grad_psc, a.grad_x, scratch});
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    const auto launch = [&](auto walk) {
      using Walk = decltype(walk);
      const Segments segments(n.T);
      return work.launch_of(Walk::width, stream, kept_bytes<TsslBpBackwardNeurons<Data, Walk>, Walk>(n.T, segments),
                            tssl_bp_backward_kernel<Data, Walk>, a, tssl_bp_params<S>(n), static_cast<S*>(scratch), segments);
    };
    // One neuron a thread for 16-bit data, too: two would leave too few threads the registers for their slopes.
    return with_walk<Data, Walks::all, 1>(work, n.T, launch);
  });
}

}  // namespace spikeops::cuda
