// All bindings of a device. `Backend` is constructed from a tensor that lives on it, and runs kernels by their arguments.
#pragma once

#include "convex.h"
#include "count.h"
#include "encode.h"
#include "feedback.h"
#include "lif.h"
#include "local.h"
#include "reduce.h"
#include "synapse.h"
#include "tssl_bp.h"

namespace spikeops {

template <class Backend>
void register_bindings(torch::stable::detail::StableLibrary& m) {
  SPIKEOPS_IMPL(m, "lif_forward", &lif_forward<Backend>);
  SPIKEOPS_IMPL(m, "lif_backward", &lif_backward<Backend>);
  SPIKEOPS_IMPL(m, "lif_rate_forward", &lif_rate_forward<Backend>);
  SPIKEOPS_IMPL(m, "lif_rate_backward", &lif_rate_backward<Backend>);
  SPIKEOPS_IMPL(m, "tssl_bp_forward", &tssl_bp_forward<Backend>);
  SPIKEOPS_IMPL(m, "tssl_bp_backward", &tssl_bp_backward<Backend>);
  SPIKEOPS_IMPL(m, "feedback_step_", &feedback_step<Backend>);
  SPIKEOPS_IMPL(m, "ternary_step_", &ternary_step<Backend>);
  SPIKEOPS_IMPL(m, "local_learning_step_", &local_learning_step<Backend>);
  SPIKEOPS_IMPL(m, "local_gradient_in_time", &local_gradient_in_time<Backend>);
  SPIKEOPS_IMPL(m, "synaptic_filter_forward", &synaptic_filter_forward<Backend>);
  SPIKEOPS_IMPL(m, "synaptic_filter_backward", &synaptic_filter_backward<Backend>);
  SPIKEOPS_IMPL(m, "spike_count", &spike_count<Backend>);
  SPIKEOPS_IMPL(m, "pack_spikes", &pack_spikes<Backend>);
  SPIKEOPS_IMPL(m, "unpack_spikes", &unpack_spikes<Backend>);
  SPIKEOPS_IMPL(m, "poisson_encode", &poisson_encode<Backend>);
  SPIKEOPS_IMPL(m, "latency_encode", &latency_encode<Backend>);
  SPIKEOPS_IMPL(m, "convex_snn_trial", &convex_snn_trial<Backend>);
  SPIKEOPS_IMPL(m, "row_sum", &row_sum<Backend>);
}

}  // namespace spikeops
