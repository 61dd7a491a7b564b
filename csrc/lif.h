// LIF bindings, for every device: Backend(x).run(args) runs a kernel where x lives.
#pragma once

#include "common.h"

namespace spikeops {

// The neurons of a call, and the tensors that must live as long as it.
struct LifCall {
  LifCall(const char* op, const Tensor& input, double decay, const OptionalTensor& decay_tensor, const OptionalTensor& v_init,
          double threshold, double input_scale, int64_t reset, double reset_amount, double v_reset, double v_rest, bool strict,
          bool detach_reset)
      : x(input), state(state_type(input)) {
    if (decay_tensor) decay_per_neuron = x.like_step(*decay_tensor, state);
    if (v_init) initial = x.like_step(*v_init, state);
    neuron = {dtype_of(op, input), x.T, x.N, decay, threshold, input_scale, reset_amount, v_reset, v_rest, int(reset), strict,
              detach_reset, read(x.tensor), read(decay_per_neuron), read(initial)};
  }

  Sequence x;
  ScalarType state;
  OptionalTensor decay_per_neuron, initial;
  LifNeuron neuron;
};

template <class Backend>
std::tuple<Tensor, Tensor> lif_forward(const Tensor& x, double decay, const OptionalTensor& decay_tensor,
                                       const OptionalTensor& v_init, double threshold, double input_scale, int64_t reset,
                                       double reset_amount, double v_reset, double v_rest, bool strict, bool detach_reset,
                                       int64_t, double, double) {
  Backend backend(x);
  const LifCall call("lif", x, decay, decay_tensor, v_init, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict,
                     detach_reset);
  Tensor spikes = call.x.empty_sequence(), v_last = call.x.empty_step(call.state);
  backend.run(LifForward{call.neuron, write(spikes), write(v_last)});
  return {spikes, v_last};
}

template <class Backend>
Tensor lif_rate_forward(const Tensor& x, double decay, const OptionalTensor& decay_tensor, const OptionalTensor& v_init,
                        double threshold, double input_scale, int64_t reset, double reset_amount, double v_reset, double v_rest,
                        bool strict, bool detach_reset, int64_t, double, double, int64_t weighting) {
  Backend backend(x);
  const LifCall call("lif_rate", x, decay, decay_tensor, v_init, threshold, input_scale, reset, reset_amount, v_reset, v_rest,
                     strict, detach_reset);
  Tensor rate = call.x.empty_step(x.scalar_type());
  backend.run(LifRateForward{call.neuron, int(weighting), write(rate)});
  return rate;
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> lif_gradients(Backend& backend, const LifCall& call, LifBackward args, bool need_decay,
                                                 bool need_v_init) {
  Tensor grad_x = call.x.empty_sequence();
  Tensor grad_decay = need_decay ? call.x.empty_step(call.state) : nothing(call.x.tensor, call.state);
  Tensor grad_v_init = need_v_init ? call.x.empty_step(call.state) : nothing(call.x.tensor, call.state);
  args.grad_x = write(grad_x);
  args.grad_decay = need_decay ? write(grad_decay) : nullptr;
  args.grad_v_init = need_v_init ? write(grad_v_init) : nullptr;
  backend.run(args);
  return {grad_x, grad_decay, grad_v_init};
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> lif_backward(const OptionalTensor& grad_spikes, const OptionalTensor& grad_v_last,
                                                const Tensor& x, double decay, const OptionalTensor& decay_tensor,
                                                const OptionalTensor& v_init, double threshold, double input_scale,
                                                int64_t reset, double reset_amount, double v_reset, double v_rest, bool strict,
                                                bool detach_reset, int64_t surrogate, double surrogate_scale,
                                                double surrogate_peak, bool need_decay, bool need_v_init) {
  Backend backend(x);
  const LifCall call("lif", x, decay, decay_tensor, v_init, threshold, input_scale, reset, reset_amount, v_reset, v_rest, strict,
                     detach_reset);
  OptionalTensor spikes, v_last;
  if (grad_spikes) spikes = call.x.like_sequence(*grad_spikes);
  if (grad_v_last) v_last = call.x.like_step(*grad_v_last, call.state);
  LifBackward args{call.neuron, int(surrogate), surrogate_scale, surrogate_peak};
  args.grad_spikes = read(spikes);
  args.grad_v_last = read(v_last);
  return lif_gradients(backend, call, args, need_decay, need_v_init);
}

template <class Backend>
std::tuple<Tensor, Tensor, Tensor> lif_rate_backward(const Tensor& grad_rate, const Tensor& x, double decay,
                                                     const OptionalTensor& decay_tensor, const OptionalTensor& v_init,
                                                     double threshold, double input_scale, int64_t reset, double reset_amount,
                                                     double v_reset, double v_rest, bool strict, bool detach_reset,
                                                     int64_t surrogate, double surrogate_scale, double surrogate_peak,
                                                     int64_t weighting, bool need_decay, bool need_v_init) {
  Backend backend(x);
  const LifCall call("lif_rate", x, decay, decay_tensor, v_init, threshold, input_scale, reset, reset_amount, v_reset, v_rest,
                     strict, detach_reset);
  const Tensor rate = call.x.like_step(grad_rate, x.scalar_type());
  LifBackward args{call.neuron, int(surrogate), surrogate_scale, surrogate_peak};
  args.grad_rate = read(rate);
  args.weighting = int(weighting);
  return lif_gradients(backend, call, args, need_decay, need_v_init);
}

}  // namespace spikeops
