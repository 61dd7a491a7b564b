// Steps of layers that learn with a local classifier: bindings for every device.
#pragma once

#include "in_place.h"

namespace spikeops {

// The neurons of a call, and the currents, which must live as long as it.
class LocalCall : public InPlaceCall {
 public:
  LocalCall(const char* op, const Tensor& membrane, const Tensor& current)
      : InPlaceCall(op, membrane, current.scalar_type(), 1), dtype_(dtype_of(op, current)) {
    require(membrane.scalar_type() == state_type(current), "membrane");
    current_ = input(current, false, copy_, "current");
  }

  LocalNeuron neuron(const Numbers& numbers, int64_t surrogate) const {
    STD_TORCH_CHECK(numbers.size() == 4 && std::isfinite(numbers[0]) && std::isfinite(numbers[1]) && numbers[1] > 0, op_,
                    ": expected finite numbers, and threshold above 0");
    return {dtype_, numbers[0], numbers[1], int(surrogate), numbers[2], numbers[3]};
  }

  const void* current() const { return current_; }

  // Tensors that are written: of the shape and memory order of the membrane potentials.
  void* data(const Tensor& x, const char* name) const { return written(x, data_, name); }
  void* state(const Tensor& x, const char* name) const { return written(x, membrane_.scalar_type(), name); }

 private:
  const DType dtype_;
  const void* current_;
  OptionalTensor copy_;
};

// numbers: decay, threshold, surrogate_scale, surrogate_peak
template <class Backend>
void local_encoder_step(const Tensor& membrane, const Tensor& spikes, const Tensor& derivative, const OptionalTensor& trace,
                        const Tensor& current, const Numbers& numbers, int64_t surrogate) {
  Backend backend(membrane);
  const LocalCall call("local_encoder_step_", membrane, current);
  backend.run(LocalEncoderStep{call.neuron(numbers, surrogate), membrane.numel(), call.current(), call.state(membrane, "membrane"),
                               call.data(spikes, "spikes"), call.data(derivative, "derivative"),
                               trace ? call.state(*trace, "trace") : nullptr});
}

template <class Backend>
void local_classifier_step(const Tensor& membrane, const Tensor& count, const Tensor& squared_error, const Tensor& error,
                           const OptionalTensor& derivative, const Tensor& current, const Tensor& labels, double error_scale,
                           const Numbers& numbers, int64_t surrogate) {
  Backend backend(membrane);
  const LocalCall call("local_classifier_step_", membrane, current);
  STD_TORCH_CHECK(std::isfinite(error_scale), "local_classifier_step_: expected finite numbers");
  call.require(membrane.dim() == 2 && membrane.is_contiguous(), "membrane");
  const int64_t samples = membrane.size(0);
  const auto per_sample = [&](const Tensor& x) {
    return x.dim() == 1 && x.size(0) == samples && (samples <= 1 || x.stride(0) == 1) && call.same_device(x);
  };
  call.require(squared_error.scalar_type() == membrane.scalar_type() && per_sample(squared_error), "squared_error");
  call.require(labels.scalar_type() == ScalarType::Long && per_sample(labels), "labels");
  backend.run(LocalClassifierStep{call.neuron(numbers, surrogate), samples, membrane.size(1), call.current(),
                                  static_cast<const int64_t*>(read(labels)), error_scale, call.state(membrane, "membrane"),
                                  call.state(count, "count"), write(squared_error), call.data(error, "error"),
                                  derivative ? call.data(*derivative, "derivative") : nullptr});
}

template <class Backend>
Tensor local_gradient_in_time(const Tensor& gradient, const Tensor& derivatives, double decay, double threshold) {
  Backend backend(derivatives);
  const Sequence history(derivatives);
  Dims step = sizes_of(derivatives);
  step.erase(step.begin());
  STD_TORCH_CHECK(history.T >= 1 && sizes_of(gradient) == step && gradient.scalar_type() == derivatives.scalar_type(),
                  "local_gradient_in_time: expected a gradient of the shape and dtype of one step of derivatives");
  const Tensor last = history.like_step(gradient, gradient.scalar_type());
  Tensor gradients = history.empty_sequence(history.T + 1, gradient.scalar_type());
  backend.run(LocalGradientInTime{dtype_of("local_gradient_in_time", derivatives), history.T, history.N, decay, threshold,
                                  read(last), read(history.tensor), write(gradients)});
  return gradients;
}

}  // namespace spikeops
