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
template <class Data_, int width_>
class TsslBpBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = width_, states = 2;
  static constexpr bool may_be_constant = false;

  struct History {
    Lanes<S, width> u, du;  // membrane potential before the reset, its change in this step
    unsigned quiet;         // bit l: neuron l is
  };

  __device__ __forceinline__ explicit TsslBpBackwardNeurons(const TsslBpParams<S>& params) : params_(params) {}

  __device__ __forceinline__ Lanes<S, width>& state(int n) { return n == 0 ? v_ : a_; }

  __device__ __forceinline__ void begin() {}

  __device__ __forceinline__ void step(const Lanes<Data, width>& x) { note(x); }

  __device__ __forceinline__ History note(const Lanes<Data, width>& x) {
    History now{};
    for (int l = 0; l < width; ++l) {
      TsslBpState<S> state{v_[l], a_[l]};
      const TsslBpStep<S> step = tssl_bp_step(state, to_state(x[l]), params_);
      v_[l] = state.v;
      a_[l] = state.a;
      now.u[l] = step.u;
      now.du[l] = step.du;
      now.quiet |= unsigned(a_[l] < params_.quiet_level) << l;
    }
    return now;
  }

  __device__ __forceinline__ void arrived() {}

  template <int steps>
  __device__ __forceinline__ void prepare(History (&)[steps]) {}

  template <int steps>
  __device__ __forceinline__ Lanes<Data, width> step_back(const History (&history)[steps], int k, bool,
                                                          const Lanes<Data, width>& grad_a) {
    const Lanes<S, width>&u = history[k].u, &du = history[k].du;
    const auto quiet = [&](int l) { return bool(history[k].quiet >> l & 1); };

    // Either slope takes a division. A neuron that fires is not quiet (unless tau_s < 1), so that one quotient serves for both.
    OrdinaryDivision division;
    division.note(params_.theta_s > S(1));
    Lanes<TsslBpSlopes<S>, width> slopes;
    for (int l = 0; l < width; ++l) {
      const TsslBpRatio<S> ratio = tssl_bp_quiet_ratio(u[l], params_);
      const S quotient = division.of_ordinary(fires(u[l]) ? S(-1) : ratio.numerator, fires(u[l]) ? du[l] : ratio.denominator);
      slopes[l] = {tssl_bp_firing_slope(quotient), quotient};
    }
    if (!division.all_ordinary())
      for (int l = 0; l < width; ++l) slopes[l] = tssl_bp_slopes(u[l], du[l], params_);

    Lanes<Data, width> out;
    for (int l = 0; l < width; ++l)
      out[l] = from_state<Data>(
          tssl_bp_backward_step(carry_[l], to_state(grad_a[l]), u[l], fires(u[l]), quiet(l), slopes[l], params_));
    return out;
  }

 private:
  __device__ __forceinline__ bool fires(S u) const { return u >= params_.fire_level; }

  const TsslBpParams<S>& params_;
  Lanes<S, width> v_ = all_lanes<width>(S(0)), a_ = all_lanes<width>(S(0));
  Lanes<TsslBpCarry<S>, width> carry_ = all_lanes<width>(TsslBpCarry<S>{S(0), S(0)});
};

template <class Data, int width>
__global__ void __launch_bounds__(kThreads, sizeof(Data) == 8 ? 4 : 6)
    tssl_bp_backward_kernel(TsslBpBackward args, TsslBpParams<State<Data>> params, State<Data>* scratch, Segments segments) {
  using Neurons = TsslBpBackwardNeurons<Data, width>;
  GPU_DYNAMIC_SHARED(unsigned char, shared);
  const TsslBpNeuron& neuron = args.neuron;
  const Kept<Neurons> kept(neuron.T, segments, shared);
  for_each_group<width>(neuron.N, [&](int64_t i) {
    Neurons neurons(params);
    walk_back(neurons, kept,
              {neuron.T, neuron.N, segments, static_cast<const Data*>(neuron.x), neuron.N,
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
        .spread()
        .launch(stream, tssl_bp_forward_kernel<Data, width>, tssl_bp_forward_kernel<Data, 1>, a,
                tssl_bp_params<State<Data>>(n));
  });
}

int64_t tssl_bp_backward_scratch(int64_t T, int64_t N) { return 2 * (Segments(T).count - 1) * N; }

int tssl_bp_backward(const TsslBpBackward& a, void* scratch, void* stream) {
  const TsslBpNeuron& n = a.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    using S = State<Data>;
    constexpr int width = 16 / sizeof(S);
    const Segments segments(n.T);
    return Work(n.N, width, {n.x, a.grad_psc, a.grad_x, scratch})
        .spread()
        .shared_bytes(Kept<TsslBpBackwardNeurons<Data, width>>::bytes(n.T, segments),
                      Kept<TsslBpBackwardNeurons<Data, 1>>::bytes(n.T, segments))
        .launch(stream, tssl_bp_backward_kernel<Data, width>, tssl_bp_backward_kernel<Data, 1>, a, tssl_bp_params<S>(n),
                static_cast<S*>(scratch), segments);
  });
}

}  // namespace spikeops::cuda
