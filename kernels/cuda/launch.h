// The CUDA kernels' launchers. They take device pointers, allocate nothing, launch on `stream` (a cudaStream_t) and return the
// CUDA error code of the launch, 0 for success.
#pragma once

#include "../args.h"

namespace spikeops::cuda {

const char* error_text(int error);
const char* error_remedy(int error);  // continues the sentence of the text: what to do about it; empty where nobody knows

// CUDA versions of the driver, 0 without one, and of the runtime that is linked in: 1000 * major + 10 * minor. Needs no device.
void versions(int* driver, int* runtime);

int lif_forward(const LifForward& args, void* stream);
int lif_rate_forward(const LifRateForward& args, void* stream);

// Backward passes of long sequences keep the state at some time steps in `scratch`, an array of the state's type.
int64_t lif_backward_scratch(int64_t T, int64_t N);  // number of elements
int lif_backward(const LifBackward& args, void* scratch, void* stream);

int tssl_bp_forward(const TsslBpForward& args, void* stream);
int64_t tssl_bp_backward_scratch(int64_t T, int64_t N);
int tssl_bp_backward(const TsslBpBackward& args, void* scratch, void* stream);

int feedback_step(const FeedbackStep& args, void* stream);
int ternary_step(const TernaryStep& args, void* stream);

int local_learning_step(const LocalLearningStep& args, void* stream);
int local_gradient_in_time(const LocalGradientInTime& args, void* stream);

int synaptic_filter_forward(const SynapticFilter& args, void* stream);
int synaptic_filter_backward(const SynapticFilter& args, void* stream);

int spike_count(const SpikeCount& args, void* stream);
int packed_spike_count(const PackedCount& args, void* stream);
int pack_spikes(const Pack& args, void* stream);
int unpack_spikes(const Pack& args, void* stream);

int poisson_encode(const PoissonEncode& args, void* stream);
int latency_encode(const LatencyEncode& args, void* stream);

int clamped_forward(const ClampedForward& args, void* stream);
int clamped_thresholds(const ClampedThresholds& args, void* stream);

// The states of the trials that run at a time lie in `scratch` where they do not fit into shared memory.
int64_t convex_trials_scratch(const ConvexTrials& args);  // number of elements
int convex_trials(const ConvexTrials& args, void* scratch, void* stream);

int row_sum(const RowSum& args, void* stream);

}  // namespace spikeops::cuda
