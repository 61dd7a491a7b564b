// Steps of layers that learn with a local classifier: bindings for every device.
#include "../kernels/math/local.h"
#include "in_place.h"
#include "ops.h"

namespace spikeops {
namespace {

// Tensors beside the membrane potentials of a layer (N, ...), or of its classifier (N, K). Copies live as long as the call.
class LocalCall : public InPlaceCall {
 public:
  LocalCall(const char* op, const Tensor& membrane, ScalarType data, ScalarType state, const char* name)
      : InPlaceCall(op, membrane, data, 1), state_(state), units_(product(membrane.sizes().slice(1))) {
    require(membrane.scalar_type() == state, name);
    // Each sample is one run of memory.
    require(membrane.numel() == 0 || membrane.size(0) == 1 || membrane.stride(0) == units_, name);
  }

  int64_t samples() const { return membrane_.size(0); }
  int64_t units() const { return units_; }

  // Tensors that are written: of the shape and memory order of the membrane potentials.
  void* data(const Tensor& x, const char* name) const { return written(x, data_, name); }
  void* state(const Tensor& x, const char* name) const { return written(x, state_, name); }
  void* data(const OptionalTensor& x, const char* name) const { return x ? data(*x, name) : nullptr; }
  void* state(const OptionalTensor& x, const char* name) const { return x ? state(*x, name) : nullptr; }

  const void* current(const Tensor& x) { return input(x, false, current_, "current"); }

  // A matrix (classes, ...) of numbers per unit.
  const void* matrix(const Tensor& x, int64_t classes, OptionalTensor& keep, const char* name) const {
    Dims sizes = sizes_of(membrane_), strides = strides_of(membrane_);
    sizes[0] = classes, strides[0] = units_;
    require(x.scalar_type() == data_ && same_device(x) && sizes_of(x) == sizes, name);
    if (N_ == 0) return read(x);
    for (size_t d = 0; d < sizes.size(); ++d)
      if (sizes[d] == 1) strides[d] = x.stride(int64_t(d));
    keep = as_layout(x, sizes, strides, data_);
    return read(*keep);
  }

  // One number per sample, one after the other.
  const Tensor& per_sample(const Tensor& x, ScalarType dtype, const char* name) const {
    require(x.scalar_type() == dtype && x.dim() == 1 && x.size(0) == samples() && (samples() <= 1 || x.stride(0) == 1) &&
                same_device(x),
            name);
    return x;
  }

 private:
  const ScalarType state_;
  const int64_t units_;
  OptionalTensor current_;
};

// numbers: decay, threshold, surrogate_scale, surrogate_peak, error_scale
void local_learning_step(const Tensor& membrane, const Tensor& spikes, const Tensor& gradient, const OptionalTensor& derivative,
                         const OptionalTensor& trace, const Tensor& class_membrane, const Tensor& count,
                         const Tensor& squared_error, const Tensor& error, const OptionalTensor& class_derivative,
                         const Tensor& current, const Tensor& weight, const OptionalTensor& feedback, const Tensor& labels,
                         const Numbers& numbers, int64_t surrogate) {
  Backend backend(membrane);
  constexpr const char* op = "local_learning_step_";
  STD_TORCH_CHECK(numbers.size() == 5 && are_finite(current, {numbers[0], numbers[1], numbers[4]}) && numbers[1] > 0,
                  op, ": expected finite numbers, and threshold above 0");
  STD_TORCH_CHECK(membrane.dim() >= 2 && class_membrane.dim() == 2 && class_membrane.is_contiguous(), op,
                  ": expected membrane (N, ...) and contiguous class_membrane (N, K)");
  LocalLearningStep a{};
  a.dtype = dtype_of(op, current);
  const ScalarType data = current.scalar_type(), state = state_type(current);
  LocalCall layer(op, membrane, data, state, "membrane");
  const LocalCall classes(op, class_membrane, data, state, "class_membrane");
  layer.require(classes.samples() == layer.samples() && layer.same_device(class_membrane), "class_membrane");
  OptionalTensor kept_weight, kept_feedback;
  a.N = layer.samples(), a.U = layer.units(), a.K = class_membrane.size(1);
  a.decay = numbers[0], a.threshold = numbers[1], a.surrogate = int(surrogate);
  a.surrogate_scale = numbers[2], a.surrogate_peak = numbers[3], a.error_scale = numbers[4];
  a.current = layer.current(current);
  a.weight = layer.matrix(weight, a.K, kept_weight, "weight");
  a.feedback = feedback ? layer.matrix(*feedback, a.K, kept_feedback, "feedback") : a.weight;
  a.labels = static_cast<const int64_t*>(read(layer.per_sample(labels, ScalarType::Long, "labels")));
  a.membrane = layer.state(membrane, "membrane");
  a.spikes = layer.data(spikes, "spikes");
  a.gradient = layer.data(gradient, "gradient");
  a.derivative = derivative ? layer.data(derivative, "derivative") : a.gradient;
  a.trace = layer.state(trace, "trace");
  a.class_membrane = classes.state(class_membrane, "class_membrane");
  a.count = classes.state(count, "count");
  a.squared_error = write(layer.per_sample(squared_error, state, "squared_error"));
  a.error = classes.data(error, "error");
  a.class_derivative = classes.data(class_derivative, "class_derivative");
  backend.run(a);
}

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

}  // namespace

SPIKEOPS_OPS(local) {
  // numbers: decay, threshold, surrogate_scale, surrogate_peak, error_scale
  SPIKEOPS_OP(local_learning_step,
          "local_learning_step_(Tensor(a!) membrane, Tensor(b!) spikes, Tensor(c!) gradient, Tensor(d!)? derivative,"
          " Tensor(e!)? trace, Tensor(f!) class_membrane, Tensor(g!) count, Tensor(h!) squared_error, Tensor(i!) error,"
          " Tensor(j!)? class_derivative, Tensor current, Tensor weight, Tensor? feedback, Tensor labels, float[] numbers,"
          " int surrogate) -> ()");
  SPIKEOPS_OP(local_gradient_in_time,
          "local_gradient_in_time(Tensor gradient, Tensor derivatives, float decay, float threshold) -> Tensor");
}

}  // namespace spikeops
