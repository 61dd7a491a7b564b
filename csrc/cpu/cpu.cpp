// Runs the CPU kernels on torch's own threads.
#include <string>

#include "../../kernels/cpu/kernels.h"
#include "../bindings.h"
#include "../event_conv.h"

namespace spikeops {
namespace {

// Neurons are handed out in whole groups, so that threads do not share cache lines, and no thread gets less than pays.
constexpr int64_t kGroup = 256;
constexpr int64_t kElementsPerThread = 16384;

template <class Args>
void over_neurons(void (*kernel)(const Args&, int64_t, int64_t), const Args& args, int64_t T, int64_t N) {
  const int64_t groups = (N + kGroup - 1) / kGroup;
  const int64_t grain = std::max<int64_t>(1, kElementsPerThread / (std::max<int64_t>(T, 1) * kGroup));
  torch::stable::parallel_for(0, groups, grain, [&](int64_t begin, int64_t end) {
    kernel(args, begin * kGroup, std::min(N, end * kGroup));
  });
}

class Cpu {
 public:
  explicit Cpu(const Tensor&) : k_(cpu::kernels()) {}
  void run(const LifForward& a) { over_neurons(k_.lif_forward, a, a.neuron.T, a.neuron.N); }
  void run(const LifRateForward& a) { over_neurons(k_.lif_rate_forward, a, a.neuron.T, a.neuron.N); }
  void run(const LifBackward& a) { over_neurons(k_.lif_backward, a, a.neuron.T, a.neuron.N); }
  void run(const TsslBpForward& a) { over_neurons(k_.tssl_bp_forward, a, a.neuron.T, a.neuron.N); }
  void run(const TsslBpBackward& a) { over_neurons(k_.tssl_bp_backward, a, a.neuron.T, a.neuron.N); }
  void run(const FeedbackStep& a) { cpu::start(a.neuron), over_neurons(k_.feedback_step, a, a.neuron.T, a.neuron.N); }
  void run(const TernaryStep& a) { cpu::start(a.neuron), over_neurons(k_.ternary_step, a, a.neuron.T, a.neuron.N); }
  void run(const LocalLearningStep& a) {
    // Handed out in pairs: the kernel takes two at once.
    constexpr int64_t kSamples = 2;
    const int64_t groups = (a.N + kSamples - 1) / kSamples;
    const int64_t grain = std::max<int64_t>(1, kElementsPerThread / (kSamples * std::max<int64_t>(1, a.U)));
    torch::stable::parallel_for(0, groups, grain, [&](int64_t begin, int64_t end) {
      k_.local_learning_step(a, begin * kSamples, std::min(a.N, end * kSamples));
    });
  }
  void run(const LocalGradientInTime& a) { over_neurons(k_.local_gradient_in_time, a, a.T, a.N); }
  void run_forward(const SynapticFilter& a) { over_neurons(k_.synaptic_filter_forward, a, a.T, a.N); }
  void run_backward(const SynapticFilter& a) { over_neurons(k_.synaptic_filter_backward, a, a.T, a.N); }
  void run(const SpikeCount& a) { over_neurons(k_.spike_count, a, a.T, a.N); }
  void run(const PackedCount& a) { over_neurons(k_.packed_count, a, a.words, a.N); }
  void run_pack(const Pack& a) { over_neurons(k_.pack_spikes, a, a.T, a.N); }
  void run_unpack(const Pack& a) { over_neurons(k_.unpack_spikes, a, a.T, a.N); }
  void run(const PoissonEncode& a) { over_neurons(k_.poisson_encode, a, a.T, a.N); }
  void run(const LatencyEncode& a) { over_neurons(k_.latency_encode, a, a.T, a.N); }
  void run(const ClampedForward& a) { over_neurons(k_.clamped_forward, a, a.T, a.N); }
  void run(const ClampedThresholds& a) {
    const int64_t blocks = clamped_blocks(a.outer, a.inner);
    const int64_t of_block = a.C * (a.inner == 1 ? kClampedRows : a.inner);
    const int64_t grain = std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, of_block));
    torch::stable::parallel_for(0, blocks, grain, [&](int64_t begin, int64_t end) { k_.clamped_partials(a, begin, end); });
    k_.clamped_thresholds(a, 0, a.C);
  }
  void run(const ConvexTrials& a) {
    // Learning trials follow one another: each begins with what the one before has learned.
    if (a.targets != nullptr) return k_.convex_trials(a, 0, a.B);
    const int64_t grain = std::max<int64_t>(1, kElementsPerThread / std::max<int64_t>(1, a.T * a.N));
    torch::stable::parallel_for(0, a.B, grain, [&](int64_t begin, int64_t end) { k_.convex_trials(a, begin, end); });
  }
  void run(const EventConv& a) {
    torch::stable::parallel_for(0, a.batch, 1, [&](int64_t begin, int64_t end) { k_.event_conv(a, begin, end); });
  }
  void run(const EventConvWeight& a) {
    torch::stable::parallel_for(0, a.count, 1, [&](int64_t begin, int64_t end) { k_.event_conv_weight(a, begin, end); });
  }
  void run(const RowSum& a) {
    const int64_t blocks = a.rows * ((a.columns + kRowSumBlock - 1) / kRowSumBlock);
    torch::stable::parallel_for(0, blocks, 16, [&](int64_t begin, int64_t end) { k_.row_sum_blocks(a, begin, end); });
    k_.row_sum_rows(a, 0, a.rows);
  }

 private:
  const cpu::Kernels& k_;
};

}  // namespace
}  // namespace spikeops

STABLE_TORCH_LIBRARY_IMPL(spikeops, CPU, m) {
  spikeops::register_bindings<spikeops::Cpu>(m);
  m.impl("event_conv_", TORCH_BOX(&spikeops::event_conv<spikeops::Cpu>));
  m.impl("event_conv_weight", TORCH_BOX(&spikeops::event_conv_weight<spikeops::Cpu>));
}

// JSON, read by spikeops/_library.py.
extern "C" __attribute__((visibility("default"))) const char* spikeops_cpu_build_info() {
  static const std::string info = std::string("{\"compiler\": \"") + SPIKEOPS_COMPILER + "\", \"flags\": \"" + SPIKEOPS_FLAGS +
                                  "\", \"torch_headers\": \"" + SPIKEOPS_TORCH_VERSION + "\", \"isa\": \"" +
                                  spikeops::cpu::kernels().isa + "\"}";
  return info.c_str();
}
