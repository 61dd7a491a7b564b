// The kernels of one instruction set, by name.
#include "common.h"

#define SPIKEOPS_JOIN_(a, b) a##b
#define SPIKEOPS_JOIN(a, b) SPIKEOPS_JOIN_(a, b)
#define SPIKEOPS_STRING_(a) #a
#define SPIKEOPS_STRING(a) SPIKEOPS_STRING_(a)

namespace spikeops::cpu {
namespace SPIKEOPS_ISA {
void lif_forward(const LifForward&, int64_t, int64_t);
void lif_rate_forward(const LifRateForward&, int64_t, int64_t);
void lif_backward(const LifBackward&, int64_t, int64_t);
void tssl_bp_forward(const TsslBpForward&, int64_t, int64_t);
void tssl_bp_backward(const TsslBpBackward&, int64_t, int64_t);
void feedback_step(const FeedbackStep&, int64_t, int64_t);
void ternary_step(const TernaryStep&, int64_t, int64_t);
void local_learning_step(const LocalLearningStep&, int64_t, int64_t);
void local_gradient_in_time(const LocalGradientInTime&, int64_t, int64_t);
void synaptic_filter_forward(const SynapticFilter&, int64_t, int64_t);
void synaptic_filter_backward(const SynapticFilter&, int64_t, int64_t);
void spike_count(const SpikeCount&, int64_t, int64_t);
void packed_count(const PackedCount&, int64_t, int64_t);
void pack_spikes(const Pack&, int64_t, int64_t);
void unpack_spikes(const Pack&, int64_t, int64_t);
void poisson_encode(const PoissonEncode&, int64_t, int64_t);
void latency_encode(const LatencyEncode&, int64_t, int64_t);
void clamped_forward(const ClampedForward&, int64_t, int64_t);
void clamped_partials(const ClampedThresholds&, int64_t, int64_t);
void clamped_thresholds(const ClampedThresholds&, int64_t, int64_t);
void convex_trials(const ConvexTrials&, int64_t, int64_t);
void event_conv(const EventConv&, int64_t, int64_t);
void event_conv_weight(const EventConvWeight&, int64_t, int64_t);
void row_sum_blocks(const RowSum&, int64_t, int64_t);
void row_sum_rows(const RowSum&, int64_t, int64_t);
}  // namespace SPIKEOPS_ISA

extern const Kernels SPIKEOPS_JOIN(kernels_, SPIKEOPS_ISA);
const Kernels SPIKEOPS_JOIN(kernels_, SPIKEOPS_ISA) = {
    SPIKEOPS_STRING(SPIKEOPS_ISA),
    SPIKEOPS_ISA::lif_forward,
    SPIKEOPS_ISA::lif_rate_forward,
    SPIKEOPS_ISA::lif_backward,
    SPIKEOPS_ISA::tssl_bp_forward,
    SPIKEOPS_ISA::tssl_bp_backward,
    SPIKEOPS_ISA::feedback_step,
    SPIKEOPS_ISA::ternary_step,
    SPIKEOPS_ISA::local_learning_step,
    SPIKEOPS_ISA::local_gradient_in_time,
    SPIKEOPS_ISA::synaptic_filter_forward,
    SPIKEOPS_ISA::synaptic_filter_backward,
    SPIKEOPS_ISA::spike_count,
    SPIKEOPS_ISA::packed_count,
    SPIKEOPS_ISA::pack_spikes,
    SPIKEOPS_ISA::unpack_spikes,
    SPIKEOPS_ISA::poisson_encode,
    SPIKEOPS_ISA::latency_encode,
    SPIKEOPS_ISA::clamped_forward,
    SPIKEOPS_ISA::clamped_partials,
    SPIKEOPS_ISA::clamped_thresholds,
    SPIKEOPS_ISA::convex_trials,
    SPIKEOPS_ISA::event_conv,
    SPIKEOPS_ISA::event_conv_weight,
    SPIKEOPS_ISA::row_sum_blocks,
    SPIKEOPS_ISA::row_sum_rows,
};

}  // namespace spikeops::cpu
