// Steps of feedback networks: bindings for every device. They are called for every layer and time step, so that all arguments are
// checked here, where it costs little; spikeops/functional/feedback.py explains a refusal in words.
#pragma once

#include "common.h"

namespace spikeops {

// The neurons of a call, and the tensors that must live as long as it.
class FeedbackCall {
 public:
  FeedbackCall(const char* op, const Tensor& membrane, const Tensor& spikes, const Tensor& rate, const OptionalTensor& drive,
               const OptionalTensor& current, const OptionalTensor& factor, const OptionalTensor& count, const OptionalTensor& fired)
      : op_(op), membrane_(membrane), data_(spikes.scalar_type()) {
    neuron.dtype = dtype_of(op, spikes);
    neuron.N = membrane.numel();
    require(neuron.N == 0 || is_dense(sizes_of(membrane), strides_of(membrane), 0), "membrane");
    neuron.T = spikes.dim() > membrane.dim() ? spikes.size(0) : 1;
    require(neuron.T >= 1 && fits(spikes, true) && same_order(spikes), "spikes");
    const ScalarType state = state_type(spikes);
    require_in_place(membrane, state, "membrane");
    require_in_place(rate, state, "rate");
    if (count) require_in_place(*count, state, "count");
    if (fired)
      require(fired->scalar_type() == ScalarType::Int && fired->numel() == neuron.T && fired->dim() <= 1 &&
                  (neuron.T == 1 || fired->stride(0) == 1) && same_device(*fired),
              "fired");
    neuron.membrane = write(membrane);
    neuron.spikes = write(spikes);
    neuron.rate = write(rate);
    neuron.count = count ? write(*count) : nullptr;
    neuron.fired = fired ? static_cast<int32_t*>(write(*fired)) : nullptr;
    neuron.current_per_step = current && current->dim() > membrane.dim();
    neuron.drive = input(drive, true, drive_, "drive");
    neuron.current = input(current, neuron.current_per_step, current_, "current");
    neuron.factor = input(factor, false, factor_, "mask or gate");
  }

  FeedbackNeuron neuron;

 private:
  void require(bool good, const char* name) const {
    STD_TORCH_CHECK(good, op_, ": expected another dtype, shape, device or memory order of ", name,
                    " (see spikeops.functional.", op_, ")");
  }

  // Shape (...) like the membrane, or (T, ...) for a sequence, whose time axis may be left out where T is 1.
  bool fits(const Tensor& x, bool is_sequence) const {
    const auto sizes = x.sizes(), step = membrane_.sizes();
    const size_t time_axes = sizes.size() - step.size();
    if (time_axes > (is_sequence ? 1 : 0) || (time_axes == 1 ? sizes[0] : 1) != (is_sequence ? neuron.T : 1)) return false;
    for (size_t d = 0; d < step.size(); ++d)
      if (sizes[d + time_axes] != step[d]) return false;
    return same_device(x);
  }

  // For tensors that fit: whether memory can be walked along with the membrane's.
  bool same_order(const Tensor& x) const {
    const auto sizes = membrane_.sizes(), step = membrane_.strides(), strides = x.strides();
    const size_t time_axes = strides.size() - step.size();
    if (neuron.N == 0) return true;
    for (size_t d = 0; d < step.size(); ++d)
      if (sizes[d] != 1 && strides[d + time_axes] != step[d]) return false;
    return time_axes == 0 || neuron.T == 1 || strides[0] == neuron.N;
  }

  bool same_device(const Tensor& x) const {
    return x.is_cpu() == membrane_.is_cpu() && x.get_device() == membrane_.get_device();
  }

  void require_in_place(const Tensor& x, ScalarType dtype, const char* name) const {
    require(x.scalar_type() == dtype && fits(x, false) && same_order(x), name);
  }

  // What is only read, itself where its memory order allows, else a copy that is kept in `keep`.
  const void* input(const OptionalTensor& x, bool is_sequence, OptionalTensor& keep, const char* name) const {
    if (!x) return nullptr;
    require(x->scalar_type() == data_ && fits(*x, is_sequence), name);
    if (same_order(*x)) return read(*x);
    Dims sizes = sizes_of(*x), strides = strides_of(membrane_);
    if (sizes.size() > strides.size()) strides.insert(strides.begin(), neuron.N);
    keep = as_layout(*x, sizes, strides, data_);
    return read(*keep);
  }

  const char* op_;
  const Tensor& membrane_;
  const ScalarType data_;
  OptionalTensor drive_, current_, factor_;
};

inline bool is_leak(double leak) { return leak > 0 && leak <= 1; }

template <class Backend>
void feedback_step(const Tensor& membrane, const Tensor& spikes, const Tensor& rate, const OptionalTensor& drive,
                   const OptionalTensor& current, const OptionalTensor& mask, const OptionalTensor& count, const OptionalTensor& fired,
                   double leak, double threshold, double reset_amount) {
  Backend backend(membrane);
  FeedbackCall call("feedback_step_", membrane, spikes, rate, drive, current, mask, count, fired);
  STD_TORCH_CHECK(is_leak(leak) && std::isfinite(threshold) && std::isfinite(reset_amount),
                  "feedback_step_: expected finite numbers, and leak in (0, 1]");
  if (!drive) call.neuron.factor = nullptr;  // nothing to mask
  backend.run(FeedbackStep{call.neuron, leak, threshold, reset_amount});
}

template <class Backend>
void ternary_step(const Tensor& membrane, const Tensor& spikes, const Tensor& rate, const OptionalTensor& drive,
                  const OptionalTensor& current, const OptionalTensor& gate, const OptionalTensor& count, const OptionalTensor& fired,
                  double drive_scale, double leak, double threshold, double amplitude) {
  Backend backend(membrane);
  const FeedbackCall call("ternary_step_", membrane, spikes, rate, drive, current, gate, count, fired);
  STD_TORCH_CHECK(is_leak(leak) && threshold > 0 && std::isfinite(threshold) && std::isfinite(drive_scale) && std::isfinite(amplitude),
                  "ternary_step_: expected finite numbers, threshold above 0 and leak in (0, 1]");
  backend.run(TernaryStep{call.neuron, drive_scale, leak, threshold, amplitude});
}

}  // namespace spikeops
