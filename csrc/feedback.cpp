// Steps of feedback networks: bindings for every device.
#include "../kernels/math/feedback.h"
#include "in_place.h"
#include "ops.h"

// `factor` is the mask of the drive, or the gate of ternary spikes.
#define FEEDBACK_NEURON \
  "Tensor(a!) membrane, Tensor(b!) spikes, Tensor(c!) rate, Tensor? drive, Tensor? current, Tensor? factor, " \
  "Tensor(d!)? count, Tensor(e!)? fired"

namespace spikeops {
namespace {

// The neurons of a call, and the tensors that must live as long as it.
class FeedbackCall : InPlaceCall {
 public:
  FeedbackCall(const char* op, const Tensor& membrane, const Tensor& spikes, const Tensor& rate, const OptionalTensor& drive,
               const OptionalTensor& current, const OptionalTensor& factor, const OptionalTensor& count, const OptionalTensor& fired)
      : InPlaceCall(op, membrane, spikes.scalar_type(), spikes.dim() > membrane.dim() ? spikes.size(0) : 1) {
    neuron.dtype = dtype_of(op, spikes);
    neuron.N = N_;
    neuron.T = T_;
    require(T_ >= 1 && fits(spikes, true) && same_order(spikes), "spikes");
    const ScalarType state = state_type(spikes);
    neuron.membrane = written(membrane, state, "membrane");
    neuron.rate = written(rate, state, "rate");
    neuron.count = count ? written(*count, state, "count") : nullptr;
    if (fired)
      require(fired->scalar_type() == ScalarType::Int && fired->numel() == T_ && fired->dim() <= 1 &&
                  (T_ == 1 || fired->stride(0) == 1) && same_device(*fired),
              "fired");
    neuron.spikes = write(spikes);
    neuron.fired = fired ? static_cast<int32_t*>(write(*fired)) : nullptr;
    neuron.current_per_step = current && current->dim() > membrane.dim();
    neuron.drive = input(drive, true, drive_, "drive");
    neuron.current = input(current, neuron.current_per_step, current_, "current");
    neuron.factor = input(factor, false, factor_, "mask or gate");
  }

  FeedbackNeuron neuron;

 private:
  OptionalTensor drive_, current_, factor_;
};

// No step has fired yet.
void clear(Backend& backend, const FeedbackNeuron& neuron) {
  if (neuron.fired) backend.run(ClearFired{neuron.T, neuron.fired});
}

bool is_leak(double leak) { return leak > 0 && leak <= 1; }

void feedback_step(const Tensor& membrane, const Tensor& spikes, const Tensor& rate, const OptionalTensor& drive,
                   const OptionalTensor& current, const OptionalTensor& mask, const OptionalTensor& count, const OptionalTensor& fired,
                   double leak, double threshold, double reset_amount) {
  Backend backend(membrane);
  FeedbackCall call("feedback_step_", membrane, spikes, rate, drive, current, mask, count, fired);
  STD_TORCH_CHECK(is_leak(leak) && are_finite(spikes, {threshold, reset_amount}),
                  "feedback_step_: expected finite numbers, and leak in (0, 1]");
  if (!drive) call.neuron.factor = nullptr;  // nothing to mask
  clear(backend, call.neuron);
  backend.run(FeedbackStep{call.neuron, leak, threshold, reset_amount});
}

void ternary_step(const Tensor& membrane, const Tensor& spikes, const Tensor& rate, const OptionalTensor& drive,
                  const OptionalTensor& current, const OptionalTensor& gate, const OptionalTensor& count, const OptionalTensor& fired,
                  double drive_scale, double leak, double threshold, double amplitude) {
  Backend backend(membrane);
  const FeedbackCall call("ternary_step_", membrane, spikes, rate, drive, current, gate, count, fired);
  STD_TORCH_CHECK(is_leak(leak) && threshold > 0 && are_finite(spikes, {threshold, drive_scale, amplitude}),
                  "ternary_step_: expected finite numbers, threshold above 0 and leak in (0, 1]");
  clear(backend, call.neuron);
  backend.run(TernaryStep{call.neuron, drive_scale, leak, threshold, amplitude});
}

}  // namespace

SPIKEOPS_OPS(feedback) {
  SPIKEOPS_OP(feedback_step, "feedback_step_(" FEEDBACK_NEURON ", float leak, float threshold, float reset_amount) -> ()");
  SPIKEOPS_OP(ternary_step,
          "ternary_step_(" FEEDBACK_NEURON ", float drive_scale, float leak, float threshold, float amplitude) -> ()");
}

}  // namespace spikeops
