// Leaky readout. The backward pass runs the neurons forward again, keeping their history on chip.
#include "../math/readout.h"

#include "launch.h"
#include "walk_back.hpp"

namespace spikeops::cuda {
namespace {

// The neurons of one thread in the course of time.
template <class Data, int width>
struct ReadoutNeurons {
  using S = State<Data>;

  const ReadoutParams<S>& params;
  Lanes<S, width> decay, v;

  __device__ __forceinline__ ReadoutNeurons(const ReadoutNeuron& n, const ReadoutParams<S>& params, int64_t first)
      : params(params),
        decay(load_or<width>(n.decay_per_neuron, first, S(n.decay))),
        v(load_or<width>(n.v_init, first, S(0))) {}

  __device__ __forceinline__ void step(const Lanes<Data, width>& x) {
    for (int l = 0; l < width; ++l) v[l] = lif_membrane(v[l], to_state(x[l]), decay[l], params.input_scale, params.v_rest);
  }
};

template <class Data, int width>
__global__ void __launch_bounds__(kThreads) readout_forward_kernel(ReadoutForward args, ReadoutParams<State<Data>> params) {
  const ReadoutNeuron& n = args.neuron;
  for_each_group<width>(n.N, [&](int64_t first) {
    ReadoutNeurons<Data, width> neurons(n, params, first);
    Data* const trace = static_cast<Data*>(args.trace) + first;
    for_each_step<width>(static_cast<const Data*>(n.x) + first, n.x_stride, n.T, n.N,
                         [&](int64_t, int64_t offset, const Lanes<Data, width>& x) {
                           neurons.step(x);
                           Lanes<Data, width> v;
                           for (int l = 0; l < width; ++l) v[l] = from_state<Data>(neurons.v[l]);
                           store(trace + offset, v);
                         });
    store(static_cast<State<Data>*>(args.v_last) + first, neurons.v);
  });
}

// The neurons of one thread, back in time.
template <class Data_, class Walk>
class ReadoutBackwardNeurons {
 public:
  using Data = Data_;
  using S = State<Data>;
  static constexpr int width = Walk::width, block = Walk::block;
  static constexpr int states = 1;
  static constexpr bool may_be_constant = true, has_gradients = true;

  struct History { Lanes<S, width> v[block]; };  // before the step
  struct Kind {};

  __device__ __forceinline__ ReadoutBackwardNeurons(const ReadoutBackward& args, const ReadoutParams<S>& params, int64_t first)
      : args_(args), params_(params), first_(first), neurons_(args.neuron, params, first) {
    const Lanes<S, width> grad_v = load_or<width>(args.grad_v_last, first, S(0));
    for (int l = 0; l < width; ++l) carry_[l] = {grad_v[l], S(0)};
  }

  __device__ __forceinline__ Lanes<S, width>& state(int) { return neurons_.v; }
  template <class F>
  __device__ __forceinline__ void forward(F f) const { f(Kind{}); }
  template <class F>
  __device__ __forceinline__ void backward(F f) const { f(Kind{}); }
  __device__ __forceinline__ void step(Kind, const Lanes<Data, width>& x) { neurons_.step(x); }
  __device__ __forceinline__ void begin() {}
  __device__ __forceinline__ void arrived() {}
  __device__ __forceinline__ void prepare(History&, unsigned) const {}

  __device__ __forceinline__ void note(Kind, History& history, int k, const Lanes<Data, width>& x) {
    history.v[k] = neurons_.v;
    neurons_.step(x);
  }

  __device__ __forceinline__ Lanes<Data, width> step_back(Kind, const History& history, int k, bool, const Lanes<Data, width>& grad) {
    Lanes<Data, width> out;
    for (int l = 0; l < width; ++l) {
      const S grad_trace = args_.grad_trace != nullptr ? to_state(grad[l]) : S(0);
      const S grad_v = readout_step_back(carry_[l], grad_trace, history.v[k][l], neurons_.decay[l], params_);
      out[l] = from_state<Data>(params_.input_scale * grad_v);
      grad_v_sum_[l] += grad_v;
    }
    return out;
  }

  // After the first step.
  __device__ __forceinline__ void store_sums() const {
    Lanes<Data, width> grad_x;
    Lanes<S, width> grad_v, grad_decay;
    for (int l = 0; l < width; ++l) {
      grad_x[l] = from_state<Data>(params_.input_scale * grad_v_sum_[l]);
      grad_v[l] = carry_[l].v;
      grad_decay[l] = carry_[l].decay;
    }
    if (args_.neuron.x_stride == 0) store(static_cast<Data*>(args_.grad_x) + first_, grad_x);
    if (args_.grad_v_init != nullptr) store(static_cast<S*>(args_.grad_v_init) + first_, grad_v);
    if (args_.grad_decay != nullptr) store(static_cast<S*>(args_.grad_decay) + first_, grad_decay);
  }

 private:
  const ReadoutBackward& args_;
  const ReadoutParams<S>& params_;
  const int64_t first_;
  ReadoutNeurons<Data, width> neurons_;
  Lanes<ReadoutCarry<S>, width> carry_;
  Lanes<S, width> grad_v_sum_ = all_lanes<width>(S(0));
};

template <class Data, class Walk>
__global__ void __launch_bounds__(kThreads, kWalkBackBlocks<Data, Walk>)
    readout_backward_kernel(ReadoutBackward args, ReadoutParams<State<Data>> params, State<Data>* scratch, Segments segments) {
  walk_all_back<ReadoutBackwardNeurons<Data, Walk>, Walk>(args, params, args.grad_trace, scratch, segments);
}

}  // namespace

int readout_forward(const ReadoutForward& args, void* stream) {
  const ReadoutNeuron& n = args.neuron;
  return dispatch(n.dtype, [&](auto zero) {
    using Data = decltype(zero);
    constexpr int width = 16 / sizeof(Data);
    return Work(n.N, width, {n.x, n.decay_per_neuron, n.v_init, args.trace, args.v_last})
        .launch(stream, readout_forward_kernel<Data, width>, readout_forward_kernel<Data, 1>, args, readout_params<State<Data>>(n));
  });
}

int64_t readout_backward_scratch(const ReadoutBackward& args) { return scratch_bytes(args.neuron, 1); }

int readout_backward(const ReadoutBackward& args, void* scratch, void* stream) {
  return dispatch(args.neuron.dtype, [&](auto zero) {
    using Data = decltype(zero);
    return launch_short_walk<ReadoutBackwardNeurons<Data, ShortWalk>>(stream, readout_backward_kernel<Data, ShortWalk>, args,
                                                                      readout_params<State<Data>>(args.neuron), scratch);
  });
}

}  // namespace spikeops::cuda
