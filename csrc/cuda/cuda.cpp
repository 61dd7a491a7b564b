// Runs the CUDA kernels on the device of the tensors and on torch's current stream.
#include <torch/csrc/stable/accelerator.h>

#include <string>

#include "../../kernels/cuda/launch.h"
#include "../bindings.h"

namespace spikeops {
namespace {

class Cuda {
 public:
  explicit Cuda(const Tensor& x) : like_(x), guard_(x.get_device()) {
    TORCH_ERROR_CODE_CHECK(aoti_torch_get_current_cuda_stream(x.get_device(), &stream_));
  }

  void run(const LifForward& a) { check("lif_forward", cuda::lif_forward(a, stream_)); }
  void run(const LifRateForward& a) { check("lif_rate_forward", cuda::lif_rate_forward(a, stream_)); }
  void run(const LifBackward& a) {
    const Tensor scratch = state_scratch(a.neuron.dtype, cuda::lif_backward_scratch(a.neuron.T, a.neuron.N));
    check("lif_backward", cuda::lif_backward(a, write(scratch), stream_));
  }
  void run(const TsslBpForward& a) { check("tssl_bp_forward", cuda::tssl_bp_forward(a, stream_)); }
  void run(const TsslBpBackward& a) {
    const Tensor scratch = state_scratch(a.neuron.dtype, cuda::tssl_bp_backward_scratch(a.neuron.T, a.neuron.N));
    check("tssl_bp_backward", cuda::tssl_bp_backward(a, write(scratch), stream_));
  }
  void run(const FeedbackStep& a) { check("feedback_step_", cuda::feedback_step(a, stream_)); }
  void run(const TernaryStep& a) { check("ternary_step_", cuda::ternary_step(a, stream_)); }
  void run(const LocalLearningStep& a) { check("local_learning_step_", cuda::local_learning_step(a, stream_)); }
  void run(const LocalGradientInTime& a) { check("local_gradient_in_time", cuda::local_gradient_in_time(a, stream_)); }
  void run_forward(const SynapticFilter& a) { check("synaptic_filter_forward", cuda::synaptic_filter_forward(a, stream_)); }
  void run_backward(const SynapticFilter& a) { check("synaptic_filter_backward", cuda::synaptic_filter_backward(a, stream_)); }
  void run(const SpikeCount& a) { check("spike_count", cuda::spike_count(a, stream_)); }
  void run(const PackedCount& a) { check("spike_count", cuda::packed_spike_count(a, stream_)); }
  void run_pack(const Pack& a) { check("pack_spikes", cuda::pack_spikes(a, stream_)); }
  void run_unpack(const Pack& a) { check("unpack_spikes", cuda::unpack_spikes(a, stream_)); }
  void run(const PoissonEncode& a) { check("poisson_encode", cuda::poisson_encode(a, stream_)); }
  void run(const LatencyEncode& a) { check("latency_encode", cuda::latency_encode(a, stream_)); }
  void run(const ClampedForward& a) { check("clamped_lif_forward", cuda::clamped_forward(a, stream_)); }
  void run(const ClampedThresholds& a) { check("clamped_lif_backward", cuda::clamped_thresholds(a, stream_)); }
  void run(const ConvexTrials& a) {
    const Tensor scratch = state_scratch(a.dtype, cuda::convex_trials_scratch(a));
    check("convex_snn_trial", cuda::convex_trials(a, write(scratch), stream_));
  }
  void run(const RowSum& a) { check("row_sum", cuda::row_sum(a, stream_)); }

 private:
  // Freed at the end of the call; torch's allocator hands the memory out again in stream order only.
  Tensor state_scratch(DType dtype, int64_t count) const {
    return empty_strided(like_, {count}, {1}, dtype == DType::f64 ? ScalarType::Double : ScalarType::Float);
  }

  static void check(const char* op, int error) {
    STD_TORCH_CHECK(error == 0, op, ": the CUDA kernel could not be launched: ", cuda::error_text(error),
                    cuda::error_remedy(error));
  }

  const Tensor like_;
  torch::stable::accelerator::DeviceGuard guard_;
  void* stream_ = nullptr;
};

}  // namespace
}  // namespace spikeops

STABLE_TORCH_LIBRARY_IMPL(spikeops, CUDA, m) { spikeops::register_bindings<spikeops::Cuda>(m); }

// These two are read by spikeops/_library.py. JSON:
extern "C" __attribute__((visibility("default"))) const char* spikeops_cuda_build_info() {
  return "{\"compiler\": \"nvcc " SPIKEOPS_CUDA_VERSION "\", \"flags\": \"" SPIKEOPS_CUDA_FLAGS "\", \"torch_headers\": \""
         SPIKEOPS_TORCH_VERSION "\", \"architectures\": \"" SPIKEOPS_CUDA_ARCHS_BUILT "\", \"ptx\": \"" SPIKEOPS_CUDA_PTX_BUILT "\"}";
}

extern "C" __attribute__((visibility("default"))) void spikeops_cuda_versions(int* driver, int* runtime) {
  spikeops::cuda::versions(driver, runtime);
}
